"""Max unpooling and its gradient."""

import numpy as np
import pytest
import reference
from hypothesis import assume, given
from strategies import channels_last, integers, pools

import convc


@given(pools(dilated=False))
def test_values_and_gradients(case):
    """Also of indices that meet in one place: the last one counts."""
    convc.set_isa(case.isa)
    rng = np.random.default_rng(1)
    d, w = case.window.spatial, case.window
    size = tuple(
        (n - 1) * s + k - 2 * before
        for n, k, s, (before, _) in zip(case.x.shape[2:], w.kernel, w.stride, w.padding, strict=True)
    )
    assume(min(size) >= 1)
    indices = rng.integers(0, np.prod(size), case.x.shape)
    options = {"kernel_size": w.kernel, "stride": w.stride, "padding": case.arguments["padding"], "layout": case.layout}
    unpool = getattr(convc, f"max_unpool{d}d")
    y = unpool(case.laid_out(case.x), case.laid_out(indices), **options)
    expected = reference.max_unpool(case.x, indices, size)
    assert y.dtype == case.x.dtype
    np.testing.assert_array_equal(case.first(y), expected)
    out = case.laid_out(np.full_like(expected, 77, case.x.dtype))
    assert unpool(case.laid_out(case.x), case.laid_out(indices), **options, out=out) is out
    np.testing.assert_array_equal(case.first(out), expected)
    grad = integers(rng, *expected.shape, dtype=case.x.dtype)
    grad_x = getattr(convc, f"max_unpool{d}d_backward")(case.laid_out(grad), case.laid_out(indices), layout=case.layout)
    np.testing.assert_array_equal(case.first(grad_x), reference.max_unpool_backward(grad, indices))


@given(pools(dilated=False, fits=["floor"]))
def test_pytorch_agrees(torch, case):
    """On what its own max pooling gives, where no two windows have one maximum."""
    convc.set_isa(case.isa)
    w, a = case.window, case.arguments
    assume(all(s >= k for s, k in zip(w.stride, w.kernel, strict=True)))
    x = np.random.default_rng(0).permutation(case.x.size).reshape(case.x.shape).astype(np.float64)
    functional, d = torch.nn.functional, w.spatial
    windows = a["kernel_size"], a["stride"], a["padding"]
    top, places = getattr(functional, f"max_pool{d}d")(torch.from_numpy(x), *windows, return_indices=True)
    theirs = getattr(functional, f"max_unpool{d}d")(top.requires_grad_(), places, *windows, x.shape)
    laid_out = case.laid_out(top.detach().numpy()), case.laid_out(places.numpy())
    y = getattr(convc, f"max_unpool{d}d")(*laid_out, *windows, case.laid_out(x).shape, layout=case.layout)
    np.testing.assert_array_equal(case.first(y), theirs.detach().numpy())
    grad = np.random.default_rng(2).standard_normal(theirs.shape)
    (grad_top,) = torch.autograd.grad(theirs, top, torch.from_numpy(grad))
    ours = getattr(convc, f"max_unpool{d}d_backward")(case.laid_out(grad), laid_out[1], layout=case.layout)
    np.testing.assert_array_equal(case.first(ours), grad_top.numpy())


@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
def test_output_sizes(layout):
    """What is pooled to a size of 3 by windows of 2 and a stride of 2."""
    x, indices = np.ones((1, 3, 3, 3)), np.zeros((1, 3, 3, 3), int)
    for size in range(5, 8):
        wanted = (1, 3, size, 6) if layout == "NCHW" else (1, size, 6, 3)
        for output_size in ((size, 6), wanted, [size, 6]):
            y = convc.max_unpool2d(x, indices, 2, output_size=output_size, layout=layout)
            assert y.shape == wanted
    for size in (-1, 0, 4, 8, 2**63 - 1):
        with pytest.raises(ValueError, match=r"^output_size must be from 5 to 7 in spatial dimension 0"):
            convc.max_unpool2d(x, indices, 2, output_size=(size, 6), layout=layout)
    with pytest.raises(ValueError, match=r"^output_size must be"):
        convc.max_unpool2d(x, indices, 2, output_size=(6, 6, 6), layout=layout)
    assert convc.max_unpool1d(x[0], indices[0], 3, 2, 1).shape == (3, 3, 5)


