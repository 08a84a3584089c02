"""Layers: gradients against central differences, results against PyTorch, no hidden state, clear errors."""

import doctest
import gc
import importlib
import math
import weakref

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import convc
from convc import nn
from convc.shapes import ReceptiveField

EPS, ATOL, RTOL = 1e-6, 1e-5, 1e-3
F64 = np.float64


def spread(shape, seed=0):
    """Distinct numbers far from zero and from each other, so that no step of EPS crosses a kink."""
    size = math.prod(shape)
    return np.random.default_rng(seed).permutation(np.linspace(-1, 1, 2 * size + 1)[1::2]).reshape(shape)


def numeric_gradient(f, array):
    """Central differences of the number f() by each element of the array, in place."""
    result = np.empty_like(array)
    for index in np.ndindex(array.shape):
        value = array[index]
        array[index] = value + EPS
        above = f()
        array[index] = value - EPS
        below = f()
        array[index] = value
        result[index] = (above - below) / (2 * EPS)
    return result


def check_gradients(layer, x):
    """All gradients of a random projection of the output."""
    layer.seed(7)
    y, backward = layer.forward(x)
    projection = np.random.default_rng(1).normal(size=y.shape)

    def f():
        layer.seed(7)
        return float((layer.forward(x)[0] * projection).sum())

    layer.zero_grad()
    grad_x = backward(projection)
    assert grad_x.shape == x.shape
    np.testing.assert_allclose(grad_x, numeric_gradient(f, x), RTOL, ATOL)
    for name, parameter in layer.named_parameters():
        np.testing.assert_allclose(parameter.grad, numeric_gradient(f, parameter.data), RTOL, ATOL, err_msg=name)


class Residual(nn.Module):
    """A module of a user's own: y = x + inner(x)."""

    def __init__(self, inner):
        self.inner = inner
        self.scale = nn.Parameter(np.full((1,), 0.5))

    def forward(self, x):
        inner, backward_inner = self.inner.forward(x)

        def backward(grad):
            self.scale.accumulate((grad * inner).sum().reshape(1))
            return grad + backward_inner(grad * self.scale.data)

        return x + self.scale.data * inner, backward


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


def test_relu_is_fused_without_a_trace():
    x = np.random.default_rng(0).normal(size=(2, 3, 9, 9)).astype(np.float32)
    conv, linear = nn.Conv2d(3, 4, 3, rng=0), nn.Linear(5, 5, rng=1)
    local = nn.LocallyConnected2d(4, 4, 7, 3, rng=2)
    net = nn.Sequential(conv, nn.ReLU(), local, nn.ReLU(), linear, nn.ReLU(), nn.ReLU())
    assert len(net._stages()) == 4
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


# ---- initial values, names, text


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_initial_values_are_pytorchs(dtype):
    torch = pytest.importorskip("torch")
    ours = nn.Conv2d(16, 64, 3, groups=2, dtype=dtype, rng=0)
    theirs = torch.nn.Conv2d(16, 64, 3, groups=2)
    for name, parameter in ours.named_parameters():
        reference = getattr(theirs, name).detach().numpy()
        bound = 1 / math.sqrt(8 * 9)
        assert parameter.data.dtype == dtype
        assert parameter.data.shape == reference.shape
        assert np.abs(parameter.data).max() <= bound
        assert np.abs(reference).max() <= bound * (1 + 1e-6)
        assert abs(parameter.data.mean()) < 4 * bound / math.sqrt(3 * parameter.data.size)
    assert abs(ours.weight.data.std() - theirs.weight.detach().numpy().std()) < 0.05 * bound


def test_unshared_parameters_are_drawn_as_those_of_one_position():
    layer = nn.LocallyConnected2d(3, 4, 9, 5, rng=0)
    for parameter, shape in ((layer.weight, (25, 4, 3, 5, 5)), (layer.bias, (25, 4))):
        assert parameter.data.shape == shape
        assert 0.9 / math.sqrt(75) < abs(parameter.data).max() <= np.float32(1 / math.sqrt(75))
    assert layer.unshared_parameters((3, 9, 9)) == 25 * 4 * 76
    assert layer.macs((3, 9, 9)) == nn.Conv2d(3, 4, 5).macs((3, 9, 9)) == layer.weight.data.size


