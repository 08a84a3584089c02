# Convolution, forward and backward.

cdef int parse_conv(int spatial, object stride, object padding, object dilation, object groups, object pad_mode,
                    object fit, object algorithm, object activation, const int64_t *kernel,
                    convc_conv_params *p) except -1:
    parse_axes(stride, "stride", spatial, p.stride)
    parse_axes(dilation, "dilation", spatial, p.dilation)
    parse_padding(padding, spatial, kernel, p.stride, p.dilation, p.pad_before, p.pad_after)
    p.groups = parse_int(groups, "groups")
    p.pad_mode = <convc_pad_mode> parse_pad_mode(pad_mode)
    p.fit = <convc_fit> parse_fit(fit, False)
    p.algorithm = <convc_algorithm> parse_algorithm(algorithm)
    p.activation = <convc_activation> parse_activation(activation)
    return 0


cdef object convolve(int spatial, object x, object weight, object bias, object stride, object padding,
                     object dilation, object groups, object layout, object pad_mode, object fit, object algorithm,
                     object activation, object out):
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
        load(weight, "weight", REAL, ndim, False, &o[1])
        same_dtype(&o[1], "weight", &o[0], "x")
        if bias is not None:
            load(bias, "bias", REAL, 1, False, &o[3])
            same_dtype(&o[3], "bias", &o[0], "x")
            same_shape(&o[3], "bias", o[1].tensor.shape, 1, False)
            bias_tensor = &o[3].tensor
        parse_conv(spatial, stride, padding, dilation, groups, pad_mode, fit, algorithm, activation,
                   o[1].tensor.shape + 2, &p)
        check(convc_conv_output_shape(ndim, o[0].tensor.shape, o[1].tensor.shape, &p, shape))
        out = result(out, shape, ndim, last, o[0].tensor.dtype, &o[2])
        with nogil:
            status = convc_conv_forward(&o[0].tensor, &o[1].tensor, bias_tensor, &p, &o[2].tensor)
        check(status)
        return out
    finally:
        release(o, 4)


cdef tuple convolve_backward(int spatial, object grad, object x, object weight, object stride, object padding,
                             object dilation, object groups, object layout, object pad_mode, object algorithm,
                             object needs):
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
        load(weight, "weight", REAL, ndim, False, &o[2])
        same_dtype(&o[1], "x", &o[0], "grad")
        same_dtype(&o[2], "weight", &o[0], "grad")
        parse_conv(spatial, stride, padding, dilation, groups, pad_mode, "floor", algorithm, None,
                   o[2].tensor.shape + 2, &p)
        check(convc_conv_output_shape(ndim, o[1].tensor.shape, o[2].tensor.shape, &p, shape))
        same_shape(&o[0], "grad", shape, ndim, last)
        if mask & 1:
            grad_x = result(None, o[1].tensor.shape, ndim, last, o[0].tensor.dtype, &o[3])
        if mask & 2:
            grad_weight = result(None, o[2].tensor.shape, ndim, False, o[0].tensor.dtype, &o[4])
        if mask & 4:
            grad_bias = result(None, o[2].tensor.shape, 1, False, o[0].tensor.dtype, &o[5])
        with nogil:
            if mask & 1:
                status = convc_conv_backward_data(&o[0].tensor, &o[2].tensor, &p, &o[3].tensor)
            if mask & 2 and status == CONVC_OK:
                status = convc_conv_backward_weight(&o[0].tensor, &o[1].tensor, &p, &o[4].tensor)
            if mask & 4 and status == CONVC_OK:
                status = convc_backward_bias(&o[0].tensor, &o[5].tensor)
        check(status)
        return grad_x, grad_weight, grad_bias
    finally:
        release(o, 6)


def conv1d(x, weight, bias=None, stride=1, padding=0, dilation=1, groups=1, *, layout="NCW", pad_mode="zeros",
           fit="floor", algorithm="auto", activation=None, out=None):
    """
    Convolution of sequences: `conv2d` with one spatial axis.

    Parameters
    ----------
    x : ndarray, (n, in_channels, width), or (n, width, in_channels) with layout "NWC"
    weight : ndarray, (out_channels, in_channels / groups, kernel_width)
    bias : ndarray, (out_channels,), optional
    stride, padding, dilation, groups, layout, pad_mode, fit, algorithm, activation, out
        As in `conv2d`; what is given for each axis is a tuple of one, such as ``padding=((2, 0),)``.

    Returns
    -------
    ndarray, (n, out_channels, out_width), or (n, out_width, out_channels) with layout "NWC"

    Raises
    ------
    ValueError, TypeError, MemoryError
        As `conv2d` does.

    Examples
    --------
    A causal filter, each output the sum of the last two inputs:

    >>> import numpy as np, convc
    >>> x = np.arange(5, dtype=np.float32).reshape(1, 1, 5)
    >>> convc.conv1d(x, np.ones((1, 1, 2), np.float32), padding=((1, 0),))
    array([[[0., 1., 3., 5., 7.]]], dtype=float32)
    """
    return convolve(1, x, weight, bias, stride, padding, dilation, groups, layout, pad_mode, fit, algorithm,
                    activation, out)


