"""Types of the compiled core. float32 in gives float32 out, float64 gives float64; the two do not mix."""

from collections.abc import Sequence
from contextvars import ContextVar, Token
from typing import Any, Literal, SupportsFloat, SupportsIndex, TypeAlias, TypeVar, final, overload

import numpy as np
from numpy.typing import NDArray

__version__: str

_Real = TypeVar("_Real", np.float32, np.float64)
_Axes: TypeAlias = SupportsIndex | Sequence[SupportsIndex]
_Padding: TypeAlias = SupportsIndex | Sequence[SupportsIndex | Sequence[SupportsIndex]] | Literal["valid", "same"]
_OutputSize: TypeAlias = SupportsIndex | Sequence[SupportsIndex | None]
_Layout1d: TypeAlias = Literal["NCW", "NWC"]
_Layout2d: TypeAlias = Literal["NCHW", "NHWC"]
_Layout3d: TypeAlias = Literal["NCDHW", "NDHWC"]
_Layout: TypeAlias = Literal["NCW", "NWC", "NCHW", "NHWC", "NCDHW", "NDHWC"]
_Fit: TypeAlias = Literal["floor", "exact"]
_PoolFit: TypeAlias = Literal["floor", "exact", "ceil"]
_Algorithm: TypeAlias = Literal["auto", "direct", "gemm", "winograd"]
_PadMode: TypeAlias = Literal["zeros", "reflect", "replicate", "circular"]
_Activation: TypeAlias = Literal["relu"] | None
_Gradients: TypeAlias = tuple[NDArray[_Real], NDArray[_Real], NDArray[_Real]]
_SomeGradients: TypeAlias = tuple[NDArray[_Real] | None, NDArray[_Real] | None, NDArray[_Real] | None]

@final
class Plan:
    @property
    def input_shape(self) -> tuple[int, ...]: ...
    @property
    def output_shape(self) -> tuple[int, ...]: ...
    @property
    def layout(self) -> str: ...
    @property
    def dtype(self) -> np.dtype[np.float32] | np.dtype[np.float64]: ...
    def __call__(self, x: NDArray[_Real], out: NDArray[_Real] | None = None) -> NDArray[_Real]: ...

