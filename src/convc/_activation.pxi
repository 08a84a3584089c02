# Activation functions: elementwise, with PyTorch's names and arguments.

cdef int parse_approximate(object approximate) except -1:
    if is_text(approximate, "none"):
        return CONVC_GELU
    if is_text(approximate, "tanh"):
        return CONVC_GELU_TANH
    bad_choice("approximate", approximate, "'none' or 'tanh'")


def leaky_relu(x, negative_slope=0.01, *, out=None):
    """
    ``x`` where it is positive, else ``negative_slope * x``, elementwise.

    Parameters
    ----------
    x : ndarray of any shape
        float32 or float64, any strides.
    negative_slope : float
        What negative elements are multiplied by.
    out : ndarray, optional
        Where the result goes: x's shape and dtype, any strides, no overlap with x.

    Returns
    -------
    ndarray of x's shape, dtype and order of axes in memory

    Raises
    ------
    ValueError
        An `out` of another shape, read-only, or in x's memory.
    TypeError
        Arguments of the wrong type or dtype.
    MemoryError
        No memory for the result.

    Examples
    --------
    >>> import numpy as np, convc
    >>> convc.leaky_relu(np.array([-1.0, 0.0, 2.0]), 0.25)
    array([-0.25,  0.  ,  2.  ])
    """
    slope = parse_number(negative_slope, "negative_slope")
    return pointwise(FUNCTION + CONVC_LEAKY_RELU, x, "x", None, None, False, None, out, slope)


def leaky_relu_backward(grad, x, negative_slope=0.01):
    """
    The gradient of `leaky_relu`: ``where(x > 0, grad, negative_slope * grad)``.

    Parameters
    ----------
    grad : ndarray of any shape
        float32 or float64, any strides.
    x : ndarray of grad's shape and dtype
        The input of `leaky_relu`, or its output if the slope is not negative: the gradient is the same.
    negative_slope : float
        What `leaky_relu` had.

    Returns
    -------
    ndarray of grad's shape

    Raises
    ------
    ValueError
        Shapes that differ.
    TypeError
        Arguments of the wrong type or dtype.
    MemoryError
        No memory for the result.

    Examples
    --------
    >>> import numpy as np, convc
    >>> convc.leaky_relu_backward(np.array([4.0, 4.0]), np.array([-1.0, 2.0]), 0.25)
    array([1., 4.])
    """
    slope = parse_number(negative_slope, "negative_slope")
    return pointwise(FUNCTION_BACKWARD + CONVC_LEAKY_RELU, grad, "grad", x, "x", False, None, None, slope)


def sigmoid(x, *, out=None):
    """
    The logistic function ``1 / (1 + exp(-x))``, elementwise.

    Its relative error is at most 4 units in the last place (where the result is denormal, its absolute error is 4 of
    the smallest number); nothing overflows.

    Parameters
    ----------
    x : ndarray of any shape
        float32 or float64, any strides.
    out : ndarray, optional
        Where the result goes: x's shape and dtype, any strides, no overlap with x.

    Returns
    -------
    ndarray of x's shape, dtype and order of axes in memory

    Raises
    ------
    ValueError
        An `out` of another shape, read-only, or in x's memory.
    TypeError
        Arguments of the wrong type or dtype.
    MemoryError
        No memory for the result.

    Examples
    --------
    >>> import numpy as np, convc
    >>> convc.sigmoid(np.array([-1000.0, 0.0, 1000.0]))
    array([0. , 0.5, 1. ])
    """
    return pointwise(FUNCTION + CONVC_SIGMOID, x, "x", None, None, False, None, out)


def sigmoid_backward(grad, y):
    """
    The gradient of `sigmoid`: ``grad * y * (1 - y)``.

    Parameters
    ----------
    grad : ndarray of any shape
        float32 or float64, any strides.
    y : ndarray of grad's shape and dtype
        The output of `sigmoid`.

    Returns
    -------
    ndarray of grad's shape

    Raises
    ------
    ValueError
        Shapes that differ.
    TypeError
        Arguments of the wrong type or dtype.
    MemoryError
        No memory for the result.

    Examples
    --------
    >>> import numpy as np, convc
    >>> convc.sigmoid_backward(np.array([4.0]), convc.sigmoid(np.array([0.0])))
    array([1.])
    """
    return pointwise(FUNCTION_BACKWARD + CONVC_SIGMOID, grad, "grad", y, "y", False, None, None)


