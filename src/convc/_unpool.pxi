# The reverse of max pooling: values go back to the places that indices name.

cdef object unpool(int spatial, object x, object indices, object kernel_size, object stride, object padding,
                   object output_size, object layout, object out):
    cdef operand[3] o  # x, indices, out
    cdef convc_pool_params p
    cdef int64_t[5] shape
    cdef int64_t[3] size
    cdef const int64_t *wanted = NULL
    cdef int ndim = spatial + 2
    cdef convc_status status
    cdef bint last = parse_layout(layout, spatial)
    clear(o, 3)
    try:
        load(x, "x", REAL, ndim, last, &o[0])
        load(indices, "indices", INTEGER, ndim, last, &o[1])
        same_shape(&o[1], "indices", o[0].tensor.shape, ndim, last)
        parse_windows(kernel_size, stride, padding, 1, "floor", spatial, &p)
        if output_size is not None:
            if isinstance(output_size, (tuple, list)) and len(output_size) == ndim:  # a whole shape, as PyTorch allows
                output_size = output_size[1:-1] if last else output_size[2:]
            parse_axes(output_size, "output_size", spatial, size)
            wanted = size
        check(convc_unpool_output_shape(ndim, o[0].tensor.shape, &p, wanted, shape))
        out = result(out, shape, ndim, last, o[0].tensor.dtype, &o[2])
        with nogil:
            status = convc_max_unpool_forward(&o[0].tensor, &o[1].tensor, &o[2].tensor)
        check(status)
        return out
    finally:
        release(o, 3)


cdef object unpool_backward(int spatial, object grad, object indices, object layout):
    cdef operand[3] o  # grad, indices, the gradient of x
    cdef int ndim = spatial + 2
    cdef convc_status status
    cdef bint last = parse_layout(layout, spatial)
    clear(o, 3)
    try:
        load(grad, "grad", REAL, ndim, last, &o[0])
        load(indices, "indices", INTEGER, ndim, last, &o[1])
        if (o[1].tensor.shape[0], o[1].tensor.shape[1]) != (o[0].tensor.shape[0], o[0].tensor.shape[1]):
            raise ValueError(f"indices must have the batch and channels of grad, which has shape {view_shape(&o[0])}; "
                             f"got {view_shape(&o[1])}")
        grad_x = result(None, o[1].tensor.shape, ndim, last, o[0].tensor.dtype, &o[2])
        with nogil:
            status = convc_max_unpool_backward(&o[0].tensor, &o[1].tensor, &o[2].tensor)
        check(status)
        return grad_x
    finally:
        release(o, 3)


def max_unpool1d(x, indices, kernel_size, stride=None, padding=0, output_size=None, *, layout="NCW", out=None):
    """
    The reverse of `max_pool1d`: `max_unpool2d` with one spatial axis.

    Parameters
    ----------
    x : ndarray, (n, channels, width), or (n, width, channels) with layout "NWC"
    indices : ndarray of int64, of x's shape
    kernel_size, stride, padding, output_size, layout, out
        As in `max_unpool2d`.

    Returns
    -------
    y : ndarray, (n, channels, out_width), or (n, out_width, channels) with layout "NWC"

    Raises
    ------
    ValueError, TypeError, MemoryError
        As `max_unpool2d` does.

    Examples
    --------
    >>> import numpy as np, convc
    >>> convc.max_unpool1d(np.array([[[3.0, 4.0]]]), np.array([[[0, 2]]]), 2)
    array([[[3., 0., 4., 0.]]])
    """
    return unpool(1, x, indices, kernel_size, stride, padding, output_size, layout, out)


def max_unpool2d(x, indices, kernel_size, stride=None, padding=0, output_size=None, *, layout="NCHW", out=None):
    """
    The reverse of `max_pool2d`: zeros, but x at the places that indices name. The arguments are PyTorch's.

    If several indices of a channel name one place, the last of them in row-major order counts (PyTorch leaves open
    which).

    Parameters
    ----------
    x : ndarray, (n, channels, height, width), or (n, height, width, channels) with layout "NHWC"
        float32 or float64, any strides; n may be 0.
    indices : ndarray of int64, of x's shape
        ``row * out_width + column`` for each value, as `max_pool2d` returns them.
    kernel_size : int or (int, int)
    stride : int or (int, int), optional
        kernel_size if not given.
    padding : int, (int, int), ((before, after), (before, after)), "valid" or "same"
        As in the call of `max_pool2d`.
    output_size : tuple of 2 ints, or a shape of 4, optional
        Several sizes are pooled to x's size; this says which it was, less than a stride off from the size that is taken
        if it is not given, ``(size - 1) * stride + kernel_size - padding``.
    layout : "NCHW" or "NHWC"
    out : ndarray, optional
        Where y goes: its shape and dtype, any strides, no overlap with x.

    Returns
    -------
    y : ndarray, (n, channels, out_height, out_width), or (n, out_height, out_width, channels) with layout "NHWC"

    Raises
    ------
    ValueError
        Sizes that do not go together, or an index outside the plane.
    TypeError
        Arguments of the wrong type, or a dtype other than float32 and float64.
    MemoryError
        No memory for the result.

    Examples
    --------
    >>> import numpy as np, convc
    >>> x = np.arange(16.0).reshape(1, 1, 4, 4)
    >>> y, indices = convc.max_pool2d(x, 2, return_indices=True)
    >>> convc.max_unpool2d(y, indices, 2)
    array([[[[ 0.,  0.,  0.,  0.],
             [ 0.,  5.,  0.,  7.],
             [ 0.,  0.,  0.,  0.],
             [ 0., 13.,  0., 15.]]]])
    """
    return unpool(2, x, indices, kernel_size, stride, padding, output_size, layout, out)


