"""Sizes against brute force, against the operators, and receptive fields against what really has an influence."""

import itertools
import math
import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import convc
from convc import nn, shapes

windows = st.tuples(st.integers(1, 12), st.integers(1, 4), st.integers(1, 4), st.integers(0, 3), st.integers(1, 3))


def starts(size, kernel, stride, padding, dilation):
    """Every place where a whole window fits."""
    span = dilation * (kernel - 1) + 1
    return [start for start in range(-padding, size + padding, stride) if start + span <= size + padding]


@settings(deadline=None)
@given(windows)
def test_output_shape_counts_the_windows_that_fit(window):
    size, kernel, stride, padding, dilation = window
    expected = starts(*window)
    if expected:
        assert shapes.output_shape((size,), kernel, stride, padding, dilation) == (len(expected),)
    else:
        with pytest.raises(ValueError, match="kernel_size"):
            shapes.output_shape((size,), kernel, stride, padding, dilation)


@settings(deadline=None)
@given(windows)
def test_exact_accepts_what_floor_does_without_a_rest(window):
    size, kernel, stride, padding, dilation = window
    expected = starts(*window)
    if not expected:
        return
    if expected[-1] + dilation * (kernel - 1) + 1 == size + padding:
        assert shapes.output_shape((size,), kernel, stride, padding, dilation, fit="exact") == (len(expected),)
    else:
        with pytest.raises(ValueError, match="would fit"):
            shapes.output_shape((size,), kernel, stride, padding, dilation, fit="exact")


def test_exact_on_the_textbooks_example():
    """10 with a kernel of 3 and a stride of 2: (10 - 3) / 2 + 1 = 4.5."""
    said = r"stride 2 does not fit spatial dimension 1: \(10 \+ 0 - 3\) / 2 \+ 1 is not whole; "
    said += r"an input of 9 or 11, or a total padding of 1, would fit"
    with pytest.raises(ValueError, match=said):
        shapes.output_shape((9, 10), 3, 2, fit="exact")
    with pytest.raises(ValueError, match=said):
        convc.conv2d(np.zeros((1, 1, 9, 10)), np.zeros((1, 1, 3, 3)), stride=2, fit="exact")
    with pytest.raises(ValueError, match=said):
        nn.MaxPool2d(3, 2, fit="exact")(np.zeros((1, 1, 9, 10)))
    assert shapes.output_shape((10,), 3, 2, [(0, 1)], fit="exact") == (5,)


def proposals(error):
    """The sizes and the total paddings that an error names."""
    said = re.fullmatch(
        r".*stride \d+ does not fit .*; an input of ([\d or]+)(?:, or a total padding of ([\d or]+),)? would fit", error
    )
    return [[int(number) for number in (part or "").split(" or ") if number] for part in said.groups()]


