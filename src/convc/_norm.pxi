# Normalisation of arrays with channels: by the batch, by groups of channels, and by neighbouring channels.

cdef bint load_images(object x, object layout, operand *o) except -1:
    """An array with channels and up to three spatial axes, or none; returns whether the channels come last."""
    cdef bint last = False
    open_source(x, "x", REAL, PyBUF_RECORDS_RO, o)
    if not 2 <= o.view.ndim <= CONVC_MAX_NDIM:
        raise ValueError(f"x must have 2 to {CONVC_MAX_NDIM} dimensions, got {o.view.ndim}: shape {view_shape(o)}")
    if o.view.ndim > 2 and layout is not None:
        last = parse_layout(layout, o.view.ndim - 2)
    elif layout is not None and not is_text(layout, "NC"):
        bad_choice("layout", layout, "'NC' or None for an x of 2 dimensions")
    describe(o, last)
    return last


cdef int load_like(object source, str name, const operand *x, bint last, operand *o) except -1:
    open_source(source, name, REAL, PyBUF_RECORDS_RO, o)
    if o.view.ndim != x.view.ndim:
        raise ValueError(f"{name} must have the shape of x, {view_shape(x)}, got {view_shape(o)}")
    describe(o, last)
    same_dtype(o, name, x, "x")
    return same_shape(o, name, x.tensor.shape, x.tensor.ndim, last)


cdef const convc_tensor *load_vector(object source, str name, int64_t size, str what, const operand *x, bint written,
                                     operand *o) except? NULL:
    """`size` numbers; None is NULL."""
    if source is None:
        return NULL
    open_source(source, name, REAL, PyBUF_RECORDS if written else PyBUF_RECORDS_RO, o)
    describe(o, False)
    same_dtype(o, name, x, "x")
    if o.view.ndim != 1 or o.view.shape[0] != size:
        raise ValueError(f"{name} must have shape ({size},), a number for each {what} of x, got {view_shape(o)}")
    return &o.tensor


cdef int load_statistics(object source, str name, tuple shape, operand *o) except -1:
    """What the forward pass returned: float64 whatever x is."""
    open_source(source, name, REAL, PyBUF_RECORDS_RO, o)
    describe(o, False)
    if o.tensor.dtype != CONVC_F64:
        raise TypeError(f"{name} must be float64, got {source_name(source)}")
    if view_shape(o) != shape:
        raise ValueError(f"{name} must have shape {shape} for this x, got {view_shape(o)}")
    return 0


cdef const convc_tensor *gradient(bint needed, const int64_t *shape, int ndim, bint last, convc_dtype dtype,
                                  list results, operand *o) except? NULL:
    """Appends an array for a gradient, or None."""
    results.append(result(None, shape, ndim, last, dtype, o) if needed else None)
    return &o.tensor if needed else NULL


# ---- batch normalisation ----

