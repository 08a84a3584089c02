"""ONNX Runtime: a model of one convolution, input and output bound beforehand."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime as ort
from onnx import TensorProto, helper, numpy_helper

from benchmarks.libraries import Task
from benchmarks.rows import Case, Conv


def model(case: Conv) -> bytes:
    """One Conv node, with weight and bias as initializers."""
    _, weight, bias = case.data()
    rank = len(case.spatial)
    node = helper.make_node(
        "Conv",
        ["x", "weight", "bias"],
        ["y"],
        kernel_shape=[case.kernel] * rank,
        strides=[case.stride] * rank,
        pads=[case.pad] * (2 * rank),
        dilations=[case.dilation] * rank,
        group=case.groups,
    )
    graph = helper.make_graph(
        [node],
        case.name,
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, case.x_shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, case.y_shape)],
        [numpy_helper.from_array(weight, "weight"), numpy_helper.from_array(bias, "bias")],
    )
    # Old enough for every runtime that is likely to be installed.
    whole = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(whole)
    return bytes(whole.SerializeToString())


class Library:
    version = ort.__version__

    def __init__(self, threads: int) -> None:
        self.options = ort.SessionOptions()
        self.options.intra_op_num_threads = threads
        self.options.inter_op_num_threads = 1

    def task(self, section: str, case: Case, column: str) -> Task | None:
        if section != "forward" or not isinstance(case, Conv):
            return None
        session = ort.InferenceSession(model(case), self.options, providers=["CPUExecutionProvider"])
        binding = session.io_binding()
        y = ort.OrtValue.ortvalue_from_numpy(np.zeros(case.y_shape, np.float32))
        binding.bind_ortvalue_input("x", ort.OrtValue.ortvalue_from_numpy(case.data()[0]))
        binding.bind_ortvalue_output("y", y)

        def run() -> None:
            session.run_with_iobinding(binding)

        def results() -> list[np.ndarray]:
            run()
            return [y.numpy()]

        return Task(run, results)
