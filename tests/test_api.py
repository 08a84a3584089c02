"""The Python face: signatures and stubs, what may be passed in and how it is refused, plans, the installation."""

import array
import ast
import concurrent.futures
import copy
import doctest
import inspect
import os
import pickle
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import convc
from convc import _core

STUB = Path(_core.__file__).with_name("_core.pyi")
FUNCTIONS = sorted(name for name, value in vars(convc).items() if inspect.isroutine(value) and not name.startswith("_"))
LAZY = ("convert", "data", "loss", "models", "nn", "optim", "plot", "shapes", "train")


def integers(*shape, dtype=np.float32, seed=0):
    """Small whole numbers: sums of their products are exact in any order."""
    return np.random.default_rng(seed).integers(-4, 5, shape).astype(dtype)


X, WEIGHT, BIAS = integers(2, 4, 6, 7), integers(8, 2, 3, 2, seed=1), integers(8, seed=2)
WINDOW = {"stride": (2, 1), "padding": ((1, 0), (2, 1)), "dilation": (1, 2)}
TARGET = np.array([1, 0])
PLACES = np.broadcast_to(np.arange(42).reshape(6, 7), X.shape)  # an index each

# One call of every function that takes arrays: its arrays by name, then its other arguments.
CALLS = {
    "conv1d": ({"x": X[0], "weight": integers(3, 6, 2), "bias": BIAS[:3]}, {"padding": 1}),
    "conv2d": ({"x": X, "weight": WEIGHT, "bias": BIAS}, {**WINDOW, "groups": 2}),
    "conv3d": ({"x": X[None], "weight": integers(3, 2, 2, 2, 2), "bias": BIAS[:3]}, {}),
    "conv1d_backward": ({"grad": integers(2, 3, 5), "x": integers(2, 4, 6), "weight": integers(3, 4, 2)}, {}),
    "conv2d_backward": ({"grad": integers(2, 8, 3, 8), "x": X, "weight": WEIGHT}, {**WINDOW, "groups": 2}),
    "conv3d_backward": ({"grad": integers(1, 3, 3, 5, 6), "x": X[None], "weight": integers(3, 2, 2, 2, 2)}, {}),
    "conv_transpose1d": (
        {"x": X[0], "weight": integers(6, 3, 2), "bias": BIAS[:3]},
        {"stride": 2, "output_padding": 1},
    ),
    "conv_transpose2d": ({"x": X, "weight": integers(4, 3, 3, 2), "bias": BIAS[:6]}, {**WINDOW, "groups": 2}),
    "conv_transpose3d": ({"x": X[None], "weight": integers(2, 3, 2, 2, 2), "bias": BIAS[:3]}, {"stride": 2}),
    "conv_transpose1d_backward": ({"grad": integers(2, 3, 8), "x": integers(2, 4, 4), "weight": integers(4, 3, 5)}, {}),
    "conv_transpose2d_backward": (
        {"grad": integers(2, 6, 12, 6), "x": X, "weight": integers(4, 3, 3, 2)},
        {**WINDOW, "groups": 2},
    ),
    "conv_transpose3d_backward": (
        {"grad": integers(1, 3, 5, 7, 8), "x": X[None], "weight": integers(2, 3, 2, 2, 2)},
        {},
    ),
    "locally_connected1d": ({"x": X[0], "weight": integers(8, 3, 6, 2), "bias": integers(8, 3)}, {"padding": 1}),
    "locally_connected2d": ({"x": X, "weight": integers(24, 8, 4, 3, 2), "bias": integers(24, 8)}, WINDOW),
    "locally_connected1d_backward": (
        {"grad": integers(2, 3, 5), "x": integers(2, 4, 6), "weight": integers(5, 3, 4, 2)},
        {},
    ),
    "locally_connected2d_backward": (
        {"grad": integers(2, 8, 3, 8), "x": X, "weight": integers(24, 8, 4, 3, 2)},
        WINDOW,
    ),
    "max_pool1d": ({"x": X[0]}, {"kernel_size": 3, "return_indices": True}),
    "max_pool2d": ({"x": X}, {"kernel_size": (3, 2), "padding": 1}),
    "max_pool3d": ({"x": X[None]}, {"kernel_size": 2}),
    "max_pool2d_backward": (
        {"grad": integers(2, 4, 3, 3)},
        {"indices": np.zeros((2, 4, 3, 3), int), "x_shape": X.shape},
    ),
    "avg_pool1d": ({"x": X[0]}, {"kernel_size": 3}),
    "avg_pool2d": ({"x": X}, {"kernel_size": (3, 2), "padding": 1}),
    "avg_pool3d": ({"x": X[None]}, {"kernel_size": 2}),
    "avg_pool2d_backward": ({"grad": integers(2, 4, 2, 3)}, {"x_shape": X.shape, "kernel_size": (3, 2)}),
    "lp_pool1d": ({"x": X[0]}, {"norm_type": 1, "kernel_size": 3}),
    "lp_pool2d": ({"x": X}, {"norm_type": 2, "kernel_size": (3, 2)}),
    "lp_pool3d": ({"x": X[None]}, {"norm_type": 2, "kernel_size": 2}),
    "lp_pool2d_backward": (
        {"grad": integers(2, 4, 2, 3), "x": X, "y": integers(2, 4, 2, 3, seed=3)},
        {"norm_type": 1, "kernel_size": (3, 2)},
    ),
    "adaptive_avg_pool1d": ({"x": X[0]}, {"output_size": 3}),
    "adaptive_avg_pool2d": ({"x": X}, {"output_size": (4, None)}),
    "adaptive_avg_pool3d": ({"x": X[None]}, {"output_size": 2}),
    "adaptive_avg_pool2d_backward": ({"grad": integers(2, 4, 4, 3)}, {"x_shape": X.shape}),
    "adaptive_max_pool1d": ({"x": X[0]}, {"output_size": 3, "return_indices": True}),
    "adaptive_max_pool2d": ({"x": X}, {"output_size": (4, None)}),
    "adaptive_max_pool3d": ({"x": X[None]}, {"output_size": 2}),
    "adaptive_max_pool2d_backward": (
        {"grad": integers(2, 4, 3, 3)},
        {"indices": np.zeros((2, 4, 3, 3), int), "x_shape": X.shape},
    ),
    "global_avg_pool": ({"x": X}, {"layout": "NCHW"}),
    "global_avg_pool_backward": ({"grad": integers(2, 4)}, {"x_shape": X.shape, "layout": "NCHW"}),
    "global_max_pool": ({"x": X}, {"layout": "NCHW", "return_indices": True}),
    "global_max_pool_backward": (
        {"grad": integers(2, 4)},
        {"indices": np.zeros((2, 4), int), "x_shape": X.shape, "layout": "NCHW"},
    ),
    "max_unpool1d": ({"x": X[0]}, {"indices": PLACES[0, :, :, :], "kernel_size": 8}),
    "max_unpool2d": ({"x": X}, {"indices": PLACES, "kernel_size": 2}),
    "max_unpool3d": ({"x": X[None]}, {"indices": PLACES[None], "kernel_size": 2}),
    "max_unpool2d_backward": ({"grad": X}, {"indices": PLACES}),
    "im2col": ({"x": X}, {"kernel_size": (3, 2), **WINDOW}),
    "col2im": ({"cols": integers(2, 24, 25)}, {"output_size": (6, 7), "kernel_size": (2, 3)}),
    "gemm": ({"a": integers(5, 6), "b": integers(6, 7)}, {}),
    "linear": ({"x": X, "weight": integers(3, 7), "bias": BIAS[:3]}, {"activation": "relu"}),
    "linear_backward": ({"grad": integers(2, 4, 6, 3), "x": X, "weight": integers(3, 7)}, {}),
    "relu": ({"x": X}, {}),
    "relu_backward": ({"grad": X, "x": integers(*X.shape, seed=3)}, {}),
    **{name: ({"x": X}, {}) for name in ("leaky_relu", "sigmoid", "tanh", "silu", "gelu")},
    **{
        f"{name}_backward": ({"grad": X, "x": integers(*X.shape, seed=3)}, {})
        for name in ("leaky_relu", "silu", "gelu")
    },
    **{f"{name}_backward": ({"grad": X, "y": integers(*X.shape, seed=3)}, {}) for name in ("sigmoid", "tanh")},
    "prelu": ({"x": X, "weight": BIAS[:4]}, {}),
    "prelu_backward": ({"grad": X, "weight": BIAS[:4], "x": integers(*X.shape, seed=3)}, {}),
    "interpolate": ({"x": X}, {"size": (9, 4), "mode": "bilinear", "layout": "NCHW"}),
    "interpolate_backward": (
        {"grad": integers(2, 4, 9, 4)},
        {"x_shape": X.shape, "size": (9, 4), "mode": "bilinear", "layout": "NCHW"},
    ),
    "dropout": ({"x": X}, {"p": 0.75, "rng": 0, "return_mask": True}),
    "dropout_backward": ({"grad": X}, {"mask": X > 0, "p": 0.75}),
    "softmax": ({"x": X}, {"axis": 1}),
    "softmax_backward": ({"grad": X, "y": integers(*X.shape, seed=3)}, {"axis": 2}),
    "batch_norm": (
        {"x": X, "running_mean": BIAS[:4], "running_var": BIAS[4:] ** 2, "weight": BIAS[2:6], "bias": BIAS[1:5]},
        {"training": False},
    ),
    "batch_norm_backward": (
        {"x": X, "grad": integers(*X.shape, seed=3), "weight": BIAS[2:6]},
        {"mean": np.arange(4.0), "inv_std": np.ones(4), "training": True},
    ),
    "group_norm": ({"x": X, "weight": BIAS[2:6], "bias": BIAS[1:5]}, {"num_groups": 2, "return_statistics": True}),
    "group_norm_backward": (
        {"x": X, "grad": integers(*X.shape, seed=3), "weight": BIAS[2:6]},
        {"num_groups": 2, "mean": np.ones((2, 2)), "inv_std": np.ones((2, 2))},
    ),
    "layer_norm": ({"x": X, "weight": integers(6, 7), "bias": integers(6, 7, seed=1)}, {"normalized_shape": (6, 7)}),
    "layer_norm_backward": (
        {"x": X, "grad": integers(*X.shape, seed=3), "weight": integers(6, 7)},
        {"normalized_shape": (6, 7), "mean": np.ones((2, 4)), "inv_std": np.ones((2, 4))},
    ),
    "local_response_norm": ({"x": X}, {"size": 3}),
    "local_response_norm_backward": ({"x": X, "grad": integers(*X.shape, seed=3)}, {"size": 3}),
    "cross_entropy": ({"logits": X[0, :2, :, 0].copy()}, {"target": TARGET, "reduction": "none"}),
    "cross_entropy_backward": (
        {"logits": X[0, :2, :, 0].copy(), "grad": BIAS[:2]},
        {"target": TARGET, "reduction": "none"},
    ),
}
ELEMENTWISE = {"relu", "leaky_relu", "sigmoid", "tanh", "silu", "gelu", "softmax", "dropout"}
ARGUMENTS = [(name, argument) for name, (arrays, _) in CALLS.items() for argument in arrays]
WITH_OUT = [name for name in FUNCTIONS if "out" in inspect.signature(getattr(convc, name)).parameters]