def test_initial_values_come_from_rng_alone():
    rng = np.random.default_rng(3)
    first, second = nn.Linear(4, 4, rng=rng), nn.Linear(4, 4, rng=rng)
    assert (first.weight.data != second.weight.data).all()
    np.testing.assert_array_equal(nn.Linear(4, 4, rng=3).weight.data, first.weight.data)


def test_names_are_pytorchs():
    net = nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(), nn.Sequential(nn.Linear(2, 2, bias=False), nn.Linear(2, 2)))
    names = ["0.weight", "0.bias", "2.0.weight", "2.1.weight", "2.1.bias"]
    assert [name for name, _ in net.named_parameters()] == names
    assert [name for name, _ in Residual(nn.ReLU()).named_parameters()] == ["scale"]


def test_shared_parameters_count_once():
    shared = nn.Linear(3, 3)
    net = nn.Sequential(shared, shared)
    assert len(list(net.parameters())) == 2
    assert len(list(net.named_parameters())) == 4
    assert net.summary((3,)).parameters == 12


def test_repr_is_pytorchs():
    torch = pytest.importorskip("torch")

    def build(lib, pool_extra):
        return lib.Sequential(
            lib.Conv2d(1, 4, 3, padding=1),
            lib.ReLU(),
            lib.Conv2d(4, 4, (3, 2), 2, 1, 2, 2, False),
            lib.Conv2d(4, 4, 3, padding="same"),
            lib.Conv1d(1, 2, 3),
            lib.Sequential(lib.Flatten(), lib.Linear(3, 4, bias=False), lib.Dropout(0.25)),
        )

    theirs = repr(build(torch.nn, {})).replace(", inplace=False", "")
    assert repr(build(nn, {})) == theirs
    pool = repr(torch.nn.MaxPool2d(3, 2, 1)).replace(", ceil_mode=False", "")
    assert repr(nn.MaxPool2d(3, 2, 1)) == pool


POOLS = [
    "MaxPool1d(2)",
    "AvgPool1d(2)",
    "AvgPool2d(3, 2, 1)",
    "AvgPool2d((2, 3))",
    "AvgPool3d(2)",
    "LPPool1d(2, 3)",
    "LPPool2d(1.5, (3, 2), 2)",
    "LPPool3d(2, 2)",
    "AdaptiveAvgPool1d(3)",
    "AdaptiveAvgPool2d((7, 7))",
    "AdaptiveAvgPool3d((None, 2, 3))",
    "AdaptiveMaxPool1d(5)",
    "AdaptiveMaxPool2d(1)",
    "AdaptiveMaxPool3d(2)",
]


@pytest.mark.parametrize("text", POOLS)
def test_pools_are_pytorchs(text):
    """Arguments, results and text."""
    torch = pytest.importorskip("torch")
    ours, theirs = (eval(f"nn.{text}", {"nn": module}) for module in (nn, torch.nn))
    hidden = ", ceil_mode=False" if text.startswith("Max") else ""
    assert repr(ours) == repr(theirs).replace(hidden, "")
    x = np.abs(spread((2, 3, 8, 9, 7)[: 2 + int(text.split("d(")[0][-1])]))
    np.testing.assert_allclose(ours(x), theirs(torch.from_numpy(x)).numpy(), rtol=1e-12)