@pytest.mark.parametrize(("kernel", "stride", "padding"), [(2, 3, 1), (3, 5, 1), (4, 4, 2), (2, 1, 1), (2, 5, 1)])
@pytest.mark.parametrize("extent", [1, 2])
def test_output_sizes_are_pytorchs(torch, kernel, stride, padding, extent):
    """Also where padding leaves nothing of the size that is taken if none is given."""
    x, indices = np.ones((1, 1, extent)), np.zeros((1, 1, extent), int)
    for size in range(1, 12):
        pair = torch.from_numpy(x), torch.from_numpy(indices)
        try:
            theirs = torch.nn.functional.max_unpool1d(*pair, kernel, stride, padding, (size,))
        except ValueError:
            with pytest.raises(ValueError, match=r"^(output_size must be from|padding .* leaves nothing)"):
                convc.max_unpool1d(x, indices, kernel, stride, padding, (size,))
        else:
            y = convc.max_unpool1d(x, indices, kernel, stride, padding, (size,))
            np.testing.assert_array_equal(y, theirs.numpy())


def test_nothing_is_left_without_a_size():
    x, indices = np.ones((1, 1, 1)), np.zeros((1, 1, 1), int)
    assert convc.max_unpool1d(x, indices, 2, 3, 1, (2,)).tolist() == [[[1, 0]]]
    with pytest.raises(ValueError, match=r"^padding \(1, 1\) leaves nothing of the output's 2 in spatial dimension 0"):
        convc.max_unpool1d(x, indices, 2, 3, 1)
    with pytest.raises(ValueError, match=r"^output_size must be from 1 to 2 .* less than a stride from 0; got 3"):
        convc.max_unpool1d(x, indices, 2, 3, 1, (3,))


def test_nothing_is_written_where_an_index_is_wrong():
    x, out = np.ones((1, 2, 2, 2)), np.full((1, 2, 4, 4), 7.0)
    for wrong in (-1, 16, 2**63 - 1, -(2**63)):
        indices = np.zeros(x.shape, int)
        indices[0, 1, 1, 1] = wrong
        with pytest.raises(ValueError, match=r"^indices must be from 0 to 15, places in a channel of the output"):
            convc.max_unpool2d(x, indices, 2, out=out)
        assert (out == 7).all()
        with pytest.raises(ValueError, match=r"^indices must be from 0 to 15, places in a channel of grad"):
            convc.max_unpool2d_backward(np.ones((1, 2, 4, 4)), indices)


@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
def test_bits_do_not_depend_on_threads(layout):
    rng = np.random.default_rng(9)
    x, indices = rng.standard_normal((3, 67, 30, 31)).astype(np.float32), rng.integers(0, 60 * 62, (3, 67, 30, 31))
    if layout == "NHWC":
        x, indices = np.ascontiguousarray(channels_last(x)), np.ascontiguousarray(channels_last(indices))
    results = []
    for threads in (1, 2, 5):
        convc.set_num_threads(threads)
        y = convc.max_unpool2d(x, indices, 2, layout=layout)
        results.append((y.tobytes(), convc.max_unpool2d_backward(y, indices, layout=layout).tobytes()))
    assert results[0] == results[1] == results[2]


def test_empty_batch():
    x, indices = np.zeros((0, 2, 3, 3)), np.zeros((0, 2, 3, 3), int)
    y = convc.max_unpool2d(x, indices, 2)
    assert y.shape == (0, 2, 6, 6)
    assert convc.max_unpool2d_backward(y, indices).shape == x.shape