def call(name, **changes):
    arrays, others = CALLS[name]
    return getattr(convc, name)(**{**arrays, **others, **changes})


def equal(a, b):
    return all(map(np.array_equal, a, b)) if isinstance(a, tuple) else np.array_equal(a, b)


# ---- names, signatures, documentation ----


def test_everything_public_is_there():
    assert set(FUNCTIONS) | {"Plan", "precision", "__version__"} | set(LAZY) == set(convc.__all__)
    assert set(convc.__all__) <= set(dir(convc))
    assert convc.__all__ == sorted(convc.__all__)


def test_signature_of_conv2d():
    assert str(inspect.signature(convc.conv2d)) == (
        "(x, weight, bias=None, stride=1, padding=0, dilation=1, groups=1, *, layout='NCHW', pad_mode='zeros', "
        "fit='floor', algorithm='auto', activation=None, out=None)"
    )


def stub_signatures():
    for node in ast.parse(STUB.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.FunctionDef):
            a = node.args
            plain = a.posonlyargs + a.args
            defaults = [None] * (len(plain) - len(a.defaults)) + a.defaults
            rows = [(p.arg, "plain", d) for p, d in zip(plain, defaults, strict=True)]
            rows += [(p.arg, "keyword", d) for p, d in zip(a.kwonlyargs, a.kw_defaults, strict=True)]
            yield node.name, [(arg, kind, d and ast.literal_eval(d)) for arg, kind, d in rows]


