"""
Receptive fields: four 3 x 3 convolutions, plain and dilated, cost the same, but see 9 x 9 and 31 x 31 pixels.

Dilation puts gaps between the weights of a filter. With gaps that double from layer to layer, the field doubles too,
instead of growing by two pixels a layer. Run it with `python examples/receptive_fields.py [--output FILE]`.
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


def spread(weights):
    """How far from the middle the weight lies, root mean square, in pixels."""
    rows, columns = np.indices(weights.shape) - SIDE // 2
    return np.sqrt(np.average(rows**2 + columns**2, weights=weights))


def main():
    parser = argparse.ArgumentParser(description=__doc__.strip().splitlines()[0])
    parser.add_argument("--output", default="receptive-fields.png", help="the picture's file name")
    arguments = parser.parse_args()
    fields = {}
    for dilations in ((1, 1, 1, 1), (1, 2, 4, 8)):
        net = stack(dilations)
        # The sizes of the windows say how far an output can see: 2 * dilation pixels more after each layer.
        theory = shapes.receptive_field([(3, 1, dilation) for dilation in dilations])
        # What it really takes notice of is measured: gradients of the middle output for random inputs.
        field = shapes.effective_receptive_field(net, (1, SIDE, SIDE), samples=64, rng=0)
        assert field.theoretical.size == theory.size
        fields[f"Dilation {', '.join(map(str, dilations))}"] = field
        print(
            f"dilation {dilations}: {net.summary((1, SIDE, SIDE)).parameters:,} parameters, "
            f"sees {theory.size[0]} x {theory.size[1]}, mostly within {spread(field.weights):.1f} pixels of the middle"
        )
    plot.effective_receptive_field(fields).savefig(arguments.output)
    print(f"Picture: {arguments.output}")


if __name__ == "__main__":
    main()
