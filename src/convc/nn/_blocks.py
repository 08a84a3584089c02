"""Blocks: paths side by side from one input, whose outputs are joined again."""

from __future__ import annotations

import functools
import operator
from collections.abc import Sequence
from typing import Any

import numpy as np

from convc import shapes
from convc.nn._module import Array, Backward, Module
from convc.nn._sequential import LayerList, Sequential, described
from convc.shapes import ReceptiveField

Shape = tuple[int, ...]


class Parallel(Module):
    """Paths side by side; a kind of them says how outputs are joined, and what part of the gradient each path gets."""

    def paths(self) -> list[tuple[str, Module]]:
        """The paths with their names; an empty `Sequential` is the input itself."""
        return list(self.named_children())

    def join_shapes(self, outputs: list[Shape]) -> Shape:
        """Shape of the joined output, without the batch axis."""
        raise NotImplementedError

    def _join(self, outputs: list[Array]) -> Array:
        raise NotImplementedError

    def _split(self, grad: Array, outputs: list[Shape]) -> Sequence[Array]:
        raise NotImplementedError

    def __call__(self, x: Array) -> Array:
        return self._join([path(x) for _, path in self.paths()])

    def forward(self, x: Array) -> tuple[Array, Backward]:
        return self._forward(x, "forward")

    def forward_inference(self, x: Array) -> tuple[Array, Backward]:
        return self._forward(x, "forward_inference")

    def _forward(self, x: Array, kind: str) -> tuple[Array, Backward]:
        results = [getattr(path, kind)(x) for _, path in self.paths()]
        outputs, backwards = [y for y, _ in results], [backward for _, backward in results]
        sizes = [y.shape for y in outputs]

        def run_backward(grad: Array) -> Array:
            parts = zip(backwards, self._split(grad, sizes), strict=True)
            return functools.reduce(operator.add, [backward(part) for backward, part in parts])

        return self._join(outputs), run_backward

    def output_shape(self, input_shape: Shape) -> Shape:
        return self.join_shapes([path.output_shape(input_shape) for _, path in self.paths()])

    def macs(self, input_shape: Shape) -> int:
        return sum(path.macs(input_shape) for _, path in self.paths())

    def unshared_parameters(self, input_shape: Shape) -> int:
        return sum(path.unshared_parameters(input_shape) for _, path in self.paths())

    def receptive_field(self, field: ReceptiveField | None) -> ReceptiveField | None:
        fields = [path.receptive_field(field) for _, path in self.paths()]
        seen = [field for field in fields if field is not None]
        if len(seen) < len(fields):
            return None
        return functools.reduce(ReceptiveField.union, seen)


class Residual(Parallel):
    """
    Layers and a shortcut around them: ``y = body(x) + shortcut(x)``.

    He et al., "Deep Residual Learning for Image Recognition", https://arxiv.org/abs/1512.03385.

    Parameters
    ----------
    *layers : Module
        The body, one after another.
    shortcut : Module, optional
        For bodies that change the shape of their input; the input itself if not given.

    Attributes
    ----------
    body : Sequential
    shortcut : Module or None
        So that parameters are called ``body.0.weight`` and ``shortcut.weight``, as in a PyTorch module whose `forward`
        is ``self.body(x) + self.shortcut(x)``.

    Examples
    --------
    >>> import numpy as np
    >>> from convc import nn
    >>> body = nn.Conv2d(4, 8, 3, 2, 1), nn.ReLU(), nn.Conv2d(8, 8, 3, padding=1)
    >>> block = nn.Residual(*body, shortcut=nn.Conv2d(4, 8, 1, 2))
    >>> block(np.ones((1, 4, 6, 6), np.float32)).shape
    (1, 8, 3, 3)
    """

    def __init__(self, *layers: Module, shortcut: Module | None = None) -> None:
        if shortcut is not None and not isinstance(shortcut, Module):
            raise TypeError(f"shortcut must be a Module or None, got {shortcut!r}")
        self.body = Sequential(*layers)
        self.shortcut = shortcut

    def paths(self) -> list[tuple[str, Module]]:
        return [("body", self.body), ("shortcut", Sequential() if self.shortcut is None else self.shortcut)]

    def join_shapes(self, outputs: list[Shape]) -> Shape:
        body, shortcut = outputs
        if body != shortcut:
            what = "the input, which is the shortcut," if self.shortcut is None else "the shortcut"
            raise ValueError(f"Residual: the body gives shape {tuple(body)}, {what} has {tuple(shortcut)}")
        return tuple(body)

    def _join(self, outputs: list[Array]) -> Array:
        self.join_shapes([y.shape for y in outputs])
        return outputs[0] + outputs[1]

    def _split(self, grad: Array, outputs: list[Shape]) -> Sequence[Array]:
        return [grad, grad]

    def config(self) -> dict[str, Any]:
        return {**self.body.config(), "shortcut": None if self.shortcut is None else described(self.shortcut)}


