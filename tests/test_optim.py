"""Optimizers: each step against PyTorch in float64, and against the formulas written out where it is absent."""

import math
import tracemalloc

import numpy as np
import pytest

from convc import nn, optim

SHAPES = [(3, 2, 5), (7,), (), (300, 70)]  # the last is more than one block

SGD_OPTIONS = [
    {},
    {"momentum": 0.9},
    {"weight_decay": 0.01},
    {"momentum": 0.9, "weight_decay": 0.01},
    {"momentum": 0.8, "nesterov": True, "weight_decay": 0.001},
    {"momentum": 0.8, "dampening": 0.25},
]
ADAM_OPTIONS = [
    {},
    {"betas": (0.5, 0.9)},
    {"eps": 1e-3, "weight_decay": 0.02},
    {"betas": (0.0, 0.0), "eps": 0.5},
]
CASES = [("SGD", 0.1, options) for options in SGD_OPTIONS] + [("Adam", 0.05, options) for options in ADAM_OPTIONS]


def parameters(dtype=np.float64, seed=0):
    rng = np.random.default_rng(seed)
    return [nn.Parameter(np.asarray(rng.normal(size=shape), dtype)) for shape in SHAPES]


def gradients(step):
    rng = np.random.default_rng(100 + step)
    return [np.asarray(rng.normal(size=shape)) for shape in SHAPES]


def naive(name, lr, options, values):
    """The documented formulas, with whole arrays and a new array for each result."""
    memory = [{} for _ in values]
    for step in range(1, 11):
        for i, grad in enumerate(gradients(step)):
            p, m = values[i], memory[i]
            g = grad + options.get("weight_decay", 0) * p
            if name == "SGD":
                momentum = options.get("momentum", 0)
                b = momentum * m["b"] + (1 - options.get("dampening", 0)) * g if "b" in m else g
                m["b"] = b
                values[i] = p - lr * (g + momentum * b if options.get("nesterov") else b if momentum else g)
            else:
                beta1, beta2 = options.get("betas", (0.9, 0.999))
                m["m"] = beta1 * m.get("m", 0) + (1 - beta1) * g
                m["v"] = beta2 * m.get("v", 0) + (1 - beta2) * g * g
                mean, square = m["m"] / (1 - beta1**step), m["v"] / (1 - beta2**step)
                values[i] = p - lr * mean / (np.sqrt(square) + options.get("eps", 1e-8))
    return values