@pytest.mark.parametrize(("name", "typed"), list(stub_signatures()))
def test_stub_matches(name, typed):
    """An overload may leave out an argument with a default, or require it."""
    real = {p.name: p for p in inspect.signature(getattr(_core, name)).parameters.values()}
    assert [arg for arg in real if arg in {row[0] for row in typed}] == [row[0] for row in typed]
    for arg, parameter in real.items():
        assert arg in {row[0] for row in typed} or parameter.default is not parameter.empty
    for arg, kind, default in typed:
        assert (real[arg].kind == inspect.Parameter.KEYWORD_ONLY) == (kind == "keyword"), arg
        if default is not None:
            assert real[arg].default == default, arg


def test_stub_is_complete():
    typed = {name for name, _ in stub_signatures()}
    routines = {name for name, value in vars(_core).items() if inspect.isroutine(value) and not name.startswith("__")}
    assert routines - {name for name in routines if name.startswith("_") and name not in typed} == typed


@pytest.mark.parametrize("name", [*FUNCTIONS, "precision"])
def test_documentation(name):
    text = inspect.getdoc(getattr(convc, name))
    titles = ["Examples"]
    parameters = inspect.signature(getattr(convc, name)).parameters
    if parameters:
        titles += ["Parameters"]
    if parameters and name not in {"precision", "get_sources"}:
        titles += ["Raises"]
    for title in titles:
        assert f"\n{title}\n{'-' * len(title)}\n" in text
    for parameter in parameters:
        assert parameter in text
    for line in text.splitlines():
        assert len(line) <= 116


@pytest.mark.parametrize("name", [*FUNCTIONS, "precision"])
def test_examples(name):
    test = doctest.DocTestParser().get_doctest(inspect.getdoc(getattr(convc, name)), {}, name, None, 0)
    assert test.examples
    report = []
    assert doctest.DocTestRunner().run(test, out=report.append).failed == 0, "".join(report)


# ---- arrays in ----


def misaligned(a):
    bytes_ = np.zeros(a.nbytes + 1, np.uint8)
    view = bytes_[1:].view(a.dtype).reshape(a.shape) if a.size else a
    view[...] = a
    return view


def field(a):
    """Strides that are no multiple of the element."""
    records = np.zeros(a.shape, [("tag", "i1"), ("value", a.dtype)])
    records["value"] = a
    return records["value"]


def backwards(a):
    return np.ascontiguousarray(a[(slice(None, None, -1),) * a.ndim])[(slice(None, None, -1),) * a.ndim]


def spread(a):
    wide = np.full([2 * size + 1 for size in a.shape], np.nan, a.dtype)
    view = wide[tuple(slice(1, None, 2) for _ in a.shape)]
    view[...] = a
    return view


def read_only(a):
    b = a.copy()
    b.flags.writeable = False
    return b


VIEWS = {
    "column-major": np.asfortranarray,
    "backwards": backwards,
    "spread": spread,
    "read-only": read_only,
    "misaligned": misaligned,
    "field": field,
    "memoryview": memoryview,
}


@pytest.mark.parametrize("view", VIEWS)
@pytest.mark.parametrize(("name", "argument"), ARGUMENTS)
def test_views(name, argument, view):
    seen = VIEWS[view](CALLS[name][0][argument])
    result = call(name, **{argument: seen})
    expected = call(name)
    if any(part in name for part in ("softmax", "cross", "norm")):  # such sums are not exact
        for ours, theirs in zip(*((r if isinstance(r, tuple) else (r,)) for r in (result, expected)), strict=True):
            np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=2e-5)
    else:
        assert equal(result, expected)


@pytest.mark.parametrize(("name", "argument"), ARGUMENTS)
def test_broadcast_inputs(name, argument):
    shape = CALLS[name][0][argument].shape
    constant = np.broadcast_to(np.float32(2), shape)
    assert equal(call(name, **{argument: constant}), call(name, **{argument: constant.copy()}))


@pytest.mark.parametrize(("name", "argument"), ARGUMENTS)
def test_float64(name, argument):
    arrays, _ = CALLS[name]
    wide = call(name, **{key: value.astype(np.float64) for key, value in arrays.items()})
    for result in wide if isinstance(wide, tuple) else (wide,):
        assert result.dtype in (np.float64, np.int64, np.bool_)
    if len(arrays) > 1:
        with pytest.raises(TypeError, match=r"(?s)must be float(32|64) as .* got float(32|64)") as caught:
            call(name, **{argument: arrays[argument].astype(np.float64)})
        first = next(iter(arrays))
        assert str(caught.value).startswith(argument if argument != first else list(arrays)[1])


WRONG_TYPES = {
    "float16": lambda a: a.astype(np.float16),
    "int32": lambda a: a.astype(np.int32),
    "int64": lambda a: a.astype(np.int64),
    "complex64": lambda a: a.astype(np.complex64),
    "bool": lambda a: a.astype(bool),
    "object": lambda a: a.astype(object),
    ">f4" if sys.byteorder == "little" else "<f4": lambda a: a.astype(a.dtype.newbyteorder()),
    "list": lambda a: a.tolist(),
    "str": lambda a: "image",
    "datetime64": lambda a: a.astype("datetime64[s]"),
}


@pytest.mark.parametrize("kind", WRONG_TYPES)
@pytest.mark.parametrize(("name", "argument"), ARGUMENTS)
def test_wrong_types(name, argument, kind):
    with pytest.raises(TypeError, match=f"^{argument} must be .*{kind}"):
        call(name, **{argument: WRONG_TYPES[kind](CALLS[name][0][argument])})


@pytest.mark.parametrize(
    ("name", "argument"),
    [(name, a) for name, a in ARGUMENTS if a not in ("bias", "grad") and not ("norm" in name and a != "x")],
)
def test_none_is_no_array(name, argument):
    with pytest.raises(TypeError, match=f"^{argument} must be .*NoneType"):
        call(name, **{argument: None})


