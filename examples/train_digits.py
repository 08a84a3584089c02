"""
A convolutional network learns to read digits: from the data to the accuracy, the curves and the filters.

It is LeNet in small, for images of 8 x 8 pixels: two times convolution, ReLU and pooling, then fully connected layers.
Run it with `python examples/train_digits.py [--epochs N] [--output FILE]`; the filters go to a file beside FILE.
"""

import argparse
from pathlib import Path

import numpy as np

from convc import data, nn, optim, plot, train


def network(seed=0):
    """1 x 8 x 8 pixels to ten scores; one random stream draws all initial weights."""
    rng = np.random.default_rng(seed)
    return nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1, rng=rng),  # 16 x 8 x 8
        nn.ReLU(),
        nn.MaxPool2d(2),  # 16 x 4 x 4
        nn.Conv2d(16, 32, 3, padding=1, rng=rng),  # 32 x 4 x 4
        nn.ReLU(),
        nn.MaxPool2d(2),  # 32 x 2 x 2
        nn.Flatten(),
        nn.Linear(32 * 2 * 2, 64, rng=rng),
        nn.ReLU(),
        nn.Dropout(0.3),  # against learning by heart: in training, 30 % of the numbers are set to zero
        nn.Linear(64, 10, rng=rng),
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__.strip().splitlines()[0])
    parser.add_argument("--epochs", type=int, default=15)
    parser.add_argument("--output", default="digits.png", help="the file name of the curves")
    arguments = parser.parse_args()

    # 1,438 digits to learn from and 359 that are never trained on, which tell how well it reads new ones.
    learned, held_out = data.load_digits("train"), data.load_digits("test")
    net = network()
    print(net.summary((1, 8, 8)))

    # Each step goes down the slope of the mean loss of 32 digits. Momentum keeps some of the last steps' direction.
    optimizer = optim.SGD(net.parameters(), lr=0.05, momentum=0.9, weight_decay=5e-4)
    history = train.fit(
        net, *learned, epochs=arguments.epochs, batch_size=32, optimizer=optimizer, validation=held_out, progress=False
    )

    images, labels = held_out
    predicted = train.predict(net, images).argmax(axis=1)
    print(f"\n{(predicted == labels).mean():.1%} of the {len(labels)} held-out digits are right.")
    for label, prediction in zip(labels[predicted != labels], predicted[predicted != labels], strict=True):
        print(f"  a {label} was taken for a {prediction}")

    output = Path(arguments.output)
    filters = output.with_stem(f"{output.stem}-filters")
    plot.training_curves(history).savefig(output)
    plot.filters(net[0].weight.data).savefig(filters)
    print(f"Pictures: {output}, {filters}")


if __name__ == "__main__":
    main()
