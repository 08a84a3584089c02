"""What is measured: the layers of well-known networks, a few other operators, and the numbers that they are fed."""

from __future__ import annotations

import math
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

import numpy as np

SEED = 20250729
SECTIONS = ("forward", "backward", "operators", "layers", "gradients")

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
class Layer:
    """
    An operator that is no plain convolution, on one array; `options` are what convc and PyTorch call by the same names.

    `weights` are the shapes of the further arrays, by name; `indices` are those of a max pooling without overlap.
    """

    name: str
    operator: str
    x_shape: tuple[int, ...]
    options: tuple[tuple[str, Any], ...] = ()
    weights: tuple[tuple[str, tuple[int, ...]], ...] = ()
    flops: int = 0

    def data(self) -> dict[str, np.ndarray]:
        """The arrays by name, x first; variances are positive."""
        arrays = {"x": normal(self.name + " x", self.x_shape)}
        for name, shape in self.weights:
            values = normal(f"{self.name} {name}", shape, scale=0.1)
            if name == "indices":
                values = _indices(values, dict(self.options)["kernel_size"])
            arrays[name] = np.abs(values) + np.float32(0.5) if "var" in name else values
        return arrays

    def gradient(self, y_shape: tuple[int, ...]) -> np.ndarray:
        """Of an output with its channels first."""
        return normal(self.name + " gradient", y_shape)


def _indices(values: np.ndarray, kernel: int) -> np.ndarray:
    """Where in the larger image the largest of each window was: now here, now there, as `values` have it."""
    height, width = values.shape[2:]
    corners = kernel * (kernel * width * np.arange(height)[:, np.newaxis] + np.arange(width))
    place = (np.abs(values) * 1e4).astype(np.int64) % kernel**2
    return corners + place // kernel * kernel * width + place % kernel


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


Case = Conv | Pool | Layer | Training | Call

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


_MAPS = (16, 64, 56, 56)  # of ResNet's first stage, a small batch
_CHANNELS = dict.fromkeys(("weight", "bias", "running_mean", "running_var"), (64,))


def _layer(
    name: str, operator: str, x_shape: tuple[int, ...], weights: dict[str, Any] | None = None, **options: Any
) -> Layer:
    return Layer(name, operator, x_shape, tuple(options.items()), tuple((weights or {}).items()))


def _transposed(name: str, n: int, c: int, size: tuple[int, ...], k: int, kernel: int, **options: int) -> Layer:
    weights = {"weight": (c, k, *(kernel for _ in size)), "bias": (k,)}
    return _layer(name, f"conv_transpose{len(size)}d", (n, c, *size), weights, **options)


def _local(name: str, batch: int) -> Layer:
    """80 MB of weights, more than caches hold: with few images the time is that of reading them."""
    weights = {"weight": (196, 64, 64, 5, 5), "bias": (196, 64)}
    return _layer(name, "locally_connected2d", (batch, 64, 14, 14), weights, padding=2)


LAYERS_BESIDE: tuple[Layer, ...] = (
    _transposed("dcgan_8x8", 16, 512, (8, 8), 256, 4, stride=2, padding=1),
    _transposed("dcgan_32x32", 16, 128, (32, 32), 64, 4, stride=2, padding=1),
    _transposed("dcgan_rgb", 16, 64, (32, 32), 3, 4, stride=2, padding=1),
    _transposed("unet_up", 2, 128, (64, 64), 64, 2, stride=2),
    _transposed("up_3x3", 4, 128, (28, 28), 64, 3, stride=2, padding=1, output_padding=1),
    _transposed("audio_up8", 4, 64, (512,), 32, 16, stride=8, padding=4),
    _transposed("volume_up", 2, 64, (8, 16, 16), 32, 2, stride=2),
    _layer("avg2_112", "avg_pool2d", (4, 64, 112, 112), kernel_size=2),
    _layer("avg3_56", "avg_pool2d", _MAPS, kernel_size=3, stride=1, padding=1),
    _layer("avg3s2_56", "avg_pool2d", _MAPS, kernel_size=3, stride=2, padding=1),
    _layer("adaptive7_32", "adaptive_avg_pool2d", (16, 256, 32, 32), output_size=7),
    _layer("global_7", "adaptive_avg_pool2d", (16, 2048, 7, 7), output_size=1),
    _layer("adaptive_max7", "adaptive_max_pool2d", (16, 256, 32, 32), output_size=7),
    _layer("lp2_56", "lp_pool2d", _MAPS, norm_type=2.0, kernel_size=2),
    _layer("batch_norm", "batch_norm", _MAPS, _CHANNELS),
    _layer("batch_norm_train", "batch_norm", _MAPS, _CHANNELS, training=True),
    _layer("group_norm32", "group_norm", (8, 256, 28, 28), {"weight": (256,), "bias": (256,)}, num_groups=32),
    _layer("layer_norm768", "layer_norm", (8 * 197, 768), {"weight": (768,), "bias": (768,)}, normalized_shape=(768,)),
    _layer("lrn5", "local_response_norm", (8, 96, 55, 55), size=5, alpha=1e-4, beta=0.75, k=2.0),
    _layer("leaky_relu", "leaky_relu", _MAPS),
    _layer("prelu", "prelu", _MAPS, {"weight": (64,)}),
    _layer("sigmoid", "sigmoid", _MAPS),
    _layer("tanh", "tanh", _MAPS),
    _layer("silu", "silu", _MAPS),
    _layer("gelu", "gelu", _MAPS),
    _layer("nearest_x2", "interpolate", (4, 64, 56, 56), scale_factor=2, mode="nearest"),
    _layer("bilinear_x2", "interpolate", (4, 64, 56, 56), scale_factor=2, mode="bilinear"),
    _layer("reflect_3x3", "conv2d", (1, 64, 112, 112), {"weight": (64, 64, 3, 3)}, padding=1, pad_mode="reflect"),
    _layer("replicate_5x5", "conv2d", (4, 3, 224, 224), {"weight": (16, 3, 5, 5)}, padding=2, pad_mode="replicate"),
    _layer("circular_3x3", "conv2d", (4, 64, 56, 56), {"weight": (64, 64, 3, 3)}, padding=1, pad_mode="circular"),
    _local("local5_14", 1),
    _local("local5_14_b16", 16),
    _layer("read_80mb", "sum", (196 * 64 * 64 * 25,)),  # of PyTorch only: what reading those weights takes
    _layer("unpool2_56", "max_unpool2d", (16, 64, 28, 28), {"indices": (16, 64, 28, 28)}, kernel_size=2),
    _layer("softmax1000", "softmax", (256, 1000)),
    _layer("softmax_maps", "softmax", (4, 21, 128, 128)),
)


def cases(section: str, only: Sequence[str] = ("*",)) -> list[Case]:
    """The cases of a section whose names match one of the patterns."""
    everything: tuple[Case, ...] = ROWS
    if section == "operators":
        everything = OPERATORS
    elif section in ("layers", "gradients"):
        everything = LAYERS_BESIDE
    return [case for case in everything if any(fnmatchcase(case.name, pattern) for pattern in only)]


def find(section: str, name: str) -> Case:
    return next(case for case in cases(section) if case.name == name)


def flops(section: str, case: Case) -> int:
    """Backward counts twice: the gradients of data and weights are a convolution each."""
    return case.flops * (2 if section == "backward" else 1)
