# Layer normalisation: over the last axes of arrays of any rank.

cdef tuple parse_normalized(object normalized_shape, tuple shape):
    """The leading axes of `shape`, and how many numbers the last ones hold that are normalised together."""
    cdef int64_t number, size = 1
    wanted = "an int or a tuple of ints"
    items = (normalized_shape,)
    if not is_number(normalized_shape):
        items = as_tuple(normalized_shape, "normalized_shape", wanted)
    sizes = tuple([parse_int(item, "normalized_shape") for item in items])
    if not sizes or len(sizes) > len(shape) or shape[len(shape) - len(sizes):] != sizes or 0 in sizes:
        raise ValueError("normalized_shape must be that of the last axes of x, none of them empty; x has shape "
                         f"{shape}, got {normalized_shape}")
    for number in sizes:
        size *= number
    return shape[:len(shape) - len(sizes)], size, sizes


cdef object as_rows(object source, str name, tuple shape, tuple rows):
    """An array of this shape in the shape (*leading, size): a view where its strides let it."""
    cdef operand o
    clear(&o, 1)
    try:
        open_source(source, name, REAL, PyBUF_RECORDS_RO, &o)
        if view_shape(&o) != shape:
            raise ValueError(f"{name} must have shape {shape} as x and normalized_shape have it, got {view_shape(&o)}")
    finally:
        release(&o, 1)
    return numpy.asarray(source).reshape(rows)


cdef tuple shape_of(object source, str name):
    cdef operand o
    clear(&o, 1)
    try:
        open_source(source, name, REAL, PyBUF_RECORDS_RO, &o)
        return view_shape(&o)
    finally:
        release(&o, 1)


cdef void describe_kept(const operand *x, operand *o) noexcept:
    """A contiguous array with one number for each row of x, in as many axes as x was folded to."""
    cdef int i, ndim = x.tensor.ndim - 1
    cdef int64_t stride = 8
    o.tensor.data = o.view.buf
    o.tensor.dtype = CONVC_F64
    o.tensor.ndim = ndim
    for i in range(ndim - 1, -1, -1):
        o.tensor.shape[i] = x.tensor.shape[i]
        o.tensor.strides[i] = stride
        stride *= x.tensor.shape[i]


cdef const convc_tensor *load_row(object source, str name, tuple normalized, int64_t size, const operand *x,
                                  operand *o) except? NULL:
    if source is None:
        return NULL
    return load_vector(as_rows(source, name, normalized, (size,)), name, size, "element", x, False, o)


cdef object row_result(object out, tuple shape, const operand *x):
    cdef operand o
    if out is None:
        return _empty(shape, numpy_dtype(x.tensor.dtype))
    clear(&o, 1)
    try:
        open_source(out, "out", REAL, PyBUF_RECORDS, &o)
        same_dtype(&o, "out", x, "x")
        if view_shape(&o) != shape:
            raise ValueError(f"out must have shape {shape}, got {view_shape(&o)}")
    finally:
        release(&o, 1)
    return out


def layer_norm(x, normalized_shape, weight=None, bias=None, eps=1e-5, *, return_statistics=False, out=None):
    """
    Layer normalisation: the last axes of each sample by their own mean and variance, then weight and bias.

    Ba, Kiros and Hinton, https://arxiv.org/abs/1607.06450.

    Parameters
    ----------
    x : ndarray, (..., *normalized_shape)
        float32 or float64, any strides.
    normalized_shape : int or tuple of int
        The last axes of x, over which mean and variance are taken together.
    weight, bias : ndarray, normalized_shape, optional
    eps : float
    return_statistics : bool
        Also return the mean and ``1 / sqrt(var + eps)`` of each sample, which `layer_norm_backward` wants.
    out : ndarray, optional
        Where the result goes: x's shape and dtype, any strides, no overlap with an input.

    Returns
    -------
    y : ndarray of x's shape and dtype
    mean, inv_std : ndarray of float64 in the shape of x's other axes, if `return_statistics`

    Raises
    ------
    ValueError
        Shapes that do not go together, a negative `eps`, or an `out` that does not fit.
    TypeError
        Arguments of the wrong type or dtype.
    MemoryError
        No memory for the result.

    Examples
    --------
    >>> import numpy as np, convc
    >>> convc.layer_norm(np.array([[1.0, 3.0], [10.0, 30.0]]), 2, eps=0)
    array([[-1.,  1.],
           [-1.,  1.]])
    """
    cdef operand[6] o  # x, out, weight, bias, the statistics
    cdef const convc_tensor *w
    cdef const convc_tensor *b
    cdef convc_status status
    cdef double number = parse_number(eps, "eps")
    shape = shape_of(x, "x")
    leading, size, normalized = parse_normalized(normalized_shape, shape)
    mean, inv_std = _empty(leading, _float64), _empty(leading, _float64)
    clear(o, 6)
    try:
        open_source(as_rows(x, "x", shape, leading + (size,)), "x", REAL, PyBUF_RECORDS_RO, &o[0])
        w = load_row(weight, "weight", normalized, size, &o[0], &o[2])
        b = load_row(bias, "bias", normalized, size, &o[0], &o[3])
        out = row_result(out, shape, &o[0])
        target = numpy.asarray(out).reshape(leading + (size,))
        open_source(target, "out", REAL, PyBUF_RECORDS, &o[1])
        open_source(mean, "mean", REAL, PyBUF_RECORDS, &o[4])
        open_source(inv_std, "inv_std", REAL, PyBUF_RECORDS, &o[5])
        if not is_empty(&o[0]):
            if not numpy.may_share_memory(target, out) or fold(o, 2, o[0].view.ndim - 1) < 0:
                fresh, mean, inv_std = layer_norm(_array(x, order="C"), normalized, weight, bias, eps,
                                                  return_statistics=True)
                copy_result(fresh, out, (x, weight, bias))
                return (out, mean, inv_std) if return_statistics else out
            describe_kept(&o[0], &o[4])
            describe_kept(&o[0], &o[5])
            with nogil:
                status = convc_layer_norm_forward(&o[0].tensor, w, b, number, &o[1].tensor, &o[4].tensor, &o[5].tensor)
            check(status)
        return (out, mean, inv_std) if return_statistics else out
    finally:
        release(o, 6)


