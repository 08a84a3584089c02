"""Sizes in Python integers: outputs, parameters, multiply-adds and receptive fields, without touching any data.

The only place in the Python layers where they are computed; the operators compute theirs in C, and the tests hold the
two against each other.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, SupportsIndex

__all__ = [
    "ReceptiveField",
    "conv_macs",
    "conv_parameters",
    "linear_macs",
    "linear_parameters",
    "output_shape",
    "receptive_field",
]

Axes = SupportsIndex | Sequence[SupportsIndex]
Padding = SupportsIndex | str | Sequence[SupportsIndex | Sequence[SupportsIndex]]

_INT64_MAX = 2**63 - 1


def integer(value: Any, name: str, minimum: int) -> int:
    """`value` as an int of at least `minimum` that the core can hold; errors name the argument."""
    try:
        number = operator.index(value)
    except TypeError:
        raise TypeError(f"{name} must be an integer, got {value!r}") from None
    if not minimum <= number <= _INT64_MAX:
        raise ValueError(f"{name} must be at least {minimum} and fit 64 bits, got {number}")
    return number


def axes(value: Axes, ndim: int, name: str, minimum: int = 1) -> tuple[int, ...]:
    """One integer an axis, from one for all of them or a sequence of `ndim`."""
    if isinstance(value, (str, bytes)) or not _is_sequence(value):
        return (integer(value, name, minimum),) * ndim
    numbers = tuple(integer(item, name, minimum) for item in value)  # type: ignore[union-attr]
    if len(numbers) != ndim:
        raise ValueError(f"{name} must be an integer or {ndim} of them, got {value!r}")
    return numbers


def padding_axes(padding: Padding, kernel: Sequence[int], dilation: Sequence[int]) -> tuple[tuple[int, int], ...]:
    """(before, after) for each axis, from any of the forms that the operators accept."""
    if isinstance(padding, str):
        if padding == "valid":
            return ((0, 0),) * len(kernel)
        if padding == "same":
            totals = [d * (k - 1) for k, d in zip(kernel, dilation, strict=True)]
            return tuple((total // 2, total - total // 2) for total in totals)
        raise ValueError(f"padding must be integers, 'valid' or 'same', got {padding!r}")
    if not _is_sequence(padding):
        return ((integer(padding, "padding", 0),) * 2,) * len(kernel)
    if len(padding) != len(kernel):  # type: ignore[arg-type]
        raise ValueError(f"padding must be an integer or one entry for each of {len(kernel)} axes, got {padding!r}")
    return tuple(axes(item, 2, "padding", 0) for item in padding)  # type: ignore[union-attr, misc]


def output_shape(
    input_shape: Sequence[int],
    kernel_size: Axes,
    stride: Axes = 1,
    padding: Padding = 0,
    dilation: Axes = 1,
    *,
    fit: str = "floor",
) -> tuple[int, ...]:
    """
    Spatial output size of a convolution or a pool: ``(size + padding - dilation * (kernel - 1) - 1) / stride + 1``.

    Parameters
    ----------
    input_shape : sequence of int
        Spatial extents only: ``(height, width)`` for images.
    kernel_size, stride, dilation : int or one int for each axis
    padding : int, one for each axis, ``(before, after)`` for each axis, ``"valid"`` or ``"same"``
    fit : {"floor", "exact", "ceil"}
        What happens when the stride does not divide the way left: drop the rest, raise, or add a partial window that
        still begins inside the input or the padding before it, as PyTorch does.

    Returns
    -------
    tuple of int

    Raises
    ------
    ValueError
        If an argument is out of range, the window is larger than the padded input, or ``fit="exact"`` finds a rest.

    Examples
    --------
    >>> from convc import shapes
    >>> shapes.output_shape((227, 227), 11, stride=4)
    (55, 55)
    >>> shapes.output_shape((28, 28), 5, padding="same")
    (28, 28)
    """
    if not _is_sequence(input_shape):
        raise TypeError(f"input_shape must be a sequence of integers, got {input_shape!r}")
    sizes = axes(input_shape, len(input_shape), "input_shape")
    kernel, strides, dilations = (
        axes(value, len(sizes), name)
        for value, name in ((kernel_size, "kernel_size"), (stride, "stride"), (dilation, "dilation"))
    )
    pads = padding_axes(padding, kernel, dilations)
    return tuple(_output_size(*axis, fit) for axis in zip(sizes, kernel, strides, pads, dilations, strict=True))


def _output_size(size: int, kernel: int, stride: int, padding: tuple[int, int], dilation: int, fit: str) -> int:
    span = dilation * (kernel - 1) + 1
    way = size + sum(padding) - span
    if way < 0:
        raise ValueError(
            f"kernel_size {kernel} with dilation {dilation} spans {span}, but the input of {size} "
            f"with padding {padding[0]} and {padding[1]} has only {size + sum(padding)}"
        )
    steps, rest = divmod(way, stride)
    if fit == "floor":
        return steps + 1
    if fit == "exact":
        if rest:
            raise ValueError(
                f"fit='exact': stride {stride} leaves {rest} of the padded input of {size + sum(padding)} over; "
                f"padding that is {rest} smaller or {stride - rest} larger in total would fit"
            )
        return steps + 1
    if fit == "ceil":
        # The added window must begin before the padding that follows the input.
        return steps + 1 + (rest > 0 and (steps + 1) * stride < size + padding[0])
    raise ValueError(f"fit must be 'floor', 'exact' or 'ceil', got {fit!r}")


def conv_parameters(
    in_channels: int, out_channels: int, kernel_size: Sequence[int], groups: int = 1, bias: bool = True
) -> int:
    """
    Number of weights and biases of a convolution: ``F * F * D1 * K + K`` for K filters over D1 channels.

    >>> from convc import shapes
    >>> shapes.conv_parameters(3, 96, (11, 11))
    34944
    """
    return math.prod(kernel_size) * (in_channels // groups) * out_channels + (out_channels if bias else 0)


def conv_macs(
    in_channels: int, out_channels: int, kernel_size: Sequence[int], output_size: Sequence[int], groups: int = 1
) -> int:
    """
    Multiply-adds of a convolution for one image: every weight once for each output position.

    >>> from convc import shapes
    >>> shapes.conv_macs(3, 96, (11, 11), (55, 55))
    105415200
    """
    return conv_parameters(in_channels, out_channels, kernel_size, groups, bias=False) * math.prod(output_size)


def linear_parameters(in_features: int, out_features: int, bias: bool = True) -> int:
    """
    Number of weights and biases of a fully connected layer.

    >>> from convc import shapes
    >>> shapes.linear_parameters(120, 84)
    10164
    """
    return conv_parameters(in_features, out_features, (), bias=bias)


def linear_macs(in_features: int, out_features: int, rows: int = 1) -> int:
    """
    Multiply-adds of a fully connected layer applied to `rows` vectors.

    >>> from convc import shapes
    >>> shapes.linear_macs(120, 84)
    10080
    """
    return in_features * out_features * rows


@dataclass(frozen=True)
class ReceptiveField:
    """
    What one output position sees: `size` input positions along each axis; its neighbour sees the same, `jump` further.

    Padding does not count: at the border a part of the field lies outside the input.

    Examples
    --------
    >>> from convc.shapes import ReceptiveField
    >>> ReceptiveField((1, 1), (1, 1)).after(3).after(2, stride=2).after(3)
    ReceptiveField(size=(8, 8), jump=(2, 2))
    """

    size: tuple[int, ...]
    jump: tuple[int, ...]

    def after(self, kernel_size: Axes, stride: Axes = 1, dilation: Axes = 1) -> ReceptiveField:
        """The receptive field one convolution or pool further on."""
        ndim = len(self.size)
        kernel, strides, dilations = (
            axes(value, ndim, name)
            for value, name in ((kernel_size, "kernel_size"), (stride, "stride"), (dilation, "dilation"))
        )
        size = (s + d * (k - 1) * j for s, k, d, j in zip(self.size, kernel, dilations, self.jump, strict=True))
        return ReceptiveField(tuple(size), tuple(map(operator.mul, self.jump, strides)))


def receptive_field(windows: Iterable[Sequence[Any]], ndim: int = 2) -> ReceptiveField:
    """
    Receptive field at the end of a chain of convolutions and pools.

    Parameters
    ----------
    windows : iterable of (kernel_size,), (kernel_size, stride) or (kernel_size, stride, dilation)
        In the order in which the input passes them; each entry an int or one for each axis.
    ndim : int
        Number of spatial axes.

    Returns
    -------
    ReceptiveField

    Examples
    --------
    Three 3x3 convolutions see as far as one 7x7:

    >>> from convc import shapes
    >>> shapes.receptive_field([(3,), (3,), (3,)])
    ReceptiveField(size=(7, 7), jump=(1, 1))
    """
    ones = (1,) * integer(ndim, "ndim", 1)
    field = ReceptiveField(ones, ones)
    for window in windows:
        field = field.after(*window)
    return field


def _is_sequence(value: Any) -> bool:
    return isinstance(value, Sequence) or getattr(value, "ndim", 0) > 0
