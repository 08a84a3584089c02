"""Which pixels the answer of a network depends on."""

from __future__ import annotations

from typing import TYPE_CHECKING, SupportsIndex

import numpy as np

from convc.nn import Module, input_gradient
from convc.plot._base import draw_image, heading, new_figure, panel, times
from convc.plot._filters import draw_maps
from convc.plot._stages import channels_last, checked_image, stages

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_SIDE = 3.6  # in inches


def saliency(net: Module, image: np.ndarray, target: SupportsIndex | None = None) -> Figure:
    """
    An image, and beside it how much a class score changes with each of its pixels.

    The map is the largest magnitude over the channels of `nn.input_gradient`, from pale for no change to dark. It shows
    what this one answer is sensitive to, which is not always what a reader of the image would look at.

    Parameters
    ----------
    net : Module
        Gives one row of scores a sample.
    image : ndarray, (channels, height, width) or (height, width, channels)
        As the network takes it, without the batch axis.
    target : int, optional
        The class; the one with the highest score if not given.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    ValueError, TypeError
        If the network does not take the image, gives no scores, or has no such class.

    References
    ----------
    K. Simonyan, A. Vedaldi and A. Zisserman, "Deep Inside Convolutional Networks: Visualising Image Classification
    Models and Saliency Maps", ICLR workshop 2014, https://arxiv.org/abs/1312.6034.

    Examples
    --------
    >>> import numpy as np
    >>> from convc import nn, plot
    >>> net = nn.Sequential(nn.Conv2d(1, 6, 3), nn.ReLU(), nn.Flatten(), nn.Linear(6 * 36, 10))
    >>> figure = plot.saliency(net, np.ones((1, 8, 8), np.float32))
    """
    stages(net, checked_image(net, image).shape)
    if image.ndim != 3:
        raise ValueError(f"image must have a channel axis, a height and a width, got shape {image.shape}")
    batch = image[np.newaxis]
    gradient = input_gradient(net, batch, target)[0]
    scores = net(batch)[0]
    best = int(scores.argmax())
    chosen = best if target is None else int(target)
    is_last = channels_last(net)
    magnitude = np.abs(gradient).max(axis=-1 if is_last else 0)
    down = _SIDE * min(magnitude.shape[0] / magnitude.shape[1], 1.5)
    figure = new_figure(2 * _SIDE + 1.1, down + 0.95)
    seen, felt = (panel(figure, left, 0.65, _SIDE, down) for left in (0.35, _SIDE + 0.75))
    draw_image(seen, image, is_last)
    heading(
        seen, "The image", f"{times(magnitude.shape)} pixels; class {best} has the highest score, {scores[best]:.3g}"
    )
    draw_maps(felt, magnitude, linear=True)
    heading(felt, f"What the score of class {chosen} depends on", "magnitude of its gradient, dark where it is large")
    return figure
