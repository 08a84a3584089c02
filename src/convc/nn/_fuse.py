"""A network for use alone: normalisation by running statistics becomes part of the layer before it."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from convc.nn._activation import Activation
from convc.nn._dense import Dropout, Flatten, Linear
from convc.nn._local import LocallyConnected
from convc.nn._module import Module, Parameter
from convc.nn._norm import BatchNorm, Norm
from convc.nn._pool import GlobalPool
from convc.nn._sequential import LayerList, Sequential


def fuse(module: Module) -> Module:
    """See `Module.fuse`."""
    fused = copy.copy(module)
    for name, value in vars(module).items():
        if isinstance(module, LayerList) and name == "layers":
            setattr(fused, name, _chain(value) if isinstance(module, Sequential) else [fuse(layer) for layer in value])
        else:
            setattr(fused, name, fuse(value) if isinstance(value, Module) else copy.deepcopy(value))
    return fused


def _chain(layers: Iterable[Module]) -> list[Module]:
    chain: list[Module] = []
    are_vectors = False  # whether what the layers so far give is surely one vector a sample
    for layer in _flat(layers):
        are_vectors = _makes_vectors(layer) or (are_vectors and isinstance(layer, (Activation, Norm, Linear, Dropout)))
        if isinstance(layer, Dropout):
            continue
        if not (isinstance(layer, BatchNorm) and chain and _absorb(chain[-1], layer, are_vectors)):
            chain.append(fuse(layer))
    return chain


def _flat(layers: Iterable[Module]) -> Iterator[Module]:
    """The layers, and those of chains among them, so that neighbours in different chains meet."""
    for layer in layers:
        if type(layer) is Sequential:
            yield from _flat(layer)
        else:
            yield layer


def _makes_vectors(layer: Module) -> bool:
    if isinstance(layer, Flatten):
        return (layer.start_dim, layer.end_dim) == (1, -1)
    return isinstance(layer, GlobalPool) and not layer.keepdims


def _absorb(layer: Any, norm: BatchNorm, are_vectors: bool) -> bool:
    """Scales the weights and shifts the bias of a layer as `norm` would its output; False if that is not the same."""
    axis = layer.out_axis
    if axis is None or layer.activation is not None or not _same_channels(layer, norm, are_vectors):
        return False
    weight, groups = layer.weight.data, getattr(layer, "groups", 1) if axis else 1
    if weight.shape[axis] * groups != norm.num_features:
        return False
    with np.errstate(all="ignore"):
        in_use = norm.in_use()
        if in_use is None:
            return False
        scale, shift = in_use
        # Where input channels come first, those of a group share its output channels.
        factor = np.repeat(scale.reshape(groups, -1), weight.shape[0] // groups, 0) if axis else scale
        factor = factor.reshape(*factor.shape, *[1] * (weight.ndim - factor.ndim))
        bias = shift if layer.bias is None else layer.bias.data * scale + shift
        if isinstance(layer, LocallyConnected):
            bias = np.broadcast_to(bias, weight.shape[:2])
        weight, bias = (weight * factor).astype(weight.dtype), bias.astype(weight.dtype)
    if not (np.isfinite(weight).all() and np.isfinite(bias).all()):
        return False  # a variance of 0: apart, the layers may still give numbers, and give NaN where they did
    layer.weight, layer.bias = Parameter(weight), Parameter(bias)
    return True


def _same_channels(layer: Any, norm: BatchNorm, are_vectors: bool) -> bool:
    """
    Do both have their channels on one axis?

    A fully connected layer has them on the last. The normalisation of signals has them on the second axis, which is the
    same one for vectors, but for a sequence of vectors that of the positions.
    """
    if hasattr(layer, "layout"):
        return bool(layer.layout == norm.layout)
    return norm.layout in ("NWC", "NHWC", "NDHWC") or (norm.layout == "NCW" and are_vectors)
