"""Convolutions, and what they share with pools: windows that move over the spatial axes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np

from convc import _core, shapes
from convc.nn._module import Array, Backward, Module
from convc.nn._weights import Random, accumulate, choice, data, initial
from convc.shapes import ReceptiveField

_LAYOUTS = {1: ("NCW", "NWC"), 2: ("NCHW", "NHWC"), 3: ("NCDHW", "NDHWC")}


class Spatial(Module):
    """What convolutions and pools share: windows over the spatial axes of a layout."""

    _ndim: ClassVar[int]
    _pools: ClassVar[bool] = False

    kernel_size: tuple[int, ...]
    stride: tuple[int, ...]
    padding: str | tuple[Any, ...]
    dilation: tuple[int, ...]
    layout: str
    fit: str

    def _set_windows(self, kernel_size: Any, stride: Any, padding: Any, dilation: Any, layout: str, fit: str) -> None:
        self.kernel_size = shapes.axes(kernel_size, self._ndim, "kernel_size")
        self.stride = shapes.axes(stride, self._ndim, "stride")
        self.dilation = shapes.axes(dilation, self._ndim, "dilation")
        pairs = shapes.padding_axes(padding, self.kernel_size, self.stride, self.dilation)
        symmetric = all(before == after for before, after in pairs)
        self.padding = padding if isinstance(padding, str) else tuple(p[0] for p in pairs) if symmetric else pairs
        self.layout = choice(layout, "layout", _LAYOUTS[self._ndim])
        self.fit = fit

    def _spatial_shape(self, input_shape: tuple[int, ...]) -> tuple[int, tuple[int, ...]]:
        """Channels, and the spatial output size."""
        channels, size = self._split(input_shape)
        return channels, shapes.output_shape(size, *self._windows(), fit=self.fit, pool=self._pools)

    def _windows(self) -> tuple[Any, ...]:
        return self.kernel_size, self.stride, self.padding, self.dilation

    def _split(self, input_shape: tuple[int, ...]) -> tuple[int, tuple[int, ...]]:
        """Channels, and the spatial input size."""
        if len(input_shape) != self._ndim + 1:
            raise ValueError(f"{type(self).__name__} needs an input of {self._ndim + 1} axes, got {tuple(input_shape)}")
        if self.layout == _LAYOUTS[self._ndim][1]:
            return input_shape[-1], input_shape[:-1]
        return input_shape[0], input_shape[1:]

    def _shape(self, channels: int, size: tuple[int, ...]) -> tuple[int, ...]:
        return (channels, *size) if self.layout == _LAYOUTS[self._ndim][0] else (*size, channels)

    def receptive_field(self, field: ReceptiveField | None) -> ReceptiveField | None:
        return field and field.after(self.kernel_size, self.stride, self.dilation, self.padding)

    def dropped(self, input_shape: tuple[int, ...]) -> tuple[int, ...]:
        return shapes.dropped(self._split(input_shape)[1], *self._windows(), fit=self.fit, pool=self._pools)

    def _extras(self) -> str:
        layout = "" if self.layout == _LAYOUTS[self._ndim][0] else f", layout={self.layout!r}"
        return layout + ("" if self.fit == "floor" else f", fit={self.fit!r}")


class Convolution(Spatial):
    """What all convolutions share, transposed ones too."""

    out_axis = 0

    _operator: ClassVar[Callable[..., Array]]
    _gradient: ClassVar[Callable[..., tuple[Any, Any, Any]]]

    output_padding: tuple[int, ...]

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: shapes.Axes,
        stride: shapes.Axes = 1,
        padding: shapes.Padding = 0,
        dilation: shapes.Axes = 1,
        groups: int = 1,
        bias: bool = True,
        padding_mode: str = "zeros",
        *,
        layout: str | None = None,
        fit: str = "floor",
        activation: str | None = None,
        dtype: Any = np.float32,
        rng: Random = None,
    ) -> None:
        self._set_windows(kernel_size, stride, padding, dilation, layout or _LAYOUTS[self._ndim][0], fit)
        choice(fit, "fit", ("floor", "exact"))
        self.in_channels, self.out_channels, self.groups = shapes.channel_counts(in_channels, out_channels, groups)
        self.output_padding = (0,) * self._ndim
        self.padding_mode = choice(padding_mode, "padding_mode", ("zeros", "reflect", "replicate", "circular"))
        self.activation = choice(activation, "activation", (None, "relu"))
        shape = self.weight_shape(self.in_channels, self.out_channels, self.kernel_size, self.groups)
        self.weight, self.bias = initial(shape, (self.out_channels,) if bias else None, dtype, rng)

    @staticmethod
    def weight_shape(
        in_channels: int, out_channels: int, kernel_size: tuple[int, ...], groups: int, **_: Any
    ) -> tuple[int, ...]:
        """Shape of the weight of such a layer."""
        return (out_channels, in_channels // groups, *kernel_size)

    def _spatial_shape(self, input_shape: tuple[int, ...]) -> tuple[int, tuple[int, ...]]:
        size = self._split(input_shape)[1]
        pads = shapes.padding_axes(self.padding, self.kernel_size, self.stride, self.dilation)
        shapes.check_pad_mode(self.padding_mode, size, pads)
        return super()._spatial_shape(input_shape)

    def __call__(self, x: Array) -> Array:
        geometry, modes = self._geometry(), self._modes()
        if self.fit != "floor":
            modes["fit"] = self.fit
        weight, bias = self.weight.data, data(self.bias)
        return type(self)._operator(x, weight, bias, *geometry, **modes, activation=self.activation)

    def _geometry(self) -> tuple[Any, ...]:
        """What the operator and its gradient want behind their arrays."""
        return self.stride, self.padding, self.dilation, self.groups

    def _modes(self) -> dict[str, Any]:
        return {"layout": self.layout, "pad_mode": self.padding_mode}

    def forward(self, x: Array) -> tuple[Array, Backward]:
        return self._forward(x, ("x",))

    def forward_data(self, x: Array) -> tuple[Array, Backward]:
        return self._forward(x, ())

    def _forward(self, x: Array, needs: tuple[str, ...]) -> tuple[Array, Backward]:
        y = self(x)
        clipped = y if self.activation else None
        weight, bias = self.weight, self.bias
        geometry, modes = self._geometry(), self._modes()
        needs += ("weight",) if bias is None else ("weight", "bias")

        def backward(grad: Array) -> Array | None:
            if clipped is not None:
                grad = _core.relu_backward(grad, clipped)
            grads = type(self)._gradient(grad, x, weight.data, *geometry, **modes, needs=needs)
            return accumulate(weight, bias, grads)

        return y, backward

    def output_shape(self, input_shape: tuple[int, ...]) -> tuple[int, ...]:
        channels, size = self._spatial_shape(input_shape)
        if channels != self.in_channels:
            raise ValueError(f"{self} needs {self.in_channels} channels, got {tuple(input_shape)} in {self.layout[1:]}")
        return self._shape(self.out_channels, size)

    def macs(self, input_shape: tuple[int, ...]) -> int:
        size = self._spatial_shape(input_shape)[1]
        return shapes.conv_macs(self.in_channels, self.out_channels, self.kernel_size, size, self.groups)

    def unshared_parameters(self, input_shape: tuple[int, ...]) -> int:
        size, filters = self._spatial_shape(input_shape)[1], (self.in_channels, self.out_channels, self.kernel_size)
        return shapes.locally_connected_parameters(*filters, size, self.groups, self.bias is not None)

    def config(self) -> dict[str, Any]:
        return {
            "in_channels": self.in_channels,
            "out_channels": self.out_channels,
            "kernel_size": self.kernel_size,
            "stride": self.stride,
            "padding": self.padding,
            "dilation": self.dilation,
            "groups": self.groups,
            "bias": self.bias is not None,
            "padding_mode": self.padding_mode,
            "layout": self.layout,
            "fit": self.fit,
            "activation": self.activation,
            "dtype": self.weight.data.dtype.name,
        }

    def __repr__(self) -> str:
        text = f"{self.in_channels}, {self.out_channels}, kernel_size={self.kernel_size}, stride={self.stride}"
        ones, zeros = (1,) * self._ndim, (0,) * self._ndim
        text += "" if self.padding == zeros else f", padding={self.padding}"
        text += "" if self.dilation == ones else f", dilation={self.dilation}"
        text += "" if self.output_padding == zeros else f", output_padding={self.output_padding}"
        text += "" if self.groups == 1 else f", groups={self.groups}"
        text += "" if self.bias else ", bias=False"
        text += "" if self.padding_mode == "zeros" else f", padding_mode={self.padding_mode}"
        text += f", activation={self.activation!r}" if self.activation else ""
        return f"{type(self).__name__}({text}{self._extras()})"


class Conv1d(Convolution):
    """
    Convolution of (N, C, W) signals; the arguments are those of `Conv2d`.

    Examples
    --------
    >>> import numpy as np
    >>> from convc import nn
    >>> nn.Conv1d(2, 4, 3)(np.ones((1, 2, 10), np.float32)).shape
    (1, 4, 8)
    """

    _ndim = 1
    _operator, _gradient = staticmethod(_core.conv1d), staticmethod(_core.conv1d_backward)


class Conv2d(Convolution):
    """
    Convolution of (N, C, H, W) images with `out_channels` filters.

    Parameters
    ----------
    in_channels, out_channels : int
    kernel_size, stride, dilation : int or one int for each axis
    padding : int, one for each axis, ``(before, after)`` for each axis, ``"valid"``, or ``"same"`` for a stride of 1
    groups : int
        Must divide both numbers of channels; ``groups=in_channels`` makes the convolution depthwise.
    bias : bool
    padding_mode : {"zeros", "reflect", "replicate", "circular"}
        What is added around the image, see `convc.conv2d`.
    layout : {"NCHW", "NHWC"}
        Of the input and the output; the weight is (out_channels, in_channels / groups, height, width) in both.
    fit : {"floor", "exact"}
        Whether a stride that does not divide the way left is an error.
    activation : {None, "relu"}
        Applied to the output while it is still in the cache.
    dtype : float32 or float64
    rng : numpy.random.Generator or int, optional
        Draws the initial values, uniform within 1 / sqrt(weights in a filter) of zero, as PyTorch's are.

    Attributes
    ----------
    weight : Parameter
    bias : Parameter or None

    Examples
    --------
    >>> import numpy as np
    >>> from convc import nn
    >>> conv = nn.Conv2d(3, 8, 3, padding="same", rng=0)
    >>> y, backward = conv.forward(np.ones((2, 3, 32, 32), np.float32))
    >>> y.shape, backward(y).shape, conv.weight.grad.shape
    ((2, 8, 32, 32), (2, 3, 32, 32), (8, 3, 3, 3))
    """

    _ndim = 2
    _operator, _gradient = staticmethod(_core.conv2d), staticmethod(_core.conv2d_backward)


class Conv3d(Convolution):
    """
    Convolution of (N, C, D, H, W) volumes; the arguments are those of `Conv2d`.

    Examples
    --------
    >>> import numpy as np
    >>> from convc import nn
    >>> nn.Conv3d(1, 2, 3)(np.ones((1, 1, 4, 5, 6), np.float32)).shape
    (1, 2, 2, 3, 4)
    """

    _ndim = 3
    _operator, _gradient = staticmethod(_core.conv3d), staticmethod(_core.conv3d_backward)
