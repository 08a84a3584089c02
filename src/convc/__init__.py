"""Convolutional networks for NumPy, in C: operators over arrays, and the layers, losses and training on top of them.

The operators are here. `convc.nn`, `convc.loss`, `convc.optim`, `convc.train`, `convc.data`, `convc.shapes`,
`convc.convert` and `convc.plot` are imported when they are first used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from convc._openmp import brief_spinning as _brief_spinning

with _brief_spinning():
    from convc._core import (
        Plan,
        __version__,
        batch_norm,
        batch_norm_backward,
        col2im,
        conv1d,
        conv1d_backward,
        conv2d,
        conv2d_backward,
        conv3d,
        conv3d_backward,
        conv_transpose1d,
        conv_transpose1d_backward,
        conv_transpose2d,
        conv_transpose2d_backward,
        conv_transpose3d,
        conv_transpose3d_backward,
        cross_entropy,
        cross_entropy_backward,
        gemm,
        get_isa,
        get_num_threads,
        group_norm,
        group_norm_backward,
        im2col,
        layer_norm,
        layer_norm_backward,
        linear,
        linear_backward,
        local_response_norm,
        local_response_norm_backward,
        max_pool1d,
        max_pool1d_backward,
        max_pool2d,
        max_pool2d_backward,
        max_pool3d,
        max_pool3d_backward,
        prepare,
        relu,
        relu_backward,
        set_isa,
        set_num_threads,
        softmax,
        softmax_backward,
    )

from convc._installation import cpu_info, get_include, get_sources, precision

if TYPE_CHECKING:
    from convc import convert, data, loss, nn, optim, plot, shapes, train

_LAZY = ("convert", "data", "loss", "nn", "optim", "plot", "shapes", "train")

__all__ = [
    "Plan",
    "__version__",
    "batch_norm",
    "batch_norm_backward",
    "col2im",
    "conv1d",
    "conv1d_backward",
    "conv2d",
    "conv2d_backward",
    "conv3d",
    "conv3d_backward",
    "conv_transpose1d",
    "conv_transpose1d_backward",
    "conv_transpose2d",
    "conv_transpose2d_backward",
    "conv_transpose3d",
    "conv_transpose3d_backward",
    "convert",
    "cpu_info",
    "cross_entropy",
    "cross_entropy_backward",
    "data",
    "gemm",
    "get_include",
    "get_isa",
    "get_num_threads",
    "get_sources",
    "group_norm",
    "group_norm_backward",
    "im2col",
    "layer_norm",
    "layer_norm_backward",
    "linear",
    "linear_backward",
    "local_response_norm",
    "local_response_norm_backward",
    "loss",
    "max_pool1d",
    "max_pool1d_backward",
    "max_pool2d",
    "max_pool2d_backward",
    "max_pool3d",
    "max_pool3d_backward",
    "nn",
    "optim",
    "plot",
    "precision",
    "prepare",
    "relu",
    "relu_backward",
    "set_isa",
    "set_num_threads",
    "shapes",
    "softmax",
    "softmax_backward",
    "train",
]


def __getattr__(name: str) -> object:
    if name in _LAZY:
        return importlib.import_module(f"convc.{name}")
    raise AttributeError(f"module 'convc' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *_LAZY})