@pytest.mark.parametrize(
    ("name", "argument"),
    [
        pair
        for pair in ARGUMENTS
        if pair[0].removesuffix("_backward") not in ELEMENTWISE
        and pair[0] != "local_response_norm"
        and pair != ("layer_norm", "x")
    ],
)
def test_wrong_ranks(name, argument):
    a = CALLS[name][0][argument]
    with pytest.raises(ValueError, match=rf"\b({argument}|grad)\b"):  # gradients have the shape that x asks for
        call(name, **{argument: a[None]} if a.ndim < 3 or name != "linear" else {argument: a.reshape(-1)[:0]})
    if (name, argument) != ("cross_entropy_backward", "grad"):  # one number serves all samples
        with pytest.raises((ValueError, TypeError), match=argument):
            call(name, **{argument: a.reshape(-1)[0]})


def test_other_buffers():
    x = array.array("d", [-1.0, 2.0, -3.0])
    np.testing.assert_array_equal(convc.relu(x), [0, 2, 0])
    y = array.array("d", [0.0] * 3)
    assert convc.relu(x, out=y) is y
    assert y.tolist() == [0, 2, 0]
    assert convc.linear(np.ones((2, 3)), memoryview(np.ones((4, 3)))).shape == (2, 4)


# ---- arrays out ----


def out_array(name):
    result = call(name)
    return result[0] if isinstance(result, tuple) else result


@pytest.mark.parametrize("name", WITH_OUT)
def test_out(name):
    expected = out_array(name)
    for make in (
        np.empty_like,
        lambda a: spread(np.full_like(a, 7)),
        lambda a: backwards(np.full_like(a, 7)),
        memoryview,
    ):
        out = make(expected.copy())
        result = call(name, out=out)
        assert (result[0] if isinstance(result, tuple) else result) is out
        np.testing.assert_array_equal(out, expected)
    surroundings = np.full((3, *expected.shape), 5, expected.dtype)
    call(name, out=surroundings[1])
    np.testing.assert_array_equal(surroundings[1], expected)
    assert (surroundings[::2] == 5).all()


@pytest.mark.parametrize("name", WITH_OUT)
def test_out_that_does_not_fit(name):
    right = out_array(name)
    text = ", ".join(map(str, right.shape))
    with pytest.raises(ValueError, match=rf"^out must have shape .{text}.*, got"):
        call(name, out=np.empty((*right.shape[:-1], right.shape[-1] + 1), right.dtype))
    with pytest.raises(ValueError, match=rf"^out must have shape .{text}.*, got"):
        call(name, out=np.empty((1, *right.shape), right.dtype))
    with pytest.raises(TypeError, match=r"^out must be float32 as .*, got float64"):
        call(name, out=right.astype(np.float64))
    with pytest.raises(TypeError, match=r"^out must be float32 or float64"):
        call(name, out=right.astype(np.int64))
    with pytest.raises(TypeError, match=r"^out must be .*list"):
        call(name, out=right.tolist())
    with pytest.raises(ValueError, match=r"^out must be writeable"):
        call(name, out=read_only(right))
    with pytest.raises(ValueError, match="out"):
        call(name, out=misaligned(right))


@pytest.mark.parametrize("name", WITH_OUT)
def test_out_that_overlaps(name):
    """Refused, and nothing is written."""
    arrays, _ = CALLS[name]
    right = out_array(name)
    for argument, a in arrays.items():
        memory = np.zeros(max(a.size, right.size) + a.size, np.float32)
        memory[: a.size] = a.ravel()
        before = memory.copy()
        last = memory[a.size - 1 : a.size - 1 + right.size].reshape(right.shape)
        with pytest.raises(ValueError, match="out must not overlap"):
            call(name, **{argument: memory[: a.size].reshape(a.shape), "out": last})
        np.testing.assert_array_equal(memory, before)
    onto_itself = np.lib.stride_tricks.as_strided(np.empty(right.size, np.float32), right.shape, (0,) * right.ndim)
    with pytest.raises(ValueError, match="out must not overlap itself"):
        call(name, out=onto_itself)


def test_gemm_accumulates():
    a, b = integers(3, 4), integers(4, 5, seed=1)
    out = np.ones((3, 5), np.float32)
    assert convc.gemm(a, b, accumulate=True, out=out) is out
    np.testing.assert_array_equal(out, 1 + a @ b)
    with pytest.raises(ValueError, match="out must be given"):
        convc.gemm(a, b, accumulate=True)


# ---- layouts ----


def last(a):
    return np.ascontiguousarray(np.moveaxis(a, 1, -1))


def first(a):
    return np.moveaxis(a, -1, 1)


@pytest.mark.parametrize("d", [1, 2, 3])
def test_layouts_agree(d):
    layout = ("NWC", "NHWC", "NDHWC")[d - 1]
    x, weight, bias = integers(2, 4, 6, 5, 7)[(..., *(0,) * (3 - d))], integers(8, 2, *(3, 2, 3)[:d]), BIAS
    window = {"stride": 2, "padding": 1, "groups": 2}
    conv, backward = getattr(convc, f"conv{d}d"), getattr(convc, f"conv{d}d_backward")
    y = conv(x, weight, bias, **window)
    y_last = conv(last(x), weight, bias, **window, layout=layout)
    assert y_last.flags.c_contiguous
    np.testing.assert_array_equal(first(y_last), y)
    np.testing.assert_array_equal(convc.prepare(weight, bias, last(x).shape, **window, layout=layout)(last(x)), y_last)
    for here, there, spatial in zip(
        backward(y, x, weight, **window),
        backward(last(y), last(x), weight, **window, layout=layout),
        (1, 0, 0),
        strict=True,
    ):
        np.testing.assert_array_equal(here, first(there) if spatial else there)
    pool, pool_backward = getattr(convc, f"max_pool{d}d"), getattr(convc, f"max_pool{d}d_backward")
    y, where = pool(x, 2, padding=1, fit="ceil", return_indices=True)
    y_last, where_last = pool(last(x), 2, padding=1, fit="ceil", return_indices=True, layout=layout)
    np.testing.assert_array_equal(first(y_last), y)
    np.testing.assert_array_equal(first(where_last), where)
    there = pool_backward(y_last, where_last, last(x).shape, layout=layout)
    np.testing.assert_array_equal(first(there), pool_backward(y, where, x.shape))
    unpooled = getattr(convc, f"max_unpool{d}d")(y, where, 2, padding=1, output_size=x.shape)
    again = getattr(convc, f"max_unpool{d}d")(
        y_last, where_last, 2, padding=1, output_size=last(x).shape, layout=layout
    )
    np.testing.assert_array_equal(first(again), unpooled)
    for name, arguments in (
        ("avg_pool", {"kernel_size": 2, "padding": 1}),
        ("lp_pool", {"norm_type": 2, "kernel_size": 2}),
        ("adaptive_avg_pool", {"output_size": 2}),
        ("adaptive_max_pool", {"output_size": 2}),
    ):
        function = getattr(convc, f"{name}{d}d")
        np.testing.assert_array_equal(first(function(last(x), **arguments, layout=layout)), function(x, **arguments))
    columns = convc.im2col(x, 2, layout=("NCW", "NCHW", "NCDHW")[d - 1])
    np.testing.assert_array_equal(convc.im2col(last(x), 2, layout=layout), columns)
    image = convc.col2im(columns, x.shape[2:], 2, layout=("NCW", "NCHW", "NCDHW")[d - 1])
    np.testing.assert_array_equal(first(convc.col2im(columns, x.shape[2:], 2, layout=layout)), image)


