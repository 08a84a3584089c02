"""Resizing by the nearest element and by linear interpolation, and its gradient."""

import itertools
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pytest
import reference
from hypothesis import assume, given
from hypothesis import strategies as st
from strategies import FIRST, ISAS, LAST, channels_first, channels_last, dtypes, integers, isas, views

import convc
from convc import nn

LINEAR = ("linear", "bilinear", "trilinear")
factors = st.one_of(st.sampled_from([0.5, 1.0, 1.05, 2.0, 2.5, 3.0]), st.floats(0.3, 4))


@dataclass(frozen=True)
class Resizing:
    x: np.ndarray = field(repr=False)  # channels first
    size: tuple | None
    scale_factor: tuple | None
    mode: str
    align_corners: bool
    last: bool
    isa: str
    view: Any
    shape: tuple = ()

    def __post_init__(self):
        object.__setattr__(self, "shape", (self.x.shape, self.x.dtype.name))

    @property
    def options(self):
        return {
            "size": self.size,
            "scale_factor": self.scale_factor,
            "mode": self.mode,
            "align_corners": self.align_corners,
            "layout": (LAST if self.last else FIRST)[self.x.ndim - 3],
        }

    def laid_out(self, a):
        return self.view(channels_last(a) if self.last else a)

    def first(self, a):
        return channels_first(a) if self.last else a

    @property
    def matrices(self):
        """The weights along each axis, (out, in)."""
        space = self.x.shape[2:]
        sizes = self.size or [int(n * f) for n, f in zip(space, self.scale_factor, strict=True)]
        scales = self.scale_factor or [None] * len(space)
        return [
            reference.resize_matrix(n, out, self.mode, self.align_corners, scale)
            for n, out, scale in zip(space, sizes, scales, strict=True)
        ]


@st.composite
def resizings(draw):
    spatial = draw(st.sampled_from([1, 2, 2, 3]))
    longest = {1: 60, 2: 20, 3: 6}[spatial]
    space = draw(st.tuples(*[st.integers(1, longest)] * spatial))
    size = scale = None
    if draw(st.booleans()):
        size = draw(st.tuples(*[st.integers(1, 2 * longest)] * spatial))
    else:
        scale = draw(st.tuples(*[factors] * spatial))
        assume(all(int(n * f) >= 1 for n, f in zip(space, scale, strict=True)))
    mode = draw(st.sampled_from(["nearest", "nearest-exact", LINEAR[spatial - 1], LINEAR[spatial - 1]]))
    corners = mode in LINEAR and draw(st.booleans())
    rng = np.random.default_rng(draw(st.integers(0, 99)))
    x = integers(rng, draw(st.integers(1, 2)), draw(st.sampled_from([1, 2, 5, 16, 37])), *space, dtype=draw(dtypes))
    return Resizing(x, size, scale, mode, corners, draw(st.booleans()), draw(isas), draw(views))


@st.composite
def rows(draw):
    """Dense rows, which vectors run along: shorter and longer than a vector, and factors that are whole numbers."""
    n = draw(st.integers(1, 80))
    out = draw(st.one_of(st.integers(1, 6).map(lambda factor: n * factor), st.integers(1, 300)))
    mode = draw(st.sampled_from(["nearest", "nearest-exact", "bilinear"]))
    corners = mode in LINEAR and draw(st.booleans())
    size = (draw(st.integers(1, 5)), out)
    x = integers(np.random.default_rng(draw(st.integers(0, 99))), 1, 2, 3, n, dtype=draw(dtypes))
    return Resizing(x, size, None, mode, corners, False, draw(isas), np.ascontiguousarray)


def close(case, ours, expected, terms):
    """Each axis rounds its weights and its sum; nearest modes round nothing forward."""
    tolerance = reference.gamma(terms, case.x.dtype) if case.mode in LINEAR else 0
    np.testing.assert_allclose(case.first(ours), expected, rtol=0, atol=3 * tolerance * max(1, np.abs(expected).max()))


