"""PyTorch's layers beside convolution: what calls each, and autograd for the gradients alone."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F

from benchmarks.libraries import Task
from benchmarks.rows import Layer


def task(section: str, case: Layer, last: bool) -> Task | None:
    arrays = case.data()
    if last and arrays["x"].ndim != 4:
        return None
    options = dict(case.options)
    with torch.inference_mode(False):
        tensors = {name: torch.from_numpy(array) for name, array in arrays.items()}
        if last:
            formatted = ("x", "weight") if "conv" in case.operator else ("x", "indices")
            for name in set(formatted) & set(tensors):
                tensors[name] = tensors[name].contiguous(memory_format=torch.channels_last)
        # Statistics are state, which training changes: here they are each call's own.
        running = [tensors.pop(name).clone() for name in ("running_mean", "running_var") if name in tensors]
        x, *weights = tensors.values()
    forward = _forward(case.operator, running, options)
    if section == "layers":
        run = partial(forward, x, *weights)
        return Task(run, lambda: [run().numpy()])
    if case.operator == "sum":
        return None
    with torch.inference_mode(False), torch.enable_grad():
        leaves = [tensor.requires_grad_() for tensor in (x, *weights) if tensor.is_floating_point()]
        y = forward(x, *weights)
        grad = torch.from_numpy(case.gradient(tuple(y.shape)))
        if last:
            grad = grad.contiguous(memory_format=torch.channels_last)

    def gradients() -> list[torch.Tensor]:
        with torch.inference_mode(False), torch.enable_grad():
            return list(torch.autograd.grad(y, leaves, grad, retain_graph=True))

    return Task(gradients, lambda: [gradient.numpy() for gradient in gradients()])


def _forward(operator: str, running: list[torch.Tensor], options: dict[str, Any]) -> Callable[..., torch.Tensor]:
    """The operator of the arrays that have gradients."""
    if operator == "batch_norm":
        return lambda x, weight, bias: F.batch_norm(x, *running, weight, bias, **options)
    if operator in ("layer_norm", "group_norm"):
        where = options.pop("num_groups", None) or options.pop("normalized_shape")
        return lambda x, weight, bias: getattr(F, operator)(x, where, weight, bias)
    if operator == "locally_connected2d":
        return partial(_locally_connected2d, **options)
    if operator == "softmax":
        return partial(F.softmax, dim=1)
    if operator == "sum":
        return torch.sum
    if mode := options.pop("pad_mode", None):
        pad = [options["padding"]] * 4
        return lambda x, weight: F.conv2d(F.pad(x, pad, mode), weight)
    return partial(getattr(F, operator), **options)


def _locally_connected2d(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor, padding: int) -> torch.Tensor:
    """As Keras computed it, for PyTorch has none: all windows side by side, and a product at each position."""
    kernel = weight.shape[3:]
    windows = F.unfold(x, kernel, padding=padding).permute(2, 0, 1).contiguous()  # (positions, n, c r s)
    y = torch.bmm(windows, weight.flatten(2).mT).permute(1, 2, 0) + bias.T
    return y.unflatten(2, (x.shape[2] + 2 * padding - kernel[0] + 1, -1))
