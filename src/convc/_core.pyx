# cython: language_level=3, cdivision=True, freethreading_compatible=True
# The Python face of the C core: buffers in, one call without the GIL, a status that becomes an exception. The form of
# arguments is checked here; sizes are checked in C, in one place.
import contextvars
import operator
import os
import sys
import warnings

import numpy

cimport cython
from libc.stdint cimport int64_t, uint64_t

from convc.capi cimport (
    CONVC_AUTO, CONVC_CEIL, CONVC_DIRECT, CONVC_EXACT, CONVC_F32, CONVC_F64, CONVC_FLOOR, CONVC_GELU, CONVC_GELU_TANH,
    CONVC_GEMM, CONVC_I64, CONVC_IDENTITY, CONVC_INTERRUPTED, CONVC_INVALID_TYPE, CONVC_INVALID_VALUE, CONVC_LEAKY_RELU,
    CONVC_LINEAR, CONVC_MAX_NDIM, CONVC_MAX_SPATIAL, CONVC_NEAREST, CONVC_NEAREST_EXACT, CONVC_NO_MEMORY, CONVC_OK,
    CONVC_PAD_CIRCULAR, CONVC_PAD_REFLECT, CONVC_PAD_REPLICATE, CONVC_PAD_ZEROS, CONVC_RELU, CONVC_SIGMOID, CONVC_SILU,
    CONVC_TANH, CONVC_VERSION, CONVC_WINOGRAD, convc_activation, convc_adaptive_avg_pool_backward,
    convc_adaptive_avg_pool_forward, convc_adaptive_max_pool_forward, convc_adaptive_output_shape, convc_algorithm,
    convc_avg_pool_backward, convc_avg_pool_forward, convc_backward_bias, convc_batch_norm_backward,
    convc_batch_norm_forward, convc_batch_norm_params, convc_col2im, convc_conv_backward_data,
    convc_conv_backward_weight, convc_conv_forward, convc_conv_output_shape, convc_conv_params,
    convc_conv_transpose_backward_data, convc_conv_transpose_backward_weight, convc_conv_transpose_forward,
    convc_conv_transpose_output_shape, convc_cross_entropy_backward, convc_cross_entropy_forward, convc_dtype,
    convc_fit, convc_function, convc_function_backward, convc_function_forward, convc_gemm, convc_get_isa,
    convc_get_num_threads, convc_group_norm_backward, convc_group_norm_forward, convc_im2col, convc_im2col_shape,
    convc_isa_available, convc_last_error, convc_layer_norm_backward, convc_layer_norm_forward,
    convc_linear_backward_data, convc_linear_backward_weight, convc_linear_forward, convc_local_backward_bias,
    convc_local_backward_data, convc_local_backward_weight, convc_local_forward, convc_local_output_shape,
    convc_lp_pool_backward, convc_lp_pool_forward, convc_lrn_backward, convc_lrn_forward, convc_lrn_params,
    convc_max_pool_backward, convc_max_pool_forward, convc_max_unpool_backward, convc_max_unpool_forward,
    convc_pad_mode, convc_plan, convc_plan_create, convc_plan_destroy, convc_plan_run, convc_pool_output_shape,
    convc_pool_params, convc_prelu_backward, convc_prelu_forward, convc_relu_backward, convc_relu_forward,
    convc_resize_backward, convc_resize_forward, convc_resize_output_shape, convc_resize_params, convc_same_padding,
    convc_set_interrupt_check, convc_set_isa, convc_set_num_threads, convc_softmax_backward, convc_softmax_forward,
    convc_status, convc_tensor, convc_unpool_output_shape,
)

include "_tensor.pxi"
include "_arguments.pxi"
include "_conv.pxi"
include "_transpose.pxi"
include "_local.pxi"
include "_plan.pxi"
include "_pool.pxi"
include "_avg_pool.pxi"
include "_adaptive_pool.pxi"
include "_global_pool.pxi"
include "_unpool.pxi"
include "_matrix.pxi"
include "_eltwise.pxi"
include "_activation.pxi"
include "_dropout.pxi"
include "_resize.pxi"
include "_norm.pxi"
include "_layer_norm.pxi"


__version__ = CONVC_VERSION.decode()


# ---- Ctrl-C ----

cdef extern from "Python.h":
    # An exception that a signal handler raises stays pending until the operator has returned; see fail().
    int check_signals "PyErr_CheckSignals"()


cdef int interrupt_check() noexcept nogil:
    with gil:
        return check_signals()


convc_set_interrupt_check(&interrupt_check)


# ---- threads and instruction sets ----

def set_num_threads(n):
    """
    Set how many threads an operator may use, for the whole process. Results do not depend on it.

    Parameters
    ----------
    n : int
        At least 1. Before the first call it is CONVC_NUM_THREADS or else OMP_NUM_THREADS in the environment, or else
        the CPUs that this process may use.

    Raises
    ------
    ValueError, TypeError
        Not a number of threads.

    Examples
    --------
    >>> import convc
    >>> before = convc.get_num_threads()
    >>> convc.set_num_threads(1)
    >>> convc.get_num_threads()
    1
    >>> convc.set_num_threads(before)
    """
    check(convc_set_num_threads(parse_int(n, "n")))


def get_num_threads():
    """
    How many threads an operator may use; small work stays on the calling thread.

    Returns
    -------
    int
        Always 1 in a forked child of a process whose threads have worked: OpenMP could not start them again.

    Examples
    --------
    >>> import convc
    >>> convc.get_num_threads() >= 1
    True
    """
    return convc_get_num_threads()


def set_isa(name):
    """
    Choose an instruction set, for the whole process; the environment variable CONVC_ISA does so from the start.

    Parameters
    ----------
    name : str
        One of ``cpu_info()["available_isas"]``.

    Raises
    ------
    ValueError, TypeError
        Not an instruction set of this machine.

    Examples
    --------
    >>> import convc
    >>> before = convc.get_isa()
    >>> convc.set_isa("scalar")
    >>> convc.get_isa()
    'scalar'
    >>> convc.set_isa(before)
    """
    if not isinstance(name, str):
        raise TypeError(f"name must be a str, got {type(name).__name__}")
    cdef bytes text = name.encode("utf-8", "replace").replace(b"\0", b"\\0")
    check(convc_set_isa(text))


def get_isa():
    """
    The instruction set in use.

    Returns
    -------
    str
        "scalar", "sse2", "avx2", "avx512" or "neon".

    Examples
    --------
    >>> import convc
    >>> convc.get_isa() in convc.cpu_info()["available_isas"]
    True
    """
    return convc_get_isa().decode()


def _available_isas():
    """The instruction sets that this machine and this build have, slowest first."""
    names = (b"scalar", b"sse2", b"avx2", b"avx512", b"neon")
    return tuple([name.decode() for name in names if convc_isa_available(name)])


def _check_environment():
    """What is asked for in vain is better said than ignored."""
    wanted = os.environ.get("CONVC_ISA")
    if wanted and wanted not in _available_isas():
        have = ", ".join(_available_isas())
        text = f"CONVC_ISA must be one of {have}, got {wanted!r}: using {get_isa()}"
        warnings.warn(text, RuntimeWarning, stacklevel=2)


_check_environment()