@given(st.one_of(resizings(), rows()))
def test_values(case):
    convc.set_isa(case.isa)
    expected = reference.resize(case.x, case.matrices)
    y = convc.interpolate(case.laid_out(case.x), **case.options)
    assert y.dtype == case.x.dtype
    close(case, y, expected, 12)
    out = case.laid_out(np.full_like(expected, 77, case.x.dtype))
    assert convc.interpolate(case.laid_out(case.x), **case.options, out=out) is out
    np.testing.assert_array_equal(out, y)


@given(st.one_of(resizings(), rows()))
def test_gradient(case):
    """That of a linear function is its transposed matrix."""
    convc.set_isa(case.isa)
    grad = integers(np.random.default_rng(27), *reference.resize(case.x, case.matrices).shape, dtype=case.x.dtype)
    expected = reference.resize(grad, [matrix.T for matrix in case.matrices])
    grad_x = convc.interpolate_backward(case.laid_out(grad), case.laid_out(case.x).shape, **case.options)
    assert grad_x.dtype == grad.dtype
    terms = sum((matrix != 0).sum(0).max() for matrix in case.matrices)
    close(case, grad_x, expected, 12 + terms * 3)


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("factor", [1, 1.3, 1.5, 2, 2.5, 3, 4, 7])
@pytest.mark.parametrize(
    ("mode", "corners"), [("nearest", False), ("nearest-exact", False), ("linear", False), ("linear", True)]
)
def test_dense_rows(mode, corners, factor, dtype, isa):
    """Special values go where there is a weight, and not to their neighbours in a vector: a channel for each place."""
    convc.set_isa(isa)
    rng = np.random.default_rng(31)
    for n in (1, 3, 8, 21, 37):
        options = {"size": int(n * factor), "mode": mode, "align_corners": corners}
        matrix = reference.resize_matrix(n, options["size"], mode, corners, None).astype(dtype)
        x, grad = integers(rng, 1, n, n, dtype=dtype), integers(rng, 1, len(matrix), len(matrix), dtype=dtype)
        tolerance = 100 * np.finfo(dtype).eps
        np.testing.assert_allclose(convc.interpolate(x, **options)[0], x[0] @ matrix.T, rtol=0, atol=tolerance)
        grad_x = convc.interpolate_backward(grad, (1, len(matrix), n), **options)
        np.testing.assert_allclose(grad_x[0], grad[0] @ matrix, rtol=0, atol=tolerance)
        x[0][np.diag_indices(n)] = np.inf
        np.testing.assert_array_equal(~np.isfinite(convc.interpolate(x, **options)[0]), matrix.T != 0)
        grad[0][np.diag_indices(len(matrix))] = np.nan
        grad_x = convc.interpolate_backward(grad, (1, len(matrix), n), **options)
        np.testing.assert_array_equal(np.isnan(grad_x[0]), matrix != 0)


def in_pytorch(torch, case):
    theirs = torch.from_numpy(case.x).requires_grad_()
    corners = case.align_corners if case.mode in LINEAR else None
    y = torch.nn.functional.interpolate(theirs, case.size, case.scale_factor, case.mode, corners)
    return theirs, y


def gradient_is_pytorchs(case):
    """PyTorch takes 1 or 2 for a scale that gives such a size: the gradient does not go where the output came from."""
    sizes = zip(case.x.shape[2:], case.scale_factor or (), strict=False)
    return case.mode != "nearest" or all(scale in (1, 2) or int(n * scale) not in (n, 2 * n) for n, scale in sizes)


