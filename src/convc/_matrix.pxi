# Column matrices, matrix products and fully connected layers.

cdef int parse_columns(int spatial, object kernel_size, object stride, object padding, object dilation, int64_t *kernel,
                       convc_conv_params *p) except -1:
    parse_axes(kernel_size, "kernel_size", spatial, kernel)
    return parse_conv(spatial, stride, padding, dilation, 1, "zeros", "floor", "auto", None, kernel, p)


def im2col(x, kernel_size, stride=1, padding=0, dilation=1, *, layout="NCHW", out=None):
    """
    The column matrix of an image: convolution is its product with the weights.

    Column p holds the pixels that output p of a convolution reads, in the order (channel, *kernel); padding is zeros.
    PyTorch's `unfold`, for one to three spatial axes.

    Parameters
    ----------
    x : ndarray, (n, channels, height, width) or as `layout` says
        float32 or float64.
    kernel_size : int, or one for each spatial axis
    stride, padding, dilation
        As in `conv2d`.
    layout : "NCHW", "NHWC", "NCW", "NWC", "NCDHW" or "NDHWC"
        Of x; the columns are the same for both of a kind.
    out : ndarray, optional
        Where the result goes: its shape and dtype, any strides, no overlap with x.

    Returns
    -------
    ndarray, (n, channels * product of kernel_size, positions)

    Raises
    ------
    ValueError
        Sizes that do not go together, or a matrix too large to address.
    TypeError
        Arguments of the wrong type or dtype.
    MemoryError
        No memory for the matrix.

    Examples
    --------
    >>> import numpy as np, convc
    >>> x = np.arange(9, dtype=np.float32).reshape(1, 1, 3, 3)
    >>> convc.im2col(x, 2)
    array([[[0., 1., 3., 4.],
            [1., 2., 4., 5.],
            [3., 4., 6., 7.],
            [4., 5., 7., 8.]]], dtype=float32)
    """
    cdef operand[2] o  # x, columns
    cdef convc_conv_params p
    cdef int64_t[3] kernel
    cdef int64_t[3] shape
    cdef convc_status status
    cdef int spatial = spatial_of_layout(layout)
    clear(o, 2)
    try:
        load(x, "x", REAL, spatial + 2, parse_layout(layout, spatial), &o[0])
        parse_columns(spatial, kernel_size, stride, padding, dilation, kernel, &p)
        check(convc_im2col_shape(spatial + 2, o[0].tensor.shape, kernel, &p, shape))
        out = result(out, shape, 3, False, o[0].tensor.dtype, &o[1])
        with nogil:
            status = convc_im2col(&o[0].tensor, kernel, &p, &o[1].tensor)
        check(status)
        return out
    finally:
        release(o, 2)


def col2im(cols, output_size, kernel_size, stride=1, padding=0, dilation=1, *, layout="NCHW"):
    """
    The adjoint of `im2col`: each pixel is the sum of its copies in the column matrix. PyTorch's `fold`.

    Parameters
    ----------
    cols : ndarray, (n, channels * product of kernel_size, positions)
        float32 or float64.
    output_size : int, or one for each spatial axis
        The image's height and width.
    kernel_size, stride, padding, dilation
        What `im2col` had.
    layout : "NCHW", "NHWC", "NCW", "NWC", "NCDHW" or "NDHWC"
        Of the result.

    Returns
    -------
    ndarray, (n, channels, *output_size), or as `layout` says

    Raises
    ------
    ValueError
        Columns whose shape `im2col` would not give for an image of this size.
    TypeError
        Arguments of the wrong type or dtype.
    MemoryError
        No memory for the image.

    Examples
    --------
    How often `im2col` reads each pixel:

    >>> import numpy as np, convc
    >>> convc.col2im(np.ones((1, 4, 4), np.float32), (3, 3), 2)
    array([[[[1., 2., 1.],
             [2., 4., 2.],
             [1., 2., 1.]]]], dtype=float32)
    """
    cdef operand[2] o  # columns, x
    cdef convc_conv_params p
    cdef int64_t[3] kernel
    cdef int64_t[3] wanted
    cdef int64_t[5] shape
    cdef convc_status status
    cdef int spatial = spatial_of_layout(layout)
    cdef bint last = parse_layout(layout, spatial)
    clear(o, 2)
    try:
        load(cols, "cols", REAL, 3, False, &o[0])
        parse_axes(output_size, "output_size", spatial, shape + 2)
        parse_columns(spatial, kernel_size, stride, padding, dilation, kernel, &p)
        shape[0] = o[0].tensor.shape[0]
        shape[1] = channels_of_columns(o[0].tensor.shape[1], kernel, spatial)
        for i in range(spatial):
            if shape[i + 2] < 1:
                raise ValueError(f"output_size must be at least 1, got {shape[i + 2]} in spatial dimension {i}")
        check(convc_im2col_shape(spatial + 2, shape, kernel, &p, wanted))
        same_shape(&o[0], "cols", wanted, 3, False)
        x = result(None, shape, spatial + 2, last, o[0].tensor.dtype, &o[1])
        with nogil:
            status = convc_col2im(&o[0].tensor, kernel, &p, &o[1].tensor)
        check(status)
        return x
    finally:
        release(o, 2)