def test_paddings_agree():
    weight = integers(3, 4, 3, 2)
    for padding in (1, (1, 1), [1, 1], ((1, 1), (1, 1)), (1, (1, 1)), np.array([1, 1]), np.int32(1)):
        np.testing.assert_array_equal(convc.conv2d(X, weight, padding=padding), convc.conv2d(X, weight, padding=1))
    np.testing.assert_array_equal(convc.conv2d(X, weight, padding="valid"), convc.conv2d(X, weight))
    same = convc.conv2d(X, weight, padding="same", dilation=(2, 3))
    assert same.shape[2:] == X.shape[2:]
    np.testing.assert_array_equal(same, convc.conv2d(X, weight, padding=((2, 2), (1, 2)), dilation=(2, 3)))


# ---- errors ----

ERRORS = {
    "layout must be 'NCHW' or 'NHWC', got 'NCW'": lambda: convc.conv2d(X, WEIGHT, layout="NCW"),
    "layout must be 'NCW' or 'NWC', got 'NCHW'": lambda: convc.conv1d(X[0], WEIGHT[0], layout="NCHW"),
    "layout must be 'NCDHW' or 'NDHWC', got None": lambda: convc.max_pool3d(X, 2, layout=None),
    "pad_mode must be 'zeros', 'reflect', 'replicate' or 'circular', got 'mirror'": lambda: convc.conv2d(
        X, WEIGHT, groups=2, pad_mode="mirror"
    ),
    "padding must be at most 5 for pad_mode 'reflect' of 6 elements in spatial dimension 0, got .6, 6.": lambda: (
        convc.conv2d(X, WEIGHT, groups=2, pad_mode="reflect", padding=6)
    ),
    "padding must be at most 7 for pad_mode 'circular' of 7 elements in spatial dimension 1, got .0, 8.": lambda: (
        convc.conv2d(X, WEIGHT, groups=2, pad_mode="circular", padding=(6, (0, 8)))
    ),
    "fit must be 'floor' or 'exact', got 'ceil'": lambda: convc.conv2d(X, WEIGHT, groups=2, fit="ceil"),
    "fit must be 'floor', 'exact' or 'ceil', got 'round'": lambda: convc.max_pool2d(X, 2, fit="round"),
    "algorithm must be 'auto', 'direct', 'gemm' or 'winograd', got 'fft'": lambda: convc.conv2d(
        X, WEIGHT, algorithm="fft"
    ),
    "activation must be None or 'relu', got 'gelu'": lambda: convc.conv2d(X, WEIGHT, groups=2, activation="gelu"),
    "activation must be None or 'relu', got 'tanh'": lambda: convc.linear(X, WEIGHT[0, 0], activation="tanh"),
    "padding must be ints, 'valid' or 'same', got 'full'": lambda: convc.conv2d(X, WEIGHT, groups=2, padding="full"),
    "padding 'same' needs a stride of 1, got 2": lambda: convc.conv2d(X, WEIGHT, stride=2, groups=2, padding="same"),
    "padding must be .*, got 3: .1, 2, 3.": lambda: convc.conv2d(X, WEIGHT, groups=2, padding=(1, 2, 3)),
    "padding must be .*, got .*1, 2, 3": lambda: convc.conv2d(X, WEIGHT, groups=2, padding=((1, 2, 3), 1)),
    "padding must not be negative, got .-1, -1.": lambda: convc.conv2d(X, WEIGHT, groups=2, padding=-1),
    "stride must be an int or a tuple of 2, got 1: .1,.": lambda: convc.conv2d(X, WEIGHT, groups=2, stride=(1,)),
    "stride must be at least 1, got 0": lambda: convc.conv2d(X, WEIGHT, groups=2, stride=0),
    "dilation must be at least 1, got -2": lambda: convc.conv2d(X, WEIGHT, groups=2, dilation=-2),
    "groups must be at least 1, got 0": lambda: convc.conv2d(X, WEIGHT, groups=0),
    "groups 3 must divide the 4 channels of x": lambda: convc.conv2d(X, WEIGHT, groups=3),
    "weight must have 4 input channels": lambda: convc.conv2d(X, WEIGHT),
    "weight must have 4 dimensions, got 3": lambda: convc.conv2d(X, WEIGHT[0]),
    "x must have 4 dimensions, got 3: shape .4, 6, 7.": lambda: convc.conv2d(X[0], WEIGHT),
    "bias must have shape .8,., got .3,.": lambda: convc.conv2d(X, WEIGHT, BIAS[:3], groups=2),
    "kernel_size 9 .* is larger than the padded input": lambda: convc.im2col(X, 9),
    "kernel_size must be at least 1, got 0": lambda: convc.max_pool2d(X, 0),
    "padding must be at most half of the window": lambda: convc.max_pool2d(X, 2, padding=2),
    "stride 4 does not fit .* would fit": lambda: convc.max_pool2d(X, 3, 4, fit="exact"),
    "grad must have shape .2, 8, 4, 6., got .2, 8, 6, 4.": lambda: convc.conv2d_backward(
        np.empty((2, 8, 6, 4), np.float32), X, WEIGHT, groups=2
    ),
    "grad must have shape .2, 4, 6, 8., got .2, 8, 4, 6.": lambda: convc.conv2d_backward(
        np.empty((2, 8, 4, 6), np.float32), last(X), WEIGHT, groups=2, layout="NHWC"
    ),
    "needs must be .*'x', 'weight' and 'bias', got": lambda: call("conv2d_backward", needs=("x", "input")),
    "indices must be int64 .*got int32": lambda: call("max_pool2d_backward", indices=np.zeros((2, 4, 3, 3), np.int32)),
    "indices must have shape .2, 4, 3, 3.": lambda: call("max_pool2d_backward", indices=np.zeros((2, 4, 3, 2), int)),
    "x_shape must have the batch and channels of grad": lambda: call("max_pool2d_backward", x_shape=(2, 3, 6, 7)),
    "indices must have shape .2, 4, 6, 7., got .2, 4, 6, 6.": lambda: call("max_unpool2d", indices=PLACES[..., :6]),
    "indices must have the batch and channels of grad": lambda: call("max_unpool2d_backward", indices=PLACES[:1]),
    "indices must be from 0 to 41, places in a channel of grad": lambda: call(
        "max_unpool2d_backward", indices=PLACES + 1
    ),
    "output_size must be from 11 to 13 in spatial dimension 0": lambda: call("max_unpool2d", output_size=(14, 14)),
    "padding .4, 4. leaves nothing": lambda: call(
        "max_unpool2d", x=X[..., :1, :], indices=PLACES[..., :1, :], padding=4
    ),
    "output_size must be at least 1, got 0 in spatial dimension 1": lambda: call(
        "adaptive_avg_pool2d", output_size=(2, 0)
    ),
    "output_size must be an int or a tuple of 2, got 3": lambda: call("adaptive_max_pool2d", output_size=(2, None, 2)),
    "output_size must be an int or a tuple of 2, got None": lambda: call("adaptive_max_pool2d", output_size=None),
    "grad must have shape .2, 4, 2, 3., got .2, 4, 3, 3.": lambda: call(
        "avg_pool2d_backward", grad=np.empty((2, 4, 3, 3), np.float32)
    ),
    "x_shape must have the batch and channels of grad, .*3, 6": lambda: call(
        "adaptive_avg_pool2d_backward", x_shape=(2, 3, 6, 7)
    ),
    "grad must have shape .2, 4., or that with spatial sizes of 1, got .2, 3.": lambda: call(
        "global_avg_pool_backward", grad=np.empty((2, 3), np.float32)
    ),
    "x must have 3 to 5 dimensions, got 2: shape .6, 7.": lambda: convc.global_max_pool(X[0, 0]),
    "x_shape must be a tuple of 3 to 5 ints, got .2, 4.": lambda: convc.global_avg_pool_backward(BIAS[:4], (2, 4)),
    "layout must be .*'NDHWC', got 'NC'": lambda: convc.global_avg_pool(X, layout="NC"),
    "norm_type must be a number, got str": lambda: call("lp_pool2d", norm_type="2"),
    "norm_type must fit in a float": lambda: call("lp_pool2d", norm_type=10**400),
    "norm_type must be positive and finite .*, got 0": lambda: call("lp_pool2d", norm_type=0),
    "y must have shape .2, 4, 2, 3., got .2, 4, 6, 7.": lambda: call("lp_pool2d_backward", y=X),
    "x_shape must be a tuple of 4 ints, got 3": lambda: call("max_pool2d_backward", x_shape=(4, 6, 7)),
    "cols must have shape .2, 24, 25., got .2, 24, 29.": lambda: call("col2im", cols=np.empty((2, 24, 29), np.float32)),
    "cols must have channels . product of kernel_size": lambda: call("col2im", cols=np.empty((2, 25, 30), np.float32)),
    "output_size must be at least 1, got 0": lambda: call("col2im", output_size=(0, 7)),
    "b must have as many rows as a has columns": lambda: call("gemm", b=np.empty((5, 5), np.float32)),
    "weight must have 7 input features as x has": lambda: call("linear", weight=np.empty((3, 6), np.float32)),
    "axis must be from -4 to 3 .*, got 4": lambda: call("softmax", axis=4),
    "axis must be": lambda: convc.softmax(np.float32(3)),
    "y must have shape .2, 4, 6, 7., got": lambda: call("softmax_backward", y=X[0]),
    "target must have shape .2,., got .3,.": lambda: call("cross_entropy", target=np.zeros(3, int)),
    "target .*7": lambda: call("cross_entropy", target=np.array([0, 7])),
    "logits must have at least 1 class": lambda: convc.cross_entropy(np.empty((2, 0)), TARGET),
    "running_mean must have shape .4,., a number for each channel of x, got .3,.": lambda: call(
        "batch_norm", running_mean=BIAS[:3]
    ),
    "grad must have the shape of x, .2, 4, 6, 7., got .4, 6, 7.": lambda: call("group_norm_backward", grad=X[0]),
    "normalized_shape must be that of the last axes of x, .* got .7, 6.": lambda: call(
        "layer_norm", normalized_shape=(7, 6)
    ),
    "num_groups 3 must divide the 4 channels of x": lambda: call("group_norm", num_groups=3),
    "reduction must be 'mean', 'sum' or 'none', got 'avg'": lambda: call("cross_entropy", reduction="avg"),
    "grad must have shape .2,.": lambda: call("cross_entropy_backward", grad=BIAS[:3]),
    "input_shape must be a tuple of 4 ints, got 3": lambda: convc.prepare(WEIGHT, None, (4, 6, 7)),
    "input_shape must have positive extents": lambda: convc.prepare(WEIGHT, None, (1, 4, 0, 7)),
    "weight must have 3 to 5 dimensions, got 2": lambda: convc.prepare(WEIGHT[0, 0], None, (1, 4)),
    "mode must be 'exact', got 'fast'": lambda: convc.precision("fast"),
    "name must be .*, got mmx": lambda: convc.set_isa("mmx"),
    "n must be from 1 to .*, got 0": lambda: convc.set_num_threads(0),
}


