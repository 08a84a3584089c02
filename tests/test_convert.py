"""Layers turned into others that compute the same: exactly, on whole numbers."""

import doctest
import importlib.util
import math
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import FIRST, LAST, channels_last, convolutions, integers

import convc
from convc import convert, models, nn

F64 = np.float64
RNG = np.random.default_rng(0)
CONVS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)


def whole(net, limit=2):
    """Fill a network with whole numbers, so that all that computes the same gives the same bits."""
    for parameter in net.parameters():
        parameter.data[...] = integers(RNG, *parameter.data.shape, limit=limit)
    return net


def example():
    path = Path(__file__).resolve().parents[1] / "examples" / "sliding_classifier.py"
    spec = importlib.util.spec_from_file_location("sliding_classifier", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


# ---- fully connected layers as convolutions


@settings(deadline=None)
@given(
    st.lists(st.integers(1, 4), min_size=2, max_size=4), st.booleans(), st.booleans(), st.sampled_from([None, "relu"])
)
def test_a_linear_layer_is_a_convolution(shape, last, bias, activation):
    layout = (LAST if last else FIRST)[len(shape) - 2]
    linear = whole(nn.Linear(math.prod(shape), 5, bias, activation=activation, dtype=F64))
    conv = convert.linear_to_conv(linear, tuple(shape), layout=layout)
    x = integers(RNG, 3, *shape)
    assert type(conv) is CONVS[len(shape) - 2]
    assert conv.layout == layout
    y = conv(x)
    assert y.shape[1:] == conv.output_shape(tuple(shape))
    assert np.array_equal(y.reshape(3, -1), linear(x.reshape(3, -1)))
    conv.weight.data[...] = 0
    assert linear.weight.data.any()  # a copy


@pytest.mark.parametrize("last", [False, True])
@pytest.mark.parametrize("ndim", [1, 2, 3])
def test_a_network_slides(ndim, last):
    """Every position of the map of scores is the score of the crop there."""
    conv, pool, layout = (
        CONVS[ndim - 1],
        (nn.MaxPool1d, nn.MaxPool2d, nn.MaxPool3d)[ndim - 1],
        (FIRST, LAST)[last][ndim - 1],
    )
    head = nn.Sequential(
        nn.Dropout(),
        nn.Linear(3 * 2**ndim, 4, activation="relu", dtype=F64),
        nn.Flatten(),
        nn.ReLU(),
        nn.Sequential(nn.Linear(4, 5, bias=False, dtype=F64)),
    )
    features = nn.Sequential(conv(2, 3, 3, layout=layout, dtype=F64), nn.ReLU(), pool(2, layout=layout))
    net = whole(nn.Sequential(features, nn.Flatten(), head))

    def shape(size):
        return (*size, 2) if last else (2, *size)

    slides = convert.linear_to_conv(net, shape((6,) * ndim))
    size = (12, 6, 8)[:ndim]
    x = integers(RNG, 2, *shape(size))
    y = slides(x)
    positions = tuple((n - 6) // 2 + 1 for n in size)
    assert y.shape == ((2, *positions, 5) if last else (2, 5, *positions))
    for at in np.ndindex(positions):
        crop = tuple(slice(2 * p, 2 * p + 6) for p in at)
        score = y[(slice(None), *at)] if last else y[(..., *at)]
        assert np.array_equal(score, net(x[(slice(None), *crop)] if last else x[(..., *crop)])), at
    assert slides[0] is features[0]


ELEMENTWISE = nn.ReLU, nn.Sigmoid, nn.Tanh, nn.SiLU, nn.GELU, nn.LeakyReLU, lambda: nn.PReLU(dtype=F64), nn.Dropout


@pytest.mark.parametrize("layout", ["NCHW", "NHWC", "NCW", "NDHWC"])
def test_all_that_goes_along_the_numbers_of_vectors_slides(layout):
    """Elementwise layers, and those that have a weight for each number or add up over them."""
    ndim, last, rng = len(layout) - 2, layout.endswith("C"), np.random.default_rng(3)
    head = (
        *(make() for make in ELEMENTWISE),
        nn.Linear(2 * 3**ndim, 4, dtype=F64, rng=0),
        nn.BatchNorm1d(4, eps=0.1, dtype=F64),
        *(make() for make in ELEMENTWISE),
        nn.PReLU(4, dtype=F64),
        nn.PReLU(4, axis=-1, dtype=F64),
        nn.Linear(4, 5, dtype=F64, rng=1),
        nn.BatchNorm1d(5, affine=False, dtype=F64),
        nn.Softmax(1),
        nn.Softmax(-1),
    )
    net = nn.Sequential(CONVS[ndim - 1](1, 2, 2, layout=layout, dtype=F64, rng=2), nn.Flatten(), *head)
    for name, held in net._named((nn.Parameter, nn.Buffer)):
        if held.data.ndim == 1 and "0." not in name:
            held.data[...] = rng.random(held.data.shape) + 0.5

    def shape(side):
        return (*(side,) * ndim, 1) if last else (1, *(side,) * ndim)

    slides = convert.linear_to_conv(net, shape(4))
    x = rng.normal(size=(2, *shape(6)))
    y = slides(x)
    assert y.shape == (2, *((3,) * ndim + (5,) if last else (5,) + (3,) * ndim))
    for at in np.ndindex((3,) * ndim):
        crop = tuple(slice(p, p + 4) for p in at)
        score = y[(slice(None), *at)] if last else y[(..., *at)]
        expected = net(x[(slice(None), *crop)] if last else x[(..., *crop)])
        np.testing.assert_allclose(score, expected, rtol=1e-10, atol=1e-14)
    slides[-3].running_var.data[...] = 0
    assert net[-3].running_var.data.all()  # a copy


def test_lenet_slides():
    net = models.lenet5(rng=0)
    image = RNG.random((1, 1, 36, 40), np.float32)
    y = convert.linear_to_conv(net, (1, 32, 32))(image)
    assert y.shape == (1, 10, 2, 3)
    np.testing.assert_allclose(y[..., 1, 2], net(image[..., 4:, 8:]), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
@pytest.mark.parametrize("flatten", [False, True])
@pytest.mark.parametrize("pool", [nn.GlobalAvgPool, nn.GlobalMaxPool])
def test_a_global_pool_makes_vectors(pool, flatten, layout):
    """And one position, of any image."""
    layers = pool(layout=layout), *[nn.Flatten()] * flatten, nn.Linear(3, 4, dtype=F64, rng=1), nn.Softmax(1)
    net = nn.Sequential(nn.Conv2d(2, 3, 2, layout=layout, dtype=F64, rng=0), nn.Tanh(), *layers)
    x = RNG.normal(size=(2, 2, 5, 6) if layout == "NCHW" else (2, 5, 6, 2))
    y = convert.linear_to_conv(net, x.shape[1:])(x)
    assert y.shape == ((2, 4, 1, 1) if layout == "NCHW" else (2, 1, 1, 4))
    np.testing.assert_allclose(y.reshape(2, 4), net(x), rtol=1e-10)


def test_alexnets_strides_give_six_by_six_scores():
    """(384 - 224) / 32 + 1 = 6, equal to 36 crops, for a small part of the multiply-adds."""
    sliding = example()
    net = whole(sliding.network((2, 3, 4), 5, F64), 1)
    slides = convert.linear_to_conv(net, (3, 224, 224))
    image = integers(RNG, 1, 3, 384, 384)
    y = slides(image)
    assert y.shape == (1, 5, 6, 6)
    assert np.array_equal(y[0], sliding.scores_of_crops(net, image))
    assert len({score.tobytes() for score in y[0].reshape(5, 36).T}) > 1
    assert 36 * net.macs((3, 224, 224)) > 8 * slides.macs((3, 384, 384))


def test_the_example_of_a_sliding_classifier(capsys):
    example().main()
    lines = capsys.readouterr().out.splitlines()
    assert [line.split("  ")[0] for line in lines[:2]] == ["36 crops", "one pass"]
    assert float(lines[1].split("; ")[1].split()[0]) > 3  # times less to multiply
    assert float(lines[2].split()[-1]) < 1e-4


def test_padding_makes_the_borders_of_crops_differ():
    """What the documentation warns of: inside, where no border is felt, the scores are still the crop's."""
    net = whole(nn.Sequential(nn.Conv2d(1, 1, 3, padding=1, dtype=F64), nn.Flatten(), nn.Linear(16, 1, dtype=F64)))
    slides = convert.linear_to_conv(net, (1, 4, 4))
    x = integers(RNG, 1, 1, 8, 8) + 5
    assert not np.array_equal(slides(x)[..., 2, 2], net(x[..., 2:6, 2:6]))
    alone = np.zeros_like(x)
    alone[..., 3:5, 3:5] = x[..., 3:5, 3:5]
    assert np.array_equal(slides(alone)[..., 2, 2], net(alone[..., 2:6, 2:6]))


@pytest.mark.parametrize(
    ("layer", "shape", "options", "error", "match"),
    [
        (nn.Linear(12, 2), (3, 2, 3), {}, ValueError, "12 features.*flattens to 18"),
        (nn.Linear(12, 2), (3, 2, 2), {"layout": "NWC"}, ValueError, "layout must be 'NCHW' or 'NHWC'"),
        (nn.Linear(12, 2), (12,), {}, ValueError, "input_shape"),
        (nn.Linear(12, 2), (3, 2, 2, 1, 1), {}, ValueError, "input_shape"),
        (nn.Linear(12, 2), 12, {}, TypeError, "input_shape"),
        (nn.Linear(12, 2), (3, 4, 0), {}, ValueError, "input_shape"),
        (nn.ReLU(), (3, 2, 2), {}, TypeError, "Linear or a Sequential"),
        (nn.Sequential(nn.Conv2d(3, 2, 1)), (3, 2, 2), {}, ValueError, "nothing to convert"),
        (nn.Sequential(nn.Flatten(2), nn.Linear(4, 2)), (3, 2, 2), {}, ValueError, "nothing to convert"),
        (nn.Sequential(nn.Flatten(), nn.MaxPool2d(2)), (3, 2, 2), {}, TypeError, r"MaxPool2d.* does behind a Flatten"),
        (nn.Sequential(nn.Flatten(), nn.Softmax(1)), (3, 2, 2), {}, TypeError, r"Softmax\(dim=1\) does behind"),
        (nn.Sequential(nn.Flatten(), nn.PReLU(12)), (3, 2, 2), {}, TypeError, "PReLU.* does behind"),
        (nn.Sequential(nn.Flatten(), nn.BatchNorm1d(12)), (3, 2, 2), {}, TypeError, "BatchNorm1d.* does behind"),
        (nn.Sequential(nn.GlobalAvgPool(), nn.Softmax(0)), (3, 2, 2), {}, TypeError, r"Softmax\(dim=0\) does behind"),
        (nn.Sequential(nn.GlobalAvgPool(), nn.GroupNorm(1, 3)), (3, 2, 2), {}, TypeError, "GroupNorm.* does behind"),
        (nn.Sequential(nn.GlobalAvgPool(), nn.BatchNorm1d(4)), (3, 2, 2), {}, ValueError, "4 channels"),
        (nn.Sequential(nn.Flatten(), nn.Linear(11, 2)), (3, 2, 2), {}, ValueError, "11 features"),
        (nn.Sequential(nn.Conv2d(1, 2, 3), nn.Flatten()), (3, 9, 9), {}, ValueError, "1 channels"),
    ],
)
def test_what_cannot_slide(layer, shape, options, error, match):
    with pytest.raises(error, match=match):
        convert.linear_to_conv(layer, shape, **options)


# ---- convolutions as matrices


def layer_of(case):
    """The layer that computes a drawn convolution."""
    filters, channels = case.weight.shape[0], case.x.shape[1]
    layer = CONVS[case.spatial - 1](
        channels,
        filters,
        case.window.kernel,
        case.window.stride,
        case.window.padding,
        case.window.dilation,
        case.groups,
        case.bias is not None,
        layout=case.layout,
        dtype=case.x.dtype,
    )
    layer.weight.data[...] = case.weight
    if case.bias is not None:
        layer.bias.data[...] = case.bias
    return layer


def is_small(case):
    return case.x[0].size < 2000 and case.weight.size < 2000


@settings(deadline=None, max_examples=60)
@given(convolutions().filter(is_small))
def test_a_convolution_is_a_matrix(case):
    pytest.importorskip("scipy")
    layer, x = layer_of(case), np.ascontiguousarray(channels_last(case.x) if case.last else case.x)
    y = np.ascontiguousarray(layer(x))
    matrix = convert.conv_to_matrix(layer, x.shape[1:])
    assert matrix.dtype == x.dtype
    product = np.stack([matrix @ image.ravel() for image in x]).reshape(y.shape)
    if case.bias is not None:
        product += case.bias if case.last else case.bias.reshape(-1, *[1] * case.spatial)
    assert np.array_equal(product, y)
    # Its transpose carries the gradient back.
    grad = integers(RNG, *y.shape, dtype=y.dtype)
    options = {**case.window.options, "groups": case.groups, "layout": case.layout}
    grad_x, _, _ = case.function("_backward")(grad, x, case.weight, **options, algorithm="direct", needs=("x",))
    assert np.array_equal(np.stack([matrix.T @ g.ravel() for g in grad]).reshape(x.shape), grad_x)
    again = convert.conv_to_matrix(case.weight, x.shape[1:], **options)
    assert (again != matrix).nnz == 0


@settings(deadline=None, max_examples=40)
@given(convolutions().filter(is_small))
def test_a_convolution_is_a_linear_layer(case):
    layer, x = layer_of(case), np.ascontiguousarray(channels_last(case.x) if case.last else case.x)
    linear = convert.conv_to_linear(layer, x.shape[1:])
    assert (linear.bias is None) == (layer.bias is None)
    assert np.array_equal(linear(x.reshape(len(x), -1)), layer(x).reshape(len(x), -1))


@pytest.mark.parametrize("mode", ["reflect", "replicate", "circular"])
@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
def test_padding_that_is_not_zeros(mode, layout):
    """A tap in the padding adds its weight to that of the tap on the same input."""
    pytest.importorskip("scipy")
    conv = whole(nn.Conv2d(2, 3, 3, (1, 2), ((2, 1), (3, 2)), padding_mode=mode, layout=layout, dtype=F64))
    shape = (2, 4, 5) if layout == "NCHW" else (4, 5, 2)
    x = integers(RNG, 2, *shape)
    linear = convert.conv_to_linear(conv, shape)
    assert np.array_equal(linear(x.reshape(2, -1)), conv(x).reshape(2, -1))
    matrix = convert.conv_to_matrix(conv, shape)
    assert np.array_equal(matrix.toarray(), linear.weight.data)
    options = {"stride": conv.stride, "padding": conv.padding, "layout": layout, "pad_mode": mode}
    assert (convert.conv_to_matrix(conv.weight.data, shape, **options) != matrix).nnz == 0


def test_the_activation_comes_along():
    conv = nn.Conv2d(1, 2, 3, activation="relu", rng=0)
    assert convert.conv_to_linear(conv, (1, 5, 5)).activation == "relu"


def test_the_matrix_is_large_mostly_zero_and_of_equal_blocks():
    pytest.importorskip("scipy")
    conv = nn.Conv2d(1, 1, 3, rng=0)
    matrix = convert.conv_to_matrix(conv, (1, 8, 8)).toarray()
    assert matrix.shape == (36, 64)
    assert np.count_nonzero(matrix) == 36 * 9
    blocks = matrix.reshape(6, 6, 8, 8).swapaxes(1, 2)  # output row, input row, output column, input column
    for row in range(6):
        for tap in range(3):
            assert np.array_equal(blocks[row, row + tap], blocks[0, tap])
            diagonal = [np.diagonal(blocks[0, tap], at) for at in range(3)]
            assert all((d == w).all() for d, w in zip(diagonal, conv.weight.data[0, 0, tap], strict=True))


def test_matrices_that_cannot_be_held_are_refused():
    pytest.importorskip("scipy")
    conv = nn.Conv2d(3, 96, 11, stride=4)
    with pytest.raises(MemoryError, match=r"290,400 x 154,587 .*GiB.*conv_to_matrix"):
        convert.conv_to_linear(conv, (3, 227, 227))
    with pytest.raises(MemoryError, match=r"1 x 36 would need"):
        convert.conv_to_linear(nn.Conv2d(1, 1, 6), (1, 6, 6), max_bytes=143)
    assert convert.conv_to_linear(nn.Conv2d(1, 1, 6), (1, 6, 6), max_bytes=144).in_features == 36
    with pytest.raises(MemoryError, match="max_bytes"):
        convert.conv_to_matrix(np.zeros((96, 3, 11, 11)), (3, 2**30, 2**30))


@pytest.mark.parametrize(
    ("conv", "shape", "options", "error", "match"),
    [
        (nn.Conv2d(1, 1, 3), (1, 5, 5), {"stride": 2}, ValueError, "conv is a layer"),
        (nn.Conv2d(1, 1, 3, activation="relu"), (1, 5, 5), {}, ValueError, "activation='relu', which no matrix"),
        (nn.Conv2d(1, 1, 3), (1, 2, 2), {}, ValueError, "kernel_size"),
        (nn.Conv2d(1, 1, 3), (1, 5), {}, ValueError, "3 axes"),
        (nn.Conv2d(1, 1, 3), (2, 5, 5), {}, ValueError, "1 channels"),
        (nn.ReLU(), (1, 5, 5), {}, TypeError, "conv must be"),
        (np.ones((1, 1, 3, 3), int), (1, 5, 5), {}, TypeError, "int64"),
        (np.ones((1, 1, 3)), (1, 5, 5), {}, ValueError, "weight of 4 axes"),
        (np.ones((1, 1, 3, 3)), (2, 5, 5), {}, ValueError, "weight must be"),
        (np.ones((2, 1, 3, 3)), (2, 5, 5), {"groups": 0}, ValueError, "groups"),
        (np.ones((3, 1, 3, 3)), (2, 5, 5), {"groups": 2}, ValueError, "groups 2"),
        (np.ones((0, 1, 3, 3)), (1, 5, 5), {}, ValueError, "weight must be"),
        (np.ones((1, 1, 3, 3)), (1, 5, 5), {"layout": "NCW"}, ValueError, "layout"),
        (np.ones((1, 1, 3, 3)), (1, 5, 5), {"pad_mode": "mirror"}, ValueError, "pad_mode must be"),
        (np.ones((1, 1, 3, 3)), (1, 5, 5), {"padding": 5, "pad_mode": "reflect"}, ValueError, "at most 4"),
        (np.ones((1, 1, 3, 3)), (1, 5, 5), {"stride": -1}, ValueError, "stride"),
        (np.ones((1, 1, 3, 3)), (1, 5, -5), {}, ValueError, "input_shape"),
    ],
)
def test_what_is_no_matrix(conv, shape, options, error, match):
    pytest.importorskip("scipy")
    with pytest.raises(error, match=match):
        convert.conv_to_matrix(conv, shape, **options)


def test_without_scipy_the_error_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "scipy.sparse", None)
    with pytest.raises(ImportError, match="pip install scipy"):
        convert.conv_to_matrix(np.ones((1, 1, 3)), (1, 5))
    assert convert.conv_to_linear(nn.Conv1d(1, 1, 3), (1, 5)).in_features == 5


def test_only_layers_become_linear():
    with pytest.raises(TypeError, match="conv must be a Conv1d"):
        convert.conv_to_linear(np.ones((1, 1, 3, 3)), (1, 5, 5))


# ---- gradients as convolutions


@settings(deadline=None)
@given(convolutions())
def test_both_gradients_are_convolutions(case):
    x = case.x
    shape = case.function()(x, case.weight, None, *case.geometry).shape
    grad = integers(RNG, *shape, dtype=x.dtype)
    with convc.precision("exact"):
        grad_x, grad_weight = convert.backward_as_conv(grad, x, case.weight, *case.geometry)
        expected_x, expected_weight, _ = case.function("_backward")(grad, x, case.weight, *case.geometry)
    assert np.array_equal(grad_x, expected_x)
    assert np.array_equal(grad_weight, expected_weight)
    assert grad_x.dtype == grad_weight.dtype == x.dtype


def test_gradients_where_windows_lie_in_the_padding():
    """A stride beyond the input, and a window that sees zeros only."""
    for size, padding, stride in [(2, (5, 0), 4), (3, (0, 6), 5), (1, (4, 4), 7)]:
        x, weight = integers(RNG, 2, 2, size), integers(RNG, 3, 2, 2)
        grad = integers(RNG, *convc.conv1d(x, weight, None, stride, [padding]).shape)
        ours = convert.backward_as_conv(grad, x, weight, stride, [padding])
        theirs = convc.conv1d_backward(grad, x, weight, stride, [padding])[:2]
        assert all(map(np.array_equal, ours, theirs))


def test_gradients_of_an_empty_batch():
    grad_x, grad_weight = convert.backward_as_conv(np.ones((0, 2, 3, 3)), np.ones((0, 1, 5, 5)), np.ones((2, 1, 3, 3)))
    assert grad_x.shape == (0, 1, 5, 5)
    assert not grad_weight.any()


@pytest.mark.parametrize(
    ("changes", "error", "match"),
    [
        ({"grad": np.ones((1, 2, 4, 3))}, ValueError, r"grad must have the shape of the output, \(1, 2, 3, 3\)"),
        ({"grad": np.ones((1, 2, 3, 3), np.float32)}, TypeError, "grad"),
        ({"x": np.ones((1, 2, 5, 5), int)}, TypeError, "float"),
        ({"x": [[[[1.0]]]]}, TypeError, "list"),
        ({"weight": np.ones((2, 2, 3))}, ValueError, "weight must have"),
        ({"weight": np.ones((2, 0, 3, 3))}, ValueError, "weight must not be empty"),
        ({"weight": np.ones((2, 1, 3, 3))}, ValueError, "weight must be"),
        ({"groups": 3}, ValueError, "groups 3"),
        ({"groups": -1}, ValueError, "groups"),
        ({"stride": 0}, ValueError, "stride"),
        ({"dilation": 2**62}, ValueError, "dilation"),
        ({"padding": "full"}, ValueError, "padding"),
    ],
)
def test_bad_gradients(changes, error, match):
    arrays = {"grad": np.ones((1, 2, 3, 3)), "x": np.ones((1, 2, 5, 5)), "weight": np.ones((2, 2, 3, 3))}
    with pytest.raises(error, match=match):
        convert.backward_as_conv(**{**arrays, **changes})


def test_examples_in_the_docstrings():
    pytest.importorskip("scipy")
    result = doctest.testmod(convert)
    assert result.attempted > 0
    assert result.failed == 0
