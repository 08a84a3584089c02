"""Layers that unpool, and the pools that tell them where to."""

import numpy as np
import pytest

import convc
from convc import nn

SHAPES = {1: (2, 3, 9), 2: (2, 3, 9, 8), 3: (1, 2, 5, 4, 6)}


def pair(lib, d, **options):
    pool = getattr(lib, f"MaxPool{d}d")(2, return_indices=True, **options)
    return pool, getattr(lib, f"MaxUnpool{d}d")(2, **options)


@pytest.mark.parametrize("d", SHAPES)
def test_pytorch_agrees(torch, d):
    x = np.random.default_rng(d).standard_normal(SHAPES[d])
    (pool, unpool), (their_pool, their_unpool) = pair(nn, d), pair(torch.nn, d)
    assert repr(unpool) == repr(their_unpool)
    tensor = torch.from_numpy(x).requires_grad_()
    (y, indices), pool_backward = pool.forward(x)
    top, places = their_pool(tensor)
    for ours in ((y, indices), pool(x)):
        np.testing.assert_array_equal(ours[0], top.detach().numpy())
        np.testing.assert_array_equal(ours[1], places.numpy())
    z, unpool_backward = unpool.forward(y, indices, x.shape)
    theirs = their_unpool(top, places, output_size=x.shape)
    np.testing.assert_array_equal(z, theirs.detach().numpy())
    np.testing.assert_array_equal(unpool(y, indices), their_unpool(top, places).detach().numpy())
    theirs.square().sum().backward()
    np.testing.assert_array_equal(pool_backward(unpool_backward(2 * z)), tensor.grad.numpy())


@pytest.mark.parametrize("d", SHAPES)
def test_channels_last(d):
    x = np.random.default_rng(d).standard_normal(SHAPES[d])
    (pool, unpool), (last_pool, last_unpool) = pair(nn, d), pair(nn, d, layout=("NWC", "NHWC", "NDHWC")[d - 1])
    z = last_unpool(*last_pool(np.moveaxis(x, 1, -1)))
    np.testing.assert_array_equal(np.moveaxis(z, -1, 1), unpool(*pool(x)))
    assert last_unpool.output_shape(last_pool.output_shape((*x.shape[2:], x.shape[1]))) == z.shape[1:]


def test_networks_of_ones_own():
    """An autoencoder: the indices go around its middle."""

    class Autoencoder(nn.Module):
        def __init__(self):
            self.pool, self.unpool = nn.MaxPool2d(2, 2, return_indices=True), nn.MaxUnpool2d(2, 2)
            self.middle = nn.Conv2d(1, 1, 3, padding=1, dtype=np.float64, rng=0)

        def forward(self, x):
            (y, indices), pool_backward = self.pool.forward(x)
            y, middle_backward = self.middle.forward(y)
            y, unpool_backward = self.unpool.forward(y, indices, x.shape[2:])
            return y, lambda grad: pool_backward(middle_backward(unpool_backward(grad)))

    net, x = Autoencoder(), np.random.default_rng(0).standard_normal((2, 1, 5, 7))
    y, backward = net.forward(x)
    assert y.shape == x.shape == backward(y).shape
    assert np.count_nonzero(y) == 2 * 2 * 3
    np.testing.assert_array_equal(net(x), y)
    again, _ = net.unpool.forward_inference(*net.pool.forward_inference(x)[0], (5, 7))
    places = convc.max_pool2d(x, 2, return_indices=True)
    np.testing.assert_array_equal(again, convc.max_unpool2d(*places, 2, output_size=(5, 7)))


def test_indices_at_the_end_of_a_network():
    net, x = nn.Sequential(nn.ReLU(), nn.MaxPool1d(2, return_indices=True)), np.arange(6.0).reshape(1, 1, 6)
    y, indices = net(x)
    np.testing.assert_array_equal(indices, [[[1, 3, 5]]])
    outputs, backward = net.forward(x)
    np.testing.assert_array_equal(outputs[0], y)
    np.testing.assert_array_equal(backward(y), [[[0, 1, 0, 3, 0, 5]]])


def test_sizes_text_and_configuration():
    layer = nn.MaxUnpool2d((2, 3), (2, 4), (1, 0), layout="NHWC")
    assert repr(layer) == "MaxUnpool2d(kernel_size=(2, 3), stride=(2, 4), padding=(1, 0), layout='NHWC')"
    assert nn.MaxUnpool2d(**layer.config()).config() == layer.config()
    assert layer.output_shape((3, 2, 5)) == (4, 7, 5)
    assert layer.dropped((3, 2, 5)) == (0, 0)
    pool = nn.MaxPool2d(2, return_indices=True)
    assert repr(pool) == "MaxPool2d(kernel_size=2, stride=2, padding=0, dilation=1, return_indices=True)"
    assert nn.MaxPool2d(**pool.config()).config() == pool.config()
    with pytest.raises(ValueError, match="kernel_size must be at least 1"):
        nn.MaxUnpool1d(0)
    with pytest.raises(ValueError, match="output_size must be from"):
        nn.MaxUnpool1d(2)(np.ones((1, 1, 2)), np.zeros((1, 1, 2), int), 9)


def test_files_know_these_layers(tmp_path):
    pytest.importorskip("safetensors")
    unpools = nn.MaxUnpool1d(2), nn.MaxUnpool2d(2, 3), nn.MaxUnpool3d(2, padding=1)
    net = nn.Sequential(*unpools, nn.MaxPool2d(2, return_indices=True))
    net.save(tmp_path / "net.safetensors")
    loaded = nn.load_model(tmp_path / "net.safetensors")
    assert (repr(loaded), loaded.config()) == (repr(net), net.config())
