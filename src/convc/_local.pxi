# Locally connected layers, forward and backward.

cdef object connect(int spatial, object x, object weight, object bias, object stride, object padding, object dilation,
                    object layout, object pad_mode, object fit, object activation, object out):
    cdef operand[4] o  # x, weight, out, bias
    cdef convc_conv_params p
    cdef int64_t[5] shape
    cdef int ndim = spatial + 2
    cdef convc_status status
    cdef const convc_tensor *bias_tensor = NULL
    cdef bint last = parse_layout(layout, spatial)
    clear(o, 4)
    try:
        load(x, "x", REAL, ndim, last, &o[0])
        load(weight, "weight", REAL, ndim + 1, False, &o[1])
        same_dtype(&o[1], "weight", &o[0], "x")
        parse_conv(spatial, stride, padding, dilation, 1, pad_mode, fit, "auto", activation, o[1].tensor.shape + 3, &p)
        check(convc_local_output_shape(ndim, o[0].tensor.shape, o[1].tensor.shape, &p, shape))
        if bias is not None:
            load(bias, "bias", REAL, 2, False, &o[3])
            same_dtype(&o[3], "bias", &o[0], "x")
            same_shape(&o[3], "bias", o[1].tensor.shape, 2, False)
            bias_tensor = &o[3].tensor
        out = result(out, shape, ndim, last, o[0].tensor.dtype, &o[2])
        with nogil:
            status = convc_local_forward(&o[0].tensor, &o[1].tensor, bias_tensor, &p, &o[2].tensor)
        check(status)
        return out
    finally:
        release(o, 4)


cdef tuple connect_backward(int spatial, object grad, object x, object weight, object stride, object padding,
                            object dilation, object layout, object pad_mode, object needs):
    cdef operand[6] o  # grad, x, weight and the gradients of x, weight and bias
    cdef convc_conv_params p
    cdef int64_t[5] shape
    cdef int ndim = spatial + 2
    cdef convc_status status = CONVC_OK
    cdef bint last = parse_layout(layout, spatial)
    cdef int mask = parse_needs(needs)
    grad_x = grad_weight = grad_bias = None
    clear(o, 6)
    try:
        load(grad, "grad", REAL, ndim, last, &o[0])
        load(x, "x", REAL, ndim, last, &o[1])
        load(weight, "weight", REAL, ndim + 1, False, &o[2])
        same_dtype(&o[1], "x", &o[0], "grad")
        same_dtype(&o[2], "weight", &o[0], "grad")
        parse_conv(spatial, stride, padding, dilation, 1, pad_mode, "floor", "auto", None, o[2].tensor.shape + 3, &p)
        check(convc_local_output_shape(ndim, o[1].tensor.shape, o[2].tensor.shape, &p, shape))
        same_shape(&o[0], "grad", shape, ndim, last)
        if mask & 1:
            grad_x = result(None, o[1].tensor.shape, ndim, last, o[0].tensor.dtype, &o[3])
        if mask & 2:
            grad_weight = result(None, o[2].tensor.shape, ndim + 1, False, o[0].tensor.dtype, &o[4])
        if mask & 4:
            grad_bias = result(None, o[2].tensor.shape, 2, False, o[0].tensor.dtype, &o[5])
        with nogil:
            if mask & 1:
                status = convc_local_backward_data(&o[0].tensor, &o[2].tensor, &p, &o[3].tensor)
            if mask & 2 and status == CONVC_OK:
                status = convc_local_backward_weight(&o[0].tensor, &o[1].tensor, &p, &o[4].tensor)
            if mask & 4 and status == CONVC_OK:
                status = convc_local_backward_bias(&o[0].tensor, &o[5].tensor)
        check(status)
        return grad_x, grad_weight, grad_bias
    finally:
        release(o, 6)