@given(
    st.integers(1, 12),
    st.integers(1, 4),
    st.integers(1, 7),
    st.tuples(st.integers(0, 4), st.integers(0, 4)),
    st.integers(1, 3),
    st.booleans(),
)
def test_all_that_exact_proposes_fits(size, kernel, stride, padding, dilation, pool):
    """Here, in the operators and in the layers, which say it in the same words."""
    span = dilation * (kernel - 1) + 1

    def operator(size, padding):
        x, windows = np.zeros((1, 1, size)), (stride, [padding], dilation)
        if pool:
            return convc.max_pool1d(x, kernel, *windows, fit="exact")
        return convc.conv1d(x, np.zeros((1, 1, kernel)), None, *windows, fit="exact")

    def python(size, padding):
        return shapes.output_shape((size,), kernel, stride, [padding], dilation, fit="exact", pool=pool)

    def layer(size, padding):
        windows = kernel, stride, [padding], dilation
        net = nn.MaxPool1d(*windows, fit="exact") if pool else nn.Conv1d(1, 1, *windows, fit="exact")
        return net.output_shape((1, size))

    if size + sum(padding) < span or (pool and max(padding) > span // 2):
        for function in (operator, python, layer):
            with pytest.raises(ValueError, match=r"kernel_size|at most half"):
                function(size, padding)
        return
    if (size + sum(padding) - span) % stride == 0:
        assert operator(size, padding).shape[2:] == python(size, padding) == layer(size, padding)[1:]
        return
    errors = []
    for function in (operator, python, layer):
        with pytest.raises(ValueError) as error:
            function(size, padding)
        errors.append(str(error.value))
    assert errors[0] == errors[1] == errors[2]
    sizes, totals = proposals(errors[0])
    for other in sizes:
        assert 0 < abs(other - size) < stride
        assert operator(other, padding).shape[2:] == python(other, padding)
    most = span // 2 if pool else 99
    for total in totals:
        assert 0 < abs(total - sum(padding)) < stride
        after = min(total, most)
        assert operator(size, (total - after, after)).shape[2:] == python(size, (total - after, after))
    # Nothing nearby is left out.
    rest = (size + sum(padding) - span) % stride
    assert sizes == [n for n in (size - rest, size - rest + stride) if n > 0]
    assert totals == [n for n in (sum(padding) - rest, sum(padding) - rest + stride) if 0 <= n <= 2 * most]


@pytest.mark.parametrize("name", ["conv1d", "conv2d", "conv3d", "max_pool1d", "max_pool2d", "max_pool3d", "prepare"])
def test_exact_is_everywhere(name):
    ndim = int(name[-2]) if name[-1] == "d" else 2
    for size, fits in ((8, False), (9, True)):
        x, weight = np.zeros((1, 1, *[9] * (ndim - 1), size)), np.zeros((1, 1, *[3] * ndim))
        arguments = {"pool": (x, 3, 2), "prep": (weight, None, x.shape)}.get(name[4:8] if "pool" in name else name[:4])
        arguments = arguments or (x, weight, None, 2)
        options = {"fit": "exact"} | ({"stride": 2} if name == "prepare" else {})
        if fits:
            assert getattr(convc, name)(*arguments, **options) is not None
        else:
            with pytest.raises(ValueError, match=rf"stride 2 does not fit spatial dimension {ndim - 1}: .*7 or 9"):
                getattr(convc, name)(*arguments, **options)


@given(windows, st.sampled_from(["floor", "ceil"]))
def test_dropped_is_what_no_window_reaches(window, fit):
    size, kernel, stride, padding, dilation = window
    if not starts(*window):
        return
    (count,) = shapes.output_shape((size,), kernel, stride, padding, dilation, fit=fit)
    last = (count - 1) * stride + dilation * (kernel - 1)
    expected = sum(position > last for position in range(size + 2 * padding))
    assert shapes.dropped((size,), kernel, stride, padding, dilation, fit=fit) == (expected,)


# ---- padding


@given(st.integers(1, 20), st.integers(1, 6), st.integers(1, 4), st.integers(1, 3))
def test_same_padding_keeps_the_size(size, kernel, stride, dilation):
    expected = -(-size // stride)
    (padding,) = shapes.same_padding(kernel, stride, dilation, ndim=1)
    assert sum(padding) == dilation * (kernel - 1)
    assert padding[1] - padding[0] in (0, 1)
    assert shapes.output_shape((size,), kernel, stride, [padding], dilation) == (expected,)
    # For a known size: the least that does it, and without a rest if windows are not stepped over.
    (least,) = shapes.same_padding(kernel, stride, dilation, (size,))
    assert least[1] - least[0] in (0, 1)
    assert shapes.output_shape((size,), kernel, stride, [least], dilation) == (expected,)
    if sum(least) > 0:
        assert shapes.output_shape((size,), kernel, stride, [least], dilation, fit="exact") == (expected,)
        padded = size + sum(least)
        assert padded == dilation * (kernel - 1) + 1 + (expected - 1) * stride  # one less would be an output less


def test_same_padding_of_all_axes():
    assert shapes.same_padding(3) == ((1, 1), (1, 1))
    assert shapes.same_padding((3, 5, 4)) == ((1, 1), (2, 2), (1, 2))
    assert shapes.same_padding(3, dilation=(1, 2)) == ((1, 1), (2, 2))
    assert shapes.same_padding((7, 7), 2, input_shape=(224, 225)) == ((2, 3), (3, 3))
    x, weight = np.zeros((1, 1, 11, 12)), np.zeros((1, 1, 4, 3))
    assert convc.conv2d(x, weight, padding=shapes.same_padding((4, 3))).shape == x.shape
    with pytest.raises(ValueError, match="kernel_size"):
        shapes.same_padding((3, 3), input_shape=(8,))
    with pytest.raises(ValueError, match="stride"):
        shapes.same_padding((3, 3), (1, 1, 1))
    with pytest.raises(ValueError, match="ndim"):
        shapes.same_padding(3, ndim=0)


@settings(deadline=None)
@given(windows)
def test_ceil_is_pytorchs(window):
    torch = pytest.importorskip("torch")
    size, kernel, stride, padding, dilation = window
    if padding > kernel // 2:
        return  # PyTorch refuses these
    try:
        expected = torch.nn.functional.max_pool1d(
            torch.zeros(1, 1, size), kernel, stride, padding, dilation, ceil_mode=True
        ).shape
    except RuntimeError:
        with pytest.raises(ValueError, match="kernel_size"):
            shapes.output_shape((size,), kernel, stride, padding, dilation, fit="ceil")
    else:
        assert shapes.output_shape((size,), kernel, stride, padding, dilation, fit="ceil") == expected[2:]


@settings(deadline=None)
@given(windows, st.sampled_from(["floor", "ceil"]))
def test_pooling_agrees_with_the_operator(window, fit):
    size, kernel, stride, padding, dilation = window
    if padding > kernel // 2:
        return
    try:
        y = convc.max_pool1d(np.zeros((1, 1, size)), kernel, stride, padding, dilation, fit=fit)
    except ValueError:
        with pytest.raises(ValueError, match="kernel_size"):
            shapes.output_shape((size,), kernel, stride, padding, dilation, fit=fit)
        return
    assert shapes.output_shape((size,), kernel, stride, padding, dilation, fit=fit) == y.shape[2:]


@settings(deadline=None)
@given(
    st.tuples(st.integers(3, 9), st.integers(3, 9)),
    st.tuples(st.integers(1, 3), st.integers(1, 3)),
    st.tuples(st.integers(1, 3), st.integers(1, 3)),
    st.one_of(
        st.just("valid"),
        st.just("same"),
        st.integers(0, 3),
        st.tuples(st.integers(0, 2), st.integers(0, 2)),
        st.tuples(st.tuples(st.integers(0, 2), st.integers(0, 2)), st.tuples(st.integers(0, 2), st.integers(0, 2))),
    ),
)
def test_convolution_agrees_with_the_operator(size, kernel, stride, padding):
    stride = (1, 1) if padding == "same" else stride
    y = convc.conv2d(np.zeros((1, 1, *size)), np.zeros((1, 1, *kernel)), None, stride, padding)
    assert shapes.output_shape(size, kernel, stride, padding) == y.shape[2:]
    if padding == "same":
        assert y.shape[2:] == size


@pytest.mark.parametrize(
    ("arguments", "error", "match"),
    [
        ({"kernel_size": 0}, ValueError, "kernel_size"),
        ({"kernel_size": 3, "stride": 0}, ValueError, "stride"),
        ({"kernel_size": 3, "stride": -(2**63)}, ValueError, "stride"),
        ({"kernel_size": 3, "dilation": 0}, ValueError, "dilation"),
        ({"kernel_size": 3, "padding": -1}, ValueError, "padding"),
        ({"kernel_size": 3, "padding": "full"}, ValueError, "'valid' or 'same'"),
        ({"kernel_size": 3, "padding": "same", "stride": 2}, ValueError, "'same' needs a stride of 1, got 2"),
        ({"kernel_size": 3, "padding": (1,)}, ValueError, "padding"),
        ({"kernel_size": True}, TypeError, "kernel_size must be an integer, got True"),
        ({"kernel_size": 3, "padding": ((1, 1, 1), 0)}, ValueError, "padding"),
        ({"kernel_size": (3, 3, 3)}, ValueError, "kernel_size"),
        ({"kernel_size": 2**63}, ValueError, "64 bits"),
        ({"kernel_size": 3.0}, TypeError, "kernel_size must be an integer"),
        ({"kernel_size": "3"}, TypeError, "kernel_size"),
        ({"kernel_size": 3, "fit": "round"}, ValueError, "fit"),
        ({"kernel_size": 9}, ValueError, "only 8"),
        ({"kernel_size": 2**62, "dilation": 2**62}, ValueError, "only 8"),
    ],
)
def test_bad_arguments(arguments, error, match):
    with pytest.raises(error, match=match):
        shapes.output_shape((8, 8), **arguments)


def test_input_shape_must_be_a_positive_shape():
    with pytest.raises(TypeError, match="input_shape"):
        shapes.output_shape(8, 3)
    with pytest.raises(ValueError, match="input_shape"):
        shapes.output_shape((8, 0), 3)


@settings(deadline=None)
@given(st.integers(1, 6), st.integers(1, 6), st.tuples(st.integers(1, 4), st.integers(1, 4)), st.integers(1, 3))
def test_counts_are_those_of_the_arrays(channels, filters, kernel, groups):
    layer = nn.Conv2d(channels * groups, filters * groups, kernel, groups=groups)
    expected = sum(parameter.data.size for parameter in layer.parameters())
    assert shapes.conv_parameters(channels * groups, filters * groups, kernel, groups) == expected
    assert expected == math.prod(kernel) * channels * filters * groups + filters * groups
    # One multiply-add for each weight at each output position.
    assert shapes.conv_macs(channels * groups, filters * groups, kernel, (5, 7), groups) == 35 * layer.weight.data.size


@pytest.mark.parametrize(
    ("call", "error", "match"),
    [
        (lambda: shapes.conv_parameters(3, 5, (3, 3), 0), ValueError, "groups must be at least 1"),
        (lambda: shapes.conv_parameters(3, 5, (3, 3), 2), ValueError, "groups must divide .* got groups=2, in_chan"),
        (lambda: shapes.conv_parameters(-3, 5, (3, 3)), ValueError, "in_channels must be at least 1"),
        (lambda: shapes.conv_parameters(3, 5, 3), TypeError, "kernel_size must be a sequence of integers, .* got 3"),
        (lambda: shapes.conv_parameters(3, 5, "33"), TypeError, "kernel_size must be a sequence of integers"),
        (lambda: shapes.conv_parameters(3, 5, (3, 0)), ValueError, "kernel_size must be at least 1"),
        (lambda: shapes.conv_macs(3, 5, (3, 3), 7), TypeError, "output_size must be a sequence of integers"),
        (lambda: shapes.locally_connected_parameters(3, 5, (3,), (-1,)), ValueError, "output_size must be at least 1"),
        (lambda: shapes.linear_parameters(0, 5), ValueError, "in_features must be at least 1"),
        (lambda: shapes.linear_macs("3", 5), TypeError, "in_features must be an integer, got '3'"),
        (lambda: shapes.linear_macs(3, 5.0), TypeError, "out_features must be an integer"),
        (lambda: shapes.linear_macs(3, 5, -1), ValueError, "rows must be at least 0"),
        (lambda: shapes.receptive_field([3, 3]), TypeError, r"windows\[0\] must be \(kernel_size, stride.* got 3"),
        (lambda: shapes.receptive_field([(3,), (3, 1, 1, 0, 0)]), TypeError, r"windows\[1\] must be"),
        (lambda: shapes.receptive_field(3), TypeError, "windows must be a sequence"),
        (lambda: shapes.receptive_field([(3,)]).window((0,)), ValueError, "position must be an integer or 2 of them"),
        (lambda: shapes.receptive_field([(3,)]).window((0.5, 1)), TypeError, "position must be an integer"),
    ],
)
def test_bad_counts(call, error, match):
    with pytest.raises(error, match=match):
        call()


def test_linear_is_a_convolution_of_one_position():
    assert shapes.linear_parameters(400, 120) == shapes.conv_parameters(16, 120, (5, 5)) == 48120
    assert shapes.linear_macs(400, 120) == shapes.conv_macs(16, 120, (5, 5), (1, 1)) == 48000
    assert shapes.linear_parameters(400, 120, bias=False) == 48000


def test_parameters_without_sharing():
    """AlexNet's first layer, as the textbook counts it: 55 * 55 * 96 neurons of 11 * 11 * 3 weights and a bias."""
    assert 55 * 55 * 96 * (11 * 11 * 3 + 1) == 105_705_600
    assert shapes.conv_parameters(3, 96, (11, 11)) == 34_944
    assert shapes.locally_connected_parameters(3, 96, (11, 11), (55, 55)) == 105_705_600
    assert shapes.locally_connected_parameters(4, 6, (3,), (5,), groups=2, bias=False) == 5 * 6 * 2 * 3
    conv = nn.Conv2d(4, 6, 3, groups=2, bias=False)
    assert conv.unshared_parameters((4, 6, 7)) == 20 * conv.weight.data.size


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(1, 3), st.integers(1, 3), st.integers(1, 2)), min_size=1, max_size=4))
def test_receptive_field_is_what_has_an_influence(chain):
    """The gradient of one output position is nonzero over `size`, and that of the next begins `jump` further."""
    field = shapes.receptive_field(chain, ndim=1)
    x = np.ones((1, 1, field.size[0] + field.jump[0]))
    weights = [np.ones((1, 1, kernel)) for kernel, _, _ in chain]
    inputs = [x]
    for weight, (_, stride, dilation) in zip(weights, chain, strict=True):
        inputs.append(convc.conv1d(inputs[-1], weight, None, stride, 0, dilation))
    assert inputs[-1].shape[-1] == 2
    spans = []
    for position in range(2):
        grad = np.zeros_like(inputs[-1])
        grad[..., position] = 1
        for x_, weight, (_, stride, dilation) in zip(inputs[-2::-1], weights[::-1], chain[::-1], strict=True):
            grad, _, _ = convc.conv1d_backward(grad, x_, weight, stride, 0, dilation, needs=("x",))
        touched = np.flatnonzero(grad)
        spans.append((touched[0], touched[-1] + 1))
    assert spans[0] == (0, field.size[0])
    assert spans[1] == (field.jump[0], field.jump[0] + field.size[0])


