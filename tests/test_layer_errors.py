"""What layers refuse, and what the error says; the sizes of whole networks."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from convc import nn

# ---- errors


@pytest.mark.parametrize(
    ("make", "error", "match"),
    [
        (lambda: nn.Conv2d(0, 1, 3), ValueError, "in_channels must be at least 1"),
        (lambda: nn.Conv2d(1, 0, 3), ValueError, "out_channels"),
        (lambda: nn.Conv2d(1.5, 1, 3), TypeError, "in_channels must be an integer, got 1.5"),
        (lambda: nn.Conv2d(1, 1, 0), ValueError, "kernel_size"),
        (lambda: nn.Conv2d(1, 1, (3, 3, 3)), ValueError, "kernel_size"),
        (lambda: nn.Conv2d(1, 1, 3, 0), ValueError, "stride"),
        (lambda: nn.Conv2d(1, 1, 3, dilation=0), ValueError, "dilation"),
        (lambda: nn.Conv2d(1, 1, 3, padding="SAME"), ValueError, "padding"),
        (lambda: nn.Conv2d(1, 1, 3, 2, "same"), ValueError, "'same' needs a stride of 1, got 2 in spatial dimension 0"),
        (lambda: nn.ConvTranspose2d(1, 1, 3, (1, 2), "same"), ValueError, "'same' needs .* in spatial dimension 1"),
        (lambda: nn.LocallyConnected1d(1, 1, 8, 3, 2, "same"), ValueError, "'same' needs a stride of 1"),
        (lambda: nn.MaxPool2d(3, padding="same"), ValueError, "'same' needs a stride of 1, got 3"),
        (lambda: nn.Conv2d(1, 1, 3, stride=True), TypeError, "stride must be an integer, got True"),
        (lambda: nn.Linear(1, False), TypeError, "out_features must be an integer, got False"),
        (lambda: nn.Conv2d(3, 4, 3, groups=2), ValueError, "groups must divide"),
        (lambda: nn.Conv2d(4, 3, 3, groups=2), ValueError, "groups must divide"),
        (lambda: nn.Conv2d(1, 1, 3, groups=0), ValueError, "groups"),
        (lambda: nn.Conv2d(1, 1, 3, layout="NWC"), ValueError, "layout must be 'NCHW' or 'NHWC'"),
        (lambda: nn.Conv2d(1, 1, 3, fit="ceil"), ValueError, "fit"),
        (lambda: nn.Conv2d(1, 1, 3, activation="tanh"), ValueError, "activation"),
        (lambda: nn.Conv2d(1, 1, 3, dtype=np.float16), ValueError, "dtype"),
        (lambda: nn.LocallyConnected2d(1, 1, 0, 3), ValueError, "input_size must be at least 1"),
        (lambda: nn.LocallyConnected2d(1, 1, (8, 8, 8), 3), ValueError, "input_size must be an integer or 2 of them"),
        (lambda: nn.LocallyConnected2d(1, 1, 8, 9), ValueError, "kernel_size 9 .* the input of 8"),
        (lambda: nn.LocallyConnected2d(1, 1, 8, 3, 2, fit="exact"), ValueError, "stride 2 does not fit"),
        (lambda: nn.LocallyConnected1d(1, 1, 8, 3).output_shape((1, 9)), ValueError, r"inputs of size \(8,\), got"),
        (lambda: nn.LocallyConnected1d(2, 1, 8, 3).output_shape((1, 8)), ValueError, "needs 2 channels"),
        (lambda: nn.MaxPool2d(2, fit="round"), ValueError, "fit"),
        (lambda: nn.MaxPool2d(2, 0), ValueError, "stride"),
        (lambda: nn.AvgPool2d(2, fit="round"), ValueError, "fit"),
        (lambda: nn.AvgPool1d(0), ValueError, "kernel_size"),
        (lambda: nn.LPPool2d("2", 2), TypeError, "norm_type must be a number"),
        (lambda: nn.LPPool2d(math.inf, 2), ValueError, "norm_type must be positive and finite"),
        (lambda: nn.AdaptiveAvgPool2d((2, 2, 2)), ValueError, "output_size"),
        (lambda: nn.AdaptiveAvgPool2d(None), TypeError, "output_size"),
        (lambda: nn.AdaptiveMaxPool1d((0,)), ValueError, "output_size must be at least 1"),
        (lambda: nn.AdaptiveMaxPool1d(3, layout="NCHW"), ValueError, "layout"),
        (lambda: nn.GlobalAvgPool(layout="CN"), ValueError, "layout"),
        (lambda: nn.Linear(0, 1), ValueError, "in_features"),
        (lambda: nn.Linear(1, -1), ValueError, "out_features"),
        (lambda: nn.Linear(1, 2**63), ValueError, "64 bits"),
        (lambda: nn.Linear(1, 1, activation="gelu"), ValueError, "activation"),
        (lambda: nn.BatchNorm2d(0), ValueError, "num_features must be at least 1"),
        (lambda: nn.BatchNorm2d(1, eps=-1), ValueError, "eps must be at least 0"),
        (lambda: nn.BatchNorm2d(1, momentum="half"), TypeError, "momentum must be a number"),
        (lambda: nn.BatchNorm2d(1, layout="NWC"), ValueError, "layout must be 'NCHW' or 'NHWC'"),
        (lambda: nn.BatchNorm2d(1, dtype=np.int64), ValueError, "dtype"),
        (lambda: nn.GroupNorm(2, 3), ValueError, "num_groups must divide num_channels"),
        (lambda: nn.GroupNorm(1, 3, layout="CHW"), ValueError, "layout"),
        (lambda: nn.LayerNorm(()), ValueError, "normalized_shape must have at least one axis"),
        (lambda: nn.LayerNorm((2, 0)), ValueError, "normalized_shape must be at least 1"),
        (lambda: nn.LocalResponseNorm(0), ValueError, "size must be at least 1"),
        (lambda: nn.LocalResponseNorm(2, beta=None), TypeError, "beta must be a number"),
        (lambda: nn.Dropout(1.5), ValueError, "p must be from 0 to 1"),
        (lambda: nn.Dropout(math.nan), ValueError, "p must be from 0 to 1"),
        (lambda: nn.Dropout("half"), TypeError, "p must be a number"),
        (lambda: nn.Flatten(1.0), TypeError, "start_dim"),
        (lambda: nn.Sequential(nn.ReLU(), max), TypeError, "layer 1 must be a Module"),
        (lambda: nn.Parameter([1.0]), TypeError, "list"),
        (lambda: nn.Parameter(np.ones(3, np.int64)), TypeError, "int64"),
    ],
)
def test_bad_arguments(make, error, match):
    with pytest.raises(error, match=match):
        make()


@pytest.mark.parametrize(
    ("layer", "shape", "match"),
    [
        (nn.Conv2d(1, 1, 3, padding=5, padding_mode="reflect"), (1, 4, 4), "at most 3 for pad_mode 'reflect' of 4"),
        (nn.Conv1d(1, 1, 3, padding=((0, 5),), padding_mode="circular"), (1, 4), "at most 4 for pad_mode 'circular'"),
        (nn.PReLU(4), (3, 2, 2), r"PReLU\(num_parameters=4\) needs 4 channels on axis 1, got \(3, 2, 2\)"),
        (nn.PReLU(4, axis=4), (3, 2, 2), "axis 4 is none of 4"),
        (nn.Softmax(7), (3,), r"Softmax\(dim=7\): axis 7 is none of 2"),
        (nn.GroupNorm(1, 3, layout="NCHW"), (3, 4), "needs an input of 3 axes"),
        (nn.LocalResponseNorm(3), (), "needs an input of 1 to 4 axes"),
        (nn.Flatten(0), (3, 4), "joins the batch axis"),
    ],
)
def test_summaries_refuse_what_the_call_does(layer, shape, match):
    with pytest.raises(ValueError, match=match):
        layer.summary(shape)


def test_flatten_names_axes_it_does_not_find():
    with pytest.raises(ValueError, match="axes 3 to 1"):
        nn.Flatten(3)(np.ones((2, 3)))


def test_parameter_keeps_its_array_and_checks_gradients():
    data = np.ones((2, 3))
    assert nn.Parameter(data).data is data
    assert nn.Parameter(data.T).data.flags.c_contiguous
    with pytest.raises(ValueError, match=r"\(2, 3\), got \(3, 2\)"):
        nn.Parameter(data).accumulate(data.T)


def test_arrays_are_written_to_parameters_not_put_in_their_place():
    layer, norm = nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2)
    for owner, name, kind in ((layer, "weight", "Parameter"), (norm, "running_mean", "Buffer")):
        held = getattr(owner, name)
        with pytest.raises(TypeError, match=rf"^{name} must be a {kind}, got ndarray: write to {name}\.data\["):
            setattr(owner, name, np.ones(2, np.float32))
        assert getattr(owner, name) is held
    layer.weight = nn.Parameter(np.ones((2, 1, 3, 3), np.float32))
    layer.bias = None
    assert list(layer.state_dict()) == ["weight"]


def test_a_module_without_forward_says_so():
    with pytest.raises(NotImplementedError, match="Module must define forward"):
        nn.Module()(np.ones(1))


# ---- sizes


@st.composite
def networks(draw):
    """A chain of layers for images of a drawn size, in either layout, that may or may not fit."""
    layout = draw(st.sampled_from(["NCHW", "NHWC"]))
    channels = draw(st.integers(1, 3))
    size = draw(st.tuples(st.integers(1, 9), st.integers(1, 9)))
    shape = (channels, *size) if layout == "NCHW" else (*size, channels)
    layers = []
    for kind in draw(st.lists(st.sampled_from(["conv", "pool", "relu", "dropout"]), max_size=4)):
        kernel = draw(st.tuples(st.integers(1, 3), st.integers(1, 3)))
        stride = draw(st.integers(1, 2))
        if kind == "conv":
            padding, out = draw(st.integers(0, 2)), draw(st.integers(1, 3))
            layers.append(nn.Conv2d(channels, out, kernel, stride, padding, layout=layout, rng=0))
            channels = out
        elif kind == "pool":
            layers.append(nn.MaxPool2d(kernel, stride, layout=layout, fit=draw(st.sampled_from(["floor", "ceil"]))))
        else:
            layers.append(nn.ReLU() if kind == "relu" else nn.Dropout(0.5, rng=0))
    if draw(st.booleans()):
        layers.append(nn.Flatten())
    return nn.Sequential(*layers), shape


@settings(max_examples=60, deadline=None)
@given(networks(), st.integers(0, 2))
def test_any_chain_has_the_shape_that_is_predicted(network, batch):
    net, shape = network
    x = np.random.default_rng(0).normal(size=(batch, *shape)).astype(np.float32)
    try:
        expected = net.output_shape(shape)
    except ValueError:
        with pytest.raises(ValueError):
            net(x)
        return
    y, backward = net.forward(x)
    assert y.shape == net(x).shape == (batch, *expected)
    assert backward(np.ones_like(y)).shape == x.shape
    summary = net.summary(shape)
    assert not summary.rows or summary.rows[-1].output_shape == expected
    assert summary.macs == net.macs(shape)
