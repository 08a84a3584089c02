"""The figures as text: tables for the terminal, Markdown and JSON."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

TITLES = {
    "forward": "Forward",
    "backward": "Backward (data, weight and bias; flops count twice)",
    "operators": "Other operators",
    "layers": "Other layers",
    "gradients": "Gradients of other layers",
}


def duration(ms: float) -> str:
    """Three to four digits, in the unit that suits."""
    return f"{1000 * ms:.2f} us" if ms < 0.1 else f"{ms:.3f} ms" if ms < 10 else f"{ms:.1f} ms"


def heading(table: dict[str, Any]) -> str:
    threads = f"{table['threads']} thread" + "s" * (table["threads"] > 1)
    peak = table["peak_gflops"]
    return f"{TITLES[table['section']]}, {threads}" + (f"; FMA peak {peak:.0f} GFLOP/s" if peak else "")


def about(results: dict[str, Any]) -> list[str]:
    """Machine, date and versions, a line each."""
    machine, versions = results["machine"], results["versions"]
    return [
        f"{machine['cpu']}, {results['cpus']} CPUs, convc uses {machine['isa']}; {results['system']}",
        f"{results['date']}; medians of {results['rounds']} rounds",
        ", ".join(f"{library} {version}" for library, version in versions.items()),
        *results["notes"],
    ]


def text_cell(cell: dict[str, Any] | None) -> str:
    if cell is None:
        return "-"
    rate = cell["gflops"]
    return f"{rate:.1f} ({cell['ms']:#.3g})" if rate else duration(cell["ms"])


def lines(table: dict[str, Any]) -> list[list[str]]:
    """The rows of a table, the first one of headings."""
    columns = table["columns"]
    lead = columns[0]
    rows = [["", *columns, "x best", "peer", "% peak", "error"]]
    for row in table["rows"]:
        first = row["cells"].get(lead, {})
        ratio, percent, error = row["ratio"], first.get("percent_of_peak"), first.get("error")
        rows.append(
            [
                row["name"],
                *(text_cell(row["cells"].get(column)) for column in columns),
                f"{ratio:.2f}" if ratio else "-",
                row["best_peer"] or "-",
                f"{percent:.0f}" if percent else "-",
                f"{error:.1e}" if error is not None else "-",
            ]
        )
    return rows


def errors(table: dict[str, Any]) -> list[list[str]]:
    """The error of each column for each row that has one, the first line of headings; empty where there are none."""
    rows = []
    for row in table["rows"]:
        found = [row["cells"].get(column, {}).get("error") for column in table["columns"]]
        if any(error is not None for error in found):
            rows.append([row["name"], *("-" if error is None else f"{error:.1e}" for error in found)])
    return [["", *table["columns"]], *rows] if rows else []


def largest_errors(table: dict[str, Any]) -> dict[str, float]:
    """The largest error of each column; a result that is not a number at all counts as the largest."""
    largest: dict[str, float] = {}
    for row in table["rows"]:
        for column, cell in row["cells"].items():
            if cell["error"] is not None:
                largest[column] = max(
                    largest.get(column, 0.0), cell["error"], key=lambda error: (error != error, error)
                )
    return {column: largest[column] for column in table["columns"] if column in largest}


def remarks(table: dict[str, Any]) -> list[str]:
    """What stands below a table."""
    lead, unit = table["columns"][0], "GFLOP/s (ms)" if table["section"] in ("forward", "backward") else "times"
    found = [f"{unit}; on the right {lead}: its speed over that of the best peer, % of the FMA peak, error"]
    means = [f"{mean:.2f} of {peer}" for peer, mean in table["geometric_means"].items() if mean]
    if means:
        found.append(f"geometric mean of the speed of {lead}: {', '.join(means)}")
    if largest := largest_errors(table):
        found.append("largest errors: " + ", ".join(f"{column} {error:.1e}" for column, error in largest.items()))
    return found


def terminal(results: dict[str, Any]) -> str:
    text = about(results)
    for table in results["tables"]:
        rows = lines(table)
        widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
        text += ["", heading(table)]
        for name, *cells in rows:
            padded = (cell.rjust(width) for cell, width in zip(cells, widths[1:], strict=True))
            text.append("  ".join([name.ljust(widths[0]), *padded]))
        text += remarks(table)
    return "\n".join(text)


def markdown(results: dict[str, Any]) -> str:
    text = ["# convc beside other libraries", "", *(f"- {line}" for line in about(results)), "", "![](results.png)"]
    for table in results["tables"]:
        text += ["", f"## {heading(table)}", "", *_markdown_table(lines(table)), ""]
        text += [f"- {line}" for line in remarks(table)]
    # The error depends on the algorithm alone, so that one number of threads says it all.
    shown = {table["section"]: table for table in results["tables"]}
    for table in shown.values():
        if rows := errors(table):
            text += ["", f"## {TITLES[table['section']].split(' (')[0]}: max error / max result", ""]
            text += _markdown_table(rows)
    return "\n".join(text) + "\n"


def _markdown_table(rows: list[list[str]]) -> list[str]:
    rows = [rows[0], ["---"] + ["---:"] * (len(rows[0]) - 1), *rows[1:]]
    return [f"| {' | '.join(row)} |" for row in rows]


def write_markdown(results: dict[str, Any], path: Path) -> None:
    path.write_text(markdown(results), encoding="utf-8")


def write_json(results: dict[str, Any], path: Path) -> None:
    path.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
