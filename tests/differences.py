"""Gradients of layers against central differences, and a layer of a user's own."""

import math

import numpy as np

from convc import nn

EPS, ATOL, RTOL = 1e-6, 1e-5, 1e-3
F64 = np.float64


def spread(shape, seed=0):
    """Distinct numbers far from zero and from each other, so that no step of EPS crosses a kink."""
    size = math.prod(shape)
    return np.random.default_rng(seed).permutation(np.linspace(-1, 1, 2 * size + 1)[1::2]).reshape(shape)


def numeric_gradient(f, array):
    """Central differences of the number f() by each element of the array, in place."""
    result = np.empty_like(array)
    for index in np.ndindex(array.shape):
        value = array[index]
        array[index] = value + EPS
        above = f()
        array[index] = value - EPS
        below = f()
        array[index] = value
        result[index] = (above - below) / (2 * EPS)
    return result


def check_gradients(layer, x):
    """All gradients of a random projection of the output."""
    layer.seed(7)
    y, backward = layer.forward(x)
    projection = np.random.default_rng(1).normal(size=y.shape)

    def f():
        layer.seed(7)
        return float((layer.forward(x)[0] * projection).sum())

    layer.zero_grad()
    grad_x = backward(projection)
    assert grad_x.shape == x.shape
    np.testing.assert_allclose(grad_x, numeric_gradient(f, x), RTOL, ATOL)
    for name, parameter in layer.named_parameters():
        np.testing.assert_allclose(parameter.grad, numeric_gradient(f, parameter.data), RTOL, ATOL, err_msg=name)


class Residual(nn.Module):
    """A module of a user's own: y = x + inner(x)."""

    def __init__(self, inner):
        self.inner = inner
        self.scale = nn.Parameter(np.full((1,), 0.5))

    def forward(self, x):
        inner, backward_inner = self.inner.forward(x)

        def backward(grad):
            self.scale.accumulate((grad * inner).sum().reshape(1))
            return grad + backward_inner(grad * self.scale.data)

        return x + self.scale.data * inner, backward
