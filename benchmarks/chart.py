"""The figures as a picture: rates as bars beside the peak, and how convc stands to the best of the others."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, NullLocator

from benchmarks.report import TITLES, duration

# Warm for convc, cool for the others.
COLOURS = {
    "convc plan": "#d1495b",
    "convc": "#d1495b",
    "convc nhwc": "#edae9f",
    "torch": "#22577a",
    "torch_cl": "#38a3a5",
    "ort": "#8fb8de",
    "openvino": "#9a8fbf",
    "ncnn": "#c3cbd3",
}
INK, FAINT = "#2b2d42", "#9aa0ab"
STYLE = {
    "font.size": 9,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": FAINT,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlelocation": "left",
    "axes.titlesize": 12,
    "axes.titleweight": "bold",
    "xtick.color": INK,
    "ytick.color": INK,
}


def write(results: dict[str, Any], path: Path) -> None:
    """One block a section, for the largest number of threads that was measured."""
    most = max(table["threads"] for table in results["tables"])
    tables = [table for table in results["tables"] if table["threads"] == most]
    panels = [panel for table in tables for panel in _panels(table)]
    widest = max(len(table["rows"]) for table in tables)
    size = min(max(8.0, 0.56 * widest + 1.5), 24.0), 1.25 * sum(height for height, _, _ in panels) + 0.9
    machine, versions = results["machine"], results["versions"]
    with plt.rc_context(STYLE):
        figure, axes = plt.subplots(
            len(panels), figsize=size, height_ratios=[panel[0] for panel in panels], squeeze=False, layout="constrained"
        )
        for (_, draw, table), panel in zip(panels, axes[:, 0], strict=True):
            draw(panel, table)
        threads = f"{most} thread{'s' * (most > 1)}"
        at_left = {"x": 0.01, "ha": "left"}
        title = f"convc on {machine['cpu']} ({machine['isa']}), {threads}"
        figure.suptitle(title, fontsize=15, fontweight="bold", **at_left)
        used = ", ".join(f"{library} {version}" for library, version in versions.items())
        note = f"{results['date'][:10]}; medians of {results['rounds']} rounds; {used}"
        figure.supxlabel(note, fontsize=8, color=FAINT, **at_left)
        figure.savefig(path, dpi=130, facecolor="white", bbox_inches="tight", pad_inches=0.2)
        plt.close(figure)


def _panels(table: dict[str, Any]) -> list[tuple[float, Callable[[Axes, dict[str, Any]], None], dict[str, Any]]]:
    """What to draw of a table: heights and functions. Bars of rates mean nothing where most operators have no flops."""
    compared = any(row["ratio"] for row in table["rows"])
    if _has_rates(table):
        return [(3.2, _rates, table)] + [(1.3, _speedups, table)] * compared
    return [(2.0, _speedups if compared else _times, table)]


def _has_rates(table: dict[str, Any]) -> bool:
    return table["section"] in ("forward", "backward")


def _title(table: dict[str, Any]) -> str:
    return TITLES[table["section"]].split(" (")[0]


def _rates(axes: Axes, table: dict[str, Any]) -> None:
    """A group of bars for each row; the plain call is left to the tables where there are plans."""
    columns = [column for column in table["columns"] if column != "convc" or "convc plan" not in table["columns"]]
    width = 0.84 / len(columns)
    for i, column in enumerate(columns):
        offset = (i - (len(columns) - 1) / 2) * width
        bars = {
            position + offset: row["cells"][column]["gflops"]
            for position, row in enumerate(table["rows"])
            if column in row["cells"]
        }
        axes.bar(list(bars), list(bars.values()), width, label=column, color=COLOURS[column], zorder=2)
    if table["peak_gflops"]:
        axes.axhline(table["peak_gflops"], color=INK, linewidth=1, linestyle=(0, (4, 3)), zorder=1)
        axes.annotate(
            f"FMA peak {table['peak_gflops']:.0f}",
            (1, table["peak_gflops"]),
            xycoords=("axes fraction", "data"),
            xytext=(0, 3),
            textcoords="offset points",
            ha="right",
            fontsize=8,
        )
    axes.set_title(_title(table))
    axes.set_ylabel("GFLOP/s of direct convolution")
    axes.grid(axis="y", color="#e6e8ec", zorder=0)
    axes.legend(ncols=len(columns), frameon=False, loc="lower right", bbox_to_anchor=(1, 1), borderaxespad=0.2)
    _name_rows(axes, table)


def _name_rows(axes: Axes, table: dict[str, Any]) -> None:
    names = [row["name"] for row in table["rows"]]
    axes.set_xlim(-0.6, len(names) - 0.4)
    axes.set_xticks(range(len(names)), names, rotation=30, ha="right", rotation_mode="anchor")
    axes.tick_params(axis="x", length=0)


def _times(axes: Axes, table: dict[str, Any]) -> None:
    """Times of the leading column, on a scale that has room for microseconds and milliseconds."""
    cells = [row["cells"].get(table["columns"][0]) for row in table["rows"]]
    times = [cell["ms"] for cell in cells if cell]
    bars = axes.bar([i for i, cell in enumerate(cells) if cell], times, 0.7, color=COLOURS["convc"], zorder=2)
    axes.bar_label(bars, [duration(time) for time in times], fontsize=8, padding=2)
    axes.set_yscale("log")
    axes.set_ylim(min(times) / 3, max(times) * 3)
    axes.set_yticks([])
    axes.yaxis.set_minor_locator(NullLocator())
    axes.set_ylabel("time of a call")
    axes.set_title(_title(table))
    _name_rows(axes, table)


def _speedups(axes: Axes, table: dict[str, Any]) -> None:
    """Bars from 1, up where convc is faster than the best peer; times too where no panel above says how fast."""
    alone = not _has_rates(table)
    rows = table["rows"]
    for position, row in enumerate(rows):
        ratio, cell = row["ratio"], row["cells"].get(table["columns"][0])
        if ratio:
            colour = COLOURS["convc"] if ratio >= 1 else FAINT
            axes.bar(position, ratio - 1, 0.7, bottom=1, color=colour, zorder=2)
        time = f"\n{duration(cell['ms'])}" if cell and alone else ""
        axes.annotate(
            (f"{ratio:.2f}x" if ratio else "") + time,
            (position, ratio or 1),
            xytext=(0, 2 if (ratio or 1) >= 1 else -2),
            textcoords="offset points",
            ha="center",
            va="bottom" if (ratio or 1) >= 1 else "top",
            fontsize=8,
        )
    ratios = [row["ratio"] for row in rows if row["ratio"]] or [1.0]
    axes.set_yscale("log", base=2)
    # The labels, of one line or two, need a part of the height that the bars do not.
    low, high = min(*ratios, 0.75), max(*ratios, 1.3)
    room = (high / low) ** (0.45 if alone else 0.3)
    axes.set_ylim(low / room, high * room)
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}x" if value >= 1 else f"1/{1 / value:g}"))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.axhline(1, color=INK, linewidth=1, zorder=3)
    axes.grid(axis="y", color="#e6e8ec", zorder=0)
    axes.set_ylabel("speed against\nthe best peer")
    if alone:
        axes.set_title(_title(table))
    _name_rows(axes, table)
