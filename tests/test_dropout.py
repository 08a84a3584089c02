"""Dropout as an operator, and its gradient; the layer's tests are in test_nn.py."""

import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import dtypes, integers, views

import convc

shapes = st.lists(st.integers(1, 9), min_size=1, max_size=5).map(tuple)


@given(shapes, st.sampled_from([0, 0.25, 0.5, 0.9, 1]), dtypes, views, views)
def test_dropout(shape, p, dtype, view, view_grad):
    rng = np.random.default_rng(1)
    x, grad = integers(rng, *shape, dtype=dtype), integers(rng, *shape, dtype=dtype)
    y, mask = convc.dropout(view(x), p, rng=3, return_mask=True)
    np.testing.assert_array_equal(mask, np.random.default_rng(3).random(shape, dtype=dtype) >= p)
    factor = np.multiply(mask, 1 / (1 - p) if p < 1 else 0, dtype=dtype)
    assert y.dtype == dtype
    np.testing.assert_array_equal(y, x * factor)
    np.testing.assert_array_equal(convc.dropout(x, p, rng=np.random.default_rng(3)), y)
    grad_x = convc.dropout_backward(view_grad(grad), view(mask), p)
    assert grad_x.dtype == dtype
    np.testing.assert_array_equal(grad_x, grad * factor)


@pytest.mark.parametrize("p", [0.3, 0.5])
def test_share_and_mean(p):
    y, mask = convc.dropout(np.ones((300, 400), np.float32), p, rng=0, return_mask=True)
    assert abs(1 - mask.mean() - p) < 5 * np.sqrt(p * (1 - p) / mask.size)
    assert abs(y.mean() - 1) < 0.02
    assert (convc.dropout(np.ones(100)) != convc.dropout(np.ones(100))).any()  # no seed, no repetition


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_what_is_no_number_passes_without_a_warning(dtype):
    x = np.repeat(np.array([np.nan, np.inf, -np.inf, np.finfo(dtype).max], dtype), 20).reshape(4, 20)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        y, mask = convc.dropout(x, 0.5, rng=0, return_mask=True)
        grad_x = convc.dropout_backward(x, mask, 0.5)
    np.testing.assert_array_equal(y[1:3], np.where(mask[1:3], x[1:3], np.nan))
    np.testing.assert_array_equal(y[3], np.where(mask[3], np.inf, 0))
    assert np.isnan(y[0]).all()
    np.testing.assert_array_equal(grad_x, y)


@pytest.mark.parametrize("shape", [(), (0,), (3, 0, 2), (2,) * 7])
def test_any_shape(shape):
    y, mask = convc.dropout(np.ones(shape), 0.5, rng=0, return_mask=True)
    assert y.shape == mask.shape == shape
    out = np.full(shape, 7.0)
    assert convc.dropout(np.ones(shape), 0.5, rng=0, out=out) is out
    np.testing.assert_array_equal(out, y)
    np.testing.assert_array_equal(convc.dropout_backward(np.ones(shape), mask, 0.5), y)


def test_memory_is_laid_out_as_that_of_x():
    x = np.ones((3, 4, 5)).transpose(2, 0, 1)
    assert convc.dropout(x, rng=0).strides == x.strides


X, MASK = np.ones((2, 3), np.float32), np.ones((2, 3), bool)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: convc.dropout(X, 1.5), ValueError, "p must be from 0 to 1, got 1.5"),
        (lambda: convc.dropout(X, float("nan")), ValueError, "p must be from 0 to 1, got nan"),
        (lambda: convc.dropout(X, "half"), TypeError, "p must be a number, got str"),
        (lambda: convc.dropout(X, rng="seed"), TypeError, "rng must be a numpy.random.Generator or an int .* 'seed'"),
        (lambda: convc.dropout(X, rng=-1), ValueError, "rng must be a numpy.random.Generator or an int .* got -1"),
        (lambda: convc.dropout(X, out=X), ValueError, "out must not overlap x in memory"),
        (lambda: convc.dropout(X, out=X[:1]), ValueError, r"out must have shape \(2, 3\), got \(1, 3\)"),
        (lambda: convc.dropout_backward(X, MASK, -0.1), ValueError, "p must be from 0 to 1"),
        (lambda: convc.dropout_backward(X, X), TypeError, "mask must be a NumPy array of bool, got float32"),
        (lambda: convc.dropout_backward(X, None), TypeError, "mask must be a NumPy array of bool, got NoneType"),
        (lambda: convc.dropout_backward(X, MASK[:1]), ValueError, r"mask must have shape \(2, 3\) .* got \(1, 3\)"),
    ],
)
def test_errors_say_what_is_wrong(call, error, message):
    with pytest.raises(error, match=f"^{message}"):
        call()
