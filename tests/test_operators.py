"""Operators over any shape, plans, and calls beside each other and interrupted."""

import concurrent.futures
import copy
import pickle
import signal

import numpy as np
import pytest
from calls import BIAS, WEIGHT, WINDOW, X, call, integers, read_only, spread

import convc

# ---- operators over any shape ----


@pytest.mark.parametrize("shape", [(), (0,), (3, 0, 2), (1,), (2, 1, 3, 1, 2, 1, 2), (2,) * 9])
def test_relu_of_any_shape(shape):
    x = integers(*shape) if shape else np.float32(-1)
    for view in (x, np.transpose(x)):
        np.testing.assert_array_equal(convc.relu(view), np.maximum(view, 0))
        np.testing.assert_array_equal(convc.relu_backward(view, view), np.where(np.asarray(view) > 0, view, 0))


def test_more_axes_than_c_knows():
    """Strides that no merging of neighbours brings down to five axes: the operators copy."""
    x = integers(*(3,) * 7)[::2, ::2, ::2, ::2, ::2, ::2, ::2]
    np.testing.assert_array_equal(convc.relu(x), np.maximum(x, 0))
    np.testing.assert_array_equal(convc.relu_backward(x, x), np.maximum(x, 0))
    np.testing.assert_allclose(convc.softmax(x, 3), convc.softmax(x.copy(), 3), rtol=1e-6)
    out = np.zeros((3,) * 7, np.float32)
    assert convc.relu(x, out=out[::2, ::2, ::2, ::2, ::2, ::2, ::2]).base is out
    np.testing.assert_array_equal(out[::2, ::2, ::2, ::2, ::2, ::2, ::2], np.maximum(x, 0))
    assert np.count_nonzero(out) == np.count_nonzero(x > 0)
    with pytest.raises(ValueError, match="out must not overlap"):
        convc.relu(x, out=x.base[:2, :2, :2, :2, :2, :2, 1:])


@pytest.mark.parametrize("axis", range(-4, 4))
def test_softmax_along_any_axis(axis):
    x = integers(2, 3, 4, 5, dtype=np.float64)
    expected = np.exp(x) / np.exp(x).sum(axis, keepdims=True)
    np.testing.assert_allclose(convc.softmax(x, axis), expected, rtol=1e-12)
    grad = integers(2, 3, 4, 5, dtype=np.float64, seed=1)
    gradient = expected * (grad - (grad * expected).sum(axis, keepdims=True))
    np.testing.assert_allclose(convc.softmax_backward(grad, expected, axis), gradient, rtol=1e-12, atol=1e-13)


def test_order_of_axes_in_memory_is_kept():
    x = X.transpose(0, 2, 3, 1)
    for result in (convc.relu(x), convc.softmax(x, 1), convc.relu_backward(x, x)):
        assert result.strides == x.strides


def test_linear_over_leading_axes():
    weight, bias = integers(3, 7), BIAS[:3]
    expected = X @ weight.T + bias
    np.testing.assert_array_equal(convc.linear(X, weight, bias), expected)
    np.testing.assert_array_equal(convc.linear(X.transpose(2, 0, 1, 3), weight, bias), expected.transpose(2, 0, 1, 3))
    np.testing.assert_array_equal(convc.linear(X[0, 0, 0], weight, bias), expected[0, 0, 0])
    assert convc.linear(X[:0], weight).shape == (0, 4, 6, 3)
    out = np.zeros((2, 5, 6, 3), np.float32)
    convc.linear(X, weight, bias, out=out[:, 1:])  # these leading axes are no single one
    np.testing.assert_array_equal(out[:, 1:], expected)
    grad = integers(2, 4, 6, 3)
    grad_x, grad_weight, grad_bias = convc.linear_backward(grad.transpose(2, 1, 0, 3), X.transpose(2, 1, 0, 3), weight)
    np.testing.assert_array_equal(grad_x, (grad @ weight).transpose(2, 1, 0, 3))
    np.testing.assert_array_equal(grad_weight, np.einsum("abco,abci->oi", grad, X))
    np.testing.assert_array_equal(grad_bias, grad.sum((0, 1, 2)))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_cross_entropy_reductions(dtype):
    logits, target = integers(5, 4, dtype=dtype), np.array([0, 3, 1, 2, 2])
    each = convc.cross_entropy(logits, target, reduction="none")
    assert each.dtype == dtype
    assert convc.cross_entropy(logits, target) == pytest.approx(each.mean(), rel=1e-6)
    assert convc.cross_entropy(logits, target, reduction="sum") == pytest.approx(each.sum(), rel=1e-6)
    assert type(convc.cross_entropy(logits, target)) is float
    plain = convc.cross_entropy_backward(logits, target, reduction="sum")
    np.testing.assert_allclose(convc.cross_entropy_backward(logits, target), plain / 5, rtol=1e-6, atol=1e-7)
    np.testing.assert_allclose(
        convc.cross_entropy_backward(logits, target, 10, reduction="none"), plain * 10, rtol=1e-6
    )
    each_grad = np.arange(5, dtype=dtype)
    scaled = convc.cross_entropy_backward(logits, target, each_grad, reduction="none")
    np.testing.assert_allclose(scaled, plain * each_grad[:, None], rtol=1e-6, atol=1e-7)
    assert np.isnan(convc.cross_entropy(logits[:0], target[:0]))
    assert convc.cross_entropy(logits[:0], target[:0], reduction="sum") == 0
    assert convc.cross_entropy_backward(logits[:0], target[:0]).shape == (0, 4)


