# Python arguments as C parameters. Only their form is judged here; whether sizes make sense together is for shape.c.

cdef extern from "Python.h":
    long long PyLong_AsLongLongAndOverflow(object value, int *overflow) except? -1


# ---- choices ----

cdef inline bint is_text(object value, str text):
    return value is text or (isinstance(value, str) and value == text)


cdef bad_choice(str name, object value, str choices):
    if value is None or isinstance(value, str):
        raise ValueError(f"{name} must be {choices}, got {value!r}")
    raise TypeError(f"{name} must be {choices}, got {type(value).__name__}")


cdef int parse_layout(object layout, int spatial) except -1:
    """Is it the channels-last one?"""
    if spatial == 2:
        if is_text(layout, "NCHW"):
            return 0
        if is_text(layout, "NHWC"):
            return 1
        bad_choice("layout", layout, "'NCHW' or 'NHWC'")
    if spatial == 1:
        if is_text(layout, "NCW"):
            return 0
        if is_text(layout, "NWC"):
            return 1
        bad_choice("layout", layout, "'NCW' or 'NWC'")
    if is_text(layout, "NCDHW"):
        return 0
    if is_text(layout, "NDHWC"):
        return 1
    bad_choice("layout", layout, "'NCDHW' or 'NDHWC'")


cdef int spatial_of_layout(object layout) except -1:
    """How many spatial axes an image of this layout has."""
    if is_text(layout, "NCHW") or is_text(layout, "NHWC"):
        return 2
    if is_text(layout, "NCW") or is_text(layout, "NWC"):
        return 1
    if is_text(layout, "NCDHW") or is_text(layout, "NDHWC"):
        return 3
    bad_choice("layout", layout, "'NCW', 'NWC', 'NCHW', 'NHWC', 'NCDHW' or 'NDHWC'")


cdef int parse_fit(object fit, bint pooling) except -1:
    if is_text(fit, "floor"):
        return CONVC_FLOOR
    if is_text(fit, "exact"):
        return CONVC_EXACT
    if pooling and is_text(fit, "ceil"):
        return CONVC_CEIL
    bad_choice("fit", fit, "'floor', 'exact' or 'ceil'" if pooling else "'floor' or 'exact'")


cdef int parse_activation(object activation) except -1:
    if activation is None:
        return CONVC_IDENTITY
    if is_text(activation, "relu"):
        return CONVC_RELU
    bad_choice("activation", activation, "None or 'relu'")


cdef int parse_pad_mode(object pad_mode) except -1:
    if is_text(pad_mode, "zeros"):
        return CONVC_PAD_ZEROS
    if is_text(pad_mode, "reflect"):
        return CONVC_PAD_REFLECT
    if is_text(pad_mode, "replicate"):
        return CONVC_PAD_REPLICATE
    if is_text(pad_mode, "circular"):
        return CONVC_PAD_CIRCULAR
    bad_choice("pad_mode", pad_mode, "'zeros', 'reflect', 'replicate' or 'circular'")


# Whether `precision("exact")` is in force, in this thread or task; looked up only once somebody has used it.
_exact = contextvars.ContextVar("convc_exact", default=False)
cdef bint exact_in_use = False


def _set_exact():
    """Sums of products only, until the token is given back to `_exact.reset`."""
    global exact_in_use
    exact_in_use = True
    return _exact.set(True)


cdef int parse_algorithm(object algorithm) except -1:
    if is_text(algorithm, "auto"):
        return CONVC_DIRECT if exact_in_use and _exact.get() else CONVC_AUTO
    if is_text(algorithm, "direct"):
        return CONVC_DIRECT
    if is_text(algorithm, "gemm"):
        return CONVC_GEMM
    if is_text(algorithm, "winograd"):
        return CONVC_WINOGRAD
    bad_choice("algorithm", algorithm, "'auto', 'direct', 'gemm' or 'winograd'")


# ---- numbers ----

cdef inline int64_t parse_int(object value, str name) except? -1:
    cdef int overflow = 0
    cdef int64_t number = PyLong_AsLongLongAndOverflow(value if type(value) is int else as_int(value, name), &overflow)
    if overflow:
        raise ValueError(f"{name} must fit in 64 bits, got an int beyond that")
    return number


cdef object as_int(object value, str name):
    if not isinstance(value, bool):
        try:
            return operator.index(value)
        except TypeError:
            pass
    raise TypeError(f"{name} must be an int, got {value!r} ({type(value).__name__})")


cdef tuple as_tuple(object value, str name, str wanted):
    """A sequence that is neither a number nor text."""
    if isinstance(value, (tuple, list)):
        return tuple(value)
    if not isinstance(value, (str, bytes, dict, set, frozenset)):
        try:
            return tuple(value)
        except TypeError:
            pass
    raise TypeError(f"{name} must be {wanted}, got {value!r} ({type(value).__name__})")


