# Prepared convolutions: weights packed once, run many times.

@cython.final
cdef class Plan:
    """
    A convolution whose weights are packed and whose arguments are checked; made by `prepare`.

    Calling it with an image gives what `conv2d` (or its relatives) would give. It keeps copies of weight and bias, and
    may be called from many threads at once. It cannot be pickled: send the arguments of `prepare` instead.

    Attributes
    ----------
    input_shape, output_shape : tuple of int
        Including the batch that was planned for; another one may be given in a call.
    layout : str
    dtype : numpy.dtype
    """

    cdef convc_plan *handle
    cdef convc_dtype type
    cdef bint channels_last
    cdef int ndim
    cdef int64_t[5] x_shape  # in C's order of axes
    cdef int64_t[5] y_shape
    cdef readonly tuple input_shape
    cdef readonly tuple output_shape
    cdef readonly str layout
    cdef readonly object dtype

    def __init__(self):
        raise TypeError("make a Plan with convc.prepare(weight, bias, input_shape)")

    def __dealloc__(self):
        convc_plan_destroy(self.handle)

    def __call__(self, x, out=None):
        """
        Run the plan.

        Parameters
        ----------
        x : ndarray of the plan's dtype and input_shape; the batch may differ, and the strides are free
        out : ndarray, optional
            Where the result goes; it is also returned.

        Returns
        -------
        ndarray of the plan's dtype and output_shape, with x's batch
        """
        cdef operand[2] o
        cdef int64_t[5] shape
        cdef convc_status status
        if self.handle == NULL:
            raise TypeError("make a Plan with convc.prepare(weight, bias, input_shape)")
        clear(o, 2)
        try:
            load(x, "x", REAL, self.ndim, self.channels_last, &o[0])
            if o[0].tensor.dtype != self.type:
                raise TypeError(f"x must be {self.dtype} as the plan is, got {dtype_name(o[0].tensor.dtype)}")
            for i in range(1, self.ndim):
                if o[0].tensor.shape[i] != self.x_shape[i]:
                    raise ValueError(f"x must have shape {self.input_shape} up to the batch, got {view_shape(&o[0])}")
            shape = self.y_shape
            shape[0] = o[0].tensor.shape[0]
            out = result(out, shape, self.ndim, self.channels_last, self.type, &o[1])
            with nogil:
                status = convc_plan_run(self.handle, &o[0].tensor, &o[1].tensor)
            check(status)
            return out
        finally:
            release(o, 2)

    def __repr__(self):
        return f"<convc.Plan {self.input_shape} -> {self.output_shape}, {self.layout}, {self.dtype}>"

    def __reduce__(self):
        raise TypeError("a Plan cannot be pickled or copied; call convc.prepare again where it is needed")


cdef void contiguous(operand *o, const int64_t *shape, int ndim, bint channels_last, convc_dtype dtype) noexcept:
    """The description of an array that need not exist."""
    cdef uint64_t stride = 4 if dtype == CONVC_F32 else 8  # unsigned: absurd shapes wrap here, and C refuses them
    o.tensor.data = NULL
    o.tensor.dtype = dtype
    o.tensor.ndim = ndim
    for i in range(ndim):
        o.tensor.shape[i] = shape[i]
    if channels_last:
        o.tensor.strides[1] = <int64_t> stride
        stride *= <uint64_t> shape[1]
    for i in range(ndim - 1, -1, -1):
        if not (channels_last and i == 1):
            o.tensor.strides[i] = <int64_t> stride
            stride *= <uint64_t> shape[i]


def prepare(weight, bias, input_shape, *, stride=1, padding=0, dilation=1, groups=1, layout=None, pad_mode="zeros",
            fit="floor", algorithm="auto", activation=None):
    """
    Pack the weights of a convolution once, for any number of runs over images of one size.

    Parameters
    ----------
    weight : ndarray, (out_channels, in_channels / groups, *kernel)
        float32 or float64. Its rank and that of `input_shape` decide between one, two and three spatial axes.
    bias : ndarray, (out_channels,), or None
    input_shape : tuple of int
        Of the images to come, in the order of `layout`, with the batch to prepare for; a run may have another batch.
    layout : str, optional
        "NCW", "NCHW" or "NCDHW" if not given; else one of these or "NWC", "NHWC", "NDHWC".
    stride, padding, dilation, groups, pad_mode, fit, algorithm, activation
        As in `conv2d`.

    Returns
    -------
    Plan
        ``plan(x, out=None)`` runs it. Weight and bias are copied; changing them later has no effect.

    Raises
    ------
    ValueError, TypeError, MemoryError
        As `conv2d` does.

    Examples
    --------
    >>> import numpy as np, convc
    >>> plan = convc.prepare(np.ones((4, 1, 3, 3), np.float32), None, (1, 1, 8, 8), padding="same")
    >>> plan
    <convc.Plan (1, 1, 8, 8) -> (1, 4, 8, 8), NCHW, float32>
    >>> plan(np.ones((2, 1, 8, 8), np.float32)).shape
    (2, 4, 8, 8)
    """
    cdef operand[4] o  # x, weight, out, bias; the first and third without data
    cdef convc_conv_params p
    cdef int64_t[5] x_shape
    cdef int64_t[5] y_shape
    cdef convc_status status
    cdef const convc_tensor *bias_tensor = NULL
    cdef Plan plan = Plan.__new__(Plan)
    clear(o, 4)
    try:
        open_source(weight, "weight", REAL, PyBUF_RECORDS_RO, &o[1])
        plan.ndim = o[1].view.ndim
        if plan.ndim < 3 or plan.ndim > 5:
            raise ValueError(f"weight must have 3 to 5 dimensions, got {plan.ndim}: shape {view_shape(&o[1])}")
        describe(&o[1], False)
        if layout is None:
            layout = _FIRST_LAYOUTS[plan.ndim - 3]
        plan.channels_last = parse_layout(layout, plan.ndim - 2)
        plan.layout = str(layout)
        parse_shape(input_shape, "input_shape", plan.ndim, plan.channels_last, x_shape)
        parse_conv(plan.ndim - 2, stride, padding, dilation, groups, pad_mode, fit, algorithm, activation,
                   o[1].tensor.shape + 2, &p)
        check(convc_conv_output_shape(plan.ndim, x_shape, o[1].tensor.shape, &p, y_shape))
        plan.type = o[1].tensor.dtype
        contiguous(&o[0], x_shape, plan.ndim, plan.channels_last, plan.type)
        contiguous(&o[2], y_shape, plan.ndim, plan.channels_last, plan.type)
        if bias is not None:
            load(bias, "bias", REAL, 1, False, &o[3])
            same_dtype(&o[3], "bias", &o[1], "weight")
            same_shape(&o[3], "bias", o[1].tensor.shape, 1, False)
            bias_tensor = &o[3].tensor
        with nogil:
            status = convc_plan_create(&o[0].tensor, &o[1].tensor, bias_tensor, &p, &o[2].tensor, &plan.handle)
        check(status)
    finally:
        release(o, 4)
    plan.x_shape = x_shape
    plan.y_shape = y_shape
    plan.input_shape = shape_tuple(x_shape, plan.ndim, plan.channels_last)
    plan.output_shape = shape_tuple(y_shape, plan.ndim, plan.channels_last)
    plan.dtype = numpy_dtype(plan.type)
    return plan


cdef tuple _FIRST_LAYOUTS = ("NCW", "NCHW", "NCDHW")
