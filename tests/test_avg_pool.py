"""Average pooling, p-norms of windows, global averages, and their gradients."""

import itertools

import numpy as np
import pytest
import reference
from hypothesis import assume, given
from hypothesis import strategies as st
from strategies import ISAS, channels_last, integers, pools

import convc

LAYOUTS = ("NCHW", "NHWC")
padded_means = st.booleans()


def options(case):
    return {key: value for key, value in case.arguments.items() if key != "dilation"}


def norm_options(case):
    return {key: value for key, value in options(case).items() if key != "padding"}


def axes(case, count_include_pad=True, padding=None):
    w = case.window
    return reference.strided_windows(
        case.x.shape[2:], w.kernel, w.stride, padding or w.padding, case.fit, count_include_pad
    )


def tolerance(dtype, terms):
    return {"rtol": reference.gamma(terms, dtype), "atol": 4 * reference.gamma(terms, dtype)}


def numbers(case):
    """Of finite values only."""
    assume(np.isfinite(case.x).all())
    return case.x


def fits(case):
    return all(k <= n for k, n in zip(case.window.kernel, case.x.shape[2:], strict=True))


# ---- averages ----


@given(pools(dilated=False), padded_means)
def test_averages(case, count_include_pad):
    """Sums of integers are exact, and quotients are rounded once, so that every bit is known."""
    convc.set_isa(case.isa)
    y = case.function(name="avg_pool")(case.laid_out(case.x), **options(case), count_include_pad=count_include_pad)
    assert y.dtype == case.x.dtype
    expected = reference.avg_pool(case.x, axes(case, count_include_pad)).astype(case.x.dtype)
    np.testing.assert_array_equal(case.first(y), expected)


@given(pools(dilated=False))
def test_out_of_any_strides(case):
    convc.set_isa(case.isa)
    expected = reference.avg_pool(case.x, axes(case)).astype(case.x.dtype)
    out = case.laid_out(np.full_like(expected, 77))
    assert case.function(name="avg_pool")(case.laid_out(case.x), **options(case), out=out) is out
    np.testing.assert_array_equal(case.first(out), expected)


@given(pools(dilated=False), padded_means)
def test_gradients(case, count_include_pad):
    convc.set_isa(case.isa)
    windows = axes(case, count_include_pad)
    grad = integers(np.random.default_rng(9), *case.x.shape[:2], *map(len, windows), dtype=case.x.dtype)
    grad_x = case.function("_backward", "avg_pool")(
        case.laid_out(grad), case.laid_out(case.x).shape, **options(case), count_include_pad=count_include_pad
    )
    assert grad_x.dtype == grad.dtype
    expected = reference.avg_pool_backward(grad, case.x.shape, windows)
    np.testing.assert_allclose(case.first(grad_x), expected, **tolerance(grad.dtype, 130))


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize(("kernel", "stride"), [((2, 2), 2), ((4, 2), 1), ((2, 4), (3, 5)), ((1, 1), 1)])
def test_powers_of_two_give_exact_gradients(kernel, stride, layout, isa):
    convc.set_isa(isa)
    x_shape = (2, 19, 11, 23)
    windows = reference.strided_windows(x_shape[2:], kernel, np.broadcast_to(stride, 2), [(0, 0)] * 2)
    grad = integers(np.random.default_rng(1), *x_shape[:2], *map(len, windows), dtype=np.float32)
    expected = reference.avg_pool_backward(grad, x_shape, windows)
    if layout == "NHWC":
        grad, expected = channels_last(grad), channels_last(expected)
    np.testing.assert_array_equal(
        convc.avg_pool2d_backward(grad, expected.shape, kernel, stride, layout=layout), expected
    )


@given(pools(dilated=False), padded_means)
def test_pytorch_agrees(torch, case, count_include_pad):
    convc.set_isa(case.isa)
    assume(case.window.spatial < 3 or fits(case))  # PyTorch's, in three dimensions, needs that
    x = np.float64(numbers(case))
    a = options(case)
    t = torch.from_numpy(x).requires_grad_()
    theirs = getattr(torch.nn.functional, f"avg_pool{case.window.spatial}d")(
        t, a["kernel_size"], a["stride"], a["padding"], case.fit == "ceil", count_include_pad
    )
    y = case.function(name="avg_pool")(case.laid_out(x), **a, count_include_pad=count_include_pad)
    np.testing.assert_allclose(case.first(y), theirs.detach().numpy(), rtol=1e-13, atol=1e-13)
    grad = np.random.default_rng(2).standard_normal(theirs.shape)
    theirs.backward(torch.from_numpy(grad))
    grad_x = case.function("_backward", "avg_pool")(
        case.laid_out(grad), case.laid_out(x).shape, **a, count_include_pad=count_include_pad
    )
    np.testing.assert_allclose(case.first(grad_x), t.grad.numpy(), rtol=1e-13, atol=1e-13)


