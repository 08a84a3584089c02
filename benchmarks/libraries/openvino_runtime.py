"""OpenVINO: a model of one convolution in float32, tensors set beforehand."""

from __future__ import annotations

from typing import Any

import numpy as np
import openvino as ov
from openvino import opset13 as ops

from benchmarks.libraries import Task
from benchmarks.rows import Case, Conv


def model(case: Conv) -> Any:
    """Parameter, convolution (or its grouped kind), bias."""
    _, weight, bias = case.data()
    rank = len(case.spatial)
    x = ops.parameter(case.x_shape, np.float32)
    windows = ([case.stride] * rank, [case.pad] * rank, [case.pad] * rank, [case.dilation] * rank)
    if case.groups == 1:
        y = ops.convolution(x, weight, *windows)
    else:
        grouped = weight.reshape(case.groups, case.k // case.groups, *weight.shape[1:])
        y = ops.group_convolution(x, grouped, *windows)
    return ov.Model([ops.add(y, bias.reshape(1, -1, *([1] * rank)))], [x], case.name)


class Library:
    version = ov.__version__.split("-")[0]

    def __init__(self, threads: int) -> None:
        self.core = ov.Core()
        self.options = {
            # Without this hint it may compute in bfloat16 where the processor can.
            "INFERENCE_PRECISION_HINT": "f32",
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_NUM_THREADS": threads,
        }

    def task(self, section: str, case: Case, column: str) -> Task | None:
        if section != "forward" or not isinstance(case, Conv):
            return None
        request = self.core.compile_model(model(case), "CPU", self.options).create_infer_request()
        y = np.zeros(case.y_shape, np.float32)
        request.set_input_tensor(ov.Tensor(case.data()[0]))
        request.set_output_tensor(ov.Tensor(y, shared_memory=True))

        def run() -> None:
            request.infer(share_inputs=True, share_outputs=True)

        def results() -> list[np.ndarray]:
            run()
            return [y]

        return Task(run, results)