def test_windows_of_unknown_size_see_everything():
    field = ReceptiveField((3, 3), (1, 1))
    for layer in (nn.AdaptiveAvgPool2d(2), nn.AdaptiveMaxPool2d((None, 2)), nn.GlobalAvgPool(), nn.GlobalMaxPool()):
        assert layer.receptive_field(field) is None
        assert layer.macs((2, 4, 4)) == 0
    for layer in (nn.AvgPool2d(3, 2, 1), nn.LPPool2d(2, 3, 2)):
        assert layer.receptive_field(field) == field.after(3, 2, 1, getattr(layer, "padding", 0))
    assert nn.AvgPool2d(2).dropped((1, 5, 4)) == (1, 0)
    assert nn.AdaptiveAvgPool2d(2).dropped((1, 5, 4)) == (0, 0)
    with pytest.raises(ValueError, match="GlobalAvgPool needs an input of 2 to 4 axes"):
        nn.GlobalAvgPool().output_shape((3,))
    with pytest.raises(ValueError, match="GlobalMaxPool needs an input of 3 axes"):
        nn.GlobalMaxPool(layout="NHWC").output_shape((3, 4))


def test_repr_shows_what_differs():
    assert repr(nn.AvgPool2d(2, count_include_pad=False)).endswith("padding=0, count_include_pad=False)")
    assert repr(nn.LPPool2d(2, 2, fit="ceil")) == "LPPool2d(norm_type=2, kernel_size=2, stride=None, fit='ceil')"
    assert repr(nn.GlobalAvgPool(True, layout="NWC")) == "GlobalAvgPool(keepdims=True, layout='NWC')"
    assert "layout='NHWC', fit='exact'" in repr(nn.Conv2d(1, 1, 1, layout="NHWC", fit="exact"))
    assert "activation='relu'" in repr(nn.Linear(1, 1, activation="relu"))
    assert repr(nn.LocallyConnected2d(1, 2, (9, 8), 3, bias=False)) == (
        "LocallyConnected2d(1, 2, input_size=(9, 8), kernel_size=(3, 3), stride=(1, 1), bias=False)"
    )
    assert "padding=((0, 1), (1, 1))" in repr(nn.Conv2d(1, 1, 1, padding=((0, 1), 1)))
    assert repr(nn.MaxPool2d((2, 3))) == "MaxPool2d(kernel_size=(2, 3), stride=(2, 3), padding=0, dilation=1)"


def test_sequential_is_a_sequence():
    layers = [nn.ReLU(), nn.Flatten(), nn.Dropout()]
    net = nn.Sequential(*layers)
    assert len(net) == 3
    assert list(net) == layers
    assert net[-1] is layers[2]
    assert isinstance(net[1:], nn.Sequential)
    assert list(net[1:]) == layers[1:]
    empty, x = nn.Sequential(), np.ones(3)
    assert empty(x) is x
    assert empty.forward(x)[1](x) is x


# ---- errors


