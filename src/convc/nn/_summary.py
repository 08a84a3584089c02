"""The table of a network, as text and as HTML: what goes in and out of each layer, and what that costs."""

from __future__ import annotations

import html
import textwrap
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from convc import shapes
from convc.nn._blocks import Parallel
from convc.nn._module import Module
from convc.nn._pool import AdaptivePool
from convc.nn._resize import Upsample
from convc.nn._sequential import Sequential
from convc.shapes import ReceptiveField

_WIDTH = 100
_RULE = "; border-top: 1px solid"
_AXES = ("plane", "row", "column")
_DEFAULT = ("output", "parameters", "receptive field", "jump", "multiply-adds")


@dataclass(frozen=True)
class Row:
    """
    One layer; shapes are without the batch axis.

    A block of parallel paths has a row after those of its layers, for the place where the paths join.

    Attributes
    ----------
    name : str
    layer : Module
    output_shape : tuple of int
    parameters : int
    receptive_field : ReceptiveField or None
        None is the whole input, or not known; `unknown` tells.
    macs : int
    dropped : tuple of int
        How many positions at the end of each axis of its padded input no window reaches.
    unshared : int
        Parameters that it would have if each output position had its own.
    unknown : tuple of str
        The columns that a module of one's own leaves open, by not defining the method behind them, or that depend on
        the size of the input.
    """

    name: str
    layer: Module
    output_shape: tuple[int, ...]
    parameters: int
    receptive_field: ReceptiveField | None
    macs: int
    dropped: tuple[int, ...] = ()
    unshared: int = 0
    unknown: tuple[str, ...] = ()


@dataclass(frozen=True, repr=False)
class Summary:
    """
    What `Module.summary` returns; ``print``, or an interactive Python, shows it as a table, and a notebook with bars.

    Attributes
    ----------
    input_shape : tuple of int
    rows : tuple of Row
        The layers in the order in which the input passes them, parallel paths one after another.
    parameters : int
        Numbers that training changes; those that layers share count once.
    macs : int
        Multiply-adds for one input.
    """

    input_shape: tuple[int, ...]
    rows: tuple[Row, ...]
    parameters: int
    macs: int

    def table(self, *columns: str) -> str:
        """
        A table of chosen columns.

        Parameters
        ----------
        *columns : {"output", "parameters", "unshared", "receptive field", "jump", "start", "multiply-adds"}
            `unshared` is what a layer would have for parameters without parameter sharing, its own filters at each
            output position. `receptive field`, `jump` and `start` are the parts of a `shapes.ReceptiveField`.

        Returns
        -------
        str

        Examples
        --------
        AlexNet's first layers, with parameter sharing and without:

        >>> from convc import nn
        >>> net = nn.Sequential(nn.Conv2d(3, 96, 11, stride=4), nn.ReLU(), nn.MaxPool2d(3, 2))
        >>> print(net.summary((3, 227, 227)).table("output", "parameters", "unshared", "start"))
           layer          output         parameters     unshared  start
        ---------------------------------------------------------------
           input          3 x 227 x 227
        0  Conv2d 11x11   96 x 55 x 55       34,944  105,705,600  5, 5
        1  ReLU           96 x 55 x 55            0            0  5, 5
        2  MaxPool2d 3x3  96 x 27 x 27            0            0  9, 9
        ---------------------------------------------------------------
           total                             34,944  105,705,600
        """
        for column in columns:
            if column not in _COLUMNS:
                raise ValueError(f"columns must be among {', '.join(map(repr, _COLUMNS))}, got {column!r}")
        lines = self._cells(columns, " x ")
        if _width(lines) > _WIDTH:
            lines = self._cells(columns, "x")
        if (excess := _width(lines) - _WIDTH) > 0:
            lines = _shorten(lines, excess)
        widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
        right = [False, False, *(column in _COUNTS for column in columns)]
        text = [
            "  ".join(cell.rjust(w) if r else cell.ljust(w) for cell, w, r in zip(cells, widths, right, strict=True))
            for cells in lines
        ]
        rule = "-" * _width(lines)
        end = [rule, text[-1]] if any(right) else []  # without counts there is no total
        text = [line.rstrip() for line in (text[0], rule, *text[1:-1], *end)]
        return "\n".join([*text, *(line for note in self._notes(columns) for line in textwrap.wrap(note, _WIDTH))])

    def __str__(self) -> str:
        return self.table(*_DEFAULT)

    __repr__ = __str__

    def _repr_html_(self) -> str:
        """The table for notebooks; bars show the share of each layer in the parameters and the multiply-adds."""
        header, *lines, total = self._cells(_DEFAULT, " x ")
        most = {title: max((count(row) for row in self.rows), default=0) for title, count in _COUNTS.items()}
        body = [_html_row("th", header, {}), _html_row("td", lines[0], {}, _RULE)]
        for row, cells in zip(self.rows, lines[1:], strict=True):
            shares = {title: count(row) / most[title] for title, count in _COUNTS.items() if count(row)}
            body.append(_html_row("td", cells, shares))
        body.append(_html_row("th", total, {}, _RULE))
        notes = "".join(f"<p>{html.escape(note)}</p>\n" for note in self._notes(_DEFAULT))
        return '<table style="border-collapse: collapse; white-space: nowrap">\n' + "".join(body) + f"</table>\n{notes}"

    def _cells(self, columns: Sequence[str], by: str) -> list[tuple[str, ...]]:
        """The header, the input, each layer and the total."""
        lines = [("", "layer", *columns)]
        lines.append(("", "input", *(by.join(map(str, self.input_shape)) if c == "output" else "" for c in columns)))
        for row in self.rows:
            cells = ["?" if column in row.unknown else _COLUMNS[column](row, by) for column in columns]
            lines.append((row.name, _brief(row.layer) + (" *" if any(row.dropped) else ""), *cells))
        totals = {
            "parameters": self.parameters,
            "unshared": sum(row.unshared for row in self.rows),
            "multiply-adds": self.macs,
        }
        lines.append(("", "total", *(f"{totals[column]:,}" if column in totals else "" for column in columns)))
        return lines

    def _notes(self, columns: Sequence[str]) -> Iterator[str]:
        ends = [f"{_title(row)} ({_named(row.dropped)})" for row in self.rows if any(row.dropped)]
        if ends:
            yield f"* the stride does not fit: the end of the padded input is never read: {', '.join(ends)}"
        if any(column in ("receptive field", "jump", "start") for column in columns) and any(
            _is_lost(row) and _is_vague(row.layer) for row in self.rows
        ):
            yield "? what Upsample and adaptive pools see depends on the size of their input"
        if any(
            column in row.unknown and (column in _COUNTS or _leaves_open(row.layer, "receptive_field"))
            for row in self.rows
            for column in columns
        ):
            yield "? the module does not say, by a method macs, receptive_field or unshared_parameters of its own"