def locally_connected1d(x, weight, bias=None, stride=1, padding=0, dilation=1, *, layout="NCW", pad_mode="zeros",
                        fit="floor", activation=None, out=None):
    """
    Convolution of sequences without parameter sharing: `locally_connected2d` with one spatial axis.

    Parameters
    ----------
    x : ndarray, (n, in_channels, width), or (n, width, in_channels) with layout "NWC"
    weight : ndarray, (out_width, out_channels, in_channels, kernel_width)
    bias : ndarray, (out_width, out_channels), optional
    stride, padding, dilation, layout, pad_mode, fit, activation, out
        As in `locally_connected2d`; what is given for each axis is a tuple of one.

    Returns
    -------
    ndarray, (n, out_channels, out_width), or (n, out_width, out_channels) with layout "NWC"

    Raises
    ------
    ValueError, TypeError, MemoryError
        As `locally_connected2d` does.

    Examples
    --------
    >>> import numpy as np, convc
    >>> x = np.arange(4, dtype=np.float32).reshape(1, 1, 4)
    >>> weight = np.array([[1, 1], [10, 10], [100, 100]], np.float32).reshape(3, 1, 1, 2)
    >>> convc.locally_connected1d(x, weight)
    array([[[  1.,  30., 500.]]], dtype=float32)
    """
    return connect(1, x, weight, bias, stride, padding, dilation, layout, pad_mode, fit, activation, out)


def locally_connected2d(x, weight, bias=None, stride=1, padding=0, dilation=1, *, layout="NCHW", pad_mode="zeros",
                        fit="floor", activation=None, out=None):
    """
    Convolution of images without parameter sharing: each output position has filters of its own.

    ``out[n, k, i, j]`` is ``bias[p, k]`` plus the sum over c, r, s of ``weight[p, k, c, r, s] * x[n, c, h, w]`` for the
    position ``p = i * out_width + j``; all else is as in `conv2d`.

    Convolution shares its filters among all positions because a feature that is useful in one place should be useful
    in any other. Where images are aligned, that is not so: in a face that is centred, eyes and mouth are always in
    their own places, and deserve features of their own [1]_. The price are parameters: as many times those of a
    convolution as there are positions. 16 filters of 9 x 9 over 16 channels are 20,752 parameters in a convolution; at
    55 x 55 positions they are 62,774,800 here. Both need as many multiplications, but for a few images the time goes
    into reading weights from memory; each is read once for all images of a batch.

    Parameters
    ----------
    x : ndarray, (n, in_channels, height, width), or (n, height, width, in_channels) with layout "NHWC"
        float32 or float64, any strides; n may be 0.
    weight : ndarray, (out_height * out_width, out_channels, in_channels, kernel_height, kernel_width)
        Positions row by row, the same in both layouts. Of x's dtype, as bias and out are.
    bias : ndarray, (out_height * out_width, out_channels), optional
        Not shared either.
    stride, dilation : int or (int, int), at least 1
        Steps between outputs, and between the inputs that one output reads.
    padding : int, (int, int), ((before, after), (before, after)), "valid" or "same"
        Elements added around the image, as in `conv2d`.
    layout : "NCHW" or "NHWC"
        The order of axes of x and of the result. Neither is converted to the other.
    pad_mode : "zeros", "reflect", "replicate" or "circular"
        What is added, as in `conv2d`. All but zeros take a padded copy of x.
    fit : "floor" or "exact"
        What to do if the stride does not divide the way left: drop the rest, or raise a ValueError that says what
        would fit.
    activation : None or "relu"
        Applied to each output before it is stored.
    out : ndarray, optional
        Where the result goes: its shape and dtype, any strides, no overlap with the inputs. It is also returned.

    Returns
    -------
    ndarray, (n, out_channels, out_height, out_width), or (n, out_height, out_width, out_channels) with layout "NHWC"

    Raises
    ------
    ValueError
        Weights for another number of positions than the output has; shapes and numbers that do not go together; a
        kernel larger than the padded image; an output too large to address.
    TypeError
        Arguments of the wrong type, dtypes other than float32 and float64, or two of them mixed.
    MemoryError
        No memory for the result.

    References
    ----------
    .. [1] Y. Taigman et al., "DeepFace: Closing the Gap to Human-Level Performance in Face Verification", CVPR 2014.

    Examples
    --------
    >>> import numpy as np, convc
    >>> x = np.ones((1, 1, 3, 3), np.float32)
    >>> weight = np.arange(4, dtype=np.float32).reshape(4, 1, 1, 1, 1) * np.ones((1, 1, 2, 2), np.float32)
    >>> convc.locally_connected2d(x, weight)
    array([[[[ 0.,  4.],
             [ 8., 12.]]]], dtype=float32)

    With the same weights at all positions it is a convolution:

    >>> shared = np.ones((2, 1, 2, 2), np.float32)
    >>> y = convc.locally_connected2d(x, np.broadcast_to(shared, (4, 2, 1, 2, 2)))
    >>> np.array_equal(y, convc.conv2d(x, shared))
    True
    """
    return connect(2, x, weight, bias, stride, padding, dilation, layout, pad_mode, fit, activation, out)


