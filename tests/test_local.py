"""Locally connected layers, convolution without parameter sharing: against the oracle, and against convolution."""

import numpy as np
import pytest
import reference
from hypothesis import given
from strategies import ISAS, VIEWS, integers, local_convolutions

import convc
from convc import nn


def expected(case):
    return reference.local(case.x, case.weight, case.bias, *case.geometry)


def draw_grad(case, limit=3):
    size = reference.output_size(case.x.shape[2:], case.window.kernel, *case.window.geometry)
    rng = np.random.default_rng(5)
    return integers(rng, len(case.x), case.weight.shape[1], *size, dtype=case.x.dtype, limit=limit)


@given(local_convolutions())
def test_integers_are_exact(case):
    convc.set_isa(case.isa)
    bias = None if case.bias is None else case.view(case.bias)
    y = case.function()(case.laid_out(case.x), case.view(case.weight), bias, **case.options)
    assert y.dtype == case.x.dtype
    assert y.flags.c_contiguous
    np.testing.assert_array_equal(case.first(y), expected(case))


@given(local_convolutions())
def test_out_of_any_strides(case):
    convc.set_isa(case.isa)
    y = reference.relu(expected(case)).astype(case.x.dtype)
    out = case.laid_out(np.full_like(y, np.nan))
    result = case.function()(case.laid_out(case.x), case.weight, case.bias, **case.options, activation="relu", out=out)
    assert result is out
    np.testing.assert_array_equal(case.first(out), y)
    if out.base is not None:
        assert np.isnan(out.base).sum() == out.base.size - out.size, "written beyond the view"


@given(local_convolutions())
def test_gradients_of_integers_are_exact(case):
    convc.set_isa(case.isa)
    grad = draw_grad(case)
    results = case.function("_backward")(
        case.laid_out(grad), case.laid_out(case.x), case.view(case.weight), **case.options
    )
    theirs = reference.local_backward(grad, case.x, case.weight, *case.geometry)
    for name, ours, exact in zip(("x", "weight", "bias"), (case.first(results[0]), *results[1:]), theirs, strict=True):
        assert ours.dtype == case.x.dtype
        np.testing.assert_array_equal(ours, exact, name)


@given(local_convolutions())
def test_real_numbers_are_within_the_bound(case):
    """|error| <= gamma_K * sum |x||w|, however the sum is ordered."""
    convc.set_isa(case.isa)
    rng = np.random.default_rng(1)
    x, weight = (rng.standard_normal(a.shape).astype(a.dtype) for a in (case.x, case.weight))
    bias = None if case.bias is None else rng.standard_normal(case.bias.shape).astype(x.dtype)
    y = case.first(case.function()(case.laid_out(x), weight, bias, **case.options))
    error = np.abs(y - reference.local(x, weight, bias, *case.geometry))
    size = reference.local(abs(x), abs(weight), None if bias is None else abs(bias), *case.geometry)
    # The oracle rounds, too: in float64 both sides have the bound.
    assert (error <= (1 + (x.dtype == np.float64)) * reference.gamma(case.terms, x.dtype) * size).all()


@given(local_convolutions())
def test_shared_weights_make_it_a_convolution(case):
    convc.set_isa(case.isa)
    filters = case.weight[0]
    shared = np.broadcast_to(filters, case.weight.shape)
    options = {**case.options, "layout": case.layout}
    convolve = getattr(convc, f"conv{case.spatial}d")
    y = case.function()(case.laid_out(case.x), shared, **options)
    np.testing.assert_array_equal(y, convolve(case.laid_out(case.x), filters, algorithm="direct", **options))
    grad, x = case.laid_out(draw_grad(case)), case.laid_out(case.x)
    grad_x, grad_weight, grad_bias = case.function("_backward")(grad, x, shared, **options)
    differentiate = getattr(convc, f"conv{case.spatial}d_backward")
    theirs = differentiate(grad, x, filters, algorithm="direct", **options)
    for ours, exact in zip((grad_x, grad_weight.sum(0), grad_bias.sum(0)), theirs, strict=True):
        np.testing.assert_array_equal(ours, exact)


# ---- sizes at which the work is cut in other ways ----


