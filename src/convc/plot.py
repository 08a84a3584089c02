"""Pictures of a training run and of what a network learned, drawn with matplotlib (`pip install convc[plot]`).

Every function returns a `matplotlib.figure.Figure` of its own, and pyplot and its global state are never touched: that
works without a display, in a notebook (which shows a returned figure) and in threads. Save one with `figure.savefig`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

import numpy as np

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["activation_maps", "demo", "filters", "training_curves"]

_INK, _SOFT, _GRID = "#1c2733", "#6b7785", "#e3e7eb"  # text and lines; secondary text; grid
_TRAIN, _VALIDATION, _WRONG = "#9db4c9", "#0b6fa4", "#c8452f"
_WEIGHTS, _DIGIT = "RdBu_r", "gray_r"
_MAPS = ("#e8edf2", "#9db4c9", _VALIDATION, "#0a2436")  # from no answer to the strongest


_Curve = tuple[str, Sequence[float], str]  # name, values, colour


class _History(Protocol):
    """What `convc.train.fit` returns, as far as it is drawn here."""

    train_loss: list[float]
    train_accuracy: list[float]
    val_loss: list[float]
    val_accuracy: list[float]


def training_curves(history: _History) -> Figure:
    """
    Loss and accuracy after each epoch, for the training and, where there is one, the validation set.

    Parameters
    ----------
    history : convc.train.History

    Returns
    -------
    matplotlib.figure.Figure

    Examples
    --------
    >>> from types import SimpleNamespace
    >>> from convc import plot
    >>> history = SimpleNamespace(
    ...     train_loss=[1.2, 0.4], train_accuracy=[0.6, 0.9], val_loss=[0.9, 0.3], val_accuracy=[0.7, 0.92])
    >>> len(plot.training_curves(history).axes)
    2
    """
    figure = _figure(9.6, 3.6)
    loss, accuracy = figure.subplots(1, 2)
    figure.subplots_adjust(left=0.06, right=0.87, top=0.82, bottom=0.14, wspace=0.6)
    _draw_curves(loss, _losses(history), "Loss", "mean cross-entropy", log=True)
    _draw_curves(accuracy, _accuracies(history), "Accuracy", "share of right answers")
    return figure


def filters(weight: np.ndarray, columns: int | None = None) -> Figure:
    """
    The filters of a 2-D convolution, side by side.

    One input channel: each filter in blue (negative) and red (positive), white at zero. Three input channels: each
    filter as a colour picture, grey at zero. Any other number: one row an output channel, one column an input channel.

    Parameters
    ----------
    weight : ndarray, (out_channels, in_channels, kernel_height, kernel_width)
    columns : int, optional
        Filters in a row; chosen to give a wide picture if not given. Not used for many input channels.

    Returns
    -------
    matplotlib.figure.Figure

    Examples
    --------
    >>> import numpy as np
    >>> from convc import plot
    >>> figure = plot.filters(np.random.default_rng(0).standard_normal((32, 1, 3, 3)))
    """
    weight = _checked(weight, 4, "weight", "(out_channels, in_channels, kernel_height, kernel_width)")
    _check_columns(columns)
    if weight.shape[1] not in (1, 3):
        columns = weight.shape[1]
    image = _filter_mosaic(weight, columns)
    figure, axes = _picture(image, f"{weight.shape[0]} filters of {_times(weight.shape[1:])}")
    _draw_filters(axes, image, _largest(weight))
    return figure


def activation_maps(maps: np.ndarray, columns: int | None = None) -> Figure:
    """
    What each channel of a layer answers to one image, from pale for zero and below to dark for the strongest answer.

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
    maps = _checked(maps, 3, "maps", "(channels, height, width)")
    _check_columns(columns)
    image = _mosaic(maps, columns)
    figure, axes = _picture(image, f"{maps.shape[0]} activation maps of {_times(maps.shape[1:])}")
    _draw_maps(axes, image)
    return figure


