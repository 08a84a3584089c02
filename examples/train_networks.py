"""
LeNet-5 and a residual network read digits, and give PyTorch's scores if PyTorch is there to ask.

The digits have 8 x 8 pixels; enlarged to 32 x 32 they suit both networks of `convc.models`. Run it with
`python examples/train_networks.py [--output FILE]`.
"""

import argparse
import time

import numpy as np

import convc
from convc import data, models, nn, optim, plot, train


def enlarged(images):
    """8 x 8 to 32 x 32 pixels, interpolated."""
    return convc.interpolate(images, scale_factor=4, mode="bilinear")


def learn(name, net, learned, held_out):
    optimizer = optim.Adam(net.parameters(), 3e-3)
    start = time.perf_counter()
    history = train.fit(net, *learned, epochs=6, optimizer=optimizer, validation=held_out, progress=False)
    spent = time.perf_counter() - start
    count = sum(parameter.data.size for parameter in net.parameters())
    right = f"{history.val_accuracy[-1]:.1%} of the held-out digits right"
    print(f"{name}: {count:,} parameters, {right} after {spent:.1f} s")
    return history


def in_pytorch(torch, layer):
    """The same layers in PyTorch; those of one name take the same arguments."""
    if isinstance(layer, nn.Sequential):
        return torch.nn.Sequential(*(in_pytorch(torch, part) for part in layer))
    if isinstance(layer, nn.Residual):

        class Residual(torch.nn.Module):
            def __init__(self, body, shortcut):
                super().__init__()
                self.body, self.shortcut = body, shortcut

            def forward(self, x):
                return self.body(x) + (x if self.shortcut is None else self.shortcut(x))

        return Residual(*(part and in_pytorch(torch, part) for part in (layer.body, layer.shortcut)))
    ours = {"layout", "fit", "activation", "dtype"}  # arguments that PyTorch does not know
    options = {name: value for name, value in layer.config().items() if name not in ours}
    return getattr(torch.nn, type(layer).__name__)(**options)


def compare(name, net, images):
    """The largest difference of the scores; the weights go over by their names."""
    try:
        import torch
    except ImportError:
        print(f"{name}: PyTorch is not installed, so there is nothing to compare with")
        return
    theirs = in_pytorch(torch, net).eval()
    theirs.load_state_dict({key: torch.from_numpy(np.array(value)) for key, value in net.state_dict().items()})
    with torch.inference_mode():
        expected = theirs(torch.from_numpy(images)).numpy()
    print(f"{name}: scores differ from PyTorch's by at most {abs(net(images) - expected).max():.0e}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.strip().splitlines()[0])
    parser.add_argument("--output", default="networks.png", help="the file name of the residual network's curves")
    arguments = parser.parse_args()

    learned, held_out = (
        (enlarged(images), labels) for images, labels in (data.load_digits("train"), data.load_digits("test"))
    )
    lenet = models.lenet5(rng=0)
    learn("LeNet-5", lenet, learned, held_out)
    compare("LeNet-5", lenet, held_out[0])

    resnet = models.resnet(8, in_channels=1, width=8, rng=0)
    history = learn("ResNet-8", resnet, learned, held_out)
    compare("ResNet-8", resnet, held_out[0])

    # For use, the batch normalisations are folded into the convolutions before them.
    fused = resnet.fuse()
    print(f"Fused, ResNet-8 gives the same scores within {abs(fused(held_out[0]) - resnet(held_out[0])).max():.0e}")
    plot.training_curves(history).savefig(arguments.output)
    print(f"Curves: {arguments.output}")


if __name__ == "__main__":
    main()
