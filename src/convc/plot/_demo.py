"""The picture of ``python -m convc demo``, many panels in one."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from convc.plot._base import (
    GRID,
    INK,
    PALE,
    SOFT,
    STRONG,
    bare,
    checked,
    heading,
    largest,
    mosaic,
    new_figure,
    panel,
    times,
)
from convc.plot._filters import SIGNS, draw_filters, draw_maps, filter_mosaic
from convc.plot._learning import History, draw_curves, losses

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_WRONG = "#c8452f"
_DIGIT = "gray_r"


def demo(
    history: History,
    weight: np.ndarray,
    image: np.ndarray,
    maps: Sequence[np.ndarray],
    probabilities: np.ndarray,
    hardest: Sequence[tuple[np.ndarray, int, int]] = (),
    layers: Sequence[str] = (),
    title: str = "",
    subtitle: str = "",
) -> Figure:
    """
    The picture of ``python -m convc demo``: how the network learned, and how it sees one digit.

    Parameters
    ----------
    history : convc.train.History
    weight : ndarray, (out_channels, in_channels, kernel_height, kernel_width)
        The filters of the first layer.
    image : ndarray, (height, width)
        One digit.
    maps : sequence of two ndarrays, (channels, height, width)
        What the two convolutions answer to it.
    probabilities : ndarray, (classes,)
        What the network takes it for.
    hardest : sequence of (image, label, prediction), optional
        Images that the network was least sure of, or wrong about; up to six are shown.
    layers : sequence of str, optional
        The layers, one a line, to be written below the digit.
    title, subtitle : str, optional

    Returns
    -------
    matplotlib.figure.Figure
    """
    weight = checked(weight, 4, "weight", "(out_channels, in_channels, kernel_height, kernel_width)")
    if len(maps) != 2:
        raise ValueError(f"maps must hold the maps of two layers, got {len(maps)}")
    first, second = (checked(layer, 3, "maps", "(channels, height, width)") for layer in maps)
    figure = new_figure(14, 8.9)
    _lettering(figure, title, subtitle)
    draw_curves(
        panel(figure, 0.95, 1.85, 3.0, 2.2),
        losses(history),
        "Loss",
        "cross-entropy; training is on warped copies too",
        log=True,
    )
    learned = panel(figure, 5.35, 1.85, 4.9, 2.46)
    draw_filters(learned, filter_mosaic(weight, 8), largest(weight))
    heading(learned, f"The {weight.shape[0]} filters it found", f"{times(weight.shape[2:])} weights each, {SIGNS}")
    _draw_hardest(panel(figure, 10.75, 1.85, 2.75, 2.46), hardest)

    _draw_digit(panel(figure, 0.5, 5.75, 2.0, 2.0), image, layers)
    early, late = panel(figure, 3.0, 5.75, 5.2, 2.57), panel(figure, 8.6, 5.75, 2.57, 2.57)
    draw_maps(early, mosaic(first, math.ceil(math.sqrt(2 * len(first)))))
    heading(early, "What the first layer makes of it", f"{len(first)} maps of {times(first.shape[1:])}")
    draw_maps(late, mosaic(second, math.ceil(math.sqrt(len(second)))))
    heading(late, "Then the second layer", f"{len(second)} maps of {times(second.shape[1:])}")
    _draw_probabilities(panel(figure, 11.75, 5.75, 1.75, 2.57), probabilities)
    return figure


def _lettering(figure: Figure, title: str, subtitle: str) -> None:
    """Title, subtitle, and the line between what was learned and how one digit is read."""
    from matplotlib.lines import Line2D

    width, height = figure.get_size_inches()
    left, middle = 0.5 / width, 1 - 4.82 / height
    figure.text(left, 1 - 0.64 / height, title, fontsize=22, fontweight="bold", color=INK)
    figure.text(left, 1 - 0.99 / height, subtitle, fontsize=11.5, color=SOFT)
    rule = Line2D([left, 1 - left], [middle, middle], transform=figure.transFigure, color=GRID, linewidth=1.2)
    figure.add_artist(rule)


def _draw_digit(axes: Axes, image: np.ndarray, layers: Sequence[str]) -> None:
    axes.imshow(image, cmap=_DIGIT, interpolation="nearest")
    bare(axes)
    for spine in axes.spines.values():
        spine.set(visible=True, color=GRID)
    heading(axes, "One digit it never saw", f"{times(image.shape)} pixels")
    axes.annotate(
        "\n".join(layers), (0, 0), xytext=(0, -10), xycoords="axes fraction", textcoords="offset points", va="top",
        fontsize=9, linespacing=1.5, color=SOFT,
    )  # fmt: skip


def _draw_hardest(axes: Axes, hardest: Sequence[tuple[np.ndarray, int, int]]) -> None:
    """Up to six images, what each is and what it was read as below it, in red where that is not the same."""
    bare(axes)
    if not hardest:
        return
    heading(axes, "The hardest to read", "what it is, what it was read as")
    columns, gap, caption = 3, 0.06, 0.12
    across, down = (1 + gap) / columns, 0.5 * (1 + gap)
    for i, (image, label, prediction) in enumerate(hardest[:6]):
        row, column = divmod(i, columns)
        inset = axes.inset_axes(
            (column * across, 1 - (row + 1) * down + gap + caption, across - gap, down - gap - caption), anchor="NW"
        )
        inset.imshow(image, cmap=_DIGIT, interpolation="nearest")
        inset.set(xticks=[], yticks=[])
        for spine in inset.spines.values():
            spine.set_color(GRID)
        colour = SOFT if prediction == label else _WRONG
        inset.set_xlabel(f"{label} \N{RIGHTWARDS ARROW} {prediction}", fontsize=10.5, color=colour, labelpad=3)


def _draw_probabilities(axes: Axes, probabilities: np.ndarray) -> None:
    """A bar a class, the likeliest one in colour and with its figure."""
    best = int(np.argmax(probabilities))
    places = range(len(probabilities))
    axes.barh(places, probabilities, height=0.72, color=[STRONG if i == best else PALE for i in places])
    inside = probabilities[best] > 0.5  # else the bar is too short for its figure
    axes.annotate(
        f"{100 * probabilities[best]:.1f} %", (probabilities[best], best), xytext=(-4 if inside else 4, 0),
        textcoords="offset points", ha="right" if inside else "left", va="center",
        color="white" if inside else STRONG, fontsize=9.5, fontweight="bold",
    )  # fmt: skip
    bare(axes)
    axes.set(xlim=(0, 1), ylim=(len(probabilities) - 0.5, -0.5))
    axes.set_yticks(list(places))
    axes.tick_params(colors=INK, labelsize=10, length=0)
    axes.axvline(0, color=SOFT, linewidth=1)
    heading(axes, "What it is taken for", "probability of each digit")
