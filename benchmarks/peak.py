"""The peak of the machine's multiply-add units, measured by a few lines of C that are compiled for it on the spot."""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
import tempfile
from pathlib import Path
from time import perf_counter

_SOURCE = Path(__file__).with_name("fma_peak.c")
_FLAGS = ("-O3", "-march=native", "-ffp-contract=fast", "-shared", "-fPIC")


class Peak:
    """Compiles the kernel; RuntimeError where that cannot be done."""

    def __init__(self, threads: int) -> None:
        self.threads = threads
        self._library = _compile()
        self._library.fma_peak_flops.restype = ctypes.c_double
        self._library.fma_peak_flops.argtypes = [ctypes.c_long, ctypes.c_int]
        self._library.fma_peak_run.restype = ctypes.c_float
        self._library.fma_peak_run.argtypes = [ctypes.c_long, ctypes.c_int]
        # About a millisecond in each thread, so that a call or two finds the clock at full speed.
        self._rounds = 200_000

    def measure(self, seconds: float) -> float:
        """The best rate of several runs in about this time, in operations a second: a peak is what can be reached."""
        best, end = 0.0, perf_counter() + seconds
        while not best or perf_counter() < end:
            start = perf_counter()
            self._library.fma_peak_run(self._rounds, self.threads)
            best = max(best, 1 / (perf_counter() - start))
        return best * float(self._library.fma_peak_flops(self._rounds, self.threads))


def _compile() -> ctypes.CDLL:
    compiler = shutil.which(os.environ.get("CC", "cc").split()[0]) or shutil.which("gcc")
    if compiler is None:
        raise RuntimeError("no C compiler, so the peak is not measured")
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder, "fma_peak.so")
        command = [compiler, *_FLAGS, "-fopenmp", str(_SOURCE), "-o", str(target)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise RuntimeError(f"the peak is not measured: {compiler} says {done.stderr.strip()[-300:]}")
        return ctypes.CDLL(str(target))
