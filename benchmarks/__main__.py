"""The command line: measure, print, write."""

from __future__ import annotations

import argparse
import os
import platform
import sys
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from benchmarks.libraries import PEERS
from benchmarks.measure import Measurement, Plan
from benchmarks.rows import SECTIONS, cases
from benchmarks.summary import summarise


def usable_cpus() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def names(text: str) -> list[str]:
    return [part for part in text.replace(" ", "").split(",") if part]


def counts(text: str) -> list[int]:
    threads = [int(part) for part in names(text)]
    if not threads or min(threads) < 1:
        raise argparse.ArgumentTypeError(f"must be positive numbers between commas, got {text!r}")
    return threads


def peers(text: str) -> list[str]:
    chosen = [] if text == "none" else names(text)
    if unknown := [name for name in chosen if name not in PEERS]:
        raise argparse.ArgumentTypeError(f"{', '.join(unknown)}: there are {', '.join(PEERS)}, or none")
    return chosen


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    cpus = usable_cpus()
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="Time convc beside other libraries.")
    for section in SECTIONS:
        parser.add_argument(f"--{section}", action="store_true", help="only this section, or those that are named")
    parser.add_argument("--threads", type=counts, default=sorted({1, cpus}), help="numbers of threads, such as 1,2")
    parser.add_argument("--only", type=names, default=["*"], help="names of rows, such as vgg*,tiny")
    parser.add_argument("--peers", type=peers, default=list(PEERS), help=f"of {','.join(PEERS)}, or none")
    parser.add_argument("--rounds", type=int, default=7, help="samples of each figure, of which the median counts")
    parser.add_argument("--out", type=Path, default=Path(__file__).with_name("results"), help="folder of the results")
    options = parser.parse_args(arguments)
    if options.rounds < 1:
        parser.error("--rounds must be at least 1")
    if max(options.threads) > cpus:
        parser.error(f"--threads {max(options.threads)} is more than the {cpus} CPUs that this process may use")
    options.sections = [section for section in SECTIONS if getattr(options, section)] or list(SECTIONS)
    if not any(cases(section, options.only) for section in options.sections):
        parser.error(f"--only {','.join(options.only)} matches no row")
    return options


def setting() -> dict[str, Any]:
    """When and where it was measured."""
    return {
        "date": datetime.now().astimezone().isoformat(timespec="minutes"),
        "cpus": usable_cpus(),
        "system": f"{platform.system()} {platform.machine()}, Python {platform.python_version()}",
    }


def main(arguments: Sequence[str] | None = None) -> int:
    options = parse(arguments)
    try:
        from tqdm import tqdm

        from benchmarks import chart, report
    except ImportError as problem:
        print(f"{problem}: pip install 'convc[bench]'", file=sys.stderr)
        return 1
    plan = Plan(options.sections, options.threads, options.only, options.peers, options.rounds)
    # Without a terminal (disable=None) there is no bar.
    shape = "{l_bar}{bar}| {elapsed}<{remaining}"
    with tqdm(total=1, leave=False, dynamic_ncols=True, disable=None, bar_format=shape) as bar:
        measurement = Measurement(plan, bar, tqdm.write)
        interrupted = False
        try:
            measurement.everything()
        except KeyboardInterrupt:
            interrupted = True
            measurement.note("interrupted: the figures are medians of the rounds until then")
    results = {**setting(), **summarise(measurement.run)}
    if not results["tables"]:
        return 1
    print(report.terminal(results))
    options.out.mkdir(parents=True, exist_ok=True)
    report.write_json(results, options.out / "results.json")
    report.write_markdown(results, options.out / "results.md")
    chart.write(results, options.out / "results.png")
    print(f"results.json, results.md and results.png are in {options.out}")
    return 130 if interrupted else 0


if __name__ == "__main__":
    sys.exit(main())
