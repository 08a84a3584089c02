"""The measurement behind `shapes.effective_receptive_field`; apart from the sizes, for it runs a network on arrays."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from convc.nn import Module
    from convc.shapes import ReceptiveField

# Two standard deviations of a Gaussian: the paper counts what exceeds 1 - 95.45 % of the peak.
_THRESHOLD = 1 - 0.9545


@dataclass(frozen=True)
class EffectiveReceptiveField:
    """
    What `shapes.effective_receptive_field` returns.

    Attributes
    ----------
    weights : ndarray of float64
        One number for each spatial position of the input: how much it moves the output position, root mean square,
        divided by the largest of them. All are 0 if nothing passes back.
    position : tuple of int
        The output position; empty if the output has no spatial axes.
    theoretical : ReceptiveField or None
        What the sizes of the windows say; None is the whole input.
    """

    weights: np.ndarray[Any, np.dtype[np.float64]]
    position: tuple[int, ...]
    theoretical: ReceptiveField | None

    @property
    def window(self) -> tuple[tuple[int, int], ...]:
        """The theoretical field: its first input position and the one past its last, along each axis."""
        if self.theoretical is None:
            return tuple((0, size) for size in self.weights.shape)
        return self.theoretical.window(self.position)

    @property
    def size(self) -> float:
        """The side of a square of as many positions as weigh more than 4.55 % of the peak, the paper's measure."""
        return float(np.count_nonzero(self.weights > _THRESHOLD) ** (1 / self.weights.ndim))


def measure(
    net: Module, field: ReceptiveField, input_shape: tuple[int, ...], samples: int, rng: np.random.Generator
) -> EffectiveReceptiveField:
    """See `shapes.effective_receptive_field`; `field` is that of an input position."""
    from convc.nn._gradient import gradients_kept

    dtype = next((parameter.data.dtype for parameter in net.parameters()), np.dtype(np.float32))
    layouts = (module.layout for module in net.modules() if hasattr(module, "layout"))
    channel_axis = -1 if str(next(layouts, "")).endswith("C") else 1
    position: tuple[int, ...] = ()
    squares: Any = 0.0
    with gradients_kept(net):
        for _ in range(samples):
            x = rng.standard_normal((1, *input_shape)).astype(dtype)
            y, backward = net.forward_inference(x)
            grad = np.zeros_like(y)
            if y.ndim == x.ndim:
                centre = np.moveaxis(grad, channel_axis, 1)
                position = tuple(size // 2 for size in centre.shape[2:])
                at: Any = (0, slice(None), *position)
                seen = centre[at]
            elif y.ndim == 2:
                seen = grad[0]
            else:
                raise ValueError(f"net must give images or vectors, got {y.shape} from an input of {x.shape}")
            # With random signs the channels' gradients add up in the mean of the squares and do not cancel.
            seen[...] = rng.choice((-1.0, 1.0), seen.shape)
            squares += np.sum(np.square(backward(grad), dtype=np.float64), axis=(0, channel_axis))
    peak = math.sqrt(squares.max())
    return EffectiveReceptiveField(np.sqrt(squares) / (peak or 1.0), position, net.receptive_field(field))
