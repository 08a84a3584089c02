"""Optimizers with PyTorch's formulas, in place and a block at a time, so that a step reads memory once."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import numpy as np

from convc.nn import Parameter

__all__ = ["SGD", "Adam", "Optimizer"]

Array = np.ndarray[Any, np.dtype[Any]]

# Elements of a parameter that are updated together: the blocks of the parameter, its gradient, two states and two
# temporaries fit into a second-level cache.
_BLOCK = 1 << 14


class _State:
    """What an optimizer remembers of a parameter: flat arrays, and how many steps it took."""

    __slots__ = ("arrays", "steps")

    def __init__(self, data: Array, count: int) -> None:
        self.arrays = [np.zeros(data.size, data.dtype) for _ in range(count)]
        self.steps = 0


class Optimizer:
    """
    What the optimizers share.

    Attributes
    ----------
    lr : float
        May be changed between steps; 0 keeps the parameters as they are.
    parameters : list of Parameter
    """

    _states = 0  # arrays that are remembered for each parameter

    def __init__(self, params: Iterable[Parameter], lr: float, weight_decay: float) -> None:
        if isinstance(params, Parameter):
            raise TypeError("params must be an iterable of parameters, as net.parameters() gives, got one Parameter")
        self.parameters = list(params)
        if not self.parameters:
            raise ValueError("params must hold at least one parameter")
        for i, parameter in enumerate(self.parameters):
            if not isinstance(parameter, Parameter):
                raise TypeError(
                    f"params[{i}] must be a Parameter, as net.parameters() gives, got {type(parameter).__name__}"
                )
        if len(set(map(id, self.parameters))) < len(self.parameters):
            raise ValueError("params must not hold a parameter twice")
        self.lr = lr
        if self.lr == 0:
            raise ValueError("lr must be above 0, got 0")
        self.weight_decay = _number(weight_decay, "weight_decay")
        self._memory = [_State(parameter.data, self._states) for parameter in self.parameters]
        block = min(_BLOCK, max(parameter.data.size for parameter in self.parameters))
        dtypes = {parameter.data.dtype for parameter in self.parameters}
        self._temporaries = {dtype: [np.empty(block, dtype) for _ in range(2)] for dtype in dtypes}

    @property
    def lr(self) -> float:
        return self._lr

    @lr.setter
    def lr(self, value: float) -> None:
        self._lr = _number(value, "lr")

    def step(self) -> None:
        """
        Change every parameter that has a gradient.

        Raises
        ------
        ValueError
            If a parameter or its gradient was replaced by an array that does not fit; nothing has changed then.
        """
        active = [pair for pair in zip(self.parameters, self._memory, strict=True) if pair[0].grad is not None]
        for parameter, state in active:
            _check(parameter, state)
        for parameter, state in active:
            state.steps += 1
            data, grad = parameter.data.reshape(-1), np.ascontiguousarray(parameter.grad).reshape(-1)
            for start in range(0, data.size, _BLOCK):
                block = slice(start, min(start + _BLOCK, data.size))
                decayed, scratch = (array[: block.stop - start] for array in self._temporaries[data.dtype])
                change = grad[block]
                if self.weight_decay:
                    np.multiply(data[block], self.weight_decay, out=decayed)
                    change = np.add(change, decayed, out=decayed)
                self._update(data[block], change, [array[block] for array in state.arrays], scratch, state.steps)

    def _update(self, data: Array, grad: Array, state: list[Array], scratch: Array, steps: int) -> None:
        """Change a block of a parameter; `steps` counts from 1, `grad` is only read, `scratch` is free to use."""
        raise NotImplementedError

    def zero_grad(self) -> None:
        """Forget the gradients of all parameters."""
        for parameter in self.parameters:
            parameter.zero_grad()


class SGD(Optimizer):
    """
    Stochastic gradient descent, optionally with momentum.

    With ``g = grad + weight_decay * p``: ``b = momentum * b + (1 - dampening) * g``, beginning at ``b = g``; then
    ``p -= lr * b``, or ``p -= lr * (g + momentum * b)`` with Nesterov's momentum. The same as `torch.optim.SGD`.

    Parameters
    ----------
    params : iterable of Parameter
    lr : float
        Above 0.
    momentum, weight_decay : float
        At least 0.
    nesterov : bool
        Needs a momentum and no dampening.
    dampening : float

    Examples
    --------
    >>> import numpy as np
    >>> from convc import nn, optim
    >>> p = nn.Parameter(np.array([1.0]))
    >>> p.grad = np.array([2.0])
    >>> optim.SGD([p], lr=0.25).step()
    >>> p.data
    array([0.5])
    """

    def __init__(
        self,
        params: Iterable[Parameter],
        lr: float,
        momentum: float = 0.0,
        weight_decay: float = 0.0,
        nesterov: bool = False,
        *,
        dampening: float = 0.0,
    ) -> None:
        self.momentum = _number(momentum, "momentum")
        self.dampening = _number(dampening, "dampening")
        self.nesterov = bool(nesterov)
        if self.nesterov and (not self.momentum or self.dampening):
            raise ValueError(
                f"nesterov needs momentum above 0 and dampening 0, got {self.momentum:g} and {self.dampening:g}"
            )
        self._states = 1 if self.momentum else 0
        super().__init__(params, lr, weight_decay)

    def _update(self, data: Array, grad: Array, state: list[Array], scratch: Array, steps: int) -> None:
        if state:
            (buffer,) = state
            if steps == 1:
                np.copyto(buffer, grad)
            else:
                buffer *= self.momentum
                buffer += np.multiply(grad, 1 - self.dampening, out=scratch) if self.dampening else grad
            if self.nesterov:
                np.multiply(buffer, self.momentum, out=scratch)
                grad = np.add(grad, scratch, out=scratch)
            else:
                grad = buffer
        data -= np.multiply(grad, self.lr, out=scratch)


class Adam(Optimizer):
    """
    Adam (Kingma and Ba, https://arxiv.org/abs/1412.6980), the same as `torch.optim.Adam`.

    With ``g = grad + weight_decay * p``: ``m`` and ``v`` are running means of ``g`` and ``g**2`` with decay rates
    `betas`, and ``p -= lr * m' / (sqrt(v') + eps)`` where the dash is division by ``1 - beta**steps``.

    Parameters
    ----------
    params : iterable of Parameter
    lr : float
        Above 0.
    betas : (float, float)
        From 0 to below 1.
    eps, weight_decay : float
        At least 0.

    Examples
    --------
    >>> import numpy as np
    >>> from convc import nn, optim
    >>> p = nn.Parameter(np.array([1.0]))
    >>> p.grad = np.array([2.0])
    >>> optim.Adam([p], lr=0.25, eps=0.0).step()
    >>> p.data
    array([0.75])
    """

    _states = 2

    def __init__(
        self,
        params: Iterable[Parameter],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
    ) -> None:
        try:
            first, second = betas
        except (TypeError, ValueError):
            raise TypeError(f"betas must be two numbers, got {betas!r}") from None
        self.betas = _number(first, "betas[0]"), _number(second, "betas[1]")
        if max(self.betas) >= 1:
            raise ValueError(f"betas must be below 1, got {self.betas}")
        self.eps = _number(eps, "eps")
        super().__init__(params, lr, weight_decay)

    def _update(self, data: Array, grad: Array, state: list[Array], scratch: Array, steps: int) -> None:
        mean, square = state
        beta1, beta2 = self.betas
        np.subtract(grad, mean, out=scratch)
        scratch *= 1 - beta1
        mean += scratch
        square *= beta2
        np.multiply(grad, grad, out=scratch)
        scratch *= 1 - beta2
        square += scratch
        np.sqrt(square, out=scratch)
        scratch /= math.sqrt(1 - beta2**steps)
        scratch += self.eps
        np.divide(mean, scratch, out=scratch)
        scratch *= self.lr / (1 - beta1**steps)
        data -= scratch


def _number(value: Any, name: str) -> float:
    try:
        number = float(value)
    except (TypeError, ValueError):
        raise TypeError(f"{name} must be a number, got {value!r}") from None
    if not 0 <= number < math.inf:
        raise ValueError(f"{name} must be finite and not negative, got {value!r}")
    return number


def _check(parameter: Parameter, state: _State) -> None:
    data, grad = parameter.data, parameter.grad
    if any(array.shape != (data.size,) or array.dtype != data.dtype for array in state.arrays):
        raise ValueError(f"a parameter became {data.dtype} of shape {data.shape}; make a new optimizer for it")
    if not (data.flags.c_contiguous and data.flags.writeable):
        raise ValueError(f"a parameter of shape {data.shape} must be C-contiguous and writeable")
    if grad is None or grad.shape != data.shape or grad.dtype != data.dtype:
        got = "nothing" if grad is None else f"{grad.dtype} of shape {grad.shape}"
        raise ValueError(f"a parameter is {data.dtype} of shape {data.shape}, but its gradient is {got}")