LARGE = {  # windows that are summed in other ways than small ones: in parts, in strips of rows
    "81 taps": ((2, 37, 20, 21), (9, 9), (2, 3), (4, 0)),
    "80 rows and columns": ((1, 3, 90, 41), (40, 40), (7, 1), 0),
    "a tall window": ((1, 5, 300, 9), (257, 3), (20, 1), (0, 1)),
    "a wide window": ((1, 2, 3, 700), (1, 601), (1, 13), 0),
    "wider than a line": ((1, 2, 2, 12_000), (2, 9000), (1, 500), 0),
    "long rows": ((1, 2, 3, 9001), (2, 3), 1, 1),
    "long rows of single windows": ((1, 2, 3, 9001), (2, 2), (1, 3), 0),
    "wide steps": ((1, 2, 4, 9001), (2, 2), (1, 1000), 0),
    "many short rows": ((3, 70, 14, 14), (2, 2), 2, 0),
    "many short rows, ragged": ((3, 70, 13, 9), (2, 2), (2, 3), 1),
    "many channels": ((1, 5000, 5, 4), (3, 2), 1, 1),
    "one window": ((2, 30, 7, 7), (7, 7), 1, 0),
    "one large window": ((2, 70, 31, 17), (31, 17), 5, 0),
}


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("name", LARGE)
def test_large_shapes(name, layout, isa):
    convc.set_isa(isa)
    shape, kernel, stride, padding = LARGE[name]
    x = integers(np.random.default_rng(3), *shape, dtype=np.float32)
    pads = [(p, p) for p in np.broadcast_to(padding, 2)]
    windows = reference.strided_windows(shape[2:], kernel, np.broadcast_to(stride, 2), pads, "ceil", False)
    call = {"kernel_size": kernel, "stride": stride, "padding": padding, "count_include_pad": False, "fit": "ceil"}
    expected = reference.avg_pool(x, windows)
    grad = integers(np.random.default_rng(4), *expected.shape, dtype=np.float32)
    expected_grad = reference.avg_pool_backward(grad, shape, windows)
    if layout == "NHWC":
        x, expected, grad, expected_grad = map(channels_last, (x, expected, grad, expected_grad))
    np.testing.assert_array_equal(
        convc.avg_pool2d(np.ascontiguousarray(x), **call, layout=layout), np.float32(expected)
    )
    grad_x = convc.avg_pool2d_backward(grad, x.shape, **call, layout=layout)
    np.testing.assert_allclose(grad_x, expected_grad, rtol=1e-4, atol=1e-5)


def test_partial_windows_count_no_more_than_the_padding():
    """onnxruntime 6543: means of what lies beyond it were NaN or too small; windows that begin there are dropped"""
    x = np.arange(64, dtype=np.float32).reshape(1, 1, 8, 8)
    y = convc.avg_pool2d(x, 3, (3, 4), fit="ceil", count_include_pad=False)
    np.testing.assert_array_equal(
        y, reference.avg_pool(x, reference.strided_windows((8, 8), (3, 3), (3, 4), [(0, 0)] * 2, "ceil"))
    )
    assert y.shape == (1, 1, 3, 2)
    y = convc.avg_pool1d(np.full((1, 1, 6), 6.0), 4, 3, 1, fit="ceil")  # taps -1..2, 2..5, 5..6 of which 6 is padding
    np.testing.assert_array_equal(y, [[[4.5, 6, 3]]])


def test_stride_is_the_kernel_by_default():
    assert convc.avg_pool2d(np.zeros((1, 1, 9, 8)), (3, 2)).shape == (1, 1, 3, 4)
    assert convc.lp_pool2d(np.zeros((1, 1, 9, 8)), 2, (3, 2)).shape == (1, 1, 3, 4)


