"""How far an output sees: the squares that the sizes of the windows allow, and what of them it really uses."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from convc import shapes
from convc.nn import Module
from convc.plot._base import GRID, INK, SOFT, bare, draw_image, heading, new_figure, panel, text_width, times
from convc.plot._filters import draw_maps
from convc.plot._stages import channels_last, stages

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.patches import Rectangle

_SIDE, _LINE, _MOST = 4.8, 0.34, 12  # inches: the input's longer side, a line of the table; squares at most
_BOUND = "#d55e00"
Window = Sequence[tuple[int, int]]  # the first position and the one past the last, along each axis


def receptive_field(
    net: Module, input_shape: Sequence[int], position: Sequence[int] | None = None, image: np.ndarray | None = None
) -> Figure:
    """
    What one output sees of the input: a square for each layer on the way to it, the deeper the larger.

    The output is one of the last layer whose outputs do not see everything, and of which it is known what they see; the
    title says so where that is not known of the layers behind it. Of the layers before it, the one in the
    middle of what it sees. Where a layer sees padding, the square goes beyond the input. Layers that see no further
    than the one before have no square of their own, and if more than twelve remain, twelve of them are drawn.

    Parameters
    ----------
    net : Module
    input_shape : sequence of int
        Shape of one input with two spatial axes, without the batch axis.
    position : (int, int), optional
        Row and column of the output; the one in the middle if not given.
    image : ndarray, (height, width), or with channels as the network has them, optional
        What the squares are drawn on; an empty grid if not given.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    ValueError, TypeError
        If the network does not take images of that shape, the output has no such position, or the image does not fit.

    Examples
    --------
    >>> from convc import nn, plot
    >>> net = nn.Sequential(nn.Conv2d(1, 6, 5), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(6, 16, 5), nn.MaxPool2d(2))
    >>> figure = plot.receptive_field(net, (1, 28, 28))
    """
    summary, chain = stages(net, input_shape)
    size = chain[0].size
    if len(size) != 2:
        raise ValueError(f"input_shape must have channels, height and width, got {tuple(input_shape)}")
    fields = {row.name: row.receptive_field for row in summary.rows}
    unknowns = {row.name: "receptive field" in row.unknown for row in summary.rows}
    reached = [(stage, fields[stage.layers[-1][0]]) for stage in chain[1:] if len(stage.size) == 2]
    bounded = [(stage, field) for stage, field in reached if field is not None]
    if not bounded:
        raise ValueError("net has no layer whose outputs have two spatial axes and see a known part of the input")
    output, last = bounded[-1]
    at = _position(position, output.size)
    middle = [start + place * jump for start, place, jump in zip(last.start, at, last.jump, strict=True)]
    grown = [(s, f) for i, (s, f) in enumerate(bounded) if i == 0 or f.size != bounded[i - 1][1].size]
    grown = [grown[i] for i in np.unique(np.linspace(0, len(grown) - 1, _MOST).round().astype(int))]
    windows = [field.window(_nearest(middle, field, stage.size)) for stage, field in grown]

    table = [("after", "sees", "its neighbour")]
    table += [(stage.titles[0], times(field.size), f"{times(field.jump)} further") for stage, field in grown]
    figure, axes = _input_figure(size, windows, table, colours := _colours(len(windows)))
    if image is None:
        _draw_grid(axes, size)
    else:
        draw_image(axes, _checked_plane(image, size, channels_last(net)), channels_last(net))
    for window, colour in reversed(list(zip(windows, colours, strict=True))):
        _draw_window(axes, window, colour)
    _frame(axes, size, windows)
    axes.plot(middle[1], middle[0], "+", color=_BOUND, markersize=7, markeredgewidth=1.6)
    where = f"row {at[0]}, column {at[1]} of {times(output.size)}, after {output.titles[-1]}"
    lost = next((name for name, unknown in unknowns.items() if unknown), None)
    end = "" if lost is None else f"; unknown from layer {lost} on"
    heading(axes, f"What one output sees of {times(size)} pixels{end}", f"the output in {where}")
    return figure


def effective_receptive_field(
    fields: shapes.EffectiveReceptiveField | Mapping[str, shapes.EffectiveReceptiveField],
) -> Figure:
    """
    How much each input position moves an output, dark for much, and dashed around it all that the output can see.

    Parameters
    ----------
    fields : EffectiveReceptiveField, or mapping of str to them
        What `shapes.effective_receptive_field` returns for inputs with two spatial axes; several of them, side by side
        under their names.

    Returns
    -------
    matplotlib.figure.Figure

    References
    ----------
    W. Luo, Y. Li, R. Urtasun and R. Zemel, "Understanding the Effective Receptive Field in Deep Convolutional Neural
    Networks", NIPS 2016, https://arxiv.org/abs/1701.04128.

    Examples
    --------
    >>> from convc import nn, plot, shapes
    >>> net = nn.Sequential(*[nn.Conv2d(1, 1, 3, padding=1, rng=i) for i in range(8)])
    >>> figure = plot.effective_receptive_field(shapes.effective_receptive_field(net, (1, 31, 31), samples=1, rng=0))
    """
    named = dict(fields) if isinstance(fields, Mapping) else {"Effective receptive field": fields}
    if not named:
        raise ValueError("fields must hold at least one EffectiveReceptiveField")
    for field in named.values():
        if not isinstance(field, shapes.EffectiveReceptiveField):
            raise TypeError(f"fields must be an EffectiveReceptiveField or a mapping to them, got {field!r}")
        if field.weights.ndim != 2:
            raise ValueError(f"fields must have weights over height and width, got shape {field.weights.shape}")
    columns = min(len(named), 3)
    rows = -(-len(named) // columns)
    figure = new_figure(columns * 3.9 + 0.3, rows * 4.5 + 0.1)
    for i, (name, field) in enumerate(named.items()):
        axes = panel(figure, 0.3 + i % columns * 3.9, 0.7 + i // columns * 4.5, 3.6, 3.6)
        draw_maps(axes, field.weights, linear=True)
        _draw_window(axes, field.window, _BOUND, dashed=True)
        _frame(axes, field.weights.shape, [field.window])
        sides = times([last - first for first, last in field.window])
        heading(axes, name, f"{sides} in theory (dashed), {times([round(field.size, 1)] * 2)} in effect")
    return figure


def _position(position: Sequence[int] | None, size: Sequence[int]) -> tuple[int, ...]:
    if position is None:
        return tuple(extent // 2 for extent in size)
    at = shapes.axes(position, 2, "position", minimum=0)
    if not all(place < extent for place, extent in zip(at, size, strict=True)):
        raise ValueError(f"position must be a row and a column of an output of {times(size)}, got {position}")
    return at


def _nearest(middle: Sequence[float], field: shapes.ReceptiveField, size: Sequence[int]) -> list[int]:
    """The output that sees around the point `middle` of the input."""
    places = zip(middle, field.start, field.jump, size, strict=True)
    # Of two that are equally near the first, so that the squares of all layers lean the same way.
    return [min(max(math.ceil((point - start) / jump - 0.5), 0), extent - 1) for point, start, jump, extent in places]


def _checked_plane(image: np.ndarray, size: tuple[int, ...], is_last: bool) -> np.ndarray:
    image = np.asarray(image)
    if image.ndim not in (2, 3) or (image.shape[:2] if image.ndim == 2 or is_last else image.shape[1:]) != size:
        raise ValueError(f"image must be of {times(size)} pixels, got shape {image.shape}")
    return image


def _extents(size: Sequence[int], windows: Sequence[Window]) -> list[tuple[float, float]]:
    """What must be visible along each axis: the input, and all windows."""
    ends = [
        (min(0, *(w[axis][0] for w in windows)), max(extent, *(w[axis][1] for w in windows)))
        for axis, extent in enumerate(size)
    ]
    # A line on the edge has half its width outside, which many small pixels must make room for.
    margin = max(0.2, 0.01 * max(last - first for first, last in ends))
    return [(first - 0.5 - margin, last - 0.5 + margin) for first, last in ends]


def _input_figure(
    size: Sequence[int], windows: Sequence[Window], table: Sequence[Sequence[str]], colours: Sequence[str]
) -> tuple[Figure, Axes]:
    """Axes for the input, of its shape; beside them the table, which says what each square is."""
    (top, bottom), (left, right) = _extents(size, windows)
    scale = _SIDE / max(bottom - top, right - left)
    across, down = scale * (right - left), scale * (bottom - top)
    columns = [0.3 + max(text_width(cell, 9) for cell in column) for column in zip(*table, strict=True)]
    lines = len(table) * _LINE
    figure = new_figure(max(across + sum(columns) + 1.2, 7.0), max(down, lines) + 1.0)
    axes = panel(figure, across + 0.7, 0.7, sum(columns) + 0.3, lines)
    axes.set(xlim=(0, sum(columns) + 0.3), ylim=(lines, 0))
    bare(axes)
    for i, cells in enumerate(table):
        middle = (i + 0.5) * _LINE
        if i > 0:
            axes.add_patch(_square([(middle - 0.08, middle + 0.08), (0.01, 0.17)], colours[i - 1]))
        for j, cell in enumerate(cells):
            axes.text(0.3 + sum(columns[:j]), middle, cell, va="center", fontsize=9, color=INK if i else SOFT)
    return figure, panel(figure, 0.3, 0.7, across, down)


def _frame(axes: Axes, size: Sequence[int], windows: Sequence[Window]) -> None:
    """The border of the input, and room for what lies beyond it."""
    (top, bottom), (left, right) = _extents(size, windows)
    axes.add_patch(_square([(-0.5, extent - 0.5) for extent in size], INK, linewidth=0.9))
    axes.set(xlim=(left, right), ylim=(bottom, top), aspect="equal")
    bare(axes)


def _draw_grid(axes: Axes, size: Sequence[int]) -> None:
    """The pixels of an input without values; one by one where they are large enough."""
    from matplotlib.patches import Rectangle

    axes.add_patch(Rectangle((-0.5, -0.5), size[1], size[0], facecolor="#f6f8fa", edgecolor="none", zorder=0))
    step = max(1, max(size) // 32)
    axes.hlines(np.arange(-0.5, size[0], step), -0.5, size[1] - 0.5, color=GRID, linewidth=0.7, zorder=1)
    axes.vlines(np.arange(-0.5, size[1], step), -0.5, size[0] - 0.5, color=GRID, linewidth=0.7, zorder=1)


def _draw_window(axes: Axes, window: Window, colour: str, dashed: bool = False) -> None:
    """The square around the pixels of the window; a pixel is one wide, and its number is in its middle."""
    from matplotlib.patheffects import withStroke

    square = _square([(first - 0.5, end - 0.5) for first, end in window], colour)
    if dashed:
        square.set_linestyle((0, (4, 2)))
    else:
        square.set_path_effects([withStroke(linewidth=3.4, foreground="white")])
    axes.add_patch(square)


def _square(sides: Sequence[tuple[float, float]], colour: str, linewidth: float = 1.8) -> Rectangle:
    from matplotlib.patches import Rectangle

    (top, bottom), (left, right) = sides
    corner, width, height = (left, top), right - left, bottom - top
    return Rectangle(corner, width, height, fill=False, edgecolor=colour, linewidth=linewidth, zorder=3)


def _colours(count: int) -> list[str]:
    """From light to dark in a map that colour-blind readers can follow; the lightest would be lost on white."""
    from matplotlib import colormaps
    from matplotlib.colors import to_hex

    return [to_hex(colour) for colour in colormaps["viridis"](np.linspace(0.88, 0, count))]
