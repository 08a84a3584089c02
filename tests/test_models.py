"""Definitions of well-known networks: their sizes, and the same numbers as the same layers in PyTorch."""

import doctest

import numpy as np
import pytest

from convc import data, models, nn, optim, train


def lenet_in(torch):
    layers = torch.nn
    return layers.Sequential(
        layers.Conv2d(1, 6, 5),
        layers.Tanh(),
        layers.AvgPool2d(2),
        layers.Conv2d(6, 16, 5),
        layers.Tanh(),
        layers.AvgPool2d(2),
        layers.Conv2d(16, 120, 5),
        layers.Tanh(),
        layers.Flatten(),
        layers.Linear(120, 84),
        layers.Tanh(),
        layers.Linear(84, 10),
    )


def resnet_in(torch, net):
    """The same layers in PyTorch, layer by layer."""
    layers = torch.nn

    class Residual(layers.Module):
        def __init__(self, body, shortcut):
            super().__init__()
            self.body, self.shortcut = body, shortcut

        def forward(self, x):
            return self.body(x) + (x if self.shortcut is None else self.shortcut(x))

    def build(layer):
        if isinstance(layer, nn.Sequential):
            return layers.Sequential(*map(build, layer))
        if isinstance(layer, nn.Residual):
            return Residual(build(layer.body), None if layer.shortcut is None else build(layer.shortcut))
        if isinstance(layer, nn.Conv2d):
            sizes = layer.in_channels, layer.out_channels, layer.kernel_size
            return layers.Conv2d(*sizes, layer.stride, layer.padding, bias=False)
        if isinstance(layer, nn.BatchNorm2d):
            return layers.BatchNorm2d(layer.num_features)
        if isinstance(layer, nn.Linear):
            return layers.Linear(layer.in_features, layer.out_features)
        return {
            nn.ReLU: layers.ReLU(),
            nn.Flatten: layers.Flatten(),
            nn.AdaptiveAvgPool2d: layers.AdaptiveAvgPool2d(1),
        }[type(layer)]

    return build(net)


def give(torch, theirs, net):
    theirs.load_state_dict({name: torch.from_numpy(np.array(value)) for name, value in net.state_dict().items()})
    return theirs


def check_step(torch, net, theirs, images, labels):
    """Outputs, the gradients of a training step, and what it did to the running statistics."""
    x = torch.from_numpy(images).requires_grad_()
    np.testing.assert_allclose(net(images), theirs.eval()(x).detach().numpy(), atol=1e-10)
    scores, backward = net.forward(images)
    criterion = torch.nn.functional.cross_entropy
    criterion(theirs.train()(x), torch.from_numpy(labels)).backward()
    softmax = np.exp(scores) / np.exp(scores).sum(1, keepdims=True)
    grad = backward((softmax - np.eye(scores.shape[1])[labels]) / len(labels))
    np.testing.assert_allclose(grad, x.grad.numpy(), atol=1e-10)
    wanted = dict(theirs.named_parameters())
    for name, parameter in net.named_parameters():
        np.testing.assert_allclose(parameter.grad, wanted[name].grad.numpy(), atol=1e-9, err_msg=name)
    state = theirs.state_dict()
    for name, value in net.state_dict().items():
        np.testing.assert_allclose(value, state[name].numpy(), atol=1e-10, err_msg=name)


def test_lenet_has_the_size_of_the_book():
    summary = models.lenet5().summary((1, 32, 32))
    assert summary.parameters == 61706
    assert [row.output_shape for row in summary.rows][:7:3] == [(6, 28, 28), (16, 10, 10), (120, 1, 1)]


def test_resnet_has_the_size_of_the_paper():
    """0.27 million parameters, 41 million multiply-adds, as table 6 and others count them."""
    summary = models.resnet(20).summary((3, 32, 32))
    assert round(summary.parameters / 1e6, 2) == 0.27
    assert round(summary.macs / 1e6) == 41
    weights = [name for name, p in models.resnet(20).named_parameters() if p.data.ndim > 1 and "shortcut" not in name]
    assert len(weights) == 20


def test_lenet_is_pytorchs(torch):
    net = models.lenet5(dtype=np.float64, rng=0)
    rng = np.random.default_rng(1)
    images, labels = rng.standard_normal((4, 1, 32, 32)), rng.integers(0, 10, 4)
    check_step(torch, net, give(torch, lenet_in(torch).double(), net), images, labels)


def test_resnet_is_pytorchs(torch):
    net = models.resnet(14, 5, width=4, dtype=np.float64, rng=0)
    rng = np.random.default_rng(1)
    images, labels = rng.standard_normal((6, 3, 32, 32)), rng.integers(0, 5, 6)
    theirs = give(torch, resnet_in(torch, net).double(), net)
    check_step(torch, net, theirs, images, labels)


def test_layouts_agree():
    images = np.random.default_rng(0).standard_normal((2, 3, 32, 32))
    last = np.ascontiguousarray(np.moveaxis(images, 1, -1))
    for build in (models.lenet5, lambda *args, **options: models.resnet(8, *args, width=4, **options)):
        first = build(10, 3, dtype=np.float64, rng=0)(images)
        np.testing.assert_allclose(build(10, 3, layout="NHWC", dtype=np.float64, rng=0)(last), first, atol=1e-12)


def test_fused_resnet_gives_the_same():
    net = models.resnet(14, width=8, rng=0)
    images = np.random.default_rng(0).standard_normal((8, 3, 32, 32)).astype(np.float32)
    net.forward(images)  # so that there are statistics to fold
    fused = net.fuse()
    np.testing.assert_allclose(fused(images), net(images), atol=1e-4)
    assert not any(isinstance(module, nn.BatchNorm2d) for module in fused.modules())


@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
def test_a_small_resnet_learns_digits(layout):
    (images, labels), (other_images, other_labels) = data.load_digits("train"), data.load_digits("test")
    if layout == "NHWC":
        images, other_images = (np.moveaxis(x, 1, -1) for x in (images, other_images))
    net = models.resnet(8, in_channels=1, width=8, layout=layout, rng=0)
    optimizer = optim.SGD(net.parameters(), 0.1, momentum=0.9, weight_decay=1e-4)
    train.fit(net, images, labels, epochs=3, optimizer=optimizer, progress=False)
    assert train.evaluate(net, other_images, other_labels)[1] > 0.95


@pytest.mark.parametrize(
    ("make", "error", "match"),
    [
        (lambda: models.resnet(21), ValueError, "depth must be 6 n \\+ 2"),
        (lambda: models.resnet(2), ValueError, "depth must be at least 8"),
        (lambda: models.resnet(20, width=0), ValueError, "width"),
        (lambda: models.resnet(20, num_classes=0), ValueError, "out_features"),
        (lambda: models.resnet(20, layout="NWC"), ValueError, "layout"),
        (lambda: models.lenet5(10, 0), ValueError, "in_channels"),
    ],
)
def test_bad_arguments(make, error, match):
    with pytest.raises(error, match=match):
        make()


def test_examples():
    result = doctest.testmod(models)
    assert result.attempted > 0
    assert result.failed == 0
