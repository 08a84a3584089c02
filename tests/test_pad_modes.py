"""Padding taken from the image itself, in convolutions, their gradients, plans and layers."""

import numpy as np
import pytest
import reference
from hypothesis import given
from hypothesis import strategies as st
from strategies import channels_last, convolutions, integers, local_convolutions

import convc
from convc import nn

MODES = {"reflect": "reflect", "replicate": "edge", "circular": "wrap"}  # convc's name and NumPy's
modes = st.sampled_from(sorted(MODES))


def padded(x, padding, mode):
    return np.pad(x, [(0, 0), (0, 0), *padding], MODES[mode])


def folded(grad, shape, padding, mode):
    """The adjoint of `padded`: every element of grad goes to the one that was copied there."""
    space = np.arange(np.prod(shape[2:])).reshape(1, 1, *shape[2:])
    source = padded(space, padding, mode).ravel()
    planes = [np.bincount(source, plane.ravel(), space.size) for image in grad for plane in image]
    return np.reshape(planes, shape)


def allowed(case, mode):
    room = {"reflect": -1, "circular": 0, "replicate": 10**6}[mode]
    sizes = zip(case.x.shape[2:], case.window.padding, strict=True)
    return all(max(padding) <= size + room for size, padding in sizes)


def valid(case):
    """The case's geometry, for an image that has its padding already."""
    stride, padding, *others = case.geometry
    return stride, [(0, 0)] * len(padding), *others


@given(convolutions(), modes)
def test_forward(case, mode):
    convc.set_isa(case.isa)
    arguments = case.laid_out(case.x), case.view(case.weight), case.bias
    if not allowed(case, mode):
        with pytest.raises(ValueError, match=f"padding must be at most .* for pad_mode '{mode}'"):
            case.function()(*arguments, **case.options, pad_mode=mode)
        return
    y = case.function()(*arguments, **case.options, pad_mode=mode)
    expected = reference.conv(padded(case.x, case.window.padding, mode), case.weight, case.bias, *valid(case))
    np.testing.assert_array_equal(case.first(y), expected)
    plan = convc.prepare(case.weight, case.bias, case.laid_out(case.x).shape, **case.options, pad_mode=mode)
    np.testing.assert_array_equal(plan(arguments[0]), y)


def check_gradients(x, weight, grad, padding, geometry, mode, results):
    grad_x, grad_weight, grad_bias = reference.conv_backward(grad, padded(x, padding, mode), weight, *geometry)
    np.testing.assert_array_equal(results[0], folded(grad_x, x.shape, padding, mode))
    np.testing.assert_array_equal(results[1], grad_weight)
    np.testing.assert_array_equal(results[2], grad_bias)


@given(convolutions(), modes)
def test_backward(case, mode):
    convc.set_isa(case.isa)
    size = reference.output_size(case.x.shape[2:], case.window.kernel, *case.window.geometry)
    grad = integers(np.random.default_rng(5), len(case.x), len(case.weight), *size, dtype=case.x.dtype)
    arguments = case.laid_out(grad), case.laid_out(case.x), case.view(case.weight)
    if allowed(case, mode):
        grad_x, *others = case.function("_backward")(*arguments, **case.options, pad_mode=mode)
        results = case.first(grad_x), *others
        check_gradients(case.x, case.weight, grad, case.window.padding, valid(case), mode, results)


@given(local_convolutions(), modes)
def test_locally_connected(case, mode):
    convc.set_isa(case.isa)
    x, padding = case.x, case.window.padding
    arguments, options = (case.laid_out(x), case.view(case.weight)), {**case.options, "pad_mode": mode}
    if not allowed(case, mode):
        with pytest.raises(ValueError, match=f"padding must be at most .* for pad_mode '{mode}'"):
            case.function()(*arguments, **options)
        return
    y = case.function()(*arguments, case.bias, **options)
    wide = padded(x, padding, mode)
    np.testing.assert_array_equal(case.first(y), reference.local(wide, case.weight, case.bias, *valid(case)))
    grad = integers(np.random.default_rng(5), *case.first(y).shape, dtype=x.dtype)
    grad_x, *others = case.function("_backward")(case.laid_out(grad), *arguments, **options)
    theirs = reference.local_backward(grad, wide, case.weight, *valid(case))
    np.testing.assert_array_equal(case.first(grad_x), folded(theirs[0], x.shape, padding, mode))
    for ours, exact in zip(others, theirs[1:], strict=True):
        np.testing.assert_array_equal(ours, exact)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
