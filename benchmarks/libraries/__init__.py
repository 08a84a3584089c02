"""The libraries that are measured, one file each, and the columns of the tables that each fills.

A library's file has a class `Library` with `version`, made with the number of threads, whose `task` gives what to time
for a case and a column, or None for what that library does not offer. Each is imported only in its own process.
"""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from benchmarks.rows import SECTIONS, Case


@dataclass
class Task:
    """Something to time, and what it computes: arrays with channels first, to be compared with the reference."""

    run: Callable[[], object]
    results: Callable[[], list[np.ndarray]] = list


class Library(Protocol):
    version: str

    def __init__(self, threads: int) -> None: ...

    def task(self, section: str, case: Case, column: str) -> Task | None: ...


@dataclass(frozen=True)
class Entry:
    """Where a library is found; `columns` says which of its columns each section has, the first one leads."""

    module: str
    needs: tuple[str, ...]
    columns: dict[str, tuple[str, ...]]


_TORCH = ("torch", "torch_cl")
LIBRARIES = {
    "convc": Entry(
        "ours",
        ("convc",),
        {
            "forward": ("convc plan", "convc", "convc nhwc"),
            "backward": ("convc", "convc nhwc"),
            **dict.fromkeys(("operators", "layers", "gradients"), ("convc", "convc nhwc")),
        },
    ),
    "torch": Entry("pytorch", ("torch",), dict.fromkeys(SECTIONS, _TORCH)),
    "ort": Entry("onnx_runtime", ("onnxruntime", "onnx"), {"forward": ("ort",)}),
    "openvino": Entry("openvino_runtime", ("openvino",), {"forward": ("openvino",)}),
    "ncnn": Entry("ncnn_net", ("ncnn",), {"forward": ("ncnn",)}),
}
PEERS = tuple(column for name, entry in LIBRARIES.items() if name != "convc" for column in entry.columns["forward"])


def missing(name: str) -> list[str]:
    """The modules that a library needs and this Python does not have."""
    return [module for module in LIBRARIES[name].needs if importlib.util.find_spec(module) is None]


def load(name: str, threads: int) -> Library:
    """Import a library and set its number of threads."""
    library: Library = importlib.import_module(f"benchmarks.libraries.{LIBRARIES[name].module}").Library(threads)
    return library


def error(results: Sequence[np.ndarray], references: Sequence[np.ndarray]) -> float:
    """The largest max|difference| / max|reference| of several arrays; NaN where shapes differ or a result is NaN."""
    worst = 0.0
    for result, reference in zip(results, references, strict=True):
        if result.shape != reference.shape:
            return float("nan")
        difference: Any = np.abs(result.astype(np.float64) - reference).max()
        worst = max(worst, float(difference / np.abs(reference).max()), key=lambda e: (e != e, e))
    return worst
