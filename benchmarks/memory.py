"""How much memory a plan needs while it runs, beyond its arrays and packed weights: how the process's peak grows.

python -m benchmarks.memory --threads 1,2
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

CASES = {
    "3 x 3, 64 to 64": (64, 64, 3, 1, 1, 1),
    "3 x 3, 256 to 256": (256, 256, 3, 1, 1, 1),
    "3 x 3, 512 to 512": (512, 512, 3, 1, 1, 1),
    "5 x 5, 64 to 64": (64, 64, 5, 1, 2, 1),
    "1 x 1, 256 to 64": (256, 64, 1, 1, 0, 1),
    "7 x 7 stride 2, 3 to 64": (3, 64, 7, 2, 3, 1),
    "3 x 3, 16 to 16": (16, 16, 3, 1, 1, 1),
    "3 x 3 depthwise, 128": (128, 128, 3, 1, 1, 128),
}
SIZES = (32, 128, 512)
MIB = 2**20


def peak() -> int:
    """The most memory that this process has had, in bytes."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    raise OSError("/proc/self/status does not say")


def growth(name: str, size: int, layout: str, threads: int) -> int:
    """Bytes that the first runs of a plan add, in this process."""
    import numpy as np

    import convc

    c, k, kernel, stride, padding, groups = CASES[name]
    convc.set_num_threads(threads)
    shape = (1, c, size, size) if layout == "NCHW" else (1, size, size, c)
    convc.relu(np.ones(2**22, np.float32))  # threads and their stacks
    x = np.ones(shape, np.float32)
    weight = np.ones((k, c // groups, kernel, kernel), np.float32)
    plan = convc.prepare(weight, None, shape, stride=stride, padding=padding, groups=groups, layout=layout)
    out = np.ones(plan.output_shape, np.float32)
    Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
    before = peak()
    for _ in range(3):
        plan(x, out)
    return peak() - before


def table(threads: int) -> str:
    lines = [
        f"Working memory in MiB on {threads} thread{'s' * (threads > 1)}: what a run adds to the peak of the process, "
        "beyond the image, the output and the plan.",
        "",
        "| | " + " | ".join(f"{layout} {size}" for layout in ("NCHW", "NHWC") for size in SIZES) + " |",
        "|---|" + "---:|" * (2 * len(SIZES)),
    ]
    for name in CASES:
        cells = []
        for layout in ("NCHW", "NHWC"):
            for size in SIZES:
                command = [sys.executable, "-m", "benchmarks.memory", "--threads", str(threads), "--case", name]
                command += ["--size", str(size), "--layout", layout]
                cells.append(subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip())
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.memory", description=__doc__.partition("\n")[0])
    cpus = len(os.sched_getaffinity(0))
    parser.add_argument("--threads", default=f"1,{cpus}", help="numbers of threads, such as 1,2")
    parser.add_argument("--out", type=Path, default=Path(__file__).with_name("results"), help="folder of the results")
    parser.add_argument("--case", choices=list(CASES), help="print one figure and write nothing")
    parser.add_argument("--size", type=int, default=SIZES[0])
    parser.add_argument("--layout", choices=["NCHW", "NHWC"], default="NCHW")
    options = parser.parse_args(arguments)
    threads = [int(n) for n in options.threads.split(",")]
    if options.case:
        print(f"{growth(options.case, options.size, options.layout, threads[0]) / MIB:.1f}")
        return 0
    text = "\n".join(table(n) for n in dict.fromkeys(threads))
    print(text, end="")
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "memory.md").write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