cdef bint is_number(object value):
    """Is it meant as one number for all axes? A float is, so that the complaint will be that it is not an int."""
    if type(value) is int or isinstance(value, float):
        return True
    return hasattr(value, "__index__") and not getattr(value, "shape", ())


cdef int parse_axes(object value, str name, int spatial, int64_t *numbers) except -1:
    """An int, or one for each spatial axis."""
    if type(value) is not tuple and is_number(value):
        numbers[0] = parse_int(value, name)
        for i in range(1, spatial):
            numbers[i] = numbers[0]
        return 0
    wanted = f"an int or a tuple of {spatial}"
    items = as_tuple(value, name, wanted)
    if len(items) != spatial:
        raise ValueError(f"{name} must be {wanted}, got {len(items)}: {value!r}")
    for i in range(spatial):
        numbers[i] = parse_int(items[i], name)
    return 0


cdef int parse_padding(object value, int spatial, const int64_t *kernel, const int64_t *stride,
                       const int64_t *dilation, int64_t *before, int64_t *after) except -1:
    if type(value) is not tuple and is_number(value):
        before[0] = parse_int(value, "padding")
        for i in range(spatial):
            before[i] = after[i] = before[0]
        return 0
    if isinstance(value, str):
        return parse_padding_name(value, spatial, kernel, stride, dilation, before, after)
    wanted = f"an int, a tuple of {spatial} (each an int or a pair (before, after)), 'valid' or 'same'"
    items = as_tuple(value, "padding", wanted)
    if len(items) != spatial:
        raise ValueError(f"padding must be {wanted}, got {len(items)}: {value!r}")
    for i in range(spatial):
        item = items[i]
        if is_number(item):
            before[i] = after[i] = parse_int(item, "padding")
            continue
        pair = as_tuple(item, "padding", wanted)
        if len(pair) != 2:
            raise ValueError(f"padding must be {wanted}, got {value!r}")
        before[i] = parse_int(pair[0], "padding")
        after[i] = parse_int(pair[1], "padding")
    return 0


cdef int parse_padding_name(str value, int spatial, const int64_t *kernel, const int64_t *stride,
                            const int64_t *dilation, int64_t *before, int64_t *after) except -1:
    cdef bint same = value == "same"
    if not same and value != "valid":
        bad_choice("padding", value, "ints, 'valid' or 'same'")
    for i in range(spatial):
        before[i] = after[i] = 0
        if same and stride[i] != 1:
            raise ValueError(f"padding 'same' needs a stride of 1, got {stride[i]} in spatial dimension {i}; with "
                             "other strides give numbers, such as padding=1 for a kernel of 3")
        if same:
            check(convc_same_padding(kernel[i], dilation[i], &before[i], &after[i]))
    return 0


cdef int load_image(object source, str name, object layout, operand *o, bint *last) except -1:
    """An image of the layout, or if that is None, of its rank with the channels first; returns its spatial axes."""
    if layout is not None:
        spatial = spatial_of_layout(layout)
        last[0] = parse_layout(layout, spatial)
        load(source, name, REAL, spatial + 2, last[0], o)
        return spatial
    last[0] = False
    open_source(source, name, REAL, PyBUF_RECORDS_RO, o)
    if not 3 <= o.view.ndim <= CONVC_MAX_NDIM:
        raise ValueError(f"{name} must have 3 to 5 dimensions, got {o.view.ndim}: shape {view_shape(o)}")
    describe(o, False)
    return o.view.ndim - 2


cdef int parse_shape(object value, str name, int ndim, bint channels_last, int64_t *shape) except -1:
    """An image's shape, in C's order of axes."""
    cdef int axis
    wanted = f"a tuple of {ndim} ints"
    items = as_tuple(value, name, wanted)
    if len(items) != ndim:
        raise ValueError(f"{name} must be {wanted}, got {len(items)}: {value!r}")
    for i in range(ndim):
        axis = i
        if channels_last and i > 0:
            axis = ndim - 1 if i == 1 else i - 1
        shape[i] = parse_int(items[axis], name)
        if shape[i] < (0 if i == 0 else 1):
            raise ValueError(f"{name} must have positive extents (only the batch may be 0), got {value!r}")
    return 0


cdef int parse_needs(object needs) except -1:
    """Which gradients: 1 for x, 2 for weight, 4 for bias."""
    cdef int mask = 0
    if needs is _ALL_NEEDS:
        return 7
    wanted = "a tuple of names out of 'x', 'weight' and 'bias'"
    for name in as_tuple(needs, "needs", wanted):
        if is_text(name, "x"):
            mask |= 1
        elif is_text(name, "weight"):
            mask |= 2
        elif is_text(name, "bias"):
            mask |= 4
        else:
            raise ValueError(f"needs must be {wanted}, got {needs!r}")
    return mask


cdef tuple _ALL_NEEDS = ("x", "weight", "bias")