def prepare(
    weight: NDArray[_Real],
    bias: NDArray[_Real] | None,
    input_shape: Sequence[SupportsIndex],
    *,
    stride: _Axes = 1,
    padding: _Padding = 0,
    dilation: _Axes = 1,
    groups: SupportsIndex = 1,
    layout: _Layout | None = None,
    pad_mode: _PadMode = "zeros",
    fit: _Fit = "floor",
    algorithm: _Algorithm = "auto",
    activation: _Activation = None,
) -> Plan: ...
def conv1d(
    x: NDArray[_Real],
    weight: NDArray[_Real],
    bias: NDArray[_Real] | None = None,
    stride: _Axes = 1,
    padding: _Padding = 0,
    dilation: _Axes = 1,
    groups: SupportsIndex = 1,
    *,
    layout: _Layout1d = "NCW",
    pad_mode: _PadMode = "zeros",
    fit: _Fit = "floor",
    algorithm: _Algorithm = "auto",
    activation: _Activation = None,
    out: NDArray[_Real] | None = None,
) -> NDArray[_Real]: ...
def conv2d(
    x: NDArray[_Real],
    weight: NDArray[_Real],
    bias: NDArray[_Real] | None = None,
    stride: _Axes = 1,
    padding: _Padding = 0,
    dilation: _Axes = 1,
    groups: SupportsIndex = 1,
    *,
    layout: _Layout2d = "NCHW",
    pad_mode: _PadMode = "zeros",
    fit: _Fit = "floor",
    algorithm: _Algorithm = "auto",
    activation: _Activation = None,
    out: NDArray[_Real] | None = None,
) -> NDArray[_Real]: ...
def conv3d(
    x: NDArray[_Real],
    weight: NDArray[_Real],
    bias: NDArray[_Real] | None = None,
    stride: _Axes = 1,
    padding: _Padding = 0,
    dilation: _Axes = 1,
    groups: SupportsIndex = 1,
    *,
    layout: _Layout3d = "NCDHW",
    pad_mode: _PadMode = "zeros",
    fit: _Fit = "floor",
    algorithm: _Algorithm = "auto",
    activation: _Activation = None,
    out: NDArray[_Real] | None = None,
) -> NDArray[_Real]: ...
@overload
def conv1d_backward(
    grad: NDArray[_Real],
    x: NDArray[_Real],
    weight: NDArray[_Real],
    stride: _Axes = 1,
    padding: _Padding = 0,
    dilation: _Axes = 1,
    groups: SupportsIndex = 1,
    *,
    layout: _Layout1d = "NCW",
    pad_mode: _PadMode = "zeros",
    algorithm: _Algorithm = "auto",
) -> _Gradients[_Real]: ...
@overload
def conv1d_backward(
    grad: NDArray[_Real],
    x: NDArray[_Real],
    weight: NDArray[_Real],
    stride: _Axes = 1,
    padding: _Padding = 0,
    dilation: _Axes = 1,
    groups: SupportsIndex = 1,
    *,
    layout: _Layout1d = "NCW",
    pad_mode: _PadMode = "zeros",
    algorithm: _Algorithm = "auto",
    needs: Sequence[str],
) -> _SomeGradients[_Real]: ...
@overload
def conv2d_backward(
    grad: NDArray[_Real],
    x: NDArray[_Real],
    weight: NDArray[_Real],
    stride: _Axes = 1,
    padding: _Padding = 0,
    dilation: _Axes = 1,
    groups: SupportsIndex = 1,
    *,
    layout: _Layout2d = "NCHW",
    pad_mode: _PadMode = "zeros",
    algorithm: _Algorithm = "auto",
) -> _Gradients[_Real]: ...
@overload
def conv2d_backward(
    grad: NDArray[_Real],
    x: NDArray[_Real],
    weight: NDArray[_Real],
    stride: _Axes = 1,
    padding: _Padding = 0,
    dilation: _Axes = 1,
    groups: SupportsIndex = 1,
    *,
    layout: _Layout2d = "NCHW",
    pad_mode: _PadMode = "zeros",
    algorithm: _Algorithm = "auto",
    needs: Sequence[str],
) -> _SomeGradients[_Real]: ...
@overload
def conv3d_backward(
    grad: NDArray[_Real],
    x: NDArray[_Real],
    weight: NDArray[_Real],
    stride: _Axes = 1,
    padding: _Padding = 0,
    dilation: _Axes = 1,
    groups: SupportsIndex = 1,
    *,
    layout: _Layout3d = "NCDHW",
    pad_mode: _PadMode = "zeros",
    algorithm: _Algorithm = "auto",
) -> _Gradients[_Real]: ...
@overload
def conv3d_backward(
    grad: NDArray[_Real],
    x: NDArray[_Real],
    weight: NDArray[_Real],
    stride: _Axes = 1,
    padding: _Padding = 0,
    dilation: _Axes = 1,
    groups: SupportsIndex = 1,
    *,
    layout: _Layout3d = "NCDHW",
    pad_mode: _PadMode = "zeros",
    algorithm: _Algorithm = "auto",
    needs: Sequence[str],
) -> _SomeGradients[_Real]: ...
def locally_connected1d(
    x: NDArray[_Real],
    weight: NDArray[_Real],
    bias: NDArray[_Real] | None = None,
    stride: _Axes = 1,
    padding: _Padding = 0,
    dilation: _Axes = 1,
    *,
    layout: _Layout1d = "NCW",
    pad_mode: _PadMode = "zeros",
    fit: _Fit = "floor",
    activation: _Activation = None,
    out: NDArray[_Real] | None = None,
) -> NDArray[_Real]: ...
def locally_connected2d(
    x: NDArray[_Real],
    weight: NDArray[_Real],
    bias: NDArray[_Real] | None = None,
    stride: _Axes = 1,
    padding: _Padding = 0,
    dilation: _Axes = 1,
    *,
    layout: _Layout2d = "NCHW",
    pad_mode: _PadMode = "zeros",
    fit: _Fit = "floor",
    activation: _Activation = None,
    out: NDArray[_Real] | None = None,
) -> NDArray[_Real]: ...
@overload
def locally_connected1d_backward(
    grad: NDArray[_Real],
    x: NDArray[_Real],
    weight: NDArray[_Real],
    stride: _Axes = 1,
    padding: _Padding = 0,
    dilation: _Axes = 1,
    *,
    layout: _Layout1d = "NCW",
    pad_mode: _PadMode = "zeros",
) -> _Gradients[_Real]: ...
@overload
def locally_connected1d_backward(
    grad: NDArray[_Real],
    x: NDArray[_Real],
    weight: NDArray[_Real],
    stride: _Axes = 1,
    padding: _Padding = 0,
    dilation: _Axes = 1,
    *,
    layout: _Layout1d = "NCW",
    pad_mode: _PadMode = "zeros",
    needs: Sequence[str],
) -> _SomeGradients[_Real]: ...
@overload
def locally_connected2d_backward(
    grad: NDArray[_Real],
    x: NDArray[_Real],
    weight: NDArray[_Real],
    stride: _Axes = 1,
    padding: _Padding = 0,
    dilation: _Axes = 1,
    *,
    layout: _Layout2d = "NCHW",
    pad_mode: _PadMode = "zeros",
) -> _Gradients[_Real]: ...
@overload
def locally_connected2d_backward(
    grad: NDArray[_Real],
    x: NDArray[_Real],
    weight: NDArray[_Real],
    stride: _Axes = 1,
    padding: _Padding = 0,
    dilation: _Axes = 1,
    *,
    layout: _Layout2d = "NCHW",
    pad_mode: _PadMode = "zeros",
    needs: Sequence[str],
) -> _SomeGradients[_Real]: ...
def conv_transpose1d(
    x: NDArray[_Real],
    weight: NDArray[_Real],
    bias: NDArray[_Real] | None = None,
    stride: _Axes = 1,
    padding: _Padding = 0,
    output_padding: _Axes = 0,
    groups: SupportsIndex = 1,
    dilation: _Axes = 1,
    *,
    layout: _Layout1d = "NCW",
    algorithm: _Algorithm = "auto",
    activation: _Activation = None,
    out: NDArray[_Real] | None = None,
) -> NDArray[_Real]: ...
def conv_transpose2d(
    x: NDArray[_Real],
    weight: NDArray[_Real],
    bias: NDArray[_Real] | None = None,
    stride: _Axes = 1,
    padding: _Padding = 0,
    output_padding: _Axes = 0,
    groups: SupportsIndex = 1,
    dilation: _Axes = 1,
    *,
    layout: _Layout2d = "NCHW",
    algorithm: _Algorithm = "auto",
    activation: _Activation = None,
    out: NDArray[_Real] | None = None,
) -> NDArray[_Real]: ...
def conv_transpose3d(
    x: NDArray[_Real],
    weight: NDArray[_Real],
    bias: NDArray[_Real] | None = None,
    stride: _Axes = 1,
    padding: _Padding = 0,
    output_padding: _Axes = 0,
    groups: SupportsIndex = 1,
    dilation: _Axes = 1,
    *,
    layout: _Layout3d = "NCDHW",
    algorithm: _Algorithm = "auto",
    activation: _Activation = None,
    out: NDArray[_Real] | None = None,
) -> NDArray[_Real]: ...
@overload
def conv_transpose1d_backward(
    grad: NDArray[_Real],
    x: NDArray[_Real],
    weight: NDArray[_Real],
    stride: _Axes = 1,
    padding: _Padding = 0,
    output_padding: _Axes = 0,
    groups: SupportsIndex = 1,
    dilation: _Axes = 1,
    *,
    layout: _Layout1d = "NCW",
    algorithm: _Algorithm = "auto",
) -> _Gradients[_Real]: ...
@overload
def conv_transpose1d_backward(
    grad: NDArray[_Real],
    x: NDArray[_Real],
    weight: NDArray[_Real],
    stride: _Axes = 1,
    padding: _Padding = 0,
    output_padding: _Axes = 0,
    groups: SupportsIndex = 1,
    dilation: _Axes = 1,
    *,
    layout: _Layout1d = "NCW",
    algorithm: _Algorithm = "auto",
    needs: Sequence[str],
) -> _SomeGradients[_Real]: ...
@overload
def conv_transpose2d_backward(
    grad: NDArray[_Real],
    x: NDArray[_Real],
    weight: NDArray[_Real],
    stride: _Axes = 1,
    padding: _Padding = 0,
    output_padding: _Axes = 0,
    groups: SupportsIndex = 1,
    dilation: _Axes = 1,
    *,
    layout: _Layout2d = "NCHW",
    algorithm: _Algorithm = "auto",
) -> _Gradients[_Real]: ...
@overload
def conv_transpose2d_backward(
    grad: NDArray[_Real],
    x: NDArray[_Real],
    weight: NDArray[_Real],
    stride: _Axes = 1,
    padding: _Padding = 0,
    output_padding: _Axes = 0,
    groups: SupportsIndex = 1,
    dilation: _Axes = 1,
    *,
    layout: _Layout2d = "NCHW",
    algorithm: _Algorithm = "auto",
    needs: Sequence[str],
) -> _SomeGradients[_Real]: ...
@overload
def conv_transpose3d_backward(
    grad: NDArray[_Real],
    x: NDArray[_Real],
    weight: NDArray[_Real],
    stride: _Axes = 1,
    padding: _Padding = 0,
    output_padding: _Axes = 0,
    groups: SupportsIndex = 1,
    dilation: _Axes = 1,
    *,
    layout: _Layout3d = "NCDHW",
    algorithm: _Algorithm = "auto",
) -> _Gradients[_Real]: ...
@overload
def conv_transpose3d_backward(
    grad: NDArray[_Real],
    x: NDArray[_Real],
    weight: NDArray[_Real],
    stride: _Axes = 1,
    padding: _Padding = 0,
    output_padding: _Axes = 0,
    groups: SupportsIndex = 1,
    dilation: _Axes = 1,
    *,
    layout: _Layout3d = "NCDHW",
    algorithm: _Algorithm = "auto",
    needs: Sequence[str],
) -> _SomeGradients[_Real]: ...
@overload
def max_pool1d(
    x: NDArray[_Real],
    kernel_size: _Axes,
    stride: _Axes | None = None,
    padding: _Padding = 0,
    dilation: _Axes = 1,
    *,
    layout: _Layout1d = "NCW",
    fit: _PoolFit = "floor",
    return_indices: Literal[False] = False,
    out: NDArray[_Real] | None = None,
) -> NDArray[_Real]: ...
@overload
def max_pool1d(
    x: NDArray[_Real],
    kernel_size: _Axes,
    stride: _Axes | None = None,
    padding: _Padding = 0,
    dilation: _Axes = 1,
    *,
    layout: _Layout1d = "NCW",
    fit: _PoolFit = "floor",
    return_indices: Literal[True],
    out: NDArray[_Real] | None = None,
) -> tuple[NDArray[_Real], NDArray[np.int64]]: ...
def max_pool1d_backward(
    grad: NDArray[_Real], indices: NDArray[np.int64], x_shape: Sequence[SupportsIndex], *, layout: _Layout1d = "NCW"
) -> NDArray[_Real]: ...
@overload
def max_pool2d(
    x: NDArray[_Real],
    kernel_size: _Axes,
    stride: _Axes | None = None,
    padding: _Padding = 0,
    dilation: _Axes = 1,
    *,
    layout: _Layout2d = "NCHW",
    fit: _PoolFit = "floor",
    return_indices: Literal[False] = False,
    out: NDArray[_Real] | None = None,
) -> NDArray[_Real]: ...
@overload
def max_pool2d(
    x: NDArray[_Real],
    kernel_size: _Axes,
    stride: _Axes | None = None,
    padding: _Padding = 0,
    dilation: _Axes = 1,
    *,
    layout: _Layout2d = "NCHW",
    fit: _PoolFit = "floor",
    return_indices: Literal[True],
    out: NDArray[_Real] | None = None,
) -> tuple[NDArray[_Real], NDArray[np.int64]]: ...
def max_pool2d_backward(
    grad: NDArray[_Real], indices: NDArray[np.int64], x_shape: Sequence[SupportsIndex], *, layout: _Layout2d = "NCHW"
) -> NDArray[_Real]: ...
@overload
def max_pool3d(
    x: NDArray[_Real],
    kernel_size: _Axes,
    stride: _Axes | None = None,
    padding: _Padding = 0,
    dilation: _Axes = 1,
    *,
    layout: _Layout3d = "NCDHW",
    fit: _PoolFit = "floor",
    return_indices: Literal[False] = False,
    out: NDArray[_Real] | None = None,
) -> NDArray[_Real]: ...
@overload
def max_pool3d(
    x: NDArray[_Real],
    kernel_size: _Axes,
    stride: _Axes | None = None,
    padding: _Padding = 0,
    dilation: _Axes = 1,
    *,
    layout: _Layout3d = "NCDHW",
    fit: _PoolFit = "floor",
    return_indices: Literal[True],
    out: NDArray[_Real] | None = None,
) -> tuple[NDArray[_Real], NDArray[np.int64]]: ...
def max_pool3d_backward(
    grad: NDArray[_Real], indices: NDArray[np.int64], x_shape: Sequence[SupportsIndex], *, layout: _Layout3d = "NCDHW"
) -> NDArray[_Real]: ...
def avg_pool1d(
    x: NDArray[_Real],
    kernel_size: _Axes,
    stride: _Axes | None = None,
    padding: _Padding = 0,
    *,
    count_include_pad: bool = True,
    layout: _Layout1d = "NCW",
    fit: _PoolFit = "floor",
    out: NDArray[_Real] | None = None,
) -> NDArray[_Real]: ...
def avg_pool1d_backward(
    grad: NDArray[_Real],
    x_shape: Sequence[SupportsIndex],
    kernel_size: _Axes,
    stride: _Axes | None = None,
    padding: _Padding = 0,
    *,
    count_include_pad: bool = True,
    layout: _Layout1d = "NCW",
    fit: _PoolFit = "floor",
) -> NDArray[_Real]: ...
def lp_pool1d(
    x: NDArray[_Real],
    norm_type: SupportsFloat,
    kernel_size: _Axes,
    stride: _Axes | None = None,
    *,
    layout: _Layout1d = "NCW",
    fit: _PoolFit = "floor",
    out: NDArray[_Real] | None = None,
) -> NDArray[_Real]: ...
def lp_pool1d_backward(
    grad: NDArray[_Real],
    x: NDArray[_Real],
    y: NDArray[_Real],
    norm_type: SupportsFloat,
    kernel_size: _Axes,
    stride: _Axes | None = None,
    *,
    layout: _Layout1d = "NCW",
    fit: _PoolFit = "floor",
) -> NDArray[_Real]: ...
def adaptive_avg_pool1d(
    x: NDArray[_Real], output_size: _OutputSize, *, layout: _Layout1d = "NCW", out: NDArray[_Real] | None = None
) -> NDArray[_Real]: ...
def adaptive_avg_pool1d_backward(
    grad: NDArray[_Real], x_shape: Sequence[SupportsIndex], *, layout: _Layout1d = "NCW"
) -> NDArray[_Real]: ...
@overload
def adaptive_max_pool1d(
    x: NDArray[_Real],
    output_size: _OutputSize,
    *,
    layout: _Layout1d = "NCW",
    return_indices: Literal[False] = False,
    out: NDArray[_Real] | None = None,
) -> NDArray[_Real]: ...
@overload
def adaptive_max_pool1d(
    x: NDArray[_Real],
    output_size: _OutputSize,
    *,
    layout: _Layout1d = "NCW",
    return_indices: Literal[True],
    out: NDArray[_Real] | None = None,
) -> tuple[NDArray[_Real], NDArray[np.int64]]: ...
def adaptive_max_pool1d_backward(
    grad: NDArray[_Real], indices: NDArray[np.int64], x_shape: Sequence[SupportsIndex], *, layout: _Layout1d = "NCW"
) -> NDArray[_Real]: ...
def max_unpool1d(
    x: NDArray[_Real],
    indices: NDArray[np.int64],
    kernel_size: _Axes,
    stride: _Axes | None = None,
    padding: _Padding = 0,
    output_size: _Axes | None = None,
    *,
    layout: _Layout1d = "NCW",
    out: NDArray[_Real] | None = None,
) -> NDArray[_Real]: ...
def max_unpool1d_backward(
    grad: NDArray[_Real], indices: NDArray[np.int64], *, layout: _Layout1d = "NCW"
) -> NDArray[_Real]: ...
def avg_pool2d(
    x: NDArray[_Real],
    kernel_size: _Axes,
    stride: _Axes | None = None,
    padding: _Padding = 0,
    *,
    count_include_pad: bool = True,
    layout: _Layout2d = "NCHW",
    fit: _PoolFit = "floor",
    out: NDArray[_Real] | None = None,
) -> NDArray[_Real]: ...
def avg_pool2d_backward(
    grad: NDArray[_Real],
    x_shape: Sequence[SupportsIndex],
    kernel_size: _Axes,
    stride: _Axes | None = None,
    padding: _Padding = 0,
    *,
    count_include_pad: bool = True,
    layout: _Layout2d = "NCHW",
    fit: _PoolFit = "floor",
) -> NDArray[_Real]: ...
def lp_pool2d(
    x: NDArray[_Real],
    norm_type: SupportsFloat,
    kernel_size: _Axes,
    stride: _Axes | None = None,
    *,
    layout: _Layout2d = "NCHW",
    fit: _PoolFit = "floor",
    out: NDArray[_Real] | None = None,
) -> NDArray[_Real]: ...
def lp_pool2d_backward(
    grad: NDArray[_Real],
    x: NDArray[_Real],
    y: NDArray[_Real],
    norm_type: SupportsFloat,
    kernel_size: _Axes,
    stride: _Axes | None = None,
    *,
    layout: _Layout2d = "NCHW",
    fit: _PoolFit = "floor",
) -> NDArray[_Real]: ...
def adaptive_avg_pool2d(
    x: NDArray[_Real], output_size: _OutputSize, *, layout: _Layout2d = "NCHW", out: NDArray[_Real] | None = None
) -> NDArray[_Real]: ...
def adaptive_avg_pool2d_backward(
    grad: NDArray[_Real], x_shape: Sequence[SupportsIndex], *, layout: _Layout2d = "NCHW"
) -> NDArray[_Real]: ...
@overload
def adaptive_max_pool2d(
    x: NDArray[_Real],
    output_size: _OutputSize,
    *,
    layout: _Layout2d = "NCHW",
    return_indices: Literal[False] = False,
    out: NDArray[_Real] | None = None,
) -> NDArray[_Real]: ...
@overload
def adaptive_max_pool2d(
    x: NDArray[_Real],
    output_size: _OutputSize,
    *,
    layout: _Layout2d = "NCHW",
    return_indices: Literal[True],
    out: NDArray[_Real] | None = None,
) -> tuple[NDArray[_Real], NDArray[np.int64]]: ...
def adaptive_max_pool2d_backward(
    grad: NDArray[_Real], indices: NDArray[np.int64], x_shape: Sequence[SupportsIndex], *, layout: _Layout2d = "NCHW"
) -> NDArray[_Real]: ...
def max_unpool2d(
    x: NDArray[_Real],
    indices: NDArray[np.int64],
    kernel_size: _Axes,
    stride: _Axes | None = None,
    padding: _Padding = 0,
    output_size: _Axes | None = None,
    *,
    layout: _Layout2d = "NCHW",
    out: NDArray[_Real] | None = None,
) -> NDArray[_Real]: ...
def max_unpool2d_backward(
    grad: NDArray[_Real], indices: NDArray[np.int64], *, layout: _Layout2d = "NCHW"
) -> NDArray[_Real]: ...
def avg_pool3d(
    x: NDArray[_Real],
    kernel_size: _Axes,
    stride: _Axes | None = None,
    padding: _Padding = 0,
    *,
    count_include_pad: bool = True,
    layout: _Layout3d = "NCDHW",
    fit: _PoolFit = "floor",
    out: NDArray[_Real] | None = None,
) -> NDArray[_Real]: ...
def avg_pool3d_backward(
    grad: NDArray[_Real],
    x_shape: Sequence[SupportsIndex],
    kernel_size: _Axes,
    stride: _Axes | None = None,
    padding: _Padding = 0,
    *,
    count_include_pad: bool = True,
    layout: _Layout3d = "NCDHW",
    fit: _PoolFit = "floor",
) -> NDArray[_Real]: ...
def lp_pool3d(
    x: NDArray[_Real],
    norm_type: SupportsFloat,
    kernel_size: _Axes,
    stride: _Axes | None = None,
    *,
    layout: _Layout3d = "NCDHW",
    fit: _PoolFit = "floor",
    out: NDArray[_Real] | None = None,
) -> NDArray[_Real]: ...
def lp_pool3d_backward(
    grad: NDArray[_Real],
    x: NDArray[_Real],
    y: NDArray[_Real],
    norm_type: SupportsFloat,
    kernel_size: _Axes,
    stride: _Axes | None = None,
    *,
    layout: _Layout3d = "NCDHW",
    fit: _PoolFit = "floor",
) -> NDArray[_Real]: ...
def adaptive_avg_pool3d(
    x: NDArray[_Real], output_size: _OutputSize, *, layout: _Layout3d = "NCDHW", out: NDArray[_Real] | None = None
) -> NDArray[_Real]: ...
def adaptive_avg_pool3d_backward(
    grad: NDArray[_Real], x_shape: Sequence[SupportsIndex], *, layout: _Layout3d = "NCDHW"
) -> NDArray[_Real]: ...
@overload
def adaptive_max_pool3d(
    x: NDArray[_Real],
    output_size: _OutputSize,
    *,
    layout: _Layout3d = "NCDHW",
    return_indices: Literal[False] = False,
    out: NDArray[_Real] | None = None,
) -> NDArray[_Real]: ...
@overload
def adaptive_max_pool3d(
    x: NDArray[_Real],
    output_size: _OutputSize,
    *,
    layout: _Layout3d = "NCDHW",
    return_indices: Literal[True],
    out: NDArray[_Real] | None = None,
) -> tuple[NDArray[_Real], NDArray[np.int64]]: ...
def adaptive_max_pool3d_backward(
    grad: NDArray[_Real], indices: NDArray[np.int64], x_shape: Sequence[SupportsIndex], *, layout: _Layout3d = "NCDHW"
) -> NDArray[_Real]: ...
def max_unpool3d(
    x: NDArray[_Real],
    indices: NDArray[np.int64],
    kernel_size: _Axes,
    stride: _Axes | None = None,
    padding: _Padding = 0,
    output_size: _Axes | None = None,
    *,
    layout: _Layout3d = "NCDHW",
    out: NDArray[_Real] | None = None,
) -> NDArray[_Real]: ...
def max_unpool3d_backward(
    grad: NDArray[_Real], indices: NDArray[np.int64], *, layout: _Layout3d = "NCDHW"
) -> NDArray[_Real]: ...
def global_avg_pool(
    x: NDArray[_Real], *, layout: _Layout | None = None, keepdims: bool = False, out: NDArray[_Real] | None = None
) -> NDArray[_Real]: ...
def global_avg_pool_backward(
    grad: NDArray[_Real], x_shape: Sequence[SupportsIndex], *, layout: _Layout | None = None
) -> NDArray[_Real]: ...
@overload
def global_max_pool(
    x: NDArray[_Real],
    *,
    layout: _Layout | None = None,
    keepdims: bool = False,
    return_indices: Literal[False] = False,
    out: NDArray[_Real] | None = None,
) -> NDArray[_Real]: ...
@overload
def global_max_pool(
    x: NDArray[_Real],
    *,
    layout: _Layout | None = None,
    keepdims: bool = False,
    return_indices: Literal[True],
    out: NDArray[_Real] | None = None,
) -> tuple[NDArray[_Real], NDArray[np.int64]]: ...
def global_max_pool_backward(
    grad: NDArray[_Real], indices: NDArray[np.int64], x_shape: Sequence[SupportsIndex], *, layout: _Layout | None = None
) -> NDArray[_Real]: ...
def interpolate(
    x: NDArray[_Real],
    size: _Axes | None = None,
    scale_factor: SupportsFloat | Sequence[SupportsFloat] | None = None,
    mode: str = "nearest",
    align_corners: bool | None = False,
    *,
    layout: _Layout | None = None,
    out: NDArray[_Real] | None = None,
) -> NDArray[_Real]: ...
def interpolate_backward(
    grad: NDArray[_Real],
    x_shape: Sequence[SupportsIndex],
    size: _Axes | None = None,
    scale_factor: SupportsFloat | Sequence[SupportsFloat] | None = None,
    mode: str = "nearest",
    align_corners: bool | None = False,
    *,
    layout: _Layout | None = None,
) -> NDArray[_Real]: ...
def im2col(
    x: NDArray[_Real],
    kernel_size: _Axes,
    stride: _Axes = 1,
    padding: _Padding = 0,
    dilation: _Axes = 1,
    *,
    layout: _Layout = "NCHW",
    out: NDArray[_Real] | None = None,
) -> NDArray[_Real]: ...
def col2im(
    cols: NDArray[_Real],
    output_size: _Axes,
    kernel_size: _Axes,
    stride: _Axes = 1,
    padding: _Padding = 0,
    dilation: _Axes = 1,
    *,
    layout: _Layout = "NCHW",
) -> NDArray[_Real]: ...
def gemm(
    a: NDArray[_Real], b: NDArray[_Real], *, accumulate: bool = False, out: NDArray[_Real] | None = None
) -> NDArray[_Real]: ...
def linear(
    x: NDArray[_Real],
    weight: NDArray[_Real],
    bias: NDArray[_Real] | None = None,
    *,
    activation: _Activation = None,
    out: NDArray[_Real] | None = None,
) -> NDArray[_Real]: ...
@overload
def linear_backward(grad: NDArray[_Real], x: NDArray[_Real], weight: NDArray[_Real]) -> _Gradients[_Real]: ...
@overload
def linear_backward(
    grad: NDArray[_Real], x: NDArray[_Real], weight: NDArray[_Real], *, needs: Sequence[str]
) -> _SomeGradients[_Real]: ...
def relu(x: NDArray[_Real], *, out: NDArray[_Real] | None = None) -> NDArray[_Real]: ...
def relu_backward(grad: NDArray[_Real], x: NDArray[_Real]) -> NDArray[_Real]: ...
def leaky_relu(
    x: NDArray[_Real], negative_slope: SupportsFloat = 0.01, *, out: NDArray[_Real] | None = None
) -> NDArray[_Real]: ...
def leaky_relu_backward(
    grad: NDArray[_Real], x: NDArray[_Real], negative_slope: SupportsFloat = 0.01
) -> NDArray[_Real]: ...
def sigmoid(x: NDArray[_Real], *, out: NDArray[_Real] | None = None) -> NDArray[_Real]: ...
def sigmoid_backward(grad: NDArray[_Real], y: NDArray[_Real]) -> NDArray[_Real]: ...
def tanh(x: NDArray[_Real], *, out: NDArray[_Real] | None = None) -> NDArray[_Real]: ...
def tanh_backward(grad: NDArray[_Real], y: NDArray[_Real]) -> NDArray[_Real]: ...
def silu(x: NDArray[_Real], *, out: NDArray[_Real] | None = None) -> NDArray[_Real]: ...
def silu_backward(grad: NDArray[_Real], x: NDArray[_Real]) -> NDArray[_Real]: ...
def gelu(x: NDArray[_Real], approximate: str = "none", *, out: NDArray[_Real] | None = None) -> NDArray[_Real]: ...
def gelu_backward(grad: NDArray[_Real], x: NDArray[_Real], approximate: str = "none") -> NDArray[_Real]: ...
def prelu(
    x: NDArray[_Real], weight: NDArray[_Real], axis: SupportsIndex = 1, *, out: NDArray[_Real] | None = None
) -> NDArray[_Real]: ...
def prelu_backward(
    grad: NDArray[_Real], x: NDArray[_Real], weight: NDArray[_Real], axis: SupportsIndex = 1
) -> tuple[NDArray[_Real], NDArray[_Real]]: ...
@overload
def dropout(
    x: NDArray[_Real],
    p: SupportsFloat = 0.5,
    *,
    rng: np.random.Generator | int | None = None,
    return_mask: Literal[False] = False,
    out: NDArray[_Real] | None = None,
) -> NDArray[_Real]: ...
@overload
def dropout(
    x: NDArray[_Real],
    p: SupportsFloat = 0.5,
    *,
    rng: np.random.Generator | int | None = None,
    return_mask: Literal[True],
    out: NDArray[_Real] | None = None,
) -> tuple[NDArray[_Real], NDArray[np.bool_]]: ...
def dropout_backward(grad: NDArray[_Real], mask: NDArray[np.bool_], p: SupportsFloat = 0.5) -> NDArray[_Real]: ...
def softmax(x: NDArray[_Real], axis: SupportsIndex = -1, *, out: NDArray[_Real] | None = None) -> NDArray[_Real]: ...
def softmax_backward(grad: NDArray[_Real], y: NDArray[_Real], axis: SupportsIndex = -1) -> NDArray[_Real]: ...
@overload
def cross_entropy(
    logits: NDArray[_Real], target: NDArray[np.int64], *, reduction: Literal["mean", "sum"] = "mean"
) -> float: ...
@overload
def cross_entropy(
    logits: NDArray[_Real], target: NDArray[np.int64], *, reduction: Literal["none"]
) -> NDArray[_Real]: ...
@overload
def cross_entropy(logits: NDArray[_Real], target: NDArray[np.int64], *, reduction: str) -> Any: ...
def cross_entropy_backward(
    logits: NDArray[_Real],
    target: NDArray[np.int64],
    grad: SupportsFloat | NDArray[_Real] = 1.0,
    *,
    reduction: str = "mean",
) -> NDArray[_Real]: ...
@overload
def batch_norm(
    x: NDArray[_Real],
    running_mean: NDArray[_Real] | None,
    running_var: NDArray[_Real] | None,
    weight: NDArray[_Real] | None = None,
    bias: NDArray[_Real] | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
    *,
    layout: _Layout | Literal["NC"] | None = None,
    return_statistics: Literal[False] = False,
    out: NDArray[_Real] | None = None,
) -> NDArray[_Real]: ...
@overload
def batch_norm(
    x: NDArray[_Real],
    running_mean: NDArray[_Real] | None,
    running_var: NDArray[_Real] | None,
    weight: NDArray[_Real] | None = None,
    bias: NDArray[_Real] | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
    *,
    layout: _Layout | Literal["NC"] | None = None,
    return_statistics: Literal[True],
    out: NDArray[_Real] | None = None,
) -> tuple[NDArray[_Real], NDArray[np.float64], NDArray[np.float64]]: ...
@overload
def batch_norm_backward(
    grad: NDArray[_Real],
    x: NDArray[_Real],
    mean: NDArray[np.float64],
    inv_std: NDArray[np.float64],
    weight: NDArray[_Real] | None = None,
    training: bool = False,
    *,
    layout: _Layout | Literal["NC"] | None = None,
) -> _Gradients[_Real]: ...
@overload
def batch_norm_backward(
    grad: NDArray[_Real],
    x: NDArray[_Real],
    mean: NDArray[np.float64],
    inv_std: NDArray[np.float64],
    weight: NDArray[_Real] | None = None,
    training: bool = False,
    *,
    layout: _Layout | Literal["NC"] | None = None,
    needs: Sequence[str],
) -> _SomeGradients[_Real]: ...
@overload
def group_norm(
    x: NDArray[_Real],
    num_groups: SupportsIndex,
    weight: NDArray[_Real] | None = None,
    bias: NDArray[_Real] | None = None,
    eps: float = 1e-5,
    *,
    layout: _Layout | Literal["NC"] | None = None,
    return_statistics: Literal[False] = False,
    out: NDArray[_Real] | None = None,
) -> NDArray[_Real]: ...
@overload
def group_norm(
    x: NDArray[_Real],
    num_groups: SupportsIndex,
    weight: NDArray[_Real] | None = None,
    bias: NDArray[_Real] | None = None,
    eps: float = 1e-5,
    *,
    layout: _Layout | Literal["NC"] | None = None,
    return_statistics: Literal[True],
    out: NDArray[_Real] | None = None,
) -> tuple[NDArray[_Real], NDArray[np.float64], NDArray[np.float64]]: ...
@overload
def group_norm_backward(
    grad: NDArray[_Real],
    x: NDArray[_Real],
    num_groups: SupportsIndex,
    mean: NDArray[np.float64],
    inv_std: NDArray[np.float64],
    weight: NDArray[_Real] | None = None,
    *,
    layout: _Layout | Literal["NC"] | None = None,
) -> _Gradients[_Real]: ...
@overload
def group_norm_backward(
    grad: NDArray[_Real],
    x: NDArray[_Real],
    num_groups: SupportsIndex,
    mean: NDArray[np.float64],
    inv_std: NDArray[np.float64],
    weight: NDArray[_Real] | None = None,
    *,
    layout: _Layout | Literal["NC"] | None = None,
    needs: Sequence[str],
) -> _SomeGradients[_Real]: ...
@overload
def layer_norm(
    x: NDArray[_Real],
    normalized_shape: _Axes,
    weight: NDArray[_Real] | None = None,
    bias: NDArray[_Real] | None = None,
    eps: float = 1e-5,
    *,
    return_statistics: Literal[False] = False,
    out: NDArray[_Real] | None = None,
) -> NDArray[_Real]: ...
@overload
def layer_norm(
    x: NDArray[_Real],
    normalized_shape: _Axes,
    weight: NDArray[_Real] | None = None,
    bias: NDArray[_Real] | None = None,
    eps: float = 1e-5,
    *,
    return_statistics: Literal[True],
    out: NDArray[_Real] | None = None,
) -> tuple[NDArray[_Real], NDArray[np.float64], NDArray[np.float64]]: ...
@overload
def layer_norm_backward(
    grad: NDArray[_Real],
    x: NDArray[_Real],
    normalized_shape: _Axes,
    mean: NDArray[np.float64],
    inv_std: NDArray[np.float64],
    weight: NDArray[_Real] | None = None,
) -> _Gradients[_Real]: ...
@overload
def layer_norm_backward(
    grad: NDArray[_Real],
    x: NDArray[_Real],
    normalized_shape: _Axes,
    mean: NDArray[np.float64],
    inv_std: NDArray[np.float64],
    weight: NDArray[_Real] | None = None,
    *,
    needs: Sequence[str],
) -> _SomeGradients[_Real]: ...
def local_response_norm(
    x: NDArray[_Real],
    size: SupportsIndex,
    alpha: float = 1e-4,
    beta: float = 0.75,
    k: float = 1.0,
    *,
    layout: _Layout | Literal["NC"] | None = None,
    out: NDArray[_Real] | None = None,
) -> NDArray[_Real]: ...
def local_response_norm_backward(
    grad: NDArray[_Real],
    x: NDArray[_Real],
    size: SupportsIndex,
    alpha: float = 1e-4,
    beta: float = 0.75,
    k: float = 1.0,
    *,
    layout: _Layout | Literal["NC"] | None = None,
) -> NDArray[_Real]: ...
def set_num_threads(n: SupportsIndex) -> None: ...
def get_num_threads() -> int: ...
def set_isa(name: str) -> None: ...
def get_isa() -> str: ...
def _available_isas() -> tuple[str, ...]: ...

_exact: ContextVar[bool]

def _set_exact() -> Token[bool]: ...