def test_asymmetric_padding():
    y = convc.avg_pool1d(np.array([[[2.0, 4.0]]]), 2, 1, ((0, 1),))
    np.testing.assert_array_equal(y, [[[3, 2]]])
    np.testing.assert_array_equal(convc.avg_pool1d(np.array([[[2.0, 4.0]]]), 2, 1, "same"), y)


# ---- norms ----


@given(pools(dilated=False), st.sampled_from([1, 2, 2.0, 3, 0.5]))
def test_norms(case, p):
    convc.set_isa(case.isa)
    x = case.x if p in (1, 2) else np.abs(case.x)
    assume(fits(case))
    windows = axes(case, padding=[(0, 0)] * case.window.spatial)
    y = case.function(name="lp_pool")(case.laid_out(x), p, **norm_options(case))
    with np.errstate(invalid="ignore"):
        expected = reference.lp_pool(x, p, case.window.kernel, windows)
    np.testing.assert_allclose(case.first(y), expected, rtol=2e-5 if x.dtype == np.float32 else 1e-13)


@given(pools(dilated=False), st.sampled_from([1, 2, 3, 1.5]))
def test_gradients_of_norms(case, p):
    """Also where all of a window is 0, and where a sum is."""
    convc.set_isa(case.isa)
    assume(fits(case))
    x = numbers(case) if p in (1, 2) else np.abs(numbers(case))
    windows = axes(case, padding=[(0, 0)] * case.window.spatial)
    y = case.function(name="lp_pool")(case.laid_out(x), p, **norm_options(case))
    grad = integers(np.random.default_rng(9), *case.first(y).shape, dtype=x.dtype)
    grad_x = case.function("_backward", "lp_pool")(case.laid_out(grad), case.laid_out(x), y, p, **norm_options(case))
    expected = reference.lp_pool_backward(grad, x, p, case.window.kernel, windows)
    np.testing.assert_allclose(case.first(grad_x), expected, **tolerance(x.dtype, 400))