def tanh(x, *, out=None):
    """
    The hyperbolic tangent, elementwise, with a relative error of at most 4 units in the last place, near 0 too.

    Parameters
    ----------
    x : ndarray of any shape
        float32 or float64, any strides.
    out : ndarray, optional
        Where the result goes: x's shape and dtype, any strides, no overlap with x.

    Returns
    -------
    ndarray of x's shape, dtype and order of axes in memory

    Raises
    ------
    ValueError
        An `out` of another shape, read-only, or in x's memory.
    TypeError
        Arguments of the wrong type or dtype.
    MemoryError
        No memory for the result.

    Examples
    --------
    >>> import numpy as np, convc
    >>> convc.tanh(np.array([-1000.0, 0.0, 1e-30]))
    array([-1.e+00,  0.e+00,  1.e-30])
    """
    return pointwise(FUNCTION + CONVC_TANH, x, "x", None, None, False, None, out)


def tanh_backward(grad, y):
    """
    The gradient of `tanh`: ``grad * (1 - y**2)``.

    Parameters
    ----------
    grad : ndarray of any shape
        float32 or float64, any strides.
    y : ndarray of grad's shape and dtype
        The output of `tanh`.

    Returns
    -------
    ndarray of grad's shape

    Raises
    ------
    ValueError
        Shapes that differ.
    TypeError
        Arguments of the wrong type or dtype.
    MemoryError
        No memory for the result.

    Examples
    --------
    >>> import numpy as np, convc
    >>> convc.tanh_backward(np.array([4.0]), convc.tanh(np.array([0.0])))
    array([4.])
    """
    return pointwise(FUNCTION_BACKWARD + CONVC_TANH, grad, "grad", y, "y", False, None, None)


def silu(x, *, out=None):
    """
    ``x * sigmoid(x)``, elementwise, which is also called swish.

    Its relative error is at most 4 units in the last place (where the result is denormal, its absolute error is 4 of
    the smallest number). At minus infinity it is 0, its limit, where PyTorch has NaN.

    Parameters
    ----------
    x : ndarray of any shape
        float32 or float64, any strides.
    out : ndarray, optional
        Where the result goes: x's shape and dtype, any strides, no overlap with x.

    Returns
    -------
    ndarray of x's shape, dtype and order of axes in memory

    Raises
    ------
    ValueError
        An `out` of another shape, read-only, or in x's memory.
    TypeError
        Arguments of the wrong type or dtype.
    MemoryError
        No memory for the result.

    Examples
    --------
    >>> import numpy as np, convc
    >>> convc.silu(np.array([-np.inf, 0.0, 100.0]))
    array([ -0.,   0., 100.])

    References
    ----------
    S. Elfwing, E. Uchibe and K. Doya, "Sigmoid-Weighted Linear Units for Neural Network Function Approximation in
    Reinforcement Learning", https://arxiv.org/abs/1702.03118
    """
    return pointwise(FUNCTION + CONVC_SILU, x, "x", None, None, False, None, out)


def silu_backward(grad, x):
    """
    The gradient of `silu`: ``grad * s * (1 + x * (1 - s))`` with s the sigmoid of x.

    Parameters
    ----------
    grad : ndarray of any shape
        float32 or float64, any strides.
    x : ndarray of grad's shape and dtype
        The input of `silu`.

    Returns
    -------
    ndarray of grad's shape

    Raises
    ------
    ValueError
        Shapes that differ.
    TypeError
        Arguments of the wrong type or dtype.
    MemoryError
        No memory for the result.

    Examples
    --------
    >>> import numpy as np, convc
    >>> convc.silu_backward(np.array([4.0]), np.array([0.0]))
    array([2.])
    """
    return pointwise(FUNCTION_BACKWARD + CONVC_SILU, grad, "grad", x, "x", False, None, None)


