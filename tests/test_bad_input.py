"""Inputs that crashed other libraries, and every integer argument at the ends of its range.

Run as a script with a function's name, this file is the worker of the sweep: it calls that function with little memory
to spare, and prints what went wrong. A process of its own, because the wrong answer to such input is a crash.
"""

import itertools
import os
import subprocess
import sys

import numpy as np
import pytest

import convc

EXTREMES = (-(2**63), -1, 0, 1, 2**31 - 1, 2**31, 2**32, 2**63 - 1)
SPARE_BYTES = 256 << 20
LINEAR = ("linear", "bilinear", "trilinear")
LARGE = 1879048192  # 7 * 2**28: its square wraps to 0 in 64 bits


def zeros(*shape):
    return np.zeros(shape, np.float32)


def ones(*shape):
    return np.ones(shape, np.float32)


def wide(*shape):
    """An array of any size in four bytes of memory."""
    return np.broadcast_to(np.float32(1), shape)


def indices(*shape):
    return np.zeros(shape, np.int64)


# ---- crashes of other libraries: a number is that of TensorFlow's CVE or PyTorch's issue ----

REFUSED = {
    "tensorflow 2021-29524": lambda: convc.conv2d_backward(
        zeros(0, 1, 0, 1), zeros(0, 0, 0, 1), zeros(1, 1, 1, 1), (66, 18)
    ),
    "tensorflow 2021-29525": lambda: convc.conv2d_backward(zeros(52, 0, 1, 1), zeros(52, 5, 1, 1), zeros(0, 5, 0, 1)),
    "tensorflow 2021-29526": lambda: convc.conv2d(zeros(0, 0, 0, 0), zeros(0, 0, 0, 0)),
    "tensorflow 2021-29538": lambda: convc.conv2d_backward(zeros(0, 0, 0, 0), zeros(0, 0, 0, 0), zeros(0, 0, 0, 0)),
    "tensorflow 2021-29520": lambda: convc.conv3d_backward(
        zeros(1, 1, 1, 1, 1), zeros(1, 2, 1, 1, 1), zeros(1, 1, 4, 1, 6), (89, 29, 89)
    ),
    "tensorflow 2021-29522": lambda: convc.conv3d_backward(
        zeros(0, 0, 0, 0, 0), zeros(0, 0, 0, 0, 0), zeros(0, 1, 0, 0, 0)
    ),
    "tensorflow 2022-35996": lambda: convc.conv2d(zeros(1, 1, 0, 2), zeros(1, 1, 1, 1), padding=1),
    "tensorflow 2022-41885": lambda: convc.conv2d(ones(1, 1, 2, 2), ones(1, 1, 1, 1), padding=LARGE),
    "tensorflow 2022-41885 resize": lambda: convc.interpolate(ones(1, 1, 2, 2), LARGE),
    "tensorflow 2022-41885 resize of scale": lambda: convc.interpolate(ones(1, 1, 2, 2), scale_factor=LARGE),
    "tensorflow 2023-27579": lambda: convc.conv2d(ones(1, 3, 4, 4), zeros(2, 0, 2, 2)),
    "tensorflow 2021-29585 conv": lambda: convc.conv2d(ones(1, 1, 4, 4), ones(1, 1, 2, 2), stride=0),
    "tensorflow 2021-29586 pool": lambda: convc.max_pool2d(ones(1, 1, 4, 4), 2, stride=0),
    "tensorflow 2021-29588 transpose": lambda: convc.conv2d_backward(
        ones(1, 1, 3, 3), ones(1, 1, 4, 4), ones(1, 1, 2, 2), stride=0
    ),
    "tensorflow huge filter sizes": lambda: convc.conv2d_backward(
        ones(1, 1, 1, 1), ones(1, 1, 1, 1), wide(1, 1, LARGE, LARGE >> 4)
    ),
    "tensorflow filter of 13 dimensions": lambda: convc.conv2d(ones(1, 1, 1, 1), wide(*[3] * 13)),
    "tensorflow 2021-41196 zero": lambda: convc.max_pool3d(ones(3, 12, 4, 10, 11), (2, 2, 0)),
    "tensorflow 2021-41196 negative": lambda: convc.max_pool3d(ones(3, 12, 4, 10, 11), (2, 2, -1)),
    "tensorflow 2021-29573": lambda: convc.max_pool2d_backward(zeros(0, 0, 0, 0), indices(0, 0, 0, 0), (0, 0, 0, 0)),
    "tensorflow argmax of another shape": lambda: convc.max_pool2d_backward(
        ones(2, 1, 3, 3), indices(13, 1, 1, 1), (2, 1, 2, 2)
    ),
    "tensorflow 2021-29577": lambda: convc.max_pool3d_backward(
        ones(3, 1, 1, 1, 1), indices(3, 1, 1, 1, 1), (10, 7, 6, 3, 7)
    ),
    "tensorflow 2022-35941": lambda: convc.max_pool2d(ones(1, 1, 1, 1), (1, 10**20)),
    "tensorflow 2023-25669": lambda: convc.max_pool2d_backward(ones(1, 1, 1, 1), indices(1, 1, 1, 1), (1, 0, 0, 0)),
    "tensorflow 2021-29577 average": lambda: convc.avg_pool3d_backward(ones(3, 1, 1, 1, 1), (10, 7, 6, 3, 7), 1, 1),
    "tensorflow 2021-29577 adaptive": lambda: convc.adaptive_avg_pool3d_backward(ones(3, 1, 1, 1, 1), (10, 7, 6, 3, 7)),
    "tensorflow 2022-35941 average": lambda: convc.avg_pool2d(ones(1, 1, 1, 1), (1, 10**20)),
    "tensorflow 2022-35941 within 64 bits": lambda: convc.avg_pool2d(ones(1, 1, 1, 1), (1, 10**18)),
    "tensorflow 2023-25669 average": lambda: convc.avg_pool2d_backward(ones(1, 1, 1, 1), (1, 0, 0, 0), (0, 0), (0, 0)),
    "tensorflow 2023-25669 kernel": lambda: convc.avg_pool2d_backward(ones(1, 1, 1, 1), (1, 1, 1, 1), 0, 0),
    "pytorch 50960": lambda: convc.adaptive_max_pool2d(ones(2, 2, 2, 2), 4799942556533499770),
    "pytorch 42509": lambda: convc.adaptive_avg_pool2d(ones(3), ()),
    "pytorch 42509 of four dimensions": lambda: convc.adaptive_avg_pool2d(ones(1, 1, 3, 3), ()),
    "unpool with more padding than there is": lambda: convc.max_unpool2d(
        ones(1, 1, 2, 2), indices(1, 1, 2, 2), 2, 2, 2**62
    ),
    "unpool to the end of 64 bits": lambda: convc.max_unpool1d(
        ones(1, 1, 1), indices(1, 1, 1), 2, 2**63 - 1, output_size=(2**63 - 1,)
    ),
    "unpool beyond 64 bits": lambda: convc.max_unpool1d(ones(1, 1, 3), indices(1, 1, 3), 2**62, 2**62),
    "tensorflow huge filter sizes, locally connected": lambda: convc.locally_connected2d_backward(
        ones(1, 1, 1, 1), ones(1, 1, 1, 1), wide(1, 1, 1, LARGE, LARGE >> 4)
    ),
    "pytorch 27598": lambda: convc.conv2d(ones(1, 1, 32, 32), ones(1, 1, 3, 3), stride=0, padding=(0, 1)),
    "pytorch 73193": lambda: convc.conv2d(ones(1, 1, 1, 24000), ones(1, 1, 1, 24000), None, 0, 0, 0, 0),
    "tensorflow 2021-29588 as an operator": lambda: convc.conv_transpose2d(
        ones(1, 1, 3, 3), ones(1, 1, 2, 2), stride=0
    ),
    "pytorch 91549 as an operator": lambda: convc.conv_transpose2d(
        ones(1, 3, 4, 4), ones(3, 1, 3, 3), None, 2, 2, 0, 0
    ),
    "pytorch 148275 as an operator": lambda: convc.conv_transpose1d(ones(3, 5, 7), ones(5, 2, 2), None, 2**31, 2**40),
    "pytorch 91549": lambda: convc.conv2d_backward(
        ones(1, 3, 4, 4), ones(1, 1, 5, 5), ones(3, 1, 3, 3), 2, 2, groups=0
    ),
    "pytorch 148275": lambda: convc.conv1d_backward(ones(3, 5, 7), ones(3, 2, 9), ones(5, 2, 2), 2**31, 1),
    "pytorch 121095": lambda: convc.conv3d(ones(1, 1, 2, 2, 2), ones(1, 1, 1, 1, 1), None, stride=(), padding=(1,)),
    "pytorch 3141": lambda: convc.conv2d(ones(1, 1, 10, 10), ones(3, 3)),
    "pytorch 73189": lambda: convc.im2col(ones(2, 4, 3, 3), LARGE, 1250999896764, 1250999896764),
    "pytorch 189667": lambda: convc.im2col(ones(32, 64, 3, 3), 2**63 - 2, 10**12, 10**12, 10**12),
    "pytorch 188959": lambda: convc.col2im(ones(1, 1, 1), (100, 100), 1, 2**63 - 1, 2**63 - 2, 100),
    "pytorch 68875": lambda: convc.col2im(ones(1, 12, 12), (4, 5), 2, dilation=8),
    "pytorch 142454": lambda: convc.max_pool1d(
        ones(1, 2, 3), 8608480567731124087, None, 1250999896764, 1250999896764, fit="ceil"
    ),
    "pytorch 149274": lambda: convc.max_pool2d(ones(2, 64, 32, 32), 3, 0),
    "onnxruntime 28706": lambda: convc.col2im(ones(1, 1, 4), (4, 4), 1),
}

