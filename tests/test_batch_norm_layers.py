"""Batch normalisation in networks: training and use, state, exchange with PyTorch, and folding into other layers."""

import copy
import json
import re

import numpy as np
import pytest
from differences import F64, check_gradients, numeric_gradient, spread

from convc import nn, optim, train

LAYERS = {
    "features": (lambda: nn.BatchNorm1d(3, dtype=F64), (4, 3)),
    "1d": (lambda: nn.BatchNorm1d(3, dtype=F64), (2, 3, 4)),
    "1d last": (lambda: nn.BatchNorm1d(3, layout="NWC", dtype=F64), (2, 4, 3)),
    "2d": (lambda: nn.BatchNorm2d(3, dtype=F64), (2, 3, 2, 3)),
    "2d last": (lambda: nn.BatchNorm2d(3, layout="NHWC", momentum=None, dtype=F64), (2, 2, 3, 3)),
    "3d": (lambda: nn.BatchNorm3d(2, eps=0.1, dtype=F64), (2, 2, 2, 1, 3)),
    "plain": (lambda: nn.BatchNorm2d(3, affine=False, dtype=F64), (2, 3, 2, 3)),
    "no memory": (lambda: nn.BatchNorm2d(3, track_running_stats=False, dtype=F64), (2, 3, 2, 3)),
}


@pytest.fixture(params=LAYERS)
def case(request):
    make, shape = LAYERS[request.param]
    layer = make()
    rng = np.random.default_rng(2)
    for _, held in (*layer.named_parameters(), *list(layer.named_buffers())[:2]):
        held.data[...] = rng.random(held.data.shape) + 0.5
    return layer, spread(shape)


def test_gradients_in_training(case):
    check_gradients(*case)


def test_gradients_in_use(case):
    layer, x = case
    before = layer.state_dict()
    y, backward = layer.forward_inference(x)
    np.testing.assert_array_equal(y, layer(x))
    projection = np.random.default_rng(1).normal(size=y.shape)

    def f():
        return float((layer(x) * projection).sum())

    grad_x = backward(projection)
    np.testing.assert_allclose(grad_x, numeric_gradient(f, x), 1e-3, 1e-5)
    for parameter in layer.parameters():
        np.testing.assert_allclose(parameter.grad, numeric_gradient(f, parameter.data), 1e-3, 1e-5)
    assert all(np.array_equal(value, before[name]) for name, value in layer.state_dict().items())


def test_forward_data_leaves_the_input_gradient_out(case):
    layer, x = case
    y, backward = layer.forward_data(x)
    assert backward(np.ones_like(y)) is None
    assert all(parameter.grad is not None for parameter in layer.parameters())


def test_shapes_and_files(case, tmp_path):
    pytest.importorskip("safetensors")
    layer, x = case
    assert layer.output_shape(x.shape[1:]) == x.shape[1:]
    layer.forward(x)
    layer.save(tmp_path / "net")
    loaded = nn.load_model(tmp_path / "net")
    assert repr(loaded) == repr(layer)
    assert loaded.config() == layer.config()
    np.testing.assert_array_equal(loaded(x), layer(x))
    assert loaded.state_dict().keys() == layer.state_dict().keys()


def test_names_values_and_text_are_pytorchs(torch):
    def build(lib):
        return [
            lib.BatchNorm1d(3),
            lib.BatchNorm2d(4, 1e-3, 0.2, False),
            lib.BatchNorm3d(2, momentum=None, track_running_stats=False),
            lib.GroupNorm(2, 4),
            lib.LayerNorm((2, 3)),
            lib.LayerNorm(3, elementwise_affine=False),
            lib.LocalResponseNorm(2),
        ]

    for ours, theirs in zip(build(nn), build(torch.nn), strict=True):
        assert repr(ours) == re.sub(", bias=(True|False)", "", repr(theirs))  # which some versions show
        state = theirs.state_dict()
        assert list(ours.state_dict()) == list(state)
        for name, value in ours.state_dict().items():
            assert value.shape == tuple(state[name].shape)
            assert str(value.dtype) in str(state[name].dtype)
            np.testing.assert_array_equal(value, state[name].numpy())


