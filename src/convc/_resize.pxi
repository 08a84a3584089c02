# Resizing of images, forward and backward.

cdef int parse_scale(object value, int spatial, double *numbers) except -1:
    wanted = f"a number or a tuple of {spatial}"
    if not isinstance(value, (tuple, list)):
        numbers[0] = parse_number(value, "scale_factor")
        for i in range(1, spatial):
            numbers[i] = numbers[0]
        return 0
    if len(value) != spatial:
        raise ValueError(f"scale_factor must be {wanted}, got {len(value)}: {value!r}")
    for i in range(spatial):
        numbers[i] = parse_number(value[i], "scale_factor")
    return 0


cdef int parse_resize(object size, object scale_factor, object mode, object align_corners, int spatial,
                      convc_resize_params *p) except -1:
    linear = ("linear", "bilinear", "trilinear")[spatial - 1]
    if is_text(mode, "nearest"):
        p.mode = CONVC_NEAREST
    elif is_text(mode, "nearest-exact"):
        p.mode = CONVC_NEAREST_EXACT
    elif is_text(mode, linear):
        p.mode = CONVC_LINEAR
    else:
        bad_choice("mode", mode, f"'nearest', 'nearest-exact' or '{linear}' for {spatial + 2} dimensions")
    p.align_corners = bool(align_corners)
    p.by_scale = scale_factor is not None
    if p.by_scale == (size is not None):
        raise ValueError(f"size or scale_factor must be given, and not both: got size={size!r} and "
                         f"scale_factor={scale_factor!r}")
    if p.by_scale:
        return parse_scale(scale_factor, spatial, p.scale)
    return parse_axes(size, "size", spatial, p.size)


def interpolate(x, size=None, scale_factor=None, mode="nearest", align_corners=False, *, layout=None, out=None):
    """
    Make images larger or smaller, with the arguments and the coordinates of PyTorch's `interpolate`.

    Output o looks at input ``scale * (o + 0.5) - 0.5`` for linear modes, at ``scale * o`` with `align_corners`; for
    "nearest" it is input ``floor(scale * o)``, for "nearest-exact" input ``floor(scale * (o + 0.5))``. The scale is
    the input's size over the output's, ``1 / scale_factor`` if that is given, or ``(in - 1) / (out - 1)`` with
    `align_corners`. Linear coordinates are computed in float64 whatever the dtype, those of the nearest element in
    float32, as PyTorch does.

    Parameters
    ----------
    x : ndarray, (n, channels, width), (n, channels, height, width) or (n, channels, depth, height, width)
        float32 or float64, any strides; n may be 0.
    size : int or tuple of ints, optional
        The spatial size of the output. Either this or `scale_factor` is given.
    scale_factor : float or tuple of floats, optional
        The output's size is ``floor(scale_factor * size)`` of the input's.
    mode : "nearest", "nearest-exact", or "linear", "bilinear" or "trilinear" for one, two or three spatial axes
    align_corners : bool or None
        For linear modes: whether the centres of the corner elements stay in place, rather than their outer edges.
        None is False.
    layout : "NCW", "NWC", "NCHW", "NHWC", "NCDHW" or "NDHWC", optional
        Channels come first if it is not given.
    out : ndarray, optional
        Where the result goes: its shape and dtype, any strides, no overlap with x.

    Returns
    -------
    ndarray of x's shape but for the spatial size

    Raises
    ------
    ValueError
        Shapes or parameters that do not go together; the message says which and how.
    TypeError
        Arguments of the wrong type, or a dtype other than float32 and float64.
    MemoryError
        No memory for the result.

    Examples
    --------
    >>> import numpy as np, convc
    >>> x = np.array([[[0.0, 4.0]]])
    >>> convc.interpolate(x, 4)
    array([[[0., 0., 4., 4.]]])
    >>> convc.interpolate(x, scale_factor=2, mode="linear")
    array([[[0., 1., 3., 4.]]])
    >>> convc.interpolate(x, 5, mode="linear", align_corners=True)
    array([[[0., 1., 2., 3., 4.]]])
    """
    cdef operand[2] o  # x, out
    cdef convc_resize_params p
    cdef int64_t[5] shape
    cdef convc_status status
    cdef bint last
    cdef int spatial
    clear(o, 2)
    try:
        spatial = load_image(x, "x", layout, &o[0], &last)
        parse_resize(size, scale_factor, mode, align_corners, spatial, &p)
        check(convc_resize_output_shape(spatial + 2, o[0].tensor.shape, &p, shape))
        out = result(out, shape, spatial + 2, last, o[0].tensor.dtype, &o[1])
        with nogil:
            status = convc_resize_forward(&o[0].tensor, &p, &o[1].tensor)
        check(status)
        return out
    finally:
        release(o, 2)


def interpolate_backward(grad, x_shape, size=None, scale_factor=None, mode="nearest", align_corners=False, *,
                         layout=None):
    """
    The gradient of `interpolate`: each entry of grad goes to the elements that it was computed from, by their weights.

    Parameters
    ----------
    grad : ndarray, of the shape of the output
        float32 or float64.
    x_shape : tuple of ints
        The shape of the input, in the order of `layout`.
    size, scale_factor, mode, align_corners, layout
        What `interpolate` had.

    Returns
    -------
    ndarray of shape x_shape

    Raises
    ------
    ValueError
        Shapes or parameters that do not go together.
    TypeError
        Arguments of the wrong type or dtype.
    MemoryError
        No memory for the result.

    Examples
    --------
    >>> import numpy as np, convc
    >>> convc.interpolate_backward(np.ones((1, 1, 4)), (1, 1, 2), 4, mode="linear")
    array([[[2., 2.]]])
    """
    cdef operand[2] o  # grad, the gradient of x
    cdef convc_resize_params p
    cdef int64_t[5] shape
    cdef int64_t[5] resized
    cdef convc_status status
    cdef bint last
    cdef int spatial
    clear(o, 2)
    try:
        spatial = load_image(grad, "grad", layout, &o[0], &last)
        parse_shape(x_shape, "x_shape", spatial + 2, last, shape)
        parse_resize(size, scale_factor, mode, align_corners, spatial, &p)
        check(convc_resize_output_shape(spatial + 2, shape, &p, resized))
        same_shape(&o[0], "grad", resized, spatial + 2, last)
        grad_x = result(None, shape, spatial + 2, last, o[0].tensor.dtype, &o[1])
        with nogil:
            status = convc_resize_backward(&o[0].tensor, &p, &o[1].tensor)
        check(status)
        return grad_x
    finally:
        release(o, 2)