class Concat(LayerList, Parallel):
    """
    Branches side by side whose outputs are put one after another along the channels.

    Szegedy et al., "Going deeper with convolutions", https://arxiv.org/abs/1409.4842. An empty ``Sequential()`` as a
    branch passes the input on (Huang et al., "Densely Connected Convolutional Networks",
    https://arxiv.org/abs/1608.06993).

    Parameters
    ----------
    *layers : Module
        The branches. Their parameters are called ``0.weight``, ``1.weight``, ..., as in a `torch.nn.ModuleList`.
    axis : int
        The axis of the channels, counted with the batch axis: 1, or -1 where the channels come last.

    Examples
    --------
    >>> import numpy as np
    >>> from convc import nn
    >>> block = nn.Concat(nn.Conv2d(3, 4, 1), nn.Conv2d(3, 8, 3, padding=1), nn.Sequential())
    >>> block(np.ones((1, 3, 6, 6), np.float32)).shape
    (1, 15, 6, 6)
    """

    def __init__(self, *layers: Module, axis: int = 1) -> None:
        super().__init__(*layers)
        if not layers:
            raise ValueError("Concat needs at least one branch")
        self.axis = shapes.integer(axis, "axis", -(2**63))
        if self.axis == 0:
            raise ValueError("axis must not be 0, the batch axis")

    def join_shapes(self, outputs: list[Shape]) -> Shape:
        return self._join_full([(1, *shape) for shape in outputs])[1:]

    def _join_full(self, outputs: list[Shape]) -> Shape:
        first, axis = outputs[0], self._axis(outputs[0])
        for shape in outputs[1:]:
            if (*shape[:axis], *shape[axis + 1 :]) != (*first[:axis], *first[axis + 1 :]) or len(shape) != len(first):
                raise ValueError(f"Concat: the branches give shapes that differ beside axis {self.axis}: {outputs}")
        return (*first[:axis], sum(shape[axis] for shape in outputs), *first[axis + 1 :])

    def _axis(self, shape: Shape) -> int:
        axis = self.axis + len(shape) if self.axis < 0 else self.axis
        if not 0 < axis < len(shape):
            raise ValueError(f"Concat: axis {self.axis} is no axis of channels in shape {shape}")
        return axis

    def _join(self, outputs: list[Array]) -> Array:
        self._join_full([y.shape for y in outputs])
        return np.concatenate(outputs, self.axis)

    def _split(self, grad: Array, outputs: list[Shape]) -> Sequence[Array]:
        ends = np.cumsum([shape[self.axis] for shape in outputs])
        return np.split(grad, ends[:-1], self.axis)

    def config(self) -> dict[str, Any]:
        return {**super().config(), "axis": self.axis}

    def extra_repr(self) -> str:
        return "" if self.axis == 1 else f"axis={self.axis}"
