"""Locally connected layers: convolutions whose filters are not shared among the positions."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from convc import _core, shapes
from convc.nn._module import Array
from convc.nn._spatial import _LAYOUTS, Convolution
from convc.nn._weights import Random, choice, initial


class LocallyConnected(Convolution):
    """A convolution as far as windows and channels go; the positions of its weight tie it to one size of input."""

    out_axis = 1

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        input_size: shapes.Axes,
        kernel_size: shapes.Axes,
        stride: shapes.Axes = 1,
        padding: shapes.Padding = 0,
        dilation: shapes.Axes = 1,
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
        self.in_channels = shapes.integer(in_channels, "in_channels", 1)
        self.out_channels = shapes.integer(out_channels, "out_channels", 1)
        self.input_size = shapes.axes(input_size, self._ndim, "input_size")
        self.groups, self.output_padding = 1, (0,) * self._ndim
        self.padding_mode = choice(padding_mode, "padding_mode", ("zeros", "reflect", "replicate", "circular"))
        self.activation = choice(activation, "activation", (None, "relu"))
        windows = self.kernel_size, self.stride, self.padding, self.dilation
        shape = self.weight_shape(self.in_channels, self.out_channels, self.input_size, *windows, fit)
        self.weight, self.bias = initial(shape, shape[:2] if bias else None, dtype, rng, outputs=2)

    @staticmethod
    def weight_shape(  # type: ignore[override]
        in_channels: int,
        out_channels: int,
        input_size: tuple[int, ...],
        kernel_size: tuple[int, ...],
        stride: tuple[int, ...],
        padding: Any,
        dilation: tuple[int, ...],
        fit: str,
        **_: Any,
    ) -> tuple[int, ...]:
        """Shape of the weight of such a layer."""
        positions = shapes.output_shape(input_size, kernel_size, stride, padding, dilation, fit=fit)
        return (math.prod(positions), out_channels, in_channels, *kernel_size)

    def _geometry(self) -> tuple[Any, ...]:
        return self.stride, self.padding, self.dilation

    def __call__(self, x: Array) -> Array:
        self.output_shape(np.shape(x)[1:])  # there are other sizes with as many positions
        return super().__call__(x)

    def output_shape(self, input_shape: tuple[int, ...]) -> tuple[int, ...]:
        size = self._split(input_shape)[1]
        if tuple(size) != self.input_size:
            raise ValueError(
                f"{self} is for inputs of size {self.input_size}, got {tuple(input_shape)} in {self.layout[1:]}"
            )
        return super().output_shape(input_shape)

    def config(self) -> dict[str, Any]:
        config = {**super().config(), "input_size": self.input_size}
        del config["groups"]
        return config

    def __repr__(self) -> str:
        return super().__repr__().replace(" kernel_size=", f" input_size={self.input_size}, kernel_size=", 1)


class LocallyConnected1d(LocallyConnected):
    """
    Convolution of (N, C, W) signals without parameter sharing; the arguments are those of `LocallyConnected2d`.

    Examples
    --------
    >>> import numpy as np
    >>> from convc import nn
    >>> layer = nn.LocallyConnected1d(2, 4, 10, 3)
    >>> layer(np.ones((1, 2, 10), np.float32)).shape, layer.weight.data.shape
    ((1, 4, 8), (8, 4, 2, 3))
    """

    _ndim = 1
    _operator, _gradient = (
        staticmethod(_core.locally_connected1d),
        staticmethod(_core.locally_connected1d_backward),
    )


class LocallyConnected2d(LocallyConnected):
    """
    Convolution of (N, C, H, W) images whose every output position has `out_channels` filters of its own.

    That is for images which are aligned, such as faces centred in the image, where each place has features that occur
    nowhere else (Taigman et al., "DeepFace", CVPR 2014). It has as many times the parameters of a convolution as there
    are output positions, and is tied to one size of input.

    Parameters
    ----------
    in_channels, out_channels : int
    input_size : int or one int for each axis
        Height and width of the images that the layer is for.
    kernel_size, stride, dilation : int or one int for each axis
    padding : int, one for each axis, ``(before, after)`` for each axis, ``"valid"``, or ``"same"`` for a stride of 1
    bias : bool
        One for each position and output channel.
    padding_mode : {"zeros", "reflect", "replicate", "circular"}
        What is added around the image, see `convc.conv2d`.
    layout : {"NCHW", "NHWC"}
        Of the input and the output; the weight is (positions, out_channels, in_channels, height, width) in both.
    fit : {"floor", "exact"}
        Whether a stride that does not divide the way left is an error.
    activation : {None, "relu"}
        Applied to the output while it is still in the cache.
    dtype : float32 or float64
    rng : numpy.random.Generator or int, optional
        Draws the initial values, uniform within 1 / sqrt(weights in a filter) of zero, as those of `Conv2d` are.

    Attributes
    ----------
    weight : Parameter
    bias : Parameter, (positions, out_channels), or None

    Examples
    --------
    The parameters of a convolution, and without sharing:

    >>> import numpy as np
    >>> from convc import nn
    >>> sum(p.data.size for p in nn.Conv2d(3, 8, 5).parameters())
    608
    >>> layer = nn.LocallyConnected2d(3, 8, 32, 5, rng=0)
    >>> sum(p.data.size for p in layer.parameters())
    476672
    >>> y, backward = layer.forward(np.ones((2, 3, 32, 32), np.float32))
    >>> y.shape, backward(y).shape, layer.bias.grad.shape
    ((2, 8, 28, 28), (2, 3, 32, 32), (784, 8))
    """

    _ndim = 2
    _operator, _gradient = (
        staticmethod(_core.locally_connected2d),
        staticmethod(_core.locally_connected2d_backward),
    )
