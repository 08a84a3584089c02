"""A network as a chain of stages, each of which makes a volume out of the last: what its pictures walk along."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from convc.nn import Linear, Module, Summary
from convc.plot._base import times


@dataclass
class Stage:
    """
    A layer, or a block of parallel paths, and the elementwise layers that follow it.

    `channels` and `size`, the spatial extents, are those of the output; a vector has channels only. The first stage is
    the input and has no layer but elementwise ones.
    """

    channels: int
    size: tuple[int, ...]
    layers: list[tuple[str, Module]] = field(default_factory=list)

    @property
    def volume(self) -> str:
        """The output as text, channels first in every layout."""
        return times((self.channels, *self.size))

    @property
    def titles(self) -> list[str]:
        """Each layer with its name in the network."""
        return [f"{name} {_brief(layer)}".lstrip() for name, layer in self.layers]


def stages(net: Module, input_shape: Sequence[int]) -> tuple[Summary, list[Stage]]:
    """The network's table, and its stages from the input on."""
    _check_net(net)
    summary = net.summary(input_shape)  # type: ignore[arg-type]
    is_last = channels_last(net)
    shape = summary.input_shape
    found = [Stage(*_volume(shape, is_last))]
    names = [row.name for row in summary.rows]
    for row in summary.rows:
        if any(row.name != name and row.name.startswith(name and f"{name}.") for name in names):
            continue  # within a block, whose own row comes later
        if row.output_shape != shape or not _is_elementwise(row.layer):
            shape = tuple(row.output_shape)
            found.append(Stage(*_volume(shape, is_last)))
        found[-1].layers.append((row.name, row.layer))
    return summary, found


def checked_image(net: Module, image: np.ndarray) -> np.ndarray:
    """An image of the type of the network's parameters; whether its shape will do, the network says."""
    _check_net(net)
    if not isinstance(image, np.ndarray):
        raise TypeError(f"image must be an array, got {type(image).__name__}")
    dtypes = {parameter.data.dtype for parameter in net.parameters()}
    if dtypes and image.dtype not in dtypes:
        wanted = " or ".join(sorted(map(str, dtypes)))
        raise TypeError(f"image is {image.dtype}, the parameters of the network are {wanted}")
    return image


def channels_last(net: Module) -> bool:
    """Whether the network's images have their channels on the last axis."""
    return any(str(getattr(module, "layout", "")).endswith("C") for module in net.modules())


def _check_net(net: Module) -> None:
    if not isinstance(net, Module):
        raise TypeError(f"net must be a Module, got {type(net).__name__}")


def _volume(shape: Sequence[int], is_last: bool) -> tuple[int, tuple[int, ...]]:
    if len(shape) < 2:
        return math.prod(shape), ()
    return (shape[-1], tuple(shape[:-1])) if is_last else (shape[0], tuple(shape[1:]))


def _is_elementwise(layer: Module) -> bool:
    """As far as one can tell from a layer that keeps the shape of its input."""
    has_parts = next(layer.named_children(), None) is not None
    return not (has_parts or isinstance(layer, Linear) or hasattr(layer, "kernel_size"))


def _brief(layer: Module) -> str:
    """The layer's type, its window and how far that moves."""
    text = type(layer).__name__
    kernel, stride = getattr(layer, "kernel_size", None), getattr(layer, "stride", None)
    if isinstance(kernel, tuple):
        text += f" {times(kernel)}"
    if isinstance(stride, tuple) and set(stride) != {1}:
        text += f" / {stride[0] if len(set(stride)) == 1 else times(stride)}"
    return text