@pytest.mark.parametrize(("stride", "dilation", "dtype"), [(1, 1, np.float32), (2, 1, np.float64), (3, 2, np.float32)])
def test_images_too_large_to_be_copied(mode, layout, stride, dilation, dtype):
    """Inner outputs are computed in place, the frame around them from copies of a part of the image."""
    rng, padding = np.random.default_rng(0), [(2, 2), (1, 3)]
    x, weight = integers(rng, 2, 4, 530, 520, dtype=dtype), integers(rng, 3, 4, 3, 3, dtype=dtype)
    geometry = (stride,) * 2, [(0, 0)] * 2, (dilation,) * 2, 1
    options = {"stride": stride, "padding": padding, "dilation": dilation, "layout": layout, "pad_mode": mode}
    laid_out = x if layout == "NCHW" else np.ascontiguousarray(channels_last(x))
    first = (lambda a: a) if layout == "NCHW" else (lambda a: np.moveaxis(a, -1, 1))
    before = convc.get_num_threads()
    results = []
    try:
        for threads in (1, 2):
            convc.set_num_threads(threads)
            y = convc.conv2d(laid_out, weight, algorithm="direct", **options)
            grad = integers(np.random.default_rng(1), *y.shape, dtype=dtype, limit=1)
            results.append((y, *convc.conv2d_backward(grad, laid_out, weight, algorithm="direct", **options)))
    finally:
        convc.set_num_threads(before)
    for one, two in zip(*results, strict=True):
        np.testing.assert_array_equal(one, two)
    columns = reference.im2col(padded(x, padding, mode), (3, 3), *geometry[:3])
    y, grad_x, *others = results[0]
    np.testing.assert_array_equal(first(y), (weight.reshape(3, -1) @ columns).reshape(first(y).shape))
    flat = np.float64(first(grad)).reshape(2, 3, -1)
    spread = np.einsum("kt,nkl->ntl", np.float64(weight).reshape(3, -1), flat)
    wide = (2, 4, 530 + 4, 520 + 4)
    folds = folded(reference.col2im(spread, wide, (3, 3), *geometry[:3]), x.shape, padding, mode)
    np.testing.assert_array_equal(first(grad_x), folds)
    np.testing.assert_array_equal(others[0].reshape(3, -1), np.einsum("nkl,ntl->kt", flat, columns))


@pytest.mark.parametrize("mode", MODES)
def test_winograd(mode):
    rng = np.random.default_rng(3)
    x, weight = rng.standard_normal((2, 20, 13, 14)), rng.standard_normal((24, 20, 3, 3))
    wanted = convc.conv2d(padded(x, [(1, 1), (1, 1)], mode), weight, algorithm="direct")
    got = convc.conv2d(x, weight, padding=1, pad_mode=mode, algorithm="winograd")
    np.testing.assert_allclose(got, wanted, atol=1e-13 * abs(wanted).max(), rtol=0)


@pytest.mark.parametrize("mode", MODES)
def test_layers_are_pytorchs(torch, mode):
    layer = nn.Conv2d(3, 4, 3, padding=(1, 2), padding_mode=mode, dtype=np.float64, rng=0)
    theirs = torch.nn.Conv2d(3, 4, 3, padding=(1, 2), padding_mode=mode, dtype=torch.float64)
    assert repr(layer) == repr(theirs)
    theirs.load_state_dict({name: torch.from_numpy(value) for name, value in layer.state_dict().items()})
    x = np.random.default_rng(1).standard_normal((2, 3, 8, 9))
    tensor = torch.from_numpy(x).requires_grad_()
    y, backward = layer.forward(x)
    np.testing.assert_allclose(y, theirs(tensor).detach().numpy(), atol=1e-12)
    theirs(tensor).square().sum().backward()
    np.testing.assert_allclose(backward(2 * y), tensor.grad.numpy(), atol=1e-11)
    np.testing.assert_allclose(layer.weight.grad, theirs.weight.grad.numpy(), atol=1e-10)
    assert nn.Conv2d(**layer.config()).config() == layer.config()


@pytest.mark.parametrize("mode", MODES)
def test_locally_connected_layers(mode):
    layer = nn.LocallyConnected2d(2, 3, (6, 5), 3, padding=(1, 2), padding_mode=mode, dtype=np.float64, rng=0)
    assert repr(layer).endswith(f"padding=(1, 2), padding_mode={mode})")
    assert nn.LocallyConnected2d(**layer.config()).config() == layer.config()
    x = np.random.default_rng(1).standard_normal((2, 2, 6, 5))
    y, backward = layer.forward(x)
    weight, bias = layer.weight.data, layer.bias.data
    wanted = convc.locally_connected2d(padded(x, [(1, 1), (2, 2)], mode), weight, bias)
    np.testing.assert_allclose(y, wanted, atol=1e-13)
    np.testing.assert_allclose(layer(x), y)
    grad_x, *others = convc.locally_connected2d_backward(y, x, weight, padding=(1, 2), pad_mode=mode)
    for ours, theirs in zip((backward(y), layer.weight.grad, layer.bias.grad), (grad_x, *others), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    with pytest.raises(ValueError, match="padding_mode must be 'zeros' or"):
        nn.LocallyConnected2d(2, 3, 6, 3, padding_mode="same")


def test_nan_and_infinity_are_padding_too():
    x = np.zeros((1, 1, 4, 4), np.float32)
    x[0, 0, 1, 0] = np.nan
    y = convc.conv2d(x, np.ones((1, 1, 1, 2), np.float32), padding=(0, (1, 0)), pad_mode="circular")
    np.testing.assert_array_equal(np.argwhere(np.isnan(y[0, 0])), [[1, 0], [1, 1]])


def test_no_images():
    options = {"padding": 1, "pad_mode": "reflect"}
    x, weight = np.ones((0, 2, 4, 4), np.float32), np.ones((3, 2, 3, 3), np.float32)
    y = convc.conv2d(x, weight, **options)
    assert y.shape == (0, 3, 4, 4)
    assert not convc.conv2d_backward(y, x, weight, **options)[1].any()
