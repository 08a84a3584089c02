# Transposed convolution, forward and backward.

cdef object convolve_transposed(int spatial, object x, object weight, object bias, object stride, object padding,
                                object output_padding, object groups, object dilation, object layout,
                                object algorithm, object activation, object out):
    cdef operand[4] o  # x, weight, out, bias
    cdef convc_conv_params p
    cdef int64_t[3] extra
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
        parse_conv(spatial, stride, padding, dilation, groups, "zeros", "floor", algorithm, activation,
                   o[1].tensor.shape + 2, &p)
        parse_axes(output_padding, "output_padding", spatial, extra)
        check(convc_conv_transpose_output_shape(ndim, o[0].tensor.shape, o[1].tensor.shape, &p, extra, shape))
        if bias is not None:
            load(bias, "bias", REAL, 1, False, &o[3])
            same_dtype(&o[3], "bias", &o[0], "x")
            same_shape(&o[3], "bias", shape + 1, 1, False)
            bias_tensor = &o[3].tensor
        out = result(out, shape, ndim, last, o[0].tensor.dtype, &o[2])
        with nogil:
            status = convc_conv_transpose_forward(&o[0].tensor, &o[1].tensor, bias_tensor, &p, &o[2].tensor)
        check(status)
        return out
    finally:
        release(o, 4)


cdef tuple convolve_transposed_backward(int spatial, object grad, object x, object weight, object stride,
                                        object padding, object output_padding, object groups, object dilation,
                                        object layout, object algorithm, object needs):
    cdef operand[6] o  # grad, x, weight and the gradients of x, weight and bias
    cdef convc_conv_params p
    cdef int64_t[3] extra
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
        parse_conv(spatial, stride, padding, dilation, groups, "zeros", "floor", algorithm, None,
                   o[2].tensor.shape + 2, &p)
        parse_axes(output_padding, "output_padding", spatial, extra)
        check(convc_conv_transpose_output_shape(ndim, o[1].tensor.shape, o[2].tensor.shape, &p, extra, shape))
        same_shape(&o[0], "grad", shape, ndim, last)
        if mask & 1:
            grad_x = result(None, o[1].tensor.shape, ndim, last, o[0].tensor.dtype, &o[3])
        if mask & 2:
            grad_weight = result(None, o[2].tensor.shape, ndim, False, o[0].tensor.dtype, &o[4])
        if mask & 4:
            grad_bias = result(None, shape + 1, 1, False, o[0].tensor.dtype, &o[5])
        with nogil:
            if mask & 1:
                status = convc_conv_transpose_backward_data(&o[0].tensor, &o[2].tensor, &p, &o[3].tensor)
            if mask & 2 and status == CONVC_OK:
                status = convc_conv_transpose_backward_weight(&o[0].tensor, &o[1].tensor, &p, &o[4].tensor)
            if mask & 4 and status == CONVC_OK:
                status = convc_backward_bias(&o[0].tensor, &o[5].tensor)
        check(status)
        return grad_x, grad_weight, grad_bias
    finally:
        release(o, 6)


def conv_transpose1d(x, weight, bias=None, stride=1, padding=0, output_padding=0, groups=1, dilation=1, *, layout="NCW",
                     algorithm="auto", activation=None, out=None):
    """
    Transposed convolution of sequences: `conv_transpose2d` with one spatial axis.

    Parameters
    ----------
    x : ndarray, (n, in_channels, width), or (n, width, in_channels) with layout "NWC"
    weight : ndarray, (in_channels, out_channels / groups, kernel_width)
    bias : ndarray, (out_channels,), optional
    stride, padding, output_padding, groups, dilation, layout, algorithm, activation, out
        As in `conv_transpose2d`; what is given for each axis is a tuple of one.

    Returns
    -------
    ndarray, (n, out_channels, out_width), or (n, out_width, out_channels) with layout "NWC"

    Raises
    ------
    ValueError, TypeError, MemoryError
        As `conv_transpose2d` does.

    Examples
    --------
    >>> import numpy as np, convc
    >>> x, weight = np.array([[[1.0, 2.0, 3.0]]]), np.ones((1, 1, 3))
    >>> convc.conv_transpose1d(x, weight, stride=2)
    array([[[1., 1., 3., 2., 5., 3., 3.]]])
    """
    return convolve_transposed(1, x, weight, bias, stride, padding, output_padding, groups, dilation, layout, algorithm,
                               activation, out)


