"""
A classifier of single digits slides over a page of them: fully connected layers become convolutions.

The network takes 8 x 8 pixels. As convolutions its last layers take images of any size, and give scores for each place:
those of the 8 x 8 crop there, all in one pass. Run it with `python examples/find_digits.py [--output FILE]`.
"""

import argparse

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

import convc
from convc import convert, data, nn, optim, train

SLOT, ROWS, COLUMNS = 12, 3, 9  # each digit lies somewhere in a square of its own
NOTHING = 10  # the eleventh class: no digit here, or not all of one


def network(seed=0):
    """Without padding, for the zeros around a crop are not there on a page."""
    rng = np.random.default_rng(seed)
    return nn.Sequential(
        nn.Conv2d(1, 16, 3, rng=rng),  # 16 x 6 x 6
        nn.ReLU(),
        nn.Conv2d(16, 32, 3, rng=rng),  # 32 x 4 x 4
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(32 * 4 * 4, 64, rng=rng),
        nn.ReLU(),
        nn.Linear(64, 11, rng=rng),
    )


def page(images, rng):
    """Some of the images on a page, (rows, columns); where they lie, and which they are."""
    chosen = rng.integers(len(images), size=(ROWS, COLUMNS))
    paper = np.zeros((ROWS * SLOT, COLUMNS * SLOT), np.float32)
    places = SLOT * np.indices((ROWS, COLUMNS)).transpose(1, 2, 0) + rng.integers(SLOT - 7, size=(ROWS, COLUMNS, 2))
    for (top, left), i in zip(places.reshape(-1, 2), chosen.ravel(), strict=True):
        paper[top : top + 8, left : left + 8] = images[i, 0]
    return paper, places.reshape(-1, 2), chosen.ravel()


def examples(images, labels, rng):
    """The digits, and four times as many crops of pages that are not exactly on a digit."""
    crops = []
    while len(crops) < 4 * len(images):
        paper, places, _ = page(images, rng)
        for corner in np.stack([rng.integers(size - 7, size=40) for size in paper.shape], axis=1):
            if np.abs(places - corner).max(axis=1).min() >= 1:
                crops.append(crop(paper, *corner))
    return np.concatenate([images, crops]), np.concatenate([labels, np.full(len(crops), NOTHING)])


def crop(paper, top, left):
    return paper[np.newaxis, top : top + 8, left : left + 8]


def find(certainty):
    """Where a digit is likelier than none, the most certain places first, and no second one within four pixels."""
    certainty = certainty.copy()
    while certainty.max() > 0.5:
        top, left = np.unravel_index(certainty.argmax(), certainty.shape)
        certainty[max(top - 4, 0) : top + 5, max(left - 4, 0) : left + 5] = 0
        yield top, left


def draw(paper, found, certainty):
    """The page with what was read on it, and how certain it is around each place that there is a digit."""
    figure = Figure(figsize=(10, 7.7), layout="constrained")
    above, below = figure.subplots(2, 1, sharex=True, sharey=True)
    height, width = paper.shape
    above.imshow(paper, cmap="gray_r")
    for (top, left), digit in found.items():
        above.add_patch(Rectangle((left - 0.5, top - 0.5), 8, 8, fill=False, edgecolor="#0b6fa4", linewidth=1.5))
        beside, align = (left + 8, "left") if left + 10 < width else (left - 1, "right")  # the side that has room
        above.text(beside, top + 1, digit, ha=align, color="#d55e00", fontsize=13, fontweight="bold")
    # A crop's score is shown in the crop's middle, 3.5 pixels from its corner.
    shown = below.imshow(certainty, cmap="cividis", vmin=0, vmax=1, extent=(3, width - 4, height - 4, 3))
    figure.colorbar(shown, ax=below, location="bottom", aspect=60, label="probability of a digit")
    below.set(xlim=(-0.5, width - 0.5), ylim=(height - 0.5, -0.5))
    above.set_title(f"What was read on a page of {height} x {width} pixels", loc="left", fontweight="bold")
    below.set_title("How certain there is a digit around each pixel", loc="left", fontweight="bold")
    for axes in (above, below):
        axes.set(xticks=[], yticks=[])
    return figure


def main():
    parser = argparse.ArgumentParser(description=__doc__.strip().splitlines()[0])
    parser.add_argument("--output", default="found-digits.png", help="the picture's file name")
    arguments = parser.parse_args()
    rng = np.random.default_rng(0)

    net = network()
    optimizer = optim.SGD(net.parameters(), lr=0.05, momentum=0.9)
    train.fit(net, *examples(*data.load_digits("train"), rng), epochs=10, optimizer=optimizer, progress=False)

    # The same weights in another shape: Linear(512, 64) becomes Conv2d(32, 64, kernel_size=4), and so on.
    slides = convert.linear_to_conv(net, (1, 8, 8))
    images, labels = data.load_digits("test")
    paper, places, chosen = page(images, rng)
    scores = slides(paper[np.newaxis, np.newaxis])[0]  # (11, rows - 7, columns - 7)

    crops = [crop(paper, top, left) for top in range(scores.shape[1]) for left in range(scores.shape[2])]
    one_by_one = train.predict(net, np.stack(crops)).T.reshape(scores.shape)
    saved = len(crops) * net.macs((1, 8, 8)) / slides.macs((1, *paper.shape))
    print(f"One pass gives the scores of {len(crops):,} crops for {saved:.1f} times fewer multiply-adds;")
    print(f"the largest difference from the crops one by one is {np.abs(scores - one_by_one).max():.0e}.")

    certainty = 1 - convc.softmax(scores, axis=0)[NOTHING]
    found = {place: int(scores[:NOTHING, *place].argmax()) for place in find(certainty)}
    right = 0
    for place, i in zip(places, chosen, strict=True):
        near = [digit for spot, digit in found.items() if np.abs(place - spot).max() <= 1]
        right += near == [labels[i]]
    print(f"{len(found)} digits found; {right} of the {len(places)} are read correctly, to the pixel or one beside it.")
    draw(paper, found, certainty).savefig(arguments.output, dpi=100)
    print(f"Picture: {arguments.output}")


if __name__ == "__main__":
    main()
