"""Max pooling, its indices and its gradient."""

import numpy as np
import pytest
import reference
from hypothesis import assume, given
from strategies import channels_first, channels_last, integers, pools

import convc


def expected(case):
    return reference.max_pool(case.x, case.window.kernel, *case.window.geometry, case.fit)


@given(pools())
def test_values(case):
    convc.set_isa(case.isa)
    y = case.function()(case.laid_out(case.x), **case.arguments)
    assert y.dtype == case.x.dtype
    np.testing.assert_array_equal(case.first(y), expected(case)[0])


@given(pools())
def test_indices(case):
    convc.set_isa(case.isa)
    y, indices = case.function()(case.laid_out(case.x), **case.arguments, return_indices=True)
    assert indices.dtype == np.int64
    values, places = expected(case)
    np.testing.assert_array_equal(case.first(y), values)
    np.testing.assert_array_equal(case.first(indices)[places >= 0], places[places >= 0])
    assert indices.min() >= 0
    assert indices.max() < np.prod(case.x.shape[2:])


@given(pools())
def test_out_of_any_strides(case):
    convc.set_isa(case.isa)
    values = expected(case)[0].astype(case.x.dtype)
    out = case.laid_out(np.full_like(values, 77))
    assert case.function()(case.laid_out(case.x), **case.arguments, out=out) is out
    np.testing.assert_array_equal(case.first(out), values)


@given(pools())
def test_gradient(case):
    convc.set_isa(case.isa)
    places = np.maximum(expected(case)[1], 0)
    grad = integers(np.random.default_rng(9), *places.shape, dtype=case.x.dtype)
    grad_x = case.function("_backward")(
        case.laid_out(grad), case.laid_out(places), case.laid_out(case.x).shape, layout=case.layout
    )
    assert grad_x.dtype == grad.dtype
    np.testing.assert_array_equal(case.first(grad_x), reference.max_pool_backward(grad, places, case.x.shape))


