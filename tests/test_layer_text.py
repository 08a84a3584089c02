"""Layers as text: initial values, names and printed forms are PyTorch's."""

import math

import numpy as np
import pytest
from differences import Residual, spread

from convc import nn
from convc.shapes import ReceptiveField

# ---- initial values, names, text


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_initial_values_are_pytorchs(dtype):
    torch = pytest.importorskip("torch")
    ours = nn.Conv2d(16, 64, 3, groups=2, dtype=dtype, rng=0)
    theirs = torch.nn.Conv2d(16, 64, 3, groups=2)
    for name, parameter in ours.named_parameters():
        reference = getattr(theirs, name).detach().numpy()
        bound = 1 / math.sqrt(8 * 9)
        assert parameter.data.dtype == dtype
        assert parameter.data.shape == reference.shape
        assert np.abs(parameter.data).max() <= bound
        assert np.abs(reference).max() <= bound * (1 + 1e-6)
        assert abs(parameter.data.mean()) < 4 * bound / math.sqrt(3 * parameter.data.size)
    assert abs(ours.weight.data.std() - theirs.weight.detach().numpy().std()) < 0.05 * bound


def test_unshared_parameters_are_drawn_as_those_of_one_position():
    layer = nn.LocallyConnected2d(3, 4, 9, 5, rng=0)
    for parameter, shape in ((layer.weight, (25, 4, 3, 5, 5)), (layer.bias, (25, 4))):
        assert parameter.data.shape == shape
        assert 0.9 / math.sqrt(75) < abs(parameter.data).max() <= np.float32(1 / math.sqrt(75))
    assert layer.unshared_parameters((3, 9, 9)) == 25 * 4 * 76
    assert layer.macs((3, 9, 9)) == nn.Conv2d(3, 4, 5).macs((3, 9, 9)) == layer.weight.data.size


def test_initial_values_come_from_rng_alone():
    rng = np.random.default_rng(3)
    first, second = nn.Linear(4, 4, rng=rng), nn.Linear(4, 4, rng=rng)
    assert (first.weight.data != second.weight.data).all()
    np.testing.assert_array_equal(nn.Linear(4, 4, rng=3).weight.data, first.weight.data)


def test_names_are_pytorchs():
    net = nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(), nn.Sequential(nn.Linear(2, 2, bias=False), nn.Linear(2, 2)))
    names = ["0.weight", "0.bias", "2.0.weight", "2.1.weight", "2.1.bias"]
    assert [name for name, _ in net.named_parameters()] == names
    assert [name for name, _ in Residual(nn.ReLU()).named_parameters()] == ["scale"]


def test_shared_parameters_count_once():
    shared = nn.Linear(3, 3)
    net = nn.Sequential(shared, shared)
    assert len(list(net.parameters())) == 2
    assert len(list(net.named_parameters())) == 4
    assert net.summary((3,)).parameters == 12


def test_repr_is_pytorchs():
    torch = pytest.importorskip("torch")

    def build(lib, pool_extra):
        return lib.Sequential(
            lib.Conv2d(1, 4, 3, padding=1),
            lib.ReLU(),
            lib.Conv2d(4, 4, (3, 2), 2, 1, 2, 2, False),
            lib.Conv2d(4, 4, 3, padding="same"),
            lib.Conv1d(1, 2, 3),
            lib.Sequential(lib.Flatten(), lib.Linear(3, 4, bias=False), lib.Dropout(0.25)),
        )

    theirs = repr(build(torch.nn, {})).replace(", inplace=False", "")
    assert repr(build(nn, {})) == theirs
    pool = repr(torch.nn.MaxPool2d(3, 2, 1)).replace(", ceil_mode=False", "")
    assert repr(nn.MaxPool2d(3, 2, 1)) == pool