cdef int64_t channels_of_columns(int64_t rows, const int64_t *kernel, int spatial) except -1:
    cdef int64_t channels = rows
    for i in range(spatial):
        if kernel[i] < 1:
            raise ValueError(f"kernel_size must be at least 1, got {kernel[i]} in spatial dimension {i}")
        if channels % kernel[i] or channels == 0:
            sizes = [kernel[j] for j in range(spatial)]
            raise ValueError(f"cols must have channels * product of kernel_size {sizes} rows, got {rows}")
        channels //= kernel[i]
    return channels


def gemm(a, b, *, accumulate=False, out=None):
    """
    The matrix product ``a @ b``.

    Parameters
    ----------
    a : ndarray, (m, k)
        float32 or float64, any strides: pass ``a.T`` for a transposed operand, it costs nothing.
    b : ndarray, (k, n)
    accumulate : bool
        Add the product to `out`, which must then be given.
    out : ndarray, (m, n), optional
        Where the result goes: any strides, no overlap with a and b.

    Returns
    -------
    ndarray, (m, n)

    Raises
    ------
    ValueError
        Shapes that do not go together, or nothing to accumulate to.
    TypeError
        Arguments of the wrong type or dtype.
    MemoryError
        No memory for the result.

    Examples
    --------
    >>> import numpy as np, convc
    >>> a, b = np.eye(2, dtype=np.float32), np.ones((2, 3), np.float32)
    >>> convc.gemm(a, b)
    array([[1., 1., 1.],
           [1., 1., 1.]], dtype=float32)
    """
    cdef operand[3] o  # a, b, out
    cdef int64_t[2] shape
    cdef convc_status status
    cdef bint add = accumulate
    if add and out is None:
        raise ValueError("out must be given if accumulate is set: the product is added to it")
    clear(o, 3)
    try:
        load(a, "a", REAL, 2, False, &o[0])
        load(b, "b", REAL, 2, False, &o[1])
        same_dtype(&o[1], "b", &o[0], "a")
        if o[0].tensor.shape[1] != o[1].tensor.shape[0]:
            raise ValueError(f"b must have as many rows as a has columns, got shapes {view_shape(&o[0])} and "
                             f"{view_shape(&o[1])}")
        shape[0] = o[0].tensor.shape[0]
        shape[1] = o[1].tensor.shape[1]
        out = result(out, shape, 2, False, o[0].tensor.dtype, &o[2])
        with nogil:
            status = convc_gemm(&o[0].tensor, &o[1].tensor, add, &o[2].tensor)
        check(status)
        return out
    finally:
        release(o, 3)


cdef int load_rows(object source, str name, operand *o) except -1:
    """An input (..., features) as a matrix; a copy of it where its strides do not allow that."""
    open_source(source, name, REAL, PyBUF_RECORDS_RO, o)
    if o.view.ndim < 1:
        raise ValueError(f"{name} must have at least 1 dimension, got 0")
    if not describe_rows(o):
        release_buffer(&o.view)
        return load_rows(_array(source, order="C"), name, o)
    return 0


cdef object rows_result(object out, const operand *x, int64_t features, operand *o):
    """The array (..., features) for such an x, described as a matrix; None if its strides do not allow that."""
    shape = view_shape(x)[:-1] + (features,)
    if out is None:
        out = new_array(shape, x.tensor.dtype)
    open_source(out, "out", REAL, PyBUF_RECORDS, o)
    same_dtype(o, "out", x, "x")
    if view_shape(o) != shape:
        raise ValueError(f"out must have shape {shape}, got {view_shape(o)}")
    return out if describe_rows(o) else None


cdef bint describe_rows(operand *o) noexcept:
    if o.view.ndim == 2:
        describe(o, False)
        return True
    if fold(o, 1, o.view.ndim - 1) < 0 or o.tensor.ndim > 2:
        return False
    if o.tensor.ndim == 1:
        o.tensor.ndim = 2
        o.tensor.shape[1] = o.tensor.shape[0]
        o.tensor.strides[1] = o.tensor.strides[0]
        o.tensor.shape[0] = 1
        o.tensor.strides[0] = o.view.itemsize
    return True


