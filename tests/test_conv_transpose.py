"""Transposed convolution and its gradients: exact on integers, as PyTorch has it, the transpose of convolution."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
import reference
from hypothesis import given
from hypothesis import strategies as st
from strategies import FIRST, LAST, channels_first, channels_last, dtypes, integers, isas, views

import convc
from convc import nn, shapes


@dataclass(frozen=True)
class Transposed:
    x: np.ndarray = field(repr=False)  # channels first
    weight: np.ndarray = field(repr=False)
    bias: np.ndarray | None = field(repr=False)
    stride: tuple[int, ...]
    padding: tuple[tuple[int, int], ...]
    dilation: tuple[int, ...]
    output_padding: tuple[int, ...]
    groups: int
    last: bool
    isa: str
    view: Any
    algorithm: str
    shapes: tuple = ()

    def __post_init__(self):
        object.__setattr__(self, "shapes", (self.x.shape, self.weight.shape, self.x.dtype.name))

    @property
    def spatial(self):
        return len(self.stride)

    @property
    def geometry(self):
        return self.stride, self.padding, self.dilation, self.groups, self.output_padding

    @property
    def options(self):
        return {
            "stride": self.stride,
            "padding": self.padding,
            "dilation": self.dilation,
            "output_padding": self.output_padding,
            "groups": self.groups,
            "layout": (LAST if self.last else FIRST)[self.spatial - 1],
            "algorithm": self.algorithm,
        }

    def laid_out(self, a):
        return self.view(channels_last(a) if self.last else a)

    def first(self, a):
        return channels_first(a) if self.last else a

    def function(self, suffix=""):
        return getattr(convc, f"conv_transpose{self.spatial}d{suffix}")


@st.composite
def transposed(draw):
    spatial = draw(st.sampled_from([1, 2, 2, 2, 3]))
    kernel, stride, padding, dilation, extras, size = [], [], [], [], [], []
    for _ in range(spatial):
        k, s, d = draw(st.integers(1, 5 if spatial < 3 else 3)), draw(st.integers(1, 4)), draw(st.integers(1, 3))
        n, extra = draw(st.integers(1, {1: 40, 2: 12, 3: 4}[spatial])), draw(st.integers(0, max(s, d) - 1))
        reach = (n - 1) * s + d * (k - 1) + extra + 1
        before = draw(st.integers(0, min(reach - 1, 5)))
        kernel.append(k)
        stride.append(s)
        dilation.append(d)
        extras.append(extra)
        padding.append((before, draw(st.integers(0, min(reach - 1 - before, 5)))))
        size.append(n)
    groups = draw(st.sampled_from([1, 1, 1, 2, 3, 20]))
    ins, outs = draw(st.integers(1, 20 if groups < 20 else 2)), draw(st.integers(1, 20 if groups < 20 else 2))
    rng, dtype = np.random.default_rng(draw(st.integers(0, 99))), draw(dtypes)
    return Transposed(
        x=integers(rng, draw(st.integers(1, 3)), groups * ins, *size, dtype=dtype),
        weight=integers(rng, groups * ins, outs, *kernel, dtype=dtype),
        bias=integers(rng, groups * outs, dtype=dtype) if draw(st.booleans()) else None,
        stride=tuple(stride),
        padding=tuple(padding),
        dilation=tuple(dilation),
        output_padding=tuple(extras),
        groups=groups,
        last=draw(st.booleans()),
        isa=draw(isas),
        view=draw(views),
        algorithm=draw(st.sampled_from(["direct", "direct", "gemm"])),
    )


def draw_grad(case, dtype=None):
    y = reference.conv_transpose(case.x, case.weight, None, *case.geometry)
    return integers(np.random.default_rng(5), *y.shape, dtype=dtype or case.x.dtype)


@given(transposed(), st.sampled_from([None, "relu"]))
def test_integers_are_exact(case, activation):
    convc.set_isa(case.isa)
    expected = reference.conv_transpose(case.x, case.weight, case.bias, *case.geometry)
    if activation:
        expected = reference.relu(expected)
    out = case.laid_out(np.full_like(expected, np.nan, dtype=case.x.dtype))
    options = {**case.options, "activation": activation}
    y = case.function()(case.laid_out(case.x), case.view(case.weight), case.bias, **options, out=out)
    assert y is out
    np.testing.assert_array_equal(case.first(y), expected)
    fresh = case.function()(case.laid_out(case.x), case.weight, case.bias, **options)
    assert fresh.dtype == case.x.dtype
    np.testing.assert_array_equal(fresh, y)
    assert shapes.conv_transpose_output_shape(
        case.x.shape[2:], case.weight.shape[2:], case.stride, case.padding, case.output_padding, case.dilation
    ) == tuple(expected.shape[2:])


@given(transposed())
def test_gradients_of_integers_are_exact(case):
    convc.set_isa(case.isa)
    grad = draw_grad(case)
    arguments = case.laid_out(grad), case.laid_out(case.x), case.view(case.weight)
    grad_x, *others = case.function("_backward")(*arguments, **case.options)
    expected = reference.conv_transpose_backward(grad, case.x, case.weight, *case.geometry)
    for result, wanted in zip((case.first(grad_x), *others), expected, strict=True):
        np.testing.assert_array_equal(result, wanted)


@given(transposed())
def test_pytorch_agrees(torch, case):
    convc.set_isa(case.isa)
    padding = tuple((before, before) for before, _ in case.padding)  # PyTorch knows no other
    kernel, x_size = case.weight.shape[2:], case.x.shape[2:]
    geometry = x_size, kernel, case.stride, padding, case.dilation, case.output_padding
    if min(reference.conv_transpose_size(*geometry)) < 1:
        return
    rng = np.random.default_rng(2)
    x, weight, bias = (
        rng.standard_normal(s) for s in (case.x.shape, case.weight.shape, case.groups * case.shapes[1][1])
    )
    tensors = [torch.from_numpy(a).requires_grad_() for a in (x, weight, bias)]
    function = getattr(torch.nn.functional, f"conv_transpose{case.spatial}d")
    before = tuple(before for before, _ in padding)
    theirs = function(*tensors, case.stride, before, case.output_padding, case.groups, case.dilation)
    options = {**case.options, "padding": before}
    y = case.function()(case.laid_out(x), weight, bias, **options)
    np.testing.assert_allclose(case.first(y), theirs.detach().numpy(), rtol=1e-10, atol=1e-10)
    grad = rng.standard_normal(tuple(theirs.shape))
    theirs.backward(torch.from_numpy(grad))
    grad_x, *others = case.function("_backward")(case.laid_out(grad), case.laid_out(x), weight, **options)
    for mine, tensor in zip((case.first(grad_x), *others), tensors, strict=True):
        np.testing.assert_allclose(mine, tensor.grad.numpy(), rtol=1e-10, atol=1e-9)


@given(transposed())
def test_it_is_the_transpose_of_convolution(case):
    """<conv(y), x> = <y, conv_transpose(x)>, exactly on integers; of its sizes, output_padding chooses y's."""
    convc.set_isa(case.isa)
    y = draw_grad(case)
    options = {name: value for name, value in case.options.items() if name != "output_padding"}
    conv = getattr(convc, f"conv{case.spatial}d")
    try:
        down = case.first(conv(case.laid_out(y), case.weight, **options))
    except ValueError:  # the kernel is larger than what is left of y: no convolution at all
        return
    up = case.first(case.function()(case.laid_out(case.x), case.weight, **case.options))
    if down.shape == case.x.shape:
        assert (np.float64(down) * case.x).sum() == (np.float64(up) * y).sum()