def locally_connected1d_backward(grad, x, weight, stride=1, padding=0, dilation=1, *, layout="NCW", pad_mode="zeros",
                                 needs=_ALL_NEEDS):
    """
    The gradients of `locally_connected1d`; all as for `locally_connected2d_backward`, with one spatial axis.

    Parameters
    ----------
    grad : ndarray, of the shape of the output
    x, weight : ndarray
        What the forward pass had.
    stride, padding, dilation, layout, pad_mode
        What the forward pass had.
    needs : tuple of str
        Which gradients to compute, of "x", "weight" and "bias".

    Returns
    -------
    (grad_x, grad_weight, grad_bias) : tuple of ndarray, None where not needed

    Raises
    ------
    ValueError, TypeError, MemoryError
        As `locally_connected2d_backward` does.

    Examples
    --------
    >>> import numpy as np, convc
    >>> x, weight = np.ones((1, 1, 3), np.float32), np.array([[1, 2], [3, 4]], np.float32).reshape(2, 1, 1, 2)
    >>> grad_x, _, _ = convc.locally_connected1d_backward(np.ones((1, 1, 2), np.float32), x, weight)
    >>> grad_x
    array([[[1., 5., 4.]]], dtype=float32)
    """
    return connect_backward(1, grad, x, weight, stride, padding, dilation, layout, pad_mode, needs)


def locally_connected2d_backward(grad, x, weight, stride=1, padding=0, dilation=1, *, layout="NCHW", pad_mode="zeros",
                                 needs=_ALL_NEEDS):
    """
    The gradients of `locally_connected2d` with respect to its input, weight and bias.

    Parameters
    ----------
    grad : ndarray, of the shape of the output
        The gradient of the loss with respect to the output, before any activation. Of one dtype with x and weight.
    x : ndarray, (n, in_channels, height, width), or (n, height, width, in_channels) with layout "NHWC"
    weight : ndarray, (out_height * out_width, out_channels, in_channels, kernel_height, kernel_width)
    stride, padding, dilation, layout, pad_mode
        What the forward pass had.
    needs : tuple of str
        Which gradients to compute, of "x", "weight" and "bias".

    Returns
    -------
    (grad_x, grad_weight, grad_bias) : tuple of ndarray, None where not needed

    Raises
    ------
    ValueError
        A grad whose shape is not that of the output; else as `locally_connected2d` does.
    TypeError, MemoryError
        As `locally_connected2d` does.

    Examples
    --------
    >>> import numpy as np, convc
    >>> x, weight = np.ones((5, 1, 3, 3), np.float32), np.ones((4, 2, 1, 2, 2), np.float32)
    >>> grad = np.ones((5, 2, 2, 2), np.float32)
    >>> grad_x, grad_weight, grad_bias = convc.locally_connected2d_backward(grad, x, weight)
    >>> grad_x.shape, grad_weight.shape, grad_bias[0]
    ((5, 1, 3, 3), (4, 2, 1, 2, 2), array([5., 5.], dtype=float32))
    """
    return connect_backward(2, grad, x, weight, stride, padding, dilation, layout, pad_mode, needs)