@pytest.mark.parametrize("text", ERRORS)
def test_errors_say_what_is_wrong(text):
    with pytest.raises((ValueError, TypeError), match=f"^{text}"):
        ERRORS[text]()


@pytest.mark.parametrize(
    "name", ["layout", "pad_mode", "fit", "algorithm", "activation", "stride", "padding", "dilation", "groups", "out"]
)
def test_arguments_of_the_wrong_type(name):
    with pytest.raises(TypeError, match=f"^{name} must be"):
        call("conv2d", **{name: 1.5})
    if name != "out":
        with pytest.raises((ValueError, TypeError), match=f"^{name} must be"):
            call("conv2d", **{name: X})


def test_errors_of_other_kinds():
    for wrong in (3, None, b"avx2"):
        with pytest.raises(TypeError, match="name must be a str"):
            convc.set_isa(wrong)
    with pytest.raises(TypeError, match="mode must be 'exact'"):
        convc.precision(1)
    with pytest.raises(TypeError, match="grad must be a number"):
        convc.cross_entropy_backward(np.ones((1, 2)), np.array([0]), "1")


# ---- operators over any shape ----


@pytest.mark.parametrize("shape", [(), (0,), (3, 0, 2), (1,), (2, 1, 3, 1, 2, 1, 2), (2,) * 9])
def test_relu_of_any_shape(shape):
    x = integers(*shape) if shape else np.float32(-1)
    for view in (x, np.transpose(x)):
        np.testing.assert_array_equal(convc.relu(view), np.maximum(view, 0))
        np.testing.assert_array_equal(convc.relu_backward(view, view), np.where(np.asarray(view) > 0, view, 0))


