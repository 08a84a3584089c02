"""The gradient of a score by the image."""

import numpy as np
import pytest
from differences import ATOL, F64, RTOL, numeric_gradient, spread

from convc import nn

# ---- gradients of a score


def classifier():
    return nn.Sequential(
        nn.Conv2d(2, 3, 3, dtype=F64, rng=0),
        nn.ReLU(),
        nn.Flatten(),
        nn.Dropout(0.9),
        nn.Linear(12, 4, dtype=F64, rng=1),
    )


@pytest.mark.parametrize("target", [None, 0, 3, np.int64(2), np.array([3, 0, 1]), np.array(1)])
def test_input_gradient(target):
    net, x = classifier(), spread((3, 2, 4, 4))
    classes = net(x).argmax(axis=1) if target is None else np.broadcast_to(target, 3)
    expected = numeric_gradient(lambda: float(net(x)[np.arange(3), classes].sum()), x)
    np.testing.assert_allclose(nn.input_gradient(net, x, target), expected, RTOL, ATOL)
    assert all(parameter.grad is None for parameter in net.parameters())


def test_input_gradient_keeps_gradients():
    net, x = classifier(), spread((3, 2, 4, 4))
    net.forward(x)[1](np.ones((3, 4)))
    grads = [parameter.grad for parameter in net.parameters()]
    values = [grad.copy() for grad in grads]
    nn.input_gradient(net, x)
    with pytest.raises(ValueError, match="target must be from 0 to 3"):
        nn.input_gradient(net, x, 4)
    assert all(parameter.grad is grad for parameter, grad in zip(net.parameters(), grads, strict=True))
    assert all(np.array_equal(grad, value) for grad, value in zip(grads, values, strict=True))
    assert nn.input_gradient(net, x[:0]).shape == (0, 2, 4, 4)


@pytest.mark.parametrize(
    ("target", "error", "match"),
    [
        (4, ValueError, "from 0 to 3"),
        (-1, ValueError, "target must be at least 0"),
        (2**80, ValueError, "target must .* fit 64 bits"),
        (np.array([0, 1, 4]), ValueError, "from 0 to 3"),
        (1.0, TypeError, "target must be an integer"),
        ("one", TypeError, "target must be an integer"),
        (np.ones(3), TypeError, "target must hold one integer for each of 3 samples, got float64"),
        (np.zeros(2, int), TypeError, "target must hold one integer for each of 3 samples"),
        (np.zeros((3, 1), int), TypeError, "target must hold one integer for each of 3 samples"),
    ],
)
def test_input_gradient_of_wrong_targets(target, error, match):
    with pytest.raises(error, match=match):
        nn.input_gradient(classifier(), spread((3, 2, 4, 4)), target)


def test_input_gradient_needs_scores():
    with pytest.raises(ValueError, match=r"one row of scores a sample, got shape \(3, 3, 2, 2\)"):
        nn.input_gradient(classifier()[:2], spread((3, 2, 4, 4)))
