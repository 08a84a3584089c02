"""Arguments of windows, checked and given to each axis: what sizes, layers and conversions share."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from typing import Any, SupportsIndex

Axes = SupportsIndex | Sequence[SupportsIndex]
Padding = SupportsIndex | str | Sequence[SupportsIndex | Sequence[SupportsIndex]]

INT64_MAX = 2**63 - 1


def integer(value: Any, name: str, minimum: int) -> int:
    """`value` as an int of at least `minimum` that the core can hold; errors name the argument."""
    try:
        number = operator.index(value)
    except TypeError:
        number = None
    if number is None or isinstance(value, bool):
        raise TypeError(f"{name} must be an integer, got {value!r}")
    if not minimum <= number <= INT64_MAX:
        raise ValueError(f"{name} must be at least {minimum} and fit 64 bits, got {number}")
    return number


def axes(value: Axes, ndim: int, name: str, minimum: int = 1) -> tuple[int, ...]:
    """One integer an axis, from one for all of them or a sequence of `ndim`."""
    if isinstance(value, (str, bytes)) or not is_sequence(value):
        return (integer(value, name, minimum),) * ndim
    numbers = tuple(integer(item, name, minimum) for item in value)  # type: ignore[union-attr]
    if len(numbers) != ndim:
        raise ValueError(f"{name} must be an integer or {ndim} of them, got {value!r}")
    return numbers


def sides(value: Sequence[SupportsIndex], name: str, minimum: int = 1) -> tuple[int, ...]:
    """One integer an axis, where nothing else says how many axes there are."""
    if isinstance(value, (str, bytes)) or not is_sequence(value):
        raise TypeError(f"{name} must be a sequence of integers, one for each axis, got {value!r}")
    return axes(value, len(value), name, minimum)


def channel_counts(in_channels: int, out_channels: int, groups: int) -> tuple[int, int, int]:
    """The three of a convolution."""
    counts = tuple(
        integer(value, name, 1)
        for value, name in ((in_channels, "in_channels"), (out_channels, "out_channels"), (groups, "groups"))
    )
    if counts[0] % counts[2] or counts[1] % counts[2]:
        raise ValueError(
            f"groups must divide in_channels and out_channels, "
            f"got groups={groups}, in_channels={in_channels}, out_channels={out_channels}"
        )
    return counts[0], counts[1], counts[2]


def window_axes(kernel_size: Axes, stride: Axes, dilation: Axes, ndim: int) -> tuple[tuple[int, ...], ...]:
    """What a window is along each axis."""
    return tuple(
        axes(value, ndim, name)
        for value, name in ((kernel_size, "kernel_size"), (stride, "stride"), (dilation, "dilation"))
    )


def padding_axes(
    padding: Padding, kernel: Sequence[int], stride: Sequence[int], dilation: Sequence[int]
) -> tuple[tuple[int, int], ...]:
    """(before, after) for each axis, from any of the forms that the operators accept."""
    if isinstance(padding, str):
        if padding == "valid":
            return ((0, 0),) * len(kernel)
        if padding == "same":
            for i, step in enumerate(stride):
                if step != 1:
                    raise ValueError(
                        f"padding 'same' needs a stride of 1, got {step} in spatial dimension {i}; "
                        f"with other strides give numbers, such as padding=1 for a kernel of 3"
                    )
            return tuple(halves(d * (k - 1)) for k, d in zip(kernel, dilation, strict=True))
        raise ValueError(f"padding must be integers, 'valid' or 'same', got {padding!r}")
    if not is_sequence(padding):
        return ((integer(padding, "padding", 0),) * 2,) * len(kernel)
    if len(padding) != len(kernel):  # type: ignore[arg-type]
        raise ValueError(f"padding must be an integer or one entry for each of {len(kernel)} axes, got {padding!r}")
    return tuple(axes(item, 2, "padding", 0) for item in padding)  # type: ignore[union-attr, misc]


def check_pad_mode(pad_mode: str, size: Sequence[int], padding: Sequence[tuple[int, int]]) -> None:
    """Refuse what reads the image further than it goes: reflections of all of it, or copies of more."""
    for i, (n, pads) in enumerate(zip(size, padding, strict=True)):
        most = {"reflect": n - 1, "circular": n}.get(pad_mode, INT64_MAX)
        if max(pads) > most:
            raise ValueError(
                f"padding must be at most {most} for pad_mode {pad_mode!r} of {n} elements in spatial dimension {i}, "
                f"got {pads}"
            )


def halves(total: int) -> tuple[int, int]:
    """An odd position goes behind the input, as in PyTorch and TensorFlow."""
    return total // 2, total - total // 2


def is_sequence(value: Any) -> bool:
    """Whether there is one entry for each axis; arrays have, which are no `Sequence`."""
    return isinstance(value, Sequence) or getattr(value, "ndim", 0) > 0