def conv2d(x, weight, bias=None, stride=1, padding=0, dilation=1, groups=1, *, layout="NCHW", pad_mode="zeros",
           fit="floor", algorithm="auto", activation=None, out=None):
    """
    Convolution of images: cross-correlation, as in all CNN libraries, with the arguments of PyTorch's `conv2d`.

    ``out[n, k, i, j]`` is ``bias[k]`` plus the sum over c, r, s of ``weight[k, c, r, s] * x[n, c, h, w]``, where
    ``h = i * stride + r * dilation - padding`` and likewise w; outside the image x is what `pad_mode` says; c runs over
    the channels of k's group. A spatial axis of size ``in`` becomes
    ``(in + pad_before + pad_after - dilation * (kernel - 1) - 1) // stride + 1``.

    Parameters
    ----------
    x : ndarray, (n, in_channels, height, width), or (n, height, width, in_channels) with layout "NHWC"
        float32 or float64, any strides; n may be 0.
    weight : ndarray, (out_channels, in_channels / groups, kernel_height, kernel_width)
        The same in both layouts. Of x's dtype, as bias and out are.
    bias : ndarray, (out_channels,), optional
    stride, dilation : int or (int, int), at least 1
        Steps between outputs, and between the inputs that one output reads.
    padding : int, (int, int), ((before, after), (before, after)), "valid" or "same"
        Elements added around the image. "valid" is none; "same" keeps the size, the odd one after, and wants a stride
        of 1, as in PyTorch.
    groups : int
        Input and output channels are split into this many independent parts; in_channels is a depthwise convolution.
    layout : "NCHW" or "NHWC"
        The order of axes of x and of the result. Neither is converted to the other.
    pad_mode : "zeros", "reflect", "replicate" or "circular"
        What is added: zeros; the image mirrored at its outermost elements, which are not repeated, so that there must
        be less padding than image; these elements, again and again; or the opposite end of the image, as if it went
        round, with at most as much padding as image. Large images are not copied for that.
    fit : "floor" or "exact"
        What to do if the stride does not divide the way left: drop the rest, or raise a ValueError that says what
        would fit.
    algorithm : "auto", "direct", "gemm" or "winograd"
        "auto" takes what should be fastest. "direct" allows sums of products only, "gemm" only their implicit matrix
        product, which never stores the column matrix. "winograd" is Winograd's F(4x4, 3x3) or, on small images,
        F(2x2, 3x3) [1]_, for 3 x 3 kernels with stride 1 along the last two axes: a quarter of the multiplications, or
        four ninths, and rounding errors of up to 1e-5 (float64: 1e-13) times the largest output; a NaN or an infinity
        reaches all outputs of its tile. "auto" may choose it unless `precision` says otherwise.
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
        Shapes and numbers that do not go together; a kernel larger than the padded image; an output too large to
        address.
    TypeError
        Arguments of the wrong type, dtypes other than float32 and float64, or two of them mixed.
    MemoryError
        No memory for the result.

    References
    ----------
    .. [1] A. Lavin and S. Gray, "Fast Algorithms for Convolutional Neural Networks", CVPR 2016.

    Examples
    --------
    >>> import numpy as np, convc
    >>> x = np.arange(16, dtype=np.float32).reshape(1, 1, 4, 4)
    >>> mean = np.full((1, 1, 3, 3), 1 / 9, np.float32)
    >>> convc.conv2d(x, mean).round(3)
    array([[[[ 5.,  6.],
             [ 9., 10.]]]], dtype=float32)
    >>> convc.conv2d(x, mean, stride=2, padding="valid", activation="relu").shape
    (1, 1, 1, 1)
    """
    return convolve(2, x, weight, bias, stride, padding, dilation, groups, layout, pad_mode, fit, algorithm,
                    activation, out)


def conv3d(x, weight, bias=None, stride=1, padding=0, dilation=1, groups=1, *, layout="NCDHW", pad_mode="zeros",
           fit="floor", algorithm="auto", activation=None, out=None):
    """
    Convolution of volumes: `conv2d` with three spatial axes.

    Parameters
    ----------
    x : ndarray, (n, in_channels, depth, height, width), or (n, depth, height, width, in_channels) with layout "NDHWC"
    weight : ndarray, (out_channels, in_channels / groups, kernel_depth, kernel_height, kernel_width)
    bias : ndarray, (out_channels,), optional
    stride, padding, dilation, groups, layout, pad_mode, fit, algorithm, activation, out
        As in `conv2d`; what is given for each axis is a tuple of three.

    Returns
    -------
    ndarray, (n, out_channels, *out_size), or (n, *out_size, out_channels) with layout "NDHWC"

    Raises
    ------
    ValueError, TypeError, MemoryError
        As `conv2d` does.

    Examples
    --------
    >>> import numpy as np, convc
    >>> x = np.ones((1, 2, 4, 4, 4), np.float32)
    >>> convc.conv3d(x, np.ones((3, 2, 2, 2, 2), np.float32), stride=(1, 2, 2)).shape
    (1, 3, 3, 2, 2)
    """
    return convolve(3, x, weight, bias, stride, padding, dilation, groups, layout, pad_mode, fit, algorithm,
                    activation, out)