@given(resizings())
def test_pytorch_agrees(torch, case):
    # In nearest modes PyTorch's coordinates depend on the dtype; ours are those of float32.
    case = replace(case, x=case.x.astype(np.float64 if case.mode in LINEAR else np.float32))
    theirs, y = in_pytorch(torch, case)
    ours = case.first(convc.interpolate(case.laid_out(case.x), **case.options))
    np.testing.assert_allclose(ours, y.detach().numpy(), rtol=0, atol=1e-13)
    grad = integers(np.random.default_rng(28), *y.shape, dtype=case.x.dtype)
    y.backward(torch.from_numpy(grad))
    grad_x = convc.interpolate_backward(case.laid_out(grad), case.laid_out(case.x).shape, **case.options)
    if gradient_is_pytorchs(case):
        np.testing.assert_allclose(case.first(grad_x), theirs.grad.numpy(), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("mode", ["nearest", "nearest-exact"])
def test_nearest_picks_what_pytorch_picks(torch, mode):
    """Whatever float32 makes of the coordinates."""
    for n, out in itertools.product((1, 2, 3, 10, 49, 100, 1021), (1, 7, 49, 98, 147, 1000, 4998)):
        x = np.arange(n, dtype=np.float32).reshape(1, 1, n)
        theirs = torch.nn.functional.interpolate(torch.from_numpy(x), out, mode=mode)
        np.testing.assert_array_equal(convc.interpolate(x, out, mode=mode), theirs.numpy())


@pytest.mark.parametrize("last", [False, True])
@pytest.mark.parametrize("channels", [3, 64, 2100])
@pytest.mark.parametrize("mode", ["nearest", "bilinear"])
def test_shapes_of_networks(torch, mode, channels, last):
    """Rows and groups of channels longer than what is computed at once, and many tasks."""
    shape = (1, channels, 3, 5) if channels > 2000 else (2, channels, 13, 1100 if channels < 64 else 40)
    x = np.random.default_rng(29).standard_normal(shape)
    theirs = torch.from_numpy(x).requires_grad_()
    y = torch.nn.functional.interpolate(theirs, scale_factor=2, mode=mode)
    a = np.ascontiguousarray(channels_last(x)) if last else x
    layout = "NHWC" if last else "NCHW"
    ours = convc.interpolate(a, scale_factor=2, mode=mode, layout=layout)
    np.testing.assert_allclose(channels_first(ours) if last else ours, y.detach().numpy(), rtol=0, atol=1e-14)
    y.backward(y.detach())
    grad_x = convc.interpolate_backward(ours, a.shape, scale_factor=2, mode=mode, layout=layout)
    np.testing.assert_allclose(channels_first(grad_x) if last else grad_x, theirs.grad.numpy(), rtol=0, atol=1e-13)
    if last:  # the same memory as PyTorch's channels_last: an NCHW view of it, whose result is NCHW in memory
        mixed = convc.interpolate(channels_first(a), scale_factor=2, mode=mode)
        np.testing.assert_allclose(mixed, channels_first(ours), rtol=0, atol=1e-14)


@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
@pytest.mark.parametrize("value", [np.nan, np.inf])
@given(isas)
def test_special_values_reach_what_looks_at_them(value, layout, isa):
    """An element of weight 0 is not looked at: no infinity times 0 makes a NaN."""
    convc.set_isa(isa)
    x = np.ones((1, 3, 5, 5), np.float32)
    x[0, 1, 2, 2] = value
    a = x if layout == "NCHW" else np.ascontiguousarray(channels_last(x))
    for size, mode, corners in (
        (5, "bilinear", False),
        (9, "bilinear", True),
        (10, "bilinear", False),
        (7, "nearest", 0),
    ):
        y = convc.interpolate(a, size, None, mode, corners, layout=layout)
        y = y if layout == "NCHW" else channels_first(y)
        matrix = reference.resize_matrix(5, size, mode, corners, None)
        reached = np.outer(matrix[:, 2] != 0, matrix[:, 2] != 0)
        np.testing.assert_array_equal(y[0, 1][~reached], 1)
        np.testing.assert_array_equal(y[0, [0, 2]], 1)
        np.testing.assert_array_equal(y[0, 1][reached], value)
        grad = np.ones_like(y)
        grad[0, 1, 0, 0] = value
        g = grad if layout == "NCHW" else np.ascontiguousarray(channels_last(grad))
        grad_x = convc.interpolate_backward(g, a.shape, size, None, mode, corners, layout=layout)
        special = ~np.isfinite(grad_x if layout == "NCHW" else channels_first(grad_x))
        assert special.sum() == (matrix[0] != 0).sum() ** 2
        assert special[0, 1, 0, 0]


def test_one_number_for_all_axes():
    x = np.arange(16.0).reshape(1, 1, 4, 4)
    np.testing.assert_array_equal(convc.interpolate(x, 8), convc.interpolate(x, (8, 8)))
    np.testing.assert_array_equal(convc.interpolate(x, scale_factor=2), convc.interpolate(x, scale_factor=[2, 2.0]))
    np.testing.assert_array_equal(convc.interpolate(x, 8, align_corners=None), convc.interpolate(x, 8))


def test_one_row_stretched_far():
    """A weight's gradient with many terms, and a guess of the first output that must be a good one."""
    grad = np.ones((1, 1, 200_001), np.float32)
    np.testing.assert_array_equal(convc.interpolate_backward(grad, (1, 1, 1), 200_001, mode="linear"), [[[200_001]]])
    halves = convc.interpolate_backward(grad.astype(np.float64), (1, 1, 2), 200_001, mode="linear")
    np.testing.assert_allclose(halves, [[[100_000.5, 100_000.5]]])
    tall = np.ones((1, 1, 200_001, 2), np.float64)
    np.testing.assert_allclose(
        convc.interpolate_backward(tall, (1, 1, 2, 2), (200_001, 2), mode="bilinear"), np.full((1, 1, 2, 2), 100_000.5)
    )


def test_empty_batch():
    x = np.zeros((0, 2, 4, 4), np.float32)
    y = convc.interpolate(x, 8)
    assert y.shape == (0, 2, 8, 8)
    assert convc.interpolate_backward(y, x.shape, 8).shape == x.shape


X = np.ones((1, 2, 4, 4))


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: convc.interpolate(X), ValueError, "size or scale_factor must be given"),
        (lambda: convc.interpolate(X, 2, 2), ValueError, "size or scale_factor must be given, and not both"),
        (lambda: convc.interpolate(X, (2, 2, 2)), ValueError, "size must be an int or a tuple of 2"),
        (lambda: convc.interpolate(X, 0), ValueError, "size must be at least 1, got 0 in spatial dimension 0"),
        (lambda: convc.interpolate(X, 2**40), ValueError, "output would be too large"),
        (lambda: convc.interpolate(X, scale_factor=(1, 2, 3)), ValueError, "scale_factor must be a number or a tuple"),
        (lambda: convc.interpolate(X, scale_factor="2"), TypeError, "scale_factor must be a number, got str"),
        (lambda: convc.interpolate(X, scale_factor=0.1), ValueError, "scale_factor 0.1 leaves nothing of 4 elements"),
        *(
            (lambda bad=bad: convc.interpolate(X, scale_factor=bad), ValueError, "scale_factor must be positive")
            for bad in (0, -2, np.nan, np.inf, 1e300)
        ),
        (lambda: convc.interpolate(X, 2, mode="bicubic"), ValueError, "mode must be 'nearest', .* or 'bilinear' for 4"),
        (lambda: convc.interpolate(X, 2, mode="linear"), ValueError, "mode must be .*'bilinear' for 4 dimensions"),
        (lambda: convc.interpolate(X, 2, mode=2), TypeError, "mode must be .*, got int"),
        (lambda: convc.interpolate(X, 2, align_corners=True), ValueError, "align_corners goes with linear"),
        (lambda: convc.interpolate(X, 2, layout="NCW"), ValueError, "x must have 3 dimensions, got 4"),
        (lambda: convc.interpolate(X, 2, layout="HWC"), ValueError, "layout must be"),
        (lambda: convc.interpolate(X[0, 0], 2), ValueError, "x must have 3 to 5 dimensions, got 2"),
        (lambda: convc.interpolate(X[:, :0], 2), ValueError, "x must have at least 1 channel"),
        (lambda: convc.interpolate(X[:, :, :0], 2), ValueError, "input must have at least 1 element"),
        (lambda: convc.interpolate_backward(X, (1, 2, 2), 4), ValueError, "x_shape must be a tuple of 4 ints"),
        (lambda: convc.interpolate_backward(X, (1, 2, 2, 0), 4), ValueError, "x_shape must have positive extents"),
        (lambda: convc.interpolate_backward(X, (1, 2, 2, 2), 5), ValueError, r"grad must have shape \(1, 2, 5, 5\)"),
        (lambda: convc.interpolate_backward(X, (1, 3, 2, 2), 4), ValueError, r"grad must have shape \(1, 3, 4, 4\)"),
    ],
)
def test_refused(call, error, message):
    with pytest.raises(error, match=message):
        call()


