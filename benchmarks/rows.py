"""What is measured: the layers of well-known networks, a few other operators, and the numbers that they are fed."""

from __future__ import annotations

import math
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

import numpy as np

SEED = 20250729
SECTIONS = ("forward", "backward", "operators")

# name, batch, channels, height, width, out-channels, kernel, stride, padding, dilation, groups; batch 1 unless `_bN`
LAYERS = (
    ("vgg1_2", 1, 64, 224, 224, 64, 3, 1, 1, 1, 1),
    ("vgg2_2", 1, 128, 112, 112, 128, 3, 1, 1, 1, 1),
    ("vgg3_2", 1, 256, 56, 56, 256, 3, 1, 1, 1, 1),
    ("vgg4_2", 1, 512, 28, 28, 512, 3, 1, 1, 1, 1),
    ("vgg5_2", 1, 512, 14, 14, 512, 3, 1, 1, 1, 1),
    ("rn_stem7x7", 1, 3, 224, 224, 64, 7, 2, 3, 1, 1),
    ("rn2_1x1up", 1, 64, 56, 56, 256, 1, 1, 0, 1, 1),
    ("rn2_3x3", 1, 64, 56, 56, 64, 3, 1, 1, 1, 1),
    ("rn3_3x3", 1, 128, 28, 28, 128, 3, 1, 1, 1, 1),
    ("rn3_1x1s2", 1, 256, 56, 56, 512, 1, 2, 0, 1, 1),
    ("rn4_3x3", 1, 256, 14, 14, 256, 3, 1, 1, 1, 1),
    ("rn4_1x1down", 1, 1024, 14, 14, 256, 1, 1, 0, 1, 1),
    ("rn5_3x3", 1, 512, 7, 7, 512, 3, 1, 1, 1, 1),
    ("rn5_1x1up", 1, 512, 7, 7, 2048, 1, 1, 0, 1, 1),
    ("alexnet_11x11", 1, 3, 224, 224, 64, 11, 4, 2, 1, 1),
    ("mb2_pw24", 1, 24, 56, 56, 144, 1, 1, 0, 1, 1),
    ("mb2_dw144", 1, 144, 56, 56, 144, 3, 1, 1, 1, 144),
    ("mb2_dw144s2", 1, 144, 56, 56, 144, 3, 2, 1, 1, 144),
    ("mb_dw512", 1, 512, 14, 14, 512, 3, 1, 1, 1, 512),
    ("rnx_g32", 1, 128, 56, 56, 128, 3, 1, 1, 1, 32),
    ("deeplab_d6", 1, 256, 33, 33, 256, 3, 1, 6, 6, 1),
    ("cifar1_b64", 64, 3, 32, 32, 32, 3, 1, 1, 1, 1),
    ("cifar2_b64", 64, 32, 16, 16, 64, 3, 1, 1, 1, 1),
    ("lenet5x5_b64", 64, 6, 14, 14, 16, 5, 1, 0, 1, 1),
    ("rn3_3x3_b16", 16, 128, 28, 28, 128, 3, 1, 1, 1, 1),
    ("rn4_1x1_b16", 16, 1024, 14, 14, 256, 1, 1, 0, 1, 1),
    ("tiny", 1, 1, 8, 8, 4, 3, 1, 1, 1, 1),
)


def normal(name: str, shape: tuple[int, ...], dtype: str = "float32", scale: float = 1.0) -> np.ndarray:
    """Normal numbers that depend on `name` alone, so that every process draws the same; C-contiguous."""
    rng = np.random.default_rng([SEED, zlib.crc32(name.encode())])
    return (rng.standard_normal(shape, np.float32) * np.float32(scale)).astype(dtype)


