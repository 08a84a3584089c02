"""Well-known networks as readable definitions: copy one, change it, train it.

Both are plain `nn.Sequential` objects, so that layers can be replaced by their number, and the same layers in
`torch.nn.Sequential` have the same parameter names.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from convc import nn, shapes
from convc.nn._weights import Random, choice

__all__ = ["lenet5", "resnet"]


def lenet5(
    num_classes: int = 10, in_channels: int = 1, *, layout: str = "NCHW", dtype: Any = np.float32, rng: Random = None
) -> nn.Sequential:
    """
    LeNet-5, the network that read cheques, for images of 32 x 32.

    INPUT -> [CONV -> TANH -> POOL] x 2 -> CONV -> TANH -> FC -> TANH -> FC, 61,706 parameters for ten digits. As it is
    built today: the original's averages had trainable factors, its second convolution saw not all maps, and its last
    layer compared with stored pictures of the digits.

    Parameters
    ----------
    num_classes, in_channels : int
    layout : {"NCHW", "NHWC"}
    dtype : float32 or float64
    rng : numpy.random.Generator or int, optional
        Draws the initial values.

    Returns
    -------
    nn.Sequential
        Scores (n, num_classes) from images (n, in_channels, 32, 32); softmax is the loss's matter.

    References
    ----------
    Y. LeCun, L. Bottou, Y. Bengio and P. Haffner, "Gradient-based learning applied to document recognition",
    Proceedings of the IEEE 86 (11), 1998.

    Examples
    --------
    >>> import numpy as np
    >>> from convc import models
    >>> models.lenet5()(np.zeros((2, 1, 32, 32), np.float32)).shape
    (2, 10)
    """
    rng = np.random.default_rng(rng)
    space = {"layout": layout, "dtype": dtype, "rng": rng}
    return nn.Sequential(
        nn.Conv2d(in_channels, 6, 5, **space),  # 28 x 28
        nn.Tanh(),
        nn.AvgPool2d(2, layout=layout),
        nn.Conv2d(6, 16, 5, **space),  # 10 x 10
        nn.Tanh(),
        nn.AvgPool2d(2, layout=layout),
        nn.Conv2d(16, 120, 5, **space),  # 1 x 1: the same as a fully connected layer
        nn.Tanh(),
        nn.Flatten(),
        nn.Linear(120, 84, dtype=dtype, rng=rng),
        nn.Tanh(),
        nn.Linear(84, num_classes, dtype=dtype, rng=rng),
    )


def resnet(
    depth: int = 20,
    num_classes: int = 10,
    in_channels: int = 3,
    width: int = 16,
    *,
    layout: str = "NCHW",
    dtype: Any = np.float32,
    rng: Random = None,
) -> nn.Sequential:
    """
    The residual network for images of 32 x 32: ResNet-20, 32, 44, 56 or 110.

    A convolution, then three stages of (depth - 2) / 6 blocks, of `width`, twice and four times as many channels, each
    stage at half the resolution of the one before; then the mean over the image, and a fully connected layer. A block
    is ``relu(CONV-BN-RELU-CONV-BN(x) + x)``; where the size changes, x passes a 1 x 1 convolution.

    Parameters
    ----------
    depth : int
        Layers with weights along the longest way: 6 n + 2 for a whole n.
    num_classes, in_channels : int
    width : int
        Channels of the first stage: 16 in the paper.
    layout : {"NCHW", "NHWC"}
    dtype : float32 or float64
    rng : numpy.random.Generator or int, optional
        Draws the initial values.

    Returns
    -------
    nn.Sequential
        Scores (n, num_classes) from images (n, in_channels, height, width), 32 x 32 or others. ``net.fuse()`` folds the
        batch normalisations into the convolutions.

    References
    ----------
    K. He, X. Zhang, S. Ren and J. Sun, "Deep Residual Learning for Image Recognition", section 4.2,
    https://arxiv.org/abs/1512.03385.

    Examples
    --------
    >>> import numpy as np
    >>> from convc import models
    >>> net = models.resnet(depth=8, width=4)
    >>> net(np.zeros((1, 3, 32, 32), np.float32)).shape
    (1, 10)
    """
    depth = shapes.integer(depth, "depth", 8)
    if depth % 6 != 2:
        raise ValueError(f"depth must be 6 n + 2 for a whole n, such as 8, 14 or 20, got {depth}")
    width = shapes.integer(width, "width", 1)
    choice(layout, "layout", ("NCHW", "NHWC"))
    rng = np.random.default_rng(rng)

    def conv(ins: int, outs: int, kernel: int, stride: int = 1) -> list[nn.Module]:
        """A convolution that keeps the size, up to the stride, and its batch normalisation."""
        options = {"padding": kernel // 2, "bias": False, "layout": layout, "dtype": dtype, "rng": rng}
        return [nn.Conv2d(ins, outs, kernel, stride, **options), nn.BatchNorm2d(outs, layout=layout, dtype=dtype)]

    def block(ins: int, outs: int, stride: int) -> list[nn.Module]:
        same = ins == outs and stride == 1
        shortcut = None if same else nn.Sequential(*conv(ins, outs, 1, stride))
        body = [*conv(ins, outs, 3, stride), nn.ReLU(), *conv(outs, outs, 3)]
        return [nn.Residual(*body, shortcut=shortcut), nn.ReLU()]

    layers = [*conv(in_channels, width, 3), nn.ReLU()]
    ins = width
    for stage in range(3):
        outs = width << stage
        for i in range((depth - 2) // 6):
            layers += block(ins, outs, stride=2 if stage > 0 and i == 0 else 1)
            ins = outs
    layers += [nn.AdaptiveAvgPool2d(1, layout=layout), nn.Flatten()]
    return nn.Sequential(*layers, nn.Linear(ins, num_classes, dtype=dtype, rng=rng))
