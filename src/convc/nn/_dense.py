"""Layers that do not look at neighbours: fully connected, Dropout, and Flatten between the two worlds."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from convc import _core, shapes
from convc.nn._module import Array, Backward, Module
from convc.nn._weights import Random, accumulate, check_floats, choice, data, initial, number
from convc.shapes import ReceptiveField


class Linear(Module):
    """
    Fully connected layer, ``x @ weight.T + bias`` over the last axis.

    Parameters
    ----------
    in_features, out_features : int
    bias : bool
    activation : {None, "relu"}
    dtype : float32 or float64
    rng : numpy.random.Generator or int, optional
        Draws the initial values, uniform within 1 / sqrt(in_features) of zero, as PyTorch's are.

    Attributes
    ----------
    weight : Parameter, (out_features, in_features)
    bias : Parameter or None

    Examples
    --------
    >>> import numpy as np
    >>> from convc import nn
    >>> nn.Linear(3, 2)(np.ones((5, 3), np.float32)).shape
    (5, 2)
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        bias: bool = True,
        *,
        activation: str | None = None,
        dtype: Any = np.float32,
        rng: Random = None,
    ) -> None:
        self.in_features = shapes.integer(in_features, "in_features", 1)
        self.out_features = shapes.integer(out_features, "out_features", 1)
        self.activation = choice(activation, "activation", (None, "relu"))
        shape = self.weight_shape(self.in_features, self.out_features)
        self.weight, self.bias = initial(shape, (self.out_features,) if bias else None, dtype, rng)

    out_axis = 0

    @staticmethod
    def weight_shape(in_features: int, out_features: int, **_: Any) -> tuple[int, ...]:
        """Shape of the weight of such a layer."""
        return (out_features, in_features)

    def __call__(self, x: Array) -> Array:
        return _core.linear(x, self.weight.data, data(self.bias), activation=self.activation)

    def forward(self, x: Array) -> tuple[Array, Backward]:
        return self._forward(x, ("x",))

    def forward_data(self, x: Array) -> tuple[Array, Backward]:
        return self._forward(x, ())

    def _forward(self, x: Array, needs: tuple[str, ...]) -> tuple[Array, Backward]:
        y = self(x)
        clipped = y if self.activation else None
        weight, bias = self.weight, self.bias
        needs += ("weight",) if bias is None else ("weight", "bias")

        def backward(grad: Array) -> Array | None:
            if clipped is not None:
                grad = _core.relu_backward(grad, clipped)
            return accumulate(weight, bias, _core.linear_backward(grad, x, weight.data, needs=needs))

        return y, backward

    def output_shape(self, input_shape: tuple[int, ...]) -> tuple[int, ...]:
        if not input_shape or input_shape[-1] != self.in_features:
            raise ValueError(f"{self} needs {self.in_features} features on the last axis, got {tuple(input_shape)}")
        return (*input_shape[:-1], self.out_features)

    def macs(self, input_shape: tuple[int, ...]) -> int:
        return shapes.linear_macs(self.in_features, self.out_features, math.prod(input_shape[:-1]))

    def receptive_field(self, field: ReceptiveField | None) -> None:
        return None

    def config(self) -> dict[str, Any]:
        return {
            "in_features": self.in_features,
            "out_features": self.out_features,
            "bias": self.bias is not None,
            "activation": self.activation,
            "dtype": self.weight.data.dtype.name,
        }

    def __repr__(self) -> str:
        text = f"in_features={self.in_features}, out_features={self.out_features}, bias={self.bias is not None}"
        return f"Linear({text}{f', activation={self.activation!r}' if self.activation else ''})"


class Flatten(Module):
    """
    Join the axes from `start_dim` to `end_dim`, both included; by default all but the batch axis.

    Examples
    --------
    >>> import numpy as np
    >>> from convc import nn
    >>> nn.Flatten()(np.ones((2, 3, 4, 5))).shape
    (2, 60)
    """

    def __init__(self, start_dim: int = 1, end_dim: int = -1) -> None:
        self.start_dim = shapes.integer(start_dim, "start_dim", -(2**63))
        self.end_dim = shapes.integer(end_dim, "end_dim", -(2**63))

    def __call__(self, x: Array) -> Array:
        if not isinstance(x, np.ndarray):
            raise TypeError(f"x must be an array, got {type(x).__name__}")
        return x.reshape(self._flat(x.shape))

    def forward(self, x: Array) -> tuple[Array, Backward]:
        y, shape = self(x), x.shape
        return y, lambda grad: grad.reshape(shape)

    def _flat(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        start, end = (dim + len(shape) if dim < 0 else dim for dim in (self.start_dim, self.end_dim))
        if not 0 <= start <= end < len(shape):
            raise ValueError(f"{self} cannot join axes {start} to {end} of an input of shape {tuple(shape)}")
        return (*shape[:start], math.prod(shape[start : end + 1]), *shape[end + 1 :])

    def output_shape(self, input_shape: tuple[int, ...]) -> tuple[int, ...]:
        flat = self._flat((1, *input_shape))
        if len(flat) <= len(input_shape) and self.start_dim in (0, -1 - len(input_shape)):
            raise ValueError(f"{self} joins the batch axis of an input {tuple(input_shape)} with others")
        return flat[1:]

    def config(self) -> dict[str, Any]:
        return {"start_dim": self.start_dim, "end_dim": self.end_dim}

    def __repr__(self) -> str:
        return f"Flatten(start_dim={self.start_dim}, end_dim={self.end_dim})"


class Dropout(Module):
    """
    In training, zero each element with probability `p` and scale the others by 1 / (1 - p); in use, do nothing.

    Parameters
    ----------
    p : float
        From 0 to 1.
    rng : numpy.random.Generator or int, optional
        Draws what is zeroed. `convc.train.fit` starts it anew from its own seed.

    Examples
    --------
    >>> import numpy as np
    >>> from convc import nn
    >>> dropout = nn.Dropout(0.5, rng=0)
    >>> dropout(np.ones(3))
    array([1., 1., 1.])
    >>> sorted(set(dropout.forward(np.ones(100))[0].tolist()))
    [0.0, 2.0]
    """

    def __init__(self, p: float = 0.5, *, rng: Random = None) -> None:
        self.p = number(p, "p")
        if not 0 <= self.p <= 1:
            raise ValueError(f"p must be from 0 to 1, got {p!r}")
        self.rng = np.random.default_rng(rng)

    def __call__(self, x: Array) -> Array:
        return x

    def forward(self, x: Array) -> tuple[Array, Backward]:
        check_floats(x, "x")
        if self.p == 0:
            return x, lambda grad: grad
        p = self.p
        y, mask = _core.dropout(x, p, rng=self.rng, return_mask=True)
        return y, lambda grad: _core.dropout_backward(grad, mask, p)

    def forward_inference(self, x: Array) -> tuple[Array, Backward]:
        return x, lambda grad: grad

    def seed(self, seed: int | np.random.SeedSequence | None) -> None:
        self.rng = np.random.default_rng(seed)

    def output_shape(self, input_shape: tuple[int, ...]) -> tuple[int, ...]:
        return tuple(input_shape)

    def config(self) -> dict[str, Any]:
        return {"p": self.p}

    def __repr__(self) -> str:
        return f"Dropout(p={self.p:g})"