@dataclass(frozen=True)
class Conv:
    """A convolution; `spatial` has one to three axes, everything else is the same along each."""

    name: str
    n: int
    c: int
    spatial: tuple[int, ...]
    k: int
    kernel: int
    stride: int
    pad: int
    dilation: int
    groups: int
    dtype: str = "float32"

    @property
    def x_shape(self) -> tuple[int, ...]:
        return (self.n, self.c, *self.spatial)

    @property
    def weight_shape(self) -> tuple[int, ...]:
        return (self.k, self.c // self.groups, *(self.kernel for _ in self.spatial))

    @property
    def y_shape(self) -> tuple[int, ...]:
        reach = self.dilation * (self.kernel - 1)
        return (self.n, self.k, *((size + 2 * self.pad - reach - 1) // self.stride + 1 for size in self.spatial))

    @property
    def flops(self) -> int:
        """Of direct convolution: a multiplication and an addition for each weight that meets an output."""
        return 2 * math.prod(self.y_shape) * math.prod(self.weight_shape[1:])

    def data(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Input, weight and bias, channels first."""
        fan_in = math.prod(self.weight_shape[1:])
        return (
            normal(self.name + " x", self.x_shape, self.dtype),
            normal(self.name + " weight", self.weight_shape, self.dtype, fan_in**-0.5),
            normal(self.name + " bias", (self.k,), self.dtype),
        )

    def gradient(self) -> np.ndarray:
        return normal(self.name + " gradient", self.y_shape, self.dtype)


@dataclass(frozen=True)
class Pool:
    """A max-pooling of images: for use ("inference"), with the indices, or from the gradient and those ("backward")."""

    name: str
    mode: str
    x_shape: tuple[int, int, int, int]
    kernel: int
    stride: int
    pad: int
    flops: int = 0

    def data(self) -> np.ndarray:
        return normal(self.name.removesuffix("_" + self.mode) + " x", self.x_shape)


@dataclass(frozen=True)
class Training:
    """One step of SGD of 2x (CONV-RELU-POOL) of 32 and 64 channels and FC, on 32x32 images."""

    name: str
    batch: int
    flops: int = 0

    def data(self) -> tuple[np.ndarray, np.ndarray]:
        labels = np.random.default_rng(SEED).integers(0, 10, self.batch)
        return normal(self.name + " x", (self.batch, 3, 32, 32)), labels


@dataclass(frozen=True)
class Call:
    """An operator on next to nothing, so that the time is what a call costs."""

    name: str
    operator: str
    flops: int = 0


Case = Conv | Pool | Training | Call

ROWS = tuple(Conv(name, n, c, (h, w), *rest) for name, n, c, h, w, *rest in LAYERS)
TINY = ROWS[-1]

OPERATORS: tuple[Case, ...] = (
    Pool("pool2_224", "inference", (1, 64, 224, 224), 2, 2, 0),
    Pool("pool2_224_indices", "indices", (1, 64, 224, 224), 2, 2, 0),
    Pool("pool2_224_backward", "backward", (1, 64, 224, 224), 2, 2, 0),
    Pool("pool3s2_112", "inference", (1, 64, 112, 112), 3, 2, 1),
    Pool("pool2_32_b64", "inference", (64, 32, 32, 32), 2, 2, 0),
    Conv("rn2_3x3_f64", 1, 64, (56, 56), 64, 3, 1, 1, 1, 1, "float64"),
    Conv("conv1d_k9", 16, 64, (1024,), 64, 9, 1, 4, 1, 1),
    Conv("conv3d_k3", 2, 16, (16, 32, 32), 32, 3, 1, 1, 1, 1),
    Training("sgd_step_b64", 64),
    Call("call_conv2d", "conv2d"),
    Call("call_plan", "plan"),
    Call("call_max_pool2d", "max_pool2d"),
    Call("call_linear", "linear"),
    Call("call_relu", "relu"),
)


def cases(section: str, only: Sequence[str] = ("*",)) -> list[Case]:
    """The cases of a section whose names match one of the patterns."""
    everything = OPERATORS if section == "operators" else ROWS
    return [case for case in everything if any(fnmatchcase(case.name, pattern) for pattern in only)]


def find(section: str, name: str) -> Case:
    return next(case for case in cases(section) if case.name == name)


def flops(section: str, case: Case) -> int:
    """Backward counts twice: the gradients of data and weights are a convolution each."""
    return case.flops * (2 if section == "backward" else 1)
