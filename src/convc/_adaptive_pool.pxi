# Adaptive pools: windows that share out an image, and how many of them there are is given.

cdef int parse_output_size(object value, int spatial, const int64_t *x_size, int64_t *size) except -1:
    """An int, or one for each spatial axis, where None keeps the size of x."""
    if isinstance(value, (tuple, list)) and len(value) == spatial:
        value = tuple([x_size[i] if value[i] is None else value[i] for i in range(spatial)])
    return parse_axes(value, "output_size", spatial, size)


cdef object adaptive_average(int spatial, object x, object output_size, object layout, object out):
    cdef operand[2] o  # x, out
    cdef int64_t[5] shape
    cdef int64_t[3] size
    cdef int ndim = spatial + 2
    cdef convc_status status
    cdef bint last = parse_layout(layout, spatial)
    clear(o, 2)
    try:
        load(x, "x", REAL, ndim, last, &o[0])
        parse_output_size(output_size, spatial, &o[0].tensor.shape[2], size)
        check(convc_adaptive_output_shape(ndim, o[0].tensor.shape, size, shape))
        out = result(out, shape, ndim, last, o[0].tensor.dtype, &o[1])
        with nogil:
            status = convc_adaptive_avg_pool_forward(&o[0].tensor, &o[1].tensor)
        check(status)
        return out
    finally:
        release(o, 2)


cdef object adaptive_max(int spatial, object x, object output_size, object layout, object return_indices, object out):
    cdef operand[3] o  # x, out, indices
    cdef int64_t[5] shape
    cdef int64_t[3] size
    cdef int ndim = spatial + 2
    cdef convc_status status
    cdef bint last = parse_layout(layout, spatial)
    cdef const convc_tensor *index_tensor = NULL
    indices = None
    clear(o, 3)
    try:
        load(x, "x", REAL, ndim, last, &o[0])
        parse_output_size(output_size, spatial, &o[0].tensor.shape[2], size)
        check(convc_adaptive_output_shape(ndim, o[0].tensor.shape, size, shape))
        out = result(out, shape, ndim, last, o[0].tensor.dtype, &o[1])
        if return_indices:
            indices = result(None, shape, ndim, last, CONVC_I64, &o[2])
            index_tensor = &o[2].tensor
        with nogil:
            status = convc_adaptive_max_pool_forward(&o[0].tensor, &o[1].tensor, index_tensor)
        check(status)
        return (out, indices) if return_indices else out
    finally:
        release(o, 3)


cdef object adaptive_average_backward(int spatial, object grad, object x_shape, object layout):
    cdef operand[2] o  # grad, the gradient of x
    cdef int64_t[5] shape
    cdef int ndim = spatial + 2
    cdef convc_status status
    cdef bint last = parse_layout(layout, spatial)
    clear(o, 2)
    try:
        load(grad, "grad", REAL, ndim, last, &o[0])
        parse_shape(x_shape, "x_shape", ndim, last, shape)
        same_batch(&o[0], x_shape, shape)
        grad_x = result(None, shape, ndim, last, o[0].tensor.dtype, &o[1])
        with nogil:
            status = convc_adaptive_avg_pool_backward(&o[0].tensor, &o[1].tensor)
        check(status)
        return grad_x
    finally:
        release(o, 2)


def adaptive_avg_pool1d(x, output_size, *, layout="NCW", out=None):
    """
    Adaptive average pooling of sequences: `adaptive_avg_pool2d` with one spatial axis.

    Parameters
    ----------
    x : ndarray, (n, channels, width), or (n, width, channels) with layout "NWC"
    output_size, layout, out
        As in `adaptive_avg_pool2d`.

    Returns
    -------
    y : ndarray, (n, channels, out_width), or (n, out_width, channels) with layout "NWC"

    Raises
    ------
    ValueError, TypeError, MemoryError
        As `adaptive_avg_pool2d` does.

    Examples
    --------
    >>> import numpy as np, convc
    >>> convc.adaptive_avg_pool1d(np.arange(5.0).reshape(1, 1, 5), 2)
    array([[[1., 3.]]])
    """
    return adaptive_average(1, x, output_size, layout, out)


