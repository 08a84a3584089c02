# Python buffers as convc tensors, arrays for results, and C statuses as exceptions.

cdef extern from "Python.h":
    # Cython's own Py_buffer counts references to its owner; on the C stack, with many ways out, that is done by hand.
    ctypedef struct buffer_view "Py_buffer":
        void *buf
        void *obj
        Py_ssize_t itemsize
        int ndim
        char *format
        Py_ssize_t *shape
        Py_ssize_t *strides

    const int PyBUF_RECORDS
    const int PyBUF_RECORDS_RO
    bint PyObject_CheckBuffer(object source)
    int get_buffer "PyObject_GetBuffer"(object source, buffer_view *view, int flags)
    void release_buffer "PyBuffer_Release"(buffer_view *view)
    void *PyErr_Occurred()
    void PyErr_Clear()


cdef extern from "memory.h":
    const size_t CONVC_LARGE
    void *convc_take(size_t bytes, size_t *size) nogil
    void convc_give_back(void *memory, size_t size) nogil

cdef extern from "impl.h":
    int64_t convc_times(int64_t a, int64_t b) nogil
    convc_status convc_check_output(const convc_tensor *t, const char *name, int min_ndim, int max_ndim) nogil


# An argument while a call runs: the buffer that keeps its memory, and the tensor that C sees.
cdef struct operand:
    buffer_view view
    convc_tensor tensor


cdef enum:
    REAL = 0
    INTEGER = 1

# Beyond this a stride of an axis with one element is noise, and address arithmetic with it could overflow.
cdef int64_t SANE_STRIDE = <int64_t>1 << 40

cdef object _ndarray = numpy.ndarray
cdef object _empty = numpy.empty
cdef object _empty_like = numpy.empty_like
cdef object _array = numpy.array
cdef object _float32 = numpy.dtype(numpy.float32)
cdef object _float64 = numpy.dtype(numpy.float64)
cdef object _int64 = numpy.dtype(numpy.int64)
cdef char _native_order = c"<" if sys.byteorder == "little" else c">"


# ---- statuses ----

cdef inline int check(convc_status status) except -1:
    return 0 if status == CONVC_OK else fail(status)


cdef int fail(convc_status status) except -1:
    if status == CONVC_INTERRUPTED and PyErr_Occurred() != NULL:
        return -1  # what the signal handler raised
    text = (<bytes> convc_last_error()).decode("utf-8", "replace")
    if status == CONVC_INVALID_VALUE:
        raise ValueError(text)
    if status == CONVC_INVALID_TYPE:
        raise TypeError(text)
    if status == CONVC_NO_MEMORY:
        raise MemoryError(text)
    raise KeyboardInterrupt(text)


# ---- names ----

cdef str dtype_name(convc_dtype dtype):
    return "float32" if dtype == CONVC_F32 else "float64" if dtype == CONVC_F64 else "int64"


cdef object numpy_dtype(convc_dtype dtype):
    return _float32 if dtype == CONVC_F32 else _float64 if dtype == CONVC_F64 else _int64


cdef str source_name(object source):
    dtype = getattr(source, "dtype", None)
    return type(source).__name__ if dtype is None else str(dtype)


cdef tuple view_shape(const operand *o):
    return tuple([o.view.shape[i] for i in range(o.view.ndim)])


# ---- arguments ----

cdef inline void clear(operand *o, int count) noexcept:
    for i in range(count):
        o[i].view.obj = NULL


cdef inline void release(operand *o, int count) noexcept:
    for i in range(count):
        if o[i].view.obj != NULL:
            release_buffer(&o[i].view)


cdef int parse_dtype(const buffer_view *view) noexcept:
    cdef const char *text = view.format
    if text == NULL:
        return -1
    if text[0] == c"@" or text[0] == c"=" or text[0] == c"^" or text[0] == _native_order:
        text += 1
    if text[0] == 0 or text[1] != 0:
        return -1
    if text[0] == c"f" and view.itemsize == 4:
        return CONVC_F32
    if text[0] == c"d" and view.itemsize == 8:
        return CONVC_F64
    if (text[0] == c"l" or text[0] == c"q") and view.itemsize == 8:
        return CONVC_I64
    return -1


cdef bint is_irregular(const buffer_view *view) noexcept:
    """Does it start or step between elements, so that C could not address it?"""
    cdef bint odd = <size_t> view.buf % <size_t> view.itemsize != 0
    for i in range(view.ndim):
        if view.shape[i] == 0:
            return False
        odd |= view.shape[i] > 1 and view.strides[i] % view.itemsize != 0
    return odd


