"""Layers: gradients against central differences, no hidden state, dropout, examples."""

import doctest
import gc
import importlib
import math
import weakref

import numpy as np
import pytest
from differences import F64, Residual, check_gradients, spread

import convc
from convc import nn
from convc.nn._sequential import _stages

LAYERS = {
    "conv1d": (lambda: nn.Conv1d(2, 3, 3, dtype=F64, rng=0), (2, 2, 6)),
    "conv1d-nwc": (lambda: nn.Conv1d(2, 3, 3, 2, 1, dtype=F64, layout="NWC", rng=0), (2, 6, 2)),
    "conv2d": (lambda: nn.Conv2d(2, 3, (3, 2), (1, 2), (1, 0), dtype=F64, rng=0), (2, 2, 5, 4)),
    "conv2d-nhwc": (lambda: nn.Conv2d(2, 3, 3, padding="same", dtype=F64, layout="NHWC", rng=0), (1, 4, 5, 2)),
    "conv2d-uneven": (lambda: nn.Conv2d(1, 2, 2, 2, ((0, 1), (2, 1)), dtype=F64, rng=0), (1, 1, 5, 5)),
    "conv2d-groups": (lambda: nn.Conv2d(4, 2, 2, dilation=2, groups=2, dtype=F64, rng=0), (1, 4, 4, 4)),
    "conv2d-relu": (lambda: nn.Conv2d(2, 3, 2, activation="relu", dtype=F64, rng=0), (1, 2, 4, 3)),
    "conv2d-no-bias": (lambda: nn.Conv2d(2, 3, 2, bias=False, dtype=F64, rng=0), (1, 2, 4, 3)),
    "conv3d": (lambda: nn.Conv3d(1, 2, 2, dtype=F64, rng=0), (1, 1, 3, 3, 3)),
    "conv3d-ndhwc": (lambda: nn.Conv3d(1, 2, 2, layout="NDHWC", dtype=F64, rng=0), (1, 3, 3, 3, 1)),
    "locally-connected1d": (lambda: nn.LocallyConnected1d(2, 3, 6, 3, dtype=F64, rng=0), (2, 2, 6)),
    "locally-connected2d": (lambda: nn.LocallyConnected2d(2, 3, (5, 4), 2, (1, 2), dtype=F64, rng=0), (2, 2, 5, 4)),
    "locally-connected2d-nhwc": (
        lambda: nn.LocallyConnected2d(2, 2, 4, 3, padding="same", layout="NHWC", activation="relu", dtype=F64, rng=0),
        (1, 4, 4, 2),
    ),
    "max-pool1d": (lambda: nn.MaxPool1d(2), (2, 3, 6)),
    "max-pool2d": (lambda: nn.MaxPool2d(3, 2, 1), (2, 2, 5, 6)),
    "max-pool2d-nhwc": (lambda: nn.MaxPool2d(2, layout="NHWC"), (2, 4, 4, 3)),
    "max-pool2d-ceil": (lambda: nn.MaxPool2d(2, fit="ceil"), (1, 1, 5, 5)),
    "max-pool3d": (lambda: nn.MaxPool3d(2, 1), (1, 2, 3, 3, 3)),
    "avg-pool1d": (lambda: nn.AvgPool1d(3, 2, 1), (2, 3, 6)),
    "avg-pool2d": (lambda: nn.AvgPool2d(3, 2, 1, count_include_pad=False), (2, 2, 5, 6)),
    "avg-pool2d-nhwc": (lambda: nn.AvgPool2d((2, 3), layout="NHWC", fit="ceil"), (2, 4, 4, 3)),
    "avg-pool3d": (lambda: nn.AvgPool3d(2, 1), (1, 2, 3, 3, 3)),
    "lp-pool1d": (lambda: nn.LPPool1d(2, 3, 2), (2, 3, 7)),
    "lp-pool2d": (lambda: nn.LPPool2d(2, (2, 3), fit="ceil"), (1, 2, 5, 4)),
    "lp-pool2d-nhwc": (lambda: nn.LPPool2d(2, 2, layout="NHWC"), (1, 4, 4, 3)),
    "lp-pool3d": (lambda: nn.LPPool3d(2, 2), (1, 2, 4, 2, 3)),
    "adaptive-avg-pool1d": (lambda: nn.AdaptiveAvgPool1d(3), (2, 2, 7)),
    "adaptive-avg-pool2d": (lambda: nn.AdaptiveAvgPool2d((3, None)), (2, 2, 5, 4)),
    "adaptive-avg-pool2d-nhwc": (lambda: nn.AdaptiveAvgPool2d(2, layout="NHWC"), (2, 5, 3, 2)),
    "adaptive-avg-pool3d": (lambda: nn.AdaptiveAvgPool3d((2, None, 1)), (1, 2, 3, 2, 3)),
    "adaptive-max-pool1d": (lambda: nn.AdaptiveMaxPool1d(3), (2, 2, 7)),
    "adaptive-max-pool2d": (lambda: nn.AdaptiveMaxPool2d((3, None)), (2, 2, 5, 4)),
    "adaptive-max-pool2d-nhwc": (lambda: nn.AdaptiveMaxPool2d(2, layout="NHWC"), (2, 5, 3, 2)),
    "adaptive-max-pool3d": (lambda: nn.AdaptiveMaxPool3d((2, None, 1)), (1, 2, 3, 2, 3)),
    "global-avg-pool": (lambda: nn.GlobalAvgPool(), (2, 3, 4, 5)),
    "global-avg-pool-ndhwc": (lambda: nn.GlobalAvgPool(keepdims=True, layout="NDHWC"), (2, 2, 3, 2, 4)),
    "global-max-pool": (lambda: nn.GlobalMaxPool(), (2, 3, 6)),
    "global-max-pool-nhwc": (lambda: nn.GlobalMaxPool(keepdims=True, layout="NHWC"), (2, 2, 3, 4)),
    "linear": (lambda: nn.Linear(4, 3, dtype=F64, rng=0), (5, 4)),
    "linear-3d": (lambda: nn.Linear(4, 3, dtype=F64, rng=0), (2, 3, 4)),
    "linear-relu": (lambda: nn.Linear(4, 3, activation="relu", dtype=F64, rng=0), (5, 4)),
    "linear-no-bias": (lambda: nn.Linear(4, 3, bias=False, dtype=F64, rng=0), (5, 4)),
    "group-norm": (lambda: nn.GroupNorm(2, 4, dtype=F64), (2, 4, 3)),
    "group-norm-nhwc": (lambda: nn.GroupNorm(1, 4, layout="NHWC", dtype=F64), (2, 2, 3, 4)),
    "group-norm-plain": (lambda: nn.GroupNorm(2, 4, affine=False, dtype=F64), (2, 4, 3)),
    "layer-norm": (lambda: nn.LayerNorm((3, 4), dtype=F64), (2, 2, 3, 4)),
    "layer-norm-no-bias": (lambda: nn.LayerNorm(4, bias=False, dtype=F64), (3, 4)),
    "layer-norm-plain": (lambda: nn.LayerNorm(4, elementwise_affine=False, dtype=F64), (3, 4)),
    "local-response-norm": (lambda: nn.LocalResponseNorm(3, 0.5, k=1.5), (2, 5, 3, 2)),
    "local-response-norm-nwc": (lambda: nn.LocalResponseNorm(2, 0.5, 1, layout="NWC"), (2, 3, 5)),
    "relu": (lambda: nn.ReLU(), (3, 4)),
    "leaky-relu": (lambda: nn.LeakyReLU(0.2), (3, 4)),
    "leaky-relu-negative": (lambda: nn.LeakyReLU(-0.2), (3, 4)),
    "prelu": (lambda: nn.PReLU(dtype=F64), (2, 3, 4)),
    "prelu-channels": (lambda: nn.PReLU(3, 0.1, dtype=F64), (2, 3, 4)),
    "prelu-last": (lambda: nn.PReLU(4, axis=-1, dtype=F64), (2, 3, 4)),
    "gelu": (lambda: nn.GELU(), (3, 4)),
    "gelu-tanh": (lambda: nn.GELU("tanh"), (3, 4)),
    "silu": (lambda: nn.SiLU(), (3, 4)),
    "sigmoid": (lambda: nn.Sigmoid(), (3, 4)),
    "tanh": (lambda: nn.Tanh(), (3, 4)),
    "softmax": (lambda: nn.Softmax(1), (3, 4)),
    "upsample": (lambda: nn.Upsample(scale_factor=2), (1, 2, 3, 2)),
    "upsample-nhwc": (lambda: nn.Upsample((5, 7), mode="bilinear", layout="NHWC"), (1, 3, 2, 2)),
    "upsample-1d": (lambda: nn.Upsample(scale_factor=(2.5,), mode="linear", align_corners=True), (1, 2, 3)),
    "upsample-3d": (lambda: nn.Upsample(3, mode="trilinear", layout="NDHWC"), (1, 2, 2, 4, 2)),
    "flatten": (lambda: nn.Flatten(), (2, 3, 2)),
    "dropout": (lambda: nn.Dropout(0.4), (5, 6)),
    "residual": (lambda: Residual(nn.Conv2d(2, 2, 3, padding=1, dtype=F64, rng=0)), (1, 2, 3, 4)),
    "sequential": (
        lambda: nn.Sequential(
            nn.Conv2d(1, 2, 3, padding=1, dtype=F64, rng=0),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Flatten(),
            nn.Dropout(0.3),
            nn.Sequential(nn.Linear(8, 4, dtype=F64, rng=1), nn.ReLU(), nn.Linear(4, 3, dtype=F64, rng=2)),
        ),
        (2, 1, 4, 4),
    ),
}