def conv_transpose2d(x, weight, bias=None, stride=1, padding=0, output_padding=0, groups=1, dilation=1, *,
                     layout="NCHW", algorithm="auto", activation=None, out=None):
    """
    Transposed convolution of images, which makes them larger: the gradient of `conv2d`'s input, used as an operator.

    Each pixel of x adds its multiple of the kernel to the output, the next pixel `stride` further on. It is no inverse
    of convolution, but its transpose: with the same arguments ``sum(conv2d(y, weight) * x)`` is
    ``sum(y * conv_transpose2d(x, weight))``. A spatial axis of size ``in`` becomes ``(in - 1) * stride - pad_before -
    pad_after + dilation * (kernel - 1) + output_padding + 1`` [1]_.

    Parameters
    ----------
    x : ndarray, (n, in_channels, height, width), or (n, height, width, in_channels) with layout "NHWC"
        float32 or float64, any strides; n may be 0.
    weight : ndarray, (in_channels, out_channels / groups, kernel_height, kernel_width)
        The same in both layouts. Of x's dtype, as bias and out are.
    bias : ndarray, (out_channels,), optional
    stride, dilation : int or (int, int), at least 1
        Steps between what neighbours in x add to, and between the elements of the kernel.
    padding : int, (int, int), ((before, after), (before, after)) or "valid"
        What is cut off the output's border; with stride 1 also "same".
    output_padding : int or (int, int)
        What the output is larger at its end: of the sizes that a strided convolution maps to x's size, it chooses one.
        Less than the stride or the dilation.
    groups : int
        Input and output channels are split into this many independent parts.
    layout : "NCHW" or "NHWC"
        The order of axes of x and of the result.
    algorithm : "auto", "direct", "gemm" or "winograd"
        As in `conv2d`.
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
        Shapes and numbers that do not go together; padding that leaves nothing; an output too large to address.
    TypeError
        Arguments of the wrong type, dtypes other than float32 and float64, or two of them mixed.
    MemoryError
        No memory for the result.

    References
    ----------
    .. [1] V. Dumoulin and F. Visin, "A guide to convolution arithmetic for deep learning",
       https://arxiv.org/abs/1603.07285.

    Examples
    --------
    >>> import numpy as np, convc
    >>> x = np.array([[[[1.0, 2.0]]]])
    >>> kernel = np.array([[[[1.0, 3.0], [5.0, 7.0]]]])
    >>> convc.conv_transpose2d(x, kernel, stride=2)
    array([[[[ 1.,  3.,  2.,  6.],
             [ 5.,  7., 10., 14.]]]])
    """
    return convolve_transposed(2, x, weight, bias, stride, padding, output_padding, groups, dilation, layout, algorithm,
                               activation, out)


def conv_transpose3d(x, weight, bias=None, stride=1, padding=0, output_padding=0, groups=1, dilation=1, *,
                     layout="NCDHW", algorithm="auto", activation=None, out=None):
    """
    Transposed convolution of volumes: `conv_transpose2d` with three spatial axes.

    Parameters
    ----------
    x : ndarray, (n, in_channels, depth, height, width), or (n, depth, height, width, in_channels) with layout "NDHWC"
    weight : ndarray, (in_channels, out_channels / groups, *kernel)
    bias : ndarray, (out_channels,), optional
    stride, padding, output_padding, groups, dilation, layout, algorithm, activation, out
        As in `conv_transpose2d`; what is given for each axis is a tuple of three.

    Returns
    -------
    ndarray, (n, out_channels, *out_size), or (n, *out_size, out_channels) with layout "NDHWC"

    Raises
    ------
    ValueError, TypeError, MemoryError
        As `conv_transpose2d` does.

    Examples
    --------
    >>> import numpy as np, convc
    >>> x, weight = np.ones((1, 4, 3, 3, 3), np.float32), np.ones((4, 2, 2, 2, 2), np.float32)
    >>> convc.conv_transpose3d(x, weight, stride=2).shape
    (1, 2, 6, 6, 6)
    """
    return convolve_transposed(3, x, weight, bias, stride, padding, output_padding, groups, dilation, layout, algorithm,
                               activation, out)


