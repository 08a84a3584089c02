"""convc's layers beside convolution: what calls each, forward and for its gradients."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

import convc
from benchmarks.libraries import Task
from benchmarks.libraries.layouts import channels_first, channels_last, same
from benchmarks.rows import Layer

_LAST = {3: "NWC", 4: "NHWC", 5: "NDHWC"}
_FIRST = {3: "NCW", 4: "NCHW", 5: "NCDHW"}
_POINTWISE = {"leaky_relu", "sigmoid", "tanh", "silu", "gelu", "layer_norm"}


def task(section: str, case: Layer, last: bool) -> Task | None:
    """Times a call with channels first, or last where the operator has channels."""
    if case.operator == "sum":
        return None
    arrays, options = case.data(), dict(case.options)
    x = arrays.pop("x")
    if case.operator in ("prelu", "softmax"):
        if last and x.ndim == 2:
            return None
        options["axis"] = -1 if last else 1
    elif case.operator not in _POINTWISE:
        options["layout"] = (_LAST if last else _FIRST)[x.ndim]
    elif last:
        return None
    to, back = (channels_last, channels_first) if last else (same, same)
    x = to(x)
    if "indices" in arrays:
        arrays["indices"] = to(arrays["indices"])
    forward: Callable[..., Any] = partial(getattr(convc, case.operator), x, **arrays, **options)
    if section == "layers":
        return Task(forward, lambda: [back(forward())])
    grad = to(case.gradient(back(forward()).shape))
    run = _gradients(case.operator, forward, grad, x, arrays, options)

    def results() -> list[np.ndarray]:
        grads = run()
        first, *others = grads if isinstance(grads, tuple) else (grads,)
        return [back(first), *(other for other in others if other is not None)]

    return Task(run, results)


def _gradients(
    operator: str,
    forward: Callable[..., Any],
    grad: np.ndarray,
    x: np.ndarray,
    arrays: dict[str, np.ndarray],
    options: dict[str, Any],
) -> Callable[[], Any]:
    """The call of an operator's gradient: each has what it needs of the forward pass."""
    backward = getattr(convc, f"{operator}_backward")
    weight = arrays.get("weight")
    if operator in ("batch_norm", "group_norm", "layer_norm"):
        _, *statistics = forward(return_statistics=True)
        where = [options.pop(name) for name in ("num_groups", "normalized_shape") if name in options]
        return partial(backward, grad, x, *where, *statistics, weight, **options)
    if operator == "adaptive_max_pool2d":
        _, indices = forward(return_indices=True)
        return partial(backward, grad, indices, x.shape, layout=options["layout"])
    if operator in ("avg_pool2d", "adaptive_avg_pool2d", "interpolate"):
        options.pop("output_size", None)
        return partial(backward, grad, x.shape, **options)
    if operator == "lp_pool2d":
        return partial(backward, grad, x, forward(), **options)
    if operator in ("sigmoid", "tanh", "softmax"):
        return partial(backward, grad, forward(), **options)
    if operator == "max_unpool2d":
        return partial(backward, grad, arrays["indices"], layout=options["layout"])
    if "conv" in operator and "bias" not in arrays:
        options["needs"] = ("x", "weight")
    return partial(backward, grad, x, **({} if weight is None else {"weight": weight}), **options)
