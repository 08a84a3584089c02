# Global pools: one window for each channel. Images of any rank, results with or without their spatial axes.

cdef int parse_image_shape(object x_shape, object layout, int64_t *shape, bint *last) except -1:
    """The same for a shape."""
    cdef int spatial = -1
    if layout is not None:
        spatial = spatial_of_layout(layout)
    else:
        wanted = "a tuple of 3 to 5 ints"
        spatial = len(as_tuple(x_shape, "x_shape", wanted)) - 2
        if spatial < 1 or spatial > CONVC_MAX_SPATIAL:
            raise ValueError(f"x_shape must be {wanted}, got {x_shape!r}")
    last[0] = layout is not None and parse_layout(layout, spatial)
    parse_shape(x_shape, "x_shape", spatial + 2, last[0], shape)
    return spatial


cdef int with_space(operand *o, int ndim) noexcept:
    """Gives a tensor (n, channels) the spatial axes of a pooled image."""
    for i in range(o.tensor.ndim, ndim):
        o.tensor.shape[i] = 1
        o.tensor.strides[i] = o.view.itemsize
    o.tensor.ndim = ndim
    return 0


cdef object global_result(object out, const int64_t *shape, int ndim, bint last, bint keepdims, convc_dtype dtype,
                          operand *o):
    cdef int64_t[5] pooled
    for i in range(ndim):
        pooled[i] = shape[i] if i < 2 else 1
    out = result(out, pooled, ndim if keepdims else 2, last and keepdims, dtype, o)
    with_space(o, ndim)
    return out


cdef int load_pooled(object source, str name, int kind, const int64_t *x_shape, int ndim, bint last,
                     operand *o) except -1:
    """What `global_result` gives for an image of this shape, with or without its spatial axes."""
    cdef bint same
    open_source(source, name, kind, PyBUF_RECORDS_RO, o)
    same = o.view.ndim == 2 or o.view.ndim == ndim
    if same:
        describe(o, last and o.view.ndim > 2)
        for i in range(o.view.ndim):
            same = same and o.tensor.shape[i] == (x_shape[i] if i < 2 else 1)
    if not same:
        raise ValueError(f"{name} must have shape {(x_shape[0], x_shape[1])}, or that with spatial sizes of 1, "
                         f"got {view_shape(o)}")
    with_space(o, ndim)
    return 0


def global_avg_pool(x, *, layout=None, keepdims=False, out=None):
    """
    The mean of each channel of each image (Lin et al., "Network in Network", https://arxiv.org/abs/1312.4400).

    Parameters
    ----------
    x : ndarray, (n, channels, *size), or (n, *size, channels) with a channels-last layout
        float32 or float64 with one to three spatial axes, any strides; n may be 0.
    layout : "NCW", "NWC", "NCHW", "NHWC", "NCDHW" or "NDHWC", optional
        The channels-first one of x's rank if not given.
    keepdims : bool
        Whether the spatial axes stay, with size 1.
    out : ndarray, optional
        Where y goes: its shape and dtype, any strides, no overlap with x.

    Returns
    -------
    y : ndarray, (n, channels), or x's shape with spatial sizes of 1

    Raises
    ------
    ValueError
        Sizes that do not go together.
    TypeError
        Arguments of the wrong type, or a dtype other than float32 and float64.
    MemoryError
        No memory for the result.

    Notes
    -----
    In float32 a result is off by at most 75 * 2**-24 times the mean of the absolute values, however large the image.

    Examples
    --------
    >>> import numpy as np, convc
    >>> x = np.arange(8.0).reshape(1, 2, 2, 2)
    >>> convc.global_avg_pool(x)
    array([[1.5, 5.5]])
    >>> convc.global_avg_pool(x, keepdims=True).shape
    (1, 2, 1, 1)
    """
    cdef operand[2] o  # x, out
    cdef int ndim
    cdef convc_status status
    cdef bint last = False
    clear(o, 2)
    try:
        ndim = load_image(x, "x", layout, &o[0], &last) + 2
        out = global_result(out, o[0].tensor.shape, ndim, last, keepdims, o[0].tensor.dtype, &o[1])
        with nogil:
            status = convc_adaptive_avg_pool_forward(&o[0].tensor, &o[1].tensor)
        check(status)
        return out
    finally:
        release(o, 2)