def test_receptive_field_per_axis():
    field = shapes.receptive_field([((3, 1), (2, 1)), ((3, 5), 1, (1, 2))])
    assert field == shapes.ReceptiveField((7, 9), (2, 1), (3, 4))
    assert shapes.ReceptiveField((1, 1), (1, 1)).start == (0, 0)
    with pytest.raises(ValueError, match="kernel_size"):
        field.after((1, 2, 3))


paddings = st.tuples(st.integers(0, 3), st.integers(0, 3))


@given(st.lists(st.tuples(st.integers(1, 3), st.integers(1, 3), st.integers(1, 2), paddings), min_size=1, max_size=4))
def test_windows_are_where_the_gradient_arrives(chain):
    """Padding moves the field; what of it lies outside the input is cut off."""
    layers = [nn.Conv1d(1, 1, k, s, [p], d, bias=False, dtype=np.float64) for k, s, d, p in chain]
    net = nn.Sequential(*layers)
    for parameter in net.parameters():
        parameter.data[...] = 1
    x = np.ones((1, 1, 40))
    y, backward = net.forward(x)
    field = shapes.receptive_field([(k, s, d, [p]) for k, s, d, p in chain], ndim=1)
    assert field == net.receptive_field(shapes.ReceptiveField((1,), (1,)))
    for position in {0, y.shape[-1] // 2, y.shape[-1] - 1}:
        grad = np.zeros_like(y)
        grad[..., position] = 1
        touched = np.flatnonzero(backward(grad))
        ((first, stop),) = field.window((position,))
        assert stop - first == field.size[0]
        assert (first + stop - 1) / 2 == field.start[0] + position * field.jump[0]
        if len(touched):
            assert first <= touched[0] <= touched[-1] < stop
        # Intermediate padding may hide an end of the field from the input; a chain of ones without it may not.
        if not any(sum(p) for _, _, _, p in chain):
            assert (touched[0], touched[-1] + 1) == (first, stop)


def test_the_padding_of_the_first_layer_moves_the_first_window():
    field = shapes.receptive_field([(7, 2, 1, 3), (3, 2, 1, 1)])
    assert field == shapes.ReceptiveField((11, 11), (4, 4), (0, 0))
    assert field.window((0, 1)) == ((-5, 6), (-1, 10))
    assert shapes.receptive_field([(2, 2), (2, 2)], ndim=1).start == (1.5,)


def test_what_two_paths_see_together():
    one = shapes.ReceptiveField((1,), (1,))
    assert one.after(3, padding=1).union(one) == one.after(3, padding=1)
    assert one.after(2).union(one) == shapes.ReceptiveField((2,), (1,), (0.5,))
    assert one.after(3).union(one.after(3, padding=2)) == shapes.ReceptiveField((5,), (1,), (0,))
    block = nn.Residual(nn.Conv2d(1, 1, 5, 2, 2), shortcut=nn.Conv2d(1, 1, 1, 2))
    net = nn.Sequential(nn.Conv2d(1, 1, 3), block)
    field = shapes.effective_receptive_field(net, (1, 17, 17), samples=4, rng=0)
    assert field.theoretical == shapes.ReceptiveField((7, 7), (2, 2), (1, 1))
    touched = np.flatnonzero(field.weights.any(0))
    assert field.window[1] == (touched[0], touched[-1] + 1)
    assert block.unshared_parameters((1, 9, 9)) == 25 * (26 + 2)


# ---- what is measured


def test_effective_field_of_one_layer_is_its_filter():
    conv = nn.Conv2d(1, 1, 3, padding=1, dtype=np.float64, rng=0)
    field = shapes.effective_receptive_field(conv, (1, 9, 8), samples=2, rng=0)
    expected = np.zeros((9, 8))
    expected[3:6, 3:6] = np.abs(conv.weight.data[0, 0])
    assert field.position == (4, 4)
    assert field.window == ((3, 6), (3, 6))
    np.testing.assert_allclose(field.weights, expected / expected.max(), rtol=1e-12)
    assert field.size == math.sqrt(np.count_nonzero(field.weights > 0.0455))


def test_effective_field_sums_the_squares_of_the_channels():
    """In the mean over random signs; here over all four of two channels."""
    conv = nn.Conv1d(3, 2, 5, bias=False, dtype=np.float64, rng=1)

    class Signs:
        signs = itertools.cycle(itertools.product((-1.0, 1.0), repeat=2))

        def standard_normal(self, shape):
            return np.zeros(shape)

        def choice(self, values, shape):
            assert (values, shape) == ((-1.0, 1.0), (2,))
            return np.array(next(self.signs))

    from convc._effective import measure

    field = measure(conv, shapes.ReceptiveField((1,), (1,)), (3, 5), 4, Signs())
    expected = np.sqrt(np.square(conv.weight.data).sum((0, 1)))
    np.testing.assert_allclose(field.weights, expected / expected.max(), rtol=1e-12)


def deep(depth, layout="NCHW"):
    layers = []
    for i in range(depth):
        layers += [nn.Conv2d(1 if i == 0 else 4, 4, 3, padding=1, layout=layout, rng=i), nn.ReLU()]
    return nn.Sequential(*layers)


def test_effective_field_lies_in_the_theoretical_and_is_less_of_it_the_deeper_the_net():
    shares = []
    for depth in (2, 8):
        field = shapes.effective_receptive_field(deep(depth), (1, 41, 41), samples=8, rng=0)
        (top, bottom), (left, right) = field.window
        assert (bottom - top, right - left) == field.theoretical.size == (2 * depth + 1,) * 2
        inside = field.weights[top:bottom, left:right]
        assert inside.max() == field.weights.max() == 1
        assert np.count_nonzero(inside) == np.count_nonzero(field.weights)
        shares.append(field.size / (2 * depth + 1))
    assert shares[1] < 0.8 * shares[0] < shares[0] <= 1


def test_effective_field_in_either_layout():
    first, last = (
        shapes.effective_receptive_field(deep(3, layout), shape, samples=3, rng=5)
        for layout, shape in (("NCHW", (1, 9, 11)), ("NHWC", (9, 11, 1)))
    )
    np.testing.assert_allclose(first.weights, last.weights, rtol=1e-4, atol=1e-6)
    assert first.position == last.position == (4, 5)


def test_effective_field_leaves_the_net_as_it_was():
    net = deep(2)
    first, *others = net.parameters()
    first.grad = kept = np.ones_like(first.data)
    before = net.state_dict()
    field = shapes.effective_receptive_field(net, (1, 7, 7), samples=2, rng=1)
    assert first.grad is kept
    assert (kept == 1).all()
    assert all(parameter.grad is None for parameter in others)
    assert all(np.array_equal(before[name], value) for name, value in net.state_dict().items())
    again = shapes.effective_receptive_field(net, (1, 7, 7), samples=2, rng=1)
    assert np.array_equal(field.weights, again.weights)


def test_effective_field_of_a_layer_within_and_of_a_classifier():
    net = nn.Sequential(nn.Conv2d(1, 2, 3), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(2 * 3 * 3, 4))
    assert shapes.effective_receptive_field(net, (1, 8, 8), 0).theoretical.size == (3, 3)
    for layer in (1, -3):
        field = shapes.effective_receptive_field(net, (1, 8, 8), layer)
        assert (field.theoretical.size, field.position) == ((4, 4), (1, 1))
    field = shapes.effective_receptive_field(net, (1, 8, 8))
    assert (field.theoretical, field.position, field.window) == (None, (), ((0, 8), (0, 8)))
    assert field.weights.all()


def test_effective_field_where_nothing_comes_back():
    conv = nn.Conv2d(1, 1, 3)
    conv.weight.data[...] = 0
    field = shapes.effective_receptive_field(conv, (1, 5, 5))
    assert not field.weights.any()
    assert field.size == 0


@pytest.mark.parametrize(
    ("arguments", "error", "match"),
    [
        ({"input_shape": (8,)}, TypeError, "input_shape"),
        ({"input_shape": 8}, TypeError, "input_shape"),
        ({"input_shape": (1, 0, 8)}, ValueError, "input_shape"),
        ({"samples": 0}, ValueError, "samples"),
        ({"layer": 4}, ValueError, "layer must be from 0 to 3"),
        ({"layer": "1"}, TypeError, "layer"),
        ({"net": nn.ReLU(), "layer": 0}, TypeError, "layer"),
        ({"net": nn.Sequential(nn.Flatten(2))}, ValueError, "images or vectors"),
    ],
)
def test_bad_measurements(arguments, error, match):
    with pytest.raises(error, match=match):
        shapes.effective_receptive_field(**{"net": deep(2), "input_shape": (1, 8, 8), **arguments})