def batch_norm(x, running_mean, running_var, weight=None, bias=None, training=False, momentum=0.1, eps=1e-5, *,
               layout=None, return_statistics=False, out=None):
    """
    Batch normalisation, ``(x - mean) / sqrt(var + eps) * weight + bias`` for each channel, as PyTorch computes it.

    In use, mean and variance are the running ones. In training they are those of the channel in this batch, and the
    running ones, where given, move towards them in place: ``running = (1 - momentum) * running + momentum * new``, with
    the variance of the sample (divided by one less than the count). The sums are taken around means, so that numbers
    that lie far from zero lose nothing, and with room for the squares of any float32; beyond 1e36, differences from the
    mean and the sums of gradients may still overflow, as may squares of float64 beyond 1e154. Ioffe and Szegedy,
    https://arxiv.org/abs/1502.03167.

    Parameters
    ----------
    x : ndarray, (n, channels) or (n, channels, *size), or (n, *size, channels) with a layout that ends in "C"
        float32 or float64, any strides, up to three spatial axes; n may be 0.
    running_mean, running_var : ndarray, (channels,), or None
        They may be None in training.
    weight, bias : ndarray, (channels,), optional
    training : bool
        It needs more than one value a channel.
    momentum, eps : float
    layout : str, optional
        Such as "NCHW" or "NHWC", with as many letters as x has axes; channels first if not given.
    return_statistics : bool
        Also return the mean and ``1 / sqrt(var + eps)`` of each channel, which `batch_norm_backward` wants.
    out : ndarray, optional
        Where the result goes: x's shape and dtype, any strides, no overlap with an input.

    Returns
    -------
    y : ndarray of x's shape and dtype
    mean, inv_std : ndarray of float64, (channels,), if `return_statistics`

    Raises
    ------
    ValueError
        Shapes that do not go together, training on one value a channel, a negative `eps`, statistics that are missing,
        or an `out` that does not fit.
    TypeError
        Arguments of the wrong type or dtype.
    MemoryError
        No memory for the result.

    Examples
    --------
    >>> import numpy as np, convc
    >>> x = np.array([[1.0, 10.0], [3.0, 30.0]])
    >>> mean, var = np.zeros(2), np.ones(2)
    >>> convc.batch_norm(x, mean, var, training=True, eps=0)
    array([[-1., -1.],
           [ 1.,  1.]])
    >>> mean
    array([0.2, 2. ])
    """
    cdef operand[8] o  # x, out, weight, bias, the running statistics, those returned
    cdef convc_batch_norm_params p
    cdef const convc_tensor *w
    cdef const convc_tensor *b
    cdef const convc_tensor *m
    cdef const convc_tensor *v
    cdef const convc_tensor *mean_tensor = NULL
    cdef const convc_tensor *inv_tensor = NULL
    cdef convc_status status
    cdef int64_t channels
    mean = inv_std = None
    clear(o, 8)
    try:
        last = load_images(x, layout, &o[0])
        channels = o[0].tensor.shape[1]
        p.training = bool(training)
        p.momentum = parse_number(momentum, "momentum")
        p.eps = parse_number(eps, "eps")
        m = load_vector(running_mean, "running_mean", channels, "channel", &o[0], p.training, &o[4])
        v = load_vector(running_var, "running_var", channels, "channel", &o[0], p.training, &o[5])
        w = load_vector(weight, "weight", channels, "channel", &o[0], False, &o[2])
        b = load_vector(bias, "bias", channels, "channel", &o[0], False, &o[3])
        out = result(out, o[0].tensor.shape, o[0].tensor.ndim, last, o[0].tensor.dtype, &o[1])
        if return_statistics:
            mean = result(None, &channels, 1, False, CONVC_F64, &o[6])
            inv_std = result(None, &channels, 1, False, CONVC_F64, &o[7])
            mean_tensor, inv_tensor = &o[6].tensor, &o[7].tensor
        with nogil:
            status = convc_batch_norm_forward(&o[0].tensor, w, b, m, v, &p, &o[1].tensor, mean_tensor, inv_tensor)
        check(status)
        return (out, mean, inv_std) if return_statistics else out
    finally:
        release(o, 8)


def batch_norm_backward(grad, x, mean, inv_std, weight=None, training=False, *, layout=None,
                        needs=("x", "weight", "bias")):
    """
    The gradients of `batch_norm`.

    Parameters
    ----------
    grad : ndarray of x's shape and dtype
        The gradient with respect to the output.
    x : ndarray
        The input of `batch_norm`.
    mean, inv_std : ndarray of float64, (channels,)
        What `batch_norm` returned with ``return_statistics=True``.
    weight : ndarray, (channels,), optional
    training, layout
        What `batch_norm` had. In training the gradient goes through the mean and the variance, too.
    needs : tuple of "x", "weight" and "bias"
        Which gradients to compute; the others are None.

    Returns
    -------
    grad_x : ndarray of x's shape
    grad_weight, grad_bias : ndarray, (channels,)

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
    >>> x = np.array([[1.0], [3.0]])
    >>> y, mean, inv_std = convc.batch_norm(x, None, None, training=True, eps=0, return_statistics=True)
    >>> grad_x, grad_weight, grad_bias = convc.batch_norm_backward(np.ones((2, 1)), x, mean, inv_std, training=True)
    >>> grad_x.ravel(), grad_weight, grad_bias
    (array([0., 0.]), array([0.]), array([2.]))
    """
    return channel_norm_backward(grad, x, False, None, mean, inv_std, weight, bool(training), layout, needs)


