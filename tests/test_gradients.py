"""Every gradient against central differences of its forward operator, in float64."""

import numpy as np
import pytest

import convc

EPS, ATOL, RTOL = 1e-6, 1e-5, 1e-3


def check(forward, arrays, gradients, seed=19):
    """`gradients` of sum(forward(*arrays) * g) for a random g; None is skipped."""
    g = np.random.default_rng(seed).standard_normal(np.shape(forward(*arrays)))
    for number, gradient in enumerate(gradients(g)):
        if gradient is None:
            continue
        a = arrays[number]
        assert gradient.shape == a.shape
        for at in np.ndindex(a.shape):
            ends = []
            for step in (EPS, -EPS):
                moved = [b.copy() for b in arrays]
                moved[number][at] += step
                ends.append((forward(*moved) * g).sum())
            assert gradient[at] == pytest.approx((ends[0] - ends[1]) / (2 * EPS), rel=RTOL, abs=ATOL), (number, at)


def normal(*shape):
    return np.random.default_rng(sum(shape)).standard_normal(shape)


CONVOLUTIONS = {
    "1d": (normal(2, 2, 7), normal(3, 2, 3), {"stride": 2, "padding": 1}),
    "1d same": (normal(1, 2, 6), normal(2, 2, 4), {"padding": "same", "dilation": 2}),
    "2d": (normal(2, 2, 5, 4), normal(3, 2, 3, 2), {"stride": (2, 1), "padding": ((1, 0), (2, 1))}),
    "2d dilated": (normal(1, 2, 6, 7), normal(2, 2, 2, 3), {"dilation": (3, 2), "padding": 2}),
    "2d groups": (normal(1, 4, 4, 5), normal(6, 2, 2, 2), {"groups": 2}),
    "2d depthwise": (normal(1, 3, 5, 5), normal(6, 1, 3, 3), {"groups": 3, "stride": 2, "padding": 1}),
    "2d 1x1": (normal(2, 5, 3, 3), normal(4, 5, 1, 1), {}),
    "2d 1x1 strided": (normal(2, 3, 5, 4), normal(4, 3, 1, 1), {"stride": 3}),
    "3d": (normal(1, 2, 3, 4, 3), normal(2, 2, 2, 2, 2), {"stride": (1, 2, 1), "padding": (1, 0, 1)}),
}


@pytest.mark.parametrize("last", [False, True])
@pytest.mark.parametrize("name", CONVOLUTIONS)
def test_convolution(name, last):
    x, weight, options = CONVOLUTIONS[name]
    d = x.ndim - 2
    if last:
        x, options = np.ascontiguousarray(np.moveaxis(x, 1, -1)), {**options, "layout": ("NWC", "NHWC", "NDHWC")[d - 1]}
    forward, backward = getattr(convc, f"conv{d}d"), getattr(convc, f"conv{d}d_backward")
    check(
        lambda x, w, b: forward(x, w, b, **options),
        [x, weight, normal(len(weight))],
        lambda g: backward(g, x, weight, **options),
    )


@pytest.mark.parametrize("last", [False, True])
@pytest.mark.parametrize(
    ("x", "weight", "options"),
    [
        (normal(2, 2, 7), normal(4, 3, 2, 3), {"stride": 2, "padding": 1}),
        (normal(2, 2, 5, 4), normal(9, 2, 2, 3, 2), {"stride": (2, 3), "padding": ((1, 1), (2, 2))}),
        (normal(1, 3, 4, 4), normal(4, 2, 3, 2, 2), {"dilation": 2}),
        (normal(2, 2, 5), normal(4, 2, 2, 3), {"stride": 2, "padding": 2, "pad_mode": "reflect"}),
        (normal(1, 2, 4, 3), normal(12, 2, 2, 2, 2), {"padding": ((1, 0), (0, 1)), "pad_mode": "replicate"}),
        (normal(1, 2, 3, 4), normal(12, 2, 2, 3, 3), {"padding": "same", "pad_mode": "circular"}),
    ],
)
def test_locally_connected(x, weight, options, last):
    d = x.ndim - 2
    if last:
        x, options = np.ascontiguousarray(np.moveaxis(x, 1, -1)), {**options, "layout": ("NWC", "NHWC")[d - 1]}
    forward, backward = (getattr(convc, f"locally_connected{d}d{suffix}") for suffix in ("", "_backward"))
    check(
        lambda x, w, b: forward(x, w, b, **options),
        [x, weight, normal(*weight.shape[:2])],
        lambda g: backward(g, x, weight, **options),
    )