_COUNTS: dict[str, Callable[[Row], int]] = {
    "parameters": lambda row: row.parameters,
    "unshared": lambda row: row.unshared,
    "multiply-adds": lambda row: row.macs,
}


def _field(part: str) -> Callable[[Row, str], str]:
    """The cell of a part of the receptive field."""

    def cell(row: Row, by: str) -> str:
        if row.receptive_field is None:
            return "all" if part == "size" else ""
        between = ", " if part == "start" else by
        return between.join(f"{number:.10g}" for number in getattr(row.receptive_field, part))

    return cell


_COLUMNS: dict[str, Callable[[Row, str], str]] = {
    "output": lambda row, by: by.join(map(str, row.output_shape)),
    "parameters": lambda row, by: f"{row.parameters:,}",
    "unshared": lambda row, by: f"{row.unshared:,}",
    "receptive field": _field("size"),
    "jump": _field("jump"),
    "start": _field("start"),
    "multiply-adds": lambda row, by: f"{row.macs:,}",
}


def summarize(net: Module, input_shape: Sequence[int]) -> Summary:
    """See `Module.summary`."""
    if not isinstance(input_shape, Sequence):
        raise TypeError(f"input_shape must be a tuple of integers without the batch axis, got {input_shape!r}")
    shape = shapes.axes(input_shape, len(input_shape), "input_shape")
    ones = (1,) * (len(shape) - 1)
    rows = _rows(net, "", shape, ReceptiveField(ones, ones), False)
    return Summary(shape, tuple(rows), _count(net), sum(row.macs for row in rows))