@pytest.fixture(params=LAYERS)
def case(request):
    make, shape = LAYERS[request.param]
    return make(), spread(shape)


def test_gradients(case):
    check_gradients(*case)


def test_inference_is_forward_without_dropout(case):
    layer, x = case
    for module in layer.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    np.testing.assert_array_equal(layer(x), layer.forward(x)[0])


def test_output_shape_is_that_of_the_output(case):
    layer, x = case
    assert layer.output_shape(x.shape[1:]) == layer(x).shape[1:]


def test_backward_adds_to_the_gradients(case):
    layer, x = case
    y, backward = layer.forward(x)
    backward(np.ones_like(y))
    once = {name: parameter.grad.copy() for name, parameter in layer.named_parameters()}
    backward(np.ones_like(y))
    for name, parameter in layer.named_parameters():
        np.testing.assert_array_equal(parameter.grad, 2 * once[name])
    layer.zero_grad()
    assert all(parameter.grad is None for parameter in layer.parameters())


def test_two_passes_do_not_disturb_each_other(case):
    layer, x = case
    other = spread(x.shape, seed=5)
    layer.seed(3)
    y, backward = layer.forward(x)
    expected = backward(np.ones_like(y))
    layer.seed(3)
    y, backward = layer.forward(x)
    layer.forward(other)
    layer(other)
    np.testing.assert_array_equal(backward(np.ones_like(y)), expected)