def test_gradients_that_are_not_needed():
    for name in ("conv2d_backward", "locally_connected2d_backward", "linear_backward"):
        everything = dict(zip(("x", "weight", "bias"), call(name), strict=True))
        for needs in ((), ("x",), ["weight"], ("bias", "x"), ("weight", "bias")):
            some = dict(zip(("x", "weight", "bias"), call(name, needs=needs), strict=True))
            for key, value in some.items():
                assert (value is not None) == (key in needs)
                assert value is None or np.array_equal(value, everything[key])


# ---- plans ----


def test_plan():
    weight, bias = WEIGHT.copy(), BIAS.copy()
    plan = convc.prepare(weight, bias, X.shape, **WINDOW, groups=2, activation="relu")
    expected = convc.conv2d(X, weight, bias, **WINDOW, groups=2, activation="relu")
    weight[...] = bias[...] = 99
    np.testing.assert_array_equal(plan(X), expected)
    np.testing.assert_array_equal(plan(spread(X)), expected)
    np.testing.assert_array_equal(plan(X[:1]), expected[:1])
    np.testing.assert_array_equal(plan(np.concatenate([X, X, X])), np.concatenate([expected] * 3))
    assert plan(X[:0]).shape == (0, *expected.shape[1:])
    out = np.empty_like(expected)
    assert plan(X, out=out) is out
    np.testing.assert_array_equal(out, expected)
    assert plan.input_shape == X.shape
    assert plan.output_shape == expected.shape
    assert (plan.layout, plan.dtype) == ("NCHW", np.float32)
    assert repr(plan) == f"<convc.Plan {X.shape} -> {expected.shape}, NCHW, float32>"


def test_plan_refuses():
    plan = convc.prepare(WEIGHT, None, X.shape, groups=2)
    with pytest.raises(ValueError, match=r"x must have shape \(2, 4, 6, 7\) up to the batch, got \(2, 4, 7, 6\)"):
        plan(X.transpose(0, 1, 3, 2))
    with pytest.raises(ValueError, match="x must have 4 dimensions"):
        plan(X[0])
    with pytest.raises(TypeError, match="x must be float32 as the plan is, got float64"):
        plan(X.astype(np.float64))
    with pytest.raises(ValueError, match=r"out must have shape \(2, 8, 4, 6\)"):
        plan(X, out=np.empty((1, 8, 4, 6), np.float32))
    with pytest.raises(ValueError, match="out must be writeable"):
        plan(X, out=read_only(plan(X)))
    with pytest.raises(AttributeError):
        plan.layout = "NHWC"
    for make in (convc.Plan, lambda: convc.Plan.__new__(convc.Plan)(X)):
        with pytest.raises(TypeError, match=r"convc\.prepare"):
            make()
    for duplicate in (pickle.dumps, copy.copy, copy.deepcopy):
        with pytest.raises(TypeError, match="cannot be pickled"):
            duplicate(plan)


# ---- threads and signals ----


def test_many_threads_at_once():
    plan = convc.prepare(WEIGHT, BIAS, X.shape, groups=2)
    images = [integers(2, 4, 6, 7, seed=seed) for seed in range(16)]
    expected = [convc.conv2d(image, WEIGHT, BIAS, groups=2) for image in images]

    def work(i):
        for _ in range(50):
            np.testing.assert_array_equal(plan(images[i]), expected[i])
            np.testing.assert_array_equal(convc.conv2d(images[i], WEIGHT, BIAS, groups=2), expected[i])
            with pytest.raises(ValueError, match=f"stride must be at least 1, got {-i} "):
                convc.conv2d(images[i], WEIGHT, groups=2, stride=-i)

    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        list(pool.map(work, range(16)))


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="no timers that send signals")
def test_ctrl_c_is_answered():
    """The handler's exception comes out before the work is done: that would take seconds."""

    class Rang(Exception):
        pass

    def ring(number, frame):
        raise Rang

    x, weight = np.broadcast_to(np.float32(1), (1, 256, 256, 256)), np.broadcast_to(np.float32(1), (64, 256, 31, 31))
    out = np.full((1, 64, 226, 226), np.nan, np.float32)
    before = signal.signal(signal.SIGALRM, ring)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.3)
        with pytest.raises(Rang):
            convc.conv2d(x, weight, out=out)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert np.isnan(out).any()
    assert convc.conv2d(X, WEIGHT, groups=2).shape == (2, 8, 4, 6)