cdef tuple channel_norm_backward(object grad, object x, bint by_group, object num_groups, object mean, object inv_std,
                                 object weight, bint training, object layout, object needs):
    """Of group normalisation, or else of batch normalisation."""
    cdef operand[8] o  # grad, x, mean, inv_std, weight, the three gradients
    cdef const convc_tensor *w
    cdef const convc_tensor *grad_x
    cdef const convc_tensor *grad_w
    cdef const convc_tensor *grad_b
    cdef convc_status status
    cdef int mask = parse_needs(needs)
    cdef int64_t channels, groups = 0
    cdef list results = []
    clear(o, 8)
    try:
        last = load_images(x, layout, &o[1])
        channels = o[1].tensor.shape[1]
        load_like(grad, "grad", &o[1], last, &o[0])
        shape = (channels,)
        if by_group:
            groups = parse_groups(num_groups, &o[1])
            shape = (o[1].tensor.shape[0], groups)
        load_statistics(mean, "mean", shape, &o[2])
        load_statistics(inv_std, "inv_std", shape, &o[3])
        w = load_vector(weight, "weight", channels, "channel", &o[1], False, &o[4])
        grad_x = gradient(mask & 1, o[1].tensor.shape, o[1].tensor.ndim, last, o[1].tensor.dtype, results, &o[5])
        grad_w = gradient(mask & 2, &channels, 1, False, o[1].tensor.dtype, results, &o[6])
        grad_b = gradient(mask & 4, &channels, 1, False, o[1].tensor.dtype, results, &o[7])
        with nogil:
            if by_group:
                status = convc_group_norm_backward(&o[0].tensor, &o[1].tensor, groups, w, &o[2].tensor, &o[3].tensor,
                                                   grad_x, grad_w, grad_b)
            else:
                status = convc_batch_norm_backward(&o[0].tensor, &o[1].tensor, w, &o[2].tensor, &o[3].tensor, training,
                                                   grad_x, grad_w, grad_b)
        check(status)
        return tuple(results)
    finally:
        release(o, 8)


# ---- group normalisation ----

cdef int64_t parse_groups(object num_groups, const operand *x) except -1:
    cdef int64_t groups = parse_int(num_groups, "num_groups")
    cdef int64_t channels = x.tensor.shape[1]
    if groups < 1:
        raise ValueError(f"num_groups must be at least 1, got {groups}")
    if channels % groups:
        raise ValueError(f"num_groups {groups} must divide the {channels} channels of x")
    return groups


