"""Adaptive average and max pooling, and their gradients."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
import reference
from hypothesis import given
from hypothesis import strategies as st
from strategies import FIRST, ISAS, LAST, LONGEST, channels_first, channels_last, dtypes, integers, isas, views

import convc


@dataclass(frozen=True)
class Adaptive:
    x: np.ndarray = field(repr=False)  # channels first
    output_size: tuple[int, ...]
    last: bool
    isa: str
    view: Any
    shape: tuple[int, ...]

    @property
    def spatial(self):
        return len(self.output_size)

    @property
    def layout(self):
        return (LAST if self.last else FIRST)[self.spatial - 1]

    @property
    def axes(self):
        return reference.shares(self.x.shape[2:], self.output_size)

    def laid_out(self, a):
        return self.view(channels_last(a) if self.last else a)

    def first(self, a):
        return channels_first(a) if self.last else a

    def function(self, kind, suffix=""):
        return getattr(convc, f"adaptive_{kind}_pool{self.spatial}d{suffix}")


@st.composite
def adaptive(draw):
    """Sizes that divide evenly, sizes that do not, and more windows than there are elements."""
    spatial = draw(st.sampled_from([1, 2, 2, 2, 3]))
    size = tuple(draw(st.integers(1, LONGEST[spatial])) for _ in range(spatial))
    output_size = tuple(draw(st.one_of(st.integers(1, n), st.integers(1, 9), st.just(n))) for n in size)
    rng = np.random.default_rng(draw(st.integers(0, 99)))
    shape = (draw(st.integers(1, 2)), draw(st.sampled_from([1, 2, 5, 16, 37])), *size)
    x = integers(rng, *shape, dtype=draw(dtypes), limit=9)
    special = draw(st.sampled_from([None, None, np.nan, np.inf, -np.inf]))
    if special is not None:
        x[rng.random(x.shape) < draw(st.sampled_from([0.02, 0.5, 1.0]))] = special
    return Adaptive(x, output_size, draw(st.booleans()), draw(isas), draw(views), x.shape)


@given(adaptive())
def test_averages(case):
    """Sums of integers are exact, and quotients are rounded once."""
    convc.set_isa(case.isa)
    y = case.function("avg")(case.laid_out(case.x), case.output_size, layout=case.layout)
    assert y.dtype == case.x.dtype
    np.testing.assert_array_equal(case.first(y), reference.avg_pool(case.x, case.axes).astype(case.x.dtype))


@given(adaptive())
def test_gradients_of_averages(case):
    convc.set_isa(case.isa)
    grad = integers(np.random.default_rng(9), *case.x.shape[:2], *case.output_size, dtype=case.x.dtype)
    shape = case.laid_out(case.x).shape
    grad_x = case.function("avg", "_backward")(case.laid_out(grad), shape, layout=case.layout)
    expected = reference.avg_pool_backward(grad, case.x.shape, case.axes)
    gamma = reference.gamma(200, grad.dtype)
    np.testing.assert_allclose(case.first(grad_x), expected, gamma, 4 * gamma)


@given(adaptive())
def test_maxima_and_their_places(case):
    convc.set_isa(case.isa)
    expected, places = reference.adaptive_max_pool(case.x, case.axes)
    y, indices = case.function("max")(case.laid_out(case.x), case.output_size, layout=case.layout, return_indices=True)
    assert y.dtype == case.x.dtype
    assert indices.dtype == np.int64
    np.testing.assert_array_equal(case.first(y), expected)
    np.testing.assert_array_equal(case.first(indices), places)
    out = case.laid_out(np.full_like(expected, 77, case.x.dtype))
    assert case.function("max")(case.laid_out(case.x), case.output_size, layout=case.layout, out=out) is out
    np.testing.assert_array_equal(case.first(out), expected)


@given(adaptive())
def test_gradients_of_maxima(case):
    convc.set_isa(case.isa)
    places = reference.adaptive_max_pool(case.x, case.axes)[1]
    grad = integers(np.random.default_rng(9), *places.shape, dtype=case.x.dtype)
    grad_x = case.function("max", "_backward")(
        case.laid_out(grad), case.laid_out(places), case.laid_out(case.x).shape, layout=case.layout
    )
    np.testing.assert_array_equal(case.first(grad_x), reference.max_pool_backward(grad, places, case.x.shape))


@given(adaptive())
def test_pytorch_agrees(torch, case):
    convc.set_isa(case.isa)
    x = np.nan_to_num(np.float64(case.x), posinf=7, neginf=-7)
    functional, d = torch.nn.functional, case.spatial
    t = torch.from_numpy(x).requires_grad_()
    theirs = getattr(functional, f"adaptive_avg_pool{d}d")(t, case.output_size)
    y = case.function("avg")(case.laid_out(x), case.output_size, layout=case.layout)
    np.testing.assert_allclose(case.first(y), theirs.detach().numpy(), rtol=1e-13, atol=1e-13)
    grad = np.random.default_rng(2).standard_normal(theirs.shape)
    theirs.backward(torch.from_numpy(grad))
    grad_x = case.function("avg", "_backward")(case.laid_out(grad), case.laid_out(x).shape, layout=case.layout)
    np.testing.assert_allclose(case.first(grad_x), t.grad.numpy(), rtol=1e-13, atol=1e-13)
    theirs, places = getattr(functional, f"adaptive_max_pool{d}d")(torch.from_numpy(case.x), case.output_size, True)
    y, indices = case.function("max")(case.laid_out(case.x), case.output_size, layout=case.layout, return_indices=True)
    np.testing.assert_array_equal(case.first(y), theirs.numpy())
    np.testing.assert_array_equal(case.first(indices), places.numpy())


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
@pytest.mark.parametrize(
    ("size", "output_size"),
    [((32, 32), 7), ((3, 9001), (2, 17)), ((9001, 3), (5, 2)), ((2, 5), (3, 8000)), ((70, 66), 3)],
)
def test_large_shapes(size, output_size, layout, isa):
    convc.set_isa(isa)
    x = integers(np.random.default_rng(3), 2, 21, *size, dtype=np.float32)
    axes = reference.shares(size, np.broadcast_to(output_size, 2))
    mean, (top, places) = reference.avg_pool(x, axes), reference.adaptive_max_pool(x[:, :1], axes)
    grad = integers(np.random.default_rng(4), *mean.shape, dtype=np.float32)
    grad_x = reference.avg_pool_backward(grad, x.shape, axes)
    if layout == "NHWC":
        x, mean, top, places, grad, grad_x = map(channels_last, (x, mean, top, places, grad, grad_x))
    one = x[:, :1] if layout == "NCHW" else x[..., :1]
    x = np.ascontiguousarray(x)
    np.testing.assert_array_equal(convc.adaptive_avg_pool2d(x, output_size, layout=layout), np.float32(mean))
    y, indices = convc.adaptive_max_pool2d(one, output_size, layout=layout, return_indices=True)
    np.testing.assert_array_equal(y, top)
    np.testing.assert_array_equal(indices, places)
    ours = convc.adaptive_avg_pool2d_backward(grad, x.shape, layout=layout)
    np.testing.assert_allclose(ours, grad_x, rtol=1e-4, atol=1e-4)


def test_none_keeps_the_size():
    x = np.arange(24.0).reshape(1, 1, 4, 6)
    for output_size, shape in (((None, 2), (4, 2)), ([3, None], (3, 6)), ((None, None), (4, 6)), (2, (2, 2))):
        assert convc.adaptive_avg_pool2d(x, output_size).shape[2:] == shape
        assert convc.adaptive_max_pool2d(x, output_size).shape[2:] == shape
    assert convc.adaptive_avg_pool2d(x.transpose(0, 2, 3, 1), (None, 2), layout="NHWC").shape == (1, 4, 2, 1)


def test_even_shares_are_ordinary_windows():
    x = np.random.default_rng(0).standard_normal((2, 3, 12, 20)).astype(np.float32)
    np.testing.assert_array_equal(convc.adaptive_avg_pool2d(x, (4, 5)), convc.avg_pool2d(x, (3, 4)))
    np.testing.assert_array_equal(convc.adaptive_max_pool2d(x, (4, 5)), convc.max_pool2d(x, (3, 4)))


@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
def test_bits_do_not_depend_on_threads(layout):
    x = np.random.default_rng(9).standard_normal((3, 67, 45, 51)).astype(np.float32)
    x = x if layout == "NCHW" else np.ascontiguousarray(channels_last(x))

    def everything():
        for size in (1, 7, (2, 30)):
            y = convc.adaptive_avg_pool2d(x, size, layout=layout)
            yield y
            yield convc.adaptive_avg_pool2d_backward(y, x.shape, layout=layout)
            y, indices = convc.adaptive_max_pool2d(x, size, layout=layout, return_indices=True)
            yield from (y, indices, convc.adaptive_max_pool2d_backward(y, indices, x.shape, layout=layout))

    convc.set_num_threads(1)
    alone = [a.tobytes() for a in everything()]
    for threads in (2, 5):
        convc.set_num_threads(threads)
        assert [a.tobytes() for a in everything()] == alone


def test_empty_batch():
    x = np.zeros((0, 2, 5, 4), np.float32)
    y, indices = convc.adaptive_max_pool2d(x, 3, return_indices=True)
    assert y.shape == indices.shape == convc.adaptive_avg_pool2d(x, 3).shape == (0, 2, 3, 3)
    assert convc.adaptive_avg_pool2d_backward(y, x.shape).shape == x.shape
    assert convc.adaptive_max_pool2d_backward(y, indices, x.shape).shape == x.shape