@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
@pytest.mark.parametrize(("kernel", "stride", "padding"), [(4, 2, 1), (2, 2, 0), (3, 1, 1), (3, 2, 1), (8, 4, 2)])
def test_any_number_of_threads_gives_the_same_bits(kernel, stride, padding, layout):
    rng = np.random.default_rng(0)
    x = rng.standard_normal((2, 24, 40, 40) if layout == "NCHW" else (2, 40, 40, 24)).astype(np.float32)
    weight, bias = (rng.standard_normal(s).astype(np.float32) for s in ((24, 20, kernel, kernel), (20,)))
    options = {"stride": stride, "padding": padding, "layout": layout}
    before = convc.get_num_threads()
    results = []
    try:
        for threads in (1, 2, 5):
            convc.set_num_threads(threads)
            y = convc.conv_transpose2d(x, weight, bias, **options)
            results.append((y, *convc.conv_transpose2d_backward(y, x, weight, **options)))
    finally:
        convc.set_num_threads(before)
    for other in results[1:]:
        for one, two in zip(results[0], other, strict=True):
            np.testing.assert_array_equal(one, two)


def test_winograd():
    rng = np.random.default_rng(3)
    x, weight = rng.standard_normal((2, 20, 13, 14)), rng.standard_normal((20, 24, 3, 3))
    bias = rng.standard_normal(24)
    exact, fast = (
        convc.conv_transpose2d(x, weight, bias, padding=1, algorithm=algorithm, activation="relu")
        for algorithm in ("direct", "winograd")
    )
    np.testing.assert_allclose(fast, exact, atol=1e-13 * exact.max(), rtol=0)