def test_more_axes_than_c_knows():
    """Strides that no merging of neighbours brings down to five axes: the operators copy."""
    x = integers(*(3,) * 7)[::2, ::2, ::2, ::2, ::2, ::2, ::2]
    np.testing.assert_array_equal(convc.relu(x), np.maximum(x, 0))
    np.testing.assert_array_equal(convc.relu_backward(x, x), np.maximum(x, 0))
    np.testing.assert_allclose(convc.softmax(x, 3), convc.softmax(x.copy(), 3), rtol=1e-6)
    out = np.zeros((3,) * 7, np.float32)
    assert convc.relu(x, out=out[::2, ::2, ::2, ::2, ::2, ::2, ::2]).base is out
    np.testing.assert_array_equal(out[::2, ::2, ::2, ::2, ::2, ::2, ::2], np.maximum(x, 0))
    assert np.count_nonzero(out) == np.count_nonzero(x > 0)
    with pytest.raises(ValueError, match="out must not overlap"):
        convc.relu(x, out=x.base[:2, :2, :2, :2, :2, :2, 1:])


@pytest.mark.parametrize("axis", range(-4, 4))
def test_softmax_along_any_axis(axis):
    x = integers(2, 3, 4, 5, dtype=np.float64)
    expected = np.exp(x) / np.exp(x).sum(axis, keepdims=True)
    np.testing.assert_allclose(convc.softmax(x, axis), expected, rtol=1e-12)
    grad = integers(2, 3, 4, 5, dtype=np.float64, seed=1)
    gradient = expected * (grad - (grad * expected).sum(axis, keepdims=True))
    np.testing.assert_allclose(convc.softmax_backward(grad, expected, axis), gradient, rtol=1e-12, atol=1e-13)


def test_order_of_axes_in_memory_is_kept():
    x = X.transpose(0, 2, 3, 1)
    for result in (convc.relu(x), convc.softmax(x, 1), convc.relu_backward(x, x)):
        assert result.strides == x.strides


def test_linear_over_leading_axes():
    weight, bias = integers(3, 7), BIAS[:3]
    expected = X @ weight.T + bias
    np.testing.assert_array_equal(convc.linear(X, weight, bias), expected)
    np.testing.assert_array_equal(convc.linear(X.transpose(2, 0, 1, 3), weight, bias), expected.transpose(2, 0, 1, 3))
    np.testing.assert_array_equal(convc.linear(X[0, 0, 0], weight, bias), expected[0, 0, 0])
    assert convc.linear(X[:0], weight).shape == (0, 4, 6, 3)
    out = np.zeros((2, 5, 6, 3), np.float32)
    convc.linear(X, weight, bias, out=out[:, 1:])  # these leading axes are no single one
    np.testing.assert_array_equal(out[:, 1:], expected)
    grad = integers(2, 4, 6, 3)
    grad_x, grad_weight, grad_bias = convc.linear_backward(grad.transpose(2, 1, 0, 3), X.transpose(2, 1, 0, 3), weight)
    np.testing.assert_array_equal(grad_x, (grad @ weight).transpose(2, 1, 0, 3))
    np.testing.assert_array_equal(grad_weight, np.einsum("abco,abci->oi", grad, X))
    np.testing.assert_array_equal(grad_bias, grad.sum((0, 1, 2)))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_cross_entropy_reductions(dtype):
    logits, target = integers(5, 4, dtype=dtype), np.array([0, 3, 1, 2, 2])
    each = convc.cross_entropy(logits, target, reduction="none")
    assert each.dtype == dtype
    assert convc.cross_entropy(logits, target) == pytest.approx(each.mean(), rel=1e-6)
    assert convc.cross_entropy(logits, target, reduction="sum") == pytest.approx(each.sum(), rel=1e-6)
    assert type(convc.cross_entropy(logits, target)) is float
    plain = convc.cross_entropy_backward(logits, target, reduction="sum")
    np.testing.assert_allclose(convc.cross_entropy_backward(logits, target), plain / 5, rtol=1e-6, atol=1e-7)
    np.testing.assert_allclose(
        convc.cross_entropy_backward(logits, target, 10, reduction="none"), plain * 10, rtol=1e-6
    )
    each_grad = np.arange(5, dtype=dtype)
    scaled = convc.cross_entropy_backward(logits, target, each_grad, reduction="none")
    np.testing.assert_allclose(scaled, plain * each_grad[:, None], rtol=1e-6, atol=1e-7)
    assert np.isnan(convc.cross_entropy(logits[:0], target[:0]))
    assert convc.cross_entropy(logits[:0], target[:0], reduction="sum") == 0
    assert convc.cross_entropy_backward(logits[:0], target[:0]).shape == (0, 4)