def conv_transpose1d_backward(grad, x, weight, stride=1, padding=0, output_padding=0, groups=1, dilation=1, *,
                              layout="NCW", algorithm="auto", needs=_ALL_NEEDS):
    """
    The gradients of `conv_transpose1d`; all as for `conv_transpose2d_backward`, with one spatial axis.

    Parameters
    ----------
    grad : ndarray, of the shape of the output
    x, weight : ndarray
        What the forward pass had.
    stride, padding, output_padding, groups, dilation, layout
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
        As `conv_transpose2d_backward` does.

    Examples
    --------
    >>> import numpy as np, convc
    >>> x, weight, grad = np.ones((1, 1, 2)), np.ones((1, 1, 3)), np.arange(5.0).reshape(1, 1, 5)
    >>> convc.conv_transpose1d_backward(grad, x, weight, stride=2, needs=("x",))[0]
    array([[[3., 9.]]])
    """
    return convolve_transposed_backward(1, grad, x, weight, stride, padding, output_padding, groups, dilation, layout,
                                        algorithm, needs)


def conv_transpose2d_backward(grad, x, weight, stride=1, padding=0, output_padding=0, groups=1, dilation=1, *,
                              layout="NCHW", algorithm="auto", needs=_ALL_NEEDS):
    """
    The gradients of `conv_transpose2d` with respect to its input, weight and bias.

    That of x is the convolution of grad with the weight, that of weight a correlation of grad with x, that of bias the
    sum of grad over all but the channels.

    Parameters
    ----------
    grad : ndarray, of the shape of the output
        The gradient of the loss with respect to the output, before any activation. Of one dtype with x and weight.
    x : ndarray, (n, in_channels, height, width), or (n, height, width, in_channels) with layout "NHWC"
    weight : ndarray, (in_channels, out_channels / groups, kernel_height, kernel_width)
    stride, padding, output_padding, groups, dilation, layout
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
        A grad whose shape is not that of the output; else as `conv_transpose2d` does.
    TypeError, MemoryError
        As `conv_transpose2d` does.

    Examples
    --------
    >>> import numpy as np, convc
    >>> x, weight = np.ones((1, 1, 2, 2)), np.ones((1, 3, 2, 2))
    >>> grad = np.ones((1, 3, 4, 4))
    >>> grad_x, grad_weight, grad_bias = convc.conv_transpose2d_backward(grad, x, weight, stride=2)
    >>> grad_x
    array([[[[12., 12.],
             [12., 12.]]]])
    """
    return convolve_transposed_backward(2, grad, x, weight, stride, padding, output_padding, groups, dilation, layout,
                                        algorithm, needs)


def conv_transpose3d_backward(grad, x, weight, stride=1, padding=0, output_padding=0, groups=1, dilation=1, *,
                              layout="NCDHW", algorithm="auto", needs=_ALL_NEEDS):
    """
    The gradients of `conv_transpose3d`; all as for `conv_transpose2d_backward`, with three spatial axes.

    Parameters
    ----------
    grad : ndarray, of the shape of the output
    x, weight : ndarray
        What the forward pass had.
    stride, padding, output_padding, groups, dilation, layout
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
        As `conv_transpose2d_backward` does.

    Examples
    --------
    >>> import numpy as np, convc
    >>> x, weight, grad = np.ones((1, 1, 1, 1, 1)), np.ones((1, 1, 2, 2, 2)), np.ones((1, 1, 2, 2, 2))
    >>> convc.conv_transpose3d_backward(grad, x, weight, needs=("x", "bias"))
    (array([[[[[8.]]]]]), None, array([8.]))
    """
    return convolve_transposed_backward(3, grad, x, weight, stride, padding, output_padding, groups, dilation, layout,
                                        algorithm, needs)
