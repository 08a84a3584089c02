# cython: language_level=3
# The same from Cython: convc.capi declares what convc.h does, and the buffer of an array becomes a tensor.
from convc.capi cimport (
    CONVC_F32, CONVC_FLOOR, CONVC_IDENTITY, CONVC_OK, convc_conv_forward, convc_conv_params, convc_last_error,
    convc_tensor,
)

import numpy


cdef convc_tensor tensor(float[:, ::1] plane) noexcept:
    """A plane as an image (1, 1, h, w)."""
    cdef convc_tensor t
    t.data = &plane[0, 0]
    t.dtype = CONVC_F32
    t.ndim = 4
    t.shape = [1, 1, plane.shape[0], plane.shape[1], 0]
    t.strides = [plane.nbytes, plane.nbytes, plane.strides[0], plane.strides[1], 0]
    return t


def blur(float[:, ::1] picture):
    """Each pixel becomes the sum of the 3 x 3 pixels around it; outside the picture it is dark."""
    if picture.size == 0:
        raise ValueError("picture must not be empty")
    cdef float[:, ::1] box = numpy.ones((3, 3), numpy.float32)
    cdef float[:, ::1] result = numpy.empty_like(picture)
    cdef convc_tensor x = tensor(picture), w = tensor(box), y = tensor(result)
    cdef convc_conv_params params
    for i in range(2):
        params.stride[i] = params.dilation[i] = params.pad_before[i] = params.pad_after[i] = 1
    params.groups = 1
    params.fit = CONVC_FLOOR
    params.activation = CONVC_IDENTITY
    with nogil:
        status = convc_conv_forward(&x, &w, NULL, &params, &y)
    if status != CONVC_OK:
        raise ValueError(convc_last_error().decode())
    return numpy.asarray(result)
