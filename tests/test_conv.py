"""Convolution against the oracle and PyTorch: exact on integers, within the bound on real numbers."""

import numpy as np
import pytest
import reference
from hypothesis import given
from strategies import Convolution, convolutions, torch_conv

import convc


def expected(case: Convolution):
    return reference.conv(case.x, case.weight, case.bias, *case.geometry)


@given(convolutions())
def test_integers_are_exact(case):
    convc.set_isa(case.isa)
    bias = None if case.bias is None else case.view(case.bias)
    y = case.function()(case.laid_out(case.x), case.view(case.weight), bias, **case.options)
    assert y.dtype == case.x.dtype
    assert y.flags.c_contiguous
    np.testing.assert_array_equal(case.first(y), expected(case))


@given(convolutions())
def test_out_of_any_strides(case):
    convc.set_isa(case.isa)
    y = reference.relu(expected(case)).astype(case.x.dtype)
    out = case.laid_out(np.full_like(y, np.nan))
    result = case.function()(case.laid_out(case.x), case.weight, case.bias, **case.options, activation="relu", out=out)
    assert result is out
    np.testing.assert_array_equal(case.first(out), y)
    if out.base is not None:
        assert np.isnan(out.base).sum() == out.base.size - out.size, "written beyond the view"


@given(convolutions())
def test_real_numbers_are_within_the_bound(case):
    """|error| <= gamma_K * sum |x||w|, however the sum is ordered."""
    convc.set_isa(case.isa)
    rng = np.random.default_rng(1)
    x, weight = (rng.standard_normal(a.shape).astype(a.dtype) for a in (case.x, case.weight))
    bias = None if case.bias is None else rng.standard_normal(case.bias.shape).astype(x.dtype)
    y = case.first(case.function()(case.laid_out(x), weight, bias, **case.options))
    error = np.abs(y - reference.conv(x, weight, bias, *case.geometry))
    size = reference.conv(abs(x), abs(weight), None if bias is None else abs(bias), *case.geometry)
    # The oracle rounds, too: in float64 both sides have the bound.
    assert (error <= (1 + (x.dtype == np.float64)) * reference.gamma(case.terms, x.dtype) * size).all()