def test_forward_data_gives_the_same_parameter_gradients(case):
    layer, x = case
    results = []
    for forward in (layer.forward, layer.forward_data):
        layer.zero_grad()
        layer.seed(3)
        y, backward = forward(x)
        backward(np.ones_like(y))
        results.append([y] + [parameter.grad for parameter in layer.parameters()])
    for one, other in zip(*results, strict=True):
        np.testing.assert_array_equal(one, other)


def test_forward_data_leaves_the_input_gradient_out():
    conv = nn.Conv2d(1, 2, 3, rng=0)
    for net in (conv, nn.Linear(4, 2), nn.Sequential(nn.ReLU(), conv, nn.ReLU()), nn.Sequential(nn.ReLU())):
        x = np.ones((1, 4) if isinstance(net, nn.Linear) else (1, 1, 4, 4), np.float32)
        y, backward = net.forward_data(x)
        assert backward(np.ones_like(y)) is None


def test_inputs_and_gradients_are_not_changed(case):
    layer, x = case
    before = x.copy()
    x.flags.writeable = False
    y, backward = layer.forward(x)
    grad = np.ones_like(y)
    grad.flags.writeable = False
    backward(grad)
    np.testing.assert_array_equal(x, before)


def test_layers_keep_nothing_of_a_pass(case):
    layer, x = case
    y, backward = layer.forward(x)
    references = weakref.ref(y), weakref.ref(x)
    del y, backward
    x = case = None
    gc.collect()
    # The fixture itself still holds x.
    assert references[0]() is None