@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
@pytest.mark.parametrize("options", [{}, {"stride": 1}, {"stride": 2, "padding": 1, "dilation": 2, "fit": "ceil"}])
def test_max_pool(options, layout):
    # Distances between values exceed the step, so that no maximum changes place.
    x = np.random.default_rng(20).permutation(2 * 3 * 6 * 7).reshape(2, 3, 6, 7) / 10.0
    if layout == "NHWC":
        x = np.ascontiguousarray(np.moveaxis(x, 1, -1))
    _, indices = convc.max_pool2d(x, 3, **options, layout=layout, return_indices=True)
    check(
        lambda x: convc.max_pool2d(x, 3, **options, layout=layout),
        [x],
        lambda g: [convc.max_pool2d_backward(g, indices, x.shape, layout=layout)],
    )


AVERAGES = {
    "avg": ("avg_pool2d", {"kernel_size": (3, 2), "stride": (2, 1), "padding": 1}),
    "avg without padding": ("avg_pool2d", {"kernel_size": 3, "padding": 1, "count_include_pad": False, "fit": "ceil"}),
    "adaptive": ("adaptive_avg_pool2d", {"output_size": (4, 3)}),
    "global": ("global_avg_pool", {"keepdims": True}),
}


@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
@pytest.mark.parametrize("name", AVERAGES)
def test_averages(name, layout):
    function, options = AVERAGES[name]
    backward = {key: value for key, value in options.items() if key not in ("output_size", "keepdims")}
    x = normal(2, 3, 6, 5) if layout == "NCHW" else normal(2, 6, 5, 3)
    check(
        lambda x: getattr(convc, function)(x, **options, layout=layout),
        [x],
        lambda g: [getattr(convc, f"{function}_backward")(g, x.shape, **backward, layout=layout)],
    )


@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
@pytest.mark.parametrize("p", [1, 2, 3, 1.5])
def test_norms(p, layout):
    x = np.abs(normal(2, 3, 6, 5)) + 0.1
    windows = (p, (3, 2), 2)
    y = convc.lp_pool2d(x, *windows, layout=layout, fit="ceil")
    check(
        lambda x: convc.lp_pool2d(x, *windows, layout=layout, fit="ceil"),
        [x],
        lambda g: [convc.lp_pool2d_backward(g, x, y, *windows, layout=layout, fit="ceil")],
    )


def test_max_unpool():
    indices = np.random.default_rng(3).permuted(np.tile(np.arange(24), (2, 3, 1)), axis=2)[..., :6].reshape(2, 3, 2, 3)
    check(
        lambda x: convc.max_unpool2d(x, indices, 2),
        [normal(2, 3, 2, 3)],
        lambda g: [convc.max_unpool2d_backward(g, indices)],
    )


def test_linear():
    x, weight, bias = normal(2, 3, 4), normal(5, 4), normal(5)
    check(convc.linear, [x, weight, bias], lambda g: convc.linear_backward(g, x, weight))


def test_relu():
    x = normal(3, 5)
    check(convc.relu, [x], lambda g: [convc.relu_backward(g, x)])
    check(convc.relu, [x], lambda g: [convc.relu_backward(g, convc.relu(x))])


@pytest.mark.parametrize("axis", [0, 1, -1])
def test_softmax(axis):
    x = normal(3, 4, 5)
    check(lambda x: convc.softmax(x, axis), [x], lambda g: [convc.softmax_backward(g, convc.softmax(x, axis), axis)])


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
def test_cross_entropy(reduction):
    logits, target = normal(4, 6), np.array([0, 5, 2, 2])
    check(
        lambda x: np.asarray(convc.cross_entropy(x, target, reduction=reduction)),
        [logits],
        lambda g: [convc.cross_entropy_backward(logits, target, g, reduction=reduction)],
    )


def test_col2im():
    x, options = normal(1, 2, 5, 6), {"kernel_size": (2, 3), "stride": (2, 1), "padding": 1}
    check(lambda x: convc.im2col(x, **options), [x], lambda g: [convc.col2im(g, (5, 6), **options)])
