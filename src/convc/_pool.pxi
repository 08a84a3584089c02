# Max pooling, forward and backward.

cdef int parse_windows(object kernel_size, object stride, object padding, object dilation, object fit, int spatial,
                       convc_pool_params *p) except -1:
    parse_axes(kernel_size, "kernel_size", spatial, p.kernel)
    parse_axes(kernel_size if stride is None else stride, "stride", spatial, p.stride)
    parse_axes(dilation, "dilation", spatial, p.dilation)
    parse_padding(padding, spatial, p.kernel, p.stride, p.dilation, p.pad_before, p.pad_after)
    p.fit = <convc_fit> parse_fit(fit, True)
    return 0


cdef object pool(int spatial, object x, object kernel_size, object stride, object padding, object dilation,
                 object layout, object fit, object return_indices, object out):
    cdef operand[3] o  # x, out, indices
    cdef convc_pool_params p
    cdef int64_t[5] shape
    cdef int ndim = spatial + 2
    cdef convc_status status
    cdef bint last = parse_layout(layout, spatial)
    cdef const convc_tensor *index_tensor = NULL
    indices = None
    clear(o, 3)
    try:
        load(x, "x", REAL, ndim, last, &o[0])
        parse_windows(kernel_size, stride, padding, dilation, fit, spatial, &p)
        check(convc_pool_output_shape(ndim, o[0].tensor.shape, &p, shape))
        out = result(out, shape, ndim, last, o[0].tensor.dtype, &o[1])
        if return_indices:
            indices = result(None, shape, ndim, last, CONVC_I64, &o[2])
            index_tensor = &o[2].tensor
        with nogil:
            status = convc_max_pool_forward(&o[0].tensor, &p, &o[1].tensor, index_tensor)
        check(status)
        return (out, indices) if return_indices else out
    finally:
        release(o, 3)


cdef int same_batch(const operand *grad, object x_shape, const int64_t *shape) except -1:
    if shape[0] != grad.tensor.shape[0] or shape[1] != grad.tensor.shape[1]:
        raise ValueError(f"x_shape must have the batch and channels of grad, which has shape {view_shape(grad)}; "
                         f"got {x_shape}")
    return 0


cdef object pool_backward(int spatial, object grad, object indices, object x_shape, object layout):
    cdef operand[3] o  # grad, indices, the gradient of x
    cdef int64_t[5] shape
    cdef int ndim = spatial + 2
    cdef convc_status status
    cdef bint last = parse_layout(layout, spatial)
    clear(o, 3)
    try:
        load(grad, "grad", REAL, ndim, last, &o[0])
        load(indices, "indices", INTEGER, ndim, last, &o[1])
        same_shape(&o[1], "indices", o[0].tensor.shape, ndim, last)
        parse_shape(x_shape, "x_shape", ndim, last, shape)
        same_batch(&o[0], x_shape, shape)
        grad_x = result(None, shape, ndim, last, o[0].tensor.dtype, &o[2])
        with nogil:
            status = convc_max_pool_backward(&o[0].tensor, &o[1].tensor, &o[2].tensor)
        check(status)
        return grad_x
    finally:
        release(o, 3)


def max_pool1d(x, kernel_size, stride=None, padding=0, dilation=1, *, layout="NCW", fit="floor",
               return_indices=False, out=None):
    """
    Max pooling of sequences: `max_pool2d` with one spatial axis.

    Parameters
    ----------
    x : ndarray, (n, channels, width), or (n, width, channels) with layout "NWC"
    kernel_size, stride, padding, dilation, layout, fit, return_indices, out
        As in `max_pool2d`.

    Returns
    -------
    y : ndarray, (n, channels, out_width), or (n, out_width, channels) with layout "NWC"
    indices : ndarray of int64, if `return_indices`

    Raises
    ------
    ValueError, TypeError, MemoryError
        As `max_pool2d` does.

    Examples
    --------
    >>> import numpy as np, convc
    >>> convc.max_pool1d(np.array([[[3.0, 1.0, 4.0, 1.0, 5.0]]]), 2, fit="ceil")
    array([[[3., 4., 5.]]])
    """
    return pool(1, x, kernel_size, stride, padding, dilation, layout, fit, return_indices, out)


def max_pool2d(x, kernel_size, stride=None, padding=0, dilation=1, *, layout="NCHW", fit="floor",
               return_indices=False, out=None):
    """
    The largest value in each window of an image, with the arguments of PyTorch's `max_pool2d`.

    A NaN in a window is its maximum. Padding counts as minus infinity.

    Parameters
    ----------
    x : ndarray, (n, channels, height, width), or (n, height, width, channels) with layout "NHWC"
        float32 or float64, any strides; n may be 0.
    kernel_size : int or (int, int)
    stride : int or (int, int), optional
        kernel_size if not given.
    padding : int, (int, int), ((before, after), (before, after)), "valid" or "same"
        At most half of the window.
    dilation : int or (int, int)
    layout : "NCHW" or "NHWC"
    fit : "floor", "exact" or "ceil"
        What to do if the stride does not divide the way left: drop the rest, raise a ValueError that says what would
        fit, or add a partial window if it starts inside the image or the padding before it, as PyTorch's ``ceil_mode``.
        It may be the only one, if it sticks out by less than a stride.
    return_indices : bool
        Also return where each maximum was.
    out : ndarray, optional
        Where y goes: its shape and dtype, any strides, no overlap with x.

    Returns
    -------
    y : ndarray, (n, channels, out_height, out_width), or (n, out_height, out_width, channels) with layout "NHWC"
    indices : ndarray of int64 with y's shape, if `return_indices`
        Each maximum's place, ``row * width + column`` of its channel's plane, as in PyTorch; the first one of equals.

    Raises
    ------
    ValueError
        Sizes that do not go together.
    TypeError
        Arguments of the wrong type, or a dtype other than float32 and float64.
    MemoryError
        No memory for the result.

    Examples
    --------
    >>> import numpy as np, convc
    >>> x = np.arange(16, dtype=np.float32).reshape(1, 1, 4, 4)
    >>> y, indices = convc.max_pool2d(x, 2, return_indices=True)
    >>> y
    array([[[[ 5.,  7.],
             [13., 15.]]]], dtype=float32)
    >>> indices.tolist()
    [[[[5, 7], [13, 15]]]]
    """
    return pool(2, x, kernel_size, stride, padding, dilation, layout, fit, return_indices, out)


