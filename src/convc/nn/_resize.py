"""Layers that change the size of images without learning anything."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from convc import _core, shapes
from convc.nn._module import Array, Backward, Module
from convc.nn._weights import choice, number
from convc.shapes import ReceptiveField

_MODES = ("nearest", "nearest-exact", "linear", "bilinear", "trilinear")
_LAYOUTS = (None, "NCW", "NWC", "NCHW", "NHWC", "NCDHW", "NDHWC")


class Upsample(Module):
    """
    Images made larger or smaller; see `convc.interpolate`.

    Parameters
    ----------
    size : int or tuple of ints, optional
        The spatial size of the output. Either this or `scale_factor` is given.
    scale_factor : float or tuple of floats, optional
    mode : {"nearest", "nearest-exact", "linear", "bilinear", "trilinear"}
        "linear" for one spatial axis, "bilinear" for two, "trilinear" for three.
    align_corners : bool, optional
        For linear modes: whether the centres of the corner elements stay in place, rather than their outer edges.
    layout : str, optional
        Channels come first if it is not given.

    Examples
    --------
    >>> import numpy as np
    >>> from convc import nn
    >>> nn.Upsample(scale_factor=2)(np.array([[[[1.0, 2.0]]]]))
    array([[[[1., 1., 2., 2.],
             [1., 1., 2., 2.]]]])
    """

    def __init__(
        self,
        size: shapes.Axes | None = None,
        scale_factor: float | Sequence[float] | None = None,
        mode: str = "nearest",
        align_corners: bool | None = None,
        *,
        layout: str | None = None,
    ) -> None:
        if (size is None) == (scale_factor is None):
            raise ValueError(
                f"size or scale_factor must be given, and not both: got size={size!r} and scale_factor={scale_factor!r}"
            )
        self.size: int | tuple[int, ...] | None = None
        self.scale_factor: float | tuple[float, ...] | None = None
        if isinstance(size, Sequence):
            self.size = shapes.axes(size, len(size), "size")
        elif size is not None:
            self.size = shapes.integer(size, "size", 1)
        if isinstance(scale_factor, Sequence):
            self.scale_factor = tuple(_factor(factor) for factor in scale_factor)
        elif scale_factor is not None:
            self.scale_factor = _factor(scale_factor)
        self.mode = choice(mode, "mode", _MODES)
        self.align_corners = choice(align_corners, "align_corners", (None, False, True))
        if align_corners and self.mode.startswith("nearest"):
            raise ValueError(f"align_corners must be None or False for mode {mode!r}, got {align_corners!r}")
        self.layout = choice(layout, "layout", _LAYOUTS)

    def _options(self) -> tuple[Any, ...]:
        return self.size, self.scale_factor, self.mode, self.align_corners

    def __call__(self, x: Array) -> Array:
        return _core.interpolate(x, *self._options(), layout=self.layout)

    def forward(self, x: Array) -> tuple[Array, Backward]:
        shape = x.shape
        return self(x), lambda grad: _core.interpolate_backward(grad, shape, *self._options(), layout=self.layout)

    def output_shape(self, input_shape: tuple[int, ...]) -> tuple[int, ...]:
        axes = len(input_shape) + 1 if self.layout is None else len(self.layout)
        if len(input_shape) + 1 != axes or not 3 <= axes <= 5:
            raise ValueError(
                f"{self} needs an input of a channel axis and 1 to 3 spatial ones, got {tuple(input_shape)}"
            )
        modes = ("nearest", "nearest-exact", ("linear", "bilinear", "trilinear")[axes - 3])
        if self.mode not in modes:
            raise ValueError(
                f"{self} needs mode {' or '.join(map(repr, modes))} for {axes - 2} spatial axes, "
                f"got {tuple(input_shape)}"
            )
        last = self.layout is not None and self.layout.endswith("C")
        spatial = shapes.resized(input_shape[:-1] if last else input_shape[1:], self.size, self.scale_factor)
        return (*spatial, input_shape[-1]) if last else (input_shape[0], *spatial)

    def receptive_field(self, field: ReceptiveField | None) -> ReceptiveField | None:
        """Known if each element is repeated a whole number of times; None, unknown, where it depends on the input."""
        factors = self.scale_factor if isinstance(self.scale_factor, tuple) else (self.scale_factor,)
        if field is None or not self.mode.startswith("nearest") or not all(f and f % 1 == 0 for f in factors):
            return None
        # It is a transposed convolution whose windows touch.
        repeats = [int(f) for f in factors if f]
        repeats = repeats * len(field.size) if len(repeats) == 1 else repeats
        return field.after_transposed(repeats, repeats)

    def config(self) -> dict[str, Any]:
        return {
            "size": self.size,
            "scale_factor": self.scale_factor,
            "mode": self.mode,
            "align_corners": self.align_corners,
            "layout": self.layout,
        }

    def __repr__(self) -> str:
        name = "size" if self.scale_factor is None else "scale_factor"
        corners = f", align_corners={self.align_corners}" if self.align_corners else ""
        layout = "" if self.layout is None else f", layout={self.layout!r}"
        return f"Upsample({name}={getattr(self, name)!r}, mode={self.mode!r}{corners}{layout})"


def _factor(value: float) -> float:
    factor = number(value, "scale_factor")
    if not 0 < factor < math.inf:
        raise ValueError(f"scale_factor must be positive and finite, got {value!r}")
    return factor
