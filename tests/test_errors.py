"""What errors say: the argument as the user wrote it, what was got, what would do."""

import numpy as np
import pytest
from calls import BIAS, PLACES, TARGET, WEIGHT, X, call, last

import convc

# ---- errors ----

ERRORS = {
    "layout must be 'NCHW' or 'NHWC', got 'NCW'": lambda: convc.conv2d(X, WEIGHT, layout="NCW"),
    "layout must be 'NCW' or 'NWC', got 'NCHW'": lambda: convc.conv1d(X[0], WEIGHT[0], layout="NCHW"),
    "layout must be 'NCDHW' or 'NDHWC', got None": lambda: convc.max_pool3d(X, 2, layout=None),
    "pad_mode must be 'zeros', 'reflect', 'replicate' or 'circular', got 'mirror'": lambda: convc.conv2d(
        X, WEIGHT, groups=2, pad_mode="mirror"
    ),
    "padding must be at most 5 for pad_mode 'reflect' of 6 elements in spatial dimension 0, got .6, 6.": lambda: (
        convc.conv2d(X, WEIGHT, groups=2, pad_mode="reflect", padding=6)
    ),
    "padding must be at most 7 for pad_mode 'circular' of 7 elements in spatial dimension 1, got .0, 8.": lambda: (
        convc.conv2d(X, WEIGHT, groups=2, pad_mode="circular", padding=(6, (0, 8)))
    ),
    "fit must be 'floor' or 'exact', got 'ceil'": lambda: convc.conv2d(X, WEIGHT, groups=2, fit="ceil"),
    "fit must be 'floor', 'exact' or 'ceil', got 'round'": lambda: convc.max_pool2d(X, 2, fit="round"),
    "algorithm must be 'auto', 'direct', 'gemm' or 'winograd', got 'fft'": lambda: convc.conv2d(
        X, WEIGHT, algorithm="fft"
    ),
    "activation must be None or 'relu', got 'gelu'": lambda: convc.conv2d(X, WEIGHT, groups=2, activation="gelu"),
    "activation must be None or 'relu', got 'tanh'": lambda: convc.linear(X, WEIGHT[0, 0], activation="tanh"),
    "padding must be ints, 'valid' or 'same', got 'full'": lambda: convc.conv2d(X, WEIGHT, groups=2, padding="full"),
    "padding 'same' needs a stride of 1, got 2": lambda: convc.conv2d(X, WEIGHT, stride=2, groups=2, padding="same"),
    "padding must be .*, got 3: .1, 2, 3.": lambda: convc.conv2d(X, WEIGHT, groups=2, padding=(1, 2, 3)),
    "padding must be .*, got .*1, 2, 3": lambda: convc.conv2d(X, WEIGHT, groups=2, padding=((1, 2, 3), 1)),
    "padding must not be negative, got .-1, -1.": lambda: convc.conv2d(X, WEIGHT, groups=2, padding=-1),
    "stride must be an int or a tuple of 2, got 1: .1,.": lambda: convc.conv2d(X, WEIGHT, groups=2, stride=(1,)),
    "stride must be at least 1, got 0": lambda: convc.conv2d(X, WEIGHT, groups=2, stride=0),
    "dilation must be at least 1, got -2": lambda: convc.conv2d(X, WEIGHT, groups=2, dilation=-2),
    "groups must be at least 1, got 0": lambda: convc.conv2d(X, WEIGHT, groups=0),
    "groups 3 must divide the 4 channels of x": lambda: convc.conv2d(X, WEIGHT, groups=3),
    "weight must have 4 input channels": lambda: convc.conv2d(X, WEIGHT),
    "weight must have 4 dimensions, got 3": lambda: convc.conv2d(X, WEIGHT[0]),
    "x must have 4 dimensions, got 3: shape .4, 6, 7.": lambda: convc.conv2d(X[0], WEIGHT),
    "bias must have shape .8,., got .3,.": lambda: convc.conv2d(X, WEIGHT, BIAS[:3], groups=2),
    "kernel_size 9 .* is larger than the padded input": lambda: convc.im2col(X, 9),
    "kernel_size must be at least 1, got 0": lambda: convc.max_pool2d(X, 0),
    "padding must be at most half of the window": lambda: convc.max_pool2d(X, 2, padding=2),
    "stride 4 does not fit .* would fit": lambda: convc.max_pool2d(X, 3, 4, fit="exact"),
    "grad must have shape .2, 8, 4, 6., got .2, 8, 6, 4.": lambda: convc.conv2d_backward(
        np.empty((2, 8, 6, 4), np.float32), X, WEIGHT, groups=2
    ),
    "grad must have shape .2, 4, 6, 8., got .2, 8, 4, 6.": lambda: convc.conv2d_backward(
        np.empty((2, 8, 4, 6), np.float32), last(X), WEIGHT, groups=2, layout="NHWC"
    ),
    "needs must be .*'x', 'weight' and 'bias', got": lambda: call("conv2d_backward", needs=("x", "input")),
    "indices must be int64 .*got int32": lambda: call("max_pool2d_backward", indices=np.zeros((2, 4, 3, 3), np.int32)),
    "indices must have shape .2, 4, 3, 3.": lambda: call("max_pool2d_backward", indices=np.zeros((2, 4, 3, 2), int)),
    "x_shape must have the batch and channels of grad": lambda: call("max_pool2d_backward", x_shape=(2, 3, 6, 7)),
    "indices must have shape .2, 4, 6, 7., got .2, 4, 6, 6.": lambda: call("max_unpool2d", indices=PLACES[..., :6]),
    "indices must have the batch and channels of grad": lambda: call("max_unpool2d_backward", indices=PLACES[:1]),
    "indices must be from 0 to 41, places in a channel of grad": lambda: call(
        "max_unpool2d_backward", indices=PLACES + 1
    ),
    "output_size must be from 11 to 13 in spatial dimension 0": lambda: call("max_unpool2d", output_size=(14, 14)),
    "padding .4, 4. leaves nothing": lambda: call(
        "max_unpool2d", x=X[..., :1, :], indices=PLACES[..., :1, :], padding=4
    ),
    "output_size must be at least 1, got 0 in spatial dimension 1": lambda: call(
        "adaptive_avg_pool2d", output_size=(2, 0)
    ),
    "output_size must be an int or a tuple of 2, got 3": lambda: call("adaptive_max_pool2d", output_size=(2, None, 2)),
    "output_size must be an int or a tuple of 2, got None": lambda: call("adaptive_max_pool2d", output_size=None),
    "grad must have shape .2, 4, 2, 3., got .2, 4, 3, 3.": lambda: call(
        "avg_pool2d_backward", grad=np.empty((2, 4, 3, 3), np.float32)
    ),
    "x_shape must have the batch and channels of grad, .*3, 6": lambda: call(
        "adaptive_avg_pool2d_backward", x_shape=(2, 3, 6, 7)
    ),
    "grad must have shape .2, 4., or that with spatial sizes of 1, got .2, 3.": lambda: call(
        "global_avg_pool_backward", grad=np.empty((2, 3), np.float32)
    ),
    "x must have 3 to 5 dimensions, got 2: shape .6, 7.": lambda: convc.global_max_pool(X[0, 0]),
    "x_shape must be a tuple of 3 to 5 ints, got .2, 4.": lambda: convc.global_avg_pool_backward(BIAS[:4], (2, 4)),
    "layout must be .*'NDHWC', got 'NC'": lambda: convc.global_avg_pool(X, layout="NC"),
    "norm_type must be a number, got str": lambda: call("lp_pool2d", norm_type="2"),
    "norm_type must fit in a float": lambda: call("lp_pool2d", norm_type=10**400),
    "norm_type must be positive and finite .*, got 0": lambda: call("lp_pool2d", norm_type=0),
    "y must have shape .2, 4, 2, 3., got .2, 4, 6, 7.": lambda: call("lp_pool2d_backward", y=X),
    "x_shape must be a tuple of 4 ints, got 3": lambda: call("max_pool2d_backward", x_shape=(4, 6, 7)),
    "cols must have shape .2, 24, 25., got .2, 24, 29.": lambda: call("col2im", cols=np.empty((2, 24, 29), np.float32)),
    "cols must have channels . product of kernel_size": lambda: call("col2im", cols=np.empty((2, 25, 30), np.float32)),
    "output_size must be at least 1, got 0": lambda: call("col2im", output_size=(0, 7)),
    "b must have as many rows as a has columns": lambda: call("gemm", b=np.empty((5, 5), np.float32)),
    "weight must have 7 input features as x has": lambda: call("linear", weight=np.empty((3, 6), np.float32)),
    "axis must be from -4 to 3 .*, got 4": lambda: call("softmax", axis=4),
    "axis must be": lambda: convc.softmax(np.float32(3)),
    "y must have shape .2, 4, 6, 7., got": lambda: call("softmax_backward", y=X[0]),
    "target must have shape .2,., got .3,.": lambda: call("cross_entropy", target=np.zeros(3, int)),
    "target .*7": lambda: call("cross_entropy", target=np.array([0, 7])),
    "logits must have at least 1 class": lambda: convc.cross_entropy(np.empty((2, 0)), TARGET),
    "running_mean must have shape .4,., a number for each channel of x, got .3,.": lambda: call(
        "batch_norm", running_mean=BIAS[:3]
    ),
    "grad must have the shape of x, .2, 4, 6, 7., got .4, 6, 7.": lambda: call("group_norm_backward", grad=X[0]),
    "normalized_shape must be that of the last axes of x, .* got .7, 6.": lambda: call(
        "layer_norm", normalized_shape=(7, 6)
    ),
    "num_groups 3 must divide the 4 channels of x": lambda: call("group_norm", num_groups=3),
    "reduction must be 'mean', 'sum' or 'none', got 'avg'": lambda: call("cross_entropy", reduction="avg"),
    "grad must have shape .2,.": lambda: call("cross_entropy_backward", grad=BIAS[:3]),
    "input_shape must be a tuple of 4 ints, got 3": lambda: convc.prepare(WEIGHT, None, (4, 6, 7)),
    "input_shape must have positive extents": lambda: convc.prepare(WEIGHT, None, (1, 4, 0, 7)),
    "weight must have 3 to 5 dimensions, got 2": lambda: convc.prepare(WEIGHT[0, 0], None, (1, 4)),
    "mode must be 'exact', got 'fast'": lambda: convc.precision("fast"),
    "name must be .*, got mmx": lambda: convc.set_isa("mmx"),
    "n must be from 1 to .*, got 0": lambda: convc.set_num_threads(0),
}


@pytest.mark.parametrize("text", ERRORS)
def test_errors_say_what_is_wrong(text):
    with pytest.raises((ValueError, TypeError), match=f"^{text}"):
        ERRORS[text]()


@pytest.mark.parametrize(
    "name", ["layout", "pad_mode", "fit", "algorithm", "activation", "stride", "padding", "dilation", "groups", "out"]
)
def test_arguments_of_the_wrong_type(name):
    with pytest.raises(TypeError, match=f"^{name} must be"):
        call("conv2d", **{name: 1.5})
    if name != "out":
        with pytest.raises((ValueError, TypeError), match=f"^{name} must be"):
            call("conv2d", **{name: X})


def test_errors_of_other_kinds():
    for wrong in (3, None, b"avx2"):
        with pytest.raises(TypeError, match="name must be a str"):
            convc.set_isa(wrong)
    with pytest.raises(TypeError, match="mode must be 'exact'"):
        convc.precision(1)
    with pytest.raises(TypeError, match="grad must be a number"):
        convc.cross_entropy_backward(np.ones((1, 2)), np.array([0]), "1")
