"""A network for use alone: normalisation by running statistics becomes part of the layer before it."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from convc.nn._dense import Dropout
from convc.nn._module import Module, Parameter
from convc.nn._norm import BatchNorm
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
    for layer in _flat(layers):
        if isinstance(layer, Dropout) or (isinstance(layer, BatchNorm) and chain and _absorb(chain[-1], layer)):
            continue
        chain.append(fuse(layer))
    return chain


def _flat(layers: Iterable[Module]) -> Iterator[Module]:
    """The layers, and those of chains among them, so that neighbours in different chains meet."""
    for layer in layers:
        if type(layer) is Sequential:
            yield from _flat(layer)
        else:
            yield layer


def _absorb(layer: Any, norm: BatchNorm) -> bool:
    """Scales the weights and shifts the bias of a layer as `norm` would its output; False if that is not the same."""
    axis, in_use = layer.out_axis, norm.in_use()
    if axis is None or in_use is None or layer.activation is not None or not _same_channels(layer, norm):
        return False
    scale, shift = in_use
    weight, groups = layer.weight.data, getattr(layer, "groups", 1) if axis else 1
    if weight.shape[axis] * groups != len(scale):
        return False
    # Where input channels come first, those of a group share its output channels.
    factor = np.repeat(scale.reshape(groups, -1), weight.shape[0] // groups, 0) if axis else scale
    factor = factor.reshape(*factor.shape, *[1] * (weight.ndim - factor.ndim))
    bias = shift if layer.bias is None else layer.bias.data * scale + shift
    layer.weight = Parameter((weight * factor).astype(weight.dtype))
    layer.bias = Parameter(bias.astype(weight.dtype))
    return True


def _same_channels(layer: Any, norm: BatchNorm) -> bool:
    """Do both have their channels on one axis? A fully connected layer has them on the last, or on the only one."""
    if hasattr(layer, "layout"):
        return bool(layer.layout == norm.layout)
    return norm.layout in ("NCW", "NWC", "NHWC", "NDHWC")
