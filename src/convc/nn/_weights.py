"""What layers with weights share: checked arguments, initial values, where gradients go."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from convc.nn._module import Array, Parameter

Random = np.random.Generator | int | None


def choice(value: Any, name: str, choices: tuple[Any, ...]) -> Any:
    """`value` if it is one of the choices; the error names the argument and lists them."""
    if value not in choices:
        raise ValueError(f"{name} must be {' or '.join(map(repr, choices))}, got {value!r}")
    return value


def initial(shape: tuple[int, ...], biases: int | None, dtype: Any, rng: Random) -> tuple[Parameter, Parameter | None]:
    """
    Weight and so many biases with PyTorch's initial values: uniform within 1 / sqrt(fan_in) of zero.

    That is He et al.'s initialization (https://arxiv.org/abs/1502.01852) for leaky units of slope sqrt(5).
    """
    dtype = choice(np.dtype(dtype), "dtype", (np.dtype(np.float32), np.dtype(np.float64)))
    generator = np.random.default_rng(rng)
    bound = dtype.type(1 / math.sqrt(math.prod(shape[1:])))

    def draw(shape: tuple[int, ...]) -> Parameter:
        values = generator.random(shape, dtype=dtype.type)
        values *= 2 * bound
        values -= bound
        return Parameter(values)

    return draw(shape), None if biases is None else draw((biases,))


def accumulate(weight: Parameter, bias: Parameter | None, grads: tuple[Any, Any, Any]) -> Array | None:
    """Give the parameters their gradients and return that of the input."""
    grad_x, grad_weight, grad_bias = grads
    weight.accumulate(grad_weight)
    if bias is not None:
        bias.accumulate(grad_bias)
    return grad_x  # type: ignore[no-any-return]


def data(parameter: Parameter | None) -> Array | None:
    """The array of a parameter that may be absent."""
    return None if parameter is None else parameter.data