def test_no_images():
    x, weight = np.ones((0, 2, 3, 3), np.float32), np.ones((2, 4, 2, 2), np.float32)
    y = convc.conv_transpose2d(x, weight, stride=2)
    assert y.shape == (0, 4, 6, 6)
    grad_x, grad_weight, _ = convc.conv_transpose2d_backward(y, x, weight, stride=2)
    assert grad_x.shape == x.shape
    assert not grad_weight.any()


X, WEIGHT = np.ones((1, 4, 5, 5), np.float32), np.ones((4, 2, 3, 3), np.float32)


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        ({"output_padding": 1}, "output_padding must be from 0 to 0, .* got 1 in spatial dimension 0"),
        (
            {"stride": 2, "output_padding": (1, 2)},
            "output_padding must be from 0 to 1, .* got 2 in spatial dimension 1",
        ),
        ({"output_padding": -1}, "output_padding"),
        ({"padding": 4}, r"padding \(4, 4\) leaves nothing of the output's 7 in spatial dimension 0"),
        ({"padding": -1}, "padding must not be negative"),
        ({"padding": 2**62}, "padding"),
        ({"stride": 0}, "stride must be at least 1"),
        ({"stride": 2**62}, "too large in spatial dimension 0: stride"),
        ({"dilation": 2**62}, "too large in spatial dimension 0"),
        ({"dilation": 0}, "dilation must be at least 1"),
        ({"groups": 0}, "groups must be at least 1"),
        ({"groups": 3}, "groups 3 must divide the 4 channels of x"),
        ({"x": X[:, :3]}, "weight must have 3 input channels on its first axis, as x has, got 4"),
        ({"x": np.ones((1, 0, 5, 5), np.float32)}, "x must have at least 1 channel"),
        ({"bias": np.ones(3, np.float32)}, r"bias must have shape \(2,\), got \(3,\)"),
        ({"out": np.ones((1, 2, 7, 8), np.float32)}, r"out must have shape \(1, 2, 7, 7\)"),
        ({"algorithm": "winograd", "stride": 2}, "winograd"),
    ],
)
def test_bad_arguments(arguments, match):
    with pytest.raises(ValueError, match=match):
        convc.conv_transpose2d(**{"x": X, "weight": WEIGHT, **arguments})


def test_grad_must_have_the_shape_of_the_output():
    with pytest.raises(ValueError, match=r"grad must have shape \(1, 2, 7, 7\), got"):
        convc.conv_transpose2d_backward(np.ones((1, 2, 8, 7), np.float32), X, WEIGHT)


# ---- layers