cdef int bad_source(object source, str name, int kind, int flags) except -1:
    """Explains why `source` is no argument of this kind."""
    cdef operand o
    PyErr_Clear()
    clear(&o, 1)
    if flags == PyBUF_RECORDS:
        readable = PyObject_CheckBuffer(source) and get_buffer(source, &o.view, PyBUF_RECORDS_RO) == 0
        release(&o, 1)
        PyErr_Clear()
        if readable:
            raise ValueError(f"{name} must be writeable, got a read-only {type(source).__name__}")
    wanted = "int64" if kind == INTEGER else "float32 or float64"
    raise TypeError(f"{name} must be a NumPy array (or another buffer) of {wanted}, got {source_name(source)}")


cdef int open_source(object source, str name, int kind, int flags, operand *o) except -1:
    """Takes the buffer. Inputs that C cannot address are copied, outputs are left for C to refuse."""
    if not PyObject_CheckBuffer(source) or get_buffer(source, &o.view, flags) < 0:
        return bad_source(source, name, kind, flags)
    cdef int dtype = parse_dtype(&o.view)
    if dtype < 0 or (dtype == CONVC_I64) != (kind == INTEGER):
        wanted, usual = ("int64", "int64") if kind == INTEGER else ("float32 or float64", "float32")
        convert = f": {name}.astype(np.{usual}) converts" if hasattr(source, "astype") else ""
        raise TypeError(f"{name} must be {wanted} in native byte order, got {source_name(source)}{convert}")
    if flags == PyBUF_RECORDS_RO and is_irregular(&o.view):
        release_buffer(&o.view)
        return open_source(_array(source, order="C"), name, kind, flags, o)
    o.tensor.data = o.view.buf
    o.tensor.dtype = <convc_dtype> dtype
    return 0


cdef void describe(operand *o, bint channels_last) noexcept:
    """The tensor's axes: batch, channels, space."""
    cdef int axis, i, ndim = o.view.ndim
    cdef Py_ssize_t stride
    o.tensor.ndim = ndim
    for i in range(ndim):
        axis = i
        if channels_last and i > 0:
            axis = ndim - 1 if i == 1 else i - 1
        stride = o.view.strides[axis]
        if o.view.shape[axis] <= 1 and (stride % o.view.itemsize or stride > SANE_STRIDE or stride < -SANE_STRIDE):
            stride = o.view.itemsize
        o.tensor.shape[i] = o.view.shape[axis]
        o.tensor.strides[i] = stride


cdef inline int load(object source, str name, int kind, int ndim, bint channels_last, operand *o) except -1:
    """An input with exactly `ndim` axes."""
    open_source(source, name, kind, PyBUF_RECORDS_RO, o)
    if o.view.ndim != ndim:
        return bad_rank(o, name, ndim)
    describe(o, channels_last)
    return 0


cdef int bad_rank(const operand *o, str name, int ndim) except -1:
    plural = "" if ndim == 1 else "s"
    raise ValueError(f"{name} must have {ndim} dimension{plural}, got {o.view.ndim}: shape {view_shape(o)}")


cdef inline int same_dtype(const operand *o, str name, const operand *like, str like_name) except -1:
    if o.tensor.dtype != like.tensor.dtype:
        raise TypeError(f"{name} must be {dtype_name(like.tensor.dtype)} as {like_name} is, "
                        f"got {dtype_name(o.tensor.dtype)}; or make {like_name} {dtype_name(o.tensor.dtype)}")
    return 0


cdef int same_shape(const operand *o, str name, const int64_t *shape, int ndim, bint channels_last) except -1:
    """Compares in C's order of axes and complains in the caller's."""
    cdef bint same = o.tensor.ndim == ndim
    for i in range(ndim):
        same = same and o.tensor.shape[i] == shape[i]
    if not same:
        raise ValueError(f"{name} must have shape {shape_tuple(shape, ndim, channels_last)}, got {view_shape(o)}")
    return 0


# ---- results ----

cdef tuple shape_tuple(const int64_t *shape, int ndim, bint channels_last):
    """A shape in the caller's order of axes."""
    if not channels_last:
        if ndim == 4:
            return (shape[0], shape[1], shape[2], shape[3])
        return tuple([shape[i] for i in range(ndim)])
    if ndim == 4:
        return (shape[0], shape[2], shape[3], shape[1])
    return (shape[0],) + tuple([shape[i] for i in range(2, ndim)]) + (shape[1],)


