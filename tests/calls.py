"""A call of every operator, for the tests that go through all of them."""

import inspect
from pathlib import Path

import numpy as np

import convc
from convc import _core

STUB = Path(_core.__file__).with_name("_core.pyi")
FUNCTIONS = sorted(name for name, value in vars(convc).items() if inspect.isroutine(value) and not name.startswith("_"))
LAZY = ("convert", "data", "loss", "models", "nn", "optim", "plot", "shapes", "train")


def integers(*shape, dtype=np.float32, seed=0):
    """Small whole numbers: sums of their products are exact in any order."""
    return np.random.default_rng(seed).integers(-4, 5, shape).astype(dtype)


X, WEIGHT, BIAS = integers(2, 4, 6, 7), integers(8, 2, 3, 2, seed=1), integers(8, seed=2)
WINDOW = {"stride": (2, 1), "padding": ((1, 0), (2, 1)), "dilation": (1, 2)}
TARGET = np.array([1, 0])
PLACES = np.broadcast_to(np.arange(42).reshape(6, 7), X.shape)  # an index each

# One call of every function that takes arrays: its arrays by name, then its other arguments.
CALLS = {
    "conv1d": ({"x": X[0], "weight": integers(3, 6, 2), "bias": BIAS[:3]}, {"padding": 1}),
    "conv2d": ({"x": X, "weight": WEIGHT, "bias": BIAS}, {**WINDOW, "groups": 2}),
    "conv3d": ({"x": X[None], "weight": integers(3, 2, 2, 2, 2), "bias": BIAS[:3]}, {}),
    "conv1d_backward": ({"grad": integers(2, 3, 5), "x": integers(2, 4, 6), "weight": integers(3, 4, 2)}, {}),
    "conv2d_backward": ({"grad": integers(2, 8, 3, 8), "x": X, "weight": WEIGHT}, {**WINDOW, "groups": 2}),
    "conv3d_backward": ({"grad": integers(1, 3, 3, 5, 6), "x": X[None], "weight": integers(3, 2, 2, 2, 2)}, {}),
    "conv_transpose1d": (
        {"x": X[0], "weight": integers(6, 3, 2), "bias": BIAS[:3]},
        {"stride": 2, "output_padding": 1},
    ),
    "conv_transpose2d": ({"x": X, "weight": integers(4, 3, 3, 2), "bias": BIAS[:6]}, {**WINDOW, "groups": 2}),
    "conv_transpose3d": ({"x": X[None], "weight": integers(2, 3, 2, 2, 2), "bias": BIAS[:3]}, {"stride": 2}),
    "conv_transpose1d_backward": ({"grad": integers(2, 3, 8), "x": integers(2, 4, 4), "weight": integers(4, 3, 5)}, {}),
    "conv_transpose2d_backward": (
        {"grad": integers(2, 6, 12, 6), "x": X, "weight": integers(4, 3, 3, 2)},
        {**WINDOW, "groups": 2},
    ),
    "conv_transpose3d_backward": (
        {"grad": integers(1, 3, 5, 7, 8), "x": X[None], "weight": integers(2, 3, 2, 2, 2)},
        {},
    ),
    "locally_connected1d": ({"x": X[0], "weight": integers(8, 3, 6, 2), "bias": integers(8, 3)}, {"padding": 1}),
    "locally_connected2d": ({"x": X, "weight": integers(24, 8, 4, 3, 2), "bias": integers(24, 8)}, WINDOW),
    "locally_connected1d_backward": (
        {"grad": integers(2, 3, 5), "x": integers(2, 4, 6), "weight": integers(5, 3, 4, 2)},
        {},
    ),
    "locally_connected2d_backward": (
        {"grad": integers(2, 8, 3, 8), "x": X, "weight": integers(24, 8, 4, 3, 2)},
        WINDOW,
    ),
    "max_pool1d": ({"x": X[0]}, {"kernel_size": 3, "return_indices": True}),
    "max_pool2d": ({"x": X}, {"kernel_size": (3, 2), "padding": 1}),
    "max_pool3d": ({"x": X[None]}, {"kernel_size": 2}),
    "max_pool2d_backward": (
        {"grad": integers(2, 4, 3, 3)},
        {"indices": np.zeros((2, 4, 3, 3), int), "x_shape": X.shape},
    ),
    "avg_pool1d": ({"x": X[0]}, {"kernel_size": 3}),
    "avg_pool2d": ({"x": X}, {"kernel_size": (3, 2), "padding": 1}),
    "avg_pool3d": ({"x": X[None]}, {"kernel_size": 2}),
    "avg_pool2d_backward": ({"grad": integers(2, 4, 2, 3)}, {"x_shape": X.shape, "kernel_size": (3, 2)}),
    "lp_pool1d": ({"x": X[0]}, {"norm_type": 1, "kernel_size": 3}),
    "lp_pool2d": ({"x": X}, {"norm_type": 2, "kernel_size": (3, 2)}),
    "lp_pool3d": ({"x": X[None]}, {"norm_type": 2, "kernel_size": 2}),
    "lp_pool2d_backward": (
        {"grad": integers(2, 4, 2, 3), "x": X, "y": integers(2, 4, 2, 3, seed=3)},
        {"norm_type": 1, "kernel_size": (3, 2)},
    ),
    "adaptive_avg_pool1d": ({"x": X[0]}, {"output_size": 3}),
    "adaptive_avg_pool2d": ({"x": X}, {"output_size": (4, None)}),
    "adaptive_avg_pool3d": ({"x": X[None]}, {"output_size": 2}),
    "adaptive_avg_pool2d_backward": ({"grad": integers(2, 4, 4, 3)}, {"x_shape": X.shape}),
    "adaptive_max_pool1d": ({"x": X[0]}, {"output_size": 3, "return_indices": True}),
    "adaptive_max_pool2d": ({"x": X}, {"output_size": (4, None)}),
    "adaptive_max_pool3d": ({"x": X[None]}, {"output_size": 2}),
    "adaptive_max_pool2d_backward": (
        {"grad": integers(2, 4, 3, 3)},
        {"indices": np.zeros((2, 4, 3, 3), int), "x_shape": X.shape},
    ),
    "global_avg_pool": ({"x": X}, {"layout": "NCHW"}),
    "global_avg_pool_backward": ({"grad": integers(2, 4)}, {"x_shape": X.shape, "layout": "NCHW"}),
    "global_max_pool": ({"x": X}, {"layout": "NCHW", "return_indices": True}),
    "global_max_pool_backward": (
        {"grad": integers(2, 4)},
        {"indices": np.zeros((2, 4), int), "x_shape": X.shape, "layout": "NCHW"},
    ),
    "max_unpool1d": ({"x": X[0]}, {"indices": PLACES[0, :, :, :], "kernel_size": 8}),
    "max_unpool2d": ({"x": X}, {"indices": PLACES, "kernel_size": 2}),
    "max_unpool3d": ({"x": X[None]}, {"indices": PLACES[None], "kernel_size": 2}),
    "max_unpool2d_backward": ({"grad": X}, {"indices": PLACES}),
    "im2col": ({"x": X}, {"kernel_size": (3, 2), **WINDOW}),
    "col2im": ({"cols": integers(2, 24, 25)}, {"output_size": (6, 7), "kernel_size": (2, 3)}),
    "gemm": ({"a": integers(5, 6), "b": integers(6, 7)}, {}),
    "linear": ({"x": X, "weight": integers(3, 7), "bias": BIAS[:3]}, {"activation": "relu"}),
    "linear_backward": ({"grad": integers(2, 4, 6, 3), "x": X, "weight": integers(3, 7)}, {}),
    "relu": ({"x": X}, {}),
    "relu_backward": ({"grad": X, "x": integers(*X.shape, seed=3)}, {}),
    **{name: ({"x": X}, {}) for name in ("leaky_relu", "sigmoid", "tanh", "silu", "gelu")},
    **{
        f"{name}_backward": ({"grad": X, "x": integers(*X.shape, seed=3)}, {})
        for name in ("leaky_relu", "silu", "gelu")
    },
    **{f"{name}_backward": ({"grad": X, "y": integers(*X.shape, seed=3)}, {}) for name in ("sigmoid", "tanh")},
    "prelu": ({"x": X, "weight": BIAS[:4]}, {}),
    "prelu_backward": ({"grad": X, "weight": BIAS[:4], "x": integers(*X.shape, seed=3)}, {}),
    "interpolate": ({"x": X}, {"size": (9, 4), "mode": "bilinear", "layout": "NCHW"}),
    "interpolate_backward": (
        {"grad": integers(2, 4, 9, 4)},
        {"x_shape": X.shape, "size": (9, 4), "mode": "bilinear", "layout": "NCHW"},
    ),
    "dropout": ({"x": X}, {"p": 0.75, "rng": 0, "return_mask": True}),
    "dropout_backward": ({"grad": X}, {"mask": X > 0, "p": 0.75}),
    "softmax": ({"x": X}, {"axis": 1}),
    "softmax_backward": ({"grad": X, "y": integers(*X.shape, seed=3)}, {"axis": 2}),
    "batch_norm": (
        {"x": X, "running_mean": BIAS[:4], "running_var": BIAS[4:] ** 2, "weight": BIAS[2:6], "bias": BIAS[1:5]},
        {"training": False},
    ),
    "batch_norm_backward": (
        {"x": X, "grad": integers(*X.shape, seed=3), "weight": BIAS[2:6]},
        {"mean": np.arange(4.0), "inv_std": np.ones(4), "training": True},
    ),
    "group_norm": ({"x": X, "weight": BIAS[2:6], "bias": BIAS[1:5]}, {"num_groups": 2, "return_statistics": True}),
    "group_norm_backward": (
        {"x": X, "grad": integers(*X.shape, seed=3), "weight": BIAS[2:6]},
        {"num_groups": 2, "mean": np.ones((2, 2)), "inv_std": np.ones((2, 2))},
    ),
    "layer_norm": ({"x": X, "weight": integers(6, 7), "bias": integers(6, 7, seed=1)}, {"normalized_shape": (6, 7)}),
    "layer_norm_backward": (
        {"x": X, "grad": integers(*X.shape, seed=3), "weight": integers(6, 7)},
        {"normalized_shape": (6, 7), "mean": np.ones((2, 4)), "inv_std": np.ones((2, 4))},
    ),
    "local_response_norm": ({"x": X}, {"size": 3}),
    "local_response_norm_backward": ({"x": X, "grad": integers(*X.shape, seed=3)}, {"size": 3}),
    "cross_entropy": ({"logits": X[0, :2, :, 0].copy()}, {"target": TARGET, "reduction": "none"}),
    "cross_entropy_backward": (
        {"logits": X[0, :2, :, 0].copy(), "grad": BIAS[:2]},
        {"target": TARGET, "reduction": "none"},
    ),
}
ELEMENTWISE = {"relu", "leaky_relu", "sigmoid", "tanh", "silu", "gelu", "softmax", "dropout"}
ARGUMENTS = [(name, argument) for name, (arrays, _) in CALLS.items() for argument in arrays]
WITH_OUT = [name for name in FUNCTIONS if "out" in inspect.signature(getattr(convc, name)).parameters]


def call(name, **changes):
    arrays, others = CALLS[name]
    return getattr(convc, name)(**{**arrays, **others, **changes})


def equal(a, b):
    return all(map(np.array_equal, a, b)) if isinstance(a, tuple) else np.array_equal(a, b)


def spread(a):
    wide = np.full([2 * size + 1 for size in a.shape], np.nan, a.dtype)
    view = wide[tuple(slice(1, None, 2) for _ in a.shape)]
    view[...] = a
    return view


def read_only(a):
    b = a.copy()
    b.flags.writeable = False
    return b


def last(a):
    return np.ascontiguousarray(np.moveaxis(a, 1, -1))


def first(a):
    return np.moveaxis(a, -1, 1)