OUT_OF_MEMORY = {
    "xnnpack 11184": lambda: convc.conv1d(wide(1, 2**30, 4), wide(2**28, 2**30, 4)),
    "xnnpack 11184 prepared": lambda: convc.prepare(wide(2**28, 2**30, 4), None, (1, 2**30, 4)),
    "xnnpack 10761": lambda: convc.max_pool2d_backward(
        wide(2**20, 1, 1, 1), np.broadcast_to(np.int64(0), (2**20, 1, 1, 1)), (2**20, 1, 2**20, 2**20)
    ),
    "xnnpack 10761 unpooled": lambda: convc.max_unpool2d(
        wide(2**20, 1, 2**18, 2**18), np.broadcast_to(np.int64(0), (2**20, 1, 2**18, 2**18)), 2
    ),
    "adaptive windows without end": lambda: convc.adaptive_avg_pool2d(ones(1, 1, 2, 2), 2**26),
    "xnnpack 11184 locally connected": lambda: convc.locally_connected1d_backward(
        wide(1, 2**28, 1), wide(1, 2**30, 4), wide(1, 2**28, 2**30, 4)
    ),
    "a padding of terabytes": lambda: convc.conv2d(ones(1, 1, 2, 2), ones(1, 1, 1, 1), padding=2**20),
    "columns of terabytes": lambda: convc.im2col(wide(1, 2**20, 2**11, 2**11), 2),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused(name):
    with pytest.raises((ValueError, TypeError)) as caught:
        REFUSED[name]()
    assert len(str(caught.value)) > 15


@pytest.mark.parametrize("name", OUT_OF_MEMORY)
def test_out_of_memory(name):
    with pytest.raises(MemoryError):
        OUT_OF_MEMORY[name]()


# ---- what crashed others and is fine ----


def test_odd_strides_on_axes_of_one():
    """pytorch 195394"""
    rng = np.random.default_rng(0)
    x, weight, bias = rng.random((100, 64, 1, 1)), rng.random((8, 64, 125, 1)), rng.random(8)
    odd = np.lib.stride_tricks.as_strided(x, x.shape, (*x.strides[:2], 2**62 + 1, -7))
    for layout in ("NCHW", "NHWC"):
        view = odd if layout == "NCHW" else odd.transpose(0, 2, 3, 1)
        y = convc.conv2d(view, weight, bias, 2, (63, 0), layout=layout)
        y = y if layout == "NCHW" else y.transpose(0, 3, 1, 2)
        assert y.shape == (100, 8, 2, 1)
        # With padding 63 and stride 2 the single row meets taps 63 and 61.
        np.testing.assert_allclose(y[:, :, 0, 0], x[:, :, 0, 0] @ weight[:, :, 63, 0].T + bias, rtol=1e-12)
        np.testing.assert_allclose(y[:, :, 1, 0], x[:, :, 0, 0] @ weight[:, :, 61, 0].T + bias, rtol=1e-12)


def test_more_columns_than_32_bits():
    """pytorch 9404, with two filters in place of 64 so that it is quick"""
    rng = np.random.default_rng(0)
    plane = rng.integers(-2, 3, (1, 1, 1167, 1167)).astype(np.float32)
    weight = rng.integers(-2, 3, (2, 64, 5, 5)).astype(np.float32)
    y = convc.conv2d(np.broadcast_to(plane, (1, 64, 1167, 1167)), weight, dilation=2)
    np.testing.assert_array_equal(y, convc.conv2d(plane, weight.sum(1, keepdims=True), dilation=2))
    assert y[0, 0, -1, -1] == (plane[0, 0, -9::2, -9::2] * weight[0].sum(0)).sum()


def test_more_columns_than_32_bits_in_three_dimensions():
    """pytorch 9264, with one filter in place of 256 so that it is quick"""
    rng = np.random.default_rng(0)
    volume = rng.integers(-2, 3, (1, 1, 111, 63, 111)).astype(np.float32)
    weight = rng.integers(-2, 3, (1, 96, 4, 4, 4)).astype(np.float32)
    y = convc.conv3d(np.broadcast_to(volume, (1, 96, 111, 63, 111)), weight, dilation=2)
    assert y.shape == (1, 1, 105, 57, 105)
    assert y[0, 0, -1, -1, -1] == (volume[0, 0, -7::2, -7::2, -7::2] * weight[0].sum(0)).sum()


def test_length_of_a_long_sequence():
    """pytorch 13386: float32 arithmetic on lengths lost one; a constant sequence keeps its length and its value"""
    y = convc.max_pool1d(wide(1, 1, 19199998), 1921, 1, 960)
    assert y.shape == (1, 1, 19199998)
    assert (y == 1).all()


@pytest.mark.parametrize("value", [np.nan, -np.inf])
@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
def test_pooling_windows_without_a_number(value, layout):
    """pytorch 1465: the index of such a maximum lay outside the plane"""
    x = np.full((1, 4, 4, 4), value, np.float32)
    y, where = convc.max_pool2d(x, 3, 1, 1, layout=layout, return_indices=True)
    np.testing.assert_array_equal(y, x)
    assert where.min() >= 0
    assert where.max() < 16
    assert convc.max_pool2d_backward(np.ones_like(y), where, x.shape, layout=layout).sum() == y.size


@pytest.mark.parametrize("index", [-1, 16, 2**31, 2**63 - 1, -(2**63)])
def test_pooling_index_outside(index):
    where = indices(1, 2, 2, 2)
    where[0, 1, 1, 0] = index
    with pytest.raises(ValueError, match="indices"):
        convc.max_pool2d_backward(ones(1, 2, 2, 2), where, (1, 2, 4, 4))


@pytest.mark.parametrize("target", [-1, 3, 2**31, 2**63 - 1, -(2**63)])
def test_target_outside(target):
    for function in (convc.cross_entropy, convc.cross_entropy_backward):
        with pytest.raises(ValueError, match="target"):
            function(ones(2, 3), np.array([0, target]))


def test_linear_without_features():
    """pytorch 101211"""
    bias = np.array([1, -2, 3], np.float32)
    np.testing.assert_array_equal(convc.linear(zeros(32, 0), zeros(3, 0), bias), np.tile(bias, (32, 1)))
    np.testing.assert_array_equal(convc.linear(zeros(4, 2, 0), zeros(3, 0), bias, activation="relu")[1, 1], [1, 0, 3])
    grad_x, grad_weight, grad_bias = convc.linear_backward(ones(32, 3), zeros(32, 0), zeros(3, 0))
    assert grad_x.shape == (32, 0)
    assert grad_weight.shape == (3, 0)
    np.testing.assert_array_equal(grad_bias, [32, 32, 32])


def test_partial_windows_that_start_in_the_padding():
    """pytorch 6543: such a window is dropped"""
    x = np.arange(64, dtype=np.float32).reshape(1, 1, 8, 8)
    y = convc.max_pool2d(x, 3, (3, 4), fit="ceil")
    np.testing.assert_array_equal(y[0, 0], [[18, 22], [42, 46], [58, 62]])
    assert convc.max_pool2d(ones(1, 1, 4, 4), 2, 3, ((0, 1), (0, 1)), fit="ceil").shape == (1, 1, 2, 2)


def test_backward_with_a_stride_that_leaves_rows():
    """oneDNN 542"""
    rng = np.random.default_rng(0)
    weight = rng.integers(-3, 4, (3, 9, 5, 5)).astype(np.float32)
    grad = rng.integers(-3, 4, (1, 3, 10, 10)).astype(np.float32)
    expected = np.zeros((1, 9, 36, 36), np.float32)  # with padding 1 and the rows that no window reaches
    for i, j in itertools.product(range(10), repeat=2):
        expected[0, :, 3 * i : 3 * i + 5, 3 * j : 3 * j + 5] += np.einsum("k,kcrs->crs", grad[0, :, i, j], weight)
    grad_x, _, _ = convc.conv2d_backward(grad, zeros(1, 9, 32, 32), weight, 3, 1)
    np.testing.assert_array_equal(grad_x, expected[:, :, 1:33, 1:33])


@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
def test_empty_batch(layout):
    x = zeros(0, 4, 4, 4)
    weight = ones(4, 4, 3, 3)
    y = convc.conv2d(x, weight, ones(4), padding=1, layout=layout)
    assert y.shape == x.shape
    grad_x, grad_weight, grad_bias = convc.conv2d_backward(y, x, weight, padding=1, layout=layout)
    assert grad_x.shape == x.shape
    np.testing.assert_array_equal(grad_weight, np.zeros_like(weight))
    np.testing.assert_array_equal(grad_bias, zeros(4))
    y, where = convc.max_pool2d(x, 2, layout=layout, return_indices=True)
    assert convc.max_pool2d_backward(y, where, x.shape, layout=layout).shape == x.shape
    assert convc.prepare(weight, None, (0, 4, 4, 4), layout=layout)(ones(3, 4, 4, 4)).shape[0] == 3


# ---- the sweep ----


class Call:
    """A function, arguments that it accepts, and which of them are numbers: how many axes each has, 0 for a plain
    number, "shape" for a shape."""

    def __init__(self, name, numbers, **arguments):
        self.function = getattr(convc, name)
        self.arguments = arguments
        self.numbers = numbers

    def changed(self, values):
        """Each number at each of the values: alone, for one axis, for all, and in a pair of paddings."""
        for argument, kind in self.numbers.items():
            for value in values:
                for changed in self.forms(argument, kind, value):
                    yield argument, {**self.arguments, argument: changed}

    def forms(self, argument, kind, value):
        base = self.arguments[argument]
        if kind == "shape":
            yield (value,) * len(base)
            yield from ((*base[:i], value, *base[i + 1 :]) for i in range(len(base)))
            return
        yield value
        if not kind:
            return
        axes = (base,) * kind if np.isscalar(base) else base
        for i in range(kind):
            yield (*axes[:i], value, *axes[i + 1 :])
            if argument == "padding":
                yield (*axes[:i], (axes[i], value), *axes[i + 1 :])
                yield (*axes[:i], (value, axes[i]), *axes[i + 1 :])

    def works(self):
        return self.function(**self.arguments)


def sized(spatial):
    """Unequal sizes, so that mistaken axes show."""
    return (6, 5, 7)[:spatial]


def calls():
    for d in (1, 2, 3):
        x, weight = ones(2, 4, *sized(d)), ones(4, 2, *(3, 2, 3)[:d])
        window = {"stride": d, "padding": d, "dilation": d}
        numbers = {"stride": 1, "padding": 1, "dilation": 1}
        convolution = {**window, "groups": 0}
        y = convc_output(x, weight, d)
        yield f"conv{d}d", Call(f"conv{d}d", convolution, x=x, weight=weight, groups=2, **numbers)
        yield (
            f"conv{d}d_backward",
            Call(f"conv{d}d_backward", convolution, grad=y, x=x, weight=weight, groups=2, **numbers),
        )
        numbers_up = {**numbers, "stride": 2, "output_padding": 1, "groups": 2}
        up = {**convolution, "output_padding": d}
        yield f"conv_transpose{d}d", Call(f"conv_transpose{d}d", up, x=x, weight=weight, **numbers_up)
        larger = getattr(convc, f"conv_transpose{d}d")(x, weight, **numbers_up)
        yield (
            f"conv_transpose{d}d_backward",
            Call(f"conv_transpose{d}d_backward", up, grad=larger, x=x, weight=weight, **numbers_up),
        )
        yield (
            f"prepare{d}",
            Call(
                "prepare",
                {**convolution, "input_shape": "shape"},
                weight=weight,
                bias=None,
                input_shape=x.shape,
                groups=2,
                **numbers,
            ),
        )
        if d < 3:
            unshared = np.broadcast_to(weight[:, :1], (np.prod(y.shape[2:]), 4, 4, *weight.shape[2:]))
            yield f"locally_connected{d}d", Call(f"locally_connected{d}d", window, x=x, weight=unshared, **numbers)
            mirrored = {**numbers, "pad_mode": "reflect"}
            yield (
                f"locally_connected{d}d reflecting",
                Call(f"locally_connected{d}d", window, x=x, weight=unshared, **mirrored),
            )
            yield (
                f"locally_connected{d}d_backward",
                Call(f"locally_connected{d}d_backward", window, grad=y, x=x, weight=unshared, **numbers),
            )
        pooling = {**numbers, "dilation": 1, "kernel_size": 2}
        yield f"max_pool{d}d", Call(f"max_pool{d}d", {**window, "kernel_size": d}, x=x, return_indices=True, **pooling)
        yield (
            f"max_pool{d}d_backward",
            Call(f"max_pool{d}d_backward", {"x_shape": "shape"}, grad=x, indices=indices(*x.shape), x_shape=x.shape),
        )
        averaging = {"kernel_size": d, "stride": d, "padding": d}
        yield f"avg_pool{d}d", Call(f"avg_pool{d}d", averaging, x=x, kernel_size=2, stride=1, padding=1)
        size = tuple(2 * n for n in sized(d))
        yield (
            f"max_unpool{d}d",
            Call(
                f"max_unpool{d}d",
                {**averaging, "output_size": d},
                x=x,
                indices=indices(*x.shape),
                kernel_size=2,
                stride=2,
                padding=0,
                output_size=size,
            ),
        )
        yield (
            f"adaptive_avg_pool{d}d",
            Call(f"adaptive_avg_pool{d}d", {"output_size": d}, x=x, output_size=(3, 2, 4)[:d]),
        )
        layout = ("NCW", "NCHW", "NCDHW")[d - 1]
        kernel = {**window, "kernel_size": d}
        yield f"im2col{d}", Call("im2col", kernel, x=x, kernel_size=2, layout=layout, **numbers)
        cols = ones(2, 4 * 2**d, int(np.prod([size + 1 for size in sized(d)])))
        yield (
            f"col2im{d}",
            Call(
                "col2im",
                {**kernel, "output_size": d},
                cols=cols,
                output_size=sized(d),
                kernel_size=2,
                layout=layout,
                **numbers,
            ),
        )
        image = {"x_shape": "shape", "size": d}
        yield f"interpolate{d}", Call("interpolate", {"size": d}, x=x, size=3, layout=layout)
        yield (
            f"interpolate{d}_backward",
            Call("interpolate_backward", image, grad=ones(2, 4, *[3] * d), x_shape=x.shape, size=3, mode=LINEAR[d - 1]),
        )
    x, grad = ones(2, 4, 6, 5), ones(2, 4, 5, 4)
    shape = {"x_shape": "shape", "kernel_size": 2, "stride": 2, "padding": 2}
    windows = {"kernel_size": 2, "stride": 1, "padding": 0}
    yield "avg_pool_backward", Call("avg_pool2d_backward", shape, grad=grad, x_shape=x.shape, **windows)
    norm = {"kernel_size": 2, "stride": 1, "norm_type": 2}
    yield "lp_pool", Call("lp_pool2d", {"kernel_size": 2, "stride": 2}, x=x, **norm)
    yield (
        "lp_pool_backward",
        Call("lp_pool2d_backward", {"kernel_size": 2, "stride": 2}, grad=grad, x=x, y=grad, **norm),
    )
    yield "adaptive_backward", Call("adaptive_avg_pool2d_backward", {"x_shape": "shape"}, grad=grad, x_shape=x.shape)
    yield "adaptive_max", Call("adaptive_max_pool2d", {"output_size": 2}, x=x, output_size=(3, 2), return_indices=True)
    yield (
        "global_avg_pool_backward",
        Call("global_avg_pool_backward", {"x_shape": "shape"}, grad=ones(2, 4), x_shape=x.shape, layout="NCHW"),
    )
    yield "prelu", Call("prelu", {"axis": 0}, x=ones(2, 3), weight=ones(3), axis=1)
    yield "prelu_backward", Call("prelu_backward", {"axis": 0}, grad=ones(2, 3), x=ones(2, 3), weight=ones(3), axis=1)
    yield "softmax", Call("softmax", {"axis": 0}, x=ones(2, 3), axis=1)
    yield "softmax_backward", Call("softmax_backward", {"axis": 0}, grad=ones(2, 3), y=ones(2, 3), axis=1)
    x, pair = ones(2, 4, 5), {"mean": np.ones((2, 2)), "inv_std": np.ones((2, 2))}
    yield "group_norm", Call("group_norm", {"num_groups": 0}, x=x, num_groups=2)
    yield "group_norm_backward", Call("group_norm_backward", {"num_groups": 0}, grad=x, x=x, num_groups=2, **pair)
    yield "layer_norm", Call("layer_norm", {"normalized_shape": 0}, x=x, normalized_shape=5)
    yield "layer_norm of two axes", Call("layer_norm", {"normalized_shape": "shape"}, x=x, normalized_shape=(4, 5))
    yield "local_response_norm", Call("local_response_norm", {"size": 0}, x=x, size=3)
    yield "local_response_norm_backward", Call("local_response_norm_backward", {"size": 0}, grad=x, x=x, size=3)
    yield "set_num_threads", Call("set_num_threads", {"n": 0}, n=1)


def convc_output(x, weight, spatial):
    """An array of the shape that the convolution of the sweep gives."""
    return ones(x.shape[0], weight.shape[0], *(x.shape[i] + 3 - weight.shape[i] for i in range(2, spatial + 2)))


CALLS = dict(calls())


def same(a, b):
    if isinstance(a, tuple):
        return len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, convc.Plan):
        return a.output_shape == b.output_shape
    return np.array_equal(a, b)