def test_gradients_that_are_not_needed():
    for name in ("conv2d_backward", "locally_connected2d_backward", "linear_backward"):
        everything = dict(zip(("x", "weight", "bias"), call(name), strict=True))
        for needs in ((), ("x",), ["weight"], ("bias", "x"), ("weight", "bias")):
            some = dict(zip(("x", "weight", "bias"), call(name, needs=needs), strict=True))
            for key, value in some.items():
                assert (value is not None) == (key in needs)
                assert value is None or np.array_equal(value, everything[key])


# ---- plans ----


def test_plan():
    weight, bias = WEIGHT.copy(), BIAS.copy()
    plan = convc.prepare(weight, bias, X.shape, **WINDOW, groups=2, activation="relu")
    expected = convc.conv2d(X, weight, bias, **WINDOW, groups=2, activation="relu")
    weight[...] = bias[...] = 99
    np.testing.assert_array_equal(plan(X), expected)
    np.testing.assert_array_equal(plan(spread(X)), expected)
    np.testing.assert_array_equal(plan(X[:1]), expected[:1])
    np.testing.assert_array_equal(plan(np.concatenate([X, X, X])), np.concatenate([expected] * 3))
    assert plan(X[:0]).shape == (0, *expected.shape[1:])
    out = np.empty_like(expected)
    assert plan(X, out=out) is out
    np.testing.assert_array_equal(out, expected)
    assert plan.input_shape == X.shape
    assert plan.output_shape == expected.shape
    assert (plan.layout, plan.dtype) == ("NCHW", np.float32)
    assert repr(plan) == f"<convc.Plan {X.shape} -> {expected.shape}, NCHW, float32>"


def test_plan_refuses():
    plan = convc.prepare(WEIGHT, None, X.shape, groups=2)
    with pytest.raises(ValueError, match=r"x must have shape \(2, 4, 6, 7\) up to the batch, got \(2, 4, 7, 6\)"):
        plan(X.transpose(0, 1, 3, 2))
    with pytest.raises(ValueError, match="x must have 4 dimensions"):
        plan(X[0])
    with pytest.raises(TypeError, match="x must be float32 as the plan is, got float64"):
        plan(X.astype(np.float64))
    with pytest.raises(ValueError, match=r"out must have shape \(2, 8, 4, 6\)"):
        plan(X, out=np.empty((1, 8, 4, 6), np.float32))
    with pytest.raises(ValueError, match="out must be writeable"):
        plan(X, out=read_only(plan(X)))
    with pytest.raises(AttributeError):
        plan.layout = "NHWC"
    for make in (convc.Plan, lambda: convc.Plan.__new__(convc.Plan)(X)):
        with pytest.raises(TypeError, match=r"convc\.prepare"):
            make()
    for duplicate in (pickle.dumps, copy.copy, copy.deepcopy):
        with pytest.raises(TypeError, match="cannot be pickled"):
            duplicate(plan)


# ---- threads and signals ----


def test_many_threads_at_once():
    plan = convc.prepare(WEIGHT, BIAS, X.shape, groups=2)
    images = [integers(2, 4, 6, 7, seed=seed) for seed in range(16)]
    expected = [convc.conv2d(image, WEIGHT, BIAS, groups=2) for image in images]

    def work(i):
        for _ in range(50):
            np.testing.assert_array_equal(plan(images[i]), expected[i])
            np.testing.assert_array_equal(convc.conv2d(images[i], WEIGHT, BIAS, groups=2), expected[i])
            with pytest.raises(ValueError, match=f"stride must be at least 1, got {-i} "):
                convc.conv2d(images[i], WEIGHT, groups=2, stride=-i)

    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        list(pool.map(work, range(16)))


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="no timers that send signals")
def test_ctrl_c_is_answered():
    """The handler's exception comes out before the work is done: that would take seconds."""

    class Rang(Exception):
        pass

    def ring(number, frame):
        raise Rang

    x, weight = np.broadcast_to(np.float32(1), (1, 256, 256, 256)), np.broadcast_to(np.float32(1), (64, 256, 31, 31))
    out = np.full((1, 64, 226, 226), np.nan, np.float32)
    before = signal.signal(signal.SIGALRM, ring)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.3)
        with pytest.raises(Rang):
            convc.conv2d(x, weight, out=out)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert np.isnan(out).any()
    assert convc.conv2d(X, WEIGHT, groups=2).shape == (2, 8, 4, 6)


# ---- the installation ----


def test_import_is_lazy():
    code = (
        "import sys, convc; names = ('matplotlib', 'tqdm', 'safetensors', 'convc.nn', 'convc.train', 'subprocess'); "
        "print([name for name in names if name in sys.modules]); convc.nn; assert 'convc.nn' in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split("\n")[0] == "[]"


@pytest.mark.parametrize("name", [name for name in LAZY if name != "plot"])
def test_submodules(name):
    assert getattr(convc, name).__name__ == f"convc.{name}"


def test_unknown_attribute():
    with pytest.raises(AttributeError, match="module 'convc' has no attribute 'torch'"):
        _ = convc.torch


def test_installation():
    info = convc.cpu_info()
    assert set(info) == {"version", "cpu", "isa", "available_isas", "num_threads"}
    assert info["version"] == convc.__version__
    assert info["cpu"]
    assert info["isa"] in info["available_isas"]
    assert info["available_isas"][0] == "scalar"
    header = Path(convc.get_include(), "convc.h").read_text(encoding="utf-8")
    assert f'#define CONVC_VERSION "{convc.__version__}"' in header
    assert Path(convc.__file__).with_name("py.typed").exists()
    if not Path(convc.__file__).with_name("c").exists():
        with pytest.raises(FileNotFoundError, match="sdist"):
            convc.get_sources()
        return
    sources = convc.get_sources()
    assert all(os.path.isabs(path) and path.endswith(".c") and os.path.exists(path) for path in sources)
    assert {"conv.c", "isa_scalar.c"} <= {os.path.basename(path) for path in sources}


def test_precision():
    with convc.precision("exact"):
        assert convc.conv2d(X, WEIGHT, groups=2).shape == (2, 8, 4, 6)


def test_number_of_threads():
    before = convc.get_num_threads()
    try:
        convc.set_num_threads(3)
        assert convc.get_num_threads() == convc.cpu_info()["num_threads"] == 3
    finally:
        convc.set_num_threads(before)
