"""What layers look for, and what they find in an image."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from convc.plot._base import STRONG, bare, check_columns, checked, largest, mosaic, picture, times

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_WEIGHTS = "RdBu_r"
_MAPS = ("#e8edf2", "#9db4c9", STRONG, "#0a2436")  # from no answer to the strongest


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
    weight = checked(weight, 4, "weight", "(out_channels, in_channels, kernel_height, kernel_width)")
    check_columns(columns)
    if weight.shape[1] not in (1, 3):
        columns = weight.shape[1]
    image = filter_mosaic(weight, columns)
    figure, axes = picture(image, f"{weight.shape[0]} filters of {times(weight.shape[1:])}")
    draw_filters(axes, image, largest(weight))
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
    maps = checked(maps, 3, "maps", "(channels, height, width)")
    check_columns(columns)
    image = mosaic(maps, columns)
    figure, axes = picture(image, f"{maps.shape[0]} activation maps of {times(maps.shape[1:])}")
    draw_maps(axes, image)
    return figure


def filter_mosaic(weight: np.ndarray, columns: int | None) -> np.ndarray:
    if weight.shape[1] == 3:
        colour = 0.5 + 0.5 * weight / largest(weight)
        picture = mosaic(np.moveaxis(colour, 1, -1), columns)
        return np.where(np.isnan(picture), 1.0, np.clip(picture, 0, 1))
    return mosaic(weight.reshape(-1, *weight.shape[2:]), columns)


def draw_filters(axes: Axes, image: np.ndarray, largest: float) -> None:
    axes.imshow(image, cmap=_WEIGHTS, vmin=-largest, vmax=largest, interpolation="nearest")
    bare(axes)


def draw_maps(axes: Axes, image: np.ndarray) -> None:
    from matplotlib.colors import LinearSegmentedColormap

    # The square root brings out weak answers; on a linear scale a few strong ones leave the rest blank.
    colours = LinearSegmentedColormap.from_list("maps", _MAPS)
    axes.imshow(
        np.sqrt(np.maximum(image, 0)), cmap=colours, vmin=0, vmax=math.sqrt(largest(image)), interpolation="nearest"
    )
    bare(axes)