def gelu(x, approximate="none", *, out=None):
    """
    ``x`` times the probability that a standard normal variable is below it, elementwise.

    ``x * Phi(x)``, Phi being the normal distribution ``(1 + erf(x / sqrt(2))) / 2``; or its approximation
    ``0.5 * x * (1 + tanh(sqrt(2 / pi) * (x + 0.044715 * x**3)))``. The exact one has a relative error of at most 12
    units in the last place, in the far negative tail too (where the result is denormal, its absolute error is as many
    of the smallest number). The approximation is more precise than that for positive x; for negative x its error grows
    to 5 + abs(x)**3 units. At minus infinity both are 0, their limit, where PyTorch has NaN.

    Parameters
    ----------
    x : ndarray of any shape
        float32 or float64, any strides.
    approximate : "none" or "tanh"
        Whether to compute the approximation.
    out : ndarray, optional
        Where the result goes: x's shape and dtype, any strides, no overlap with x.

    Returns
    -------
    ndarray of x's shape, dtype and order of axes in memory

    Raises
    ------
    ValueError
        An unknown approximation; an `out` of another shape, read-only, or in x's memory.
    TypeError
        Arguments of the wrong type or dtype.
    MemoryError
        No memory for the result.

    Examples
    --------
    >>> import numpy as np, convc
    >>> convc.gelu(np.array([-np.inf, -1.0, 0.0, 1.0])).round(4)
    array([-0.    , -0.1587,  0.    ,  0.8413])
    >>> convc.gelu(np.array([-1.0, 1.0]), "tanh").round(4)
    array([-0.1588,  0.8412])

    References
    ----------
    D. Hendrycks and K. Gimpel, "Gaussian Error Linear Units (GELUs)", https://arxiv.org/abs/1606.08415
    """
    cdef int function = parse_approximate(approximate)
    return pointwise(FUNCTION + function, x, "x", None, None, False, None, out)


def gelu_backward(grad, x, approximate="none"):
    """
    The gradient of `gelu`: ``grad * (Phi(x) + x * phi(x))`` with phi the normal density, or that of the approximation.

    Parameters
    ----------
    grad : ndarray of any shape
        float32 or float64, any strides.
    x : ndarray of grad's shape and dtype
        The input of `gelu`.
    approximate : "none" or "tanh"
        What `gelu` had.

    Returns
    -------
    ndarray of grad's shape

    Raises
    ------
    ValueError
        Shapes that differ, or an unknown approximation.
    TypeError
        Arguments of the wrong type or dtype.
    MemoryError
        No memory for the result.

    Examples
    --------
    >>> import numpy as np, convc
    >>> convc.gelu_backward(np.array([4.0]), np.array([0.0]))
    array([2.])
    """
    cdef int function = parse_approximate(approximate)
    return pointwise(FUNCTION_BACKWARD + function, grad, "grad", x, "x", False, None, None)


# ---- PReLU ----

cdef int load_prelu(object x, str x_name, object weight, object axis, operand *o) except -2:
    """x to o[0] and its weight to o[1]; returns the channels' axis, or -1 for a single weight."""
    open_source(x, x_name, REAL, PyBUF_RECORDS_RO, &o[0])
    load(weight, "weight", REAL, 1, False, &o[1])
    same_dtype(&o[1], "weight", &o[0], x_name)
    cdef int64_t count = o[1].tensor.shape[0]
    if count == 1:
        parse_int(axis, "axis")
        return -1
    cdef int kept = parse_axis(axis, x_name, &o[0])
    if count != o[0].view.shape[kept] or count == 0:
        size = o[0].view.shape[kept]
        raise ValueError(f"weight must have shape (1,) or ({size},), as axis {axis} of {x_name} has, and at least 1 "
                         f"element; got {view_shape(&o[1])}")
    return kept