# ---- the layer ----


def upsamplings(lib):
    return lib.Sequential(
        lib.Upsample(scale_factor=2),
        lib.Upsample((9, 7)),
        lib.Upsample(5, mode="bilinear"),
        lib.Upsample(scale_factor=(1.5, 2), mode="nearest-exact"),
        lib.Upsample(None, 2.5, "bilinear", False),
    )


def test_layer_is_that_of_pytorch(torch):
    x = np.random.default_rng(32).standard_normal((2, 3, 4, 5)).astype(np.float32)
    ours, theirs = upsamplings(nn), upsamplings(torch.nn)
    assert repr(ours) == repr(theirs)
    for layer, other in zip(ours, theirs, strict=True):
        expected = other(torch.from_numpy(x)).numpy()
        np.testing.assert_allclose(layer(x), expected, rtol=1e-5, atol=1e-5)
        assert layer.output_shape(x.shape[1:]) == expected.shape[1:]
        last = nn.Upsample(**{**layer.config(), "layout": "NHWC"})
        np.testing.assert_array_equal(channels_first(last(channels_last(x))), layer(x))
        assert last.output_shape(channels_last(x).shape[1:]) == channels_last(expected).shape[1:]
        assert repr(last) == repr(layer)[:-1] + ", layout='NHWC')"


