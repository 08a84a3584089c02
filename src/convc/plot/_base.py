"""What the pictures share: figures, colours, headings, and tiles put together to one image."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

INK, SOFT, GRID = "#1c2733", "#6b7785", "#e3e7eb"  # text and lines; secondary text; grid
PALE, STRONG = "#9db4c9", "#0b6fa4"  # the lesser and the greater of two things


def new_figure(width: float, height: float) -> Figure:
    _check_matplotlib()
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), dpi=140, facecolor="white")


def _check_matplotlib() -> None:
    try:
        import matplotlib  # noqa: F401
    except ImportError as error:
        raise ImportError("convc.plot needs matplotlib: pip install matplotlib") from error


def checked(array: np.ndarray, ndim: int, name: str, axes: str) -> np.ndarray:
    array = np.asarray(array)
    if array.ndim != ndim or 0 in array.shape:
        raise ValueError(f"{name} must be {axes}, none of them 0, got shape {array.shape}")
    return array


def check_columns(columns: int | None) -> None:
    if columns is not None and columns < 1:
        raise ValueError(f"columns must be at least 1, got {columns}")


def times(shape: Sequence[float]) -> str:
    return " \N{MULTIPLICATION SIGN} ".join(str(size) for size in shape)


def largest(array: np.ndarray) -> float:
    """The largest finite magnitude, to scale colours with; 1 if everything is zero."""
    return float(np.max(np.abs(array), where=np.isfinite(array), initial=0.0)) or 1.0


def mosaic(tiles: np.ndarray, columns: int | None = None, gap: int | None = None) -> np.ndarray:
    """
    Tiles (n, h, w) or (n, h, w, 3) as one picture of rows and columns, NaN in the gaps.

    Every pixel is repeated so that a gap can be thinner than a pixel of a tile; `gap` counts the repeated ones.
    """
    count, height, width = tiles.shape[:3]
    rows = math.ceil(count / min(columns or math.ceil(math.sqrt(2 * count)), count))
    if columns is None:
        columns = math.ceil(count / rows)  # no fewer rows, but evenly filled ones
    columns = min(columns, count)
    zoom = max(1, math.ceil(24 / max(height, width)))
    gap = gap or max(1, round(0.1 * zoom * max(height, width)))
    large = tiles.repeat(zoom, axis=1).repeat(zoom, axis=2)
    step_y, step_x = zoom * height + gap, zoom * width + gap
    picture = np.full((rows * step_y - gap, columns * step_x - gap, *tiles.shape[3:]), np.nan)
    for i, tile in enumerate(large):
        top, left = i // columns * step_y, i % columns * step_x
        picture[top : top + zoom * height, left : left + zoom * width] = tile
    return picture


def picture(image: np.ndarray, title: str, note: str = "") -> tuple[Figure, Axes]:
    """A figure of the shape of the image, with a heading."""
    height, width = image.shape[:2]
    across = 8.0 if width >= height else max(3.0, 8.0 * width / height)
    tall = across * height / width
    words = max(text_width(title, 11.5, bold=True), text_width(note, 9) if note else 0.0)
    figure = new_figure(max(across, words) + 0.6, tall + 0.9)
    axes = panel(figure, 0.3, 0.6, across, tall)
    heading(axes, title, note)
    return figure, axes


def heading(axes: Axes, text: str, note: str = "") -> None:
    """A heading above the axes, at the left, with a note in small letters under it."""
    axes.annotate(
        text, (0, 1), xytext=(0, 20 if note else 7), xycoords="axes fraction", textcoords="offset points",
        fontsize=11.5, fontweight="bold", color=INK,
    )  # fmt: skip
    axes.annotate(
        note, (0, 1), xytext=(0, 7), xycoords="axes fraction", textcoords="offset points", fontsize=9, color=SOFT
    )


def text_width(text: str, size: float, bold: bool = False) -> float:
    """How long a text is, in inches."""
    _check_matplotlib()
    from matplotlib.font_manager import FontProperties
    from matplotlib.textpath import TextPath

    font = FontProperties(weight="bold" if bold else "normal", size=size)
    # Few dots an inch make letters wider, for each is rounded to whole dots.
    return 1.09 * float(TextPath((0, 0), text, prop=font).get_extents().width) / 72


def panel(figure: Figure, left: float, top: float, across: float, down: float) -> Axes:
    """Axes at so many inches from the left and the top of the figure."""
    width, height = figure.get_size_inches()
    return figure.add_axes((left / width, 1 - (top + down) / height, across / width, down / height), anchor="NW")


def draw_image(axes: Axes, image: np.ndarray, is_last: bool = False) -> None:
    """
    An image (height, width) or with channels in front of or behind that: three as colours, else their mean as grey.

    Colours from 0 to 1, and from 0 to 255 in integers, are shown as they are; other ranges are stretched.
    """
    if image.ndim == 3:
        image = image if is_last else np.moveaxis(image, 0, -1)
        image = image if image.shape[-1] == 3 else image.mean(axis=-1)
    full = 255.0 if image.dtype.kind in "iu" else 1.0
    image = np.nan_to_num(image / full, posinf=0, neginf=0)
    low, high = float(image.min()), float(image.max())
    if low < 0 or high > 1:
        image = (image - low) / (high - low or 1.0)
    axes.imshow(image, cmap="gray", vmin=0, vmax=1, interpolation="nearest")
    bare(axes)


def bare(axes: Axes) -> None:
    axes.set_xticks([])
    axes.set_yticks([])
    for spine in axes.spines.values():
        spine.set_visible(False)