@pytest.mark.parametrize("name", [name for name in LAYERS if "pool" in name and "lp-" not in name])
def test_pools_keep_no_input(name):
    """But the norms of a window, whose gradient depends on it."""
    make, shape = LAYERS[name]
    x = np.random.default_rng(0).normal(size=shape)
    reference = weakref.ref(x)
    _, _backward = make().forward(x)
    del x
    assert reference() is None


def test_convolutions_keep_no_output_but_to_clip_gradients():
    x = np.random.default_rng(0).normal(size=(1, 2, 5, 5))
    for activation in (None, "relu"):
        y, _backward = nn.Conv2d(2, 3, 3, activation=activation, dtype=F64, rng=0).forward(x)
        reference = weakref.ref(y)
        del y
        assert (reference() is None) == (activation is None)


def test_relu_is_fused_without_a_trace():
    x = np.random.default_rng(0).normal(size=(2, 3, 9, 9)).astype(np.float32)
    conv, linear = nn.Conv2d(3, 4, 3, rng=0), nn.Linear(5, 5, rng=1)
    local = nn.LocallyConnected2d(4, 4, 7, 3, rng=2)
    net = nn.Sequential(conv, nn.ReLU(), local, nn.ReLU(), linear, nn.ReLU(), nn.ReLU())
    assert len(_stages(net.layers)) == 4
    expected = nn.ReLU()(linear(nn.ReLU()(local(nn.ReLU()(conv(x))))))
    np.testing.assert_array_equal(net(x), expected)
    y, backward = net.forward(x)
    np.testing.assert_array_equal(y, expected)
    grad = np.random.default_rng(1).normal(size=y.shape).astype(np.float32)
    grad_x = backward(grad)
    grads = [parameter.grad for parameter in net.parameters()]
    net.zero_grad()
    steps = []
    for layer in (conv, nn.ReLU(), local, nn.ReLU(), linear, nn.ReLU()):
        x, back = layer.forward(x)
        steps.append(back)
    for back in reversed(steps):
        grad = back(grad)
    np.testing.assert_array_equal(grad_x, grad)
    for fused, plain in zip(grads, net.parameters(), strict=True):
        np.testing.assert_array_equal(fused, plain.grad)
    assert conv.activation is None
    assert local.activation is None
    assert linear.activation is None
    assert len(net) == 7


@pytest.mark.parametrize("pool", [(2,), (3, 2, 1), (3, 1), (2, 2, 0, 1, True)])
def test_relu_behind_max_pooling_changes_nothing(pool):
    """Windows without a positive number, ties, zeros and NaN among them; and indices, which do depend on the order."""
    rng = np.random.default_rng(0)
    conv, last = nn.Conv2d(2, 3, 1, rng=1, bias=False), nn.MaxPool2d(*pool)
    conv.weight.data[...] = rng.integers(-2, 3, conv.weight.data.shape)
    x = rng.integers(-2, 3, (4, 2, 9, 11)).astype(np.float32)
    x[0, 0, 3, 4] = np.nan
    layers = [conv, nn.ReLU(), last]
    expected, backwards = x, []
    for layer in layers:
        expected, backward = layer.forward(expected)
        backwards.append(backward)
    y, backward = nn.Sequential(*layers).forward(x)
    maxima, *rest = y if last.return_indices else [y]
    grad = rng.integers(-3, 4, maxima.shape).astype(np.float32)
    results = []
    for steps in ([backward], backwards[::-1]):
        conv.weight.grad, back = None, grad
        for step in steps:
            back = step(back)
        results.append((back, conv.weight.grad))
    for result, wanted in zip(*results, strict=True):
        np.testing.assert_array_equal(result, wanted)
    for result, wanted in zip([maxima, *rest], expected if rest else [expected], strict=True):
        np.testing.assert_array_equal(result, wanted)