@given(pools(dilated=False), st.sampled_from([1, 2, 3]))
def test_pytorch_agrees_on_norms(torch, case, p):
    convc.set_isa(case.isa)
    assume(fits(case))
    x = np.float64(numbers(case))
    a = norm_options(case)
    t = torch.from_numpy(x).requires_grad_()
    theirs = getattr(torch.nn.functional, f"lp_pool{case.window.spatial}d")(
        t, p, *(v[0] if len(v) == 1 else v for v in (a["kernel_size"], a["stride"])), case.fit == "ceil"
    )
    y = case.function(name="lp_pool")(case.laid_out(x), p, **a)
    np.testing.assert_allclose(case.first(y), theirs.detach().numpy(), rtol=1e-13, atol=1e-13)
    assume(p < 3)  # a NaN of a negative sum
    grad = np.random.default_rng(2).standard_normal(theirs.shape)
    theirs.backward(torch.from_numpy(grad))
    grad_x = case.function("_backward", "lp_pool")(case.laid_out(grad), case.laid_out(x), y, p, **a)
    np.testing.assert_allclose(case.first(grad_x), t.grad.numpy(), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("p", [0, -1, np.inf, np.nan])
def test_norm_types_that_are_none(p):
    with pytest.raises(ValueError, match=r"^norm_type must be positive and finite"):
        convc.lp_pool1d(np.ones((1, 1, 4)), p, 2)


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize(("kernel", "stride"), [(2, 2), (3, 1), (5, 2)])
def test_gradient_of_norms_beside_tiny_ones(kernel, stride, isa):
    """Elements over their norm are of ordinary size, however small both are and however large the gradient."""
    convc.set_isa(isa)
    rng = np.random.default_rng(5)
    x = rng.uniform(1, 2, (1, 2, 21, 37)).astype(np.float32)
    x[..., 15:] *= np.float32(1e-24)
    y = convc.lp_pool2d(x, 2, kernel, stride)
    grad = np.full(y.shape, 1e18, np.float32)
    grad_x = convc.lp_pool2d_backward(grad, x, y, 2, kernel, stride)
    wide = convc.lp_pool2d_backward(np.float64(grad), np.float64(x), np.float64(y), 2, kernel, stride)
    np.testing.assert_allclose(grad_x, wide, rtol=1e-5)


@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
def test_infinities_between_the_windows_of_a_norm(layout):
    x = np.ones((1, 1, 2, 8), np.float32)
    x[..., 3] = np.inf
    x = x if layout == "NCHW" else np.ascontiguousarray(channels_last(x))
    y = convc.lp_pool2d(x, 2, 2, 4, layout=layout)
    grad_x = convc.lp_pool2d_backward(np.ones_like(y), x, y, 2, 2, 4, layout=layout)
    np.testing.assert_array_equal(grad_x.reshape(2, 8), [[0.5, 0.5, 0, 0, 0.5, 0.5, 0, 0]] * 2)


def test_gradient_of_norms_where_there_is_none():
    x = np.array([[[0.0, 0.0, 4.0, 0.0]]])
    for p, expected in ((0.5, [0, 0, 1, 0]), (1, [0, 0, 1, 1]), (2, [0, 0, 1, 0]), (3, [0, 0, 1, 0])):
        grad_x = convc.lp_pool1d_backward(np.ones((1, 1, 2)), x, convc.lp_pool1d(x, p, 2), p, 2)
        np.testing.assert_allclose(grad_x[0, 0], expected, rtol=1e-14)


# ---- global averages ----

IMAGES = {
    "NCW": (2, 5, 9),
    "NWC": (2, 9, 5),
    "NCHW": (2, 5, 3, 7),
    "NHWC": (2, 3, 7, 5),
    "NCDHW": (2, 5, 2, 3, 4),
    "NDHWC": (2, 2, 3, 4, 5),
}


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("layout", IMAGES)
def test_global_pools(layout, isa):
    convc.set_isa(isa)
    shape = IMAGES[layout]
    x = integers(np.random.default_rng(5), *shape, dtype=np.float32)
    space = tuple(i for i, letter in enumerate(layout) if letter not in "NC")
    grad = integers(np.random.default_rng(6), 2, 5, dtype=np.float32)
    for keepdims in (False, True):
        mean = convc.global_avg_pool(x, layout=layout, keepdims=keepdims)
        np.testing.assert_array_equal(mean, np.float32(np.float64(x).mean(space, keepdims=keepdims)))
        top, where = convc.global_max_pool(x, layout=layout, keepdims=keepdims, return_indices=True)
        np.testing.assert_array_equal(top, x.max(space, keepdims=keepdims))
        np.testing.assert_array_equal(top, convc.global_max_pool(x, layout=layout, keepdims=keepdims))
        assert where.shape == top.shape
        g = np.expand_dims(grad, space)
        given = g if keepdims else grad
        expected = np.broadcast_to(g / np.float32(x[0].size / 5), shape)
        np.testing.assert_allclose(convc.global_avg_pool_backward(given, shape, layout=layout), expected, rtol=1e-6)
        grad_x = convc.global_max_pool_backward(given, where, shape, layout=layout)
        np.testing.assert_array_equal(grad_x.sum(space), grad)
        assert ((grad_x == 0) | (x == x.max(space, keepdims=True))).all()
    if "C" in layout[1]:
        np.testing.assert_array_equal(convc.global_avg_pool(x), convc.global_avg_pool(x, layout=layout))
        np.testing.assert_array_equal(
            convc.global_max_pool_backward(grad, where.reshape(2, 5), shape),
            convc.global_max_pool_backward(grad, where, shape, layout=layout),
        )


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("size", [(1000, 1000), (1, 10**6), (7, 7), (64, 257)])
def test_large_averages_keep_their_digits(size, layout, isa):
    """The documented bound. A running sum in float32 would be far off: its terms vanish beside the sum."""
    convc.set_isa(isa)
    x = np.random.default_rng(7).uniform(0.9, 1.1, (1, 2, *size)).astype(np.float32)
    exact = np.float64(x).mean((2, 3))
    laid_out = x if layout == "NCHW" else np.ascontiguousarray(channels_last(x))
    results = [convc.global_avg_pool(laid_out, layout=layout)]
    results.append(convc.avg_pool2d(laid_out, size, layout=layout).reshape(1, 2))
    x_strided = np.empty((1, 2, size[0], 2 * size[1]), np.float32)[..., ::2] if layout == "NCHW" else laid_out
    x_strided[...] = laid_out
    results.append(convc.global_avg_pool(x_strided, layout=layout))
    for result in results:
        assert (np.abs(result - exact) <= 75 * 2.0**-24 * np.abs(exact)).all()
        assert (np.abs(result - exact) <= 8 * 2.0**-24 * np.abs(exact)).all(), "in practice"


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("kernel", [(8, 8), (31, 33), (16, 48), (65, 1), (40, 40)])
def test_bound_of_windows(kernel, layout, isa):
    convc.set_isa(isa)
    x = np.random.default_rng(8).uniform(0.9, 1.1, (1, 17, 66, 70)).astype(np.float32)
    exact = reference.avg_pool(x, reference.strided_windows(x.shape[2:], kernel, (9, 7), [(0, 0)] * 2))
    laid_out = x if layout == "NCHW" else np.ascontiguousarray(channels_last(x))
    y = convc.avg_pool2d(laid_out, kernel, (9, 7), layout=layout)
    y = y if layout == "NCHW" else np.moveaxis(y, -1, 1)
    assert (np.abs(y - exact) <= 75 * 2.0**-24 * exact).all()


# ---- all of them ----


@pytest.mark.parametrize("layout", LAYOUTS)
def test_bits_do_not_depend_on_threads(layout):
    rng = np.random.default_rng(9)
    x = rng.standard_normal((2, 67, 45, 51)).astype(np.float32)
    x = x if layout == "NCHW" else np.ascontiguousarray(channels_last(x))

    def everything():
        for kernel, stride, padding in ((3, 1, 1), (2, 2, 0), (11, 4, 5), ((45, 51), 1, 0)):
            y = convc.avg_pool2d(x, kernel, stride, padding, layout=layout)
            yield y
            yield convc.avg_pool2d_backward(y, x.shape, kernel, stride, padding, layout=layout)
            y = convc.lp_pool2d(x, 2, kernel, stride, layout=layout)
            yield y
            yield convc.lp_pool2d_backward(y, x, y, 2, kernel, stride, layout=layout)

    convc.set_num_threads(1)
    alone = [a.tobytes() for a in everything()]
    for threads in (2, 5):
        convc.set_num_threads(threads)
        assert [a.tobytes() for a in everything()] == alone


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_special_values_spread_over_their_windows_only(layout, value):
    x = np.ones((1, 40, 9, 9), np.float32)
    x[0, 3, 4, 4] = value
    x = x if layout == "NCHW" else np.ascontiguousarray(channels_last(x))
    y = convc.avg_pool2d(x, 3, 3, layout=layout)
    y = y if layout == "NCHW" else np.moveaxis(y, -1, 1)
    np.testing.assert_array_equal(y[0, 3, 1, 1], value)
    assert np.isfinite(y).sum() == y.size - 1
    np.testing.assert_array_equal(convc.global_avg_pool(x, layout=layout)[0, 3], value)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_empty_batch(layout):
    x = np.zeros((0, 4, 4, 4), np.float32)
    y = convc.avg_pool2d(x, 2, layout=layout)
    assert y.shape == (0, *((4, 2, 2) if layout == "NCHW" else (2, 2, 4)))
    assert convc.avg_pool2d_backward(y, x.shape, 2, layout=layout).shape == x.shape
    y = convc.lp_pool2d(x, 2, 2, layout=layout)
    assert convc.lp_pool2d_backward(y, x, y, 2, 2, layout=layout).shape == x.shape
    y, where = convc.global_max_pool(x, layout=layout, return_indices=True)
    assert y.shape == where.shape == convc.global_avg_pool(x, layout=layout).shape == (0, 4)
    assert convc.global_avg_pool_backward(y, x.shape, layout=layout).shape == x.shape
    assert convc.global_max_pool_backward(y, where, x.shape, layout=layout).shape == x.shape


def test_strides_of_zero_and_below():
    for wide in (np.broadcast_to(np.float32(3), (2, 3, 8, 9)), np.broadcast_to(np.arange(9.0)[::-1], (2, 3, 8, 9))):
        for kernel, layout in itertools.product(((2, 3), (8, 9)), LAYOUTS):
            np.testing.assert_array_equal(
                convc.avg_pool2d(wide, kernel, layout=layout)
                if layout == "NCHW"
                else convc.avg_pool2d(wide, 2, layout=layout),
                convc.avg_pool2d(wide.copy(), kernel, layout=layout)
                if layout == "NCHW"
                else convc.avg_pool2d(wide.copy(), 2, layout=layout),
            )
        np.testing.assert_array_equal(convc.global_avg_pool(wide), wide.mean((2, 3)))