@given(pools())
def test_pytorch_agrees(torch, case):
    """Values and indices, also where windows hold several maxima or NaN."""
    convc.set_isa(case.isa)
    # PyTorch wants padding of half the kernel at most, and gives windows that miss the image indices outside it.
    assume(all(before <= k // 2 for (before, _), k in zip(case.window.padding, case.window.kernel, strict=True)))
    assume((expected(case)[1] >= 0).all())
    a = case.arguments
    function = getattr(torch.nn.functional, f"max_pool{case.window.spatial}d")
    theirs, places = function(
        torch.from_numpy(case.x), a["kernel_size"], a["stride"], a["padding"], a["dilation"], case.fit == "ceil", True
    )
    y, indices = case.function()(case.laid_out(case.x), **a, return_indices=True)
    np.testing.assert_array_equal(case.first(y), theirs.numpy())
    np.testing.assert_array_equal(case.first(indices), places.numpy())


@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
@pytest.mark.parametrize(("kernel", "stride", "padding"), [(2, 2, 0), (3, 2, 1), (3, 1, 1), (5, 3, 2), (13, 1, 6)])
def test_shapes_of_networks(kernel, stride, padding, layout):
    """Many rows and tasks."""
    x = np.random.default_rng(10).standard_normal((2, 32, 57, 113)).astype(np.float32)
    laid_out = x if layout == "NCHW" else np.ascontiguousarray(np.moveaxis(x, 1, -1))
    y, indices = convc.max_pool2d(laid_out, kernel, stride, padding, layout=layout, return_indices=True)
    if layout == "NHWC":
        y, indices = np.moveaxis(y, -1, 1), np.moveaxis(indices, -1, 1)
    padded = reference.pad(x, [(padding, padding)] * 2, -np.inf)
    seen = np.lib.stride_tricks.sliding_window_view(padded, (kernel, kernel), (2, 3))[:, :, ::stride, ::stride]
    np.testing.assert_array_equal(y, seen.max((4, 5)))
    np.testing.assert_array_equal(
        np.take_along_axis(x.reshape(2, 32, -1), indices.reshape(2, 32, -1), 2), y.reshape(2, 32, -1)
    )


@pytest.mark.parametrize("layout", ["NCW", "NWC"])
@pytest.mark.parametrize(("kernel", "stride", "padding"), [(3, 2, 1), (3, 1, 1), (5, 3, 0)])
@pytest.mark.parametrize("width", [5000, 100_000])
def test_rows_longer_than_a_line(width, kernel, stride, padding, layout):
    """They are worked through in strips that begin in the middle of a row."""
    x = np.random.default_rng(6).standard_normal((1, 2, width)).astype(np.float32)
    laid_out = x if layout == "NCW" else np.ascontiguousarray(np.moveaxis(x, 1, -1))
    padded = np.pad(x, ((0, 0), (0, 0), (padding, padding)), constant_values=-np.inf)
    windows = np.lib.stride_tricks.sliding_window_view(padded, kernel, -1)[:, :, ::stride]
    y, indices = convc.max_pool1d(laid_out, kernel, stride, padding, layout=layout, return_indices=True)
    alone = convc.max_pool1d(laid_out, kernel, stride, padding, layout=layout)
    y, indices, alone = (a if layout == "NCW" else np.moveaxis(a, -1, 1) for a in (y, indices, alone))
    np.testing.assert_array_equal(y, windows.max(-1))
    np.testing.assert_array_equal(alone, y)
    np.testing.assert_array_equal(indices, windows.argmax(-1) + np.arange(y.shape[-1]) * stride - padding)


@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
@pytest.mark.parametrize("reach", [2**24, 2**59, 2**60])
def test_indices_of_windows_with_huge_dilation(reach, layout):
    """Only the middle tap meets the image, however far the others are."""
    x = np.random.default_rng(7).standard_normal((1, 8, 8, 8)).astype(np.float32)
    y, indices = convc.max_pool2d(x, (3, 1), 1, (reach, 0), (reach, 1), layout=layout, return_indices=True)
    np.testing.assert_array_equal(y, x)
    flat = np.arange(64).reshape(8, 8)
    np.testing.assert_array_equal(indices[0, 0] if layout == "NCHW" else indices[0, ..., 0], flat)


def test_stride_is_the_kernel_by_default():
    assert convc.max_pool2d(np.zeros((1, 1, 9, 8)), (3, 2)).shape == (1, 1, 3, 4)


def test_ceil_keeps_no_window_that_starts_in_the_padding_behind():
    assert convc.max_pool1d(np.zeros((1, 1, 4)), 2, 3, padding=1, fit="ceil").shape == (1, 1, 2)
    assert convc.max_pool1d(np.zeros((1, 1, 6)), 3, 2, fit="ceil").shape == (1, 1, 3)


def test_the_only_window_may_stick_out_by_less_than_a_stride():
    x = np.array([[[3.0, 1.0, 2.0]]])
    y, indices = convc.max_pool1d(x, 4, 6, 0, 1, fit="ceil", return_indices=True)
    assert (y.tolist(), indices.tolist()) == ([[[3]]], [[[0]]])
    np.testing.assert_array_equal(convc.avg_pool1d(x, 4, 6, fit="ceil"), [[[2]]])
    assert convc.max_pool1d(x, 2**62, fit="ceil").shape == (1, 1, 1)
    for stride, fit, end in ((1, "ceil", ", by a stride or more"), (6, "floor", ""), (6, "exact", "")):
        with pytest.raises(ValueError, match=f"kernel_size 4 .* is larger than the padded input, 3 in .* 0{end}$"):
            convc.max_pool1d(x, 4, stride, fit=fit)


def test_overlapping_windows_add_their_gradients():
    x = np.array([[[0.0, 5.0, 0.0, 0.0]]])
    _, indices = convc.max_pool1d(x, 2, 1, return_indices=True)
    grad_x = convc.max_pool1d_backward(np.array([[[1.0, 2.0, 4.0]]]), indices, x.shape)
    np.testing.assert_array_equal(grad_x, [[[0, 3, 4, 0]]])


def test_empty_batch():
    x = np.zeros((0, 2, 4, 4), np.float32)
    y, indices = convc.max_pool2d(x, 2, return_indices=True)
    assert y.shape == indices.shape == (0, 2, 2, 2)
    assert convc.max_pool2d_backward(y, indices, x.shape).shape == x.shape


def test_gradient_of_dilated_windows_channels_last():
    """Of two rows that windows skip one between, the upper one's maximum may lie below the lower one's."""
    x = np.zeros((1, 10, 64, 256), np.float32)
    x[0] += np.array([10, 9, 9, 3, 1, 8, 2, 9, 3, 10], np.float32).reshape(-1, 1, 1)
    x[0, 1, 5, 7] = 0
    y, indices = convc.max_pool2d(x, (2, 1), 1, 0, (2, 1), layout="NHWC", return_indices=True)
    grad = np.ones_like(y)
    grad_x = convc.max_pool2d_backward(grad, indices, x.shape, layout="NHWC")
    first = [np.ascontiguousarray(channels_first(a)) for a in (grad, indices)]
    np.testing.assert_array_equal(channels_first(grad_x), convc.max_pool2d_backward(*first, (1, 256, 10, 64)))
    assert grad_x.sum() == y.size


@pytest.mark.parametrize(("kernel", "stride", "padding"), [(2, 2, 0), (3, 2, 1), (5, 1, 2), (7, 3, 0)])
def test_gradients_channels_last_in_bands_of_rows(kernel, stride, padding):
    """Large enough to be shared out by rows, where windows of neighbouring bands overlap or not; any indices."""
    rng = np.random.default_rng(kernel)
    x = rng.standard_normal((2, 61, 90, 93)).astype(np.float32)
    y, indices = convc.max_pool2d(x, kernel, stride, padding, return_indices=True)
    grad = rng.integers(-9, 10, y.shape).astype(np.float32)
    for places in (indices, rng.integers(0, 90 * 93, y.shape), indices[:, :, ::-1]):
        expected = convc.max_pool2d_backward(grad, places, x.shape)
        moved = [np.ascontiguousarray(channels_last(a)) for a in (grad, places)]
        for threads in (1, 2, 5):
            convc.set_num_threads(threads)
            got = convc.max_pool2d_backward(*moved, (2, 90, 93, 61), layout="NHWC")
            np.testing.assert_array_equal(channels_first(got), expected)
    places = np.ascontiguousarray(channels_last(indices))
    for wrong in (-1, 90 * 93):
        places[1, 3, 4, 5] = wrong
        with pytest.raises(ValueError, match=r"^indices must be from 0 to 8369, places in a channel of grad_x"):
            convc.max_pool2d_backward(moved[0], places, (2, 90, 93, 61), layout="NHWC")