def adaptive_avg_pool2d(x, output_size, *, layout="NCHW", out=None):
    """
    The mean of each of `output_size` windows that share out an image evenly, as PyTorch's `adaptive_avg_pool2d`.

    Parameters
    ----------
    x : ndarray, (n, channels, height, width), or (n, height, width, channels) with layout "NHWC"
        float32 or float64, any strides; n may be 0.
    output_size : int or (int or None, int or None)
        How many windows there are along each axis; None keeps the size of x. Of s elements window i has those from
        ``floor(i * s / output_size)`` up to ``ceil((i + 1) * s / output_size)``.
    layout : "NCHW" or "NHWC"
    out : ndarray, optional
        Where y goes: its shape and dtype, any strides, no overlap with x.

    Returns
    -------
    y : ndarray, (n, channels, out_height, out_width), or (n, out_height, out_width, channels) with layout "NHWC"

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
    >>> convc.adaptive_avg_pool2d(x, (2, None))
    array([[[[ 2.,  3.,  4.,  5.],
             [10., 11., 12., 13.]]]], dtype=float32)
    """
    return adaptive_average(2, x, output_size, layout, out)


def adaptive_avg_pool3d(x, output_size, *, layout="NCDHW", out=None):
    """
    Adaptive average pooling of volumes: `adaptive_avg_pool2d` with three spatial axes.

    Parameters
    ----------
    x : ndarray, (n, channels, depth, height, width), or (n, depth, height, width, channels) with layout "NDHWC"
    output_size, layout, out
        As in `adaptive_avg_pool2d`.

    Returns
    -------
    y : ndarray, (n, channels, *out_size), or (n, *out_size, channels) with layout "NDHWC"

    Raises
    ------
    ValueError, TypeError, MemoryError
        As `adaptive_avg_pool2d` does.

    Examples
    --------
    >>> import numpy as np, convc
    >>> convc.adaptive_avg_pool3d(np.ones((1, 2, 4, 6, 8), np.float32), (1, None, 3)).shape
    (1, 2, 1, 6, 3)
    """
    return adaptive_average(3, x, output_size, layout, out)


def adaptive_max_pool1d(x, output_size, *, layout="NCW", return_indices=False, out=None):
    """
    Adaptive max pooling of sequences: `adaptive_max_pool2d` with one spatial axis.

    Parameters
    ----------
    x : ndarray, (n, channels, width), or (n, width, channels) with layout "NWC"
    output_size, layout, return_indices, out
        As in `adaptive_max_pool2d`.

    Returns
    -------
    y : ndarray, (n, channels, out_width), or (n, out_width, channels) with layout "NWC"
    indices : ndarray of int64, if `return_indices`

    Raises
    ------
    ValueError, TypeError, MemoryError
        As `adaptive_max_pool2d` does.

    Examples
    --------
    >>> import numpy as np, convc
    >>> convc.adaptive_max_pool1d(np.arange(5.0).reshape(1, 1, 5), 2)
    array([[[2., 4.]]])
    """
    return adaptive_max(1, x, output_size, layout, return_indices, out)


