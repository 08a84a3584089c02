# Dropout and its gradient: NumPy's random numbers decide, and one product does the work.

cdef double parse_share(object p) except? -1:
    cdef double share = parse_number(p, "p")
    if not 0 <= share <= 1:
        raise ValueError(f"p must be from 0 to 1, got {p!r}")
    return share


cdef object parse_generator(object rng):
    try:
        return numpy.random.default_rng(rng)
    except (TypeError, ValueError) as error:
        raise type(error)(f"rng must be a numpy.random.Generator or an int of at least 0, got {rng!r}") from None


cdef object drop(object x, object mask, double share, const operand *o):
    """x where the mask is True, scaled so that the mean stays; 0 times x elsewhere."""
    y = new_like(x, o)
    factor = numpy.multiply(mask, 1 / (1 - share) if share < 1 else 0, dtype=y.dtype)
    with numpy.errstate(over="ignore", invalid="ignore"):
        return numpy.multiply(x, factor, out=y)


def dropout(x, p=0.5, *, rng=None, return_mask=False):
    """
    Zero each element with probability p and scale the others by ``1 / (1 - p)``, so that the mean stays [1]_.

    That is for training; a network in use leaves it out. A NaN stays NaN, and an infinity that is dropped becomes NaN,
    as in PyTorch.

    Parameters
    ----------
    x : ndarray of any shape
        float32 or float64, any strides.
    p : float
        From 0 to 1.
    rng : numpy.random.Generator or int, optional
        Draws what is dropped; an int is the seed of a new generator.
    return_mask : bool
        Whether to return also which elements were kept.

    Returns
    -------
    y : ndarray of x's shape, dtype and order of axes in memory
    mask : ndarray of bool, of x's shape, if `return_mask`
        False where an element was dropped; what `dropout_backward` wants.

    Raises
    ------
    ValueError
        A p or a seed out of its range.
    TypeError
        Arguments of the wrong type or dtype.
    MemoryError
        No memory for the result.

    References
    ----------
    .. [1] N. Srivastava et al., "Dropout: A Simple Way to Prevent Neural Networks from Overfitting", JMLR 15, 2014.

    Examples
    --------
    >>> import numpy as np, convc
    >>> y, mask = convc.dropout(np.arange(6.0), 0.5, rng=1, return_mask=True)
    >>> y
    array([0., 2., 0., 6., 0., 0.])
    >>> mask
    array([ True,  True, False,  True, False, False])
    """
    cdef operand o
    cdef double share = parse_share(p)
    clear(&o, 1)
    try:
        open_source(x, "x", REAL, PyBUF_RECORDS_RO, &o)
        drawn = parse_generator(rng).random(view_shape(&o), numpy_dtype(o.tensor.dtype))
        mask = numpy.asarray(drawn >= share)
        y = drop(x, mask, share, &o)
        return (y, mask) if return_mask else y
    finally:
        release(&o, 1)


def dropout_backward(grad, mask, p=0.5):
    """
    The gradient of `dropout`: ``grad / (1 - p)`` where the mask is True, 0 elsewhere.

    Parameters
    ----------
    grad : ndarray of any shape
        float32 or float64, any strides.
    mask : ndarray of bool, of grad's shape
        What `dropout` returned with ``return_mask=True``.
    p : float
        What `dropout` had.

    Returns
    -------
    ndarray of grad's shape, dtype and order of axes in memory

    Raises
    ------
    ValueError
        Shapes that differ, or a p that is not from 0 to 1.
    TypeError
        Arguments of the wrong type or dtype.
    MemoryError
        No memory for the result.

    Examples
    --------
    >>> import numpy as np, convc
    >>> convc.dropout_backward(np.array([1.0, 2.0]), np.array([True, False]), 0.75)
    array([4., 0.])
    """
    cdef operand o
    cdef double share = parse_share(p)
    clear(&o, 1)
    try:
        open_source(grad, "grad", REAL, PyBUF_RECORDS_RO, &o)
        if not isinstance(mask, _ndarray) or mask.dtype != bool:
            raise TypeError(f"mask must be a NumPy array of bool, got {source_name(mask)}")
        if mask.shape != view_shape(&o):
            raise ValueError(f"mask must have shape {view_shape(&o)} as grad has, got {mask.shape}")
        return drop(grad, mask, share, &o)
    finally:
        release(&o, 1)