def demo(
    history: _History,
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
    weight = _checked(weight, 4, "weight", "(out_channels, in_channels, kernel_height, kernel_width)")
    if len(maps) != 2:
        raise ValueError(f"maps must hold the maps of two layers, got {len(maps)}")
    first, second = (_checked(layer, 3, "maps", "(channels, height, width)") for layer in maps)
    figure = _figure(14, 8.9)
    _lettering(figure, title, subtitle)
    _draw_curves(
        _panel(figure, 0.95, 1.85, 3.0, 2.2),
        _losses(history),
        "Loss",
        "cross-entropy; training is on warped copies too",
        log=True,
    )
    learned = _panel(figure, 5.35, 1.85, 4.9, 2.46)
    _draw_filters(learned, _filter_mosaic(weight, 8), _largest(weight))
    _head(
        learned, f"The {weight.shape[0]} filters it found", f"{_times(weight.shape[2:])} weights each, blue < 0 < red"
    )
    _draw_hardest(_panel(figure, 10.75, 1.85, 2.75, 2.46), hardest)

    _draw_digit(_panel(figure, 0.5, 5.75, 2.0, 2.0), image, layers)
    early, late = _panel(figure, 3.0, 5.75, 5.2, 2.57), _panel(figure, 8.6, 5.75, 2.57, 2.57)
    _draw_maps(early, _mosaic(first, math.ceil(math.sqrt(2 * len(first)))))
    _head(early, "What the first layer makes of it", f"{len(first)} maps of {_times(first.shape[1:])}")
    _draw_maps(late, _mosaic(second, math.ceil(math.sqrt(len(second)))))
    _head(late, "Then the second layer", f"{len(second)} maps of {_times(second.shape[1:])}")
    _draw_probabilities(_panel(figure, 11.75, 5.75, 1.75, 2.57), probabilities)
    return figure


def _figure(width: float, height: float) -> Figure:
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError("convc.plot needs matplotlib: pip install convc[plot]") from error
    return Figure(figsize=(width, height), dpi=140, facecolor="white")


def _checked(array: np.ndarray, ndim: int, name: str, axes: str) -> np.ndarray:
    array = np.asarray(array)
    if array.ndim != ndim or 0 in array.shape:
        raise ValueError(f"{name} must be {axes}, none of them 0, got shape {array.shape}")
    return array


def _check_columns(columns: int | None) -> None:
    if columns is not None and columns < 1:
        raise ValueError(f"columns must be at least 1, got {columns}")


def _times(shape: Sequence[int]) -> str:
    return " \N{MULTIPLICATION SIGN} ".join(str(size) for size in shape)


def _largest(array: np.ndarray) -> float:
    """The largest finite magnitude, to scale colours with; 1 if everything is zero."""
    return float(np.max(np.abs(array), where=np.isfinite(array), initial=0.0)) or 1.0


def _mosaic(tiles: np.ndarray, columns: int | None = None) -> np.ndarray:
    """
    Tiles (n, h, w) or (n, h, w, 3) as one picture of rows and columns, NaN in the gaps.

    Every pixel is repeated so that a gap can be thinner than a pixel of a tile.
    """
    count, height, width = tiles.shape[:3]
    rows = math.ceil(count / min(columns or math.ceil(math.sqrt(2 * count)), count))
    if columns is None:
        columns = math.ceil(count / rows)  # no fewer rows, but evenly filled ones
    columns = min(columns, count)
    zoom = max(1, math.ceil(24 / max(height, width)))
    gap = max(1, round(0.1 * zoom * max(height, width)))
    large = tiles.repeat(zoom, axis=1).repeat(zoom, axis=2)
    step_y, step_x = zoom * height + gap, zoom * width + gap
    picture = np.full((rows * step_y - gap, columns * step_x - gap, *tiles.shape[3:]), np.nan)
    for i, tile in enumerate(large):
        top, left = i // columns * step_y, i % columns * step_x
        picture[top : top + zoom * height, left : left + zoom * width] = tile
    return picture


def _filter_mosaic(weight: np.ndarray, columns: int | None) -> np.ndarray:
    if weight.shape[1] == 3:
        colour = 0.5 + 0.5 * weight / _largest(weight)
        picture = _mosaic(np.moveaxis(colour, 1, -1), columns)
        return np.where(np.isnan(picture), 1.0, np.clip(picture, 0, 1))
    return _mosaic(weight.reshape(-1, *weight.shape[2:]), columns)


def _picture(image: np.ndarray, title: str) -> tuple[Figure, Axes]:
    """A figure of the shape of the image, with a title."""
    height, width = image.shape[:2]
    across = 8.0 if width >= height else max(3.0, 8.0 * width / height)
    tall = across * height / width
    figure = _figure(across + 0.6, tall + 0.9)
    axes = figure.add_axes((0.3 / (across + 0.6), 0.3 / (tall + 0.9), across / (across + 0.6), tall / (tall + 0.9)))
    _head(axes, title)
    return figure, axes


def _head(axes: Axes, text: str, note: str = "") -> None:
    """A heading above the axes, at the left, with a note in small letters under it."""
    axes.annotate(
        text, (0, 1), xytext=(0, 20 if note else 7), xycoords="axes fraction", textcoords="offset points",
        fontsize=11.5, fontweight="bold", color=_INK,
    )  # fmt: skip
    axes.annotate(
        note, (0, 1), xytext=(0, 7), xycoords="axes fraction", textcoords="offset points", fontsize=9, color=_SOFT
    )


def _panel(figure: Figure, left: float, top: float, across: float, down: float) -> Axes:
    """Axes at so many inches from the left and the top of the figure."""
    width, height = figure.get_size_inches()
    return figure.add_axes((left / width, 1 - (top + down) / height, across / width, down / height), anchor="NW")


def _lettering(figure: Figure, title: str, subtitle: str) -> None:
    """Title, subtitle, and the line between what was learned and how one digit is read."""
    from matplotlib.lines import Line2D

    width, height = figure.get_size_inches()
    left, middle = 0.5 / width, 1 - 4.82 / height
    figure.text(left, 1 - 0.64 / height, title, fontsize=22, fontweight="bold", color=_INK)
    figure.text(left, 1 - 0.99 / height, subtitle, fontsize=11.5, color=_SOFT)
    rule = Line2D([left, 1 - left], [middle, middle], transform=figure.transFigure, color=_GRID, linewidth=1.2)
    figure.add_artist(rule)


def _bare(axes: Axes) -> None:
    axes.set_xticks([])
    axes.set_yticks([])
    for spine in axes.spines.values():
        spine.set_visible(False)


def _draw_filters(axes: Axes, image: np.ndarray, largest: float) -> None:
    axes.imshow(image, cmap=_WEIGHTS, vmin=-largest, vmax=largest, interpolation="nearest")
    _bare(axes)


def _draw_maps(axes: Axes, image: np.ndarray) -> None:
    from matplotlib.colors import LinearSegmentedColormap

    # The square root brings out weak answers; on a linear scale a few strong ones leave the rest blank.
    colours = LinearSegmentedColormap.from_list("maps", _MAPS)
    axes.imshow(
        np.sqrt(np.maximum(image, 0)), cmap=colours, vmin=0, vmax=math.sqrt(_largest(image)), interpolation="nearest"
    )
    _bare(axes)


def _draw_digit(axes: Axes, image: np.ndarray, layers: Sequence[str]) -> None:
    axes.imshow(image, cmap=_DIGIT, interpolation="nearest")
    _bare(axes)
    for spine in axes.spines.values():
        spine.set(visible=True, color=_GRID)
    _head(axes, "One digit it never saw", f"{_times(image.shape)} pixels")
    axes.annotate(
        "\n".join(layers), (0, 0), xytext=(0, -10), xycoords="axes fraction", textcoords="offset points", va="top",
        fontsize=9, linespacing=1.5, color=_SOFT,
    )  # fmt: skip


def _losses(history: _History) -> list[_Curve]:
    return [("training", history.train_loss, _TRAIN), ("held out", history.val_loss, _VALIDATION)]


def _accuracies(history: _History) -> list[_Curve]:
    return [("training", history.train_accuracy, _TRAIN), ("held out", history.val_accuracy, _VALIDATION)]


def _draw_curves(axes: Axes, curves: Sequence[_Curve], head: str, note: str, log: bool = False) -> None:
    """A line over the epochs for each curve that has values, named at its right end."""
    from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator

    if log and any(value > 0 for _, values, _ in curves for value in values):
        axes.set_yscale("log")
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.yaxis.set_minor_locator(NullLocator())
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=6, min_n_ticks=1))
    axes.set_xlabel("epoch", color=_SOFT, fontsize=9)
    axes.tick_params(colors=_SOFT, labelsize=9, length=0)
    axes.grid(axis="y", color=_GRID, linewidth=0.8)
    axes.set_axisbelow(True)
    for side, spine in axes.spines.items():
        spine.set(visible=side == "bottom", color=_GRID)
    _head(axes, head, note)
    curves = sorted((curve for curve in curves if len(curve[1])), key=lambda curve: curve[1][-1])
    for place, (name, values, colour) in enumerate(curves):
        axes.plot(range(1, len(values) + 1), values, color=colour, linewidth=2.2, solid_capstyle="round")
        axes.plot([len(values)], values[-1:], "o", color=colour, markersize=5)
        # The lower curve's name is moved down a little and the upper one's up, so that they cannot touch.
        shift = 12 * place - 6 if len(curves) > 1 else 0
        axes.annotate(
            f"{name} {values[-1]:.3f}", (len(values), values[-1]), xytext=(9, shift), textcoords="offset points",
            va="center", fontsize=9, color=colour, fontweight="bold",
        )  # fmt: skip
    axes.margins(y=0.09)