@given(convolutions())
def test_pytorch_agrees(torch, case):
    convc.set_isa(case.isa)
    rng = np.random.default_rng(2)
    x, weight = rng.standard_normal(case.x.shape), rng.standard_normal(case.weight.shape)
    y = case.function()(case.laid_out(x), weight, **case.options)
    theirs = torch_conv(torch, case, torch.from_numpy(x), torch.from_numpy(weight))
    np.testing.assert_allclose(case.first(y), theirs.numpy(), rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
@pytest.mark.parametrize("channels", [1, 3, 16, 64])
@pytest.mark.parametrize("size", [1, 7, 14, 33, 56])
def test_shapes_of_networks(channels, size, layout):
    """Sizes at which blocks, panels and edges change, larger than what hypothesis draws."""
    rng = np.random.default_rng(3)
    x = rng.integers(-2, 3, (2, channels, size, size)).astype(np.float32)
    weight = rng.integers(-2, 3, (2 * channels + 1, channels, 3, 3)).astype(np.float32)
    laid_out = x if layout == "NCHW" else np.ascontiguousarray(np.moveaxis(x, 1, -1))
    y = convc.conv2d(laid_out, weight, padding=1, layout=layout, algorithm="direct")
    columns = reference.im2col(x, (3, 3), (1, 1), [(1, 1), (1, 1)], (1, 1))
    expected = (weight.reshape(len(weight), -1) @ columns).reshape(2, -1, size, size)
    np.testing.assert_array_equal(y if layout == "NCHW" else np.moveaxis(y, -1, 1), expected)


def test_long_sums_are_split_the_same_way_everywhere():
    """A deep reduction over few outputs is cut into parts; integers stay exact."""
    rng = np.random.default_rng(4)
    x, weight = (rng.integers(-1, 2, (n, 3000, 3, 3)).astype(np.float32) for n in (1, 5))
    expected = np.tensordot(np.float64(x), np.float64(weight), ((1, 2, 3), (1, 2, 3)))
    np.testing.assert_array_equal(convc.conv2d(x, weight, algorithm="direct").reshape(1, 5), expected)


@pytest.mark.parametrize("layout", ["NCDHW", "NDHWC"])
@pytest.mark.parametrize(("stride", "padding"), [(1, (0, 2)), (2, (0, 3)), (1, (1, 0))])
def test_depthwise_planes_outside_the_image(stride, padding, layout):
    """Padding in depth only, where the kernel is flat."""
    rng = np.random.default_rng(8)
    x, weight = (rng.integers(-3, 4, shape).astype(np.float32) for shape in ((2, 20, 5, 9, 40), (20, 1, 1, 3, 3)))
    window = (stride, 1, 1), (padding, (1, 1), (1, 1)), (1, 1, 1)
    expected = reference.conv(x, weight, None, *window, 20)
    laid_out = x if layout == "NCDHW" else np.ascontiguousarray(np.moveaxis(x, 1, -1))
    y = convc.conv3d(laid_out, weight, None, *window, 20, layout=layout)
    np.testing.assert_array_equal(y if layout == "NCDHW" else np.moveaxis(y, -1, 1), expected)


def test_depthwise_gradients_of_strided_volumes():
    rng = np.random.default_rng(9)
    shapes = (2, 4, 5, 9, 40), (4, 1, 2, 3, 3), (2, 4, 2, 9, 40)
    x, weight, grad = (rng.integers(-3, 4, shape).astype(np.float32) for shape in shapes)
    window = (2, 1, 1), ((0, 0), (1, 1), (1, 1)), (1, 1, 1)
    expected, _, _ = reference.conv_backward(grad, x, weight, *window, 4)
    result, _, _ = convc.conv3d_backward(grad, x, weight, *window, 4)
    np.testing.assert_array_equal(result, expected)


@pytest.mark.parametrize("layout", ["NCW", "NWC"])
@pytest.mark.parametrize(
    ("kernel", "options"),
    [
        (3, {"stride": 2**62, "padding": ((2**59, 0),)}),
        (1, {"stride": 2**62, "padding": ((2**61, 0),)}),
        (1, {"padding": ((3, 0),), "dilation": 2**63 - 1}),
    ],
)
@pytest.mark.parametrize("groups", [1, 8])
def test_numbers_beyond_any_image(kernel, options, groups, layout):
    """The first output lies in the padding, however far that reaches."""
    x, weight = np.ones((1, 8, 24), np.float32), np.ones((24, 8 // groups, kernel), np.float32)
    laid_out = x if layout == "NCW" else np.ascontiguousarray(np.moveaxis(x, 1, -1))
    y = convc.conv1d(laid_out, weight, groups=groups, layout=layout, **options)
    y = y if layout == "NCW" else np.moveaxis(y, -1, 1)
    assert not y[:, :, :1].any()
    assert (y[:, :, 3:] == 8 // groups).all()


def test_empty_batch():
    y = convc.conv2d(np.zeros((0, 3, 8, 8), np.float32), np.zeros((4, 3, 3, 3), np.float32), padding=1)
    assert y.shape == (0, 4, 8, 8)
    assert y.dtype == np.float32


def test_exact_fit_is_the_textbook_rule():
    x, weight = np.ones((1, 1, 7, 7)), np.ones((1, 1, 3, 3))
    assert convc.conv2d(x, weight, stride=2, fit="exact").shape == (1, 1, 3, 3)
    with pytest.raises(ValueError, match=r"stride 3 does not fit.*fit"):
        convc.conv2d(x, weight, stride=3, fit="exact")
    assert convc.conv2d(x, weight, stride=3).shape == (1, 1, 2, 2)
