"""Batch, group, layer and local response normalisation, and their gradients."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
import reference
from hypothesis import given
from hypothesis import strategies as st
from strategies import FIRST, LAST, channels_first, channels_last, dtypes, isas, views
from test_gradients import check

import convc

TOLERANCE = {np.float32: {"rtol": 1e-4, "atol": 3e-5}, np.float64: {"rtol": 1e-11, "atol": 1e-11}}
EPS = 1e-3


@dataclass(frozen=True)
class Images:
    """An array with channels, and a layout and memory for it."""

    x: np.ndarray = field(repr=False)  # channels first
    weight: np.ndarray | None = field(repr=False)
    bias: np.ndarray | None = field(repr=False)
    last: bool
    isa: str
    view: Any
    shape: tuple = ()

    def __post_init__(self):
        object.__setattr__(self, "shape", (self.x.shape, self.x.dtype.name))

    @property
    def options(self):
        return {"layout": (LAST if self.last else FIRST)[self.x.ndim - 3] if self.x.ndim > 2 else None}

    @property
    def tolerance(self):
        return TOLERANCE[self.x.dtype.type]

    @property
    def grad(self):
        return np.random.default_rng(8).standard_normal(self.x.shape).astype(self.x.dtype)

    def laid_out(self, a):
        return self.view(channels_last(a) if self.last and a.ndim > 2 else a)

    def first(self, a):
        return channels_first(a) if self.last and a.ndim > 2 else a

    def broadcast(self, vector, otherwise):
        return otherwise if vector is None else np.float64(vector).reshape(-1, *[1] * (self.x.ndim - 2))

    def check(self, ours, theirs):
        np.testing.assert_allclose(ours, theirs, **self.tolerance)


@st.composite
def images(draw, channels=(1, 2, 3, 6, 16, 17, 37, 66, 130)):
    c, spatial = draw(st.sampled_from(channels)), draw(st.integers(0, 3))
    longest = {0: 1, 1: 70, 2: 12, 3: 5}[spatial]
    size = draw(st.tuples(*[st.integers(1, longest)] * spatial))
    rng, dtype = np.random.default_rng(draw(st.integers(0, 99))), draw(dtypes)
    x = (
        rng.standard_normal((draw(st.integers(2, 5)), c, *size)) + 3 * rng.standard_normal((c, *[1] * spatial))
    ).astype(dtype)
    vector = st.sampled_from([None, rng.standard_normal(c).astype(dtype)])
    return Images(x, draw(vector), draw(vector), draw(st.booleans()), draw(isas), draw(views))


def sums(gradients, axes):
    """Of what `normalise_backward` gives: grad_x, and the sums for each weight and bias."""
    return gradients[0], gradients[1].sum(axes), gradients[2].sum(axes)


# ---- batch normalisation


@given(images(), st.sampled_from([0.1, 1.0, 0.3]))
def test_batch_norm_in_training(case, momentum):
    convc.set_isa(case.isa)
    axes = (0, *range(2, case.x.ndim))
    weight, bias = case.broadcast(case.weight, 1), case.broadcast(case.bias, 0)
    running_mean, running_var = np.ones((2, case.x.shape[1]), case.x.dtype)
    arguments = running_mean, running_var, case.weight, case.bias, True, momentum, EPS
    x = case.laid_out(case.x)
    y, mean, inv_std = convc.batch_norm(x, *arguments, **case.options, return_statistics=True)
    case.check(case.first(y), reference.normalise(case.x, axes, weight, bias, EPS))
    exact, std = (a.ravel() for a in reference.spread_of(case.x, axes, EPS))
    np.testing.assert_allclose(mean, exact, rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(inv_std, 1 / std, rtol=1e-5)
    count = case.x.size / case.x.shape[1]
    case.check(running_mean, 1 - momentum + momentum * exact)
    case.check(running_var, 1 - momentum + momentum * (std**2 - EPS) * count / (count - 1))
    out = case.laid_out(np.full_like(case.x, 7))
    assert convc.batch_norm(x, None, None, *arguments[2:], **case.options, out=out) is out
    np.testing.assert_array_equal(out, y)
    grads = convc.batch_norm_backward(case.laid_out(case.grad), x, mean, inv_std, case.weight, True, **case.options)
    expected = sums(reference.normalise_backward(case.grad, case.x, axes, weight, EPS), axes)
    for ours, theirs in zip((case.first(grads[0]), *grads[1:]), expected, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-3 if case.x.dtype == np.float32 else 1e-9, atol=2e-4)


@given(images())
def test_batch_norm_in_use(case):
    convc.set_isa(case.isa)
    rng, c = np.random.default_rng(3), case.x.shape[1]
    mean, var = rng.standard_normal(c).astype(case.x.dtype), rng.random(c).astype(case.x.dtype)
    before = mean.copy(), var.copy()
    x, grad = case.laid_out(case.x), case.laid_out(case.grad)
    y, kept, inv_std = convc.batch_norm(
        x, mean, var, case.weight, case.bias, eps=EPS, **case.options, return_statistics=True
    )
    np.testing.assert_array_equal((mean, var), before)
    np.testing.assert_array_equal(kept, mean)
    std = np.sqrt(np.float64(var) + EPS)
    normal = (np.float64(case.x) - case.broadcast(mean, 0)) / case.broadcast(std, 1)
    case.check(case.first(y), normal * case.broadcast(case.weight, 1) + case.broadcast(case.bias, 0))
    grad_x, grad_weight, grad_bias = convc.batch_norm_backward(grad, x, kept, inv_std, case.weight, **case.options)
    case.check(case.first(grad_x), case.grad * case.broadcast(case.weight, 1) / case.broadcast(std, 1))
    axes = (0, *range(2, case.x.ndim))
    np.testing.assert_allclose(grad_weight, (case.grad * normal).sum(axes), rtol=1e-4, atol=1e-3)
    np.testing.assert_allclose(grad_bias, np.float64(case.grad).sum(axes), rtol=1e-4, atol=1e-4)


@given(images(), st.booleans())
def test_pytorch_agrees_about_batch_norm(torch, case, training):
    convc.set_isa(case.isa)
    x, grad = (torch.from_numpy(np.float64(a)) for a in (case.x, case.grad))
    vectors = [
        None if v is None else torch.from_numpy(np.float64(v)).requires_grad_() for v in (case.weight, case.bias)
    ]
    theirs = torch.ones(2, case.x.shape[1], dtype=torch.float64)
    y = torch.nn.functional.batch_norm(x.requires_grad_(), *theirs, *vectors, training, 0.2, EPS)
    y.backward(grad)
    ours = np.ones((2, case.x.shape[1]))
    weight, bias = (None if v is None else np.float64(v) for v in (case.weight, case.bias))
    seen = case.laid_out(np.float64(case.x))
    mine, mean, inv_std = convc.batch_norm(
        seen, *ours, weight, bias, training, 0.2, EPS, **case.options, return_statistics=True
    )
    grads = convc.batch_norm_backward(
        case.laid_out(np.float64(case.grad)), seen, mean, inv_std, weight, training, **case.options
    )
    close = {"rtol": 1e-9, "atol": 1e-9}
    np.testing.assert_allclose(case.first(mine), y.detach().numpy(), **close)
    np.testing.assert_allclose(ours, theirs.numpy(), **close)
    np.testing.assert_allclose(case.first(grads[0]), x.grad.numpy(), **close)
    for gradient, vector in zip(grads[1:], vectors, strict=True):
        if vector is not None:
            np.testing.assert_allclose(gradient, vector.grad.numpy(), **close)


# ---- group normalisation


@given(images(channels=(6, 18, 66, 144)), st.sampled_from([1, 2, 3, 6]))
def test_group_norm(torch, case, groups):
    convc.set_isa(case.isa)
    n, c, *size = case.x.shape
    shape, axes = (n, groups, c // groups, *size), tuple(range(2, case.x.ndim + 1))
    inside = (1, groups, c // groups, *[1] * len(size))
    weight, bias = (
        otherwise if v is None else np.float64(v).reshape(inside) for v, otherwise in ((case.weight, 1), (case.bias, 0))
    )
    x = case.laid_out(case.x)
    arguments = groups, case.weight, case.bias, EPS
    y, mean, inv_std = convc.group_norm(x, *arguments, **case.options, return_statistics=True)
    grouped = case.x.reshape(shape)
    case.check(case.first(y), reference.normalise(grouped, axes, weight, bias, EPS).reshape(case.x.shape))
    exact, std = (a.reshape(n, groups) for a in reference.spread_of(grouped, axes, EPS))
    np.testing.assert_allclose(mean, exact, rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(inv_std, 1 / std, rtol=1e-5)
    out = case.laid_out(np.full_like(case.x, 7))
    assert convc.group_norm(x, *arguments, **case.options, out=out) is out
    np.testing.assert_array_equal(out, y)
    grads = convc.group_norm_backward(case.laid_out(case.grad), x, groups, mean, inv_std, case.weight, **case.options)
    expected = [
        a.reshape(case.x.shape)
        for a in reference.normalise_backward(case.grad.reshape(shape), grouped, axes, weight, EPS)
    ]
    for ours, theirs in zip(
        (case.first(grads[0]), *grads[1:]), sums(expected, (0, *range(2, case.x.ndim))), strict=True
    ):
        np.testing.assert_allclose(ours, theirs, rtol=1e-3 if case.x.dtype == np.float32 else 1e-9, atol=2e-4)
    wide = (
        torch.from_numpy(np.float64(case.x)),
        *(None if v is None else torch.from_numpy(np.float64(v)) for v in (case.weight, case.bias)),
    )
    case.check(case.first(y), torch.nn.functional.group_norm(wide[0], groups, *wide[1:], EPS).numpy())


# ---- layer normalisation


@given(st.lists(st.integers(1, 9), min_size=1, max_size=6), st.integers(1, 3), st.integers(1, 70), dtypes, isas, views)
def test_layer_norm(torch, shape, axes, width, dtype, isa, view):
    convc.set_isa(isa)
    shape = (*shape[:-1], width)
    axes = min(axes, len(shape))
    rng = np.random.default_rng(4)
    x, grad = (rng.standard_normal(shape).astype(dtype) + 2 for _ in range(2))
    weight, bias = rng.standard_normal((2, *shape[-axes:])).astype(dtype)
    over = tuple(range(len(shape) - axes, len(shape)))
    y, mean, inv_std = convc.layer_norm(view(x), shape[-axes:], view(weight), view(bias), EPS, return_statistics=True)
    np.testing.assert_allclose(y, reference.normalise(x, over, weight, bias, EPS), **TOLERANCE[dtype])
    assert mean.shape == inv_std.shape == shape[:-axes]
    out = view(np.full_like(x, 7))
    assert convc.layer_norm(view(x), shape[-axes:], view(weight), view(bias), EPS, out=out) is out
    np.testing.assert_array_equal(out, y)
    grads = convc.layer_norm_backward(view(grad), view(x), shape[-axes:], mean, inv_std, view(weight))
    rows = tuple(range(len(shape) - axes))
    expected = sums(reference.normalise_backward(grad, x, over, weight, EPS), rows)
    for ours, theirs in zip(grads, expected, strict=True):
        assert ours.dtype == dtype
        np.testing.assert_allclose(ours, theirs, rtol=1e-3 if dtype == np.float32 else 1e-9, atol=2e-4)
    theirs = torch.nn.functional.layer_norm(
        *map(torch.from_numpy, (x,)), shape[-axes:], *map(torch.from_numpy, (weight, bias)), EPS
    ).numpy()
    np.testing.assert_allclose(y, theirs, rtol=1e-3, atol=1e-4)
    plain = convc.layer_norm(x, shape[-axes:], eps=EPS)
    np.testing.assert_allclose(plain, reference.normalise(x, over, 1, 0, EPS), **TOLERANCE[dtype])
    some = convc.layer_norm_backward(grad, x, shape[-axes:], mean, inv_std, needs=("bias",))
    assert some[0] is some[1] is None
    np.testing.assert_allclose(some[2], expected[2], rtol=1e-3, atol=2e-4)


@pytest.mark.parametrize("name", ["group_norm", "layer_norm", "softmax"])
def test_pytorch_agrees_in_float64(torch, name):
    """About outputs and all gradients, to rounding."""
    rng = np.random.default_rng(6)
    x, grad = rng.normal(size=(2, 3, 6, 5, 7)) + 1.5
    weight, bias = rng.normal(size=(2, *((6,) if name == "group_norm" else (5, 7))))
    wide = [torch.from_numpy(a).requires_grad_() for a in (x, weight, bias)]
    functional = torch.nn.functional
    if name == "softmax":
        y, expected = convc.softmax(x, 1), functional.softmax(wide[0], 1)
        grads = (convc.softmax_backward(grad, y, 1),)
    elif name == "group_norm":
        y, *statistics = convc.group_norm(x, 3, weight, bias, EPS, return_statistics=True)
        expected = functional.group_norm(wide[0], 3, *wide[1:], EPS)
        grads = convc.group_norm_backward(grad, x, 3, *statistics, weight)
    else:
        y, *statistics = convc.layer_norm(x, (5, 7), weight, bias, EPS, return_statistics=True)
        expected = functional.layer_norm(wide[0], (5, 7), *wide[1:], EPS)
        grads = convc.layer_norm_backward(grad, x, (5, 7), *statistics, weight)
    np.testing.assert_allclose(y, expected.detach().numpy(), rtol=1e-12, atol=1e-13)
    expected.backward(torch.from_numpy(grad))
    for ours, theirs in zip(grads, wide, strict=name != "softmax"):
        np.testing.assert_allclose(ours, theirs.grad.numpy(), rtol=1e-11, atol=1e-12)


@given(isas)
def test_means_further_apart_than_any_number(isa):
    convc.set_isa(isa)
    x = np.full((1, 1, 6144), 0.9 * np.finfo(np.float64).max)
    x[..., 4096:] *= -1
    mean, variance = np.zeros(1), np.ones(1)
    convc.batch_norm(x, mean, variance, training=True, momentum=1.0)
    np.testing.assert_allclose(mean / np.finfo(np.float64).max, 0.3)
    assert np.isposinf(variance)


@pytest.mark.parametrize("place", [0, 5, 4095])
@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
@given(isas)
def test_infinities_are_pytorchs(torch, layout, place, isa):
    """In the running mean, whichever pixel is infinite."""
    convc.set_isa(isa)
    x = np.random.default_rng(0).standard_normal((2, 3, 64, 64)).astype(np.float32)
    x[0, 1].flat[place] = -np.inf
    means = np.zeros((2, 3), np.float32)
    variances = np.ones((2, 3), np.float32)
    torch.nn.functional.batch_norm(*map(torch.from_numpy, (x, means[0], variances[0])), training=True)
    x = x if layout == "NCHW" else np.ascontiguousarray(np.moveaxis(x, 1, -1))
    convc.batch_norm(x, means[1], variances[1], training=True, layout=layout)
    np.testing.assert_allclose(means[1], means[0], rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(variances[1], variances[0], rtol=1e-4)
    assert np.isneginf(means[1, 1])


# ---- local response normalisation


@given(images(), st.integers(1, 9), st.sampled_from([0.75, 1.0, 0.3]))
def test_local_response_norm(torch, case, size, beta):
    convc.set_isa(case.isa)
    options = size, 0.5, beta, 1.5
    x = case.laid_out(case.x)
    y = convc.local_response_norm(x, *options, **case.options)
    case.check(case.first(y), reference.local_response_norm(case.x, *options))
    out = case.laid_out(np.full_like(case.x, 7))
    assert convc.local_response_norm(x, *options, **case.options, out=out) is out
    np.testing.assert_array_equal(out, y)
    if case.x.ndim > 2:  # as PyTorch wants it
        theirs = torch.from_numpy(np.float64(case.x)).requires_grad_()
        z = torch.nn.functional.local_response_norm(theirs, *options)
        z.backward(torch.from_numpy(np.float64(case.grad)))
        case.check(case.first(y), z.detach().numpy())
        grad_x = convc.local_response_norm_backward(case.laid_out(case.grad), x, *options, **case.options)
        case.check(case.first(grad_x), theirs.grad.numpy())


# ---- gradients by central differences


def normal(*shape):
    return np.random.default_rng(sum(shape)).standard_normal(shape)


def training(x, weight, bias, layout=None):
    return convc.batch_norm(x, None, None, weight, bias, True, layout=layout, return_statistics=True)


@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
def test_gradients(layout):
    x = normal(3, 4, 2, 3) if layout == "NCHW" else normal(3, 2, 3, 4)
    arrays = [x, normal(4), normal(4)]
    _, mean, inv_std = training(*arrays, layout)
    check(
        lambda *a: training(*a, layout)[0],
        arrays,
        lambda g: convc.batch_norm_backward(g, x, mean, inv_std, arrays[1], True, layout=layout),
    )
    running = normal(4), np.abs(normal(4))
    _, mean, inv_std = convc.batch_norm(x, *running, *arrays[1:], layout=layout, return_statistics=True)
    check(
        lambda x, w, b: convc.batch_norm(x, *running, w, b, layout=layout),
        arrays,
        lambda g: convc.batch_norm_backward(g, x, mean, inv_std, arrays[1], layout=layout),
    )
    _, mean, inv_std = convc.group_norm(x, 2, *arrays[1:], layout=layout, return_statistics=True)
    check(
        lambda x, w, b: convc.group_norm(x, 2, w, b, layout=layout),
        arrays,
        lambda g: convc.group_norm_backward(g, x, 2, mean, inv_std, arrays[1], layout=layout),
    )
    affine = normal(*x.shape[2:]), normal(*x.shape[2:])
    _, mean, inv_std = convc.layer_norm(x, x.shape[2:], *affine, return_statistics=True)
    check(
        lambda x, w, b: convc.layer_norm(x, x.shape[2:], w, b),
        [x, *affine],
        lambda g: convc.layer_norm_backward(g, x, x.shape[2:], mean, inv_std, affine[0]),
    )
    for size, beta in ((2, 0.75), (3, 0.6), (9, 0.75)):
        check(
            lambda x, s=size, b=beta: convc.local_response_norm(x, s, 0.5, b, 1.5, layout=layout),
            [x],
            lambda g, s=size, b=beta: [convc.local_response_norm_backward(g, x, s, 0.5, b, 1.5, layout=layout)],
        )


@pytest.mark.parametrize("needs", [(), ("x",), ("weight",), ("bias", "x"), ("weight", "bias")])
def test_gradients_that_are_not_needed(needs):
    x, grad, weight = normal(4, 6, 5), normal(4, 6, 5), normal(6)
    _, mean, inv_std = training(x, weight, None)
    _, row_mean, row_std = convc.layer_norm(x, 5, return_statistics=True)
    _, group_mean, group_std = convc.group_norm(x, 3, return_statistics=True)
    for function in (
        lambda **n: convc.batch_norm_backward(grad, x, mean, inv_std, weight, True, **n),
        lambda **n: convc.batch_norm_backward(grad, x, mean, inv_std, weight, False, **n),
        lambda **n: convc.group_norm_backward(grad, x, 3, group_mean, group_std, weight, **n),
        lambda **n: convc.layer_norm_backward(grad, x, 5, row_mean, row_std, weight[:5], **n),
    ):
        everything = dict(zip(("x", "weight", "bias"), function(), strict=True))
        for key, value in zip(everything, function(needs=needs), strict=True):
            assert (value is not None) == (key in needs)
            assert value is None or np.array_equal(value, everything[key])


# ---- numbers


@pytest.mark.parametrize("isa", convc.cpu_info()["available_isas"])
@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
@pytest.mark.parametrize("size", [7, 60])
def test_means_far_from_zero(size, layout, isa):
    """float32 in, and nothing is lost: 1e4 and a deviation of 1 leave each number 10 bits behind the point."""
    convc.set_isa(isa)
    x = (1e4 + normal(4, 8, size, size)).astype(np.float32)
    x = x if layout == "NCHW" else channels_last(x)
    axes = (0, 2, 3) if layout == "NCHW" else (0, 1, 2)
    exact = reference.normalise(x, axes, 1, 0, 1e-5)
    np.testing.assert_allclose(convc.batch_norm(x, None, None, training=True, layout=layout), exact, atol=4e-6)
    mean, std = reference.spread_of(x, axes, 1e-5)
    running = mean.ravel().astype(np.float32), (std**2).ravel().astype(np.float32)
    np.testing.assert_allclose(
        convc.batch_norm(x, *running, layout=layout, eps=0), (x - np.float64(running[0]).reshape(mean.shape)) / std,
        atol=4e-6,
    )  # fmt: skip
    rows = reference.normalise(x, (3,), 1, 0, 1e-5)
    np.testing.assert_allclose(convc.layer_norm(x, x.shape[3], eps=1e-5), rows, rtol=1e-5, atol=4e-6)
    grad = normal(*x.shape).astype(np.float32)
    _, mean, inv_std = convc.batch_norm(x, None, None, training=True, layout=layout, return_statistics=True)
    grads = convc.batch_norm_backward(grad, x, mean, inv_std, training=True, layout=layout)
    expected = sums(reference.normalise_backward(grad, x, axes, 1, 1e-5), axes)
    for ours, theirs in zip(grads, expected, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
@pytest.mark.parametrize("strange", [1, 17, 300, 5000])
@pytest.mark.parametrize("pixels", [16, 200, 12000])
def test_a_beginning_that_is_unlike_the_rest(pixels, strange, layout):
    """What sums are taken around at first says nothing about the numbers that follow."""
    x = (1e3 + normal(2, 3, pixels, 1)).astype(np.float32)
    x[:, :, :strange] = 0
    seen, axes = (x, (0, 2, 3)) if layout == "NCHW" else (np.ascontiguousarray(channels_last(x)), (0, 1, 2))
    y = convc.batch_norm(seen, None, None, training=True, layout=layout)
    np.testing.assert_allclose(y, reference.normalise(seen, axes, 1, 0, 1e-5), rtol=1e-4, atol=2e-5)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
def test_what_is_not_finite_stays_so(value, layout):
    x = normal(3, 4, 5, 6) if layout == "NCHW" else channels_last(normal(3, 4, 5, 6))
    at = (1, 2, 3, 4) if layout == "NCHW" else (1, 3, 4, 2)
    x[at] = value
    y = channels_first(convc.batch_norm(x, None, None, training=True, layout=layout)) if layout == "NHWC" else (
        convc.batch_norm(x, None, None, training=True)
    )  # fmt: skip
    assert np.isnan(y[:, 2]).any()
    assert np.isfinite(np.delete(y, 2, 1)).all()
    used = convc.batch_norm(x, np.zeros(4), np.ones(4), layout=layout)
    np.testing.assert_array_equal(np.isfinite(used), np.isfinite(x))
    groups = convc.group_norm(x, 2, layout=layout)
    assert np.isnan(groups[at])
    assert np.isfinite(groups[0]).all()
    assert np.isnan(convc.layer_norm(x, x.shape[-1])[at])
    response = convc.local_response_norm(x, 3, layout=layout)
    assert not np.isfinite(response[at]) or response[at] == 0
    assert np.isnan(response[at])


def test_extremes():
    huge = np.array([[1e300], [-1e300]])
    np.testing.assert_array_equal(convc.batch_norm(huge, np.zeros(1), np.ones(1), eps=0), huge)
    same = convc.batch_norm(np.full((4, 3), 7.0), None, None, training=True)
    np.testing.assert_array_equal(same, np.zeros((4, 3)))
    np.testing.assert_array_equal(convc.layer_norm(np.full((4, 1), 7.0), 1), np.zeros((4, 1)))


@pytest.mark.parametrize("isa", convc.cpu_info()["available_isas"])
@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
@pytest.mark.parametrize("size", [1e18, 3e19, 1e37])
def test_variances_beyond_float32(size, layout, isa):
    """Squares of such numbers, and sums of the largest, have no room in float32; means and deviations have."""
    convc.set_isa(isa)
    x = (size * np.random.default_rng(0).standard_normal((4, 9, 17, 20))).astype(np.float32)
    x = x if layout == "NCHW" else channels_last(x)
    axes = (0, 2, 3) if layout == "NCHW" else (0, 1, 2)
    exact = reference.normalise(x, axes, 1, 0, 1e-5)
    for seen in (x, np.asfortranarray(x)):
        y, mean, inv_std = convc.batch_norm(seen, None, None, training=True, layout=layout, return_statistics=True)
        np.testing.assert_allclose(y, exact, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(inv_std * np.float64(x).std(axes), 1, rtol=1e-6)
    np.testing.assert_allclose(convc.layer_norm(x, x.shape[3:]), reference.normalise(x, (3,), 1, 0, 1e-5), atol=1e-5)
    if size > 1e30:
        return
    grad = normal(*x.shape).astype(np.float32)
    grad_x, *_ = convc.batch_norm_backward(grad, x, mean, inv_std, training=True, layout=layout)
    expected = reference.normalise_backward(grad, x, axes, 1, 1e-5)[0]
    np.testing.assert_allclose(grad_x * size, expected * size, rtol=1e-4, atol=1e-4)


# ---- edges


def test_one_value_a_channel_cannot_train():
    """As in PyTorch."""
    for shape in ((1, 3), (1, 3, 1), (1, 3, 1, 1)):
        mean, var = np.zeros(3), np.ones(3)
        with pytest.raises(ValueError, match="x must have more than 1 value per channel in training"):
            convc.batch_norm(np.ones(shape), mean, var, training=True)
        np.testing.assert_array_equal(mean, 0)
        assert convc.batch_norm(np.ones(shape), mean, var).shape == shape


def test_empty_batch():
    x, mean, var = np.zeros((0, 4, 3)), np.full(4, 2.0), np.full(4, 3.0)
    for training in (False, True):
        y, *kept = convc.batch_norm(x, mean, var, training=training, return_statistics=True)
        grads = convc.batch_norm_backward(y, x, *kept, training=training)
        assert [a.shape for a in grads] == [x.shape, (4,), (4,)]
        assert not grads[1].any()
        assert not grads[2].any()
    np.testing.assert_array_equal([mean[0], var[0]], [2, 3])
    y, *kept = convc.group_norm(x, 2, return_statistics=True)
    assert kept[0].shape == (0, 2)
    assert not convc.group_norm_backward(y, x, 2, *kept)[1].any()
    y, *kept = convc.layer_norm(x, 3, return_statistics=True)
    grads = convc.layer_norm_backward(y, x, (3,), *kept)
    assert [a.shape for a in grads] == [x.shape, (3,), (3,)]
    assert convc.local_response_norm_backward(x, convc.local_response_norm(x, 2), 2).shape == x.shape


def test_a_failure_leaves_the_running_statistics_alone():
    x, mean, var = normal(4, 3), np.zeros(3), np.ones(3)
    for wrong in ({"weight": np.ones(2)}, {"out": np.ones((4, 2))}, {"eps": -1.0}, {"out": x}, {"out": mean}):
        with pytest.raises(ValueError, match=r"weight|out|eps"):
            convc.batch_norm(x, mean, var, training=True, **wrong)
    np.testing.assert_array_equal([mean, var], [[0] * 3, [1] * 3])
    with pytest.raises(ValueError, match="running_mean must not overlap running_var"):
        convc.batch_norm(x, mean, mean, training=True)
    with pytest.raises(ValueError, match="running_mean must be writeable"):
        convc.batch_norm(x, np.broadcast_to(0.0, 3), var, training=True)
    with pytest.raises(ValueError, match="running_mean must be given unless training"):
        convc.batch_norm(x, None, None)
    with pytest.raises(ValueError, match="running_var must be given with the other"):
        convc.batch_norm(x, mean, None, training=True)


@pytest.mark.parametrize(
    ("call", "match"),
    [
        (lambda: convc.batch_norm(np.ones(3), *np.ones((2, 3))), "x must have 2 to 5 dimensions, got 1"),
        (lambda: convc.batch_norm(np.ones((2, 0)), *np.ones((2, 0))), "x must not be empty except along its first"),
        (lambda: convc.batch_norm(np.ones((2, 3)), *np.ones((2, 3)), layout="NCW"), "layout must be 'NC' or None"),
        (lambda: convc.batch_norm(np.ones((2, 3, 4)), *np.ones((2, 3)), layout="NHWC"), "layout must be 'NCW' or"),
        (lambda: convc.batch_norm(np.ones((2, 3)), *np.ones((2, 3)), eps=np.nan), "eps must be at least 0, got"),
        (lambda: convc.group_norm(np.ones((2, 6)), 4), "num_groups 4 must divide the 6 channels of x"),
        (lambda: convc.group_norm(np.ones((2, 6)), 0), "num_groups must be at least 1, got 0"),
        (lambda: convc.layer_norm(np.ones((2, 6)), 2), "normalized_shape must be that of the last axes of x"),
        (lambda: convc.layer_norm(np.ones((2, 6)), ()), "normalized_shape must be"),
        (lambda: convc.layer_norm(np.ones((2, 0)), 0), "normalized_shape must be"),
        (lambda: convc.layer_norm(np.ones((2, 6)), 6, np.ones(5)), r"weight must have shape \(6,\)"),
        (lambda: convc.local_response_norm(np.ones((2, 6)), 0), "size must be at least 1, got 0"),
        (
            lambda: convc.batch_norm_backward(np.ones((2, 3)), np.ones((2, 3)), np.ones(2), np.ones(3)),
            r"mean must have shape \(3,\) for this x, got \(2,\)",
        ),
        (
            lambda: convc.group_norm_backward(np.ones((2, 3)), np.ones((2, 3)), 1, np.ones((2, 1)), np.ones((2, 3))),
            r"inv_std must have shape \(2, 1\)",
        ),
        (
            lambda: convc.layer_norm_backward(np.ones((2, 3)), np.ones((2, 3)), 3, np.ones(3), np.ones(2)),
            r"mean must have shape \(2,\)",
        ),
    ],
)  # fmt: skip
def test_errors_say_what_is_wrong(call, match):
    with pytest.raises(ValueError, match=f"^{match}"):
        call()


def test_statistics_are_float64():
    x = np.ones((2, 3), np.float32)
    with pytest.raises(TypeError, match="mean must be float64, got float32"):
        convc.batch_norm_backward(x, x, x[0], np.ones(3))
