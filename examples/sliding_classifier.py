"""A classifier for 224 x 224 pixels slides over 384 x 384: one pass against 36 crops, and their times.

Run it with `python examples/sliding_classifier.py`.
"""

import time

import numpy as np

from convc import convert, nn

CROP, IMAGE, STRIDE = 224, 384, 32


def network(channels=(32, 64, 96), classes=100, dtype=np.float32):
    """
    AlexNet's layers in small, and without padding.

    The strides of 4, 2, 2 and 2 multiply to 32. Zeros at the borders of the crops, which the large image has not, would
    make the scores differ.
    """
    a, b, c = channels
    return nn.Sequential(
        nn.Conv2d(3, a, 11, stride=4, dtype=dtype, rng=0),
        nn.ReLU(),
        nn.MaxPool2d(3, stride=2),
        nn.Conv2d(a, b, 5, dtype=dtype, rng=1),
        nn.ReLU(),
        nn.MaxPool2d(3, stride=2),
        nn.Conv2d(b, c, 3, dtype=dtype, rng=2),
        nn.ReLU(),
        nn.Conv2d(c, c, 3, dtype=dtype, rng=3),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Dropout(0.5),
        nn.Linear(c * 3 * 3, 2 * classes, dtype=dtype, rng=4),
        nn.ReLU(),
        nn.Linear(2 * classes, classes, dtype=dtype, rng=5),
    )


def scores_of_crops(net, image):
    """(classes, 6, 6), one crop after another."""
    starts = range(0, IMAGE - CROP + 1, STRIDE)
    rows = [[net(image[..., top : top + CROP, left : left + CROP])[0] for left in starts] for top in starts]
    return np.moveaxis(np.array(rows), -1, 0)


def seconds(function, *arguments):
    """The least of three runs."""
    times = []
    for _ in range(3):
        start = time.perf_counter()
        function(*arguments)
        times.append(time.perf_counter() - start)
    return min(times)


def main():
    net = network()
    slides = convert.linear_to_conv(net, (3, CROP, CROP))
    image = np.random.default_rng(0).random((1, 3, IMAGE, IMAGE), np.float32)
    apart = np.abs(slides(image)[0] - scores_of_crops(net, image)).max()
    crops, once = seconds(scores_of_crops, net, image), seconds(slides, image)
    work = 36 * net.macs((3, CROP, CROP)) / slides.macs((3, IMAGE, IMAGE))
    print(f"36 crops  {1000 * crops:.1f} ms")
    print(f"one pass  {1000 * once:.1f} ms, {crops / once:.1f} times as fast; {work:.1f} times less to multiply")
    print(f"the scores differ by at most {apart:.0e}")


if __name__ == "__main__":
    main()