@pytest.mark.parametrize("momentum", [0.1, None])
def test_training_is_pytorchs(torch, momentum):
    ours, theirs = nn.BatchNorm2d(3, momentum=momentum, dtype=F64), torch.nn.BatchNorm2d(3, momentum=momentum).double()
    for seed in range(4):
        x = np.random.default_rng(seed).normal(size=(2, 3, 4, 5))
        np.testing.assert_allclose(ours.forward(x)[0], theirs(torch.from_numpy(x)).detach().numpy(), 1e-9, 1e-12)
        for name, value in ours.state_dict().items():
            np.testing.assert_allclose(value, theirs.state_dict()[name].numpy(), 1e-12)
    assert ours.num_batches_tracked.data == 4
    theirs.eval()
    np.testing.assert_allclose(ours(x), theirs(torch.from_numpy(x)).detach().numpy(), 1e-9, 1e-12)


def small_net(lib, residual, **options):
    return lib.Sequential(
        lib.Conv2d(3, 8, 3, padding=1, bias=False, **options),
        lib.BatchNorm2d(8, **options),
        lib.ReLU(),
        residual(
            lib.Conv2d(8, 8, 3, padding=1, groups=2, **options),
            lib.BatchNorm2d(8, **options),
            lib.ReLU(),
            lib.Sequential(lib.Conv2d(8, 12, 1, **options), lib.BatchNorm2d(12, affine=False, **options)),
            shortcut=lib.Sequential(lib.Conv2d(8, 12, 1, bias=False, **options), lib.BatchNorm2d(12, **options)),
        ),
        lib.ReLU(),
        lib.Dropout(0.2),
        lib.Flatten(),
        lib.Linear(12 * 36, 5, **options),
        lib.BatchNorm1d(5, **options),
    )


def test_networks_of_pytorch_load_by_name(torch, tmp_path):
    """From files, too, and the same networks are trained on."""
    pytest.importorskip("safetensors")
    from safetensors.torch import save_file

    class Residual(torch.nn.Module):
        def __init__(self, *layers, shortcut):
            super().__init__()
            self.body, self.shortcut = torch.nn.Sequential(*layers), shortcut

        def forward(self, x):
            return self.body(x) + self.shortcut(x)

    theirs, ours = small_net(torch.nn, Residual), small_net(nn, nn.Residual)
    theirs[5].p = ours[5].p = 0.0
    for seed in range(3):
        theirs(torch.rand(4, 3, 6, 6, generator=torch.Generator().manual_seed(seed)))
    save_file(theirs.state_dict(), tmp_path / "net")
    assert ours.load(tmp_path / "net") == ([], [])
    x = torch.rand(4, 3, 6, 6)
    y, backward = ours.forward(x.numpy())
    expected = theirs(x)
    np.testing.assert_allclose(y, expected.detach().numpy(), rtol=1e-3, atol=1e-4)
    expected.sum().backward()
    backward(np.ones_like(y) * 0 + 1)
    for name, parameter in ours.named_parameters():
        theirs_grad = dict(theirs.named_parameters())[name].grad.numpy()
        np.testing.assert_allclose(parameter.grad, theirs_grad, rtol=1e-2, atol=1e-3)
    theirs.eval()
    for net in (ours, ours.fuse()):
        np.testing.assert_allclose(net(x.numpy()), theirs(x).detach().numpy(), rtol=1e-3, atol=1e-4)


def trained(**options):
    net = small_net(nn, nn.Residual, **options)
    rng = np.random.default_rng(1)
    for name, held in net._named((nn.Parameter, nn.Buffer)):
        if held.data.ndim == 1:
            held.data[...] = rng.random(held.data.shape) + (0.5 if "running_var" in name else -0.3)
    return net


# ---- fuse


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_fused_networks_give_the_same(dtype):
    net = trained(dtype=dtype)
    before = net.state_dict()
    x = np.random.default_rng(0).normal(size=(3, 3, 6, 6)).astype(dtype)
    expected = net(x)
    fused = net.fuse()
    y = fused(x)
    assert y.dtype == dtype
    np.testing.assert_allclose(
        y, expected, rtol=1e-4 if dtype == np.float32 else 1e-12, atol=1e-4 if dtype == np.float32 else 1e-12
    )
    assert not any(isinstance(m, nn.Dropout) or "BatchNorm" in type(m).__name__ for m in fused.modules())
    assert len(fused) == 6
    # The old network is what it was, and shares nothing with the new one.
    assert all(np.array_equal(value, before[name]) for name, value in net.state_dict().items())
    for parameter in fused.parameters():
        parameter.data[...] = 0
    np.testing.assert_array_equal(net(x), expected)


