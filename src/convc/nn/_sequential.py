"""Layers one after another."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any, overload

from convc.nn._activation import ReLU
from convc.nn._dense import Linear
from convc.nn._local import LocallyConnected1d, LocallyConnected2d
from convc.nn._module import Array, Backward, Module
from convc.nn._pool import MaxPool1d, MaxPool2d, MaxPool3d
from convc.nn._spatial import Conv1d, Conv2d, Conv3d
from convc.nn._transpose import ConvTranspose1d, ConvTranspose2d, ConvTranspose3d
from convc.shapes import ReceptiveField

_FUSABLE = (
    *(Conv1d, Conv2d, Conv3d),
    *(ConvTranspose1d, ConvTranspose2d, ConvTranspose3d),
    *(LocallyConnected1d, LocallyConnected2d),
    Linear,
)
_MAX_POOLS = MaxPool1d, MaxPool2d, MaxPool3d


class LayerList(Module):
    """Modules that are numbered, and counted by `len`."""

    def __init__(self, *layers: Module) -> None:
        given: tuple[object, ...] = layers
        for i, layer in enumerate(given):
            if not isinstance(layer, Module):
                unpack = (
                    f"; a list of layers is given as {type(self).__name__}(*layers)"
                    if isinstance(layer, list | tuple)
                    else ""
                )
                raise TypeError(f"layer {i} must be a Module, got {layer!r}{unpack}")
        self.layers = list(layers)

    def named_children(self) -> Iterator[tuple[str, Module]]:
        for i, layer in enumerate(self.layers):
            yield str(i), layer

    def config(self) -> dict[str, Any]:
        return {"layers": [described(layer) for layer in self.layers]}

    def __len__(self) -> int:
        return len(self.layers)

    def __iter__(self) -> Iterator[Module]:
        return iter(self.layers)


def described(layer: Module) -> dict[str, Any]:
    """The kind of a layer and the arguments that make it again."""
    return {"type": type(layer).__name__, **layer.config()}


def _stages(layers: list[Module]) -> list[Module]:
    """The layers, each ReLU merged with the layer before it where that layer can do its work."""
    stages: list[Module] = []
    for layer in layers:
        last: Any = stages[-1] if stages else None
        if type(layer) is ReLU and type(last) in _FUSABLE and last.activation is None:
            last = stages[-1] = copy.copy(last)
            last.activation = "relu"
        else:
            stages.append(layer)
    return stages


def _pools_first(layers: list[Module]) -> list[Module]:
    """
    The layers, each ReLU behind the max pooling that follows it.

    The maximum of a window is the same either way, and no gradient passes where it is not positive; but what is
    clipped, and kept to mask the gradient, is as small as the output of the pool.
    """
    ordered: list[Module] = []
    for layer in layers:
        pool: Any = layer
        shrinks = type(layer) in _MAX_POOLS and max(pool.stride) > 1 and not pool.return_indices
        if shrinks and ordered and type(ordered[-1]) is ReLU:
            ordered.insert(-1, layer)
        else:
            ordered.append(layer)
    return ordered


class Sequential(LayerList):
    """
    Layers one after another.

    A ReLU that follows a convolution, a locally or a fully connected layer is computed within that layer, which changes
    no result; nor does it that training computes a ReLU behind the max pooling that follows it, on fewer elements.

    Examples
    --------
    >>> import numpy as np
    >>> from convc import nn
    >>> net = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(36, 10))
    >>> net(np.ones((2, 1, 8, 8), np.float32)).shape
    (2, 10)
    >>> list(net.state_dict())
    ['0.weight', '0.bias', '4.weight', '4.bias']
    """

    def __call__(self, x: Array) -> Array:
        for layer in _stages(self.layers):
            x = layer(x)
        return x

    def forward(self, x: Array) -> tuple[Array, Backward]:
        return self._forward(x, "forward")

    def forward_inference(self, x: Array) -> tuple[Array, Backward]:
        return self._forward(x, "forward_inference")

    def forward_data(self, x: Array) -> tuple[Array, Backward]:
        return self._forward(x, "forward_data")

    def _forward(self, x: Array, kind: str) -> tuple[Array, Backward]:
        backwards: list[Backward] = []
        for layer in _stages(_pools_first(self.layers)):
            x, backward = getattr(layer, kind)(x)
            if kind != "forward_data":
                backwards.append(backward)
            elif next(layer.parameters(), None) is not None:
                # No gradient is needed until this layer, the first that learns.
                backwards.append(backward)
                kind = "forward"

        def run_backward(grad: Array) -> Array | None:
            for backward in reversed(backwards):
                grad = backward(grad)
            return None if kind == "forward_data" else grad

        return x, run_backward

    def output_shape(self, input_shape: tuple[int, ...]) -> tuple[int, ...]:
        for layer in self.layers:
            input_shape = layer.output_shape(input_shape)
        return tuple(input_shape)

    def macs(self, input_shape: tuple[int, ...]) -> int:
        return sum(layer.macs(shape) for layer, shape in self._inputs(input_shape))

    def unshared_parameters(self, input_shape: tuple[int, ...]) -> int:
        return sum(layer.unshared_parameters(shape) for layer, shape in self._inputs(input_shape))

    def _inputs(self, input_shape: tuple[int, ...]) -> Iterator[tuple[Module, tuple[int, ...]]]:
        """Each layer with the shape of its input."""
        for layer in self.layers:
            yield layer, input_shape
            input_shape = layer.output_shape(input_shape)

    def receptive_field(self, field: ReceptiveField | None) -> ReceptiveField | None:
        for layer in self.layers:
            field = layer.receptive_field(field)
        return field

    @overload
    def __getitem__(self, index: int) -> Any: ...
    @overload
    def __getitem__(self, index: slice) -> Sequential: ...
    def __getitem__(self, index: int | slice) -> Any:
        return Sequential(*self.layers[index]) if isinstance(index, slice) else self.layers[index]