@pytest.mark.parametrize(
    ("make", "error", "match"),
    [
        (lambda: nn.Conv2d(0, 1, 3), ValueError, "in_channels must be at least 1"),
        (lambda: nn.Conv2d(1, 0, 3), ValueError, "out_channels"),
        (lambda: nn.Conv2d(1.5, 1, 3), TypeError, "in_channels must be an integer, got 1.5"),
        (lambda: nn.Conv2d(1, 1, 0), ValueError, "kernel_size"),
        (lambda: nn.Conv2d(1, 1, (3, 3, 3)), ValueError, "kernel_size"),
        (lambda: nn.Conv2d(1, 1, 3, 0), ValueError, "stride"),
        (lambda: nn.Conv2d(1, 1, 3, dilation=0), ValueError, "dilation"),
        (lambda: nn.Conv2d(1, 1, 3, padding="SAME"), ValueError, "padding"),
        (lambda: nn.Conv2d(1, 1, 3, 2, "same"), ValueError, "'same' needs a stride of 1, got 2 in spatial dimension 0"),
        (lambda: nn.ConvTranspose2d(1, 1, 3, (1, 2), "same"), ValueError, "'same' needs .* in spatial dimension 1"),
        (lambda: nn.LocallyConnected1d(1, 1, 8, 3, 2, "same"), ValueError, "'same' needs a stride of 1"),
        (lambda: nn.MaxPool2d(3, padding="same"), ValueError, "'same' needs a stride of 1, got 3"),
        (lambda: nn.Conv2d(1, 1, 3, stride=True), TypeError, "stride must be an integer, got True"),
        (lambda: nn.Linear(1, False), TypeError, "out_features must be an integer, got False"),
        (lambda: nn.Conv2d(3, 4, 3, groups=2), ValueError, "groups must divide"),
        (lambda: nn.Conv2d(4, 3, 3, groups=2), ValueError, "groups must divide"),
        (lambda: nn.Conv2d(1, 1, 3, groups=0), ValueError, "groups"),
        (lambda: nn.Conv2d(1, 1, 3, layout="NWC"), ValueError, "layout must be 'NCHW' or 'NHWC'"),
        (lambda: nn.Conv2d(1, 1, 3, fit="ceil"), ValueError, "fit"),
        (lambda: nn.Conv2d(1, 1, 3, activation="tanh"), ValueError, "activation"),
        (lambda: nn.Conv2d(1, 1, 3, dtype=np.float16), ValueError, "dtype"),
        (lambda: nn.LocallyConnected2d(1, 1, 0, 3), ValueError, "input_size must be at least 1"),
        (lambda: nn.LocallyConnected2d(1, 1, (8, 8, 8), 3), ValueError, "input_size must be an integer or 2 of them"),
        (lambda: nn.LocallyConnected2d(1, 1, 8, 9), ValueError, "kernel_size 9 .* the input of 8"),
        (lambda: nn.LocallyConnected2d(1, 1, 8, 3, 2, fit="exact"), ValueError, "stride 2 does not fit"),
        (lambda: nn.LocallyConnected1d(1, 1, 8, 3).output_shape((1, 9)), ValueError, r"inputs of size \(8,\), got"),
        (lambda: nn.LocallyConnected1d(2, 1, 8, 3).output_shape((1, 8)), ValueError, "needs 2 channels"),
        (lambda: nn.MaxPool2d(2, fit="round"), ValueError, "fit"),
        (lambda: nn.MaxPool2d(2, 0), ValueError, "stride"),
        (lambda: nn.AvgPool2d(2, fit="round"), ValueError, "fit"),
        (lambda: nn.AvgPool1d(0), ValueError, "kernel_size"),
        (lambda: nn.LPPool2d("2", 2), TypeError, "norm_type must be a number"),
        (lambda: nn.LPPool2d(math.inf, 2), ValueError, "norm_type must be positive and finite"),
        (lambda: nn.AdaptiveAvgPool2d((2, 2, 2)), ValueError, "output_size"),
        (lambda: nn.AdaptiveAvgPool2d(None), TypeError, "output_size"),
        (lambda: nn.AdaptiveMaxPool1d((0,)), ValueError, "output_size must be at least 1"),
        (lambda: nn.AdaptiveMaxPool1d(3, layout="NCHW"), ValueError, "layout"),
        (lambda: nn.GlobalAvgPool(layout="CN"), ValueError, "layout"),
        (lambda: nn.Linear(0, 1), ValueError, "in_features"),
        (lambda: nn.Linear(1, -1), ValueError, "out_features"),
        (lambda: nn.Linear(1, 2**63), ValueError, "64 bits"),
        (lambda: nn.Linear(1, 1, activation="gelu"), ValueError, "activation"),
        (lambda: nn.BatchNorm2d(0), ValueError, "num_features must be at least 1"),
        (lambda: nn.BatchNorm2d(1, eps=-1), ValueError, "eps must be at least 0"),
        (lambda: nn.BatchNorm2d(1, momentum="half"), TypeError, "momentum must be a number"),
        (lambda: nn.BatchNorm2d(1, layout="NWC"), ValueError, "layout must be 'NCHW' or 'NHWC'"),
        (lambda: nn.BatchNorm2d(1, dtype=np.int64), ValueError, "dtype"),
        (lambda: nn.GroupNorm(2, 3), ValueError, "num_groups must divide num_channels"),
        (lambda: nn.GroupNorm(1, 3, layout="CHW"), ValueError, "layout"),
        (lambda: nn.LayerNorm(()), ValueError, "normalized_shape must have at least one axis"),
        (lambda: nn.LayerNorm((2, 0)), ValueError, "normalized_shape must be at least 1"),
        (lambda: nn.LocalResponseNorm(0), ValueError, "size must be at least 1"),
        (lambda: nn.LocalResponseNorm(2, beta=None), TypeError, "beta must be a number"),
        (lambda: nn.Dropout(1.5), ValueError, "p must be from 0 to 1"),
        (lambda: nn.Dropout(math.nan), ValueError, "p must be from 0 to 1"),
        (lambda: nn.Dropout("half"), TypeError, "p must be a number"),
        (lambda: nn.Flatten(1.0), TypeError, "start_dim"),
        (lambda: nn.Sequential(nn.ReLU(), max), TypeError, "layer 1 must be a Module"),
        (lambda: nn.Parameter([1.0]), TypeError, "list"),
        (lambda: nn.Parameter(np.ones(3, np.int64)), TypeError, "int64"),
    ],
)
def test_bad_arguments(make, error, match):
    with pytest.raises(error, match=match):
        make()


