"""Numbers at the edges: NaN, infinities, denormals, and the caller's floating-point state."""

import numpy as np
import pytest
import reference
from strategies import ISAS

import convc

DTYPES = [np.float32, np.float64]
CONVOLUTIONS = {
    "gemm": {"channels": 8, "outs": 24, "groups": 1},
    "few outputs": {"channels": 8, "outs": 3, "groups": 1},
    "depthwise": {"channels": 12, "outs": 12, "groups": 12},
    "grouped": {"channels": 12, "outs": 36, "groups": 3},
}


def arrays(form, dtype, layout, seed=21):
    rng = np.random.default_rng(seed)
    f = CONVOLUTIONS[form]
    x = rng.standard_normal((1, f["channels"], 11, 13)).astype(dtype)
    weight = rng.standard_normal((f["outs"], f["channels"] // f["groups"], 3, 3)).astype(dtype)
    options = {"padding": 1, "groups": f["groups"], "layout": layout}
    return x, weight, options


def convolve(x, weight, options, **more):
    laid_out = x if options["layout"] == "NCHW" else np.ascontiguousarray(np.moveaxis(x, 1, -1))
    y = convc.conv2d(laid_out, weight, **options, **more)
    return y if options["layout"] == "NCHW" else np.moveaxis(y, -1, 1)


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("form", CONVOLUTIONS)
@pytest.mark.parametrize("activation", [None, "relu"])
def test_nan_reaches_exactly_the_outputs_that_read_it(form, dtype, layout, isa, activation):
    convc.set_isa(isa)
    x, weight, options = arrays(form, dtype, layout)
    x[0, 5, 4, 6] = np.nan
    y = convolve(x, weight, options, activation=activation)
    touched = np.zeros(y.shape, bool)
    per_group, outs_per_group = x.shape[1] // options["groups"], len(weight) // options["groups"]
    group = 5 // per_group
    touched[:, group * outs_per_group : (group + 1) * outs_per_group, 3:6, 5:8] = True
    np.testing.assert_array_equal(np.isnan(y), touched)


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("form", CONVOLUTIONS)
def test_infinity_times_zero_is_nan(form, isa):
    convc.set_isa(isa)
    x, weight, options = arrays(form, np.float32, "NCHW")
    x[0, 5, 4, 6] = np.inf
    weight[...] = abs(weight)
    weight[:, :, 1, 1] = 0
    y = convolve(x, weight, options)
    outs = np.isnan(y[0, :, 4, 6])
    assert outs.any()
    assert np.isposinf(y[0, outs, 3, 5]).all()
    assert np.isfinite(y[0, :, 0, 0]).all()


@pytest.mark.parametrize("dtype", DTYPES)
def test_nan_in_gradients(dtype):
    x, weight, options = arrays("gemm", dtype, "NCHW")
    grad = np.ones((1, 24, 11, 13), dtype)
    grad[0, 7, 4, 6] = np.nan
    grad_x, grad_weight, grad_bias = convc.conv2d_backward(grad, x, weight, **options)
    assert np.isnan(grad_x[0, :, 3:6, 5:8]).all()
    assert np.isfinite(grad_x[0, :, :3]).all()
    assert np.isnan(grad_weight[7]).all()
    assert np.isfinite(np.delete(grad_weight, 7, 0)).all()
    assert np.isnan(grad_bias[7])
    assert np.isfinite(np.delete(grad_bias, 7)).all()


def test_nan_elsewhere():
    nan = np.array([[1.0, np.nan, -2.0]])
    assert np.isnan(convc.relu(nan)).sum() == 1
    assert np.isnan(convc.softmax(nan)).all()
    assert np.isnan(convc.cross_entropy(nan, np.array([0])))
    assert np.isnan(convc.linear(nan, np.ones((4, 3)))).all()
    assert np.isnan(convc.linear(nan, np.ones((4, 3)), activation="relu")).all()
    assert np.isnan(convc.gemm(nan, np.ones((3, 2)))).all()


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("form", CONVOLUTIONS)
def test_denormals_are_numbers(form, dtype, isa):
    """Neither flushed to zero, nor is the caller's floating-point state changed."""
    convc.set_isa(isa)
    tiny = np.finfo(dtype).smallest_subnormal
    x, weight, options = arrays(form, dtype, "NCHW")
    rng = np.random.default_rng(22)
    whole_x, whole_weight = (rng.integers(-3, 4, a.shape).astype(dtype) for a in (x, weight))
    y = convolve(whole_x * tiny, whole_weight, options)
    np.testing.assert_array_equal(y, convolve(whole_x, whole_weight, options) * tiny)
    assert y.any()
    assert dtype(tiny) / dtype(1) == tiny
    assert np.float64(5e-324) * 1.0 == 5e-324


@pytest.mark.parametrize("isa", ISAS)
def test_signed_zero_and_order_of_relu(isa):
    convc.set_isa(isa)
    x = np.array([-0.0, 0.0, -1.0, 1.0] * 10, np.float32)
    y = convc.relu(x)
    np.testing.assert_array_equal(y, np.maximum(x, 0))


@pytest.mark.parametrize("dtype", DTYPES)
def test_large_sums_of_bias_gradients(dtype):
    """Millions of ones beside one large number: a plain running sum in float32 would not see them."""
    grad = np.ones((4, 2, 1024, 512), dtype)
    grad[0, 0, 0, 0] = 2.0**26
    x, weight = np.zeros((4, 1, 1024, 512), dtype), np.zeros((2, 1, 1, 1), dtype)
    _, _, grad_bias = convc.conv2d_backward(grad, x, weight, needs=("bias",))
    exact = np.array([2.0**26 + 4 * 1024 * 512 - 1, 4 * 1024 * 512])
    assert (abs(grad_bias - exact) <= reference.gamma(64, dtype) * exact).all()
