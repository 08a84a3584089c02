"""The table of a network: what goes in and out of each layer, and what that costs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from convc import shapes
from convc.nn._blocks import Parallel
from convc.nn._module import Module
from convc.nn._sequential import Sequential
from convc.shapes import ReceptiveField


@dataclass(frozen=True)
class Row:
    """
    One layer; shapes are without the batch axis. A `receptive_field` of None is the whole input.

    A block of parallel paths has a row after those of its layers, for the place where the paths join.
    """

    name: str
    layer: Module
    output_shape: tuple[int, ...]
    parameters: int
    receptive_field: ReceptiveField | None
    macs: int


@dataclass(frozen=True, repr=False)
class Summary:
    """
    What `Module.summary` returns; ``print``, or an interactive Python, shows it as a table.

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

    def __str__(self) -> str:
        header = ("", "layer", "output", "parameters", "receptive field", "jump", "multiply-adds")
        lines = [("", "input", _by(self.input_shape), "", "", "", "")]
        for row in self.rows:
            field, jump = "all", ""
            if row.receptive_field is not None:
                field, jump = _by(row.receptive_field.size), _by(row.receptive_field.jump)
            counts = f"{row.parameters:,}", f"{row.macs:,}"
            lines.append((row.name, _brief(row.layer), _by(row.output_shape), counts[0], field, jump, counts[1]))
        total = ("", "total", "", f"{self.parameters:,}", "", "", f"{self.macs:,}")
        widths = [max(map(len, column)) for column in zip(header, *lines, total, strict=True)]
        rule = "-" * (sum(widths) + 2 * (len(widths) - 1))
        table = [header, *lines, total]
        text = ["  ".join(map(_align, cells, widths, range(len(cells)))).rstrip() for cells in table]
        return "\n".join([text[0], rule, *text[1:-1], rule, text[-1]])

    __repr__ = __str__


def summarize(net: Module, input_shape: Sequence[int]) -> Summary:
    """See `Module.summary`."""
    if not isinstance(input_shape, Sequence):
        raise TypeError(f"input_shape must be a tuple of integers without the batch axis, got {input_shape!r}")
    shape = shapes.axes(input_shape, len(input_shape), "input_shape")
    ones = (1,) * (len(shape) - 1)
    field: ReceptiveField | None = ReceptiveField(ones, ones)
    rows = _rows(net, "", shape, field)
    return Summary(shape, tuple(rows), _count(net), sum(row.macs for row in rows))


def _rows(module: Module, name: str, shape: tuple[int, ...], field: ReceptiveField | None) -> list[Row]:
    rows: list[Row] = []
    prefix = f"{name}." if name else ""
    if isinstance(module, Sequential):
        for child_name, child in module.named_children():
            rows += _rows(child, prefix + child_name, shape, field)
            if rows:
                shape, field = rows[-1].output_shape, rows[-1].receptive_field
        return rows
    if isinstance(module, Parallel):
        for path_name, path in module.paths():
            rows += _rows(path, prefix + path_name, shape, field)
    try:
        output = module.output_shape(shape)
    except (ValueError, TypeError) as error:
        raise ValueError(f"layer {name or type(module).__name__}: {error}") from None
    counts = (0, 0) if isinstance(module, Parallel) else (_count(module), module.macs(shape))
    return [*rows, Row(name, module, output, counts[0], module.receptive_field(field), counts[1])]


def _count(module: Module) -> int:
    return sum(parameter.data.size for parameter in module.parameters())


def _by(numbers: Sequence[int]) -> str:
    return " x ".join(map(str, numbers))


def _brief(layer: Module) -> str:
    """The name of the layer and the size of its window: enough to find it in the code."""
    kernel = getattr(layer, "kernel_size", None)
    return type(layer).__name__ + (f" {'x'.join(map(str, kernel))}" if isinstance(kernel, tuple) else "")


def _align(cell: str, width: int, column: int) -> str:
    return cell.rjust(width) if column in (3, 6) else cell.ljust(width)