@pytest.mark.parametrize("spatial", [1, 2, 3])
def test_layers_are_pytorchs(torch, spatial):
    sizes = 4, 6, 3, 2, 1, 1, 2, True, 1
    name = f"ConvTranspose{spatial}d"
    layer = getattr(nn, name)(*sizes, dtype=np.float64, rng=0)
    theirs = getattr(torch.nn, name)(*sizes, dtype=torch.float64)
    assert repr(layer) == repr(theirs)
    assert layer.weight.data.std() == pytest.approx(theirs.weight.detach().numpy().std(), rel=0.3)
    theirs.load_state_dict({key: torch.from_numpy(value) for key, value in layer.state_dict().items()})
    x = np.random.default_rng(1).standard_normal((2, 4, *(5, 4, 3)[:spatial]))
    tensor = torch.from_numpy(x).requires_grad_()
    y, backward = layer.forward(x)
    assert y.shape[1:] == layer.output_shape(x.shape[1:])
    np.testing.assert_allclose(y, theirs(tensor).detach().numpy(), atol=1e-12)
    theirs(tensor).square().sum().backward()
    np.testing.assert_allclose(backward(2 * y), tensor.grad.numpy(), atol=1e-11)
    np.testing.assert_allclose(layer.weight.grad, theirs.weight.grad.numpy(), atol=1e-10)
    np.testing.assert_allclose(layer.bias.grad, theirs.bias.grad.numpy(), atol=1e-10)


def test_an_autoencoder_is_summed_up_saved_and_found_again(tmp_path):
    pytest.importorskip("safetensors")
    down = nn.Sequential(nn.Conv2d(1, 4, 3, 2, 1, rng=0), nn.ReLU(), nn.Conv2d(4, 8, 3, 2, 1, rng=1), nn.ReLU())
    up = nn.Sequential(nn.ConvTranspose2d(8, 4, 4, 2, 1, rng=2), nn.ReLU(), nn.ConvTranspose2d(4, 1, 3, 2, 1, 1, rng=3))
    net = nn.Sequential(down, up)
    summary = net.summary((1, 28, 28))
    assert [row.output_shape for row in summary.rows][-1] == (1, 28, 28)
    assert summary.rows[-1].macs == 4 * 9 * 14 * 14
    assert summary.rows[-1].receptive_field.jump == (1, 1)
    net.save(tmp_path / "net.safetensors")
    x = np.random.default_rng(0).standard_normal((2, 1, 28, 28)).astype(np.float32)
    np.testing.assert_array_equal(nn.load_model(tmp_path / "net.safetensors")(x), net(x))


def test_receptive_field_holds_all_that_is_seen():
    """Measured: which inputs move an output, beside what the sizes say."""
    ones = np.ones
    for kernel, stride, padding in ((4, 2, 1), (3, 2, 1), (5, 3, 0), (2, 2, 0), (3, 1, 1)):
        layer = nn.ConvTranspose1d(1, 1, kernel, stride, padding, bias=False, dtype=np.float64)
        layer.weight.data[...] = 1
        field = layer.receptive_field(shapes.ReceptiveField((1,), (1,)))
        n = 9
        length = layer.output_shape((1, n))[1]
        for at in range(length):
            grad = np.zeros((1, 1, length))
            grad[0, 0, at] = 1
            _, backward = layer.forward(ones((1, 1, n)))
            seen = np.flatnonzero(backward(grad))
            middle = field.start[0] + at * field.jump[0]
            assert (abs(seen - middle) <= field.size[0] / 2).all()


@pytest.mark.parametrize(
    ("make", "match"),
    [
        (lambda: nn.ConvTranspose2d(4, 4, 3, output_padding=1), "output_padding must be smaller"),
        (lambda: nn.ConvTranspose2d(4, 4, 3, groups=3), "groups must divide"),
        (lambda: nn.ConvTranspose2d(4, 4, 3, padding=5).output_shape((4, 2, 2)), "leaves nothing"),
        (lambda: nn.ConvTranspose2d(4, 4, 3).output_shape((3, 2, 2)), "4 channels"),
    ],
)
def test_bad_layers(make, match):
    with pytest.raises(ValueError, match=match):
        make()
