"""Losses: what training makes small. Like layers they keep no state."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from convc import _core

__all__ = ["CrossEntropyLoss"]

Array = np.ndarray[Any, np.dtype[Any]]


class CrossEntropyLoss:
    """
    Softmax and the negative logarithm of the probability of the right class, in one stable step.

    Parameters
    ----------
    reduction : {"mean", "sum", "none"}
        Over the samples.

    Examples
    --------
    >>> import numpy as np
    >>> from convc.loss import CrossEntropyLoss
    >>> loss, backward = CrossEntropyLoss().forward(np.zeros((1, 4)), np.array([2]))
    >>> round(loss, 4)
    1.3863
    >>> backward()
    array([[ 0.25,  0.25, -0.75,  0.25]])
    """

    def __init__(self, reduction: str = "mean") -> None:
        if reduction not in ("mean", "sum", "none"):
            raise ValueError(f"reduction must be 'mean', 'sum' or 'none', got {reduction!r}")
        self.reduction = reduction

    def __call__(self, logits: Array, target: Array) -> Any:
        """
        The loss.

        Parameters
        ----------
        logits : ndarray, (n, classes)
        target : ndarray of int64, (n,)
            The right classes.

        Returns
        -------
        float, or ndarray of shape (n,) with ``reduction="none"``
        """
        return _core.cross_entropy(logits, target, reduction=self.reduction)

    def forward(self, logits: Array, target: Array) -> tuple[Any, Callable[..., Array]]:
        """The loss, and ``grad_logits = backward(grad=1.0)``."""

        def backward(grad: Any = 1.0) -> Array:
            return _core.cross_entropy_backward(logits, target, grad, reduction=self.reduction)

        return self(logits, target), backward

    def __repr__(self) -> str:
        return f"CrossEntropyLoss(reduction={self.reduction!r})"
