"""From samples to figures: medians, rates, ratios, geometric means; in plain dictionaries, as they are in JSON."""

from __future__ import annotations

import math
from collections.abc import Iterable
from statistics import median
from typing import Any

from benchmarks.libraries import PEERS
from benchmarks.measure import Cell, Run, Table


def geometric_mean(values: Iterable[float]) -> float | None:
    logarithms = [math.log(value) for value in values]
    return math.exp(sum(logarithms) / len(logarithms)) if logarithms else None


def summarise(run: Run) -> dict[str, Any]:
    """The whole run; a table without a complete row is left out."""
    counts = [len(cell.samples) for table in run.tables for row in table.cells.values() for cell in row.values()]
    return {
        "rounds": max(counts, default=0),
        "machine": run.machine,
        "versions": run.versions,
        "notes": run.notes,
        "tables": [table for table in map(_table, run.tables) if table["rows"]],
    }


def _table(table: Table) -> dict[str, Any]:
    peak = median(table.peak) if table.peak else None
    cells = {name: {column: cell for column, cell in row.items() if cell.samples} for name, row in table.cells.items()}
    rows = [_row(name, table.flops[name], row, table.columns, peak) for name, row in cells.items() if row]
    used = [column for column in table.columns if any(column in row["cells"] for row in rows)]
    peers = [column for column in used if column in PEERS]
    means = {peer: geometric_mean(row["speedup"][peer] for row in rows if peer in row["speedup"]) for peer in peers}
    best = geometric_mean(row["ratio"] for row in rows if row["ratio"] is not None)
    return {
        "section": table.section,
        "threads": table.threads,
        "columns": used,
        "others_percent": None if table.others is None else 100 * table.others,
        "peak_gflops": peak and peak / 1e9,
        "rows": rows,
        "geometric_means": {**means, "best peer": best} if peers else {},
    }


def _row(name: str, flops: int, cells: dict[str, Cell], columns: list[str], peak: float | None) -> dict[str, Any]:
    """`speedup` is how many times faster than each peer the leading column of convc is, `ratio` than the best."""
    seconds = {column: median(cell.samples) for column, cell in cells.items()}
    ours = seconds.get(columns[0])
    peers = {column: time for column, time in seconds.items() if column in PEERS}
    best = min(peers, key=lambda column: peers[column], default=None)
    return {
        "name": name,
        "flops": flops,
        "cells": {column: _cell(cells[column], seconds[column], flops, column, peak) for column in cells},
        "best_peer": best,
        "speedup": {peer: time / ours for peer, time in peers.items()} if ours else {},
        "ratio": peers[best] / ours if best and ours else None,
    }


def _cell(cell: Cell, seconds: float, flops: int, column: str, peak: float | None) -> dict[str, Any]:
    rate = flops / seconds
    return {
        "ms": seconds * 1e3,
        "gflops": rate / 1e9 if flops else None,
        "percent_of_peak": 100 * rate / peak if flops and peak else None,
        "error": cell.error,
        "samples_ms": [sample * 1e3 for sample in cell.samples],
    }