def group_norm(x, num_groups, weight=None, bias=None, eps=1e-5, *, layout=None, return_statistics=False, out=None):
    """
    Group normalisation: each group of channels of each image by its own mean and variance, then weight and bias.

    With one group that is a layer normalisation of images, with one channel a group an instance normalisation. Wu and
    He, https://arxiv.org/abs/1803.08494.

    Parameters
    ----------
    x : ndarray, (n, channels) or (n, channels, *size), or (n, *size, channels) with a layout that ends in "C"
        float32 or float64, any strides, up to three spatial axes; n may be 0.
    num_groups : int
        Must divide the channels.
    weight, bias : ndarray, (channels,), optional
    eps : float
    layout : str, optional
        Such as "NCHW" or "NHWC", with as many letters as x has axes; channels first if not given.
    return_statistics : bool
        Also return the mean and ``1 / sqrt(var + eps)`` of each group, which `group_norm_backward` wants.
    out : ndarray, optional
        Where the result goes: x's shape and dtype, any strides, no overlap with an input.

    Returns
    -------
    y : ndarray of x's shape and dtype
    mean, inv_std : ndarray of float64, (n, num_groups), if `return_statistics`

    Raises
    ------
    ValueError
        Shapes that do not go together, groups that do not divide the channels, a negative `eps`, or an `out` that does
        not fit.
    TypeError
        Arguments of the wrong type or dtype.
    MemoryError
        No memory for the result.

    Examples
    --------
    >>> import numpy as np, convc
    >>> convc.group_norm(np.array([[1.0, 3.0, 10.0, 30.0]]), 2, eps=0)
    array([[-1.,  1., -1.,  1.]])
    """
    cdef operand[6] o  # x, out, weight, bias, the statistics
    cdef const convc_tensor *w
    cdef const convc_tensor *b
    cdef const convc_tensor *mean_tensor = NULL
    cdef const convc_tensor *inv_tensor = NULL
    cdef convc_status status
    cdef double number = parse_number(eps, "eps")
    cdef int64_t channels, groups
    cdef int64_t[2] shape
    mean = inv_std = None
    clear(o, 6)
    try:
        last = load_images(x, layout, &o[0])
        channels = o[0].tensor.shape[1]
        groups = parse_groups(num_groups, &o[0])
        w = load_vector(weight, "weight", channels, "channel", &o[0], False, &o[2])
        b = load_vector(bias, "bias", channels, "channel", &o[0], False, &o[3])
        out = result(out, o[0].tensor.shape, o[0].tensor.ndim, last, o[0].tensor.dtype, &o[1])
        if return_statistics:
            shape[0], shape[1] = o[0].tensor.shape[0], groups
            mean = result(None, shape, 2, False, CONVC_F64, &o[4])
            inv_std = result(None, shape, 2, False, CONVC_F64, &o[5])
            mean_tensor, inv_tensor = &o[4].tensor, &o[5].tensor
        with nogil:
            status = convc_group_norm_forward(&o[0].tensor, groups, w, b, number, &o[1].tensor, mean_tensor, inv_tensor)
        check(status)
        return (out, mean, inv_std) if return_statistics else out
    finally:
        release(o, 6)


def group_norm_backward(grad, x, num_groups, mean, inv_std, weight=None, *, layout=None, needs=("x", "weight", "bias")):
    """
    The gradients of `group_norm`.

    Parameters
    ----------
    grad : ndarray of x's shape and dtype
        The gradient with respect to the output.
    x : ndarray
        The input of `group_norm`.
    num_groups, layout
        What `group_norm` had.
    mean, inv_std : ndarray of float64, (n, num_groups)
        What `group_norm` returned with ``return_statistics=True``.
    weight : ndarray, (channels,), optional
    needs : tuple of "x", "weight" and "bias"
        Which gradients to compute; the others are None.

    Returns
    -------
    grad_x : ndarray of x's shape
    grad_weight, grad_bias : ndarray, (channels,)

    Raises
    ------
    ValueError
        Shapes that do not go together, or groups that do not divide the channels.
    TypeError
        Arguments of the wrong type or dtype.
    MemoryError
        No memory for the result.

    Examples
    --------
    >>> import numpy as np, convc
    >>> x = np.array([[1.0, 3.0, 10.0, 30.0]])
    >>> y, mean, inv_std = convc.group_norm(x, 2, eps=0, return_statistics=True)
    >>> convc.group_norm_backward(np.ones((1, 4)), x, 2, mean, inv_std)[1]
    array([-1.,  1., -1.,  1.])
    """
    return channel_norm_backward(grad, x, True, num_groups, mean, inv_std, weight, True, layout, needs)


# ---- local response normalisation ----

