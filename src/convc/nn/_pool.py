"""Pools: layers that sum up windows, each channel for itself."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, ClassVar

from convc import _core, shapes
from convc.nn._module import Array, Backward, Module
from convc.nn._spatial import _LAYOUTS, Spatial
from convc.nn._weights import choice
from convc.shapes import ReceptiveField


def _short(value: Any) -> Any:
    """One number where all axes agree, as PyTorch shows them."""
    return value[0] if isinstance(value, tuple) and len(set(value)) == 1 and isinstance(value[0], int) else value


class _Pool(Spatial):
    """What pools share whose windows move by a stride."""

    _pools = True
    _operator: ClassVar[Callable[..., Any]]
    _gradient: ClassVar[Callable[..., Array]]

    def _set(self, kernel_size: Any, stride: Any, padding: Any, dilation: Any, layout: str | None, fit: str) -> None:
        stride = kernel_size if stride is None else stride
        self._set_windows(kernel_size, stride, padding, dilation, layout or _LAYOUTS[self._ndim][0], fit)
        choice(fit, "fit", ("floor", "exact", "ceil"))

    def output_shape(self, input_shape: tuple[int, ...]) -> tuple[int, ...]:
        return self._shape(*self._spatial_shape(input_shape))


class _MaxPool(_Pool):
    def __init__(
        self,
        kernel_size: shapes.Axes,
        stride: shapes.Axes | None = None,
        padding: shapes.Padding = 0,
        dilation: shapes.Axes = 1,
        return_indices: bool = False,
        *,
        layout: str | None = None,
        fit: str = "floor",
    ) -> None:
        self._set(kernel_size, stride, padding, dilation, layout, fit)
        self.return_indices = bool(return_indices)

    def __call__(self, x: Array) -> Any:
        return self._run(x, self.return_indices)

    def forward(self, x: Array) -> tuple[Any, Backward]:
        (y, indices), shape = self._run(x, True), x.shape  # backward keeps no input
        outputs = (y, indices) if self.return_indices else y
        return outputs, lambda grad: type(self)._gradient(grad, indices, shape, layout=self.layout)

    def _run(self, x: Array, return_indices: bool) -> Any:
        windows = self.kernel_size, self.stride, self.padding, self.dilation
        return type(self)._operator(x, *windows, layout=self.layout, fit=self.fit, return_indices=return_indices)

    def config(self) -> dict[str, Any]:
        return {
            "kernel_size": self.kernel_size,
            "stride": self.stride,
            "padding": self.padding,
            "dilation": self.dilation,
            "return_indices": self.return_indices,
            "layout": self.layout,
            "fit": self.fit,
        }

    def __repr__(self) -> str:
        kernel, stride, padding, dilation = map(_short, (self.kernel_size, self.stride, self.padding, self.dilation))
        text = f"kernel_size={kernel}, stride={stride}, padding={padding}, dilation={dilation}"
        text += ", return_indices=True" if self.return_indices else ""
        return f"{type(self).__name__}({text}{self._extras()})"


class MaxPool1d(_MaxPool):
    """
    Largest value in each window of (N, C, W) signals; the arguments are those of `MaxPool2d`.

    Examples
    --------
    >>> import numpy as np
    >>> from convc import nn
    >>> nn.MaxPool1d(2)(np.arange(6.0).reshape(1, 1, 6))
    array([[[1., 3., 5.]]])
    """

    _ndim = 1
    _operator, _gradient = staticmethod(_core.max_pool1d), staticmethod(_core.max_pool1d_backward)


class MaxPool2d(_MaxPool):
    """
    Largest value in each window of (N, C, H, W) images.

    Parameters
    ----------
    kernel_size : int or one int for each axis
    stride : int or one int for each axis, optional
        `kernel_size` if not given.
    padding, dilation : int or one int for each axis
    return_indices : bool
        Whether the output is ``(y, indices)``, the maxima and their places, which `MaxUnpool2d` wants. `backward` takes
        the gradient of y alone. The next layer of a `Sequential` could not take both: this is for modules of one's own,
        and for the end of a network.
    layout : {"NCHW", "NHWC"}
    fit : {"floor", "exact", "ceil"}
        What happens to a rest that the stride leaves: dropped, an error, or a partial window for it.

    Examples
    --------
    >>> import numpy as np
    >>> from convc import nn
    >>> nn.MaxPool2d(2)(np.arange(16.0).reshape(1, 1, 4, 4))
    array([[[[ 5.,  7.],
             [13., 15.]]]])
    """

    _ndim = 2
    _operator, _gradient = staticmethod(_core.max_pool2d), staticmethod(_core.max_pool2d_backward)


class MaxPool3d(_MaxPool):
    """
    Largest value in each window of (N, C, D, H, W) volumes; the arguments are those of `MaxPool2d`.

    Examples
    --------
    >>> import numpy as np
    >>> from convc import nn
    >>> nn.MaxPool3d(2)(np.ones((1, 1, 4, 4, 4))).shape
    (1, 1, 2, 2, 2)
    """

    _ndim = 3
    _operator, _gradient = staticmethod(_core.max_pool3d), staticmethod(_core.max_pool3d_backward)


class _AvgPool(_Pool):
    def __init__(
        self,
        kernel_size: shapes.Axes,
        stride: shapes.Axes | None = None,
        padding: shapes.Padding = 0,
        *,
        count_include_pad: bool = True,
        layout: str | None = None,
        fit: str = "floor",
    ) -> None:
        self._set(kernel_size, stride, padding, 1, layout, fit)
        self.count_include_pad = bool(count_include_pad)

    def __call__(self, x: Array) -> Array:
        y: Array = type(self)._operator(x, **self._options())
        return y

    def forward(self, x: Array) -> tuple[Array, Backward]:
        y, shape = self(x), x.shape
        return y, lambda grad: type(self)._gradient(grad, shape, **self._options())

    def _options(self) -> dict[str, Any]:
        return {
            "kernel_size": self.kernel_size,
            "stride": self.stride,
            "padding": self.padding,
            "count_include_pad": self.count_include_pad,
            "layout": self.layout,
            "fit": self.fit,
        }

    def config(self) -> dict[str, Any]:
        return self._options()

    def __repr__(self) -> str:
        values = self.kernel_size, self.stride, self.padding
        kernel, stride, padding = values if self._ndim == 1 else map(_short, values)  # as PyTorch shows them
        counted = "" if self.count_include_pad else ", count_include_pad=False"
        text = f"kernel_size={kernel}, stride={stride}, padding={padding}{counted}"
        return f"{type(self).__name__}({text}{self._extras()})"


class AvgPool1d(_AvgPool):
    """
    Mean of each window of (N, C, W) signals; the arguments are those of `AvgPool2d`.

    Examples
    --------
    >>> import numpy as np
    >>> from convc import nn
    >>> nn.AvgPool1d(2)(np.arange(6.0).reshape(1, 1, 6))
    array([[[0.5, 2.5, 4.5]]])
    """

    _ndim = 1
    _operator, _gradient = staticmethod(_core.avg_pool1d), staticmethod(_core.avg_pool1d_backward)


class AvgPool2d(_AvgPool):
    """
    Mean of each window of (N, C, H, W) images.

    Parameters
    ----------
    kernel_size : int or one int for each axis
    stride : int or one int for each axis, optional
        `kernel_size` if not given.
    padding : int or one int for each axis
        Zeros.
    count_include_pad : bool
        Whether they count in the mean.
    layout : {"NCHW", "NHWC"}
    fit : {"floor", "exact", "ceil"}
        What happens to a rest that the stride leaves: dropped, an error, or a partial window for it.

    Examples
    --------
    >>> import numpy as np
    >>> from convc import nn
    >>> nn.AvgPool2d(2)(np.arange(16.0).reshape(1, 1, 4, 4))
    array([[[[ 2.5,  4.5],
             [10.5, 12.5]]]])
    """

    _ndim = 2
    _operator, _gradient = staticmethod(_core.avg_pool2d), staticmethod(_core.avg_pool2d_backward)


class AvgPool3d(_AvgPool):
    """
    Mean of each window of (N, C, D, H, W) volumes; the arguments are those of `AvgPool2d`.

    Examples
    --------
    >>> import numpy as np
    >>> from convc import nn
    >>> nn.AvgPool3d(2)(np.ones((1, 1, 4, 4, 4))).shape
    (1, 1, 2, 2, 2)
    """

    _ndim = 3
    _operator, _gradient = staticmethod(_core.avg_pool3d), staticmethod(_core.avg_pool3d_backward)


class _LPPool(_Pool):
    def __init__(
        self,
        norm_type: float,
        kernel_size: shapes.Axes,
        stride: shapes.Axes | None = None,
        *,
        layout: str | None = None,
        fit: str = "floor",
    ) -> None:
        if isinstance(norm_type, bool) or not isinstance(norm_type, int | float):
            raise TypeError(f"norm_type must be a number, got {norm_type!r}")
        if not 0 < norm_type < math.inf:
            raise ValueError(f"norm_type must be positive and finite, got {norm_type!r}")
        self.norm_type = norm_type
        self._set(kernel_size, stride, 0, 1, layout, fit)

    def __call__(self, x: Array) -> Array:
        y: Array = type(self)._operator(x, **self.config())
        return y

    def forward(self, x: Array) -> tuple[Array, Backward]:
        y = self(x)
        return y, lambda grad: type(self)._gradient(grad, x, y, **self.config())

    def config(self) -> dict[str, Any]:
        return {
            "norm_type": self.norm_type,
            "kernel_size": self.kernel_size,
            "stride": self.stride,
            "layout": self.layout,
            "fit": self.fit,
        }

    def __repr__(self) -> str:
        stride = None if self.stride == self.kernel_size else _short(self.stride)
        text = f"norm_type={self.norm_type}, kernel_size={_short(self.kernel_size)}, stride={stride}"
        text += ", ceil_mode=False" if self.fit == "floor" else ""
        return f"{type(self).__name__}({text}{self._extras()})"


class LPPool1d(_LPPool):
    """
    p-norm of each window of (N, C, W) signals; the arguments are those of `LPPool2d`.

    Examples
    --------
    >>> import numpy as np
    >>> from convc import nn
    >>> nn.LPPool1d(2, 2)(np.array([[[3.0, 4.0, 5.0, 12.0]]]))
    array([[[ 5., 13.]]])
    """

    _ndim = 1
    _operator, _gradient = staticmethod(_core.lp_pool1d), staticmethod(_core.lp_pool1d_backward)


class LPPool2d(_LPPool):
    """
    p-norm of each window of (N, C, H, W) images: ``sum(x ** p) ** (1 / p)``.

    Parameters
    ----------
    norm_type : float
        p, positive; see `convc.lp_pool2d` for signs and gradients at 0.
    kernel_size : int or one int for each axis
    stride : int or one int for each axis, optional
        `kernel_size` if not given.
    layout : {"NCHW", "NHWC"}
    fit : {"floor", "exact", "ceil"}
        What happens to a rest that the stride leaves: dropped, an error, or a partial window for it.

    Examples
    --------
    >>> import numpy as np
    >>> from convc import nn
    >>> nn.LPPool2d(2, 2)(np.ones((1, 1, 2, 4)))
    array([[[[2., 2.]]]])
    """

    _ndim = 2
    _operator, _gradient = staticmethod(_core.lp_pool2d), staticmethod(_core.lp_pool2d_backward)


class LPPool3d(_LPPool):
    """
    p-norm of each window of (N, C, D, H, W) volumes; the arguments are those of `LPPool2d`.

    Examples
    --------
    >>> import numpy as np
    >>> from convc import nn
    >>> nn.LPPool3d(2, 2)(np.ones((1, 1, 4, 4, 4))).shape
    (1, 1, 2, 2, 2)
    """

    _ndim = 3
    _operator, _gradient = staticmethod(_core.lp_pool3d), staticmethod(_core.lp_pool3d_backward)


class AdaptivePool(Spatial):
    """What pools share whose windows are given in number."""

    _operator: ClassVar[Callable[..., Any]]
    _gradient: ClassVar[Callable[..., Array]]

    def __init__(self, output_size: int | tuple[int | None, ...], *, layout: str | None = None) -> None:
        self.output_size: int | tuple[int | None, ...]
        if isinstance(output_size, tuple | list):
            if len(output_size) != self._ndim:
                raise ValueError(f"output_size must be an integer or {self._ndim} of them or None, got {output_size!r}")
            self.output_size = tuple(s if s is None else shapes.integer(s, "output_size", 1) for s in output_size)
        else:
            self.output_size = shapes.integer(output_size, "output_size", 1)
        self.layout = choice(layout or _LAYOUTS[self._ndim][0], "layout", _LAYOUTS[self._ndim])
        self.fit = "floor"

    def output_shape(self, input_shape: tuple[int, ...]) -> tuple[int, ...]:
        channels, size = self._split(input_shape)
        wanted = self.output_size if isinstance(self.output_size, tuple) else (self.output_size,) * self._ndim
        return self._shape(channels, tuple(s or kept for s, kept in zip(wanted, size, strict=True)))

    def receptive_field(self, field: ReceptiveField | None) -> None:
        """Everything if there is one window, else unknown: windows are as large as the input makes them."""
        return None

    def dropped(self, input_shape: tuple[int, ...]) -> tuple[int, ...]:
        return (0,) * self._ndim

    def config(self) -> dict[str, Any]:
        return {"output_size": self.output_size, "layout": self.layout}

    def __repr__(self) -> str:
        return f"{type(self).__name__}(output_size={self.output_size}{self._extras()})"


class _AdaptiveAvgPool(AdaptivePool):
    def __call__(self, x: Array) -> Array:
        y: Array = type(self)._operator(x, self.output_size, layout=self.layout)
        return y

    def forward(self, x: Array) -> tuple[Array, Backward]:
        y, shape = self(x), x.shape
        return y, lambda grad: type(self)._gradient(grad, shape, layout=self.layout)


class AdaptiveAvgPool1d(_AdaptiveAvgPool):
    """
    Means of `output_size` windows of (N, C, W) signals; the arguments are those of `AdaptiveAvgPool2d`.

    Examples
    --------
    >>> import numpy as np
    >>> from convc import nn
    >>> nn.AdaptiveAvgPool1d(2)(np.arange(5.0).reshape(1, 1, 5))
    array([[[1., 3.]]])
    """

    _ndim = 1
    _operator = staticmethod(_core.adaptive_avg_pool1d)
    _gradient = staticmethod(_core.adaptive_avg_pool1d_backward)


class AdaptiveAvgPool2d(_AdaptiveAvgPool):
    """
    Means of windows that share out (N, C, H, W) images of any size.

    Parameters
    ----------
    output_size : int or one for each axis
        How many windows there are; None keeps the size of the input.
    layout : {"NCHW", "NHWC"}

    Examples
    --------
    >>> import numpy as np
    >>> from convc import nn
    >>> nn.AdaptiveAvgPool2d((1, None))(np.arange(6.0).reshape(1, 1, 2, 3))
    array([[[[1.5, 2.5, 3.5]]]])
    """

    _ndim = 2
    _operator = staticmethod(_core.adaptive_avg_pool2d)
    _gradient = staticmethod(_core.adaptive_avg_pool2d_backward)


class AdaptiveAvgPool3d(_AdaptiveAvgPool):
    """
    Means of windows that share out (N, C, D, H, W) volumes; the arguments are those of `AdaptiveAvgPool2d`.

    Examples
    --------
    >>> import numpy as np
    >>> from convc import nn
    >>> nn.AdaptiveAvgPool3d(2)(np.ones((1, 1, 4, 5, 6))).shape
    (1, 1, 2, 2, 2)
    """

    _ndim = 3
    _operator = staticmethod(_core.adaptive_avg_pool3d)
    _gradient = staticmethod(_core.adaptive_avg_pool3d_backward)


class _AdaptiveMaxPool(AdaptivePool):
    def __call__(self, x: Array) -> Array:
        y: Array = type(self)._operator(x, self.output_size, layout=self.layout)
        return y

    def forward(self, x: Array) -> tuple[Array, Backward]:
        y, indices = type(self)._operator(x, self.output_size, layout=self.layout, return_indices=True)
        shape = x.shape
        return y, lambda grad: type(self)._gradient(grad, indices, shape, layout=self.layout)


class AdaptiveMaxPool1d(_AdaptiveMaxPool):
    """
    Largest values of `output_size` windows of (N, C, W) signals; the arguments are those of `AdaptiveAvgPool2d`.

    Examples
    --------
    >>> import numpy as np
    >>> from convc import nn
    >>> nn.AdaptiveMaxPool1d(2)(np.arange(5.0).reshape(1, 1, 5))
    array([[[2., 4.]]])
    """

    _ndim = 1
    _operator = staticmethod(_core.adaptive_max_pool1d)
    _gradient = staticmethod(_core.adaptive_max_pool1d_backward)


class AdaptiveMaxPool2d(_AdaptiveMaxPool):
    """
    Largest values of windows that share out (N, C, H, W) images; the arguments are those of `AdaptiveAvgPool2d`.

    Examples
    --------
    >>> import numpy as np
    >>> from convc import nn
    >>> nn.AdaptiveMaxPool2d((1, None))(np.arange(6.0).reshape(1, 1, 2, 3))
    array([[[[3., 4., 5.]]]])
    """

    _ndim = 2
    _operator = staticmethod(_core.adaptive_max_pool2d)
    _gradient = staticmethod(_core.adaptive_max_pool2d_backward)


class AdaptiveMaxPool3d(_AdaptiveMaxPool):
    """
    Largest values of windows that share out (N, C, D, H, W) volumes; the arguments are those of `AdaptiveAvgPool2d`.

    Examples
    --------
    >>> import numpy as np
    >>> from convc import nn
    >>> nn.AdaptiveMaxPool3d(2)(np.ones((1, 1, 4, 5, 6))).shape
    (1, 1, 2, 2, 2)
    """

    _ndim = 3
    _operator = staticmethod(_core.adaptive_max_pool3d)
    _gradient = staticmethod(_core.adaptive_max_pool3d_backward)


class GlobalPool(Module):
    """One window for all, on images of any rank."""

    def __init__(self, keepdims: bool = False, *, layout: str | None = None) -> None:
        self.keepdims = bool(keepdims)
        self.layout = choice(layout, "layout", (None, *(name for pair in _LAYOUTS.values() for name in pair)))

    def output_shape(self, input_shape: tuple[int, ...]) -> tuple[int, ...]:
        ranks = (2, 3, 4) if self.layout is None else (len(self.layout) - 1,)
        if len(input_shape) not in ranks:
            wanted = " to ".join(str(rank) for rank in (ranks[0], ranks[-1])[: len(ranks)])
            raise ValueError(f"{type(self).__name__} needs an input of {wanted} axes, got {tuple(input_shape)}")
        last = self.layout is not None and self.layout.endswith("C")
        channels, ones = (input_shape[-1] if last else input_shape[0],), (1,) * (len(input_shape) - 1)
        if not self.keepdims:
            return channels
        return ones + channels if last else channels + ones

    def receptive_field(self, field: ReceptiveField | None) -> None:
        return None

    def config(self) -> dict[str, Any]:
        return {"keepdims": self.keepdims, "layout": self.layout}

    def __repr__(self) -> str:
        extras = ["keepdims=True"] if self.keepdims else []
        extras += [f"layout={self.layout!r}"] if self.layout else []
        return f"{type(self).__name__}({', '.join(extras)})"


class GlobalAvgPool(GlobalPool):
    """
    Mean of each channel of images of any rank; the output is (N, C).

    Parameters
    ----------
    keepdims : bool
        Whether the spatial axes stay, with size 1, as after PyTorch's ``AdaptiveAvgPool2d(1)``.
    layout : str, optional
        Channels first if not given.

    Examples
    --------
    >>> import numpy as np
    >>> from convc import nn
    >>> nn.GlobalAvgPool()(np.arange(8.0).reshape(1, 2, 2, 2))
    array([[1.5, 5.5]])
    """

    def __call__(self, x: Array) -> Array:
        return _core.global_avg_pool(x, layout=self.layout, keepdims=self.keepdims)

    def forward(self, x: Array) -> tuple[Array, Backward]:
        y, shape = self(x), x.shape
        return y, lambda grad: _core.global_avg_pool_backward(grad, shape, layout=self.layout)


class GlobalMaxPool(GlobalPool):
    """
    Largest value of each channel of images of any rank; the arguments are those of `GlobalAvgPool`.

    Examples
    --------
    >>> import numpy as np
    >>> from convc import nn
    >>> nn.GlobalMaxPool()(np.arange(8.0).reshape(1, 2, 2, 2))
    array([[3., 7.]])
    """

    def __call__(self, x: Array) -> Array:
        return _core.global_max_pool(x, layout=self.layout, keepdims=self.keepdims)

    def forward(self, x: Array) -> tuple[Array, Backward]:
        y, indices = _core.global_max_pool(x, layout=self.layout, keepdims=self.keepdims, return_indices=True)
        shape = x.shape
        return y, lambda grad: _core.global_max_pool_backward(grad, indices, shape, layout=self.layout)
