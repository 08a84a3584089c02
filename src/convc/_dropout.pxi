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


cdef object drop(object x, object mask, double share, object y):
    """y = x where the mask is True, scaled so that the mean stays; 0 times x elsewhere."""
    target = numpy.asarray(y)
    factor = numpy.multiply(mask, 1 / (1 - share) if share < 1 else 0, dtype=target.dtype)
    with numpy.errstate(over="ignore", invalid="ignore"):
        numpy.multiply(x, factor, out=target)
    return y


cdef int check_apart(operand *o, object out, object x) except -1:
    """Raises what C would of an `out` that it wrote."""
    if fold(o, 1, -1) == 0:
        check(convc_check_output(&o.tensor, "out", 1, CONVC_MAX_NDIM))
    if numpy.may_share_memory(out, x):
        raise ValueError("out must not overlap x in memory")
    return 0


def dropout(x, p=0.5, *, rng=None, return_mask=False, out=None):
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
    out : ndarray, optional
        Where y goes: its shape and dtype, any strides, no overlap with x.

    Returns
    -------
    y : ndarray of x's shape, dtype and order of axes in memory
    mask : ndarray of bool, of x's shape, if `return_mask`
        False where an element was dropped; what `dropout_backward` wants.

    Raises
    ------
    ValueError
        A p or a seed out of its range, or an `out` of another shape or that overlaps x or itself.
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
    cdef operand[2] o  # x, y
    cdef double share = parse_share(p)
    clear(o, 2)
    try:
        open_source(x, "x", REAL, PyBUF_RECORDS_RO, &o[0])
        y = new_like(x, &o[0]) if out is None else out
        open_source(y, "out", REAL, PyBUF_RECORDS, &o[1])
        same_dtype(&o[1], "out", &o[0], "x")
        same_view_shape(&o[1], "out", &o[0])
        if out is not None:
            check_apart(&o[1], out, x)
        drawn = parse_generator(rng).random(view_shape(&o[0]), numpy_dtype(o[0].tensor.dtype))
        mask = numpy.asarray(drawn >= share)
        drop(x, mask, share, y)
        return (y, mask) if return_mask else y
    finally:
        release(o, 2)


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
        return drop(grad, mask, share, new_like(grad, &o))
    finally:
        release(&o, 1)
