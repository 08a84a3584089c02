# Operators over arrays of any rank, and the classification loss.

cdef enum:
    RELU
    RELU_BACKWARD
    SOFTMAX
    SOFTMAX_BACKWARD
    FUNCTION  # the first convc_function
    FUNCTION_BACKWARD = FUNCTION + 100


cdef object pointwise(int which, object a, str a_name, object b, str b_name, bint along_axis, object axis, object out,
                      double slope=0):
    """Operators of one array, or of two of one shape (b_name is not None)."""
    cdef operand[3] o  # a, the result, b
    cdef convc_status status = CONVC_OK
    cdef int count = 2 if b_name is None else 3
    cdef int kept = -1
    clear(o, 3)
    try:
        open_source(a, a_name, REAL, PyBUF_RECORDS_RO, &o[0])
        if along_axis:
            kept = parse_axis(axis, a_name, &o[0])
        if b_name is not None:
            open_source(b, b_name, REAL, PyBUF_RECORDS_RO, &o[2])
            same_dtype(&o[2], b_name, &o[0], a_name)
            same_view_shape(&o[2], b_name, &o[0])
        target = new_like(a, &o[0]) if out is None else out
        open_source(target, "out", REAL, PyBUF_RECORDS, &o[1])
        same_dtype(&o[1], "out", &o[0], a_name)
        same_view_shape(&o[1], "out", &o[0])
        if is_empty(&o[0]):
            return target
        if fold(o, count, kept) < 0:
            a_copy = _array(a, order="C")
            b_copy = None if b_name is None else _array(b, order="C")
            fresh = pointwise(which, a_copy, a_name, b_copy, b_name, along_axis, axis, None, slope)
            return fresh if out is None else copy_result(fresh, out, (a, b))
        with nogil:
            if which >= FUNCTION_BACKWARD:
                status = convc_function_backward(<convc_function> (which - FUNCTION_BACKWARD), slope, &o[0].tensor,
                                                 &o[2].tensor, &o[1].tensor)
            elif which >= FUNCTION:
                status = convc_function_forward(<convc_function> (which - FUNCTION), slope, &o[0].tensor, &o[1].tensor)
            elif which == RELU:
                status = convc_relu_forward(&o[0].tensor, &o[1].tensor)
            elif which == RELU_BACKWARD:
                status = convc_relu_backward(&o[0].tensor, &o[2].tensor, &o[1].tensor)
            elif which == SOFTMAX:
                status = convc_softmax_forward(&o[0].tensor, &o[1].tensor)
            else:
                status = convc_softmax_backward(&o[0].tensor, &o[2].tensor, &o[1].tensor)
        check(status)
        return target
    finally:
        release(o, 3)


cdef bint is_empty(const operand *o) noexcept:
    for i in range(o.view.ndim):
        if o.view.shape[i] == 0:
            return True
    return False


cdef int same_view_shape(const operand *o, str name, const operand *like) except -1:
    cdef bint same = o.view.ndim == like.view.ndim
    for i in range(o.view.ndim):
        same = same and o.view.shape[i] == like.view.shape[i]
    if not same:
        raise ValueError(f"{name} must have shape {view_shape(like)}, got {view_shape(o)}")
    return 0


cdef int parse_axis(object axis, str name, const operand *o) except -1:
    cdef int64_t number = parse_int(axis, "axis")
    cdef int ndim = o.view.ndim
    if number < -ndim or number >= ndim:
        wanted = f"from {-ndim} to {ndim - 1}" if ndim else "that of an array that has one"
        raise ValueError(f"axis must be {wanted} for {name} of shape {view_shape(o)}, got {number}")
    return <int> (number if number >= 0 else number + ndim)


def relu(x, *, out=None):
    """
    ``max(x, 0)``, elementwise; NaN stays NaN.

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
    >>> convc.relu(np.array([-1.0, 0.0, 2.0]))
    array([0., 0., 2.])
    """
    return pointwise(RELU, x, "x", None, None, False, None, out)