def modest(call, argument, arguments):
    """Arguments that must give the same: a stride beyond the padded image is as good as one of its size."""
    if argument != "stride" or call.function.__name__.startswith("max_unpool"):
        return arguments
    small = [min(value, 100) for value in np.atleast_1d(np.array(arguments["stride"], object))]
    return {**arguments, "stride": tuple(small) if isinstance(arguments["stride"], tuple) else small[0]}


def sweep(name):
    """Calls the function with each extreme; yields what is neither an answer nor a documented error."""
    call = CALLS[name]
    for argument, arguments in call.changed(EXTREMES):
        try:
            answer = call.function(**arguments)
        except (ValueError, TypeError, MemoryError) as error:
            if not str(error):
                yield f"{argument}={arguments[argument]}: {type(error).__name__} without a word"
            continue
        except BaseException as error:
            yield f"{argument}={arguments[argument]}: {error!r}"
            continue
        if not same(answer, call.function(**modest(call, argument, arguments))):
            yield f"{argument}={arguments[argument]}: a wrong answer"


def main(name):
    import resource

    CALLS[name].works()
    with open("/proc/self/statm") as statm:
        pages = int(statm.read().split()[0])
    limit = pages * resource.getpagesize() + SPARE_BYTES
    resource.setrlimit(resource.RLIMIT_AS, (limit, resource.RLIM_INFINITY))
    wrong = list(sweep(name))
    print("\n".join(wrong))
    return bool(wrong)