def adaptive_max_pool2d(x, output_size, *, layout="NCHW", return_indices=False, out=None):
    """
    The largest value in each of `output_size` windows, as PyTorch's `adaptive_max_pool2d`. A NaN is the largest.

    Parameters
    ----------
    x : ndarray, (n, channels, height, width), or (n, height, width, channels) with layout "NHWC"
        float32 or float64, any strides; n may be 0.
    output_size : int or (int or None, int or None)
        How many windows there are along each axis; None keeps the size of x. Of s elements window i has those from
        ``floor(i * s / output_size)`` up to ``ceil((i + 1) * s / output_size)``.
    layout : "NCHW" or "NHWC"
    return_indices : bool
        Also return where each maximum was.
    out : ndarray, optional
        Where y goes: its shape and dtype, any strides, no overlap with x.

    Returns
    -------
    y : ndarray, (n, channels, out_height, out_width), or (n, out_height, out_width, channels) with layout "NHWC"
    indices : ndarray of int64 with y's shape, if `return_indices`
        As in `max_pool2d`.

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
    >>> y, indices = convc.adaptive_max_pool2d(x, 2, return_indices=True)
    >>> indices.tolist()
    [[[[5, 7], [13, 15]]]]
    """
    return adaptive_max(2, x, output_size, layout, return_indices, out)


def adaptive_max_pool3d(x, output_size, *, layout="NCDHW", return_indices=False, out=None):
    """
    Adaptive max pooling of volumes: `adaptive_max_pool2d` with three spatial axes.

    Parameters
    ----------
    x : ndarray, (n, channels, depth, height, width), or (n, depth, height, width, channels) with layout "NDHWC"
    output_size, layout, return_indices, out
        As in `adaptive_max_pool2d`.

    Returns
    -------
    y : ndarray, (n, channels, *out_size), or (n, *out_size, channels) with layout "NDHWC"
    indices : ndarray of int64, if `return_indices`

    Raises
    ------
    ValueError, TypeError, MemoryError
        As `adaptive_max_pool2d` does.

    Examples
    --------
    >>> import numpy as np, convc
    >>> convc.adaptive_max_pool3d(np.ones((1, 2, 4, 6, 8), np.float32), (1, None, 3)).shape
    (1, 2, 1, 6, 3)
    """
    return adaptive_max(3, x, output_size, layout, return_indices, out)


def adaptive_avg_pool1d_backward(grad, x_shape, *, layout="NCW"):
    """
    The gradient of `adaptive_avg_pool1d`; all as for `adaptive_avg_pool2d_backward`, with one spatial axis.

    Parameters
    ----------
    grad : ndarray, of the shape of the output
        float32 or float64.
    x_shape : tuple of 3 ints
        The shape of the input, in the order of `layout`.
    layout : "NCW" or "NWC"

    Returns
    -------
    ndarray of shape x_shape

    Raises
    ------
    ValueError, TypeError, MemoryError
        As `adaptive_avg_pool2d_backward` does.

    Examples
    --------
    >>> import numpy as np, convc
    >>> convc.adaptive_avg_pool1d_backward(np.array([[[6.0, 9.0]]]), (1, 1, 5))
    array([[[2., 2., 5., 3., 3.]]])
    """
    return adaptive_average_backward(1, grad, x_shape, layout)


def adaptive_avg_pool2d_backward(grad, x_shape, *, layout="NCHW"):
    """
    The gradient of `adaptive_avg_pool2d`: each entry of grad is shared out equally in its window.

    Parameters
    ----------
    grad : ndarray, of the shape of the output
        float32 or float64.
    x_shape : tuple of 4 ints
        The shape of the input, in the order of `layout`.
    layout : "NCHW" or "NHWC"

    Returns
    -------
    ndarray of shape x_shape

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
    >>> convc.adaptive_avg_pool2d_backward(np.array([[[[4.0, 8.0]]]]), (1, 1, 2, 4))
    array([[[[1., 1., 2., 2.],
             [1., 1., 2., 2.]]]])
    """
    return adaptive_average_backward(2, grad, x_shape, layout)


