"""The other end of worker.py: start a library's process, ask it things, and keep it asleep in between."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any


class Failed(Exception):
    """A library could not do what it was asked, or its process died."""


class Process:
    """
    One library with a number of threads, in a process that is stopped whenever it is not answering.

    Idle threads of an OpenMP spin before they sleep, for a moment or for ever as the library likes; a stopped process
    leaves the cores alone whatever it likes.
    """

    def __init__(self, library: str, threads: int) -> None:
        self.cpu_seconds = 0.0
        self._log = tempfile.TemporaryFile()  # noqa: SIM115  close() does
        self._process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.worker", library, str(threads)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
            cwd=Path(__file__).parents[1],
            env={**os.environ, "OMP_NUM_THREADS": str(threads), "MKL_NUM_THREADS": str(threads)},
        )
        try:
            self.version = str(self._answer()["version"])
        except BaseException:
            self.close()
            raise

    def ask(self, do: str, **details: Any) -> dict[str, Any]:
        """Wake the process, ask, and put it back to sleep."""
        assert self._process.stdin is not None
        self._process.send_signal(signal.SIGCONT)
        with contextlib.suppress(BrokenPipeError):  # the missing answer says why
            self._process.stdin.write(json.dumps({"do": do, **details}) + "\n")
            self._process.stdin.flush()
        return self._answer()

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            self._log.seek(0)
            last = self._log.read().decode(errors="replace").strip().splitlines()[-1:]
            raise Failed(f"its process ended with {self._process.wait()} {' '.join(last)}".rstrip())
        self._process.send_signal(signal.SIGSTOP)
        os.waitpid(self._process.pid, os.WUNTRACED)
        answer: dict[str, Any] = json.loads(line)
        self.cpu_seconds = float(answer.pop("cpu_seconds", self.cpu_seconds))
        if "failed" in answer:
            raise Failed(answer["failed"])
        return answer

    def close(self) -> None:
        """End the process, stopped or not."""
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout, self._log):
            assert pipe is not None
            with contextlib.suppress(BrokenPipeError):
                pipe.close()

    def alive(self) -> bool:
        return self._process.poll() is None
