"""
Classical filters as convolutions: blur, sharpen, find edges, emboss a photograph, and draw a contact sheet of it.

A convolution can do all this with nine numbers chosen by hand; a network finds its numbers by itself. The photograph is
one of scikit-learn's. Run it with `python examples/filter_photograph.py [--photograph flower.jpg] [--output FILE]`.
"""

import argparse

import numpy as np
from matplotlib.figure import Figure
from sklearn.datasets import load_sample_image

import convc

BINOMIAL = np.array([1, 4, 6, 4, 1]) / 16  # nearly a Gaussian, and its weights add up to 1: brightness stays
BLUR = np.outer(BINOMIAL, BINOMIAL)
SHARPEN = np.array([[0, -1, 0], [-1, 5, -1], [0, -1, 0]])  # the pixel, and how it differs from its neighbours
SOBEL = np.array([[-1, 0, 1], [-2, 0, 2], [-1, 0, 1]]) / 4  # from left to right, smoothed from top to bottom
EMBOSS = np.array([[-2, -1, 0], [-1, 0, 1], [0, 1, 2]])  # the slope from the upper left to the lower right
# Image files hold their pixels as NHWC, so that nothing is transposed; zeros beyond the border would look like an edge.
OPTIONS = {"padding": "same", "layout": "NHWC", "pad_mode": "reflect"}


def filter_channels(image, kernel):
    """Each channel of an image (height, width, channels) convolved with the same kernel, by a depthwise convolution."""
    channels = image.shape[-1]
    weight = np.tile(kernel, (channels, 1, 1, 1)).astype(np.float32)  # (out channels, 1, height, width)
    return convc.conv2d(image[np.newaxis], weight, groups=channels, **OPTIONS)[0]


def filter_photograph(image):
    """The filtered images by name; `image` is (height, width, 3), float32 from 0 to 1."""
    blurred = image
    for _ in range(4):  # convolving again and again blurs further: variances add up
        blurred = filter_channels(blurred, BLUR)
    grey = image.mean(axis=-1, keepdims=True)
    # Two output channels from one input channel: both directions in one call.
    weight = np.stack([SOBEL, SOBEL.T])[:, np.newaxis].astype(np.float32)
    slopes = convc.conv2d(grey[np.newaxis], weight, **OPTIONS)[0]
    return {
        "The photograph": image,
        "Blurred (binomial 5 x 5, four times)": blurred,
        "Sharpened (3 x 3)": filter_channels(image, SHARPEN),
        "Vertical edges (Sobel)": 0.5 + slopes[..., :1],
        "Edges in any direction (Sobel, magnitude)": np.hypot(slopes[..., :1], slopes[..., 1:]),
        "Embossed (3 x 3)": 0.5 + filter_channels(grey, EMBOSS) / 2,
    }


def contact_sheet(images):
    """All images in one figure, three in a row."""
    figure = Figure(figsize=(13, 6.6), layout="constrained")
    for axes, (title, image) in zip(figure.subplots(2, 3).flat, images.items(), strict=True):
        axes.imshow(np.clip(image, 0, 1), cmap="gray", vmin=0, vmax=1)
        axes.set_title(title, loc="left", fontsize=11)
        axes.axis("off")
    return figure


def main():
    parser = argparse.ArgumentParser(description=__doc__.strip().splitlines()[0])
    parser.add_argument("--photograph", choices=["china.jpg", "flower.jpg"], default="china.jpg")
    parser.add_argument("--output", default="filtered.png", help="the picture's file name")
    arguments = parser.parse_args()
    image = np.float32(load_sample_image(arguments.photograph)) / 255
    images = filter_photograph(image)
    contact_sheet(images).savefig(arguments.output, dpi=110)
    for title, filtered in images.items():
        # What is left of the differences between neighbours: less after blurring, more after sharpening.
        contrast = np.abs(np.diff(filtered, axis=1)).mean()
        print(f"{title:<42} mean step between neighbours {contrast:.3f}")
    print(f"Picture: {arguments.output}")


if __name__ == "__main__":
    main()
