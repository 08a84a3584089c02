"""PyTorch, channels first and `channels_last`; autograd works only where a training step is measured."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from benchmarks.libraries import Task, torch_layers
from benchmarks.rows import TINY, Call, Case, Conv, Layer, Pool, Training, normal

_CONV: dict[int, Callable[..., torch.Tensor]] = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}


def tensor(x: np.ndarray, last: bool) -> torch.Tensor:
    order = torch.channels_last if last else torch.contiguous_format
    return torch.from_numpy(x).clone(memory_format=torch.contiguous_format).contiguous(memory_format=order)


class Library:
    version = torch.__version__

    def __init__(self, threads: int) -> None:
        torch.set_num_threads(threads)
        # Once for the whole process, so that no timed call pays for entering it.
        self.mode = torch.inference_mode()
        self.mode.__enter__()

    def task(self, section: str, case: Case, column: str) -> Task | None:
        last = column == "torch_cl"
        if isinstance(case, Layer):
            return torch_layers.task(section, case, last)
        if isinstance(case, Training):
            return self._training(case, last)
        if isinstance(case, Conv):
            if last and len(case.spatial) != 2:
                return None
            return self._conv_backward(case, last) if section == "backward" else self._conv(case, last)
        if isinstance(case, Pool):
            return self._pool(case, last)
        return None if last else self._call(case)

    def _conv(self, case: Conv, last: bool) -> Task:
        x, weight, bias = case.data()
        args = tensor(x, last), tensor(weight, last), torch.from_numpy(bias)
        run = partial(_CONV[len(case.spatial)], *args, case.stride, case.pad, case.dilation, case.groups)
        return Task(run, lambda: [run().numpy()])

    def _conv_backward(self, case: Conv, last: bool) -> Task:
        (x, weight, _), grad = case.data(), case.gradient()
        args = tensor(grad, last), tensor(x, last), tensor(weight, last), [case.k]
        rank = len(case.spatial)
        windows = [case.stride] * rank, [case.pad] * rank, [case.dilation] * rank, False, [0] * rank, case.groups
        run = partial(torch.ops.aten.convolution_backward, *args, *windows, [True, True, True])
        return Task(run, lambda: [gradient.numpy() for gradient in run()])

    def _pool(self, case: Pool, last: bool) -> Task:
        x = tensor(case.data(), last)
        windows = case.kernel, case.stride, case.pad
        if case.mode == "inference":
            run: Callable[[], Any] = partial(F.max_pool2d, x, *windows)
            return Task(run, lambda: [run().numpy()])
        indexed = partial(F.max_pool2d, x, *windows, return_indices=True)
        if case.mode == "indices":
            return Task(indexed, lambda: [part.numpy() for part in indexed()])
        y, indices = indexed()
        pairs = [[size, size] for size in windows]
        backward = torch.ops.aten.max_pool2d_with_indices_backward
        run = partial(backward, torch.ones_like(y), x, *pairs, [1, 1], False, indices)
        return Task(run, lambda: [run().numpy()])

    def _training(self, case: Training, last: bool) -> Task:
        with torch.inference_mode(False):
            x, labels = case.data()
            images, target = tensor(x, last), torch.from_numpy(labels)
            net = nn.Sequential(
                nn.Conv2d(3, 32, 3, padding=1),
                nn.ReLU(),
                nn.MaxPool2d(2),
                nn.Conv2d(32, 64, 3, padding=1),
                nn.ReLU(),
                nn.MaxPool2d(2),
                nn.Flatten(),
                nn.Linear(64 * 8 * 8, 10),
            )
            net = net.to(memory_format=torch.channels_last) if last else net
            optimizer = torch.optim.SGD(net.parameters(), 1e-6, momentum=0.9)

        def step() -> None:
            with torch.inference_mode(False), torch.enable_grad():
                optimizer.zero_grad()
                F.cross_entropy(net(images), target).backward()
                optimizer.step()

        return Task(step)

    def _call(self, case: Call) -> Task | None:
        x, weight, bias = (torch.from_numpy(array) for array in TINY.data())
        vector, matrix = torch.from_numpy(normal("vector", (1, 16))), torch.from_numpy(normal("matrix", (16, 16)))
        runs: dict[str, Callable[[], object]] = {
            "conv2d": partial(F.conv2d, x, weight, bias, 1, 1),
            "plan": partial(F.conv2d, x, weight, bias, 1, 1),
            "max_pool2d": partial(F.max_pool2d, x, 2),
            "linear": partial(F.linear, vector, matrix, torch.zeros(16)),
            "relu": partial(F.relu, x),
        }
        return Task(runs[case.operator])