def relu_backward(grad, x):
    """
    The gradient of `relu`: ``where(x <= 0, 0, grad)``, which lets grad pass where x is NaN, as PyTorch does.

    Parameters
    ----------
    grad : ndarray of any shape
        float32 or float64, any strides.
    x : ndarray of grad's shape and dtype
        The input of `relu`, or its output: the gradient is the same.

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
    >>> convc.relu_backward(np.array([3.0, 4.0]), np.array([-1.0, 2.0]))
    array([0., 4.])
    """
    return pointwise(RELU_BACKWARD, grad, "grad", x, "x", False, None, None)


def softmax(x, axis=-1, *, out=None):
    """
    ``exp(x) / sum(exp(x))`` along an axis, computed from ``x - max(x)`` so that it does not overflow.

    Parameters
    ----------
    x : ndarray of at least one dimension
        float32 or float64, any strides.
    axis : int
    out : ndarray, optional
        Where the result goes: x's shape and dtype, any strides, no overlap with x.

    Returns
    -------
    ndarray of x's shape, dtype and order of axes in memory

    Raises
    ------
    ValueError
        An axis that x does not have; an `out` of another shape, read-only, or in x's memory.
    TypeError
        Arguments of the wrong type or dtype.
    MemoryError
        No memory for the result.

    Examples
    --------
    >>> import numpy as np, convc
    >>> convc.softmax(np.array([[0.0, 0.0], [1000.0, 0.0]]))
    array([[0.5, 0.5],
           [1. , 0. ]])
    """
    return pointwise(SOFTMAX, x, "x", None, None, True, axis, out)


def softmax_backward(grad, y, axis=-1):
    """
    The gradient of `softmax`: ``y * (grad - sum(grad * y))`` along the axis.

    Parameters
    ----------
    grad : ndarray of at least one dimension
        float32 or float64, any strides.
    y : ndarray of grad's shape and dtype
        The output of `softmax`.
    axis : int

    Returns
    -------
    ndarray of grad's shape

    Raises
    ------
    ValueError
        Shapes that differ, or an axis that they do not have.
    TypeError
        Arguments of the wrong type or dtype.
    MemoryError
        No memory for the result.

    Examples
    --------
    >>> import numpy as np, convc
    >>> y = convc.softmax(np.zeros(2))
    >>> convc.softmax_backward(np.array([1.0, 0.0]), y)
    array([ 0.25, -0.25])
    """
    return pointwise(SOFTMAX_BACKWARD, grad, "grad", y, "y", True, axis, None)


# ---- cross-entropy ----

cdef int load_classes(object logits, object target, operand *o) except -1:
    """Logits to o[0] and their target to o[1]."""
    load(logits, "logits", REAL, 2, False, &o[0])
    load(target, "target", INTEGER, 1, False, &o[1])
    same_shape(&o[1], "target", o[0].tensor.shape, 1, False)
    if o[0].tensor.shape[1] < 1:
        raise ValueError(f"logits must have at least 1 class, got shape {view_shape(&o[0])}")
    return 0


cdef enum:
    EACH
    SUM
    MEAN


cdef int parse_reduction(object reduction) except -1:
    if is_text(reduction, "mean"):
        return MEAN
    if is_text(reduction, "sum"):
        return SUM
    if is_text(reduction, "none"):
        return EACH
    bad_choice("reduction", reduction, "'mean', 'sum' or 'none'")