@given(resizings())
def test_output_shape(case):
    layer = nn.Upsample(**case.options)
    x = case.laid_out(case.x)
    assert layer.output_shape(x.shape[1:]) == layer(x).shape[1:]


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: nn.Upsample(), ValueError, "size or scale_factor must be given"),
        (lambda: nn.Upsample(2, 2), ValueError, "size or scale_factor must be given, and not both"),
        (lambda: nn.Upsample(0), ValueError, "size must be at least 1"),
        (lambda: nn.Upsample("2"), TypeError, "size must be an integer"),
        (lambda: nn.Upsample(scale_factor="wide"), TypeError, "scale_factor must be a number"),
        (lambda: nn.Upsample(2, mode="bicubic"), ValueError, "mode must be 'nearest' or"),
        (lambda: nn.Upsample(2, align_corners=True), ValueError, "align_corners must be None or False"),
        (lambda: nn.Upsample(2, align_corners=2), ValueError, "align_corners must be None or"),
        (lambda: nn.Upsample(2, layout="HWC"), ValueError, "layout must be"),
        (lambda: nn.Upsample(2).output_shape((3,)), ValueError, "needs an input of a channel axis and 1 to 3 spatial"),
        (lambda: nn.Upsample(2, layout="NWC").output_shape((3, 4, 5)), ValueError, "needs an input"),
        (lambda: nn.Upsample((2, 2)).output_shape((3, 4)), ValueError, "size must"),
        (lambda: nn.Upsample(scale_factor=(2.0,)).output_shape((3, 4, 5)), ValueError, "scale_factor must be a number"),
        (lambda: nn.Upsample(scale_factor=0.1).output_shape((3, 4, 5)), ValueError, "scale_factor must leave"),
        (lambda: nn.Upsample(scale_factor=np.nan), ValueError, "scale_factor must be positive and finite, got nan"),
        (lambda: nn.Upsample(scale_factor=(2, -1)), ValueError, "scale_factor must be positive and finite, got -1"),
        (lambda: nn.Upsample(2, mode="bilinear").output_shape((3, 4)), ValueError, "'linear' for 1 spatial axes"),
    ],
)
def test_layer_refuses(call, error, message):
    with pytest.raises(error, match=message):
        call()