def linear(x, weight, bias=None, *, activation=None, out=None):
    """
    A fully connected layer: ``activation(x @ weight.T + bias)``, with the arguments of PyTorch's `linear`.

    Parameters
    ----------
    x : ndarray, (..., in_features)
        float32 or float64, any strides.
    weight : ndarray, (out_features, in_features)
    bias : ndarray, (out_features,), optional
    activation : None or "relu"
        Applied to each output before it is stored.
    out : ndarray, (..., out_features), optional
        Where the result goes: any strides, no overlap with the inputs.

    Returns
    -------
    ndarray, (..., out_features)

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
    >>> x, weight = np.array([[1.0, -2.0]]), np.array([[1.0, 1.0], [1.0, -1.0]])
    >>> convc.linear(x, weight, activation="relu")
    array([[0., 3.]])
    """
    cdef operand[4] o  # x, weight, out, bias
    cdef convc_status status
    cdef const convc_tensor *bias_tensor = NULL
    cdef convc_activation active = <convc_activation> parse_activation(activation)
    clear(o, 4)
    try:
        load_rows(x, "x", &o[0])
        load(weight, "weight", REAL, 2, False, &o[1])
        same_dtype(&o[1], "weight", &o[0], "x")
        if o[0].tensor.shape[1] != o[1].tensor.shape[1]:
            raise ValueError(f"weight must have {o[0].tensor.shape[1]} input features as x has, got shape "
                             f"{view_shape(&o[1])}")
        if o[1].tensor.shape[0] < 1:
            raise ValueError(f"weight must have at least 1 output feature, got shape {view_shape(&o[1])}")
        if bias is not None:
            load(bias, "bias", REAL, 1, False, &o[3])
            same_dtype(&o[3], "bias", &o[0], "x")
            same_shape(&o[3], "bias", o[1].tensor.shape, 1, False)
            bias_tensor = &o[3].tensor
        target = rows_result(out, &o[0], o[1].tensor.shape[0], &o[2])
        if target is None:
            return copy_result(linear(x, weight, bias, activation=activation), out, (x, weight, bias))
        with nogil:
            status = convc_linear_forward(&o[0].tensor, &o[1].tensor, bias_tensor, active, &o[2].tensor)
        check(status)
        return target
    finally:
        release(o, 4)


def linear_backward(grad, x, weight, *, needs=_ALL_NEEDS):
    """
    The gradients of `linear` with respect to its input, weight and bias.

    ``grad @ weight``, ``grad.T @ x`` and the sum of grad, over all leading axes.

    Parameters
    ----------
    grad : ndarray, (..., out_features)
        The gradient of the loss with respect to the output, before any activation. Of one dtype with x and weight.
    x : ndarray, (..., in_features)
    weight : ndarray, (out_features, in_features)
    needs : tuple of str
        Which gradients to compute, of "x", "weight" and "bias".

    Returns
    -------
    (grad_x, grad_weight, grad_bias) : tuple of ndarray, None where not needed

    Raises
    ------
    ValueError
        Shapes that do not go together.
    TypeError
        Arguments of the wrong type or dtype.
    MemoryError
        No memory for the results.

    Examples
    --------
    >>> import numpy as np, convc
    >>> x, weight = np.ones((3, 2), np.float32), np.ones((1, 2), np.float32)
    >>> grad_x, grad_weight, grad_bias = convc.linear_backward(np.ones((3, 1), np.float32), x, weight)
    >>> grad_weight, grad_bias
    (array([[3., 3.]], dtype=float32), array([3.], dtype=float32))
    """
    cdef operand[6] o  # grad, x, weight and the gradients of x, weight and bias
    cdef convc_status status = CONVC_OK
    cdef int mask = parse_needs(needs)
    grad_x = grad_weight = grad_bias = None
    clear(o, 6)
    try:
        load_rows(grad, "grad", &o[0])
        load_rows(x, "x", &o[1])
        load(weight, "weight", REAL, 2, False, &o[2])
        same_dtype(&o[1], "x", &o[0], "grad")
        same_dtype(&o[2], "weight", &o[0], "grad")
        if o[1].tensor.shape[1] != o[2].tensor.shape[1]:
            raise ValueError(f"weight must have {o[1].tensor.shape[1]} input features as x has, got shape "
                             f"{view_shape(&o[2])}")
        wanted = view_shape(&o[1])[:-1] + (o[2].tensor.shape[0],)
        if view_shape(&o[0]) != wanted:
            raise ValueError(f"grad must have shape {wanted}, got {view_shape(&o[0])}")
        if mask & 1:
            grad_x = rows_result(None, &o[1], o[1].tensor.shape[1], &o[3])
        if mask & 2:
            grad_weight = result(None, o[2].tensor.shape, 2, False, o[0].tensor.dtype, &o[4])
        if mask & 4:
            grad_bias = result(None, o[2].tensor.shape, 1, False, o[0].tensor.dtype, &o[5])
        with nogil:
            if mask & 1:
                status = convc_linear_backward_data(&o[0].tensor, &o[2].tensor, &o[3].tensor)
            if mask & 2 and status == CONVC_OK:
                status = convc_linear_backward_weight(&o[0].tensor, &o[1].tensor, &o[4].tensor)
            if mask & 4 and status == CONVC_OK:
                status = convc_backward_bias(&o[0].tensor, &o[5].tensor)
        check(status)
        return grad_x, grad_weight, grad_bias
    finally:
        release(o, 6)
