"""`output_shape` against the call, for every layer of convc.nn: both give the same shape, or both refuse."""

import inspect

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from convc import nn

sides = st.integers(1, 7)
small = st.integers(1, 3)
channels = st.sampled_from([1, 2, 4])
axes = st.integers(-5, 4)


def maybe(strategy):
    return st.none() | strategy


def per_axis(ndim, strategy):
    return strategy | st.tuples(*[strategy] * ndim)


def layouts(ndim):
    first, last = {1: ("NCW", "NWC"), 2: ("NCHW", "NHWC"), 3: ("NCDHW", "NDHWC")}[ndim]
    return st.sampled_from([first, last])


any_layout = maybe(st.integers(1, 3).flatmap(layouts))


def windows(ndim):
    pads = st.integers(0, 3)
    padding = per_axis(ndim, pads) | st.tuples(*[st.tuples(pads, pads)] * ndim) | st.sampled_from(["same", "valid"])
    return {
        "kernel_size": per_axis(ndim, small),
        "stride": per_axis(ndim, small),
        "padding": padding,
        "dilation": per_axis(ndim, st.integers(1, 2)),
        "layout": layouts(ndim),
    }


def convolution(ndim):
    modes = st.sampled_from(["zeros", "reflect", "replicate", "circular"])
    fits = {"fit": st.sampled_from(["floor", "exact"]), "padding_mode": modes}
    return {"in_channels": channels, "out_channels": channels, "groups": st.integers(1, 2), **windows(ndim), **fits}


def transposed(ndim):
    extra = {"output_padding": per_axis(ndim, st.integers(0, 1))}
    return {"in_channels": channels, "out_channels": channels, "groups": st.integers(1, 2), **windows(ndim), **extra}


def local(ndim):
    return {"in_channels": channels, "out_channels": channels, "input_size": per_axis(ndim, sides), **windows(ndim)}


def pool(ndim, *without, **others):
    arguments = {**windows(ndim), "fit": st.sampled_from(["floor", "exact", "ceil"]), **others}
    return {name: strategy for name, strategy in arguments.items() if name not in without}


def adaptive(ndim):
    return {"output_size": small | st.tuples(*[maybe(small)] * ndim), "layout": layouts(ndim)}


def batch_norm(ndim):
    return {"num_features": channels, "layout": layouts(ndim)}


GLOBAL = {"keepdims": st.booleans(), "layout": any_layout}
FACTORS = st.sampled_from([0.3, 0.5, 1, 1.5, 2])
ARGUMENTS = {
    **{f"Conv{n}d": convolution(n) for n in (1, 2, 3)},
    **{f"ConvTranspose{n}d": transposed(n) for n in (1, 2, 3)},
    **{f"LocallyConnected{n}d": local(n) for n in (1, 2)},
    **{f"MaxPool{n}d": pool(n) for n in (1, 2, 3)},
    **{f"AvgPool{n}d": pool(n, "dilation", count_include_pad=st.booleans()) for n in (1, 2, 3)},
    **{f"LPPool{n}d": pool(n, "dilation", "padding", norm_type=st.just(2)) for n in (1, 2, 3)},
    **{f"Adaptive{kind}Pool{n}d": adaptive(n) for n in (1, 2, 3) for kind in ("Avg", "Max")},
    **{f"BatchNorm{n}d": batch_norm(n) for n in (1, 2, 3)},
    "GlobalAvgPool": GLOBAL,
    "GlobalMaxPool": GLOBAL,
    "GroupNorm": {"num_groups": st.integers(1, 2), "num_channels": channels, "layout": any_layout},
    "LayerNorm": {"normalized_shape": small | st.lists(small, min_size=1, max_size=3).map(tuple)},
    "LocalResponseNorm": {"size": small, "layout": any_layout},
    "Linear": {"in_features": channels, "out_features": channels},
    "Flatten": {"start_dim": axes, "end_dim": axes},
    "Dropout": {"p": st.just(0.5)},
    "PReLU": {"num_parameters": channels, "axis": axes},
    "Softmax": {"dim": axes},
    "Upsample": {
        "size": maybe(per_axis(2, small)),
        "scale_factor": maybe(FACTORS | st.tuples(FACTORS, FACTORS)),
        "mode": st.sampled_from(["nearest", "nearest-exact", "linear", "bilinear", "trilinear"]),
        "layout": any_layout,
    },
    "GELU": {},
    "LeakyReLU": {},
    "ReLU": {},
    "SiLU": {},
    "Sigmoid": {},
    "Tanh": {},
}
CHANNELS = "in_channels", "num_features", "num_channels", "in_features", "num_parameters"
BLOCKS = {"Concat", "Residual", "Sequential", "Module"}
WITH_INDICES = {"MaxUnpool1d", "MaxUnpool2d", "MaxUnpool3d"}  # called with a pool's: in test_unpool_layers.py


def test_every_layer_is_here():
    layers = {name for name, kind in vars(nn).items() if inspect.isclass(kind) and issubclass(kind, nn.Module)}
    assert set(ARGUMENTS) | BLOCKS | WITH_INDICES == layers


@pytest.mark.parametrize("name", ARGUMENTS)
@settings(deadline=None, max_examples=60)
@given(data=st.data())
def test_output_shape_is_that_of_the_call(name, data):
    try:
        layer = getattr(nn, name)(**data.draw(st.fixed_dictionaries(ARGUMENTS[name])))
    except ValueError:
        return
    rank = int(name[-2]) + 1 if name[-1] == "d" and name[-2].isdigit() else data.draw(st.integers(1, 4), "rank")
    rank += data.draw(st.sampled_from([0, 0, 0, 0, 1]), "too many")
    shape = list(data.draw(st.tuples(*[channels | sides] * rank), "shape"))
    needed = next((value for name, value in layer.config().items() if name in CHANNELS), None)
    if needed is not None and data.draw(st.integers(0, 4), "fits"):
        is_last = str(getattr(layer, "layout", "")).endswith("C") or isinstance(layer, nn.Linear)
        shape[-1 if is_last else 0] = needed
    x = np.zeros((8, *shape), np.float32)  # no argument is as large as the batch
    try:
        expected = layer.output_shape(tuple(shape))
    except ValueError as error:
        if "batch axis" not in str(error):  # where a shape without it says nothing
            with pytest.raises(ValueError):
                layer(x)
        return
    assert layer(x).shape == (8, *expected)