def layer_norm_backward(grad, x, normalized_shape, mean, inv_std, weight=None, *, needs=("x", "weight", "bias")):
    """
    The gradients of `layer_norm`.

    Parameters
    ----------
    grad : ndarray of x's shape and dtype
        The gradient with respect to the output.
    x : ndarray
        The input of `layer_norm`.
    normalized_shape
        What `layer_norm` had.
    mean, inv_std : ndarray of float64 in the shape of x's other axes
        What `layer_norm` returned with ``return_statistics=True``.
    weight : ndarray, normalized_shape, optional
    needs : tuple of "x", "weight" and "bias"
        Which gradients to compute; the others are None.

    Returns
    -------
    grad_x : ndarray of x's shape
    grad_weight, grad_bias : ndarray, normalized_shape

    Raises
    ------
    ValueError
        Shapes that do not go together.
    TypeError
        Arguments of the wrong type or dtype.
    MemoryError
        No memory for the result.

    Examples
    --------
    >>> import numpy as np, convc
    >>> x = np.array([[1.0, 3.0], [10.0, 30.0]])
    >>> y, mean, inv_std = convc.layer_norm(x, 2, eps=0, return_statistics=True)
    >>> convc.layer_norm_backward(np.ones((2, 2)), x, 2, mean, inv_std)[1]
    array([-2.,  2.])
    """
    cdef operand[8] o  # x, grad, the gradient of x, weight, the statistics, the other gradients
    cdef const convc_tensor *w
    cdef const convc_tensor *grad_x = NULL
    cdef const convc_tensor *grad_w
    cdef const convc_tensor *grad_b
    cdef convc_status status
    cdef int mask = parse_needs(needs)
    cdef int64_t length
    cdef list results = []
    shape = shape_of(x, "x")
    leading, size, normalized = parse_normalized(normalized_shape, shape)
    length = size
    clear(o, 8)
    try:
        open_source(as_rows(x, "x", shape, leading + (size,)), "x", REAL, PyBUF_RECORDS_RO, &o[0])
        open_source(as_rows(grad, "grad", shape, leading + (size,)), "grad", REAL, PyBUF_RECORDS_RO, &o[1])
        same_dtype(&o[1], "grad", &o[0], "x")
        w = load_row(weight, "weight", normalized, size, &o[0], &o[3])
        load_statistics(mean, "mean", leading, &o[4])
        load_statistics(inv_std, "inv_std", leading, &o[5])
        kept = numpy.array(mean, order="C"), numpy.array(inv_std, order="C")
        to = _empty(leading + (size,), numpy_dtype(o[0].tensor.dtype))
        open_source(to, "grad_x", REAL, PyBUF_RECORDS, &o[2])
        grad_w = gradient(mask & 2, &length, 1, False, o[0].tensor.dtype, results, &o[6])
        grad_b = gradient(mask & 4, &length, 1, False, o[0].tensor.dtype, results, &o[7])
        if is_empty(&o[0]):
            zeros = [None if r is None else numpy.zeros(normalized, r.dtype) for r in results]
            return (to.reshape(shape) if mask & 1 else None, *zeros)
        if fold(o, 3, o[0].view.ndim - 1) < 0:
            return layer_norm_backward(_array(grad, order="C"), _array(x, order="C"), normalized, mean, inv_std, weight,
                                       needs=needs)
        for i in range(2):
            release(&o[4 + i], 1)
            open_source(kept[i], "mean", REAL, PyBUF_RECORDS_RO, &o[4 + i])
            describe_kept(&o[0], &o[4 + i])
        if mask & 1:
            grad_x = &o[2].tensor
        with nogil:
            status = convc_layer_norm_backward(&o[1].tensor, &o[0].tensor, w, &o[4].tensor, &o[5].tensor, grad_x,
                                               grad_w, grad_b)
        check(status)
        return (to.reshape(shape) if mask & 1 else None,
                *[r if r is None else r.reshape(normalized) for r in results])
    finally:
        release(o, 8)
