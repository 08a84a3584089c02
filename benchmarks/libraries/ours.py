"""convc: prepared plans with `out`, plain calls, and the same with channels last."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

import convc
from benchmarks.libraries import Task, our_layers
from benchmarks.libraries.layouts import channels_first, channels_last, same
from benchmarks.rows import TINY, Call, Case, Conv, Layer, Pool, Training, normal

_CONV: dict[int, Callable[..., Any]] = {1: convc.conv1d, 2: convc.conv2d, 3: convc.conv3d}
_CONV_BACKWARD: dict[int, Callable[..., Any]] = {1: convc.conv1d_backward, 2: convc.conv2d_backward}
_LAYOUTS = {1: ("NCW", "NWC"), 2: ("NCHW", "NHWC"), 3: ("NCDHW", "NDHWC")}


def _version() -> str:
    """The package's, and in a checkout the commit that was measured."""
    try:
        git = subprocess.run(
            ["git", "describe", "--always", "--dirty"], cwd=Path(__file__).parent, capture_output=True, text=True
        )
    except OSError:
        return convc.__version__
    commit = git.stdout.strip()
    return f"{convc.__version__} ({commit})" if commit else convc.__version__


class Library:
    version = _version()

    def __init__(self, threads: int) -> None:
        convc.set_num_threads(threads)

    def task(self, section: str, case: Case, column: str) -> Task | None:
        last = column == "convc nhwc"
        if isinstance(case, Conv):
            if section == "backward":
                return self._conv_backward(case, last)
            # The forward section has prepared plans and plain calls; elsewhere one call does all the work.
            prepared = section == "forward" and column in ("convc plan", "convc nhwc")
            return self._conv(case, last, prepared, "gemm" if column == "reference" else "auto")
        if isinstance(case, Pool):
            return self._pool(case, last)
        if isinstance(case, Layer):
            return our_layers.task(section, case, last)
        if isinstance(case, Training):
            return self._training(case, last)
        return None if last else self._call(case)

    def _conv(self, case: Conv, last: bool, prepared: bool, algorithm: str) -> Task:
        x, weight, bias = case.data()
        x, back = (channels_last(x), channels_first) if last else (x, same)
        rank = len(case.spatial)
        layout = _LAYOUTS[rank][last]
        if prepared:
            where = {"stride": case.stride, "padding": case.pad, "dilation": case.dilation, "groups": case.groups}
            plan = convc.prepare(weight, bias, x.shape, layout=layout, **where)  # type: ignore[arg-type]
            run: Any = partial(plan, x, out=np.empty(plan.output_shape, case.dtype))
        else:
            windows = (case.stride, case.pad, case.dilation, case.groups)
            run = partial(_CONV[rank], x, weight, bias, *windows, layout=layout, algorithm=algorithm)
        return Task(run, lambda: [back(run())])

    def _conv_backward(self, case: Conv, last: bool) -> Task:
        (x, weight, _), grad = case.data(), case.gradient()
        x, grad, back = (channels_last(x), channels_last(grad), channels_first) if last else (x, grad, same)
        rank = len(case.spatial)
        windows = (case.stride, case.pad, case.dilation, case.groups)
        run = partial(_CONV_BACKWARD[rank], grad, x, weight, *windows, layout=_LAYOUTS[rank][last])

        def results() -> list[np.ndarray]:
            grad_x, grad_weight, grad_bias = run()
            return [back(grad_x), grad_weight, grad_bias]

        return Task(run, results)

    def _pool(self, case: Pool, last: bool) -> Task:
        x, back = (channels_last(case.data()), channels_first) if last else (case.data(), same)
        layout: Any = "NHWC" if last else "NCHW"
        pool: Any = partial(convc.max_pool2d, x, case.kernel, case.stride, case.pad, layout=layout)
        if case.mode == "inference":
            run: Any = partial(pool, out=np.empty_like(pool()))
            return Task(run, lambda: [back(run())])
        y, indices = pool(return_indices=True)
        if case.mode == "indices":
            run = partial(pool, return_indices=True)
            return Task(run, lambda: [back(y), back(indices)])
        grad = np.ones_like(y)
        run = partial(convc.max_pool2d_backward, grad, indices, x.shape, layout=layout)
        return Task(run, lambda: [back(run())])

    def _training(self, case: Training, last: bool) -> Task:
        from convc import loss, nn, optim

        x, labels = case.data()
        layout = "NHWC" if last else "NCHW"
        net = nn.Sequential(
            nn.Conv2d(3, 32, 3, padding=1, layout=layout, rng=0),
            nn.ReLU(),
            nn.MaxPool2d(2, layout=layout),
            nn.Conv2d(32, 64, 3, padding=1, layout=layout, rng=0),
            nn.ReLU(),
            nn.MaxPool2d(2, layout=layout),
            nn.Flatten(),
            nn.Linear(64 * 8 * 8, 10, rng=0),
        )
        criterion = loss.CrossEntropyLoss()
        # Too small a rate to change what the net computes: every step of a run costs the same.
        optimizer = optim.SGD(net.parameters(), 1e-6, momentum=0.9)
        images = channels_last(x) if last else x

        def step() -> None:
            optimizer.zero_grad()
            logits, backward = net.forward_data(images)
            _, loss_backward = criterion.forward(logits, labels)
            backward(loss_backward())
            optimizer.step()

        return Task(step)

    def _call(self, case: Call) -> Task:
        x, weight, bias = TINY.data()
        vector, matrix = normal("vector", (1, 16)), normal("matrix", (16, 16))
        plan = convc.prepare(weight, bias, x.shape, padding=1)
        runs: dict[str, Callable[[], object]] = {
            "conv2d": partial(convc.conv2d, x, weight, bias, 1, 1),
            "plan": partial(plan, x, out=np.empty(plan.output_shape, np.float32)),
            "max_pool2d": partial(convc.max_pool2d, x, 2),
            "linear": partial(convc.linear, vector, matrix, np.zeros(16, np.float32)),
            "relu": partial(convc.relu, x),
        }
        return Task(runs[case.operator])