POOLS = [
    "MaxPool1d(2)",
    "AvgPool1d(2)",
    "AvgPool2d(3, 2, 1)",
    "AvgPool2d((2, 3))",
    "AvgPool3d(2)",
    "LPPool1d(2, 3)",
    "LPPool2d(1.5, (3, 2), 2)",
    "LPPool3d(2, 2)",
    "AdaptiveAvgPool1d(3)",
    "AdaptiveAvgPool2d((7, 7))",
    "AdaptiveAvgPool3d((None, 2, 3))",
    "AdaptiveMaxPool1d(5)",
    "AdaptiveMaxPool2d(1)",
    "AdaptiveMaxPool3d(2)",
]


@pytest.mark.parametrize("text", POOLS)
def test_pools_are_pytorchs(text):
    """Arguments, results and text."""
    torch = pytest.importorskip("torch")
    ours, theirs = (eval(f"nn.{text}", {"nn": module}) for module in (nn, torch.nn))
    hidden = ", ceil_mode=False" if text.startswith("Max") else ""
    assert repr(ours) == repr(theirs).replace(hidden, "")
    x = np.abs(spread((2, 3, 8, 9, 7)[: 2 + int(text.split("d(")[0][-1])]))
    np.testing.assert_allclose(ours(x), theirs(torch.from_numpy(x)).numpy(), rtol=1e-12)


def test_windows_of_unknown_size_see_everything():
    field = ReceptiveField((3, 3), (1, 1))
    for layer in (nn.AdaptiveAvgPool2d(2), nn.AdaptiveMaxPool2d((None, 2)), nn.GlobalAvgPool(), nn.GlobalMaxPool()):
        assert layer.receptive_field(field) is None
        assert layer.macs((2, 4, 4)) == 0
    for layer in (nn.AvgPool2d(3, 2, 1), nn.LPPool2d(2, 3, 2)):
        assert layer.receptive_field(field) == field.after(3, 2, 1, getattr(layer, "padding", 0))
    assert nn.AvgPool2d(2).dropped((1, 5, 4)) == (1, 0)
    assert nn.AdaptiveAvgPool2d(2).dropped((1, 5, 4)) == (0, 0)
    with pytest.raises(ValueError, match="GlobalAvgPool needs an input of 2 to 4 axes"):
        nn.GlobalAvgPool().output_shape((3,))
    with pytest.raises(ValueError, match="GlobalMaxPool needs an input of 3 axes"):
        nn.GlobalMaxPool(layout="NHWC").output_shape((3, 4))


def test_repr_shows_what_differs():
    assert repr(nn.AvgPool2d(2, count_include_pad=False)).endswith("padding=0, count_include_pad=False)")
    assert repr(nn.LPPool2d(2, 2, fit="ceil")) == "LPPool2d(norm_type=2, kernel_size=2, stride=None, fit='ceil')"
    assert repr(nn.GlobalAvgPool(True, layout="NWC")) == "GlobalAvgPool(keepdims=True, layout='NWC')"
    assert "layout='NHWC', fit='exact'" in repr(nn.Conv2d(1, 1, 1, layout="NHWC", fit="exact"))
    assert "activation='relu'" in repr(nn.Linear(1, 1, activation="relu"))
    assert repr(nn.LocallyConnected2d(1, 2, (9, 8), 3, bias=False)) == (
        "LocallyConnected2d(1, 2, input_size=(9, 8), kernel_size=(3, 3), stride=(1, 1), bias=False)"
    )
    assert "padding=((0, 1), (1, 1))" in repr(nn.Conv2d(1, 1, 1, padding=((0, 1), 1)))
    assert repr(nn.MaxPool2d((2, 3))) == "MaxPool2d(kernel_size=(2, 3), stride=(2, 3), padding=0, dilation=1)"


def test_sequential_is_a_sequence():
    layers = [nn.ReLU(), nn.Flatten(), nn.Dropout()]
    net = nn.Sequential(*layers)
    assert len(net) == 3
    assert list(net) == layers
    assert net[-1] is layers[2]
    assert isinstance(net[1:], nn.Sequential)
    assert list(net[1:]) == layers[1:]
    empty, x = nn.Sequential(), np.ones(3)
    assert empty(x) is x
    assert empty.forward(x)[1](x) is x