def by_columns(x, weight, bias, window):
    """(positions, images, taps) @ (positions, taps, k), with the columns for the gradients."""
    columns = reference.im2col(x, weight.shape[3:], *window).transpose(2, 0, 1)
    y = columns @ weight.reshape(*weight.shape[:2], -1).swapaxes(1, 2) + bias[:, None]
    return y, columns


CUTS = {
    "many images": ((300, 2, 6, 5), 5, (3, 3), 1, 1),
    "many images and taps": ((260, 23, 4, 3), 3, (3, 3), 1, 1),
    "many taps": ((2, 230, 5, 5), 4, (3, 3), 1, 0),
    "many outputs": ((40, 3, 4, 4), 900, (2, 2), 1, 0),
    "long rows": ((3, 4, 2, 70), 70, (2, 3), 1, 0),
    "one position": ((5, 7, 6, 6), 200, (6, 6), 1, 0),
    "wide kernel": ((2, 3, 9, 60), 9, (8, 40), 1, (3, 19)),
    "a channel of more taps than a block": ((2, 2, 40, 40), 3, (36, 38), 2, 1),
    "1 x 1": ((4, 50, 7, 7), 33, (1, 1), 1, 0),
    "steps beyond the kernel": ((2, 4, 19, 20), 8, (2, 3), 5, 0),
    "one channel": ((6, 1, 12, 12), 16, (5, 5), 1, 2),
}


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
@pytest.mark.parametrize("name", CUTS)
def test_cuts(name, layout, isa):
    convc.set_isa(isa)
    shape, outs, kernel, stride, padding = CUTS[name]
    padding = padding if isinstance(padding, tuple) else (padding, padding)
    window = (stride, stride), [(p, p) for p in padding], (1, 1)
    rng = np.random.default_rng(0)
    size = reference.output_size(shape[2:], kernel, *window)
    dtype = np.float64 if name == "long rows" else np.float32
    x = integers(rng, *shape, dtype=dtype, limit=2)
    weight = integers(rng, size[0] * size[1], outs, shape[1], *kernel, dtype=dtype, limit=2)
    bias, grad = (integers(rng, *s, dtype=dtype, limit=2) for s in (weight.shape[:2], (shape[0], outs, *size)))

    def laid_out(a):
        return a if layout == "NCHW" else np.ascontiguousarray(np.moveaxis(a, 1, -1))

    exact, columns = by_columns(x, weight, bias, window)
    exact = exact.transpose(1, 2, 0).reshape(grad.shape)
    y = convc.locally_connected2d(laid_out(x), weight, bias, stride, padding, layout=layout)
    np.testing.assert_array_equal(y, laid_out(exact))
    results = convc.locally_connected2d_backward(laid_out(grad), laid_out(x), weight, stride, padding, layout=layout)
    flat = np.float64(grad).reshape(shape[0], outs, -1).transpose(2, 0, 1)  # (positions, images, k)
    patches = flat @ weight.reshape(*weight.shape[:2], -1)
    grad_x = reference.col2im(patches.transpose(1, 2, 0), shape, kernel, *window)
    np.testing.assert_array_equal(results[0], laid_out(grad_x))
    np.testing.assert_array_equal(results[1], (flat.swapaxes(1, 2) @ columns).reshape(weight.shape))
    np.testing.assert_array_equal(results[2], flat.sum(1))


@pytest.mark.parametrize("view", VIEWS)
@pytest.mark.parametrize("layout", ["NCW", "NWC"])
def test_long_kernels_of_sequences(layout, view):
    """More taps in a row than a block has, in memory of every form."""
    rng = np.random.default_rng(1)
    x, weight = integers(rng, 3, 2, 1600, dtype=np.float32), integers(rng, 4, 3, 2, 1500, dtype=np.float32)
    grad, window = integers(rng, 3, 3, 4, dtype=np.float32), ((40,), [(20, 0)], (1,))
    last = layout == "NWC"
    arrays = [view(np.moveaxis(a, 1, -1)) if last else view(a) for a in (grad, x)]
    y = convc.locally_connected1d(arrays[1], view(weight), None, 40, ((20, 0),), layout=layout)
    np.testing.assert_array_equal(np.moveaxis(y, -1, 1) if last else y, reference.local(x, weight, None, *window))
    results = convc.locally_connected1d_backward(*arrays, view(weight), 40, ((20, 0),), layout=layout)
    theirs = reference.local_backward(grad, x, weight, *window)
    np.testing.assert_array_equal(np.moveaxis(results[0], -1, 1) if last else results[0], theirs[0])
    for ours, exact in zip(results[1:], theirs[1:], strict=True):
        np.testing.assert_array_equal(ours, exact)