def test_a_subclass_is_not_fused():
    class Doubled(nn.Linear):
        def __call__(self, x):
            return -convc.linear(x, self.weight.data)

    layer = Doubled(2, 2, rng=0)
    x = np.ones((1, 2), np.float32)
    np.testing.assert_array_equal(nn.Sequential(layer, nn.ReLU())(x), np.maximum(layer(x), 0))


# ---- Dropout


def test_dropout_drops_the_share_and_keeps_the_mean():
    layer = nn.Dropout(0.3, rng=0)
    x = np.full((200, 500), 2, np.float32)
    y, backward = layer.forward(x)
    assert y.dtype == np.float32
    share = np.mean(y == 0)
    assert abs(share - 0.3) < 5 * math.sqrt(0.3 * 0.7 / x.size)
    np.testing.assert_allclose(y[y != 0], 2 / 0.7, rtol=1e-6)
    np.testing.assert_array_equal(backward(x), y)
    assert layer(x) is x


def test_dropout_extremes():
    x = np.ones((3, 4))
    assert nn.Dropout(0).forward(x)[0] is x
    y, backward = nn.Dropout(1).forward(x)
    assert not y.any()
    assert not backward(x).any()


@pytest.mark.filterwarnings("error")
def test_infinity_passes_dropout_without_a_warning():
    x = np.array([math.inf, 3e38, math.nan, -math.inf] * 50, np.float32)
    y, backward = nn.Dropout(0.5, rng=0).forward(x)
    assert set(np.isinf(y).tolist()) == {True, False}
    assert np.isnan(backward(x)).any()


@pytest.mark.parametrize(
    ("call", "match"),
    [
        (nn.Dropout().forward, "x must be an array of float32 or float64, got"),
        (nn.Dropout(0).forward, "x must be an array of float32 or float64, got"),
        (nn.Flatten(), "x must be an array, got list"),
        (nn.Flatten().forward, "x must be an array, got list"),
    ],
)
def test_layers_without_operators_check_their_input(call, match):
    with pytest.raises(TypeError, match=match):
        call([[1.0, 2.0]])
    if "float" in match:
        with pytest.raises(TypeError, match=f"{match} int64"):
            call(np.ones((2, 3), np.int64))
    else:
        assert nn.Flatten()(np.ones((2, 3, 1), np.int64)).shape == (2, 3)


def test_dropout_is_reproducible():
    x = np.ones((4, 50))
    one, other = nn.Dropout(rng=5), nn.Dropout(rng=5)
    first = one.forward(x)[0]
    np.testing.assert_array_equal(first, other.forward(x)[0])
    assert (first != one.forward(x)[0]).any()
    net = nn.Sequential(nn.Dropout(), nn.Sequential(nn.Dropout(), nn.Dropout()))
    net.seed(1)
    drops = [layer.forward(x)[0] for layer in (net[0], net[1][0], net[1][1])]
    assert (drops[0] != drops[1]).any()
    assert (drops[1] != drops[2]).any()
    net.seed(1)
    np.testing.assert_array_equal(net[1][1].forward(x)[0], drops[2])


@pytest.mark.parametrize(
    "name",
    [
        "loss",
        "nn._activation",
        "nn._blocks",
        "nn._dense",
        "nn._files",
        "nn._gradient",
        "nn._local",
        "nn._module",
        "nn._norm",
        "nn._pool",
        "nn._resize",
        "nn._sequential",
        "nn._spatial",
        "nn._transpose",
        "nn._summary",
        "optim",
        "shapes",
        "train",
    ],
)
def test_examples_in_the_docstrings(name):
    if name == "nn._files":
        pytest.importorskip("safetensors")
    result = doctest.testmod(importlib.import_module(f"convc.{name}"))
    assert result.attempted > 0
    assert result.failed == 0