def max_pool3d(x, kernel_size, stride=None, padding=0, dilation=1, *, layout="NCDHW", fit="floor",
               return_indices=False, out=None):
    """
    Max pooling of volumes: `max_pool2d` with three spatial axes.

    Parameters
    ----------
    x : ndarray, (n, channels, depth, height, width), or (n, depth, height, width, channels) with layout "NDHWC"
    kernel_size, stride, padding, dilation, layout, fit, return_indices, out
        As in `max_pool2d`.

    Returns
    -------
    y : ndarray, (n, channels, *out_size), or (n, *out_size, channels) with layout "NDHWC"
    indices : ndarray of int64, if `return_indices`
        ``(slice * height + row) * width + column`` of each maximum.

    Raises
    ------
    ValueError, TypeError, MemoryError
        As `max_pool2d` does.

    Examples
    --------
    >>> import numpy as np, convc
    >>> convc.max_pool3d(np.ones((1, 2, 4, 6, 8), np.float32), (1, 2, 2)).shape
    (1, 2, 4, 3, 4)
    """
    return pool(3, x, kernel_size, stride, padding, dilation, layout, fit, return_indices, out)


def max_pool1d_backward(grad, indices, x_shape, *, layout="NCW"):
    """
    The gradient of `max_pool1d`; all as for `max_pool2d_backward`, with one spatial axis.

    Parameters
    ----------
    grad, indices : ndarray, of the shape of the output
    x_shape : tuple of 3 ints
    layout : "NCW" or "NWC"

    Returns
    -------
    ndarray of shape x_shape

    Raises
    ------
    ValueError, TypeError, MemoryError
        As `max_pool2d_backward` does.

    Examples
    --------
    >>> import numpy as np, convc
    >>> y, indices = convc.max_pool1d(np.array([[[3.0, 1.0, 4.0, 1.0]]]), 2, return_indices=True)
    >>> convc.max_pool1d_backward(np.ones_like(y), indices, (1, 1, 4))
    array([[[1., 0., 1., 0.]]])
    """
    return pool_backward(1, grad, indices, x_shape, layout)


def max_pool2d_backward(grad, indices, x_shape, *, layout="NCHW"):
    """
    The gradient of `max_pool2d`: each entry of grad is added where its maximum was.

    Parameters
    ----------
    grad : ndarray, of the shape of the output
        float32 or float64.
    indices : ndarray of int64, of the shape of the output
        From `max_pool2d` with `return_indices`.
    x_shape : tuple of 4 ints
        The shape of the input, in the order of `layout`.
    layout : "NCHW" or "NHWC"

    Returns
    -------
    ndarray of shape x_shape

    Raises
    ------
    ValueError
        Shapes that do not go together, or an index outside the plane.
    TypeError
        Arguments of the wrong type or dtype.
    MemoryError
        No memory for the result.

    Examples
    --------
    >>> import numpy as np, convc
    >>> x = np.arange(16, dtype=np.float32).reshape(1, 1, 4, 4)
    >>> y, indices = convc.max_pool2d(x, 2, return_indices=True)
    >>> convc.max_pool2d_backward(np.ones_like(y), indices, x.shape)
    array([[[[0., 0., 0., 0.],
             [0., 1., 0., 1.],
             [0., 0., 0., 0.],
             [0., 1., 0., 1.]]]], dtype=float32)
    """
    return pool_backward(2, grad, indices, x_shape, layout)


def max_pool3d_backward(grad, indices, x_shape, *, layout="NCDHW"):
    """
    The gradient of `max_pool3d`; all as for `max_pool2d_backward`, with three spatial axes.

    Parameters
    ----------
    grad, indices : ndarray, of the shape of the output
    x_shape : tuple of 5 ints
    layout : "NCDHW" or "NDHWC"

    Returns
    -------
    ndarray of shape x_shape

    Raises
    ------
    ValueError, TypeError, MemoryError
        As `max_pool2d_backward` does.

    Examples
    --------
    >>> import numpy as np, convc
    >>> y, indices = convc.max_pool3d(np.ones((1, 1, 2, 2, 2), np.float32), 2, return_indices=True)
    >>> convc.max_pool3d_backward(y, indices, (1, 1, 2, 2, 2)).ravel()
    array([1., 0., 0., 0., 0., 0., 0., 0.], dtype=float32)
    """
    return pool_backward(3, grad, indices, x_shape, layout)
