"""The small network of the command line: its layers, how it is trained, and how it comes back from a file."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from convc import nn, optim, train

_LINEAR = "8.weight"  # after two times convolution, ReLU and pooling, then Flatten and Dropout


def small_cnn(
    in_channels: int, side: int, classes: int = 10, channels: tuple[int, int] = (32, 64), seed: int = 0
) -> nn.Sequential:
    """
    INPUT -> [CONV -> RELU -> POOL] x 2 -> FC for square images of `side` pixels.

    The same layers in `torch.nn.Sequential` have the same names, so that weights can go either way.
    """
    rng = np.random.default_rng(seed)
    return nn.Sequential(
        nn.Conv2d(in_channels, channels[0], 3, padding=1, rng=rng),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(channels[0], channels[1], 3, padding=1, rng=rng),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Dropout(0.3),
        nn.Linear(channels[1] * (side // 4) ** 2, classes, rng=rng),
    )


def fit(
    net: nn.Sequential,
    images: np.ndarray,
    labels: np.ndarray,
    validation: tuple[np.ndarray, np.ndarray],
    *,
    epochs: int,
    batch_size: int = 64,
    lr: float = 0.1,
    seed: int = 0,
    progress: bool = True,
) -> train.History:
    """Nesterov's momentum and weight decay; the learning rate falls to zero along half a cosine."""
    optimizer = optim.SGD(net.parameters(), lr, momentum=0.9, weight_decay=5e-4, nesterov=True)

    def anneal(epoch: int, history: train.History) -> None:
        optimizer.lr = lr * (0.5 + 0.5 * math.cos(math.pi * (epoch + 1) / epochs))

    # Where numbers overflow, train.fit says so in an error; NumPy need not warn as well.
    with np.errstate(over="ignore", invalid="ignore"):
        return train.fit(
            net,
            images,
            labels,
            epochs=epochs,
            batch_size=batch_size,
            optimizer=optimizer,
            validation=validation,
            seed=seed,
            progress=progress,
            callback=anneal,
        )


def load(path: str) -> nn.Module:
    """
    A network from a safetensors file: any that convc saved, or a `small_cnn` that PyTorch saved.

    PyTorch writes no description of the layers, but the shapes of its weights tell the sizes of a `small_cnn`.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="numpy") as file:
            shapes = {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118 - no mapping
            described = "convc" in (file.metadata() or {})
    except (SafetensorError, OSError):
        described = True  # and load_model will say what is wrong with the file
    net = None if described else _of_shapes(shapes)
    if net is None:
        return nn.load_model(path)
    net.load(path)
    return net


def _of_shapes(shapes: Mapping[str, tuple[int, ...]]) -> nn.Sequential | None:
    first, second, last = (shapes.get(name, ()) for name in ("0.weight", "3.weight", _LINEAR))
    if (len(first), len(second), len(last)) != (4, 4, 2) or 0 in first + second + last:
        return None
    side = 4 * math.isqrt(last[1] // second[0])
    if first[2:] != (3, 3) or second[1:] != (first[0], 3, 3):
        return None  # before memory is asked for that a file of this size cannot fill
    net = small_cnn(first[1], side, last[0], (first[0], second[0]))
    return net if shapes == {name: parameter.data.shape for name, parameter in net.named_parameters()} else None
