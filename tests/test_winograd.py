"""Winograd's convolution: within its bounds everywhere, chosen and refused where it should be."""

import threading

import numpy as np
import pytest
import reference
from hypothesis import given
from hypothesis import strategies as st
from strategies import ISAS, LAST, VIEWS, channels_first, channels_last, dtypes, isas

import convc

BOUND = {np.float32: 1e-5, np.float64: 1e-13}
LAYOUTS = {2: ("NCHW", "NHWC"), 3: ("NCDHW", "NDHWC")}


@st.composite
def problems(draw):
    """3 x 3 over images of all sizes, also as the last two axes of volumes."""
    spatial, groups = draw(st.sampled_from([2, 2, 2, 3])), draw(st.sampled_from([1, 1, 2, 3]))
    dtype, rng = draw(dtypes), np.random.default_rng(draw(st.integers(0, 99)))
    ins, outs = draw(st.sampled_from([1, 3, 8, 16, 31, 150])), draw(st.sampled_from([1, 5, 16, 33, 70]))
    padding = [(draw(st.integers(0, 3)), draw(st.integers(0, 3))) for _ in range(2)]
    size = [draw(st.integers(max(1, 3 - sum(pad)), 70 if i else 20)) for i, pad in enumerate(padding)]
    kernel, stride, dilation = [3, 3], [1, 1], [draw(st.sampled_from([1, 1, 2, 3, 9])) for _ in range(2)]
    size = [max(n, 2 * d + 1 - sum(pad)) for n, d, pad in zip(size, dilation, padding, strict=True)]
    if spatial == 3:
        kernel.insert(0, draw(st.integers(1, 3)))
        stride.insert(0, draw(st.integers(1, 2)))
        dilation.insert(0, draw(st.integers(1, 2)))
        padding.insert(0, (draw(st.integers(0, 1)), 0))
        size.insert(0, draw(st.integers((kernel[0] - 1) * dilation[0] + 1, 6)))
        size[1] = max(size[1] // 3, 2 * dilation[1] + 1)
    return {
        "x": rng.standard_normal((draw(st.integers(1, 3)), groups * ins, *size)).astype(dtype),
        "weight": rng.standard_normal((groups * outs, ins, *kernel)).astype(dtype),
        "bias": rng.standard_normal(groups * outs).astype(dtype),
        "window": (tuple(stride), tuple(padding), tuple(dilation), groups),
        "layout": LAYOUTS[spatial][draw(st.integers(0, 1))],
        "view": draw(st.sampled_from(VIEWS)),
        "isa": draw(isas),
    }


def laid_out(problem, a):
    return problem["view"](channels_last(a) if problem["layout"] in LAST else a)


def first(problem, a):
    return channels_first(a) if problem["layout"] in LAST else a


def options(problem):
    stride, padding, dilation, groups = problem["window"]
    form = {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups}
    return {**form, "layout": problem["layout"], "algorithm": "winograd"}


def check(problem, result, expected, size):
    """The error is bounded by what the products amount to, for the result itself may cancel to nothing."""
    assert result.dtype == problem["x"].dtype
    assert result.shape == expected.shape
    assert np.abs(result - expected).max() <= BOUND[result.dtype.type] * size.max()


@given(problems())
def test_forward(problem):
    convc.set_isa(problem["isa"])
    x, weight, bias, window = (problem[name] for name in ("x", "weight", "bias", "window"))
    function = convc.conv2d if x.ndim == 4 else convc.conv3d
    expected = reference.relu(reference.conv(x, weight, bias, *window))
    size = reference.conv(abs(x), abs(weight), abs(bias), *window)
    out = laid_out(problem, np.full(expected.shape, np.nan, x.dtype))
    arguments = laid_out(problem, x), problem["view"](weight), bias
    assert function(*arguments, **options(problem), activation="relu", out=out) is out
    check(problem, first(problem, out), expected, size)
    if out.base is not None and problem["view"].__name__ in {"spread", "inner"}:
        assert np.isnan(out.base).sum() == out.base.size - out.size, "written beyond the view"
    plan = convc.prepare(*arguments[1:], arguments[0].shape, **options(problem), activation="relu")
    np.testing.assert_array_equal(plan(arguments[0]), out)


@given(problems())
def test_gradients(problem):
    convc.set_isa(problem["isa"])
    x, weight, window = (problem[name] for name in ("x", "weight", "window"))
    function = convc.conv2d_backward if x.ndim == 4 else convc.conv3d_backward
    grad = np.random.default_rng(5).standard_normal(reference.conv(x, weight, None, *window).shape).astype(x.dtype)
    expected = reference.conv_backward(grad, x, weight, *window)
    sizes = reference.conv_backward(abs(grad), abs(x), abs(weight), *window)
    arguments = laid_out(problem, grad), laid_out(problem, x), problem["view"](weight)
    results = function(*arguments, **options(problem))
    check(problem, first(problem, results[0]), expected[0], sizes[0])
    check(problem, results[1], expected[1], sizes[1])


@st.composite
def upsamplings(draw):
    """Transposed convolutions whose phases, all at once, are mostly worth Winograd's algorithm."""
    spatial, groups = draw(st.sampled_from([2, 2, 2, 3])), draw(st.sampled_from([1, 1, 2]))
    dtype, rng = draw(dtypes), np.random.default_rng(draw(st.integers(0, 99)))
    ins, outs = draw(st.sampled_from([16, 40])), draw(st.sampled_from([16, 21, 48]))
    stride = [draw(st.sampled_from([2, 2, 2, 1, 3])) for _ in range(2)]
    kernel = [draw(st.integers(s + 1, 3 * s)) for s in stride]
    padding = [(draw(st.integers(0, 2)), draw(st.integers(0, 2))) for _ in range(2)]
    extra, size = [draw(st.integers(0, s - 1)) for s in stride], [draw(st.integers(9, high)) for high in (20, 40)]
    if spatial == 3:
        for values, value in (stride, 2), (kernel, draw(st.integers(1, 4))), (padding, (0, 0)), (extra, 1), (size, 2):
            values.insert(0, value)
    return {
        "x": rng.standard_normal((draw(st.integers(1, 2)), groups * ins, *size)).astype(dtype),
        "weight": rng.standard_normal((groups * ins, outs, *kernel)).astype(dtype),
        "bias": rng.standard_normal(groups * outs).astype(dtype),
        "window": (tuple(stride), tuple(padding), (1,) * spatial, groups, tuple(extra)),
        "layout": LAYOUTS[spatial][draw(st.integers(0, 1))],
        "view": draw(st.sampled_from(VIEWS)),
        "isa": draw(isas),
    }


@given(upsamplings())
def test_all_phases_of_a_transposed_convolution(problem):
    convc.set_isa(problem["isa"])
    x, weight, bias, window = (problem[name] for name in ("x", "weight", "bias", "window"))
    function = convc.conv_transpose2d if x.ndim == 4 else convc.conv_transpose3d
    expected = reference.relu(reference.conv_transpose(x, weight, bias, *window))
    size = reference.conv_transpose(abs(x), abs(weight), abs(bias), *window)
    out = laid_out(problem, np.full(expected.shape, np.nan, x.dtype))
    form = dict(zip(("stride", "padding", "dilation", "groups", "output_padding"), window, strict=True))
    arguments = laid_out(problem, x), problem["view"](weight), bias
    function(*arguments, **form, layout=problem["layout"], activation="relu", out=out)
    check(problem, first(problem, out), expected, size)
    if out.base is not None and problem["view"].__name__ in {"spread", "inner"}:
        assert np.isnan(out.base).sum() == out.base.size - out.size, "written beyond the view"


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
@pytest.mark.parametrize(("channels", "size"), [(64, 56), (128, 28), (256, 14), (512, 7)])
def test_documented_bound_on_layers_of_networks(channels, size, layout, dtype):
    rng = np.random.default_rng(channels)
    x = rng.standard_normal((1, channels, size, size)).astype(dtype)
    weight = (rng.standard_normal((40, channels, 3, 3)) / np.sqrt(9 * channels)).astype(dtype)
    columns = reference.im2col(x.astype(np.float64), (3, 3), (1, 1), [(1, 1), (1, 1)], (1, 1))
    expected = (weight.reshape(40, -1).astype(np.float64) @ columns).reshape(1, 40, size, size)
    moved = x if layout == "NCHW" else np.ascontiguousarray(channels_last(x))
    y = convc.conv2d(moved, weight, padding=1, layout=layout, algorithm="winograd")
    y = y if layout == "NCHW" else channels_first(y)
    assert np.abs(y - expected).max() <= BOUND[dtype] * np.abs(expected).max()


LARGE = np.ones((1, 64, 32, 32), np.float32), np.ones((64, 64, 3, 3), np.float32)


def exact(y):
    """Sums of ones have no rounding errors, unless they are computed as Winograd does."""
    return bool((y == 64 * 9).all())


def test_auto_chooses_it_and_the_others_do_not():
    assert not exact(convc.conv2d(*LARGE))
    assert not exact(convc.prepare(LARGE[1], None, LARGE[0].shape)(LARGE[0]))
    for algorithm in ("direct", "gemm"):
        assert exact(convc.conv2d(*LARGE, algorithm=algorithm))
        assert exact(convc.prepare(LARGE[1], None, LARGE[0].shape, algorithm=algorithm)(LARGE[0]))


def test_auto_chooses_it_for_all_phases_at_once():
    x, weight = np.ones((1, 64, 24, 24), np.float32), np.ones((64, 64, 4, 4), np.float32)
    options = {"stride": 2, "padding": 1}

    def exact(**algorithm):
        return bool((convc.conv_transpose2d(x, weight, **options, **algorithm)[..., 1:-1, 1:-1] == 64 * 4).all())

    assert not exact()
    assert exact(algorithm="direct")
    with convc.precision("exact"):
        assert exact()
    grad_x, _, _ = convc.conv2d_backward(x, np.ones((1, 64, 48, 48), np.float32), weight, **options)
    np.testing.assert_array_equal(grad_x, convc.conv_transpose2d(x, weight, **options))


@pytest.mark.parametrize("isa", ISAS)
def test_small_images_of_many_channels_take_small_tiles(isa):
    """Their points are 0, 1 and -1: sums of small integers stay exact, which those of the larger tiles do not."""
    convc.set_isa(isa)
    rng = np.random.default_rng(0)
    x, weight = rng.integers(-4, 5, (2, 512, 7, 7)), rng.integers(-4, 5, (512, 512, 3, 3))
    x, weight = x.astype(np.float32), weight.astype(np.float32)
    for options in ({"algorithm": "winograd"}, {}):
        y = convc.conv2d(x, weight, padding=1, **options)
        np.testing.assert_array_equal(y, convc.conv2d(x, weight, padding=1, algorithm="gemm"))
    results = convc.conv2d_backward(y % 5, x, weight, padding=1, algorithm="winograd")
    expected = convc.conv2d_backward(y % 5, x, weight, padding=1, algorithm="gemm")
    for got, wanted in zip(results, expected, strict=True):
        np.testing.assert_array_equal(got, wanted)


@pytest.mark.parametrize("isa", ISAS)
def test_plans_of_more_filters_than_the_caches_hold(isa):
    """They keep them in another order than those of fewer, groups and planes of the kernel included."""
    convc.set_isa(isa)
    rng = np.random.default_rng(1)
    x = rng.standard_normal((1, 2 * 173, 3, 8, 8)).astype(np.float32)
    weight = rng.standard_normal((2 * 331, 173, 2, 3, 3)).astype(np.float32)
    options = {"padding": (0, 1, 1), "groups": 2, "algorithm": "winograd"}
    plan = convc.prepare(weight, None, x.shape, **options)
    np.testing.assert_array_equal(plan(x), convc.conv3d(x, weight, **options))


def test_auto_leaves_small_work_alone():
    x, weight = LARGE[0][:, :4], LARGE[1][:, :4]
    np.testing.assert_array_equal(convc.conv2d(x, weight), convc.conv2d(x, weight, algorithm="direct"))


def test_precision_turns_it_off():
    grad = np.ones((1, 64, 30, 30), np.float32)
    inside = np.s_[:, :, 2:-2, 2:-2]

    def grad_x():
        return convc.conv2d_backward(grad, *LARGE, needs=("x",))[0][inside]

    precision = convc.precision("exact")
    with precision:
        plan = convc.prepare(LARGE[1], None, LARGE[0].shape)
        with precision:
            assert exact(convc.conv2d(*LARGE))
        assert exact(convc.conv2d(*LARGE))
        assert exact(grad_x())
        elsewhere = []
        thread = threading.Thread(target=lambda: elsewhere.append(exact(convc.conv2d(*LARGE))))
        thread.start()
        thread.join()
        assert not exact(convc.conv2d(*LARGE, algorithm="winograd"))
    assert exact(plan(LARGE[0])), "a plan keeps what it was prepared for"
    assert not exact(convc.conv2d(*LARGE))
    assert not exact(grad_x())
    assert len(elsewhere) == 1


@pytest.mark.parametrize(
    ("kernel", "options", "text"),
    [
        ((5, 3), {}, "kernel 5 x 3"),
        ((3, 3), {"stride": (1, 2)}, "stride 1 x 2"),
        ((1, 3), {}, "kernel 1 x 3"),
    ],
)
def test_refused(kernel, options, text):
    x, weight = np.ones((1, 2, 9, 9)), np.ones((3, 2, *kernel))
    with pytest.raises(ValueError, match=f"algorithm 'winograd' needs a 3 x 3 kernel and stride 1.*{text}"):
        convc.conv2d(x, weight, algorithm="winograd", **options)
    with pytest.raises(ValueError, match="algorithm 'winograd'"):
        convc.prepare(weight, None, x.shape, algorithm="winograd", **options)
    with pytest.raises(ValueError, match="algorithm 'winograd'"):
        convc.conv2d_backward(convc.conv2d(x, weight, **options), x, weight, algorithm="winograd", **options)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_stays_in_its_tiles(value):
    x, weight = (np.ones(a.shape, np.float32) for a in LARGE)
    x[0, 5, 13, 17] = value
    y = convc.conv2d(x, weight, padding=1, algorithm="winograd")
    touched = ~np.isfinite(y[0]).all(0)
    assert touched[12:15, 16:19].all(), "every output that reads it"
    tiles = np.zeros((32, 32), bool)
    tiles[12:16, 16:20] = True
    assert not (touched & ~tiles).any()
