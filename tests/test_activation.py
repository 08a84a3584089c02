"""Activation functions: how precise they are, what they do at the ends, and their gradients."""

import gc
import weakref

import numpy as np
import pytest
import reference
from hypothesis import given
from hypothesis import strategies as st
from strategies import ISAS, backwards, dtypes, integers, isas, spread, views

import convc
from convc import nn

shapes = st.lists(st.integers(1, 20), min_size=1, max_size=5).map(tuple)
slopes = st.sampled_from([0.01, 0.25, 0.0, 3.0, -0.5])

# Name -> the function, its gradient, whether that is computed from the output.
FUNCTIONS = {
    "sigmoid": (convc.sigmoid, convc.sigmoid_backward, True),
    "tanh": (convc.tanh, convc.tanh_backward, True),
    "silu": (convc.silu, convc.silu_backward, False),
    "gelu": (convc.gelu, convc.gelu_backward, False),
    "gelu tanh": (
        lambda x, **out: convc.gelu(x, "tanh", **out),
        lambda grad, x: convc.gelu_backward(grad, x, "tanh"),
        False,
    ),
}
names = st.sampled_from(list(FUNCTIONS))


def every_size(dtype, count=20_000):
    """Numbers of both signs: all exponents, denormals too, and more of them where the functions bend."""
    whole = np.uint32 if dtype == np.float32 else np.uint64
    rng = np.random.default_rng(21)
    largest = np.array(np.finfo(dtype).max).view(whole)
    sizes = np.sort(rng.integers(0, largest, count, dtype=whole, endpoint=True)).view(dtype)
    bends = [rng.uniform(0, end, count // 4).astype(dtype) for end in (0.5, 2, 8, 20, 40, 110, 760)]
    positive = np.concatenate([sizes, *bends])
    return np.concatenate([positive, -positive])


def units(dtype, value):
    """Units in the last place at this value; of the smallest normal number below that."""
    return np.spacing(np.maximum(np.abs(value).astype(dtype), np.finfo(dtype).tiny))


# The bounds of the documentation.
BOUNDS = {"sigmoid": 4, "tanh": 4, "silu": 4, "gelu": 12}


@pytest.mark.parametrize("name", FUNCTIONS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_precision(name, dtype):
    x = every_size(dtype)
    expected = getattr(reference, name.replace(" ", "_"))(x)
    bound = BOUNDS.get(name) or 5 + np.abs(np.clip(x, -30, 0)) ** 3
    for isa in ISAS:
        convc.set_isa(isa)
        y = FUNCTIONS[name][0](x)
        assert y.dtype == dtype
        with np.errstate(over="ignore"):
            excess = np.abs(y - expected) / units(dtype, expected) / bound
        assert excess.max() <= 1, (isa, x[excess.argmax()], excess.max())


@pytest.mark.parametrize("name", FUNCTIONS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_precision_of_gradients(name, dtype):
    """Relative to the terms that the derivative is the sum of: where these cancel, no more is to be had."""
    x = every_size(dtype, 10_000)
    slope, terms = reference.slope(name, x)
    bound = 16 + (2 * np.abs(np.clip(x, -30, 0)) ** 3 if name == "gelu tanh" else 0)
    function, gradient, of_output = FUNCTIONS[name]
    for isa in ISAS:
        convc.set_isa(isa)
        at = function(x) if of_output else x
        if of_output:  # the output's own error counts as much as it does in y (1 - y)
            y = np.longdouble(at)
            slope = y * (1 - y) if name == "sigmoid" else (1 - y) * (1 + y)
            terms = np.abs(slope)
        excess = np.abs(gradient(np.ones_like(x), at) - slope) / units(dtype, terms) / bound
        assert excess.max() <= 1, (isa, x[excess.argmax()], excess.max())


LIMITS = {
    "sigmoid": (0, 0.5, 1),
    "tanh": (-1, 0, 1),
    "silu": (0, 0, np.inf),
    "gelu": (0, 0, np.inf),
    "gelu tanh": (0, 0, np.inf),
}


@pytest.mark.parametrize("name", FUNCTIONS)
@given(dtypes, isas)
def test_limits(name, dtype, isa):
    convc.set_isa(isa)
    function, gradient, of_output = FUNCTIONS[name]
    x = np.array([-np.inf, -1e30, -1000, 0, 1000, 1e30, np.inf, np.nan], dtype)
    y = function(x)
    low, middle, high = LIMITS[name]
    np.testing.assert_array_equal(y[:4], [low, low, low, middle])
    np.testing.assert_array_equal(y[4:7], x[4:7] if high == np.inf else [high] * 3)
    assert np.isnan(y[7])
    slope = gradient(np.ones_like(x), y if of_output else x)
    np.testing.assert_array_equal(slope[[0, 1, 2]], 0)
    np.testing.assert_array_equal(slope[[4, 5, 6]], 1 if high == np.inf else 0)
    assert np.isnan(slope[7])
    assert np.isnan(gradient(np.full(1, np.nan, dtype), np.zeros(1, dtype)))


@pytest.mark.parametrize("name", [name for name in FUNCTIONS if name != "sigmoid"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_odd_at_zero(name, dtype):
    """Zeros keep their signs, and the smallest numbers are not lost."""
    x = np.array([0.0, -0.0, np.finfo(dtype).smallest_subnormal * 2, -np.finfo(dtype).smallest_subnormal * 2], dtype)
    for isa in ISAS:
        convc.set_isa(isa)
        y = FUNCTIONS[name][0](x)
        np.testing.assert_array_equal(y, x if name == "tanh" else x / 2)
        np.testing.assert_array_equal(np.signbit(y), np.signbit(x))
        vanishing = FUNCTIONS[name][0](-x[2:3] / 2)
        assert np.signbit(vanishing), "also where half of the smallest number is lost"


@given(names, shapes, dtypes, isas, views, views)
def test_of_any_strides(name, shape, dtype, isa, view, view_out):
    """The same bits wherever an element lies, in a vector and in memory."""
    convc.set_isa(isa)
    function, gradient, _ = FUNCTIONS[name]
    rng = np.random.default_rng(22)
    x, grad = 3 * rng.standard_normal((2, *shape)).astype(dtype)
    moved_x, moved_grad = np.roll(x.ravel(), 5), np.roll(grad.ravel(), 5)
    expected = np.roll(function(moved_x), -5).reshape(shape)
    np.testing.assert_array_equal(function(view(x)), expected)
    slopes = np.roll(gradient(moved_grad, moved_x), -5).reshape(shape)
    np.testing.assert_array_equal(gradient(view_out(grad), view(x)), slopes)
    out = view_out(np.full_like(x, 7))
    assert function(view(x), out=out) is out
    np.testing.assert_array_equal(out, expected)


@pytest.mark.parametrize("name", FUNCTIONS)
@given(dtypes, isas)
def test_one_at_a_time(name, dtype, isa):
    """A lone element has the bits that it has among others."""
    convc.set_isa(isa)
    x = (4 * np.random.default_rng(30).standard_normal(70)).astype(dtype)
    for function in (FUNCTIONS[name][0], lambda x: FUNCTIONS[name][1](np.ones_like(x), x)):
        alone = [function(x[i : i + 1])[0] for i in range(len(x))]
        np.testing.assert_array_equal(function(x), alone)


@given(names, st.integers(1, 50))
def test_pytorch_agrees(torch, name, n):
    x, grad = 4 * np.random.default_rng(n).standard_normal((2, n))
    theirs = torch.from_numpy(x).requires_grad_()
    functional = torch.nn.functional
    y = {
        "sigmoid": torch.sigmoid,
        "tanh": torch.tanh,
        "silu": functional.silu,
        "gelu": functional.gelu,
        "gelu tanh": lambda x: functional.gelu(x, approximate="tanh"),
    }[name](theirs)
    y.backward(torch.from_numpy(grad))
    function, gradient, of_output = FUNCTIONS[name]
    ours = function(x)
    np.testing.assert_allclose(ours, y.detach().numpy(), rtol=1e-12, atol=1e-13)
    np.testing.assert_allclose(gradient(grad, ours if of_output else x), theirs.grad.numpy(), rtol=1e-12, atol=1e-13)


# ---- slopes ----


@given(shapes, slopes, dtypes, isas, views, views)
def test_leaky_relu(shape, slope, dtype, isa, view, view_grad):
    convc.set_isa(isa)
    rng = np.random.default_rng(23)
    x, grad = integers(rng, *shape, dtype=dtype), integers(rng, *shape, dtype=dtype)
    x[rng.random(shape) < 0.1] = np.nan
    np.testing.assert_array_equal(convc.leaky_relu(view(x), slope), np.where(x > 0, x, x * dtype(slope)))
    out = view_grad(np.empty_like(x))
    convc.leaky_relu(view(x), slope, out=out)
    np.testing.assert_array_equal(out, np.where(x > 0, x, x * dtype(slope)))
    backward = convc.leaky_relu_backward(view_grad(grad), view(x), slope)
    np.testing.assert_array_equal(backward, np.where(x > 0, grad, grad * dtype(slope)))


@given(shapes, st.integers(-5, 4), st.booleans(), dtypes, isas, views, views)
def test_prelu(shape, axis, single, dtype, isa, view, view_grad):
    convc.set_isa(isa)
    axis = axis % len(shape) if axis >= 0 else axis % len(shape) - len(shape)
    rng = np.random.default_rng(24)
    x, grad = integers(rng, *shape, dtype=dtype), integers(rng, *shape, dtype=dtype)
    weight = integers(rng, 1 if single else shape[axis], dtype=dtype)
    wide = weight if single else np.moveaxis(np.broadcast_to(weight, (*np.delete(shape, axis), len(weight))), -1, axis)
    expected = np.where(x > 0, x, wide * x)
    np.testing.assert_array_equal(convc.prelu(view(x), spread(weight), axis), expected)
    out = view_grad(np.full_like(x, 7))
    assert convc.prelu(view(x), weight, axis, out=out) is out
    np.testing.assert_array_equal(out, expected)
    grad_x, grad_weight = convc.prelu_backward(view_grad(grad), view(x), backwards(weight), axis)
    np.testing.assert_array_equal(grad_x, np.where(x > 0, grad, grad * wide))
    terms = np.where(x > 0, 0, np.float64(grad) * x)
    rest = tuple(np.delete(np.arange(x.ndim), axis))
    np.testing.assert_array_equal(grad_weight, terms.sum(keepdims=True).ravel() if single else terms.sum(rest))


@pytest.mark.parametrize("layout", ["first", "last"])
@pytest.mark.parametrize("channels", [1, 3, 64, 130, 700])
def test_prelu_of_networks(torch, channels, layout):
    """Many tasks, long sums."""
    rng = np.random.default_rng(25)
    x, grad = rng.standard_normal((2, 2, channels, 23, 41))
    weight = rng.standard_normal(channels)
    theirs, slopes = torch.from_numpy(x).requires_grad_(), torch.from_numpy(weight).requires_grad_()
    y = torch.nn.functional.prelu(theirs, slopes)
    y.backward(torch.from_numpy(grad))
    axis = 1 if layout == "first" else -1
    a, g = (np.ascontiguousarray(np.moveaxis(a, 1, axis)) for a in (x, grad))
    np.testing.assert_array_equal(np.moveaxis(convc.prelu(a, weight, axis), axis, 1), y.detach().numpy())
    grad_x, grad_weight = convc.prelu_backward(g, a, weight, axis)
    np.testing.assert_array_equal(np.moveaxis(grad_x, axis, 1), theirs.grad.numpy())
    np.testing.assert_allclose(grad_weight, slopes.grad.numpy(), rtol=1e-12, atol=1e-11)
    a, g, weight = a.astype(np.float32), g.astype(np.float32), weight.astype(np.float32)
    single = convc.prelu_backward(g, a, weight, axis)[1]
    np.testing.assert_allclose(single, grad_weight, rtol=1e-5, atol=1e-4)


def test_more_axes_than_the_core_has():
    x = np.random.default_rng(26).standard_normal((2, 3, 2, 3, 2, 3, 2)).swapaxes(0, 5).swapaxes(1, 4)[:, ::-1, ::2]
    weight = np.arange(1.0, 1 + x.shape[3])
    wide = weight.reshape(-1, 1, 1, 1)
    np.testing.assert_array_equal(convc.prelu(x, weight, 3), np.where(x > 0, x, wide * x))
    grad_x, grad_weight = convc.prelu_backward(x, x, weight, 3)
    np.testing.assert_array_equal(grad_x, np.where(x > 0, x, wide * x))
    np.testing.assert_allclose(grad_weight, np.where(x > 0, 0, x * x).sum((0, 1, 2, 4, 5, 6)))
    np.testing.assert_array_equal(convc.leaky_relu(x, 2), np.where(x > 0, x, 2 * x))


def test_empty():
    x = np.zeros((0, 3, 4), np.float32)
    for function, gradient, _ in FUNCTIONS.values():
        assert function(x).shape == gradient(x, x).shape == x.shape
    weight = np.ones(3, np.float32)
    assert convc.prelu(x, weight).shape == x.shape
    grad_x, grad_weight = convc.prelu_backward(x, x, weight)
    assert grad_x.shape == x.shape
    np.testing.assert_array_equal(grad_weight, np.zeros(3))


X = np.ones((2, 3))


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: convc.leaky_relu(X, "0.1"), TypeError, "negative_slope must be a number, got str"),
        (lambda: convc.leaky_relu(X, None), TypeError, "negative_slope must be a number"),
        (lambda: convc.leaky_relu(X, 10**400), ValueError, "negative_slope must fit in a float"),
        (lambda: convc.leaky_relu_backward(X, X, [1]), TypeError, "negative_slope must be a number, got list"),
        (lambda: convc.gelu(X, "erf"), ValueError, "approximate must be 'none' or 'tanh', got 'erf'"),
        (lambda: convc.gelu(X, 1), TypeError, "approximate must be 'none' or 'tanh', got int"),
        (lambda: convc.gelu_backward(X, X, None), ValueError, "approximate must be"),
        (lambda: convc.gelu_backward(X, X[:1]), ValueError, r"x must have shape \(2, 3\), got \(1, 3\)"),
        (lambda: convc.tanh_backward(X, X[:1]), ValueError, r"y must have shape \(2, 3\), got \(1, 3\)"),
        (lambda: convc.prelu(X, np.ones(2)), ValueError, r"weight must have shape \(1,\) or .*\(3,\).*got \(2,\)"),
        (lambda: convc.prelu(X, np.ones(0)), ValueError, "weight must have"),
        (lambda: convc.prelu(X[:, :0], np.ones(0)), ValueError, "weight must have"),
        (lambda: convc.prelu(X, np.ones((1, 1))), ValueError, "weight must have 1 dimension"),
        (lambda: convc.prelu(X, np.ones(3), 2), ValueError, "axis must be from -2 to 1"),
        (lambda: convc.prelu(X, np.ones(1), 1.0), TypeError, "axis must be an int"),
        (lambda: convc.prelu(X[0], np.ones(3)), ValueError, "axis must be from -1 to 0"),
        (lambda: convc.prelu_backward(X, X, np.ones(3, np.float32)), TypeError, "weight must be float64 as grad is"),
        (lambda: convc.prelu_backward(X, X[:1], np.ones(3)), ValueError, r"x must have shape \(2, 3\)"),
    ],
)
def test_refused(call, error, message):
    with pytest.raises(error, match=message):
        call()


# ---- layers ----


def activations(lib, **options):
    return lib.Sequential(
        lib.ReLU(),
        lib.LeakyReLU(),
        lib.LeakyReLU(0.2),
        lib.PReLU(),
        lib.PReLU(3, 0.1),
        lib.GELU(),
        lib.GELU("tanh"),
        lib.SiLU(),
        lib.Sigmoid(),
        lib.Tanh(),
        lib.Softmax(1),
        lib.Softmax(dim=-1),
    )


def test_layers_are_those_of_pytorch(torch):
    """Their text, initial values, outputs and gradients."""
    x = np.random.default_rng(31).standard_normal((2, 3, 4)).astype(np.float32)
    ours, theirs = activations(nn), activations(torch.nn)
    assert repr(ours) == repr(theirs)
    assert {name: value.tolist() for name, value in ours.state_dict().items()} == {
        name: value.tolist() for name, value in theirs.state_dict().items()
    }
    for layer, other in zip(ours, theirs, strict=True):
        a = torch.from_numpy(x).requires_grad_()
        expected = other(a)
        expected.backward(torch.from_numpy(x))
        y, backward = layer.forward(x)
        np.testing.assert_allclose(y, expected.detach().numpy(), rtol=1e-5, atol=1e-6)
        np.testing.assert_array_equal(layer(x), y)
        np.testing.assert_allclose(backward(x), a.grad.numpy(), rtol=1e-5, atol=1e-6)
        for mine, parameter in zip(layer.parameters(), other.parameters(), strict=True):
            np.testing.assert_allclose(mine.grad, parameter.grad.numpy(), rtol=1e-5, atol=1e-6)


def test_layers_in_files(tmp_path):
    pytest.importorskip("safetensors")
    net = nn.Sequential(*activations(nn), nn.PReLU(4, axis=-1, dtype=np.float64), nn.Upsample((3, 4)))
    net.save(tmp_path / "net.safetensors")
    loaded = nn.load_model(tmp_path / "net.safetensors")
    assert repr(loaded) == repr(net)
    assert [p.data.tolist() for p in loaded.parameters()] == [p.data.tolist() for p in net.parameters()]


@pytest.mark.parametrize(
    ("make", "freed"),
    [
        (nn.ReLU, True),
        (nn.Sigmoid, True),
        (nn.Tanh, True),
        (nn.LeakyReLU, True),
        (lambda: nn.Softmax(1), True),
        (lambda: nn.LeakyReLU(-1), False),
        (nn.SiLU, False),
        (nn.GELU, False),
        (nn.PReLU, False),
    ],
)
def test_what_a_layer_keeps(make, freed):
    """The output rather than the input, which the layer before may then free."""
    x = np.ones((2, 3), np.float32)
    seen = weakref.ref(x)
    y, backward = make().forward(x)
    del x
    gc.collect()
    assert (seen() is None) == freed
    backward(y)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: nn.LeakyReLU(None), TypeError, "negative_slope must be a number"),
        (lambda: nn.GELU("erf"), ValueError, "approximate must be 'none' or 'tanh'"),
        (lambda: nn.PReLU(0), ValueError, "num_parameters must be at least 1"),
        (lambda: nn.PReLU(init="much"), TypeError, "init must be a number"),
        (lambda: nn.PReLU(dtype=np.int32), ValueError, "dtype must be"),
        (lambda: nn.PReLU(axis=0.5), TypeError, "axis must be an integer"),
        (lambda: nn.Softmax("1"), TypeError, "dim must be an integer"),
    ],
)
def test_layers_refuse(call, error, message):
    with pytest.raises(error, match=message):
        call()