def global_avg_pool_backward(grad, x_shape, *, layout=None):
    """
    The gradient of `global_avg_pool`: each entry of grad is shared out equally in its channel.

    Parameters
    ----------
    grad : ndarray, (n, channels), or that with spatial sizes of 1
        float32 or float64.
    x_shape : tuple of 3 to 5 ints
        The shape of the input, in the order of `layout`.
    layout : str, optional
        As in the forward call.

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
    >>> convc.global_avg_pool_backward(np.array([[4.0, 8.0]]), (1, 2, 4))
    array([[[1., 1., 1., 1.],
            [2., 2., 2., 2.]]])
    """
    cdef operand[2] o  # grad, the gradient of x
    cdef int64_t[5] shape
    cdef int ndim
    cdef convc_status status
    cdef bint last = False
    clear(o, 2)
    try:
        ndim = parse_image_shape(x_shape, layout, shape, &last) + 2
        load_pooled(grad, "grad", REAL, shape, ndim, last, &o[0])
        grad_x = result(None, shape, ndim, last, o[0].tensor.dtype, &o[1])
        with nogil:
            status = convc_adaptive_avg_pool_backward(&o[0].tensor, &o[1].tensor)
        check(status)
        return grad_x
    finally:
        release(o, 2)


def global_max_pool(x, *, layout=None, keepdims=False, return_indices=False, out=None):
    """
    The largest value of each channel of each image. A NaN in a channel is its maximum.

    Parameters
    ----------
    x : ndarray, (n, channels, *size), or (n, *size, channels) with a channels-last layout
        float32 or float64 with one to three spatial axes, any strides; n may be 0.
    layout : "NCW", "NWC", "NCHW", "NHWC", "NCDHW" or "NDHWC", optional
        The channels-first one of x's rank if not given.
    keepdims : bool
        Whether the spatial axes stay, with size 1.
    return_indices : bool
        Also return where each maximum was.
    out : ndarray, optional
        Where y goes: its shape and dtype, any strides, no overlap with x.

    Returns
    -------
    y : ndarray, (n, channels), or x's shape with spatial sizes of 1
    indices : ndarray of int64 with y's shape, if `return_indices`
        Places in the flat space of a channel, as in `max_pool2d`.

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
    >>> convc.global_max_pool(np.arange(8.0).reshape(1, 2, 2, 2))
    array([[3., 7.]])
    """
    cdef operand[3] o  # x, out, indices
    cdef int ndim
    cdef convc_status status
    cdef bint last = False
    cdef const convc_tensor *index_tensor = NULL
    indices = None
    clear(o, 3)
    try:
        ndim = load_image(x, "x", layout, &o[0], &last) + 2
        out = global_result(out, o[0].tensor.shape, ndim, last, keepdims, o[0].tensor.dtype, &o[1])
        if return_indices:
            indices = global_result(None, o[0].tensor.shape, ndim, last, keepdims, CONVC_I64, &o[2])
            index_tensor = &o[2].tensor
        with nogil:
            status = convc_adaptive_max_pool_forward(&o[0].tensor, &o[1].tensor, index_tensor)
        check(status)
        return (out, indices) if return_indices else out
    finally:
        release(o, 3)


def global_max_pool_backward(grad, indices, x_shape, *, layout=None):
    """
    The gradient of `global_max_pool`: each entry of grad goes where its maximum was.

    Parameters
    ----------
    grad : ndarray, (n, channels), or that with spatial sizes of 1
        float32 or float64.
    indices : ndarray of int64, (n, channels), or that with spatial sizes of 1
        From `global_max_pool` with `return_indices`.
    x_shape : tuple of 3 to 5 ints
        The shape of the input, in the order of `layout`.
    layout : str, optional
        As in the forward call.

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
    >>> y, indices = convc.global_max_pool(np.array([[[3.0, 1.0, 4.0]]]), return_indices=True)
    >>> convc.global_max_pool_backward(np.ones_like(y), indices, (1, 1, 3))
    array([[[0., 0., 1.]]])
    """
    cdef operand[3] o  # grad, indices, the gradient of x
    cdef int64_t[5] shape
    cdef int ndim
    cdef convc_status status
    cdef bint last = False
    clear(o, 3)
    try:
        ndim = parse_image_shape(x_shape, layout, shape, &last) + 2
        load_pooled(grad, "grad", REAL, shape, ndim, last, &o[0])
        load_pooled(indices, "indices", INTEGER, shape, ndim, last, &o[1])
        grad_x = result(None, shape, ndim, last, o[0].tensor.dtype, &o[2])
        with nogil:
            status = convc_max_pool_backward(&o[0].tensor, &o[1].tensor, &o[2].tensor)
        check(status)
        return grad_x
    finally:
        release(o, 3)