def max_unpool3d(x, indices, kernel_size, stride=None, padding=0, output_size=None, *, layout="NCDHW", out=None):
    """
    The reverse of `max_pool3d`: `max_unpool2d` with three spatial axes.

    Parameters
    ----------
    x : ndarray, (n, channels, depth, height, width), or (n, depth, height, width, channels) with layout "NDHWC"
    indices : ndarray of int64, of x's shape
    kernel_size, stride, padding, output_size, layout, out
        As in `max_unpool2d`.

    Returns
    -------
    y : ndarray, (n, channels, *out_size), or (n, *out_size, channels) with layout "NDHWC"

    Raises
    ------
    ValueError, TypeError, MemoryError
        As `max_unpool2d` does.

    Examples
    --------
    >>> import numpy as np, convc
    >>> y, indices = convc.max_pool3d(np.ones((1, 1, 2, 2, 2)), 2, return_indices=True)
    >>> convc.max_unpool3d(y, indices, 2).ravel()
    array([1., 0., 0., 0., 0., 0., 0., 0.])
    """
    return unpool(3, x, indices, kernel_size, stride, padding, output_size, layout, out)


def max_unpool1d_backward(grad, indices, *, layout="NCW"):
    """
    The gradient of `max_unpool1d`; all as for `max_unpool2d_backward`, with one spatial axis.

    Parameters
    ----------
    grad : ndarray, of the shape of the output
        float32 or float64.
    indices : ndarray of int64, of the shape of the input
        As in the forward call.
    layout : "NCW" or "NWC"

    Returns
    -------
    ndarray of the shape of indices

    Raises
    ------
    ValueError, TypeError, MemoryError
        As `max_unpool2d_backward` does.

    Examples
    --------
    >>> import numpy as np, convc
    >>> convc.max_unpool1d_backward(np.array([[[1.0, 2.0, 3.0]]]), np.array([[[2, 0]]]))
    array([[[3., 1.]]])
    """
    return unpool_backward(1, grad, indices, layout)


def max_unpool2d_backward(grad, indices, *, layout="NCHW"):
    """
    The gradient of `max_unpool2d`: grad at the places that indices name, also where several name one, as in PyTorch.

    Parameters
    ----------
    grad : ndarray, of the shape of the output
        float32 or float64.
    indices : ndarray of int64, of the shape of the input
        As in the forward call.
    layout : "NCHW" or "NHWC"

    Returns
    -------
    ndarray of the shape of indices

    Raises
    ------
    ValueError
        Shapes that do not go together, or an index outside the plane.
    TypeError
        Arguments of the wrong type, or a dtype other than float32 and float64.
    MemoryError
        No memory for the result.

    Examples
    --------
    >>> import numpy as np, convc
    >>> convc.max_unpool2d_backward(np.arange(4.0).reshape(1, 1, 2, 2), np.array([[[[3]]]]))
    array([[[[3.]]]])
    """
    return unpool_backward(2, grad, indices, layout)


def max_unpool3d_backward(grad, indices, *, layout="NCDHW"):
    """
    The gradient of `max_unpool3d`; all as for `max_unpool2d_backward`, with three spatial axes.

    Parameters
    ----------
    grad : ndarray, of the shape of the output
        float32 or float64.
    indices : ndarray of int64, of the shape of the input
        As in the forward call.
    layout : "NCDHW" or "NDHWC"

    Returns
    -------
    ndarray of the shape of indices

    Raises
    ------
    ValueError, TypeError, MemoryError
        As `max_unpool2d_backward` does.

    Examples
    --------
    >>> import numpy as np, convc
    >>> convc.max_unpool3d_backward(np.arange(4.0).reshape(1, 1, 2, 2, 1), np.array([[[[[2]]]]]))
    array([[[[[2.]]]]])
    """
    return unpool_backward(3, grad, indices, layout)
