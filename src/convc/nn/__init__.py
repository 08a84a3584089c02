"""Layers: thin callers of the operators, with PyTorch's names, arguments and initial values.

A layer keeps no state but its parameters and buffers. ``layer(x)`` is for use; ``y, backward = layer.forward(x)`` is
for training, where ``grad_x = backward(grad_y)`` adds to the gradients of the parameters.
"""

from convc.nn._activation import GELU, LeakyReLU, PReLU, ReLU, Sigmoid, SiLU, Softmax, Tanh
from convc.nn._blocks import Concat, Residual
from convc.nn._dense import Dropout, Flatten, Linear
from convc.nn._files import load_model
from convc.nn._gradient import input_gradient
from convc.nn._local import LocallyConnected1d, LocallyConnected2d
from convc.nn._module import Buffer, IncompatibleKeys, Module, Parameter
from convc.nn._norm import BatchNorm1d, BatchNorm2d, BatchNorm3d, GroupNorm, LayerNorm, LocalResponseNorm
from convc.nn._pool import (
    AdaptiveAvgPool1d,
    AdaptiveAvgPool2d,
    AdaptiveAvgPool3d,
    AdaptiveMaxPool1d,
    AdaptiveMaxPool2d,
    AdaptiveMaxPool3d,
    AvgPool1d,
    AvgPool2d,
    AvgPool3d,
    GlobalAvgPool,
    GlobalMaxPool,
    LPPool1d,
    LPPool2d,
    LPPool3d,
    MaxPool1d,
    MaxPool2d,
    MaxPool3d,
)
from convc.nn._resize import Upsample
from convc.nn._sequential import Sequential
from convc.nn._spatial import Conv1d, Conv2d, Conv3d
from convc.nn._summary import Summary
from convc.nn._transpose import ConvTranspose1d, ConvTranspose2d, ConvTranspose3d
from convc.nn._unpool import MaxUnpool1d, MaxUnpool2d, MaxUnpool3d

__all__ = [
    "GELU",
    "AdaptiveAvgPool1d",
    "AdaptiveAvgPool2d",
    "AdaptiveAvgPool3d",
    "AdaptiveMaxPool1d",
    "AdaptiveMaxPool2d",
    "AdaptiveMaxPool3d",
    "AvgPool1d",
    "AvgPool2d",
    "AvgPool3d",
    "BatchNorm1d",
    "BatchNorm2d",
    "BatchNorm3d",
    "Buffer",
    "Concat",
    "Conv1d",
    "Conv2d",
    "Conv3d",
    "ConvTranspose1d",
    "ConvTranspose2d",
    "ConvTranspose3d",
    "Dropout",
    "Flatten",
    "GlobalAvgPool",
    "GlobalMaxPool",
    "GroupNorm",
    "IncompatibleKeys",
    "LPPool1d",
    "LPPool2d",
    "LPPool3d",
    "LayerNorm",
    "LeakyReLU",
    "Linear",
    "LocalResponseNorm",
    "LocallyConnected1d",
    "LocallyConnected2d",
    "MaxPool1d",
    "MaxPool2d",
    "MaxPool3d",
    "MaxUnpool1d",
    "MaxUnpool2d",
    "MaxUnpool3d",
    "Module",
    "PReLU",
    "Parameter",
    "ReLU",
    "Residual",
    "Sequential",
    "SiLU",
    "Sigmoid",
    "Softmax",
    "Summary",
    "Tanh",
    "Upsample",
    "input_gradient",
    "load_model",
]