# ---- threads, edges, errors ----


@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
@pytest.mark.parametrize("kernel", [2, 3, 9])
def test_threads_give_the_same_bits(kernel, layout):
    rng = np.random.default_rng(2)
    shape = (3, 12, 20, 17) if layout == "NCHW" else (3, 20, 17, 12)
    x = rng.standard_normal(shape).astype(np.float32)
    size = (21 - kernel) * (18 - kernel)
    weight = rng.standard_normal((size, 10, 12, kernel, kernel)).astype(np.float32)
    results = []
    for threads in (1, 2, 5):
        convc.set_num_threads(threads)
        y = convc.locally_connected2d(x, weight, layout=layout)
        results.append([y, *convc.locally_connected2d_backward(y, x, weight, layout=layout)])
    for others in results[1:]:
        for ours, theirs in zip(results[0], others, strict=True):
            assert ours.tobytes() == theirs.tobytes()


@pytest.mark.parametrize("layout", ["NCW", "NWC"])
def test_numbers_beyond_any_image(layout):
    """The first output lies in the padding, however far that reaches."""
    x = np.ones((2, 8, 24) if layout == "NCW" else (2, 24, 8), np.float32)
    for kernel, options in (
        (3, {"stride": 2**62, "padding": ((2**59, 0),)}),
        (1, {"stride": 2**62, "padding": ((2**61, 0),)}),
        (3, {"padding": ((2**60, 2**60),), "dilation": 2**60, "stride": 2**62}),
    ):
        weight = np.ones((1, 5, 8, kernel), np.float32)
        y = convc.locally_connected1d(x, weight, layout=layout, **options)
        grad_x, grad_weight, _ = convc.locally_connected1d_backward(y, x, weight, layout=layout, **options)
        reached = 8 if "dilation" in options else 0
        assert (y == reached).all()
        assert np.count_nonzero(grad_x) == (2 * 8 if reached else 0)
        assert np.count_nonzero(grad_weight) == (5 * 8 if reached else 0)


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
@pytest.mark.parametrize("activation", [None, "relu"])
def test_nan_reaches_exactly_the_outputs_that_read_it(layout, activation, isa):
    convc.set_isa(isa)
    x, weight = np.ones((2, 5, 6, 7)), np.ones((42, 9, 5, 3, 3))
    x[1, 2, 3, 4] = np.nan
    laid_out = x if layout == "NCHW" else np.moveaxis(x, 1, -1)
    y = convc.locally_connected2d(laid_out, weight, padding=1, layout=layout, activation=activation)
    touched = np.zeros((2, 9, 6, 7), bool)
    touched[1, :, 2:5, 3:6] = True
    np.testing.assert_array_equal(np.isnan(y if layout == "NCHW" else np.moveaxis(y, -1, 1)), touched)
    weight[17, 3, 4, 1, 0] = np.nan
    y = convc.locally_connected2d(np.ones_like(x), weight, padding=1)
    np.testing.assert_array_equal(np.argwhere(np.isnan(y)), [[0, 3, 2, 3], [1, 3, 2, 3]])


def test_the_layer_is_for_one_size():
    """Though another may have as many positions."""
    layer = nn.LocallyConnected2d(1, 2, (4, 5), 3, rng=0)
    assert layer(np.ones((1, 1, 4, 5), np.float32)).shape == (1, 2, 2, 3)
    for call in (layer, layer.forward):
        with pytest.raises(ValueError, match=r"for inputs of size \(4, 5\), got \(1, 5, 4\)"):
            call(np.ones((1, 1, 5, 4), np.float32))


