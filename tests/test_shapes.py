"""Sizes against brute force, against the operators, and receptive fields against what really has an influence."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import convc
from convc import shapes

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


def test_exact_names_padding_that_fits():
    # The textbook's example: 10 with a kernel of 3 and a stride of 2.
    with pytest.raises(ValueError, match=r"leaves 1 .* 1 smaller or 1 larger"):
        shapes.output_shape((10, 10), 3, 2, fit="exact")
    assert shapes.output_shape((10,), 3, 2, [(0, 1)], fit="exact") == (5,)


@settings(deadline=None)
@given(windows)
def test_ceil_is_pytorchs(window):
    torch = pytest.importorskip("torch")
    size, kernel, stride, padding, dilation = window
    if padding > kernel // 2 or not starts(*window):
        return  # PyTorch refuses these
    expected = torch.nn.functional.max_pool1d(
        torch.zeros(1, 1, size), kernel, stride, padding, dilation, ceil_mode=True
    ).shape[-1]
    assert shapes.output_shape((size,), kernel, stride, padding, dilation, fit="ceil") == (expected,)


@settings(deadline=None)
@given(windows, st.sampled_from(["floor", "ceil"]))
def test_pooling_agrees_with_the_operator(window, fit):
    size, kernel, stride, padding, dilation = window
    if padding > kernel // 2 or not starts(*window):
        return
    y = convc.max_pool1d(np.zeros((1, 1, size)), kernel, stride, padding, dilation, fit=fit)
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
        ({"kernel_size": 3, "padding": (1,)}, ValueError, "padding"),
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
    from convc import nn

    layer = nn.Conv2d(channels * groups, filters * groups, kernel, groups=groups)
    expected = sum(parameter.data.size for parameter in layer.parameters())
    assert shapes.conv_parameters(channels * groups, filters * groups, kernel, groups) == expected
    assert expected == math.prod(kernel) * channels * filters * groups + filters * groups
    # One multiply-add for each weight at each output position.
    assert shapes.conv_macs(channels * groups, filters * groups, kernel, (5, 7), groups) == 35 * layer.weight.data.size


def test_linear_is_a_convolution_of_one_position():
    assert shapes.linear_parameters(400, 120) == shapes.conv_parameters(16, 120, (5, 5)) == 48120
    assert shapes.linear_macs(400, 120) == shapes.conv_macs(16, 120, (5, 5), (1, 1)) == 48000
    assert shapes.linear_parameters(400, 120, bias=False) == 48000


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
    assert field == shapes.ReceptiveField((7, 9), (2, 1))
    with pytest.raises(ValueError, match="kernel_size"):
        field.after((1, 2, 3))
