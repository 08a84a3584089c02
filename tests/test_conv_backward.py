"""The gradients of convolution: the oracle, PyTorch's autograd, and the identities that define them."""

import numpy as np
import pytest
import reference
from hypothesis import given
from strategies import convolutions, integers, torch_conv

import convc


def draw_grad(case, dtype=None):
    size = reference.output_size(case.x.shape[2:], case.window.kernel, *case.window.geometry)
    return integers(np.random.default_rng(5), len(case.x), len(case.weight), *size, dtype=dtype or case.x.dtype)


@given(convolutions())
def test_integers_are_exact(case):
    convc.set_isa(case.isa)
    grad = draw_grad(case)
    results = case.function("_backward")(
        case.laid_out(grad), case.laid_out(case.x), case.view(case.weight), **case.options
    )
    grad_x, grad_weight, grad_bias = reference.conv_backward(grad, case.x, case.weight, *case.geometry)
    for result in results:
        assert result.dtype == case.x.dtype
    np.testing.assert_array_equal(case.first(results[0]), grad_x)
    np.testing.assert_array_equal(results[1], grad_weight)
    np.testing.assert_array_equal(results[2], grad_bias)


@given(convolutions())
def test_pytorch_agrees(torch, case):
    convc.set_isa(case.isa)
    rng = np.random.default_rng(6)
    x, weight, grad = (rng.standard_normal(a.shape) for a in (case.x, case.weight, draw_grad(case)))
    ours = case.function("_backward")(case.laid_out(grad), case.laid_out(x), weight, **case.options)
    tensors = [torch.from_numpy(x).requires_grad_(), torch.from_numpy(weight).requires_grad_()]
    tensors.append(torch.zeros(len(weight), dtype=torch.float64, requires_grad=True))
    torch_conv(torch, case, *tensors).backward(torch.from_numpy(grad))
    for mine, tensor in zip((case.first(ours[0]), *ours[1:]), tensors, strict=True):
        np.testing.assert_allclose(mine, tensor.grad.numpy(), rtol=1e-10, atol=1e-9)


@given(convolutions())
def test_backward_is_the_adjoint(case):
    """<conv(x), g> = <x, backward(g)> = <weight, backward(g)>, exactly on integers."""
    convc.set_isa(case.isa)
    grad = draw_grad(case)
    y = case.function()(case.laid_out(case.x), case.weight, **case.options)
    grad_x, grad_weight, _ = case.function("_backward")(
        case.laid_out(grad), case.laid_out(case.x), case.weight, **case.options
    )
    inner = (np.float64(case.first(y)) * grad).sum()
    assert (np.float64(case.first(grad_x)) * case.x).sum() == inner
    assert (np.float64(grad_weight) * case.weight).sum() == inner


@pytest.mark.parametrize("kernel", [1, 3, 5])
def test_data_gradient_is_convolution_with_flipped_filters(kernel):
    rng = np.random.default_rng(7)
    x, weight = integers(rng, 2, 4, 9, 8), integers(rng, 6, 4, kernel, kernel)
    grad = integers(rng, 2, 6, 10 - kernel, 9 - kernel)
    flipped = weight[:, :, ::-1, ::-1].swapaxes(0, 1)
    grad_x, _, _ = convc.conv2d_backward(grad, x, weight)
    np.testing.assert_array_equal(grad_x, convc.conv2d(grad, flipped, padding=kernel - 1))


def test_needs_leaves_out_what_nobody_asks_for():
    grad, x, weight = np.ones((1, 2, 2, 2)), np.ones((1, 1, 4, 4)), np.ones((2, 1, 3, 3))
    complete = convc.conv2d_backward(grad, x, weight)
    for needs in [(), ("x",), ("weight",), ("bias",), ("bias", "x"), ["weight", "x"]]:
        part = convc.conv2d_backward(grad, x, weight, needs=needs)
        for name, ours, whole in zip(("x", "weight", "bias"), part, complete, strict=True):
            if name in needs:
                np.testing.assert_array_equal(ours, whole)
            else:
                assert ours is None


def test_empty_batch():
    grad_x, grad_weight, grad_bias = convc.conv2d_backward(
        np.zeros((0, 2, 2, 2)), np.zeros((0, 1, 4, 4)), np.ones((2, 1, 3, 3))
    )
    assert grad_x.shape == (0, 1, 4, 4)
    assert not grad_weight.any()
    assert not grad_bias.any()


def test_silently_wrong_elsewhere():
    """onednn 542: a strided kernel of five rows whose data gradient came out wrong"""
    rng = np.random.default_rng(8)
    x, weight = integers(rng, 1, 9, 32, 6, dtype=np.float32), integers(rng, 3, 9, 5, 1, dtype=np.float32)
    options = {"stride": (3, 1), "padding": (1, 0)}
    grad = integers(rng, *convc.conv2d(x, weight, **options).shape, dtype=np.float32)
    assert grad.shape[2] == 10
    expected = reference.conv_backward(grad, x, weight, (3, 1), [(1, 1), (0, 0)], (1, 1), 1)
    np.testing.assert_array_equal(convc.conv2d_backward(grad, x, weight, **options)[0], expected[0])