def _draw_hardest(axes: Axes, hardest: Sequence[tuple[np.ndarray, int, int]]) -> None:
    """Up to six images, what each is and what it was read as below it, in red where that is not the same."""
    _bare(axes)
    if not hardest:
        return
    _head(axes, "The hardest to read", "what it is, what it was read as")
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
            spine.set_color(_GRID)
        colour = _SOFT if prediction == label else _WRONG
        inset.set_xlabel(f"{label} \N{RIGHTWARDS ARROW} {prediction}", fontsize=10.5, color=colour, labelpad=3)


def _draw_probabilities(axes: Axes, probabilities: np.ndarray) -> None:
    """A bar a class, the likeliest one in colour and with its figure."""
    best = int(np.argmax(probabilities))
    places = range(len(probabilities))
    axes.barh(places, probabilities, height=0.72, color=[_VALIDATION if i == best else _TRAIN for i in places])
    inside = probabilities[best] > 0.5  # else the bar is too short for its figure
    axes.annotate(
        f"{100 * probabilities[best]:.1f} %", (probabilities[best], best), xytext=(-4 if inside else 4, 0),
        textcoords="offset points", ha="right" if inside else "left", va="center",
        color="white" if inside else _VALIDATION, fontsize=9.5, fontweight="bold",
    )  # fmt: skip
    _bare(axes)
    axes.set(xlim=(0, 1), ylim=(len(probabilities) - 0.5, -0.5))
    axes.set_yticks(list(places))
    axes.tick_params(colors=_INK, labelsize=10, length=0)
    axes.axvline(0, color=_SOFT, linewidth=1)
    _head(axes, "What it is taken for", "probability of each digit")