@pytest.mark.parametrize(
    ("layer", "shape", "match"),
    [
        (nn.Conv2d(1, 1, 3, padding=5, padding_mode="reflect"), (1, 4, 4), "at most 3 for pad_mode 'reflect' of 4"),
        (nn.Conv1d(1, 1, 3, padding=((0, 5),), padding_mode="circular"), (1, 4), "at most 4 for pad_mode 'circular'"),
        (nn.PReLU(4), (3, 2, 2), r"PReLU\(num_parameters=4\) needs 4 channels on axis 1, got \(3, 2, 2\)"),
        (nn.PReLU(4, axis=4), (3, 2, 2), "axis 4 is none of 4"),
        (nn.Softmax(7), (3,), r"Softmax\(dim=7\): axis 7 is none of 2"),
        (nn.GroupNorm(1, 3, layout="NCHW"), (3, 4), "needs an input of 3 axes"),
        (nn.LocalResponseNorm(3), (), "needs an input of 1 to 4 axes"),
        (nn.Flatten(0), (3, 4), "joins the batch axis"),
    ],
)
def test_summaries_refuse_what_the_call_does(layer, shape, match):
    with pytest.raises(ValueError, match=match):
        layer.summary(shape)


def test_flatten_names_axes_it_does_not_find():
    with pytest.raises(ValueError, match="axes 3 to 1"):
        nn.Flatten(3)(np.ones((2, 3)))


def test_parameter_keeps_its_array_and_checks_gradients():
    data = np.ones((2, 3))
    assert nn.Parameter(data).data is data
    assert nn.Parameter(data.T).data.flags.c_contiguous
    with pytest.raises(ValueError, match=r"\(2, 3\), got \(3, 2\)"):
        nn.Parameter(data).accumulate(data.T)


def test_a_module_without_forward_says_so():
    with pytest.raises(NotImplementedError, match="Module must define forward"):
        nn.Module()(np.ones(1))


# ---- sizes


@st.composite
def networks(draw):
    """A chain of layers for images of a drawn size, in either layout, that may or may not fit."""
    layout = draw(st.sampled_from(["NCHW", "NHWC"]))
    channels = draw(st.integers(1, 3))
    size = draw(st.tuples(st.integers(1, 9), st.integers(1, 9)))
    shape = (channels, *size) if layout == "NCHW" else (*size, channels)
    layers = []
    for kind in draw(st.lists(st.sampled_from(["conv", "pool", "relu", "dropout"]), max_size=4)):
        kernel = draw(st.tuples(st.integers(1, 3), st.integers(1, 3)))
        stride = draw(st.integers(1, 2))
        if kind == "conv":
            padding, out = draw(st.integers(0, 2)), draw(st.integers(1, 3))
            layers.append(nn.Conv2d(channels, out, kernel, stride, padding, layout=layout, rng=0))
            channels = out
        elif kind == "pool":
            layers.append(nn.MaxPool2d(kernel, stride, layout=layout, fit=draw(st.sampled_from(["floor", "ceil"]))))
        else:
            layers.append(nn.ReLU() if kind == "relu" else nn.Dropout(0.5, rng=0))
    if draw(st.booleans()):
        layers.append(nn.Flatten())
    return nn.Sequential(*layers), shape