def cross_entropy(logits, target, *, reduction="mean"):
    """
    How surprised a softmax classifier is by the true classes: ``-log(softmax(logits)[i, target[i]])``.

    Computed as ``log(sum(exp(logits - max))) - (logits[i, target[i]] - max)``, which does not overflow.

    Parameters
    ----------
    logits : ndarray, (n, classes)
        Scores before softmax, float32 or float64.
    target : ndarray of int64, (n,)
        Class numbers from 0 to classes - 1.
    reduction : "mean", "sum" or "none"
        Over the samples.

    Returns
    -------
    float, or with "none" an ndarray, (n,), of logits' dtype
        The mean of no samples is nan.

    Raises
    ------
    ValueError
        Shapes that do not go together, or a target that is no class.
    TypeError
        Arguments of the wrong type or dtype.
    MemoryError
        No memory for the result.

    Examples
    --------
    >>> import numpy as np, convc
    >>> logits = np.log(np.array([[0.5, 0.25, 0.25], [0.25, 0.5, 0.25]]))
    >>> convc.cross_entropy(logits, np.array([0, 2]), reduction="none").round(4)
    array([0.6931, 1.3863])
    >>> round(convc.cross_entropy(logits, np.array([0, 2])), 4)
    1.0397
    """
    cdef operand[3] o  # logits, target, loss
    cdef convc_status status
    cdef int how = parse_reduction(reduction)
    clear(o, 3)
    try:
        load_classes(logits, target, o)
        loss = result(None, o[0].tensor.shape, 1, False, o[0].tensor.dtype, &o[2])
        with nogil:
            status = convc_cross_entropy_forward(&o[0].tensor, &o[1].tensor, &o[2].tensor)
        check(status)
        if how == EACH:
            return loss
        total = float(loss.sum(dtype=_float64))
        if how == SUM:
            return total
        return total / o[0].tensor.shape[0] if o[0].tensor.shape[0] else float("nan")
    finally:
        release(o, 3)


def cross_entropy_backward(logits, target, grad=1.0, *, reduction="mean"):
    """
    The gradient of `cross_entropy` with respect to the logits.

    ``grad * (softmax(logits) - onehot(target))``, divided by n for "mean".

    Parameters
    ----------
    logits : ndarray, (n, classes)
        float32 or float64.
    target : ndarray of int64, (n,)
    grad : float, or with "none" an ndarray, (n,)
        The gradient with respect to what `cross_entropy` returned.
    reduction : "mean", "sum" or "none"
        What `cross_entropy` had.

    Returns
    -------
    ndarray, (n, classes)

    Raises
    ------
    ValueError
        Shapes that do not go together, or a target that is no class.
    TypeError
        Arguments of the wrong type or dtype.
    MemoryError
        No memory for the result.

    Examples
    --------
    >>> import numpy as np, convc
    >>> logits = np.log(np.array([[0.5, 0.25, 0.25]]))
    >>> convc.cross_entropy_backward(logits, np.array([0])).round(4)
    array([[-0.5 ,  0.25,  0.25]])
    """
    cdef operand[4] o  # logits, target, the gradients of loss and logits
    cdef convc_status status
    cdef int how = parse_reduction(reduction)
    cdef double number
    cdef float number32
    clear(o, 4)
    try:
        load_classes(logits, target, o)
        if how == EACH and PyObject_CheckBuffer(grad) and getattr(grad, "shape", ()):
            load(grad, "grad", REAL, 1, False, &o[2])
            same_dtype(&o[2], "grad", &o[0], "logits")
            same_shape(&o[2], "grad", o[0].tensor.shape, 1, False)
        else:
            number = parse_number(grad, "grad")
            if how == MEAN and o[0].tensor.shape[0] > 0:
                number /= <double> o[0].tensor.shape[0]
            number32 = <float> number
            o[2].tensor = o[0].tensor
            o[2].tensor.ndim = 1
            o[2].tensor.strides[0] = 0  # one number for all samples
            o[2].tensor.data = <void *> &number32 if o[0].tensor.dtype == CONVC_F32 else <void *> &number
        grad_logits = result(None, o[0].tensor.shape, 2, False, o[0].tensor.dtype, &o[3])
        with nogil:
            status = convc_cross_entropy_backward(&o[2].tensor, &o[0].tensor, &o[1].tensor, &o[3].tensor)
        check(status)
        return grad_logits
    finally:
        release(o, 4)


cdef double parse_number(object value, str name) except? -1:
    if isinstance(value, (str, bytes)):
        raise TypeError(f"{name} must be a number, got {type(value).__name__}")
    try:
        return float(value)
    except TypeError:
        raise TypeError(f"{name} must be a number, got {type(value).__name__}") from None
    except OverflowError:
        raise ValueError(f"{name} must fit in a float, got an int beyond that") from None
