"""Arrays in and out of every operator: views, dtypes, wrong types and ranks, `out`, layouts."""

import array
import sys

import numpy as np
import pytest
from calls import (
    ARGUMENTS,
    BIAS,
    CALLS,
    ELEMENTWISE,
    WITH_OUT,
    X,
    call,
    equal,
    first,
    integers,
    last,
    read_only,
    spread,
)

import convc

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