def conv1d_backward(grad, x, weight, stride=1, padding=0, dilation=1, groups=1, *, layout="NCW", pad_mode="zeros",
                    algorithm="auto", needs=_ALL_NEEDS):
    """
    The gradients of `conv1d`; all as for `conv2d_backward`, with one spatial axis.

    Parameters
    ----------
    grad : ndarray, of the shape of the output
    x, weight : ndarray
        What the forward pass had.
    stride, padding, dilation, groups, layout, pad_mode
        What the forward pass had.
    algorithm : "auto", "direct", "gemm" or "winograd"
        As in `conv2d`.
    needs : tuple of str
        Which gradients to compute, of "x", "weight" and "bias".

    Returns
    -------
    (grad_x, grad_weight, grad_bias) : tuple of ndarray, None where not needed

    Raises
    ------
    ValueError, TypeError, MemoryError
        As `conv2d_backward` does.

    Examples
    --------
    >>> import numpy as np, convc
    >>> x, weight = np.ones((1, 1, 4), np.float32), np.ones((1, 1, 3), np.float32)
    >>> grad_x, grad_weight, grad_bias = convc.conv1d_backward(np.ones((1, 1, 2), np.float32), x, weight)
    >>> grad_x
    array([[[1., 2., 2., 1.]]], dtype=float32)
    """
    return convolve_backward(1, grad, x, weight, stride, padding, dilation, groups, layout, pad_mode, algorithm,
                             needs)


def conv2d_backward(grad, x, weight, stride=1, padding=0, dilation=1, groups=1, *, layout="NCHW", pad_mode="zeros",
                    algorithm="auto", needs=_ALL_NEEDS):
    """
    The gradients of `conv2d` with respect to its input, weight and bias.

    That of x is a convolution of grad with the spatially flipped weight (one for each phase of the stride), that of
    weight a correlation of x with grad, that of bias the sum of grad over all but the channels.

    Parameters
    ----------
    grad : ndarray, of the shape of the output
        The gradient of the loss with respect to the output, before any activation. Of one dtype with x and weight.
    x : ndarray, (n, in_channels, height, width), or (n, height, width, in_channels) with layout "NHWC"
    weight : ndarray, (out_channels, in_channels / groups, kernel_height, kernel_width)
    stride, padding, dilation, groups, layout, pad_mode
        What the forward pass had.
    algorithm : "auto", "direct", "gemm" or "winograd"
        As in `conv2d`.
    needs : tuple of str
        Which gradients to compute, of "x", "weight" and "bias".

    Returns
    -------
    (grad_x, grad_weight, grad_bias) : tuple of ndarray, None where not needed

    Raises
    ------
    ValueError
        A grad whose shape is not that of the output; else as `conv2d` does.
    TypeError, MemoryError
        As `conv2d` does.

    Examples
    --------
    >>> import numpy as np, convc
    >>> x, weight = np.ones((1, 1, 4, 4), np.float32), np.ones((2, 1, 3, 3), np.float32)
    >>> grad = np.ones((1, 2, 2, 2), np.float32)
    >>> grad_x, grad_weight, grad_bias = convc.conv2d_backward(grad, x, weight)
    >>> grad_x.shape, grad_weight.shape, grad_bias
    ((1, 1, 4, 4), (2, 1, 3, 3), array([4., 4.], dtype=float32))
    """
    return convolve_backward(2, grad, x, weight, stride, padding, dilation, groups, layout, pad_mode, algorithm,
                             needs)


def conv3d_backward(grad, x, weight, stride=1, padding=0, dilation=1, groups=1, *, layout="NCDHW", pad_mode="zeros",
                    algorithm="auto", needs=_ALL_NEEDS):
    """
    The gradients of `conv3d`; all as for `conv2d_backward`, with three spatial axes.

    Parameters
    ----------
    grad : ndarray, of the shape of the output
    x, weight : ndarray
        What the forward pass had.
    stride, padding, dilation, groups, layout, pad_mode
        What the forward pass had.
    algorithm : "auto", "direct", "gemm" or "winograd"
        As in `conv2d`.
    needs : tuple of str
        Which gradients to compute, of "x", "weight" and "bias".

    Returns
    -------
    (grad_x, grad_weight, grad_bias) : tuple of ndarray, None where not needed

    Raises
    ------
    ValueError, TypeError, MemoryError
        As `conv2d_backward` does.

    Examples
    --------
    >>> import numpy as np, convc
    >>> x, weight = np.ones((1, 1, 2, 3, 3), np.float32), np.ones((1, 1, 2, 2, 2), np.float32)
    >>> grad = np.ones((1, 1, 1, 2, 2), np.float32)
    >>> convc.conv3d_backward(grad, x, weight, needs=("bias",))
    (None, None, array([4.], dtype=float32))
    """
    return convolve_backward(3, grad, x, weight, stride, padding, dilation, groups, layout, pad_mode, algorithm,
                             needs)
