"""convc's layers beside convolution: what calls each, forward and for its gradients."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

import convc
from benchmarks.libraries import Task
from benchmarks.rows import Layer

# What the functions are called with beside x, for those whose gradient wants more than grad, x and the weights.
_LAST = {3: "NWC", 4: "NHWC", 5: "NDHWC"}
_FIRST = {3: "NCW", 4: "NCHW", 5: "NCDHW"}
_POINTWISE = {"leaky_relu", "sigmoid", "tanh", "silu", "gelu", "layer_norm"}


def task(section: str, case: Layer, last: bool) -> Task | None:
    """Times a call with channels first, or last where the operator has channels."""
    arrays = case.data()
    x, back = arrays.pop("x"), (lambda y: y)
    options = dict(case.options)
    if case.operator not in _POINTWISE:
        options["layout"] = (_LAST if last else _FIRST)[x.ndim]
        if last:
            x, back = np.ascontiguousarray(np.moveaxis(x, 1, -1)), (lambda y: np.moveaxis(y, -1, 1))
    elif last:
        return None
    forward: Callable[..., Any] = partial(getattr(convc, case.operator), x, **arrays, **options)
    if section == "layers":
        return Task(forward, lambda: [back(forward())])
    run = _gradients(case.operator, forward, x, arrays, options)

    def results() -> list[np.ndarray]:
        grads = run()
        first, *others = grads if isinstance(grads, tuple) else (grads,)
        return [back(first), *(grad for grad in others if grad is not None)]

    return Task(run, results)


def _gradients(
    operator: str, forward: Callable[..., Any], x: np.ndarray, arrays: dict[str, np.ndarray], options: dict[str, Any]
) -> Callable[[], Any]:
    """The call of an operator's gradient: each has what it needs of the forward pass."""
    backward = getattr(convc, f"{operator}_backward")
    weight = arrays.get("weight")
    if "norm" in operator and operator != "local_response_norm":
        y, *statistics = forward(return_statistics=True)
        where = [options.pop(name) for name in ("num_groups", "normalized_shape") if name in options]
        return partial(backward, np.ones_like(y), x, *where, *statistics, weight, **options)
    if operator == "adaptive_max_pool2d":
        y, indices = forward(return_indices=True)
        return partial(backward, np.ones_like(y), indices, x.shape, layout=options["layout"])
    y = forward()
    grad = np.ones_like(y)
    if operator in ("avg_pool2d", "adaptive_avg_pool2d", "interpolate"):
        options.pop("output_size", None)
        return partial(backward, grad, x.shape, **options)
    if operator == "lp_pool2d":
        return partial(backward, grad, x, y, **options)
    if operator in ("sigmoid", "tanh"):
        return partial(backward, grad, y)
    if weight is None:
        return partial(backward, grad, x, **options)
    return partial(backward, grad, x, weight, **options)
