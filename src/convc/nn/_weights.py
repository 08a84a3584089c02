"""What layers with weights share: checked arguments, initial values, where gradients go."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from convc.nn._module import Array, Buffer, Parameter

Random = np.random.Generator | int | None


def choice(value: Any, name: str, choices: tuple[Any, ...]) -> Any:
    """`value` if it is one of the choices; the error names the argument and lists them."""
    if value not in choices:
        raise ValueError(f"{name} must be {' or '.join(map(repr, choices))}, got {value!r}")
    return value


def number(value: Any, name: str) -> float:
    """`value` as a float; the error names the argument."""
    try:
        return float(value)
    except (TypeError, ValueError):
        raise TypeError(f"{name} must be a number, got {value!r}") from None


def check_floats(x: Any, name: str) -> None:
    """Refuse, in place of NumPy, what the operators would."""
    if not isinstance(x, np.ndarray) or x.dtype not in (np.float32, np.float64):
        got = x.dtype if isinstance(x, np.ndarray) else type(x).__name__
        raise TypeError(f"{name} must be an array of float32 or float64, got {got}")


def float_dtype(dtype: Any) -> np.dtype[Any]:
    """One of the two types that a layer may have."""
    return choice(np.dtype(dtype), "dtype", (np.dtype(np.float32), np.dtype(np.float64)))  # type: ignore[no-any-return]


def initial(
    shape: tuple[int, ...], biases: tuple[int, ...] | None, dtype: Any, rng: Random, outputs: int = 1
) -> tuple[Parameter, Parameter | None]:
    """
    Weight and biases of such shapes with PyTorch's initial values: uniform within 1 / sqrt(fan_in) of zero.

    The fan-in is that of the weight's axes behind the first, or behind so many `outputs`. That is He et al.'s
    initialization (https://arxiv.org/abs/1502.01852) for leaky units of slope sqrt(5).
    """
    dtype = float_dtype(dtype)
    generator = np.random.default_rng(rng)
    bound = dtype.type(1 / math.sqrt(math.prod(shape[outputs:])))

    def draw(shape: tuple[int, ...]) -> Parameter:
        values = generator.random(shape, dtype=dtype.type)
        values *= 2 * bound
        values -= bound
        return Parameter(values)

    return draw(shape), None if biases is None else draw(biases)


def accumulate(weight: Parameter | None, bias: Parameter | None, grads: tuple[Any, Any, Any]) -> Array | None:
    """Give the parameters, where there are any, their gradients and return that of the input."""
    grad_x, grad_weight, grad_bias = grads
    if weight is not None:
        weight.accumulate(grad_weight)
    if bias is not None:
        bias.accumulate(grad_bias)
    return grad_x  # type: ignore[no-any-return]


def data(held: Parameter | Buffer | None) -> Array | None:
    """The array of a parameter or buffer that may be absent."""
    return None if held is None else held.data