@pytest.mark.parametrize(("name", "lr", "options"), CASES)
def test_ten_steps_are_the_formulas(name, lr, options):
    params = parameters()
    expected = naive(name, lr, options, [p.data.copy() for p in params])
    arrays = [p.data for p in params]
    optimizer = getattr(optim, name)(params, lr, **options)
    for step in range(1, 11):
        for p, grad in zip(params, gradients(step), strict=True):
            p.grad = grad
        optimizer.step()
    for p, array, value in zip(params, arrays, expected, strict=True):
        assert p.data is array
        np.testing.assert_allclose(p.data, value, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(("name", "lr", "options"), CASES)
def test_every_step_is_pytorchs(name, lr, options):
    torch = pytest.importorskip("torch")
    params = parameters()
    tensors = [torch.nn.Parameter(torch.tensor(p.data)) for p in params]
    ours = getattr(optim, name)(params, lr, **options)
    theirs = getattr(torch.optim, name)(tensors, lr, **options)
    for step in range(1, 11):
        if step == 6:
            ours.lr = theirs.param_groups[0]["lr"] = lr / 3
        for i, grad in enumerate(gradients(step)):
            # A parameter without a gradient is left alone, and its count of steps with it.
            absent = i == 1 and step in (1, 4)
            params[i].grad = None if absent else grad
            tensors[i].grad = None if absent else torch.tensor(grad)
        ours.step()
        theirs.step()
        for p, tensor in zip(params, tensors, strict=True):
            np.testing.assert_allclose(p.data, tensor.detach().numpy(), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(("name", "lr", "options"), CASES)
def test_float32_stays_float32(name, lr, options):
    params = parameters(np.float32)
    expected = naive(name, lr, options, [p.data.astype(np.float64) for p in params])
    optimizer = getattr(optim, name)(params, lr, **options)
    for step in range(1, 11):
        for p, grad in zip(params, gradients(step), strict=True):
            p.grad = np.asarray(grad, np.float32)
        optimizer.step()
    for p, value in zip(params, expected, strict=True):
        assert p.data.dtype == np.float32
        np.testing.assert_allclose(p.data, value, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("name", "lr", "options"), CASES)
def test_gradients_are_only_read(name, lr, options):
    params = parameters()
    grads = gradients(1)
    for p, grad in zip(params, grads, strict=True):
        p.grad = grad.copy()
        p.grad.flags.writeable = False
    getattr(optim, name)(params, lr, **options).step()
    for p, grad in zip(params, grads, strict=True):
        np.testing.assert_array_equal(p.grad, grad)


def test_a_transposed_gradient_goes_to_the_right_places():
    p = nn.Parameter(np.zeros((2, 3)))
    grad = np.arange(6.0).reshape(3, 2).T
    p.grad = grad
    optim.SGD([p], lr=1).step()
    np.testing.assert_array_equal(p.data, -grad)


@pytest.mark.parametrize(("name", "options"), [("SGD", {"momentum": 0.9, "nesterov": True}), ("Adam", {})])
def test_a_step_makes_no_big_temporaries(name, options):
    p = nn.Parameter(np.ones(1_000_000, np.float32))
    p.grad = np.ones_like(p.data)
    optimizer = getattr(optim, name)([p], 0.1, weight_decay=0.1, **options)
    optimizer.step()
    tracemalloc.start()
    optimizer.step()
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 100_000


def test_zero_grad():
    params = parameters()
    for p, grad in zip(params, gradients(0), strict=True):
        p.grad = grad
    optim.SGD(params, 0.1).zero_grad()
    assert all(p.grad is None for p in params)


def test_lr_may_change_but_not_to_nonsense():
    p = nn.Parameter(np.ones(2))
    p.grad = np.ones(2)
    optimizer = optim.SGD([p], 0.1)
    optimizer.lr = 0
    optimizer.step()
    np.testing.assert_array_equal(p.data, 1)
    with pytest.raises(ValueError, match="lr must be finite and not negative, got -1"):
        optimizer.lr = -1
    assert optimizer.lr == 0


@pytest.mark.parametrize(
    ("make", "error", "match"),
    [
        (lambda p: optim.SGD([p], 0), ValueError, "lr must be above 0"),
        (lambda p: optim.SGD([p], -0.1), ValueError, "lr must be"),
        (lambda p: optim.SGD([p], math.nan), ValueError, "lr must be"),
        (lambda p: optim.Adam([p], math.inf), ValueError, "lr must be"),
        (lambda p: optim.Adam([p], "fast"), TypeError, "lr must be a number"),
        (lambda p: optim.Adam([p], None), TypeError, "lr must be a number"),
        (lambda p: optim.SGD([p], 0.1, -0.9), ValueError, "momentum"),
        (lambda p: optim.SGD([p], 0.1, weight_decay=-1), ValueError, "weight_decay"),
        (lambda p: optim.SGD([p], 0.1, nesterov=True), ValueError, "nesterov needs momentum"),
        (lambda p: optim.SGD([p], 0.1, 0.9, nesterov=True, dampening=0.1), ValueError, "nesterov needs"),
        (lambda p: optim.Adam([p], betas=(1, 0.9)), ValueError, "betas"),
        (lambda p: optim.Adam([p], betas=(0.9, -0.1)), ValueError, r"betas\[1\]"),
        (lambda p: optim.Adam([p], betas=0.9), TypeError, "betas must be two numbers"),
        (lambda p: optim.Adam([p], eps=-1), ValueError, "eps"),
        (lambda p: optim.SGD([], 0.1), ValueError, "at least one"),
        (lambda p: optim.SGD(p, 0.1), TypeError, "iterable of parameters"),
        (lambda p: optim.SGD([p, p.data], 0.1), TypeError, r"params\[1\] must be a Parameter, .* got ndarray"),
        (lambda p: optim.SGD([p, p], 0.1), ValueError, "twice"),
    ],
)
def test_bad_arguments(make, error, match):
    with pytest.raises(error, match=match):
        make(nn.Parameter(np.ones(3)))


@pytest.mark.parametrize(
    ("grad", "match"),
    [
        (np.ones((1, 3)), r"gradient is float64 of shape \(1, 3\)"),
        (np.ones(3, np.float32), "gradient is float32"),
    ],
)
def test_a_gradient_that_does_not_fit_changes_nothing(grad, match):
    good, bad = nn.Parameter(np.ones(2)), nn.Parameter(np.ones(3))
    good.grad, bad.grad = np.ones(2), grad
    with pytest.raises(ValueError, match=match):
        optim.SGD([good, bad], 0.1).step()
    np.testing.assert_array_equal(good.data, 1)


def test_a_replaced_parameter_is_noticed():
    p = nn.Parameter(np.ones(4))
    optimizer = optim.Adam([p])
    p.data = p.grad = np.ones(5)
    with pytest.raises(ValueError, match="make a new optimizer"):
        optimizer.step()
    p.data = p.grad = np.ones((2, 4))[:, ::2]
    with pytest.raises(ValueError, match="C-contiguous"):
        optimizer.step()