@cython.final
cdef class _Block:
    """The memory of one large result, which goes to a later one when the array and its views are gone."""

    cdef void *memory
    cdef size_t size
    cdef Py_ssize_t shape
    cdef Py_ssize_t stride

    def __getbuffer__(self, Py_buffer *view, int flags):
        self.stride = 1
        view.buf = self.memory
        view.obj = self
        view.len = self.shape
        view.readonly = 0
        view.itemsize = 1
        view.format = NULL
        view.ndim = 1
        view.shape = &self.shape
        view.strides = &self.stride
        view.suboffsets = NULL
        view.internal = NULL

    def __dealloc__(self):
        convc_give_back(self.memory, self.size)


cdef object new_array(tuple shape, convc_dtype dtype):
    """An array of any content, C-contiguous."""
    cdef int64_t bytes = 4 if dtype == CONVC_F32 else 8
    cdef int64_t size
    cdef _Block block
    for size in shape:
        bytes = convc_times(bytes, size)
    if bytes < <int64_t> CONVC_LARGE:  # or so large, -1, that NumPy shall say it
        return _empty(shape, numpy_dtype(dtype))
    block = _Block.__new__(_Block)
    block.memory = convc_take(bytes, &block.size)
    if block.memory == NULL:
        raise MemoryError(f"no memory for a result of shape {shape} and dtype {dtype_name(dtype)}")
    block.shape = <Py_ssize_t> bytes
    return _ndarray(shape, numpy_dtype(dtype), block)


cdef object new_like(object source, const operand *o):
    """An array of the shape and dtype of an argument, and of its order of axes in memory."""
    cdef Py_ssize_t step = o.view.itemsize
    for i in range(o.view.ndim - 1, -1, -1):
        if o.view.strides[i] != step:
            return _empty_like(source, None, "K", False)
        step *= o.view.shape[i]
    return new_array(view_shape(o), o.tensor.dtype)


cdef object result(object out, const int64_t *shape, int ndim, bint channels_last, convc_dtype dtype, operand *o):
    """The array that the operator writes: the caller's `out`, or a new one."""
    if out is None:
        try:
            out = new_array(shape_tuple(shape, ndim, channels_last), dtype)
        except ValueError:
            size = shape_tuple(shape, ndim, channels_last)
            raise ValueError(f"the result would be too large: shape {size}") from None
    open_source(out, "out", INTEGER if dtype == CONVC_I64 else REAL, PyBUF_RECORDS, o)
    if o.tensor.dtype != dtype:
        raise TypeError(f"out must be {dtype_name(dtype)} as the inputs are, got {dtype_name(o.tensor.dtype)}")
    if o.view.ndim != ndim:
        raise ValueError(f"out must have shape {shape_tuple(shape, ndim, channels_last)}, got {view_shape(o)}")
    describe(o, channels_last)
    same_shape(o, "out", shape, ndim, channels_last)
    return out


cdef object copy_result(object fresh, object out, tuple inputs):
    """Copies a result to an `out` whose strides C could not be told."""
    target = numpy.asarray(out)
    for source in inputs:
        if source is not None and numpy.may_share_memory(target, source):
            raise ValueError("out must not overlap the inputs in memory")
    numpy.copyto(target, fresh)
    return out


# ---- any number of axes ----

cdef int fold(operand *o, int count, int kept) noexcept:
    """Describes operands of one shape in as few axes as their strides allow: neighbours that lie evenly are merged, and
    the axis `kept`, unless it is -1, comes last and alone. Returns -1 if that still makes too many."""
    cdef int axes = 0, room = CONVC_MAX_NDIM - (kept >= 0)
    cdef bint merge, empty = False
    cdef int64_t size
    for axis in range(o.view.ndim):
        empty |= o.view.shape[axis] == 0
    for axis in range(o.view.ndim):
        size = o.view.shape[axis]
        if axis == kept or size == 1:
            continue
        merge = axes > 0
        for j in range(count):
            if merge and not empty and o[j].tensor.strides[axes - 1] != o[j].view.strides[axis] * size:
                merge = False
        if not merge and axes == room:
            return -1
        axes += not merge
        for j in range(count):
            o[j].tensor.shape[axes - 1] = size * o[j].tensor.shape[axes - 1] if merge else size
            o[j].tensor.strides[axes - 1] = o[j].view.strides[axis]
    for j in range(count):
        o[j].tensor.ndim = axes
        if kept >= 0 or axes == 0:
            o[j].tensor.ndim = axes + 1
            size = o[j].view.shape[kept] if kept >= 0 else 1
            o[j].tensor.shape[axes] = size
            o[j].tensor.strides[axes] = o[j].view.strides[kept] if size > 1 else o[j].view.itemsize
    return 0
