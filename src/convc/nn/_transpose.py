"""Transposed convolutions, which make their input larger."""

from __future__ import annotations

from typing import Any

import numpy as np

from convc import _core, shapes
from convc.nn._spatial import Convolution
from convc.nn._weights import Random
from convc.shapes import ReceptiveField


class _ConvTranspose(Convolution):
    out_axis = 1

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: shapes.Axes,
        stride: shapes.Axes = 1,
        padding: shapes.Padding = 0,
        output_padding: shapes.Axes = 0,
        groups: int = 1,
        bias: bool = True,
        dilation: shapes.Axes = 1,
        *,
        layout: str | None = None,
        activation: str | None = None,
        dtype: Any = np.float32,
        rng: Random = None,
    ) -> None:
        sizes = in_channels, out_channels, kernel_size, stride, padding, dilation, groups, bias
        super().__init__(*sizes, layout=layout, activation=activation, dtype=dtype, rng=rng)
        self.output_padding = shapes.axes(output_padding, self._ndim, "output_padding", 0)
        for i, limits in enumerate(zip(self.output_padding, self.stride, self.dilation, strict=True)):
            if limits[0] >= max(limits[1:]):
                raise ValueError(
                    f"output_padding must be smaller than the stride or the dilation, "
                    f"got {limits[0]} in spatial dimension {i}"
                )

    @staticmethod
    def weight_shape(
        in_channels: int, out_channels: int, kernel_size: tuple[int, ...], groups: int, **_: Any
    ) -> tuple[int, ...]:
        """Shape of the weight of such a layer."""
        return (in_channels, out_channels // groups, *kernel_size)

    def _geometry(self) -> tuple[Any, ...]:
        return self.stride, self.padding, self.output_padding, self.groups, self.dilation

    def _modes(self) -> dict[str, Any]:
        return {"layout": self.layout}

    def _spatial_shape(self, input_shape: tuple[int, ...]) -> tuple[int, tuple[int, ...]]:
        channels, size = self._split(input_shape)
        windows = self.kernel_size, self.stride, self.padding, self.output_padding, self.dilation
        return channels, shapes.conv_transpose_output_shape(size, *windows)

    def macs(self, input_shape: tuple[int, ...]) -> int:
        size = self._split(input_shape)[1]
        return shapes.conv_macs(self.in_channels, self.out_channels, self.kernel_size, size, self.groups)

    def unshared_parameters(self, input_shape: tuple[int, ...]) -> int:
        filters = self.out_channels, self.in_channels, self.kernel_size
        weights = shapes.locally_connected_parameters(*filters, self._split(input_shape)[1], self.groups, False)
        output = self._spatial_shape(input_shape)[1]
        return weights + (int(np.prod(output)) * self.out_channels if self.bias is not None else 0)

    def receptive_field(self, field: ReceptiveField | None) -> ReceptiveField | None:
        return field and field.after_transposed(self.kernel_size, self.stride, self.dilation, self.padding)

    def dropped(self, input_shape: tuple[int, ...]) -> tuple[int, ...]:
        return (0,) * self._ndim

    def config(self) -> dict[str, Any]:
        config = super().config()
        del config["padding_mode"], config["fit"]
        return {**config, "output_padding": self.output_padding}


class ConvTranspose1d(_ConvTranspose):
    """
    Transposed convolution of (N, C, W) signals; the arguments are those of `ConvTranspose2d`.

    Examples
    --------
    >>> import numpy as np
    >>> from convc import nn
    >>> nn.ConvTranspose1d(4, 2, 16, stride=8, padding=4)(np.ones((1, 4, 10), np.float32)).shape
    (1, 2, 80)
    """

    _ndim = 1
    _operator = staticmethod(_core.conv_transpose1d)
    _gradient = staticmethod(_core.conv_transpose1d_backward)


class ConvTranspose2d(_ConvTranspose):
    """
    Transposed convolution of (N, C, H, W) images, see `convc.conv_transpose2d`.

    Parameters
    ----------
    in_channels, out_channels : int
    kernel_size, stride, dilation : int or one int for each axis
    padding : int, one for each axis, ``(before, after)`` for each axis, or ``"valid"``
        What is cut off the border of the output.
    output_padding : int or one int for each axis
        What the output is larger at its end; less than the stride or the dilation.
    groups : int
        Must divide both numbers of channels.
    bias : bool
    layout : {"NCHW", "NHWC"}
        Of the input and the output; the weight is (in_channels, out_channels / groups, height, width) in both.
    activation : {None, "relu"}
        Applied to the output while it is still in the cache.
    dtype : float32 or float64
    rng : numpy.random.Generator or int, optional
        Draws the initial values, uniform within 1 / sqrt(out_channels / groups * kernel) of zero, as PyTorch's are.

    Attributes
    ----------
    weight : Parameter
    bias : Parameter or None

    Examples
    --------
    >>> import numpy as np
    >>> from convc import nn
    >>> nn.ConvTranspose2d(8, 4, 4, stride=2, padding=1)(np.ones((1, 8, 7, 7), np.float32)).shape
    (1, 4, 14, 14)
    """

    _ndim = 2
    _operator = staticmethod(_core.conv_transpose2d)
    _gradient = staticmethod(_core.conv_transpose2d_backward)


class ConvTranspose3d(_ConvTranspose):
    """
    Transposed convolution of (N, C, D, H, W) volumes; the arguments are those of `ConvTranspose2d`.

    Examples
    --------
    >>> import numpy as np
    >>> from convc import nn
    >>> nn.ConvTranspose3d(4, 2, 2, stride=2)(np.ones((1, 4, 3, 4, 5), np.float32)).shape
    (1, 2, 6, 8, 10)
    """

    _ndim = 3
    _operator = staticmethod(_core.conv_transpose3d)
    _gradient = staticmethod(_core.conv_transpose3d_backward)
