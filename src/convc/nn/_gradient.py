"""The gradient of a network's answer with respect to its input: what in the input the answer depends on."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import SupportsIndex

import numpy as np

from convc.nn._module import Array, Module
from convc.shapes import integer


def input_gradient(net: Module, x: Array, target: SupportsIndex | Array | None = None) -> Array:
    """
    The gradient of a class score with respect to the input, for each sample of a batch.

    It is that of the network in use: dropout is off, and normalisation has its running statistics. The gradients of
    the parameters stay as they are.

    Parameters
    ----------
    net : Module
        Its output must be one row of scores a sample; the gradient is that of a score, not of a probability.
    x : ndarray, (n, ...)
    target : int or ndarray of int, (n,), optional
        The class, or that of each sample; the one with the highest score if not given.

    Returns
    -------
    ndarray
        Of the shape of `x`. Its largest magnitude over the channels is a saliency map, which `convc.plot.saliency`
        draws.

    Raises
    ------
    ValueError, TypeError
        If the network gives no rows of scores, or a target is no class of them.

    References
    ----------
    K. Simonyan, A. Vedaldi and A. Zisserman, "Deep Inside Convolutional Networks: Visualising Image Classification
    Models and Saliency Maps", ICLR workshop 2014, https://arxiv.org/abs/1312.6034.

    Examples
    --------
    The score of a linear classifier depends on each input by its weight:

    >>> import numpy as np
    >>> from convc import nn
    >>> net = nn.Linear(2, 3, rng=0)
    >>> gradient = nn.input_gradient(net, np.ones((5, 2), np.float32), target=1)
    >>> np.array_equal(gradient[4], net.weight.data[1])
    True
    """
    with gradients_kept(net):
        scores, backward = net.forward_inference(x)
        if scores.ndim != 2 or scores.shape[1] == 0:
            raise ValueError(f"the network must give one row of scores a sample, got shape {scores.shape}")
        grad = np.zeros_like(scores)
        grad[np.arange(len(scores)), _targets(scores, target)] = 1
        gradient: Array = backward(grad)
    return gradient


@contextlib.contextmanager
def gradients_kept(net: Module) -> Iterator[None]:
    """What the block adds to the gradients of the parameters is dropped."""
    parameters = list(net.parameters())
    kept = [parameter.grad for parameter in parameters]
    net.zero_grad()  # else the block would add to the very arrays that are kept
    try:
        yield
    finally:
        for parameter, grad in zip(parameters, kept, strict=True):
            parameter.grad = grad


def _targets(scores: Array, target: SupportsIndex | Array | None) -> Array:
    """One class a sample."""
    samples, classes = scores.shape
    if target is None:
        target = np.asarray(scores.argmax(axis=1))
    if not isinstance(target, np.ndarray):
        target = np.full(samples, integer(target, "target", 0))
    if target.dtype.kind not in "iu" or target.shape not in ((), (samples,)):
        raise TypeError(
            f"target must hold one integer for each of {samples} samples, got {target.dtype} {target.shape}"
        )
    if target.size and not (target.min() >= 0 and target.max() < classes):
        raise ValueError(f"target must be from 0 to {classes - 1}, the classes of the network, got {target}")
    return target
