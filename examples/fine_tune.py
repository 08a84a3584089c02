"""
Fine-tuning: a network that knows some classes learns others sooner than one that knows nothing.

A network learns the digits 0 to 4, is saved and loaded again, gets a new last layer, and learns the digits 5 to 9. The
same network without that past is the comparison; given time, it arrives at the same place. Run it with
`python examples/fine_tune.py [--output FILE]`.
"""

import argparse

import numpy as np

from convc import data, nn, optim, train

EPOCHS = 4


def network(seed):
    """Features, and behind them the head: the last layer, which tells five classes apart."""
    rng = np.random.default_rng(seed)
    return nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1, rng=rng),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(16, 32, 3, padding=1, rng=rng),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(32 * 2 * 2, 5, rng=rng),
    )


def digits(split, low, high):
    """Images of the digits from low to high, and their labels, counted from 0."""
    images, labels = data.load_digits(split)
    chosen = (labels >= low) & (labels <= high)
    return images[chosen], labels[chosen] - low


def learn(net, low, high):
    """Train on the digits from low to high; the held-out accuracy before and after each epoch."""
    held_out = digits("test", low, high)
    before = train.evaluate(net, *held_out)[1]
    optimizer = optim.SGD(net.parameters(), lr=0.01, momentum=0.9)
    history = train.fit(
        net,
        *digits("train", low, high),
        epochs=EPOCHS,
        batch_size=16,
        optimizer=optimizer,
        validation=held_out,
        progress=False,
    )
    return [before, *history.val_accuracy]


def show(title, accuracies):
    print(f"{title:<34}" + "".join(f"{accuracy:8.1%}" for accuracy in accuracies))


def main():
    parser = argparse.ArgumentParser(description=__doc__.strip().splitlines()[0])
    parser.add_argument("--output", default="digits-0-to-4.safetensors", help="where the first network is saved")
    arguments = parser.parse_args()
    print(f"{'Held-out accuracy after epoch':<34}" + "".join(f"{epoch:>8}" for epoch in range(EPOCHS + 1)))

    net = network(seed=0)
    show("0 to 4, from scratch", learn(net, 0, 4))
    net.save(arguments.output)

    # The layers come back from the file with their weights. The scores of the old classes are of no use for the new
    # ones, so the head is replaced; the features before it, strokes and curves, are found in all digits.
    tuned = nn.load_model(arguments.output)
    tuned.layers[-1] = nn.Linear(32 * 2 * 2, 5, rng=1)
    show("5 to 9, fine-tuned from 0 to 4", learn(tuned, 5, 9))
    show("5 to 9, from scratch", learn(network(seed=2), 5, 9))
    print(f"Network: {arguments.output}")


if __name__ == "__main__":
    main()