def test_fused_weights_are_rounded_once():
    net = nn.Sequential(nn.Linear(30, 20, rng=0), nn.BatchNorm1d(20, layout="NWC"))
    rng = np.random.default_rng(0)
    for held in (net[1].weight, net[1].bias, net[1].running_mean, net[1].running_var):
        held.data[...] = rng.random(20) + 0.1
    exact = {name: value.astype(F64) for name, value in net.state_dict().items()}
    scale = exact["1.weight"] / np.sqrt(exact["1.running_var"] + 1e-5)
    fused = net.fuse()
    np.testing.assert_array_equal(fused[0].weight.data, (exact["0.weight"] * scale[:, None]).astype(np.float32))
    bias = (exact["0.bias"] - exact["1.running_mean"]) * scale + exact["1.bias"]
    np.testing.assert_allclose(fused[0].bias.data, bias, rtol=2e-7)


def norm_of(layer, seed=5):
    rng = np.random.default_rng(seed)
    for held in (layer.weight, layer.bias, layer.running_mean, layer.running_var):
        held.data[...] = rng.random(held.data.shape) + 0.2
    return layer


@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
@pytest.mark.parametrize("groups", [1, 2])
def test_folding_into_transposed_convolutions(groups, layout):
    """Their weights have the output channels on another axis."""
    conv = nn.ConvTranspose2d(4, 6, 3, 2, groups=groups, layout=layout, rng=0, dtype=F64)
    net = nn.Sequential(conv, norm_of(nn.BatchNorm2d(6, layout=layout, dtype=F64)))
    x = np.random.default_rng(0).normal(size=(2, 4, 4, 4))
    fused = net.fuse()
    assert len(fused) == 1
    np.testing.assert_allclose(fused(x), net(x), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("layout", ["NCW", "NWC"])
@pytest.mark.parametrize("bias", [False, True])
def test_folding_into_locally_connected_layers(bias, layout):
    """Their weights begin with an axis of positions, here as many as there are channels."""
    layer = nn.LocallyConnected1d(2, 8, 10, 3, bias=bias, layout=layout, rng=0, dtype=F64)
    net = nn.Sequential(layer, norm_of(nn.BatchNorm1d(8, layout=layout, dtype=F64)))
    x = np.random.default_rng(0).normal(size=(2, 2, 10) if layout == "NCW" else (2, 10, 2))
    fused = net.fuse()
    assert len(fused) == 1
    np.testing.assert_allclose(fused(x), net(x), rtol=1e-12, atol=1e-12)


def test_folding_into_fully_connected_layers():
    """A sequence as long as its vectors has the normalised axis elsewhere, and no rank is known beforehand."""
    rng = np.random.default_rng(0)
    linear, norm = nn.Linear(4, 4, rng=0, dtype=F64), norm_of(nn.BatchNorm1d(4, dtype=F64))
    last = norm_of(nn.BatchNorm1d(4, layout="NWC", dtype=F64))
    vectors, sequences, images = (rng.normal(size=shape) for shape in ((3, 4), (3, 4, 4), (3, 4, 2, 2)))
    for layers, inputs, left in (
        ((linear, norm), (vectors, sequences), 2),
        ((nn.Flatten(2), linear, norm), (images,), 3),
        ((nn.GlobalAvgPool(keepdims=True), nn.Flatten(2), nn.Linear(1, 4, rng=0, dtype=F64), norm), (images,), 4),
        ((linear, last), (vectors, sequences), 1),
        ((nn.Flatten(), linear, norm), (vectors, images[..., :1, :1]), 2),
        ((nn.GlobalAvgPool(), nn.Tanh(), linear, norm, nn.ReLU(), nn.Dropout(), linear, norm), (images,), 5),
    ):
        net = nn.Sequential(*layers)
        fused = net.fuse()
        assert len(fused) == left
        for x in inputs:
            np.testing.assert_allclose(fused(x), net(x), rtol=1e-12, atol=1e-12)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("value", [0.0, 1e-90])
def test_what_would_overflow_is_not_folded(value):
    """And nobody is warned: where the scale is infinite, the layers apart give what they gave."""
    net = nn.Sequential(nn.Conv1d(2, 3, 1, rng=0), nn.BatchNorm1d(3, eps=value))
    net[1].running_var.data[1] = 0
    x = np.random.default_rng(0).normal(size=(2, 2, 5)).astype(np.float32)
    fused = net.fuse()
    assert len(fused) == 2
    np.testing.assert_array_equal(fused(x), net(x))


def test_dropout_stays_where_it_is_no_link_of_a_chain():
    block = nn.Concat(nn.Dropout(), nn.Sequential(nn.Dropout())).fuse()
    assert [type(branch) for branch in block] == [nn.Dropout, nn.Sequential]
    assert len(block.layers[1]) == 0
    assert isinstance(nn.Dropout().fuse(), nn.Dropout)


def test_what_cannot_be_folded_stays():
    conv, last = nn.Conv2d(3, 4, 1, rng=0, dtype=F64), nn.Conv2d(3, 4, 1, layout="NHWC", rng=0, dtype=F64)
    x, x_last = (np.random.default_rng(0).normal(size=shape) for shape in ((2, 3, 4, 4), (2, 4, 4, 3)))
    two = norm_of(nn.BatchNorm2d(4, dtype=F64))
    for net, images in (
        (nn.Sequential(conv, nn.ReLU(), two), x),
        (nn.Sequential(nn.Conv2d(3, 4, 1, activation="relu", rng=0, dtype=F64), two), x),
        (nn.Sequential(nn.MaxPool2d(2), norm_of(nn.BatchNorm2d(3, dtype=F64))), x),
        (nn.Sequential(norm_of(nn.BatchNorm2d(3, dtype=F64)), conv), x),
        (nn.Sequential(conv, nn.BatchNorm2d(4, track_running_stats=False, dtype=F64)), x),
        (nn.Sequential(last, norm_of(nn.BatchNorm2d(4, dtype=F64))), x_last),  # it normalises rows of pixels
        (nn.Sequential(nn.Linear(4, 3, rng=0, dtype=F64), norm_of(nn.BatchNorm2d(3, dtype=F64))), x),
    ):
        fused = net.fuse()
        assert sum("BatchNorm" in type(layer).__name__ for layer in fused) == 1
        np.testing.assert_allclose(fused(images), net(images), rtol=1e-12)


def test_folding_reaches_into_blocks_and_modules_of_ones_own():
    class Own(nn.Module):
        def __init__(self):
            self.inner = nn.Sequential(conv, norm, nn.Dropout())
            self.scale = nn.Parameter(np.full(1, 2.0))

        def forward_inference(self, x):
            y, backward = self.inner.forward_inference(x)
            return y * self.scale.data, lambda grad: backward(grad * self.scale.data)

    conv, norm = nn.Conv2d(3, 3, 1, rng=0, dtype=F64), norm_of(nn.BatchNorm2d(3, dtype=F64))
    x = np.random.default_rng(0).normal(size=(2, 3, 4, 4))
    # The same layers twice: each place gets weights of its own.
    net = nn.Sequential(
        nn.Sequential(conv), nn.Sequential(norm, nn.ReLU()), nn.Concat(conv, nn.Sequential(conv, norm), Own())
    )
    fused = net.fuse()
    np.testing.assert_allclose(fused(x), net(x), rtol=1e-12)
    assert not any(isinstance(module, nn.BatchNorm2d) for module in fused.modules())
    assert [type(layer).__name__ for layer in fused] == ["Conv2d", "ReLU", "Concat"]
    np.testing.assert_array_equal(conv.weight.data, nn.Conv2d(3, 3, 1, rng=0, dtype=F64).weight.data)
    assert nn.Linear(2, 2, rng=0).fuse().weight.data is not None


def test_fused_networks_are_saved_and_built_again(tmp_path):
    pytest.importorskip("safetensors")
    net = trained()
    x = np.random.default_rng(0).normal(size=(1, 3, 6, 6)).astype(np.float32)
    fused = net.fuse()
    fused.save(tmp_path / "net")
    np.testing.assert_array_equal(nn.load_model(tmp_path / "net")(x), fused(x))


# ---- state


def test_a_state_may_lack_the_number_of_batches():
    net, other = nn.BatchNorm1d(2), nn.BatchNorm1d(2)
    net.forward(np.random.default_rng(0).random((4, 2), dtype=np.float32))
    state = net.state_dict()
    del state["num_batches_tracked"]
    assert other.load_state_dict(state) == ([], [])
    np.testing.assert_array_equal(other.running_mean.data, net.running_mean.data)
    del state["running_var"]
    with pytest.raises(ValueError, match="running_var is missing"):
        other.load_state_dict(state)


NORM = {
    "type": "BatchNorm1d",
    "num_features": 2,
    "eps": 1e-5,
    "momentum": 0.1,
    "affine": False,
    "track_running_stats": True,
    "layout": "NCW",
    "dtype": "float32",
}


@pytest.mark.parametrize(
    "model",
    [
        {**NORM, "num_features": 2**50},
        {**NORM, "num_features": 2**50, "affine": True},
        {**NORM, "momentum": "0.1"},
        {**NORM, "eps": None},
        {**NORM, "dtype": "object"},
        {**NORM, "layout": "NCHW"},
        {**NORM, "affine": True},
        {key: value for key, value in NORM.items() if key != "affine"},
        {
            "type": "LayerNorm",
            "normalized_shape": [2**50],
            "eps": 0.1,
            "elementwise_affine": True,
            "bias": True,
            "dtype": "float32",
        },
        {
            "type": "GroupNorm",
            "num_groups": 1,
            "num_channels": 2**50,
            "eps": 0,
            "affine": True,
            "layout": None,
            "dtype": "float32",
        },
        {"type": "LocalResponseNorm", "size": "2"},
    ],
)
def test_descriptions_are_checked(tmp_path, model):
    numpy_format = pytest.importorskip("safetensors.numpy")
    state = {name: np.ones(2, np.float32) for name in ("running_mean", "running_var")}
    numpy_format.save_file(
        {**state, "num_batches_tracked": np.array(0)},
        tmp_path / "net",
        {"convc": json.dumps({"version": 1, "model": NORM})},
    )
    assert nn.load_model(tmp_path / "net").num_features == 2
    numpy_format.save_file(state, tmp_path / "net", {"convc": json.dumps({"version": 1, "model": model})})
    with pytest.raises(ValueError, match="the description of the layers cannot be used"):
        nn.load_model(tmp_path / "net")


def test_wrong_inputs_name_the_layer():
    layer = nn.BatchNorm2d(3)
    with pytest.raises(ValueError, match=r"BatchNorm2d\(3.* needs an input of 4 axes, got shape \(2, 3\)"):
        layer(np.ones((2, 3), np.float32))
    with pytest.raises(ValueError, match="2 or 3 axes"):
        nn.BatchNorm1d(3).forward(np.ones((2, 3, 4, 5), np.float32))
    with pytest.raises(ValueError, match="more than 1 value per channel"):
        layer.forward(np.ones((1, 3, 1, 1), np.float32))
    assert layer.num_batches_tracked.data == 0
    with pytest.raises(ValueError, match="needs 3 channels"):
        layer.output_shape((4, 2, 2))
    with pytest.raises(ValueError, match="needs an input of 3 axes"):
        layer.output_shape((3,))
    with pytest.raises(ValueError, match="needs 4 channels"):
        nn.GroupNorm(2, 4).output_shape((3, 2))
    with pytest.raises(ValueError, match="as the last axes"):
        nn.LayerNorm(4).output_shape((3, 2))


def test_relu_after_normalisation_and_copies():
    """No fusion there: the output is that of the layers one by one."""
    net = nn.Sequential(nn.Linear(3, 4, rng=0), nn.BatchNorm1d(4), nn.ReLU())
    x = np.random.default_rng(0).normal(size=(8, 3)).astype(np.float32)
    twin = copy.deepcopy(net)
    y = net.forward(x)[0]
    np.testing.assert_array_equal(y, nn.ReLU()(twin[1].forward(twin[0](x))[0]))
    np.testing.assert_array_equal(net(x), nn.ReLU()(net[1](net[0](x))))
    assert twin[1].num_batches_tracked.data == net[1].num_batches_tracked.data == 1


def test_fit_trains_the_statistics_and_takes_no_half_step():
    rng = np.random.default_rng(0)
    x, y = (100 + 5 * rng.standard_normal((64, 4))).astype(np.float32), rng.integers(0, 2, 64)
    x[y == 1] += 3
    net = nn.Sequential(nn.BatchNorm1d(4), nn.Linear(4, 2, rng=0))
    history = train.fit(
        net, x, y, epochs=20, batch_size=16, optimizer=optim.SGD(net.parameters(), lr=0.1), progress=False
    )
    assert history.train_loss[-1] < history.train_loss[0]
    assert net[0].num_batches_tracked.data == 80
    np.testing.assert_allclose(net[0].running_mean.data, x.mean(0), rtol=0.02)
    before = net.state_dict()
    x[5] = np.nan
    with pytest.raises(FloatingPointError):
        train.fit(net, x, y, epochs=1, batch_size=64, progress=False)
    assert all(np.array_equal(value, before[name]) for name, value in net.state_dict().items())