def adaptive_avg_pool3d_backward(grad, x_shape, *, layout="NCDHW"):
    """
    The gradient of `adaptive_avg_pool3d`; all as for `adaptive_avg_pool2d_backward`, with three spatial axes.

    Parameters
    ----------
    grad : ndarray, of the shape of the output
        float32 or float64.
    x_shape : tuple of 5 ints
        The shape of the input, in the order of `layout`.
    layout : "NCDHW" or "NDHWC"

    Returns
    -------
    ndarray of shape x_shape

    Raises
    ------
    ValueError, TypeError, MemoryError
        As `adaptive_avg_pool2d_backward` does.

    Examples
    --------
    >>> import numpy as np, convc
    >>> convc.adaptive_avg_pool3d_backward(np.ones((1, 1, 1, 1, 2)), (1, 1, 1, 1, 4)).ravel()
    array([0.5, 0.5, 0.5, 0.5])
    """
    return adaptive_average_backward(3, grad, x_shape, layout)


def adaptive_max_pool1d_backward(grad, indices, x_shape, *, layout="NCW"):
    """
    The gradient of `adaptive_max_pool1d`; all as for `adaptive_max_pool2d_backward`, with one spatial axis.

    Parameters
    ----------
    grad : ndarray, of the shape of the output
        float32 or float64.
    indices : ndarray of int64, of the shape of the output
        From `adaptive_max_pool1d` with `return_indices`.
    x_shape : tuple of 3 ints
        The shape of the input, in the order of `layout`.
    layout : "NCW" or "NWC"

    Returns
    -------
    ndarray of shape x_shape

    Raises
    ------
    ValueError, TypeError, MemoryError
        As `adaptive_max_pool2d_backward` does.

    Examples
    --------
    >>> import numpy as np, convc
    >>> y, indices = convc.adaptive_max_pool1d(np.array([[[3.0, 1.0, 4.0]]]), 2, return_indices=True)
    >>> convc.adaptive_max_pool1d_backward(np.ones_like(y), indices, (1, 1, 3))
    array([[[1., 0., 1.]]])
    """
    return pool_backward(1, grad, indices, x_shape, layout)


def adaptive_max_pool2d_backward(grad, indices, x_shape, *, layout="NCHW"):
    """
    The gradient of `adaptive_max_pool2d`: each entry of grad is added where its maximum was.

    Parameters
    ----------
    grad : ndarray, of the shape of the output
        float32 or float64.
    indices : ndarray of int64, of the shape of the output
        From `adaptive_max_pool2d` with `return_indices`.
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
        Arguments of the wrong type, or a dtype other than float32 and float64.
    MemoryError
        No memory for the result.

    Examples
    --------
    >>> import numpy as np, convc
    >>> y, indices = convc.adaptive_max_pool2d(np.arange(4.0).reshape(1, 1, 2, 2), 1, return_indices=True)
    >>> convc.adaptive_max_pool2d_backward(y, indices, (1, 1, 2, 2))
    array([[[[0., 0.],
             [0., 3.]]]])
    """
    return pool_backward(2, grad, indices, x_shape, layout)


def adaptive_max_pool3d_backward(grad, indices, x_shape, *, layout="NCDHW"):
    """
    The gradient of `adaptive_max_pool3d`; all as for `adaptive_max_pool2d_backward`, with three spatial axes.

    Parameters
    ----------
    grad : ndarray, of the shape of the output
        float32 or float64.
    indices : ndarray of int64, of the shape of the output
        From `adaptive_max_pool3d` with `return_indices`.
    x_shape : tuple of 5 ints
        The shape of the input, in the order of `layout`.
    layout : "NCDHW" or "NDHWC"

    Returns
    -------
    ndarray of shape x_shape

    Raises
    ------
    ValueError, TypeError, MemoryError
        As `adaptive_max_pool2d_backward` does.

    Examples
    --------
    >>> import numpy as np, convc
    >>> y, indices = convc.adaptive_max_pool3d(np.ones((1, 1, 1, 1, 3)), 1, return_indices=True)
    >>> convc.adaptive_max_pool3d_backward(y, indices, (1, 1, 1, 1, 3)).ravel()
    array([1., 0., 0.])
    """
    return pool_backward(3, grad, indices, x_shape, layout)