@pytest.mark.skipif(sys.platform != "linux", reason="limits its memory as Linux does")
@pytest.mark.parametrize("name", CALLS)
def test_extreme_numbers(name):
    environment = {**os.environ, "CONVC_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, __file__, name], capture_output=True, text=True, timeout=100, env=environment
    )
    assert done.returncode == 0, f"{done.returncode}\n{done.stdout[-4000:]}\n{done.stderr[-2000:]}"


@pytest.mark.parametrize("name", CALLS)
def test_numbers_beyond_64_bits(name):
    CALLS[name].works()
    for argument, arguments in CALLS[name].changed((10**20, -(10**20), 2**63, 10**5000)):
        with pytest.raises(ValueError, match=f"{argument} must fit in 64 bits"):
            CALLS[name].function(**arguments)


def is_default(name, argument, value):
    """None may stand for what an operator takes by itself: a stride of the kernel's size, a size that it works out."""
    if argument == "output_size" and name.startswith("adaptive"):
        return isinstance(value, tuple) and None in value
    return value is None and (argument == "stride" or name.startswith(("max_unpool", "interpolate")))


@pytest.mark.parametrize("name", CALLS)
def test_what_is_no_number(name):
    for argument, arguments in CALLS[name].changed((1.0, True, None, np.float64(1), np.bool_(True), b"1", {1}, 1j)):
        if is_default(name, argument, arguments[argument]):
            continue
        with pytest.raises(TypeError, match=argument):
            CALLS[name].function(**arguments)


@pytest.mark.parametrize("name", CALLS)
def test_wrong_counts(name):
    call = CALLS[name]
    for argument, kind in call.numbers.items():
        if kind == 0:
            continue
        right = len(call.arguments[argument]) if kind == "shape" else kind
        for count in {0, right - 1, right + 1, 7} - {right}:
            with pytest.raises(ValueError, match=argument):
                call.function(**{**call.arguments, argument: (1,) * count})


@pytest.mark.parametrize("name", CALLS)
def test_integers_of_numpy(name):
    """What operator.index takes is an int."""
    call = CALLS[name]
    expected = call.works()
    for kind in (np.int8, np.int64, np.uint16, np.array):
        arguments = {
            key: convert(value, kind) if key in call.numbers else value for key, value in call.arguments.items()
        }
        answer = call.function(**arguments)
        assert answer is expected is None or same(answer, expected)


def convert(value, kind):
    return [kind(item) for item in value] if isinstance(value, tuple) else kind(value)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
