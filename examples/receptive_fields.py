"""
Receptive fields: what an output can see of the input, and how much of that it really takes notice of.

Four 3 x 3 convolutions see 9 x 9 pixels, sixteen 33 x 33. But through deep stacks more paths lead to the middle than to
the border: the effective field grows with the root of the depth only. Dilation puts gaps between the weights of a
filter; with gaps that double from layer to layer, four layers see 31 x 31 pixels, and use them all.
Run it with `python examples/receptive_fields.py [--output FILE]`.
"""

import argparse

import numpy as np

from convc import nn, plot, shapes

SIDE, CHANNELS = 41, 16


def stack(dilations, seed=0):
    """One 3 x 3 convolution for each dilation, each followed by ReLU; padding keeps the size."""
    rng = np.random.default_rng(seed)
    layers = []
    for i, dilation in enumerate(dilations):
        channels = CHANNELS if i else 1
        layers += [nn.Conv2d(channels, CHANNELS, 3, padding=dilation, dilation=dilation, rng=rng), nn.ReLU()]
    return nn.Sequential(*layers)


def main():
    parser = argparse.ArgumentParser(description=__doc__.strip().splitlines()[0])
    parser.add_argument("--output", default="receptive-fields.png", help="the picture's file name")
    arguments = parser.parse_args()
    stacks = {"4 layers": (1,) * 4, "16 layers": (1,) * 16, "4 layers, dilated by 1, 2, 4, 8": (1, 2, 4, 8)}
    fields = {}
    for name, dilations in stacks.items():
        net = stack(dilations)
        # The sizes of the windows say how far an output can see: 2 * dilation pixels more after each layer.
        theory = shapes.receptive_field([(3, 1, dilation) for dilation in dilations])
        # What it really takes notice of is measured: gradients of the middle output for random inputs. A pixel counts
        # if its gradient is more than 4.55 % of the largest (Luo et al., 2016).
        field = shapes.effective_receptive_field(net, (1, SIDE, SIDE), samples=64, rng=0)
        assert field.theoretical.size == theory.size
        fields[name] = field
        print(
            f"{name}: {net.summary((1, SIDE, SIDE)).parameters:,} parameters, "
            f"sees {theory.size[0]} x {theory.size[1]} pixels, uses {field.size:.1f} x {field.size:.1f}"
        )
    plot.effective_receptive_field(fields).savefig(arguments.output)
    print(f"Picture: {arguments.output}")


if __name__ == "__main__":
    main()