def _rows(module: Module, name: str, shape: tuple[int, ...], field: ReceptiveField | None, is_lost: bool) -> list[Row]:
    """`is_lost`: whether a module before did not say how far it looks."""
    rows: list[Row] = []
    prefix = f"{name}." if name else ""
    if isinstance(module, Sequential):
        for child_name, child in module.named_children():
            rows += _rows(child, prefix + child_name, shape, field, is_lost)
            if rows:
                shape, is_lost = rows[-1].output_shape, _is_lost(rows[-1])
                # One that is lost is kept as it was: some layers see everything of whatever comes.
                field = field if is_lost else rows[-1].receptive_field
        return rows
    is_block = isinstance(module, Parallel)
    if isinstance(module, Parallel):
        ends = []
        for path_name, path in module.paths():
            inside = _rows(path, prefix + path_name, shape, field, is_lost)
            ends += inside[-1:]
            rows += inside
        sees_all = any(end.receptive_field is None and not _is_lost(end) for end in ends)
        is_lost = not sees_all and (is_lost or any(map(_is_lost, ends)))
    try:
        output, dropped = tuple(module.output_shape(shape)), module.dropped(shape)
        macs, unshared = (0, 0) if is_block else (module.macs(shape), module.unshared_parameters(shape))
    except Exception as error:  # a module of one's own is tried on zeros, where anything may happen
        raise ValueError(f"layer {name or type(module).__name__}: {error}") from error
    seen = module.receptive_field(field)
    count = 0 if is_block else _count(module)
    if not is_block:
        is_open = _leaves_open(module, "receptive_field") and _has_children(module)
        is_lost = (is_lost and seen is not None) or (seen is not None and is_open)
        is_lost = is_lost or (field is not None and seen is None and _is_vague(module))
    seen = None if is_lost else seen
    unknown: tuple[str, ...] = ("receptive field", "jump", "start") if is_lost else ()
    unknown += ("multiply-adds",) if count and _leaves_open(module, "macs") else ()
    unknown += ("unshared",) if _has_children(module) and _leaves_open(module, "unshared_parameters") else ()
    return [*rows, Row(name, module, output, count, seen, macs, dropped, unshared, unknown)]


def _is_lost(row: Row) -> bool:
    return "receptive field" in row.unknown


def _is_vague(layer: Module) -> bool:
    """Whether it sees a part of its input that only the size of that tells."""
    if isinstance(layer, AdaptivePool):
        return layer.output_size != 1 and layer.output_size != (1,) * layer._ndim
    return isinstance(layer, Upsample)


def _leaves_open(layer: Module, method: str) -> bool:
    """Whether a module that is not convc's does without this method."""
    is_own = type(layer).__module__.startswith("convc.")
    return not is_own and getattr(type(layer), method) is getattr(Module, method)


def _has_children(layer: Module) -> bool:
    return next(layer.named_children(), None) is not None


def _count(module: Module) -> int:
    return sum(parameter.data.size for parameter in module.parameters())


def _brief(layer: Module) -> str:
    """The name of the layer and the size of its window: enough to find it in the code."""
    kernel = getattr(layer, "kernel_size", None)
    return type(layer).__name__ + (f" {'x'.join(map(str, kernel))}" if isinstance(kernel, tuple) else "")


def _title(row: Row) -> str:
    return row.name or type(row.layer).__name__


def _named(dropped: Sequence[int]) -> str:
    """(0, 2) as "2 columns"."""
    pairs = zip(dropped, _AXES[-len(dropped) :], strict=True)
    return ", ".join(f"{count} {axis}{'s' * (count > 1)}" for count, axis in pairs if count)


def _width(lines: Sequence[Sequence[str]]) -> int:
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return sum(widths) + 2 * (len(widths) - 1)


def _shorten(lines: Sequence[tuple[str, ...]], excess: int) -> list[tuple[str, ...]]:
    """Cut the names, then the layers, of which eight characters stay."""
    for at in (0, 1):
        width = max(len(cells[at]) for cells in lines)
        limit = max(8, width - excess)
        excess -= max(0, width - limit)
        lines = [(*cells[:at], _cut(cells[at], limit), *cells[at + 1 :]) for cells in lines]
    return list(lines)


def _cut(text: str, limit: int) -> str:
    """The end says more than the beginning: the last parts of a nested name, the kernel and the mark of a layer."""
    return text if len(text) <= limit else "…" + text[len(text) - limit + 1 :]


def _html_row(tag: str, cells: Sequence[str], shares: Mapping[str, float], style: str = "") -> str:
    """A bar for each column that has a share, as long as it says."""
    text = []
    for title, cell in zip(("", "", *_DEFAULT), cells, strict=True):
        bar = ""
        if title in shares:
            end = f"{shares[title]:.1%}"
            bar = f"; background: linear-gradient(to right, rgba(70, 130, 180, 0.35) {end}, transparent {end})"
        align = "right" if title in _COUNTS else "left"
        text.append(f'<{tag} style="padding: 2px 8px; text-align: {align}{style}{bar}">{html.escape(cell)}</{tag}>')
    return f"<tr>{''.join(text)}</tr>\n"