def test_empty_batch():
    x, weight = np.zeros((0, 2, 4, 4)), np.ones((9, 3, 2, 2, 2))
    y = convc.locally_connected2d(x, weight, np.ones((9, 3)))
    assert y.shape == (0, 3, 3, 3)
    grad_x, grad_weight, grad_bias = convc.locally_connected2d_backward(y, x, weight)
    assert grad_x.shape == x.shape
    assert grad_weight.shape == weight.shape
    assert grad_bias.shape == (9, 3)
    assert not grad_weight.any()
    assert not grad_bias.any()


def test_large_sums_of_bias_gradients():
    """A plain running sum in float32 would lose the ones."""
    grad = np.ones((5000, 2, 1, 3), np.float32)
    grad[0] = 2.0**26
    x, weight = np.zeros((5000, 1, 1, 3), np.float32), np.zeros((3, 2, 1, 1, 1), np.float32)
    for layout in ("NCHW", "NHWC"):
        arrays = (grad, x) if layout == "NCHW" else (np.moveaxis(grad, 1, -1), np.moveaxis(x, 1, -1))
        _, _, grad_bias = convc.locally_connected2d_backward(*arrays, weight, layout=layout, needs=("bias",))
        assert (abs(grad_bias - (2.0**26 + 4999)) <= 64).all()


X, WEIGHT, BIAS = np.ones((2, 3, 6, 7), np.float32), np.ones((20, 4, 3, 3, 3), np.float32), np.ones((20, 4), np.float32)
LARGE = np.broadcast_to(np.float32(1), (2**31, 2**20, 3, 3, 3))
ERRORS = {
    "weight must have 20 positions on its first axis, as the output has .4, 5., got 19": {"weight": WEIGHT[1:]},
    "weight must have 20 positions .* got 0": {"weight": WEIGHT[:0]},
    "weight must have 6 positions .* .2, 3., got 20": {"stride": 2},
    "weight must have 20 positions .* got 2147483648": {"weight": LARGE, "bias": None},
    "weight must have at least 1 channel each way, got 0 out": {"weight": WEIGHT[:, :0], "bias": None},
    "weight must have 3 input channels": {"weight": WEIGHT[:, :, :2]},
    "weight must have 5 dimensions, got 4": {"weight": WEIGHT[0]},
    "x must have 4 dimensions, got 3": {"x": X[0]},
    "kernel_size must be at least 1, got 0": {"weight": WEIGHT[..., :0]},
    "bias must have shape .20, 4., got .4, 20.": {"bias": BIAS.T},
    "bias must have 2 dimensions, got 1": {"bias": BIAS[0]},
    "the output would be too large": {"padding": 2**40, "weight": WEIGHT},
    "stride 2 does not fit": {"stride": 2, "fit": "exact"},
    "layout must be 'NCHW' or 'NHWC', got 'NCW'": {"layout": "NCW"},
}


@pytest.mark.parametrize("text", ERRORS)
def test_errors_say_what_is_wrong(text):
    arguments = {"x": X, "weight": WEIGHT, "bias": BIAS, **ERRORS[text]}
    with pytest.raises(ValueError, match=f"^{text}"):
        convc.locally_connected2d(**arguments)


def test_errors_of_gradients():
    grad = np.ones((2, 4, 4, 5), np.float32)
    with pytest.raises(ValueError, match=r"^grad must have shape \(2, 4, 4, 5\), got \(2, 4, 5, 4\)"):
        convc.locally_connected2d_backward(grad.swapaxes(2, 3), X, WEIGHT)
    with pytest.raises(ValueError, match=r"^weight must have 20 positions"):
        convc.locally_connected2d_backward(grad, X, WEIGHT[:3])
    with pytest.raises(ValueError, match=r"^needs must be"):
        convc.locally_connected2d_backward(grad, X, WEIGHT, needs=("y",))
    complete = convc.locally_connected2d_backward(grad, X, WEIGHT)
    for needs in [(), ("x",), ("weight", "bias")]:
        part = convc.locally_connected2d_backward(grad, X, WEIGHT, needs=needs)
        for name, ours, whole in zip(("x", "weight", "bias"), part, complete, strict=True):
            assert np.array_equal(ours, whole) if name in needs else ours is None