cdef convc_lrn_params parse_lrn(object size, object alpha, object beta, object k):
    cdef convc_lrn_params p
    p.size = parse_int(size, "size")
    p.alpha = parse_number(alpha, "alpha")
    p.beta = parse_number(beta, "beta")
    p.k = parse_number(k, "k")
    return p


def local_response_norm(x, size, alpha=1e-4, beta=0.75, k=1.0, *, layout=None, out=None):
    """
    Local response normalisation, ``x / (k + alpha * mean of squares) ** beta`` over neighbouring channels.

    The mean is over the `size` channels around each, ``size // 2`` of them before it; channels that there are not count
    as zeros, so that the sum is always divided by `size`, as in PyTorch. Krizhevsky, Sutskever and Hinton, "ImageNet
    Classification with Deep Convolutional Neural Networks" (where `alpha` is not divided by `size`).

    Parameters
    ----------
    x : ndarray, (n, channels) or (n, channels, *size), or (n, *size, channels) with a layout that ends in "C"
        float32 or float64, any strides, up to three spatial axes; n may be 0.
    size : int
        At least 1.
    alpha, beta, k : float
    layout : str, optional
        Such as "NCHW" or "NHWC", with as many letters as x has axes; channels first if not given.
    out : ndarray, optional
        Where the result goes: x's shape and dtype, any strides, no overlap with x.

    Returns
    -------
    ndarray of x's shape and dtype

    Raises
    ------
    ValueError
        A `size` below 1, or an `out` that does not fit.
    TypeError
        Arguments of the wrong type or dtype.
    MemoryError
        No memory for the result.

    Examples
    --------
    >>> import numpy as np, convc
    >>> convc.local_response_norm(np.array([[1.0, 1.0, 1.0]]), 2, alpha=2.0, beta=1.0)
    array([[0.5       , 0.33333333, 0.33333333]])
    """
    cdef operand[2] o  # x, out
    cdef convc_status status
    cdef convc_lrn_params p = parse_lrn(size, alpha, beta, k)
    clear(o, 2)
    try:
        last = load_images(x, layout, &o[0])
        out = result(out, o[0].tensor.shape, o[0].tensor.ndim, last, o[0].tensor.dtype, &o[1])
        with nogil:
            status = convc_lrn_forward(&o[0].tensor, &p, &o[1].tensor)
        check(status)
        return out
    finally:
        release(o, 2)


def local_response_norm_backward(grad, x, size, alpha=1e-4, beta=0.75, k=1.0, *, layout=None):
    """
    The gradient of `local_response_norm`.

    Parameters
    ----------
    grad : ndarray of x's shape and dtype
        The gradient with respect to the output.
    x : ndarray
        The input of `local_response_norm`.
    size, alpha, beta, k, layout
        What `local_response_norm` had.

    Returns
    -------
    ndarray of x's shape

    Raises
    ------
    ValueError
        Shapes that do not go together, or a `size` below 1.
    TypeError
        Arguments of the wrong type or dtype.
    MemoryError
        No memory for the result.

    Examples
    --------
    >>> import numpy as np, convc
    >>> convc.local_response_norm_backward(np.ones((1, 1)), np.array([[1.0]]), 1, alpha=1.0, beta=1.0)
    array([[0.]])
    """
    cdef operand[3] o  # grad, x, the gradient of x
    cdef convc_status status
    cdef convc_lrn_params p = parse_lrn(size, alpha, beta, k)
    clear(o, 3)
    try:
        last = load_images(x, layout, &o[1])
        load_like(grad, "grad", &o[1], last, &o[0])
        grad_x = result(None, o[1].tensor.shape, o[1].tensor.ndim, last, o[1].tensor.dtype, &o[2])
        with nogil:
            status = convc_lrn_backward(&o[0].tensor, &o[1].tensor, &p, &o[2].tensor)
        check(status)
        return grad_x
    finally:
        release(o, 3)
