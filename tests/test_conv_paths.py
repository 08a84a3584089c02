"""Convolutions large or odd enough for another path: copies of the image, weights in chunks. Exact on integers."""

import numpy as np
import pytest
import reference
from strategies import ISAS, inner, spread

import convc


def integers(rng, *shape, dtype=np.float32):
    return rng.integers(-3, 4, shape).astype(dtype)


def in_layout(a, layout):
    return a if layout == "NCHW" else np.ascontiguousarray(np.moveaxis(a, 1, -1))


def conv_by_columns(x, weight, stride, padding, dilation):
    columns = reference.im2col(x, weight.shape[2:], stride, [(p, p) for p in padding], dilation)
    y = weight.reshape(len(weight), -1) @ columns
    out = [
        (n + 2 * p - d * (k - 1) - 1) // s + 1
        for n, p, d, k, s in zip(x.shape[2:], padding, dilation, weight.shape[2:], stride, strict=True)
    ]
    return y.reshape(len(x), -1, *out)


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
@pytest.mark.parametrize(
    ("kernel", "stride", "padding", "dilation"),
    [
        ((7, 7), (2, 2), (3, 3), (1, 1)),
        ((11, 11), (4, 4), (2, 2), (1, 1)),
        ((3, 3), (1, 1), (1, 1), (1, 1)),
        ((5, 2), (2, 3), (0, 1), (3, 2)),
        ((2, 4), (5, 7), (1, 3), (1, 5)),
    ],
)
@pytest.mark.parametrize("channels", [1, 3, 5])
def test_images_of_few_channels(channels, kernel, stride, padding, dilation, layout, dtype, isa):
    """Packed from a padded copy that is sorted by the step, of one image or of several under one block."""
    convc.set_isa(isa)
    rng = np.random.default_rng(channels)
    for n, h, w in ((1, 61, 75), (5, 17, 19)):
        x, weight = integers(rng, n, channels, h, w, dtype=dtype), integers(rng, 20, channels, *kernel, dtype=dtype)
        y = convc.conv2d(
            in_layout(x, layout), weight, None, stride, padding, dilation, layout=layout, algorithm="direct"
        )
        expected = conv_by_columns(x, weight, stride, padding, dilation)
        np.testing.assert_array_equal(y, in_layout(expected, layout))


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
@pytest.mark.parametrize(
    ("kernel", "stride", "padding", "dilation"),
    [
        ((5, 5), (1, 1), (0, 0), (1, 1)),  # nothing to pad: pixels are read in the image itself
        ((6, 5), (1, 1), (2, 3), (1, 1)),
        ((7, 7), (2, 2), (3, 2), (1, 1)),
        ((5, 6), (1, 3), (4, 5), (2, 4)),  # taps of one row in all places within the step
    ],
)
@pytest.mark.parametrize(("groups", "outs"), [(1, 16), (1, 47), (2, 70)])
def test_output_channels_along_vectors(groups, outs, kernel, stride, padding, dilation, layout, dtype, isa):
    """Pixels read where they lie: rows longer than a tile, small maps of several images, panels that are not full."""
    convc.set_isa(isa)
    rng = np.random.default_rng(outs)
    weight, bias = integers(rng, outs, 5, *kernel, dtype=dtype), integers(rng, outs, dtype=dtype)
    options = {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups, "activation": "relu"}
    options |= {"layout": layout, "algorithm": "direct"}
    for n, h, w in ((1, 19, 290), (3, 16, 23)):
        x = integers(rng, n, 5 * groups, h, w, dtype=dtype)
        parts = zip(np.split(x, groups, 1), np.split(weight, groups), strict=True)
        expected = np.concatenate([conv_by_columns(a, b, stride, padding, dilation) for a, b in parts], 1)
        expected = in_layout(np.maximum(expected + bias[:, None, None], 0), layout)
        x = in_layout(x, layout)
        np.testing.assert_array_equal(convc.conv2d(x, weight, bias, **options), expected)
        plan = convc.prepare(weight, bias, x.shape, **options)
        backwards = np.ascontiguousarray(x[..., ::-1])[..., ::-1]
        out = np.full((*expected.shape, 2), 77, dtype)[..., 0]
        assert plan(backwards, out=out) is out
        np.testing.assert_array_equal(out, expected)


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("kernel", [3, 5, 7])
def test_depthwise_rows_of_every_width(kernel, stride, dtype, isa):
    """Blocks of vectors at both ends of a row, whatever lies outside it: the image is a part of one full of NaN."""
    convc.set_isa(isa)
    rng = np.random.default_rng(kernel)
    for padding in range(kernel):
        for width in (*range(max(1, kernel - 2 * padding), 24), 37, 56, 63, 81):
            outs = 3 + 3 * (width % 2)  # also two of each channel
            x = inner(integers(rng, 2, 3, 6, width, dtype=dtype))
            weight, bias = integers(rng, outs, 1, kernel, kernel, dtype=dtype), integers(rng, outs, dtype=dtype)
            padded = np.pad(x, ((0, 0), (0, 0), (3, 3), (padding, padding)))
            windows = np.lib.stride_tricks.sliding_window_view(padded, (kernel, kernel), (2, 3))
            windows = np.repeat(windows[:, :, ::stride, ::stride], outs // 3, 1)
            expected = np.einsum("nchwrs,crs->nchw", windows, weight[:, 0]) + bias[:, None, None]
            options = {"stride": stride, "padding": ((3, 3), (padding, padding)), "groups": 3, "fit": "floor"}
            np.testing.assert_array_equal(convc.conv2d(x, weight, bias, **options), expected)
            out = np.full((*expected.shape, 2), 77, dtype)
            convc.conv2d(x, weight, bias, **options, activation="relu", out=out[..., 0])
            np.testing.assert_array_equal(out, np.stack([np.maximum(expected, 0), np.full_like(expected, 77)], -1))


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("channels", [1, 5, 16, 70, 400, 900])
def test_pixels_that_are_rows_of_a_product(channels, dtype, isa):
    """Read where they are if they are evenly spaced, with NaN between them; packed otherwise."""
    convc.set_isa(isa)
    rng = np.random.default_rng(channels)
    for outs in (1, 3, 8, 16, 20, 37):
        weight, bias = integers(rng, outs, channels, 1, 1, dtype=dtype), integers(rng, outs, dtype=dtype)
        for shape in ((1, 1, 23, channels), (2, 3, 5, channels)):
            x = integers(rng, *shape, dtype=dtype)
            expected = x @ weight.reshape(outs, channels).T + bias
            for view in (x, inner(x), spread(x)):
                y = convc.conv2d(view, weight, bias, layout="NHWC")
                np.testing.assert_array_equal(y, expected)
                np.testing.assert_array_equal(convc.prepare(weight, bias, shape, layout="NHWC")(view), expected)


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(("size", "padding"), [((8, 8), 1), ((9, 14), 1), ((6, 7), 3), ((10, 12), 0)])
def test_winograd_of_images_within_others(size, padding, dtype, isa):
    """Channels last, images and gradients are read where they are: the same bits as from arrays of their own."""
    convc.set_isa(isa)
    rng = np.random.default_rng(padding)
    x, weight = rng.normal(size=(2, *size, 40)).astype(dtype), rng.normal(size=(24, 40, 3, 3)).astype(dtype)
    options = {"padding": padding, "layout": "NHWC", "algorithm": "winograd"}
    y = convc.conv2d(x, weight, **options)
    exact = convc.conv2d(x.astype(np.float64), weight.astype(np.float64), padding=padding, layout="NHWC")
    assert abs(y - exact).max() <= (1e-5 if dtype == np.float32 else 1e-13) * abs(exact).max()
    np.testing.assert_array_equal(convc.conv2d(inner(x), weight, **options), y)
    grad, needs = rng.normal(size=y.shape).astype(dtype), ("x", "weight")
    expected = convc.conv2d_backward(grad, x, weight, **options, needs=needs)
    results = convc.conv2d_backward(inner(grad), inner(x), weight, **options, needs=needs)
    for result, wanted in zip(results[:2], expected[:2], strict=True):
        np.testing.assert_array_equal(result, wanted)


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(
    ("size", "kernel", "stride"), [(7, 3, 1), (7, 1, 1), (14, 1, 1), (9, 3, 2), (5, 5, 1), (3, 3, 1)]
)
@pytest.mark.parametrize("batch", [1, 3])
def test_small_maps(batch, size, kernel, stride, dtype, isa):
    """Pixels that would not fill the vectors: the image may be turned to channels last, or packed so."""
    convc.set_isa(isa)
    rng = np.random.default_rng(size)
    x = integers(rng, batch, 40, size, size, dtype=dtype)
    weight, bias = integers(rng, 70, 40, kernel, kernel, dtype=dtype), integers(rng, 70, dtype=dtype)
    window = (stride, stride), (kernel // 2, kernel // 2), (1, 1)
    expected = np.maximum(conv_by_columns(x, weight, *window) + bias[:, None, None], 0)
    options = dict(zip(("stride", "padding", "dilation"), window, strict=True), activation="relu", algorithm="direct")
    y = convc.conv2d(x, weight, bias, **options)
    np.testing.assert_array_equal(y, expected)
    plan = convc.prepare(weight, bias, x.shape, **options)
    np.testing.assert_array_equal(plan(x), expected)


@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
@pytest.mark.parametrize("groups", [1, 3])
def test_weights_packed_in_chunks(groups, layout):
    """More of them than are packed at a time, forward and in the gradient of the data."""
    rng = np.random.default_rng(groups)
    x, weight, bias = integers(rng, 2, 600, 4, 5), integers(rng, 630, 600 // groups, 3, 3), integers(rng, 630)
    expected = np.concatenate(
        [
            conv_by_columns(a, b, (1, 1), (1, 1), (1, 1))
            for a, b in zip(np.split(x, groups, 1), np.split(weight, groups), strict=True)
        ],
        1,
    )
    options = {"padding": 1, "groups": groups, "layout": layout, "algorithm": "direct"}
    y = convc.conv2d(in_layout(x, layout), weight, bias, **options)
    np.testing.assert_array_equal(y, in_layout(expected + bias[:, None, None], layout))

    grad = integers(rng, *expected.shape)
    back = np.flip(weight.reshape(groups, 630 // groups, 600 // groups, 3, 3), (3, 4)).swapaxes(1, 2)
    expected = np.concatenate(
        [conv_by_columns(a, b, (1, 1), (1, 1), (1, 1)) for a, b in zip(np.split(grad, groups, 1), back, strict=True)], 1
    )
    result, _, _ = convc.conv2d_backward(in_layout(grad, layout), in_layout(x, layout), weight, **options, needs=("x",))
    np.testing.assert_array_equal(result, in_layout(expected, layout))


def ones(*shape):
    """A view of a single number, as large as it says."""
    return np.broadcast_to(np.float32(1), shape)


@pytest.mark.parametrize("algorithm", ["winograd", "direct", "auto"])
def test_more_channels_than_memory(algorithm):
    """Transformed, they would take more bytes than an integer can count."""
    channels = 128 * (2**56 + 77) // 81
    with pytest.raises((MemoryError, ValueError)):
        convc.conv2d(ones(1, channels, 1, 1), ones(1, channels, 3, 3), padding=1, algorithm=algorithm)


def test_gradients_pass_over_what_lies_in_the_padding():
    """However much of it there is, only rows that meet the image are read."""
    x, weight = np.arange(16, dtype=np.float32).reshape(1, 1, 4, 4), ones(1, 1, 3, 3)
    grads = []
    for far in (2, 2**40):
        grad = np.broadcast_to(np.arange(4, dtype=np.float32), (1, 1, 2 * far + 2, 4))
        options = {"padding": ((far, far), (1, 1)), "needs": ("weight",)}
        grads.append(convc.conv2d_backward(grad, x, weight, **options)[1])
    np.testing.assert_array_equal(*grads)

    x, grad, grads = np.zeros((1, 1, 4, 8), np.float32), np.arange(20, dtype=np.float32).reshape(1, 1, 5, 4), []
    for high in (5, 2**40):
        options = {"stride": (1, 2), "padding": ((0, high), (1, 1)), "needs": ("x",)}
        grads.append(convc.conv2d_backward(grad, x, ones(1, 1, high, 3), **options)[0])
    np.testing.assert_array_equal(*grads)


def test_one_channel_in_either_layout():
    rng = np.random.default_rng(5)
    x, weight = integers(rng, 2, 1, 20, 37), integers(rng, 1, 1, 3, 3)
    expected = conv_by_columns(x, weight, (1, 1), (1, 1), (1, 1))
    np.testing.assert_array_equal(convc.conv2d(x, weight, padding=1), expected)
    y = convc.conv2d(in_layout(x, "NHWC"), weight, padding=1, layout="NHWC")
    np.testing.assert_array_equal(y, in_layout(expected, "NHWC"))


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
@pytest.mark.parametrize(
    ("kernel", "stride", "padding", "dilation"),
    [((5, 5), (1, 1), (0, 0), (1, 1)), ((7, 7), (2, 2), (3, 2), (1, 1)), ((3, 4), (1, 3), (4, 5), (2, 4))],
)
@pytest.mark.parametrize(("groups", "outs"), [(1, 16), (1, 47), (2, 70)])
def test_weight_gradients_with_output_channels_along_vectors(
    groups, outs, kernel, stride, padding, dilation, layout, dtype, isa
):
    """Sums over parts of the pixels: rows longer than a tile, several images, panels that are not full, any strides."""
    convc.set_isa(isa)
    rng = np.random.default_rng(outs)
    weight = np.zeros((outs, 5, *kernel), dtype)
    options = {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups, "layout": layout}
    for n, h, w in ((1, 23, 290), (3, 30, 31)):
        x = in_layout(integers(rng, n, 5 * groups, h, w, dtype=dtype), layout)
        grad = integers(rng, *convc.conv2d(x, weight, **options).shape, dtype=dtype)
        expected = convc.conv2d_backward(grad, x, weight, needs=("weight",), algorithm="gemm", **options)[1]
        for given in (grad, np.repeat(grad, 2, 2)[:, :, ::2], np.repeat(grad, 2, 1)[:, ::2]):
            got = convc.conv2d_backward(given, x, weight, needs=("weight",), algorithm="direct", **options)[1]
            np.testing.assert_array_equal(got, expected)


@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
def test_weight_gradients_of_first_layers_have_the_same_bits_on_any_number_of_threads(layout):
    rng = np.random.default_rng(0)
    x = in_layout(rng.standard_normal((9, 3, 33, 35)).astype(np.float32), layout)
    grad = in_layout(rng.standard_normal((9, 24, 33, 35)).astype(np.float32), layout)
    weight, results = np.zeros((24, 3, 3, 3), np.float32), []
    for threads in (1, 2, 3, 7):
        convc.set_num_threads(threads)
        results.append(convc.conv2d_backward(grad, x, weight, padding=1, layout=layout, needs=("weight",))[1])
        np.testing.assert_array_equal(results[-1], results[0])


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize(("ins", "outs"), [(4, 4), (1, 2), (3, 1)])
def test_weight_gradients_of_groups_channels_last(ins, outs, isa):
    """Copied with the channels first, some groups at a time."""
    convc.set_isa(isa)
    rng = np.random.default_rng(ins)
    x, grad = integers(rng, 2, 90, 110, 24 * ins), integers(rng, 2, 45, 110, 24 * outs)
    options = {"stride": (2, 1), "padding": 1, "groups": 24, "layout": "NHWC", "needs": ("weight",)}
    weight = np.zeros((24 * outs, ins, 3, 3), np.float32)
    expected = convc.conv2d_backward(grad, x, weight, algorithm="gemm", **options)[1]
    for given in (x, np.repeat(x, 2, 1)[:, ::2]):
        got = convc.conv2d_backward(grad, given, weight, **options)[1]
        np.testing.assert_array_equal(got, expected)