def prelu(x, weight, axis=1, *, out=None):
    """
    ``x`` where it is positive, else ``weight * x``, with a weight for each channel or one for all.

    Parameters
    ----------
    x : ndarray of any shape
        float32 or float64, any strides.
    weight : ndarray, (1,) or (channels,)
        Of x's dtype.
    axis : int
        The axis of x that `weight` belongs to, if it has more than one element: 1 for channels first, as PyTorch has
        it, -1 for channels last.
    out : ndarray, optional
        Where the result goes: x's shape and dtype, any strides, no overlap with x and weight.

    Returns
    -------
    ndarray of x's shape, dtype and order of axes in memory

    Raises
    ------
    ValueError
        A weight that does not go with x, an axis that x does not have; an `out` of another shape, read-only, or in the
        memory of the inputs.
    TypeError
        Arguments of the wrong type or dtype.
    MemoryError
        No memory for the result.

    References
    ----------
    K. He, X. Zhang, S. Ren and J. Sun, "Delving Deep into Rectifiers", https://arxiv.org/abs/1502.01852

    Examples
    --------
    >>> import numpy as np, convc
    >>> convc.prelu(np.array([[-4.0, -4.0], [1.0, 2.0]]), np.array([0.25, 0.5]))
    array([[-1., -2.],
           [ 1.,  2.]])
    """
    cdef operand[3] o  # x, weight, out
    cdef operand[2] folded
    cdef convc_status status
    cdef int kept
    clear(o, 3)
    try:
        kept = load_prelu(x, "x", weight, axis, o)
        target = new_like(x, &o[0]) if out is None else out
        open_source(target, "out", REAL, PyBUF_RECORDS, &o[2])
        same_dtype(&o[2], "out", &o[0], "x")
        same_view_shape(&o[2], "out", &o[0])
        if is_empty(&o[0]):
            return target
        folded[0], folded[1] = o[0], o[2]
        if fold(folded, 2, kept) < 0:
            fresh = prelu(_array(x, order="C"), weight, axis)
            return fresh if out is None else copy_result(fresh, out, (x, weight))
        with nogil:
            status = convc_prelu_forward(&folded[0].tensor, &o[1].tensor, folded[0].tensor.ndim - 1, &folded[1].tensor)
        check(status)
        return target
    finally:
        release(o, 3)


def prelu_backward(grad, x, weight, axis=1):
    """
    The gradients of `prelu` with respect to its input and its weight.

    ``where(x > 0, grad, weight * grad)``, and for each weight the sum of ``grad * x`` over its elements that are not
    positive.

    Parameters
    ----------
    grad : ndarray of any shape
        float32 or float64, any strides.
    x : ndarray of grad's shape and dtype
        The input of `prelu`.
    weight : ndarray, (1,) or (channels,)
    axis : int
        As in `prelu`.

    Returns
    -------
    (grad_x, grad_weight) : tuple of ndarray

    Raises
    ------
    ValueError
        Shapes that do not go together, or an axis that x does not have.
    TypeError
        Arguments of the wrong type or dtype.
    MemoryError
        No memory for the results.

    Examples
    --------
    >>> import numpy as np, convc
    >>> x, weight = np.array([[-4.0, -4.0], [1.0, 2.0]]), np.array([0.25, 0.5])
    >>> grad_x, grad_weight = convc.prelu_backward(np.ones((2, 2)), x, weight)
    >>> grad_x
    array([[0.25, 0.5 ],
           [1.  , 1.  ]])
    >>> grad_weight
    array([-4., -4.])
    """
    cdef operand[5] o  # grad, weight, x and the gradients of x and weight
    cdef operand[3] folded
    cdef convc_status status
    cdef int kept
    clear(o, 5)
    try:
        kept = load_prelu(grad, "grad", weight, axis, o)
        open_source(x, "x", REAL, PyBUF_RECORDS_RO, &o[2])
        same_dtype(&o[2], "x", &o[0], "grad")
        same_view_shape(&o[2], "x", &o[0])
        grad_x = new_like(grad, &o[0])
        open_source(grad_x, "grad_x", REAL, PyBUF_RECORDS, &o[3])
        grad_weight = result(None, o[1].tensor.shape, 1, False, o[0].tensor.dtype, &o[4])
        if is_empty(&o[0]):
            grad_weight[...] = 0
            return grad_x, grad_weight
        folded[0], folded[1], folded[2] = o[0], o[2], o[3]
        if fold(folded, 3, kept) < 0:
            return prelu_backward(_array(grad, order="C"), _array(x, order="C"), weight, axis)
        with nogil:
            status = convc_prelu_backward(&folded[0].tensor, &folded[1].tensor, &o[1].tensor,
                                          folded[0].tensor.ndim - 1, &folded[2].tensor, &o[4].tensor)
        check(status)
        return grad_x, grad_weight
    finally:
        release(o, 5)
