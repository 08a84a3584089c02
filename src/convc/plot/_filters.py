"""What layers look for, and what they find in an image."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np

from convc.nn import Conv2d, Module
from convc.plot._base import (
    STRONG,
    bare,
    check_columns,
    checked,
    draw_image,
    heading,
    largest,
    mosaic,
    new_figure,
    panel,
    picture,
    text_width,
    times,
)
from convc.plot._stages import channels_last, checked_image, stages

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_SIGNED, SIGNS = "RdBu_r", "blue < 0 < red"
_COLUMNS, _WIDEST, _TALLEST = 16, 9.6, 4.0  # maps in a row; the greatest width and height of a layer's maps in inches
_FILTER_GAP = 9  # pixels between filters of several channels at least, some times the gap between their channels
_MAPS = ("#e8edf2", "#9db4c9", STRONG, "#0a2436")  # from no answer to the strongest


def filters(weight: np.ndarray | Conv2d, columns: int | None = None) -> Figure:
    """
    The filters of a 2-D convolution, side by side.

    One input channel: each filter in blue (negative) and red (positive), white at zero. Three input channels: each
    filter as a colour picture, grey at zero. Any other number: a row of small pictures for each filter, one an input
    channel; where these rows are short, several filters stand side by side.

    Parameters
    ----------
    weight : ndarray, (out_channels, in_channels, kernel_height, kernel_width), or Conv2d
        The filters, or the layer that has them.
    columns : int, optional
        Filters in a row; chosen to give a wide picture if not given.

    Returns
    -------
    matplotlib.figure.Figure

    Examples
    --------
    >>> import numpy as np
    >>> from convc import plot
    >>> figure = plot.filters(np.random.default_rng(0).standard_normal((32, 1, 3, 3)))

    Those of a layer:

    >>> from convc import nn
    >>> figure = plot.filters(nn.Conv2d(1, 6, 5))
    """
    if isinstance(weight, Module):
        if not isinstance(weight, Conv2d):
            raise TypeError(f"weight must be an array or a Conv2d, got {weight!r}")
        weight = weight.weight.data
    weight = checked(weight, 4, "weight", "(out_channels, in_channels, kernel_height, kernel_width)")
    check_columns(columns)
    note = SIGNS if weight.shape[1] != 3 else "three channels as colours, grey at zero"
    if weight.shape[1] not in (1, 3):
        columns = min(columns or _filters_in_row(*weight.shape[:2]), len(weight))
        note += "; row = output, column = input channel" if columns == 1 else "; input channels side by side"
    image = filter_mosaic(weight, columns)
    figure, axes = picture(image, f"{weight.shape[0]} filters of {times(weight.shape[1:])}", note)
    draw_filters(axes, image, largest(weight))
    return figure


def activation_maps(maps: np.ndarray, columns: int | None = None) -> Figure:
    """
    What each channel of a layer answers to one image, from pale for zero to dark for the strongest answer.

    Where some answers are negative, as after tanh, they are blue and the positive ones red, white at zero.

    Parameters
    ----------
    maps : ndarray, (channels, height, width)
        The output of a layer for one image.
    columns : int, optional
        Maps in a row; chosen to give a wide picture if not given.

    Returns
    -------
    matplotlib.figure.Figure

    Examples
    --------
    >>> import numpy as np
    >>> from convc import plot
    >>> figure = plot.activation_maps(np.random.default_rng(0).random((16, 8, 8)))
    """
    maps = checked(maps, 3, "maps", "(channels, height, width)")
    check_columns(columns)
    image = mosaic(maps, columns)
    note = SIGNS if _is_signed(maps) else ""
    figure, axes = picture(image, f"{maps.shape[0]} activation maps of {times(maps.shape[1:])}", note)
    draw_maps(axes, image)
    return figure


def feature_maps(
    net: Module, image: np.ndarray, layers: Sequence[str | int] | None = None, channels: int = 32
) -> Figure:
    """
    What several layers of a network answer to one image, one below the other, each on a scale of its own.

    The colours are those of `activation_maps`.

    Parameters
    ----------
    net : Module
    image : ndarray, (channels, height, width) or (height, width, channels)
        As the network takes it, without the batch axis.
    layers : sequence of str or int, optional
        Names of layers, as in the network's summary. If not given, all that change the shape of their input or have a
        window, each after the ReLU and the like that follow it.
    channels : int
        How many maps of each layer are shown at most.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    ValueError, TypeError
        If the network does not take the image, or has no such layer, or one that gives no maps.

    Examples
    --------
    >>> import numpy as np
    >>> from convc import nn, plot
    >>> net = nn.Sequential(nn.Conv2d(1, 6, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(6, 16, 3), nn.ReLU())
    >>> figure = plot.feature_maps(net, np.random.default_rng(0).random((1, 28, 28), np.float32))
    """
    if channels < 1:
        raise ValueError(f"channels must be at least 1, got {channels}")
    is_last = channels_last(net)
    rows = []  # title, note, picture, width and height in inches
    for title, maps in _answers(net, checked_image(net, image), layers):
        maps = np.moveaxis(maps, -1, 0) if is_last else maps
        note = f"{len(maps)} map{'s' * (len(maps) > 1)} of {times(maps.shape[1:])}" + _only(channels, len(maps))
        note += f"; {SIGNS}" * _is_signed(maps[:channels])
        tiles = mosaic(maps[:channels], _COLUMNS)
        width = min(_WIDEST, 1.0 * min(channels, len(maps)), _TALLEST * tiles.shape[1] / tiles.shape[0])
        rows.append((title, note, tiles, width, width * tiles.shape[0] / tiles.shape[1]))
    words = [text_width(text, 11.5, bold=True) for row in rows for text in row[:2]]
    across = max(*words, *(row[3] for row in rows))
    figure = new_figure(2.5 + across, max(2.3, sum(row[4] + 0.65 for row in rows)) + 0.1)
    seen = panel(figure, 0.3, 0.55, 1.5, 1.5)
    draw_image(seen, image, is_last)
    heading(seen, "The image", times(image.shape))
    top = 0.55
    for title, note, tiles, width, height in rows:
        axes = panel(figure, 2.2, top, width, height)
        draw_maps(axes, tiles)
        heading(axes, title, note)
        top += height + 0.65
    return figure


def _only(shown: int, count: int) -> str:
    return "" if count <= shown else f", the first {shown} of them"


def _answers(net: Module, image: np.ndarray, layers: Sequence[str | int] | None) -> Iterator[tuple[str, np.ndarray]]:
    """The chosen layers' titles and outputs, without the batch axis."""
    chain = stages(net, image.shape)[1]
    names = [name for stage in chain for name, _ in stage.layers]
    chosen = None if layers is None else [str(layer) for layer in layers]
    for name in chosen or ():
        if name not in names:
            raise ValueError(f"layers must be among {', '.join(names)}, got {name!r}")
    x = image[np.newaxis]
    found = False
    for stage in chain:
        for (name, layer), title in zip(stage.layers, stage.titles, strict=True):
            x = layer(x)
            if chosen is not None and name in chosen:
                if x.ndim != 4:
                    raise ValueError(f"layers must give maps, but {title} gives {times(x.shape[1:])}")
                found = True
                yield title, x[0]
        if chosen is None and stage.layers and x.ndim == 4:
            found = True
            yield ", ".join(stage.titles), x[0]
    if not found:
        raise ValueError("no layer of the network gives maps")


def filter_mosaic(weight: np.ndarray, columns: int | None) -> np.ndarray:
    if weight.shape[1] == 3:
        colour = 0.5 + 0.5 * weight / largest(weight)
        picture = mosaic(np.moveaxis(colour, 1, -1), columns)
        return np.where(np.isnan(picture), 1.0, np.clip(picture, 0, 1))
    if 1 in (weight.shape[1], columns):
        return mosaic(weight.reshape(-1, *weight.shape[2:]), columns if weight.shape[1] == 1 else weight.shape[1])
    strips = np.stack([mosaic(of_output, weight.shape[1]) for of_output in weight])
    return mosaic(strips, columns, gap=max(_FILTER_GAP, max(weight.shape[2:]) // 4))


def _filters_in_row(outputs: int, inputs: int) -> int:
    """So many that the picture is about twice as wide as high; 1 if one alone is as wide."""
    return max(1, round(math.sqrt(2 * outputs * inputs) / inputs))


def draw_filters(axes: Axes, image: np.ndarray, largest: float) -> None:
    axes.imshow(image, cmap=_SIGNED, vmin=-largest, vmax=largest, interpolation="nearest")
    bare(axes)


def _is_signed(maps: np.ndarray) -> bool:
    return bool((maps < 0).any())


def draw_maps(axes: Axes, image: np.ndarray, linear: bool = False) -> None:
    from matplotlib.colors import LinearSegmentedColormap

    if not linear:  # The square root brings out weak answers; on a linear scale a few strong ones leave the rest blank.
        image = np.copysign(np.sqrt(np.abs(image)), image)
    if _is_signed(image):
        draw_filters(axes, image, largest(image))
        return
    colours = LinearSegmentedColormap.from_list("maps", _MAPS)
    axes.imshow(image, cmap=colours, vmin=0, vmax=largest(image), interpolation="nearest")
    bare(axes)
