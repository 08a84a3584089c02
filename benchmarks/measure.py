"""The order of things: prepare every case with every library, then time them in turn, round after round."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from time import process_time
from typing import Protocol

from benchmarks.libraries import LIBRARIES, missing
from benchmarks.load import Load
from benchmarks.processes import Failed, Process
from benchmarks.rows import Case, cases, flops

# More than this share of the CPUs taken by other processes, and the figures do not count.
BUSY = 0.03


class Progress(Protocol):
    """What is used of tqdm."""

    total: float | None

    def update(self, n: float = 1) -> bool | None: ...

    def set_description_str(self, desc: str) -> None: ...


@dataclass
class Cell:
    """One case with one column: the times of a call in seconds, one a round, and the error of the result."""

    samples: list[float] = field(default_factory=list)
    error: float | None = None


@dataclass
class Table:
    """
    One section with one number of threads.

    `peak` has the samples of the peak in operations a second, `others` the share of the CPUs that other processes took.
    """

    section: str
    threads: int
    columns: list[str]
    cells: dict[str, dict[str, Cell]] = field(default_factory=dict)
    flops: dict[str, int] = field(default_factory=dict)
    peak: list[float] = field(default_factory=list)
    others: float | None = None


@dataclass
class Run:
    """Everything that one run found."""

    tables: list[Table] = field(default_factory=list)
    versions: dict[str, str] = field(default_factory=dict)
    machine: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


@dataclass
class Plan:
    """What to measure: the options of the command line, checked."""

    sections: list[str]
    threads: list[int]
    only: list[str]
    peers: list[str]
    rounds: int

    def columns(self, library: str, section: str) -> list[str]:
        columns = LIBRARIES[library].columns.get(section, ())
        return [column for column in columns if library == "convc" or column in self.peers]

    def libraries(self, section: str) -> list[str]:
        return [library for library in LIBRARIES if self.columns(library, section)]


class Measurement:
    """Runs a plan; after an interruption `run` holds what was measured until then."""

    def __init__(self, plan: Plan, progress: Progress, note: Callable[[str], None]) -> None:
        self.plan = plan
        self.progress = progress
        self.run = Run()
        self._show = note
        self._processes: dict[str, Process] = {}
        self._has_peak = True

    def everything(self) -> None:
        steps = [(section, cases(section, self.plan.only)) for section in self.plan.sections]
        each = 1 + self.plan.rounds
        self.progress.total = sum(
            len(chosen) * len(self.plan.columns(library, section)) * each * len(self.plan.threads)
            for section, chosen in steps
            for library in self.plan.libraries(section)
        )
        wanted = {library: None for section, chosen in steps if chosen for library in self.plan.libraries(section)}
        with TemporaryDirectory() as folder:
            for threads in self.plan.threads:
                with ExitStack() as stack:
                    reference = self._start(wanted, threads, stack)
                    for section, chosen in steps:
                        if chosen:
                            self._section(section, threads, chosen, reference, Path(folder, "reference.npz"))

    def note(self, line: str) -> None:
        if line not in self.run.notes:
            self.run.notes.append(line)
            self._show(line)

    def _start(self, libraries: Iterable[str], threads: int, stack: ExitStack) -> Process:
        """Start a process for each library, and return one more that computes the reference, PyTorch if it is there."""
        self._processes.clear()
        for library in libraries:
            if absent := missing(library):
                self.note(f"{library} is left out: {' and '.join(absent)} is not installed")
                continue
            self.progress.set_description_str(f"{library} starts")
            try:
                process = Process(library, threads)
            except Failed as problem:
                self.note(f"{library} is left out: {problem}")
                continue
            stack.callback(process.close)
            self._processes[library] = process
            self.run.versions[library] = process.version
        if "convc" not in self._processes:
            raise SystemExit("; ".join(self.run.notes))
        self.run.machine = self._processes["convc"].ask("machine")
        for library in ("torch", "convc"):
            if not missing(library):
                with suppress(Failed):
                    reference = Process(library, threads)
                    stack.callback(reference.close)
                    return reference
        raise SystemExit("nothing computes the reference")

    def _section(self, section: str, threads: int, chosen: list[Case], reference: Process, path: Path) -> None:
        pairs = [(library, column) for library in self._processes for column in self.plan.columns(library, section)]
        table = Table(section, threads, [column for _, column in pairs])
        self.run.tables.append(table)
        for case in chosen:
            table.flops[case.name] = flops(section, case)
            self._prepare(table, case.name, pairs, reference, path)
        load = Load(self._cpu_seconds())
        for _ in range(self.plan.rounds):
            for name, cells in table.cells.items():
                for library, column in pairs:
                    if column in cells and library in self._processes:
                        self._time(table, name, library, column)
                    self.progress.update()
                self._peak(table)
            table.others = load.others(self._cpu_seconds())
        if table.others and table.others > BUSY:
            where = f"{section}, {threads} thread{'s' * (threads > 1)}"
            self.note(f"the machine was busy ({where}): other processes took {table.others:.0%} of its CPUs")
        for process in self._processes.values():
            process.ask("forget")

    def _prepare(self, table: Table, name: str, pairs: list[tuple[str, str]], reference: Process, path: Path) -> None:
        cells = table.cells[name] = {}
        where = {"section": table.section, "case": name}
        self.progress.set_description_str(f"{table.section} x{table.threads}: {name} prepared")
        try:
            known = reference.ask("reference", path=str(path), **where)["arrays"]
        except Failed as problem:
            self.note(f"{name} has no reference: {problem}")
            known = 0
        for library, column in pairs:
            self.progress.update()
            if library not in self._processes:
                continue
            try:
                ask = self._processes[library].ask
                answer = ask("prepare", column=column, path=str(path) if known else None, **where)
            except Failed as problem:
                self._drop(library, f"{name} with {column} is left out: {problem}")
                continue
            if answer["offered"]:
                cells[column] = Cell(error=answer["error"])

    def _time(self, table: Table, name: str, library: str, column: str) -> None:
        self.progress.set_description_str(f"{table.section} x{table.threads}: {name} {column}")
        try:
            answer = self._processes[library].ask("time", section=table.section, case=name, column=column)
        except Failed as problem:
            self._drop(library, f"{name} with {column} is left out: {problem}")
            del table.cells[name][column]
            return
        table.cells[name][column].samples.append(answer["seconds"])

    def _cpu_seconds(self) -> float:
        """What we have used so far, in all processes."""
        return process_time() + sum(process.cpu_seconds for process in self._processes.values())

    def _peak(self, table: Table) -> None:
        if self._has_peak and "convc" in self._processes:
            try:
                table.peak.append(self._processes["convc"].ask("peak")["flops"])
            except Failed as problem:
                self.note(str(problem))
                self._has_peak = False

    def _drop(self, library: str, line: str) -> None:
        """Say what went wrong, and go on without the library if its process has died."""
        self.note(line)
        if not self._processes[library].alive():
            del self._processes[library]
