"""ReLU, softmax, cross-entropy and their gradients."""

import numpy as np
import pytest
import reference
from hypothesis import given
from hypothesis import strategies as st
from strategies import ISAS, channels_last, dtypes, integers, isas, views

import convc

shapes = st.lists(st.integers(1, 20), min_size=1, max_size=5).map(tuple)
TOLERANCE = {np.float32: 1e-6, np.float64: 1e-14}


@given(shapes, dtypes, isas, views, views)
def test_relu(shape, dtype, isa, view, view_out):
    convc.set_isa(isa)
    rng = np.random.default_rng(14)
    x = integers(rng, *shape, dtype=dtype)
    x[rng.random(shape) < 0.1] = np.nan
    x[rng.random(shape) < 0.1] = -np.inf
    out = view_out(np.empty(shape, dtype))
    np.testing.assert_array_equal(convc.relu(view(x), out=out), reference.relu(x))
    np.testing.assert_array_equal(convc.relu(view(x)), reference.relu(x))


@given(shapes, dtypes, isas, views, views)
def test_relu_backward(shape, dtype, isa, view, view_grad):
    convc.set_isa(isa)
    rng = np.random.default_rng(15)
    x, grad = integers(rng, *shape, dtype=dtype), integers(rng, *shape, dtype=dtype)
    x[rng.random(shape) < 0.1] = np.nan
    np.testing.assert_array_equal(convc.relu_backward(view_grad(grad), view(x)), np.where(x <= 0, 0, grad))


@given(shapes, st.integers(0, 4), dtypes, isas, views)
def test_softmax(shape, axis, dtype, isa, view):
    convc.set_isa(isa)
    axis %= len(shape)
    rng = np.random.default_rng(16)
    x, grad = (5 * rng.standard_normal(shape).astype(dtype) for _ in range(2))
    y = convc.softmax(view(x), axis)
    expected = reference.softmax(x, axis)
    np.testing.assert_allclose(y, expected, rtol=TOLERANCE[dtype])
    backward = convc.softmax_backward(view(grad), y, axis)
    expected = np.float64(y) * (grad - (np.float64(grad) * y).sum(axis, keepdims=True))
    np.testing.assert_allclose(backward, expected, rtol=TOLERANCE[dtype], atol=10 * TOLERANCE[dtype])


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("classes", [1, 9, 300, 700])
def test_softmax_of_maps_is_that_of_their_pixels(classes, isa):
    """Rows side by side are computed together, to the same bits as each alone; NaN stays in its row."""
    convc.set_isa(isa)
    rng = np.random.default_rng(classes)
    x, grad = (8 * rng.standard_normal((2, classes, 5, 37)).astype(np.float32) for _ in range(2))
    x[0, 0, 2, 3], x[1, -1, 4, 36] = np.nan, -np.inf
    rows, grad_rows = (np.ascontiguousarray(channels_last(a)) for a in (x, grad))
    y, expected = convc.softmax(x, 1), convc.softmax(rows, -1)
    np.testing.assert_array_equal(channels_last(y), expected)
    expected = convc.softmax_backward(grad_rows, expected, -1)
    np.testing.assert_array_equal(channels_last(convc.softmax_backward(grad, y, 1)), expected)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_softmax_of_extremes(dtype):
    x = np.array([[1e30, 0, -1e30], [-1e30, -1e30, -1e30], [np.inf, 0, 0], [np.nan, 0, 0], [-np.inf, 0, 0]], dtype)
    y = convc.softmax(x)
    np.testing.assert_allclose(y[0], [1, 0, 0])
    np.testing.assert_allclose(y[1], [1 / 3] * 3, rtol=1e-6)
    assert np.isnan(y[2]).any()  # inf - inf, as everywhere
    assert np.isnan(y[3]).all()
    np.testing.assert_allclose(y[4], [0, 0.5, 0.5])


@given(st.integers(1, 70), st.integers(1, 1500), dtypes, isas, views)
def test_cross_entropy(n, classes, dtype, isa, view):
    convc.set_isa(isa)
    rng = np.random.default_rng(17)
    logits, target = 4 * rng.standard_normal((n, classes)).astype(dtype), rng.integers(0, classes, n)
    losses = reference.cross_entropy(logits, target)
    tolerance = {"rtol": TOLERANCE[dtype], "atol": 4 * TOLERANCE[dtype]}
    np.testing.assert_allclose(convc.cross_entropy(view(logits), view(target), reduction="none"), losses, **tolerance)
    assert convc.cross_entropy(view(logits), target) == pytest.approx(losses.mean(), rel=1e-5, abs=1e-5)
    assert convc.cross_entropy(view(logits), target, reduction="sum") == pytest.approx(losses.sum(), rel=1e-5, abs=1e-5)
    gradient = reference.softmax(logits, 1)
    gradient[np.arange(n), target] -= 1
    ours = convc.cross_entropy_backward(view(logits), target, reduction="sum")
    np.testing.assert_allclose(ours, gradient, rtol=2 * TOLERANCE[dtype], atol=TOLERANCE[dtype])
    np.testing.assert_allclose(
        convc.cross_entropy_backward(view(logits), target, 3.0), ours * (3.0 / n), rtol=1e-5, atol=1e-9
    )
    weights = rng.standard_normal(n).astype(dtype)
    each = convc.cross_entropy_backward(view(logits), target, view(weights), reduction="none")
    np.testing.assert_allclose(each, ours * weights[:, None], rtol=1e-5, atol=1e-9)


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_gradients_at_nan_are_pytorchs(torch, dtype, isa):
    """They are not a clean 0 where there was no number."""
    convc.set_isa(isa)
    x, grad = np.tile(np.array([np.nan, -2, 0, 3, np.inf, -np.inf, -0.0], dtype), 7), np.arange(49).astype(dtype)
    functional, slope = torch.nn.functional, np.array([0.25], dtype)
    for forward, gradient in (
        (functional.relu, convc.relu_backward(grad, x)),
        (lambda t: functional.leaky_relu(t, 0.25), convc.leaky_relu_backward(grad, x, 0.25)),
        (lambda t: functional.prelu(t, torch.from_numpy(slope)), convc.prelu_backward(grad, x, slope, 0)[0]),
    ):
        t = torch.from_numpy(x).requires_grad_()
        forward(t).backward(torch.from_numpy(grad))
        np.testing.assert_array_equal(gradient, t.grad.numpy())


@given(st.integers(1, 30), st.integers(1, 40))
def test_pytorch_agrees(torch, n, classes):
    rng = np.random.default_rng(18)
    logits, target = rng.standard_normal((n, classes)), rng.integers(0, classes, n)
    theirs = torch.from_numpy(logits).requires_grad_()
    loss = torch.nn.functional.cross_entropy(theirs, torch.from_numpy(target))
    loss.backward()
    assert convc.cross_entropy(logits, target) == pytest.approx(loss.item(), rel=1e-13)
    np.testing.assert_allclose(
        convc.cross_entropy_backward(logits, target), theirs.grad.numpy(), rtol=1e-12, atol=1e-15
    )
