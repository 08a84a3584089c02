"""The process in which one library runs: reads a request a line, writes an answer a line, until its input ends.

    python -m benchmarks.worker LIBRARY THREADS

A process of its own because the idle threads of one library's OpenMP take time from another's.
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import sys
from dataclasses import replace
from itertools import repeat
from math import ceil, inf
from time import perf_counter, process_time
from typing import Any, TextIO

import numpy as np

from benchmarks import libraries
from benchmarks.peak import Peak
from benchmarks.rows import Conv, find

SAMPLE_SECONDS = 0.02
WARM_UP_SECONDS = 0.005
MIN_CALLS = 3


class Worker:
    """Answers requests: a method each, which takes what the request holds beside its name and returns the answer."""

    def __init__(self, name: str, threads: int) -> None:
        self.threads = threads
        self.library = libraries.load(name, threads)
        self.tasks: dict[tuple[str, ...], libraries.Task] = {}
        self._peak: Peak | None = None

    def version(self) -> dict[str, Any]:
        return {"version": self.library.version}

    def machine(self) -> dict[str, Any]:
        """What convc says about the machine; only its worker is asked."""
        import convc

        info = convc.cpu_info()
        return {"cpu": info["cpu"], "isa": info["isa"]}

    def reference(self, section: str, case: str, path: str) -> dict[str, Any]:
        """Compute a case, a convolution in double precision, and save what came out for the others to compare with."""
        wanted = find(section, case)
        if isinstance(wanted, Conv):
            wanted = replace(wanted, dtype="float64")
        task = self.library.task(section, wanted, "reference")
        results = task.results() if task else []
        np.savez(path, *results)
        return {"arrays": len(results)}

    def prepare(self, section: str, case: str, column: str, path: str | None) -> dict[str, Any]:
        """Make ready to time a case. Does the library have it, and how large is its error if there is a reference?"""
        task = self.library.task(section, find(section, case), column)
        if task is None:
            return {"offered": False}
        self.tasks[section, case, column] = task
        error = None
        if path is not None:
            with np.load(path) as references:
                results = task.results()
                if results:
                    error = libraries.error(results, list(references.values()))
        return {"offered": True, "error": error}

    def time(self, section: str, case: str, column: str) -> dict[str, Any]:
        """Mean time of a call in one batch, after calls that fill the caches and spread the threads over the cores."""
        run = self.tasks[section, case, column].run
        shortest, end = inf, perf_counter() + WARM_UP_SECONDS
        while perf_counter() < end:
            start = perf_counter()
            run()
            shortest = min(shortest, perf_counter() - start)
        calls = max(MIN_CALLS, ceil(SAMPLE_SECONDS / shortest))
        start = perf_counter()
        for _ in repeat(None, calls):
            run()
        return {"seconds": (perf_counter() - start) / calls}

    def peak(self) -> dict[str, Any]:
        if self._peak is None:
            self._peak = Peak(self.threads)
        return {"flops": self._peak.measure(SAMPLE_SECONDS)}

    def forget(self) -> dict[str, Any]:
        """Drop what was prepared, before the next section."""
        self.tasks.clear()
        return {}


def serve(worker: Worker, requests: TextIO, answers: TextIO) -> None:
    for line in requests:
        request = json.loads(line)
        try:
            answer = getattr(worker, request.pop("do"))(**request)
        except Exception as problem:
            answer = {"failed": f"{type(problem).__name__}: {problem}"}
        print(json.dumps({**answer, "cpu_seconds": process_time()}), file=answers, flush=True)


def main() -> None:
    name, threads = sys.argv[1], int(sys.argv[2])
    # The answers have the standard output for themselves; what libraries print there goes to the standard error.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    # Ctrl-C is the parent's to handle. A stopped process would outlive a parent that was killed; Linux can prevent it.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if sys.platform == "linux":
        pr_set_pdeathsig = 1
        ctypes.CDLL(None).prctl(pr_set_pdeathsig, signal.SIGKILL)
    try:
        worker = Worker(name, threads)
    except Exception as problem:
        print(json.dumps({"failed": f"{type(problem).__name__}: {problem}"}), file=answers, flush=True)
        return
    print(json.dumps(worker.version()), file=answers, flush=True)
    serve(worker, sys.stdin, answers)


if __name__ == "__main__":
    main()
