"""Blocks of parallel paths, buffers, and the gradient of a network in use."""

import copy
import json

import numpy as np
import pytest
from differences import F64, check_gradients, numeric_gradient, spread

import convc
from convc import nn, train
from convc.shapes import ReceptiveField


def conv(ins, outs, kernel=3, seed=0, **options):
    return nn.Conv2d(ins, outs, kernel, padding=kernel // 2, dtype=F64, rng=seed, **options)


class Counted(nn.Module):
    """Scales by how many batches it has seen: a layer with state that is not trained."""

    def __init__(self):
        self.seen = nn.Buffer(np.array(0))
        self.scale = nn.Buffer(np.ones(1, np.float32))
        self.factor = nn.Parameter(np.ones(1, np.float32))

    def forward(self, x):
        self.seen.data += 1
        self.scale.data[...] = self.seen.data
        return self.forward_inference(x)

    def forward_inference(self, x):
        scale = self.scale.data * self.factor.data

        def backward(grad):
            self.factor.accumulate(np.sum(grad * x, keepdims=True).reshape(1) * self.scale.data)
            return grad * scale

        return x * scale, backward


# ---- blocks

BLOCKS = {
    "identity": (lambda: nn.Residual(conv(2, 2), nn.ReLU(), conv(2, 2, seed=1)), (2, 2, 3, 4)),
    "shortcut": (
        lambda: nn.Residual(nn.Conv2d(2, 3, 2, 2, dtype=F64), shortcut=nn.Conv2d(2, 3, 1, 2, dtype=F64)),
        (1, 2, 4, 4),
    ),
    "empty": (lambda: nn.Residual(), (2, 3)),
    "concat": (lambda: nn.Concat(conv(2, 1), nn.Sequential(conv(2, 3, 1), nn.ReLU()), nn.Sequential()), (2, 2, 3, 4)),
    "channels last": (
        lambda: nn.Concat(conv(2, 1, layout="NHWC"), nn.Residual(conv(2, 2, layout="NHWC")), axis=-1),
        (2, 3, 4, 2),
    ),
    "features": (lambda: nn.Concat(nn.Linear(3, 2, dtype=F64), nn.Dropout(0.4)), (4, 3)),
    "nested": (
        lambda: nn.Sequential(nn.Residual(nn.Concat(conv(2, 1), conv(2, 1, seed=1))), nn.ReLU(), nn.MaxPool2d(2)),
        (1, 2, 4, 4),
    ),
}


@pytest.fixture(params=BLOCKS)
def case(request):
    make, shape = BLOCKS[request.param]
    return make(), spread(shape)


def test_gradients(case):
    check_gradients(*case)


def test_gradients_in_use(case):
    """Those of layer(x), where nothing is drawn."""
    net, x = case
    y, backward = net.forward_inference(x)
    np.testing.assert_array_equal(y, net(x))
    projection = np.random.default_rng(1).normal(size=y.shape)
    grad_x = backward(projection)
    np.testing.assert_allclose(grad_x, numeric_gradient(lambda: float((net(x) * projection).sum()), x), 1e-3, 1e-5)


def test_sizes(case):
    net, x = case
    assert net.output_shape(x.shape[1:]) == net(x).shape[1:]
    summary = net.summary(x.shape[1:])
    assert summary.macs == net.macs(x.shape[1:])
    assert summary.parameters == sum(row.parameters for row in summary.rows)
    assert not summary.rows or summary.rows[-1].output_shape == net(x).shape[1:]


def test_files(case, tmp_path):
    pytest.importorskip("safetensors")
    net, x = case
    net.save(tmp_path / "net")
    loaded = nn.load_model(tmp_path / "net")
    assert repr(loaded) == repr(net)
    np.testing.assert_array_equal(loaded(x), net(x))


def test_what_blocks_compute():
    x = np.random.default_rng(0).normal(size=(2, 3, 5, 5))
    one, other = conv(3, 4), conv(3, 4, 1, seed=1)
    np.testing.assert_array_equal(nn.Residual(one, shortcut=other)(x), one(x) + other(x))
    np.testing.assert_array_equal(nn.Residual(conv(3, 3))(x), conv(3, 3)(x) + x)
    np.testing.assert_array_equal(nn.Concat(one, other, nn.Sequential())(x), np.concatenate([one(x), other(x), x], 1))


def test_names_are_those_of_a_pytorch_module(torch):
    class Residual(torch.nn.Module):
        def __init__(self, *layers, shortcut=None):
            super().__init__()
            self.body, self.shortcut = torch.nn.Sequential(*layers), shortcut

        def forward(self, x):
            return self.body(x) + (x if self.shortcut is None else self.shortcut(x))

    class Concat(torch.nn.ModuleList):
        def __init__(self, *layers):
            super().__init__(layers)

        def forward(self, x):
            return torch.cat([layer(x) for layer in self], 1)

    def build(lib, residual, concat):
        return lib.Sequential(
            residual(lib.Conv2d(2, 4, 3, padding=1), lib.ReLU(), shortcut=lib.Conv2d(2, 4, 1)),
            concat(lib.Conv2d(4, 2, 1), lib.Sequential(lib.ReLU(), lib.Conv2d(4, 3, 3, padding=1))),
            residual(lib.Conv2d(5, 5, 1, bias=False)),
        )

    ours, theirs = build(nn, nn.Residual, nn.Concat), build(torch.nn, Residual, Concat)
    assert list(ours.state_dict()) == list(theirs.state_dict())
    ours.load_state_dict(theirs.state_dict())
    x = torch.rand(2, 2, 6, 6)
    np.testing.assert_allclose(ours(x.numpy()), theirs(x).detach().numpy(), rtol=1e-5, atol=1e-6)


def test_receptive_fields():
    field = ReceptiveField((3, 3), (2, 2))
    block = nn.Concat(nn.Conv2d(1, 1, (1, 5)), nn.Conv2d(1, 1, 3), nn.Sequential())
    assert block.receptive_field(field) == ReceptiveField((7, 11), (2, 2), (2, 4))
    assert nn.Residual(nn.Conv2d(1, 1, 3, padding=1)).receptive_field(field).size == (7, 7)
    assert nn.Concat(nn.Linear(3, 3), nn.Sequential()).receptive_field(field) is None


def test_summary_shows_the_paths_and_where_they_join():
    net = nn.Sequential(
        nn.Residual(nn.Conv2d(2, 4, 3, padding=1), nn.ReLU(), shortcut=nn.Conv2d(2, 4, 1)), nn.Concat(nn.MaxPool2d(2))
    )
    rows = net.summary((2, 6, 6)).rows
    assert [row.name for row in rows] == ["0.body.0", "0.body.1", "0.shortcut", "0", "1.0", "1"]
    assert [row.parameters for row in rows] == [76, 0, 12, 0, 0, 0]
    assert rows[3].receptive_field.size == (3, 3)
    with pytest.raises(ValueError, match=r"layer 0\.shortcut: .*needs 2 channels"):
        nn.Sequential(nn.Residual(shortcut=nn.Conv2d(2, 4, 1))).summary((3, 6, 6))
    with pytest.raises(ValueError, match="layer 0: Residual: the body gives"):
        nn.Sequential(nn.Residual(nn.Conv2d(2, 2, 3))).summary((2, 6, 6))


def test_text():
    net = nn.Residual(nn.ReLU(), shortcut=nn.Concat(nn.ReLU(), nn.Sequential(), axis=-1))
    assert repr(net) == (
        "Residual(\n  (body): Sequential(\n    (0): ReLU()\n  )\n"
        "  (shortcut): Concat(\n    axis=-1\n    (0): ReLU()\n    (1): Sequential()\n  )\n)"
    )
    assert repr(Counted()) == "Counted()"


@pytest.mark.parametrize(
    ("make", "error", "match"),
    [
        (lambda: nn.Residual([nn.ReLU()]), TypeError, r"layer 0 must be a Module.*Sequential\(\*layers\)"),
        (lambda: nn.Residual(shortcut=max), TypeError, "shortcut must be a Module or None"),
        (lambda: nn.Concat(), ValueError, "at least one branch"),
        (lambda: nn.Concat(max), TypeError, "layer 0 must be a Module"),
        (lambda: nn.Concat(nn.ReLU(), axis=0), ValueError, "axis must not be 0"),
        (lambda: nn.Concat(nn.ReLU(), axis=1.0), TypeError, "axis must be an integer"),
        (lambda: nn.Concat(nn.ReLU(), axis=4)(np.ones((2, 3))), ValueError, "axis 4 is no axis"),
        (lambda: nn.Concat(nn.ReLU(), axis=-2)(np.ones((2, 3))), ValueError, "axis -2 is no axis"),
        (lambda: nn.Residual(conv(2, 1))(np.ones((1, 2, 3, 3))), ValueError, "the body gives shape"),
        (lambda: nn.Concat(nn.MaxPool2d(2), nn.ReLU())(np.ones((1, 1, 4, 4))), ValueError, "branches give shapes"),
        (lambda: nn.Buffer(np.ones(2, np.int32)), TypeError, "got int32"),
        (lambda: nn.Buffer([1.0]), TypeError, "got list"),
    ],
)
def test_bad_arguments(make, error, match):
    with pytest.raises(error, match=match):
        make()


LINEAR = {"type": "Linear", "in_features": 2, "out_features": 1, "bias": True, "activation": None, "dtype": "float32"}


@pytest.mark.parametrize(
    "model",
    [
        {"type": "Residual", "layers": []},
        {"type": "Residual", "layers": [LINEAR], "shortcut": 3},
        {"type": "Residual", "layers": 3, "shortcut": None},
        {"type": "Residual", "layers": [], "shortcut": {**LINEAR, "in_features": 2**50}},
        {"type": "Concat", "layers": [LINEAR]},
        {"type": "Concat", "layers": [], "axis": 1},
        {"type": "Concat", "layers": [LINEAR], "axis": "1"},
        {"type": "Concat", "layers": [{**LINEAR, "in_features": 2**50}], "axis": 1},
        {"type": "Parallel"},
    ],
)
def test_descriptions_are_checked(tmp_path, model):
    numpy_format = pytest.importorskip("safetensors.numpy")
    names = ("body.0.", "0.", "shortcut.")
    state = {f"{name}weight": np.zeros((1, 2), np.float32) for name in names}
    state |= {f"{name}bias": np.zeros(1, np.float32) for name in names}
    numpy_format.save_file(state, tmp_path / "net", {"convc": json.dumps({"version": 1, "model": model})})
    with pytest.raises(ValueError, match="the description of the layers cannot be used"):
        nn.load_model(tmp_path / "net")


# ---- buffers


def test_buffers_are_state_and_no_parameters(tmp_path):
    net = nn.Sequential(nn.Linear(2, 2), Counted())
    assert [name for name, _ in net.named_buffers()] == ["1.seen", "1.scale"]
    assert list(net.state_dict()) == ["0.weight", "0.bias", "1.factor", "1.seen", "1.scale"]
    assert len(list(net.parameters())) == 3
    net.forward(np.ones((1, 2), np.float32))
    other = nn.Sequential(nn.Linear(2, 2), Counted())
    array = other[1].seen.data
    other.load_state_dict(net.state_dict())
    assert other[1].seen.data is array
    assert (array == 1).all()
    assert (array.dtype, array.shape) == (np.int64, ())
    pytest.importorskip("safetensors")
    net.forward(np.ones((1, 2), np.float32))
    net.save(tmp_path / "net")
    other.load(tmp_path / "net")
    assert other[1].seen.data == 2


def test_buffers_are_checked_when_they_are_loaded():
    net = Counted()
    state = net.state_dict()
    with pytest.raises(TypeError, match="seen must hold integers, got float64"):
        net.load_state_dict({**state, "seen": np.zeros(())})
    with pytest.raises(TypeError, match="scale must hold floating-point numbers, got int64"):
        net.load_state_dict({**state, "scale": np.zeros(1, np.int64)})
    with pytest.raises(ValueError, match="scale has shape"):
        net.load_state_dict({**state, "scale": np.zeros(2)})
    del state["seen"]
    with pytest.raises(ValueError, match="seen is missing"):
        net.load_state_dict(state)
    net.seen.optional = True
    assert net.load_state_dict(state) == ([], [])


def test_copies_are_independent():
    net = nn.Sequential(Counted(), nn.Residual(nn.Linear(2, 2)))
    twin = copy.deepcopy(net)
    net.forward(np.ones((1, 2), np.float32))
    assert twin[0].seen.data == 0
    assert twin[1].body[0].weight.data is not net[1].body[0].weight.data


class Unsteady(train.CrossEntropyLoss):
    """Fails in the third step."""

    def __init__(self, how):
        super().__init__()
        self.how, self.calls = how, 0

    def forward(self, logits, target):
        self.calls += 1
        if self.calls == 3:
            return self.how(), None
        return super().forward(logits, target)


def stop():
    raise KeyboardInterrupt


@pytest.mark.parametrize("how", [lambda: np.nan, stop])
def test_a_step_that_does_not_end_leaves_the_buffers_alone(how):
    net = nn.Sequential(Counted(), nn.Linear(2, 2, rng=0))
    x, y = np.ones((8, 2), np.float32), np.zeros(8, np.int64)
    if how is stop:
        assert train.fit(net, x, y, epochs=1, batch_size=2, loss=Unsteady(how), progress=False).interrupted
    else:
        with pytest.raises(FloatingPointError):
            train.fit(net, x, y, epochs=1, batch_size=2, loss=Unsteady(how), progress=False)
    assert net[0].seen.data == 2
    assert net[0].scale.data == 2


def test_inference_has_a_gradient_and_changes_nothing():
    net = nn.Sequential(Counted(), nn.Dropout(0.5), nn.Residual(nn.Linear(2, 2, rng=0)), nn.ReLU())
    x = np.ones((3, 2), np.float32)
    before = net.state_dict()
    y, backward = net.forward_inference(x)
    np.testing.assert_array_equal(y, net(x))
    backward(np.ones_like(y))
    assert all(np.array_equal(value, before[name]) for name, value in net.state_dict().items())
    assert net[2].body[0].weight.grad is not None
    relu = convc.relu(net[2](x))
    np.testing.assert_array_equal(y, relu)
