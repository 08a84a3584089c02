"""ncnn: a net of one convolution in float32, batch 1 only."""

from __future__ import annotations

import tempfile
from importlib.metadata import version
from pathlib import Path

import ncnn
import numpy as np

from benchmarks.libraries import Task
from benchmarks.rows import Case, Conv


def net(case: Conv, threads: int) -> ncnn.Net:
    """The net, loaded from the two files that ncnn wants."""
    _, weight, bias = case.data()
    kind = "Convolution" if case.groups == 1 else "ConvolutionDepthWise"
    windows = f"0={case.k} 1={case.kernel} 2={case.dilation} 3={case.stride} 4={case.pad} 5=1 6={weight.size}"
    groups = "" if case.groups == 1 else f" 7={case.groups}"
    text = f"7767517\n2 2\nInput x 0 1 x\n{kind} conv 1 1 x y {windows}{groups}\n"
    # The weights follow a tag that says "plain float32".
    binary = np.zeros(1, np.uint32).tobytes() + weight.tobytes() + bias.tobytes()
    result = ncnn.Net()
    result.opt.num_threads = threads
    for option in ("use_fp16_packed", "use_fp16_storage", "use_fp16_arithmetic", "use_bf16_storage", "use_bf16_packed"):
        if hasattr(result.opt, option):
            setattr(result.opt, option, False)
    with tempfile.TemporaryDirectory() as folder:
        param, weights = Path(folder, "net.param"), Path(folder, "net.bin")
        param.write_text(text)
        weights.write_bytes(binary)
        if result.load_param(str(param)) or result.load_model(str(weights)):
            raise RuntimeError(f"ncnn does not load {case.name}")
    return result


class Library:
    version = version("ncnn")

    def __init__(self, threads: int) -> None:
        self.threads = threads

    def task(self, section: str, case: Case, column: str) -> Task | None:
        if section != "forward" or not isinstance(case, Conv) or case.n != 1 or len(case.spatial) != 2:
            return None
        loaded = net(case, self.threads)
        # A Mat made from an array does not keep that alive; the clone is ncnn's own.
        image = case.data()[0][0]
        x = ncnn.Mat(image).clone()

        def run() -> ncnn.Mat:
            extractor = loaded.create_extractor()
            extractor.input("x", x)
            return extractor.extract("y")[1]

        return Task(run, lambda: [np.array(run())[None]])
