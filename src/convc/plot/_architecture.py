"""A network as the row of volumes that an image becomes on its way through it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from convc.nn import Linear, Module
from convc.nn._spatial import Convolution
from convc.plot._base import INK, PALE, SOFT, STRONG, new_figure, text_width
from convc.plot._stages import Stage, stages

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# All lengths are in inches.
_LONGEST, _MARGIN, _GAP, _LINE, _HEAD = 13.0, 0.45, 0.3, 0.16, 1.1  # of a row; around; between boxes; of text; of title
_SIDE, _THICK, _COLUMN = 1.5, 0.6, 0.14  # the largest side of an image; the most channels; the width of a vector
_SLANT = 0.24  # how much of its depth a box shows to the right and upwards
_KINDS = {  # a sixth of the lightness apart, so that grey shows them too
    "input": "#d5dbe1",
    "convolution": STRONG,
    "pooling": "#f0b429",
    "fully connected": "#1a9e77",
    "block of layers": "#8e4585",
    "other": PALE,
}


def architecture(net: Module, input_shape: Sequence[int], title: str = "") -> Figure:
    """
    The volumes that an image becomes on its way through a network.

    Each box is the output of a layer: its height and its depth are those of the image, its width is the number of
    channels, all on a root scale, so that 3 x 224 x 224 and 512 x 7 x 7 can be seen in one picture. Vectors are
    columns. Below a box stand its size, channels first, and the layers with their names in the network. Layers that
    work on each element by itself, such as ReLU, have no box of their own, nor have those within a block of parallel
    paths. Images with one axis are flat, those with three a stack of slices, of which at most three are drawn.

    Parameters
    ----------
    net : Module
    input_shape : sequence of int
        Shape of one input, without the batch axis.
    title : str, optional
        From what to what the network leads, if not given.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    ValueError, TypeError
        If the network does not take inputs of that shape.

    Examples
    --------
    >>> from convc import nn, plot
    >>> net = nn.Sequential(nn.Conv2d(1, 6, 5), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(864, 10))
    >>> figure = plot.architecture(net, (1, 28, 28))
    """
    summary, chain = stages(net, input_shape)
    rows = _wrapped(_boxes(chain))
    heights = [max(box.height + box.rise for box in row) for row in rows]
    texts = [max(len(box.lines) for box in row) * _LINE + 0.45 for row in rows]
    title = title or f"From {chain[0].volume} to {chain[-1].volume}"
    counts = f"{summary.parameters:,} parameters, {summary.macs:,} multiply-adds"
    note = f"{counts}. A box is as high and deep as the image, and as wide as the channels are many."
    lengths = [text_width(title, 14, bold=True), text_width(note, 9.5), *(sum(box.slot for box in row) for row in rows)]
    width = 2 * _MARGIN + max(lengths)
    height = _HEAD + sum(heights) + sum(texts)
    figure = new_figure(width, height)
    axes = figure.add_axes((0, 0, 1, 1), xlim=(0, width), ylim=(height, 0))
    axes.axis("off")
    axes.text(_MARGIN, 0.42, title, fontsize=14, fontweight="bold", color=INK)
    axes.text(_MARGIN, 0.66, note, fontsize=9.5, color=SOFT)
    _draw_legend(axes, [kind for kind in _KINDS if any(box.kind == kind for row in rows for box in row)])
    top = _HEAD
    for row, tall, text in zip(rows, heights, texts, strict=True):
        _draw_row(axes, row, top + tall / 2, top + tall + 0.2)
        top += tall + text
    return figure


@dataclass
class _Box:
    """How one stage is drawn; `slot` is the width that it takes up in the row, text included."""

    kind: str
    lines: list[str]
    height: float
    thick: float
    rise: float
    copies: int
    slot: float

    @property
    def width(self) -> float:
        return self.thick + self.copies * self.rise


def _boxes(chain: Sequence[Stage]) -> list[_Box]:
    volumes = [stage for stage in chain if stage.size]
    side = max((max(stage.size[-2:]) for stage in volumes), default=1)
    channels = max((stage.channels for stage in volumes), default=1)
    longest = max((stage.channels for stage in chain if not stage.size), default=1)
    boxes = []
    for i, stage in enumerate(chain):
        height, thick, rise, copies = max(0.1, _SIDE * _root(stage.channels, longest)), _COLUMN, 0.0, 1
        if stage.size:
            thick = max(0.05, _THICK * _root(stage.channels, channels))
            height = max(0.08, _SIDE * _root(stage.size[-2] if len(stage.size) > 1 else stage.size[0], side))
        if len(stage.size) > 1:
            rise = max(0.03, _SLANT * _SIDE * _root(stage.size[-1], side))
        if len(stage.size) > 2:
            copies = min(3, stage.size[-3])
        lines = [stage.volume, *(["input"] if i == 0 else []), *stage.titles]
        box = _Box(_kind(stage) if i else "input", lines, height, thick, rise, copies, 0.0)
        box.slot = max(box.width, *(text_width(line, 8, bold=line is lines[0]) for line in lines)) + _GAP
        boxes.append(box)
    return boxes


def _root(size: int, largest: int) -> float:
    return float((size / largest) ** 0.5)


def _kind(stage: Stage) -> str:
    layer = stage.layers[0][1]
    if next(layer.named_children(), None) is not None:
        return "block of layers"
    if isinstance(layer, Linear):
        return "fully connected"
    if isinstance(layer, Convolution):  # also transposed, or without sharing its weights
        return "convolution"
    return "pooling" if "Pool" in type(layer).__name__ else "other"


def _wrapped(boxes: list[_Box]) -> list[list[_Box]]:
    """As few rows as will do, about equally long."""
    rows = _filled(boxes, _LONGEST)
    limit = _LONGEST
    while len(shorter := _filled(boxes, limit := limit - 0.25)) == len(rows) and limit > 1:
        rows = shorter
    return rows


def _filled(boxes: list[_Box], limit: float) -> list[list[_Box]]:
    rows: list[list[_Box]] = [[]]
    for box in boxes:
        if rows[-1] and sum(other.slot for other in rows[-1]) + box.slot > limit:
            rows.append([])
        rows[-1].append(box)
    return rows


def _draw_row(axes: Axes, row: list[_Box], middle: float, below: float) -> None:
    """The boxes of a row around the height `middle`, an arrow into each but the input, and their texts from `below`."""
    left = _MARGIN
    end = 0.0  # of the box before
    for box in row:
        centre = left + box.slot / 2
        start = centre - box.width / 2
        if box.kind != "input":
            arrow = {"arrowstyle": "-|>", "color": SOFT, "linewidth": 0.9, "shrinkA": 0, "shrinkB": 0}
            axes.annotate("", (start - 0.03, middle), (end or left - 0.2, middle), arrowprops=arrow)
        _draw_box(axes, box, start, middle)
        end = start + box.width + 0.03
        for i, line in enumerate(box.lines):
            weight, colour = ("bold", INK) if i == 0 else ("normal", SOFT)
            axes.text(
                centre, below + i * _LINE, line, ha="center", va="center", fontsize=8, fontweight=weight, color=colour
            )
        left += box.slot


def _draw_box(axes: Axes, box: _Box, left: float, middle: float) -> None:
    """Slices from the back to the front; each shows its front, its top and its right side."""
    from matplotlib.colors import to_rgb
    from matplotlib.patches import Polygon

    colour = to_rgb(_KINDS[box.kind])
    bottom = middle + (box.height + box.rise) / 2
    for copy in reversed(range(box.copies)):
        x, y = left + copy * box.rise, bottom
        right, top, rise = x + box.thick, y - box.height, box.rise
        front = [(x, y), (right, y), (right, top), (x, top)]
        lid = [(x, top), (right, top), (right + rise, top - rise), (x + rise, top - rise)]
        side = [(right, y), (right + rise, y - rise), (right + rise, top - rise), (right, top)]
        for face, light in ((front, 0.0), (lid, 0.45), (side, 0.25)):
            mixed = tuple(light + (1 - light) * part for part in colour)
            axes.add_patch(Polygon(face, facecolor=mixed, edgecolor="white", linewidth=0.7, joinstyle="round"))


def _draw_legend(axes: Axes, kinds: Sequence[str]) -> None:
    from matplotlib.patches import Rectangle

    left = _MARGIN
    for kind in kinds:
        axes.add_patch(Rectangle((left, 0.8), 0.12, 0.12, facecolor=_KINDS[kind]))
        axes.text(left + 0.18, 0.86, kind, va="center", fontsize=8.5, color=SOFT)
        left += 0.45 + text_width(kind, 8.5)
