"""Activation functions as layers. For their gradients they keep the output where that will do, else the input."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np

from convc import _core, shapes
from convc.nn._module import Array, Backward, Module, Parameter
from convc.nn._weights import choice, float_dtype, number


class Activation(Module):
    """A function that leaves the shape as it is; most have no arguments."""

    def output_shape(self, input_shape: tuple[int, ...]) -> tuple[int, ...]:
        return tuple(input_shape)

    def config(self) -> dict[str, Any]:
        return {}

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{name}={value!r}' for name, value in self.config().items())})"


class _OfOutput(Activation):
    """The gradient is computed from the output, so that the input may be freed."""

    _operator: ClassVar[Callable[..., Any]]
    _gradient: ClassVar[Callable[..., Any]]

    def __call__(self, x: Array) -> Array:
        y: Array = type(self)._operator(x)
        return y

    def forward(self, x: Array) -> tuple[Array, Backward]:
        y = self(x)
        return y, lambda grad: type(self)._gradient(grad, y)


class ReLU(_OfOutput):
    """
    The larger of 0 and x, for each element.

    Examples
    --------
    >>> import numpy as np
    >>> from convc import nn
    >>> nn.ReLU()(np.array([-1.0, 2.0]))
    array([0., 2.])
    """

    _operator, _gradient = staticmethod(_core.relu), staticmethod(_core.relu_backward)


class Sigmoid(_OfOutput):
    """
    The logistic function ``1 / (1 + exp(-x))``, for each element.

    Examples
    --------
    >>> import numpy as np
    >>> from convc import nn
    >>> nn.Sigmoid()(np.array([-1000.0, 0.0]))
    array([0. , 0.5])
    """

    _operator, _gradient = staticmethod(_core.sigmoid), staticmethod(_core.sigmoid_backward)


class Tanh(_OfOutput):
    """
    The hyperbolic tangent of each element.

    Examples
    --------
    >>> import numpy as np
    >>> from convc import nn
    >>> nn.Tanh()(np.array([-1000.0, 0.0]))
    array([-1.,  0.])
    """

    _operator, _gradient = staticmethod(_core.tanh), staticmethod(_core.tanh_backward)


class SiLU(Activation):
    """
    ``x * sigmoid(x)``, for each element.

    Examples
    --------
    >>> import numpy as np
    >>> from convc import nn
    >>> nn.SiLU()(np.array([0.0, 100.0]))
    array([  0., 100.])
    """

    def __call__(self, x: Array) -> Array:
        return _core.silu(x)

    def forward(self, x: Array) -> tuple[Array, Backward]:
        return self(x), lambda grad: _core.silu_backward(grad, x)


class GELU(Activation):
    """
    ``x`` times the probability that a standard normal variable is below it, for each element.

    Parameters
    ----------
    approximate : {"none", "tanh"}
        Whether to compute the approximation by tanh; see `convc.gelu`.

    Examples
    --------
    >>> import numpy as np
    >>> from convc import nn
    >>> nn.GELU()(np.array([0.0, 100.0]))
    array([  0., 100.])
    """

    def __init__(self, approximate: str = "none") -> None:
        self.approximate = choice(approximate, "approximate", ("none", "tanh"))

    def __call__(self, x: Array) -> Array:
        return _core.gelu(x, self.approximate)

    def forward(self, x: Array) -> tuple[Array, Backward]:
        return self(x), lambda grad: _core.gelu_backward(grad, x, self.approximate)

    def config(self) -> dict[str, Any]:
        return {"approximate": self.approximate}


class LeakyReLU(Activation):
    """
    ``x`` where it is positive, else ``negative_slope * x``.

    Parameters
    ----------
    negative_slope : float

    Examples
    --------
    >>> import numpy as np
    >>> from convc import nn
    >>> nn.LeakyReLU(0.25)(np.array([-4.0, 2.0]))
    array([-1.,  2.])
    """

    def __init__(self, negative_slope: float = 0.01) -> None:
        self.negative_slope = number(negative_slope, "negative_slope")

    def __call__(self, x: Array) -> Array:
        return _core.leaky_relu(x, self.negative_slope)

    def forward(self, x: Array) -> tuple[Array, Backward]:
        y, slope = self(x), self.negative_slope
        kept = y if slope >= 0 else x  # of the input's signs
        return y, lambda grad: _core.leaky_relu_backward(grad, kept, slope)

    def config(self) -> dict[str, Any]:
        return {"negative_slope": self.negative_slope}


class PReLU(Activation):
    """
    ``x`` where it is positive, else ``weight * x``; the weight is learned.

    Parameters
    ----------
    num_parameters : int
        1, one weight for all elements, or the number of channels, one for each.
    init : float
        Initial value of the weights.
    axis : int
        The axis of the channels: 1 if they come first, -1 if they come last.
    dtype : float32 or float64

    Attributes
    ----------
    weight : Parameter, (num_parameters,)

    Examples
    --------
    >>> import numpy as np
    >>> from convc import nn
    >>> nn.PReLU(2)(np.full((1, 2, 2), -4, np.float32))
    array([[[-1., -1.],
            [-1., -1.]]], dtype=float32)
    """

    def __init__(self, num_parameters: int = 1, init: float = 0.25, *, axis: int = 1, dtype: Any = np.float32) -> None:
        self.num_parameters = shapes.integer(num_parameters, "num_parameters", 1)
        self.init = number(init, "init")
        self.axis = shapes.integer(axis, "axis", -(2**63))
        self.weight = Parameter(np.full(self.weight_shape(self.num_parameters), self.init, float_dtype(dtype)))

    @staticmethod
    def weight_shape(num_parameters: int, **_: Any) -> tuple[int, ...]:
        return (num_parameters,)

    def __call__(self, x: Array) -> Array:
        return _core.prelu(x, self.weight.data, self.axis)

    def forward(self, x: Array) -> tuple[Array, Backward]:
        def backward(grad: Array) -> Array:
            grad_x, grad_weight = _core.prelu_backward(grad, x, self.weight.data, self.axis)
            self.weight.accumulate(grad_weight)
            return grad_x

        return self(x), backward

    def output_shape(self, input_shape: tuple[int, ...]) -> tuple[int, ...]:
        if self.num_parameters > 1:
            axis = _axis(self, self.axis, input_shape)
            if axis == 0 or input_shape[axis - 1] != self.num_parameters:
                raise ValueError(
                    f"{self} needs {self.num_parameters} channels on axis {self.axis}, "
                    f"got {tuple(input_shape)} behind the batch axis"
                )
        return tuple(input_shape)

    def config(self) -> dict[str, Any]:
        return {
            "num_parameters": self.num_parameters,
            "init": self.init,
            "axis": self.axis,
            "dtype": self.weight.data.dtype.name,
        }

    def __repr__(self) -> str:
        return f"PReLU(num_parameters={self.num_parameters}{'' if self.axis == 1 else f', axis={self.axis}'})"


class Softmax(Activation):
    """
    ``exp(x) / sum(exp(x))`` along an axis. `convc.loss.CrossEntropyLoss` has its own: no network for it ends in this.

    Parameters
    ----------
    dim : int
        The axis, of an array that has a batch axis.

    Examples
    --------
    >>> import numpy as np
    >>> from convc import nn
    >>> nn.Softmax(1)(np.zeros((1, 2)))
    array([[0.5, 0.5]])
    """

    def __init__(self, dim: int) -> None:
        self.dim = shapes.integer(dim, "dim", -(2**63))

    def __call__(self, x: Array) -> Array:
        return _core.softmax(x, self.dim)

    def forward(self, x: Array) -> tuple[Array, Backward]:
        y = self(x)
        return y, lambda grad: _core.softmax_backward(grad, y, self.dim)

    def output_shape(self, input_shape: tuple[int, ...]) -> tuple[int, ...]:
        _axis(self, self.dim, input_shape)
        return tuple(input_shape)

    def config(self) -> dict[str, Any]:
        return {"dim": self.dim}


def _axis(layer: Module, axis: int, input_shape: tuple[int, ...]) -> int:
    """The axis that is meant, counted from the batch axis, which the shape does not have."""
    ndim = len(input_shape) + 1
    if not -ndim <= axis < ndim:
        raise ValueError(f"{layer}: axis {axis} is none of {ndim}, of an input {tuple(input_shape)} and the batch axis")
    return axis % ndim