@settings(max_examples=60, deadline=None)
@given(networks(), st.integers(0, 2))
def test_any_chain_has_the_shape_that_is_predicted(network, batch):
    net, shape = network
    x = np.random.default_rng(0).normal(size=(batch, *shape)).astype(np.float32)
    try:
        expected = net.output_shape(shape)
    except ValueError:
        with pytest.raises(ValueError):
            net(x)
        return
    y, backward = net.forward(x)
    assert y.shape == net(x).shape == (batch, *expected)
    assert backward(np.ones_like(y)).shape == x.shape
    summary = net.summary(shape)
    assert not summary.rows or summary.rows[-1].output_shape == expected
    assert summary.macs == net.macs(shape)


# ---- gradients of a score


def classifier():
    return nn.Sequential(
        nn.Conv2d(2, 3, 3, dtype=F64, rng=0),
        nn.ReLU(),
        nn.Flatten(),
        nn.Dropout(0.9),
        nn.Linear(12, 4, dtype=F64, rng=1),
    )


@pytest.mark.parametrize("target", [None, 0, 3, np.int64(2), np.array([3, 0, 1]), np.array(1)])
def test_input_gradient(target):
    net, x = classifier(), spread((3, 2, 4, 4))
    classes = net(x).argmax(axis=1) if target is None else np.broadcast_to(target, 3)
    expected = numeric_gradient(lambda: float(net(x)[np.arange(3), classes].sum()), x)
    np.testing.assert_allclose(nn.input_gradient(net, x, target), expected, RTOL, ATOL)
    assert all(parameter.grad is None for parameter in net.parameters())


def test_input_gradient_keeps_gradients():
    net, x = classifier(), spread((3, 2, 4, 4))
    net.forward(x)[1](np.ones((3, 4)))
    grads = [parameter.grad for parameter in net.parameters()]
    values = [grad.copy() for grad in grads]
    nn.input_gradient(net, x)
    with pytest.raises(ValueError, match="target must be from 0 to 3"):
        nn.input_gradient(net, x, 4)
    assert all(parameter.grad is grad for parameter, grad in zip(net.parameters(), grads, strict=True))
    assert all(np.array_equal(grad, value) for grad, value in zip(grads, values, strict=True))
    assert nn.input_gradient(net, x[:0]).shape == (0, 2, 4, 4)


@pytest.mark.parametrize(
    ("target", "error", "match"),
    [
        (4, ValueError, "from 0 to 3"),
        (-1, ValueError, "target must be at least 0"),
        (2**80, ValueError, "target must .* fit 64 bits"),
        (np.array([0, 1, 4]), ValueError, "from 0 to 3"),
        (1.0, TypeError, "target must be an integer"),
        ("one", TypeError, "target must be an integer"),
        (np.ones(3), TypeError, "target must hold one integer for each of 3 samples, got float64"),
        (np.zeros(2, int), TypeError, "target must hold one integer for each of 3 samples"),
        (np.zeros((3, 1), int), TypeError, "target must hold one integer for each of 3 samples"),
    ],
)
def test_input_gradient_of_wrong_targets(target, error, match):
    with pytest.raises(error, match=match):
        nn.input_gradient(classifier(), spread((3, 2, 4, 4)), target)


def test_input_gradient_needs_scores():
    with pytest.raises(ValueError, match=r"one row of scores a sample, got shape \(3, 3, 2, 2\)"):
        nn.input_gradient(classifier()[:2], spread((3, 2, 4, 4)))


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
