"""Sizes in Python integers: outputs, parameters, multiply-adds and receptive fields, without touching any data.

The only place in the Python layers where they are computed; the operators compute theirs in C, and the tests hold the
two against each other. `effective_receptive_field` alone runs a network: it measures what the sizes only bound.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from convc._arguments import INT64_MAX, halves, is_sequence, sides, window_axes
from convc._arguments import Axes as Axes
from convc._arguments import Padding as Padding
from convc._arguments import axes as axes
from convc._arguments import channel_counts as channel_counts
from convc._arguments import check_pad_mode as check_pad_mode
from convc._arguments import integer as integer
from convc._arguments import padding_axes as padding_axes
from convc._effective import EffectiveReceptiveField, measure

if TYPE_CHECKING:
    from convc.nn import Module, Sequential

__all__ = [
    "EffectiveReceptiveField",
    "ReceptiveField",
    "conv_macs",
    "conv_parameters",
    "conv_transpose_output_shape",
    "dropped",
    "effective_receptive_field",
    "linear_macs",
    "linear_parameters",
    "locally_connected_parameters",
    "output_shape",
    "receptive_field",
    "resized",
    "same_padding",
]


@dataclass(frozen=True)
class _Sweep:
    """What a window does along one axis."""

    axis: int
    size: int
    kernel: int
    stride: int
    padding: tuple[int, int]
    dilation: int

    @property
    def span(self) -> int:
        return self.dilation * (self.kernel - 1) + 1

    @property
    def padded(self) -> int:
        return self.size + sum(self.padding)

    def length(self, fit: str, pool: bool) -> int:
        """How many positions the window takes."""
        way = self.padded - self.span
        if way < 0 and not (fit == "ceil" and -way < self.stride):  # as PyTorch's pools have it
            raise ValueError(
                f"kernel_size {self.kernel} with dilation {self.dilation} spans {self.span}, but the input of "
                f"{self.size} with padding {self.padding[0]} and {self.padding[1]} has only {self.padded}"
            )
        if pool and max(self.padding) > self.span // 2:
            raise ValueError(
                f"padding must be at most half of the window's {self.span}, "
                f"got {self.padding} in spatial dimension {self.axis}"
            )
        steps, rest = divmod(max(0, way), self.stride)
        if fit == "floor":
            return steps + 1
        if fit == "exact":
            if rest:
                raise ValueError(self._does_not_fit(rest, pool))
            return steps + 1
        if fit == "ceil":
            # The added window must begin before the padding that follows the input.
            return steps + 1 + (rest > 0 and (steps + 1) * self.stride < self.size + self.padding[0])
        raise ValueError(f"fit must be 'floor', 'exact' or 'ceil', got {fit!r}")

    def _does_not_fit(self, rest: int, pool: bool) -> str:
        """Names the sizes and the paddings nearby at which the stride fits, in the words of the operators."""
        padding, limit = sum(self.padding), 2 * (self.span // 2) if pool else INT64_MAX
        paddings = [str(total) for total in (padding - rest, padding - rest + self.stride) if 0 <= total <= limit]
        sizes = " or ".join(str(size) for size in (self.size - rest, self.size - rest + self.stride) if size > 0)
        also = f", or a total padding of {' or '.join(paddings)}," if paddings else ""
        return (
            f"stride {self.stride} does not fit spatial dimension {self.axis}: "
            f"({self.size} + {padding} - {self.span}) / {self.stride} + 1 is not whole; "
            f"an input of {sizes}{also} would fit"
        )


def _sweeps(
    input_shape: Sequence[int], kernel_size: Axes, stride: Axes, padding: Padding, dilation: Axes
) -> list[_Sweep]:
    sizes = sides(input_shape, "input_shape")
    kernel, strides, dilations = window_axes(kernel_size, stride, dilation, len(sizes))
    pads = padding_axes(padding, kernel, strides, dilations)
    return [_Sweep(i, *axis) for i, axis in enumerate(zip(sizes, kernel, strides, pads, dilations, strict=True))]


def output_shape(
    input_shape: Sequence[int],
    kernel_size: Axes,
    stride: Axes = 1,
    padding: Padding = 0,
    dilation: Axes = 1,
    *,
    fit: str = "floor",
    pool: bool = False,
) -> tuple[int, ...]:
    """
    Spatial output size of a convolution or a pool: ``(W - F + 2 P) / S + 1``, the textbook's rule.

    With dilation, F is what the window spans, ``dilation * (kernel - 1) + 1``; 2 P is the padding before and after.

    Parameters
    ----------
    input_shape : sequence of int
        Spatial extents only: ``(height, width)`` for images.
    kernel_size, stride, dilation : int or one int for each axis
    padding : int, one for each axis, ``(before, after)`` for each axis, ``"valid"``, or ``"same"`` for a stride of 1
    fit : {"floor", "exact", "ceil"}
        What happens when the stride does not divide the way left: drop the rest, raise, or add a partial window that
        still begins inside the input or the padding before it, as PyTorch does. It may be the only one, if it sticks
        out by less than a stride.
    pool : bool
        Whether the window is a pool's, which must not have more than half of itself in the padding on either side.

    Returns
    -------
    tuple of int

    Raises
    ------
    ValueError
        If an argument is out of range, the window is larger than the padded input, or ``fit="exact"`` finds a rest;
        that error names the sizes and paddings nearby that fit.

    Examples
    --------
    >>> from convc import shapes
    >>> shapes.output_shape((227, 227), 11, stride=4, fit="exact")
    (55, 55)
    >>> shapes.output_shape((28, 28), 5, padding="same")
    (28, 28)
    >>> shapes.output_shape((10,), 3, stride=2, fit="exact")  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    ...
    ValueError: stride 2 does not fit ...; an input of 9 or 11, or a total padding of 1, would fit
    """
    return tuple(sweep.length(fit, pool) for sweep in _sweeps(input_shape, kernel_size, stride, padding, dilation))


def dropped(
    input_shape: Sequence[int],
    kernel_size: Axes,
    stride: Axes = 1,
    padding: Padding = 0,
    dilation: Axes = 1,
    *,
    fit: str = "floor",
    pool: bool = False,
) -> tuple[int, ...]:
    """
    How many positions at the end of each axis of the padded input no window reaches, for the stride does not fit.

    Where there is padding behind the input, it is the first to be dropped. The arguments are those of `output_shape`.

    Examples
    --------
    A stride of 4 fits AlexNet's 227 x 227 pixels, but not 224 x 224:

    >>> from convc import shapes
    >>> shapes.dropped((227, 227), 11, stride=4), shapes.dropped((224, 224), 11, stride=4)
    ((0, 0), (1, 1))
    """
    return tuple(
        max(0, sweep.padded - sweep.span - (sweep.length(fit, pool) - 1) * sweep.stride)
        for sweep in _sweeps(input_shape, kernel_size, stride, padding, dilation)
    )


def same_padding(
    kernel_size: Axes,
    stride: Axes = 1,
    dilation: Axes = 1,
    input_shape: Sequence[int] | None = None,
    *,
    ndim: int = 2,
) -> tuple[tuple[int, int], ...]:
    """
    Zero padding that makes the output as large as the input, or a stride's fraction of it, rounded up.

    With F for what the window spans, ``dilation * (kernel - 1) + 1``, the padding is F - 1 in total: an odd F and a
    stride of 1 give the textbook's P = (F - 1) / 2 on either side. An odd total has its larger half behind the input.
    The output is then ceil(W / S) for any input W and stride S, where ``fit="floor"`` may drop a rest. If
    `input_shape` is given, the padding is the least that does it, max(0, (ceil(W / S) - 1) S + F - W), so that the
    stride fits exactly unless it steps over whole windows; that is TensorFlow's ``"SAME"``.

    Parameters
    ----------
    kernel_size, stride, dilation : int or one int for each axis
    input_shape : sequence of int, optional
        Spatial extents only.
    ndim : int
        Number of spatial axes, where nothing else says it.

    Returns
    -------
    tuple of (before, after)
        One pair for each axis, as `padding` of a convolution takes them.

    Examples
    --------
    >>> from convc import shapes
    >>> shapes.same_padding(5)
    ((2, 2), (2, 2))
    >>> shapes.same_padding(3, stride=2, input_shape=(224,))
    ((0, 1),)
    >>> shapes.output_shape((224,), 3, stride=2, padding=((0, 1),), fit="exact")
    (112,)
    """
    if input_shape is not None:
        sweeps = _sweeps(input_shape, kernel_size, stride, 0, dilation)
        return tuple(halves(max(0, (-(-s.size // s.stride) - 1) * s.stride + s.span - s.size)) for s in sweeps)
    ndim = next((len(value) for value in (kernel_size, stride, dilation) if is_sequence(value)), ndim)  # type: ignore[arg-type]
    kernel, _, dilations = window_axes(kernel_size, stride, dilation, integer(ndim, "ndim", 1))
    return tuple(halves(d * (k - 1)) for k, d in zip(kernel, dilations, strict=True))


def conv_transpose_output_shape(
    input_shape: Sequence[int],
    kernel_size: Axes,
    stride: Axes = 1,
    padding: Padding = 0,
    output_padding: Axes = 0,
    dilation: Axes = 1,
) -> tuple[int, ...]:
    """
    Spatial output size of a transposed convolution: ``(W - 1) S + F - 2 P + output_padding``.

    Parameters
    ----------
    input_shape : sequence of int
        Spatial extents only: ``(height, width)`` for images.
    kernel_size, stride, dilation : int or one int for each axis
    padding : int, one for each axis, ``(before, after)`` for each axis, ``"valid"`` or ``"same"``
    output_padding : int or one int for each axis

    Returns
    -------
    tuple of int

    Raises
    ------
    ValueError
        If an argument is out of range, or the padding leaves nothing.

    Examples
    --------
    >>> from convc import shapes
    >>> shapes.conv_transpose_output_shape((7, 7), 4, stride=2, padding=1)
    (14, 14)
    """
    sweeps = _sweeps(input_shape, kernel_size, stride, padding, dilation)
    extras = axes(output_padding, len(sweeps), "output_padding", 0)
    lengths = []
    for sweep, extra in zip(sweeps, extras, strict=True):
        most = max(sweep.stride, sweep.dilation) - 1
        if extra > most:
            raise ValueError(
                f"output_padding must be from 0 to {most}, smaller than the stride or the dilation, "
                f"got {extra} in spatial dimension {sweep.axis}"
            )
        reach = (sweep.size - 1) * sweep.stride + sweep.span + extra
        if sum(sweep.padding) >= reach:
            raise ValueError(
                f"padding {sweep.padding} leaves nothing of the output's {reach} in spatial dimension {sweep.axis}"
            )
        lengths.append(reach - sum(sweep.padding))
    return tuple(lengths)


def resized(
    input_size: Sequence[int], size: Axes | None = None, scale_factor: float | Sequence[float] | None = None
) -> tuple[int, ...]:
    """
    Spatial output size of `convc.interpolate`.

    >>> from convc import shapes
    >>> shapes.resized((10, 15), scale_factor=1.5)
    (15, 22)
    """
    if scale_factor is None:
        if size is None:
            raise ValueError("size or scale_factor must be given")
        return axes(size, len(input_size), "size")
    factors = tuple(scale_factor) if isinstance(scale_factor, Sequence) else (scale_factor,) * len(input_size)
    if len(factors) != len(input_size):
        raise ValueError(f"scale_factor must be a number or a tuple of {len(input_size)}, got {scale_factor!r}")
    if not all(1 <= factor * n <= INT64_MAX for factor, n in zip(factors, input_size, strict=True)):
        raise ValueError(f"scale_factor must leave at least 1 element of {tuple(input_size)}, got {scale_factor!r}")
    return tuple(int(factor * n) for factor, n in zip(factors, input_size, strict=True))


def conv_parameters(
    in_channels: int, out_channels: int, kernel_size: Sequence[int], groups: int = 1, bias: bool = True
) -> int:
    """
    Number of weights and biases of a convolution: ``F * F * D1 * K + K`` for K filters over D1 channels.

    >>> from convc import shapes
    >>> shapes.conv_parameters(3, 96, (11, 11))
    34944
    """
    inputs, filters, groups = channel_counts(in_channels, out_channels, groups)
    return math.prod(sides(kernel_size, "kernel_size")) * (inputs // groups) * filters + (filters if bias else 0)


def conv_macs(
    in_channels: int, out_channels: int, kernel_size: Sequence[int], output_size: Sequence[int], groups: int = 1
) -> int:
    """
    Multiply-adds of a convolution for one image: every weight once for each output position.

    >>> from convc import shapes
    >>> shapes.conv_macs(3, 96, (11, 11), (55, 55))
    105415200
    """
    weights = conv_parameters(in_channels, out_channels, kernel_size, groups, bias=False)
    return weights * math.prod(sides(output_size, "output_size"))


def locally_connected_parameters(
    in_channels: int,
    out_channels: int,
    kernel_size: Sequence[int],
    output_size: Sequence[int],
    groups: int = 1,
    bias: bool = True,
) -> int:
    """
    Number of weights and biases of a convolution that does not share them: its own filters at each output position.

    A convolution bets that a feature worth computing at one place is worth computing at all others, and saves the
    product of `output_size`. AlexNet's first layer, with sharing and without:

    >>> from convc import shapes
    >>> shapes.conv_parameters(3, 96, (11, 11)), shapes.locally_connected_parameters(3, 96, (11, 11), (55, 55))
    (34944, 105705600)
    """
    parameters = conv_parameters(in_channels, out_channels, kernel_size, groups, bias)
    return parameters * math.prod(sides(output_size, "output_size"))


def linear_parameters(in_features: int, out_features: int, bias: bool = True) -> int:
    """
    Number of weights and biases of a fully connected layer.

    >>> from convc import shapes
    >>> shapes.linear_parameters(120, 84)
    10164
    """
    outputs = integer(out_features, "out_features", 1)
    return integer(in_features, "in_features", 1) * outputs + (outputs if bias else 0)


def linear_macs(in_features: int, out_features: int, rows: int = 1) -> int:
    """
    Multiply-adds of a fully connected layer applied to `rows` vectors.

    >>> from convc import shapes
    >>> shapes.linear_macs(120, 84)
    10080
    """
    return linear_parameters(in_features, out_features, bias=False) * integer(rows, "rows", 0)


@dataclass(frozen=True)
class ReceptiveField:
    """
    What the output positions of a layer see of the network's input.

    Attributes
    ----------
    size : tuple of int
        How many input positions along each axis one output position sees. The part of them that padding puts outside
        the input counts.
    jump : tuple of int
        How much further on in the input its neighbour looks; a fraction behind some transposed convolutions.
    start : tuple of float
        The input position at the middle of what the first output sees; the first input position is 0, and with an
        even size the middle lies between two. Padding moves it towards the border, and may move it beyond.

    Examples
    --------
    >>> from convc.shapes import ReceptiveField
    >>> field = ReceptiveField((1, 1), (1, 1)).after(3, padding=1).after(2, stride=2).after(3)
    >>> field
    ReceptiveField(size=(8, 8), jump=(2, 2), start=(2.5, 2.5))
    >>> field.window((10, 0))
    ((19, 27), (-1, 7))
    """

    size: tuple[int, ...]
    jump: tuple[float, ...]
    start: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        if not self.start:
            object.__setattr__(self, "start", (0.0,) * len(self.size))

    def after(self, kernel_size: Axes, stride: Axes = 1, dilation: Axes = 1, padding: Padding = 0) -> ReceptiveField:
        """
        The receptive field one convolution or pool further on.

        A window of span F, padded by P in front, makes the size grow by (F - 1) jumps and moves the first centre by
        (F - 1) / 2 - P of them; the jump is multiplied by the stride.
        """
        kernel, strides, dilations = window_axes(kernel_size, stride, dilation, len(self.size))
        grown = [d * (k - 1) for k, d in zip(kernel, dilations, strict=True)]
        pads = padding_axes(padding, kernel, strides, dilations)
        return ReceptiveField(
            tuple(math.ceil(s + g * j) for s, g, j in zip(self.size, grown, self.jump, strict=True)),
            tuple(map(operator.mul, self.jump, strides)),
            tuple(
                c + (g / 2 - before) * j
                for c, g, (before, _), j in zip(self.start, grown, pads, self.jump, strict=True)
            ),
        )

    def after_transposed(
        self, kernel_size: Axes, stride: Axes = 1, dilation: Axes = 1, padding: Padding = 0
    ) -> ReceptiveField:
        """
        The receptive field one transposed convolution further on.

        Of the inputs, which lie `stride` outputs apart, at most F / S reach an output from within a span of F. The jump
        is divided by the stride, and may become a fraction. What lies behind is exact on the average of neighbours,
        which look at the same inputs and then all at once one further.
        """
        kernel, strides, dilations = window_axes(kernel_size, stride, dilation, len(self.size))
        grown = [d * (k - 1) for k, d in zip(kernel, dilations, strict=True)]
        pads = padding_axes(padding, kernel, strides, dilations)
        return ReceptiveField(
            tuple(
                math.ceil(size + g // s * j) for size, g, s, j in zip(self.size, grown, strides, self.jump, strict=True)
            ),
            tuple(j / s if j % s else j // s for j, s in zip(self.jump, strides, strict=True)),
            tuple(
                c + (before - g / 2) / s * j
                for c, g, (before, _), s, j in zip(self.start, grown, pads, strides, self.jump, strict=True)
            ),
        )

    def union(self, other: ReceptiveField) -> ReceptiveField:
        """What an output position sees that joins those of two paths: all from the first to the last of either."""
        ends = [(min(a, c), max(b, d)) for (a, b), (c, d) in zip(self._ends(), other._ends(), strict=True)]
        return ReceptiveField(
            tuple(round(last - first) + 1 for first, last in ends),
            tuple(map(max, self.jump, other.jump)),
            tuple((first + last) / 2 for first, last in ends),
        )

    def window(self, position: Sequence[int]) -> tuple[tuple[int, int], ...]:
        """
        First input position that this output position sees, and the one past the last, along each axis.

        Both may lie outside the input, where the layers before see their padding.
        """
        at = axes(position, len(self.size), "position", -INT64_MAX)
        firsts = (round(first + p * j) for (first, _), p, j in zip(self._ends(), at, self.jump, strict=True))
        return tuple((first, first + size) for first, size in zip(firsts, self.size, strict=True))

    def _ends(self) -> list[tuple[float, float]]:
        """The first and the last input position that the first output sees."""
        return [(c - (s - 1) / 2, c + (s - 1) / 2) for c, s in zip(self.start, self.size, strict=True)]


def receptive_field(windows: Iterable[Sequence[Any]], ndim: int = 2) -> ReceptiveField:
    """
    Receptive field at the end of a chain of convolutions and pools.

    Parameters
    ----------
    windows : iterable of (kernel_size, stride, dilation, padding), of which all but the first may be left out
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
    ReceptiveField(size=(7, 7), jump=(1, 1), start=(3.0, 3.0))
    """
    field = ReceptiveField(*[(1,) * integer(ndim, "ndim", 1)] * 2)
    if not isinstance(windows, Iterable):
        raise TypeError(f"windows must be a sequence of (kernel_size, stride, dilation, padding), got {windows!r}")
    for i, window in enumerate(windows):
        if isinstance(window, str) or not is_sequence(window) or not 1 <= len(window) <= 4:
            raise TypeError(f"windows[{i}] must be (kernel_size, stride, dilation, padding) or less, got {window!r}")
        field = field.after(*window)
    return field


def effective_receptive_field(
    net: Module,
    input_shape: Sequence[int],
    layer: int | None = None,
    *,
    samples: int = 32,
    rng: np.random.Generator | int | None = None,
) -> EffectiveReceptiveField:
    """
    How much each input position moves the centre of the output: measured, where `receptive_field` only bounds it.

    A unit gradient at the output's central position, of random sign in each channel, is sent back through the network
    for random inputs from the normal distribution; the root mean square of what arrives is the result. Many more paths
    lead from the output to the middle of the field than to its border, so that the result looks like a Gaussian,
    whose width grows like the square root of the depth while the theoretical size grows with the depth itself: an
    output position takes notice of a small part of what it sees.

    Parameters
    ----------
    net : Module
        Its parameters and their gradients stay as they are.
    input_shape : sequence of int
        Shape of one input, without the batch axis.
    layer : int, optional
        The layer of a `Sequential` whose output is looked at; the last if not given.
    samples : int
        Number of random inputs.
    rng : numpy.random.Generator or int, optional
        Draws the inputs and the signs.

    Returns
    -------
    EffectiveReceptiveField
        `weights` over the input plane, the largest being 1; `theoretical` and `window`, what the sizes say; `size`, to
        be compared with the theoretical one.

    Raises
    ------
    ValueError, TypeError
        If an argument is out of range or of a wrong type, or the network does not fit the input.

    References
    ----------
    W. Luo, Y. Li, R. Urtasun and R. Zemel, "Understanding the Effective Receptive Field in Deep Convolutional Neural
    Networks", NIPS 2016.

    Examples
    --------
    >>> from convc import nn, shapes
    >>> net = nn.Sequential(*[nn.Conv2d(1, 1, 3, padding=1, rng=i) for i in range(8)])
    >>> field = shapes.effective_receptive_field(net, (1, 31, 31), samples=1, rng=0)
    >>> field.weights.shape, field.theoretical.size, field.window
    ((31, 31), (17, 17), ((7, 24), (7, 24)))
    >>> field.size < 17
    True
    """
    if not is_sequence(input_shape) or len(input_shape) < 2:
        raise TypeError(f"input_shape must have a channel axis and spatial axes, got {input_shape!r}")
    shape = axes(input_shape, len(input_shape), "input_shape")
    if layer is not None:
        net = _until(net, layer)
    ones = (1,) * (len(shape) - 1)
    rng = np.random.default_rng(rng)
    return measure(net, ReceptiveField(ones, ones), shape, integer(samples, "samples", 1), rng)


def _until(net: Any, layer: int) -> Sequential:
    try:
        last = range(len(net))[operator.index(layer)]
    except TypeError:
        raise TypeError(f"layer must be the number of a layer of a Sequential, got {layer!r}") from None
    except IndexError:
        raise ValueError(f"layer must be from 0 to {len(net) - 1}, got {layer}") from None
    until: Sequential = net[: last + 1]
    return until
