"""Draws the pictures of the site."""

import contextlib
import io
import runpy
import shutil
import sys
from pathlib import Path

from convc import data, nn, optim, plot, train

ROOT = Path(__file__).resolve().parents[1]


def draw(folder: Path) -> None:
    """All of them, once: `make docs` starts with none."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("filter_photograph", "find_digits", "receptive_fields"):
        if not (folder / f"{name}.png").exists():
            run_example(name, folder / f"{name}.png")
    for name, figure in networks():
        figure.savefig(folder / f"{name}.png")
    for name in ("results", "sweep_nchw"):
        shutil.copy(ROOT / "benchmarks" / "results" / f"{name}.png", folder)


def run_example(name: str, picture: Path) -> None:
    arguments, sys.argv = sys.argv, [f"{name}.py", "--output", str(picture)]
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            runpy.run_path(str(ROOT / "examples" / f"{name}.py"), run_name="__main__")
    finally:
        sys.argv = arguments


def networks():
    """The network of the tutorial, and what it has learned."""
    net = nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1, rng=0),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(16, 32, 3, padding=1, rng=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(32 * 2 * 2, 10, rng=2),
    )
    optimizer = optim.SGD(net.parameters(), lr=0.05, momentum=0.9)
    options = {"epochs": 10, "optimizer": optimizer, "validation": data.load_digits("test"), "progress": False}
    history = train.fit(net, *data.load_digits("train"), **options)
    image = data.load_digits("test")[0][0]
    yield "curves", plot.training_curves(history)
    yield "filters", plot.filters(net[0])
    yield "feature_maps", plot.feature_maps(net, image)
    yield "saliency", plot.saliency(net, image)
    yield "architecture", plot.architecture(net, (1, 8, 8))
    yield "receptive_field", plot.receptive_field(net, (1, 8, 8))
