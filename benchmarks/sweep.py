"""How fast convc is over the whole range of shapes, as a heat map: a cliff is a spot much darker than those around it.

python -m benchmarks.sweep --threads 2 --layout NHWC
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

import numpy as np

import convc
from benchmarks.peak import Peak

CHANNELS = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256)
SIZES = (5, 7, 10, 14, 20, 28, 40, 56, 80, 112, 160, 224, 300)
KERNELS = (1, 2, 3, 5, 7, 11)
STRIDES = (1, 2, 3)
MOST_FLOPS = 2e9  # a convolution of more is left out, as is one whose kernel is larger than the image
SAMPLES = 3
SAMPLE_SECONDS = 0.004


def flops_of(channels: int, size: int, kernel: int, stride: int) -> float:
    """Floating-point operations of a layer with as many outputs as inputs, padded by half of the kernel."""
    out = (size + 2 * (kernel // 2) - kernel) // stride + 1
    return 2.0 * channels * channels * kernel * kernel * out * out


def shapes(stride: int, kernel: int) -> Iterator[tuple[int, int]]:
    """Positions in CHANNELS and SIZES of what is measured."""
    for row, channels in enumerate(CHANNELS):
        for column, size in enumerate(SIZES):
            if kernel <= size and flops_of(channels, size, kernel, stride) <= MOST_FLOPS:
                yield row, column


def rate(channels: int, size: int, kernel: int, stride: int, layout: str) -> float:
    """Operations a second of a prepared plan."""
    rng = np.random.default_rng(0)
    shape = (1, channels, size, size) if layout == "NCHW" else (1, size, size, channels)
    x = rng.standard_normal(shape, np.float32)
    weight = rng.standard_normal((channels, channels, kernel, kernel), np.float32)
    plan = convc.prepare(weight, None, shape, stride=stride, padding=kernel // 2, layout=layout)
    out = plan(x)
    start = perf_counter()
    plan(x, out)
    calls = max(1, int(SAMPLE_SECONDS / max(perf_counter() - start, 1e-7)))
    times = []
    for _ in range(SAMPLES):
        start = perf_counter()
        for _ in range(calls):
            plan(x, out)
        times.append((perf_counter() - start) / calls)
    return flops_of(channels, size, kernel, stride) / median(times)


def sweep(layout: str, peak: Callable[[], float], step: Callable[[], Any]) -> dict[tuple[int, int], np.ndarray]:
    """Shares of the peak, (channels, sizes) for each stride and kernel; NaN where nothing was measured."""
    maps = {}
    for stride in STRIDES:
        for kernel in KERNELS:
            found = np.full((len(CHANNELS), len(SIZES)), np.nan)
            most = peak()  # the clock of a machine drifts
            for row, column in shapes(stride, kernel):
                found[row, column] = rate(CHANNELS[row], SIZES[column], kernel, stride, layout) / most
                step()
            maps[stride, kernel] = found
    return maps


def draw(maps: dict[tuple[int, int], np.ndarray], title: str, path: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(len(STRIDES), len(KERNELS), figsize=(22, 13), layout="constrained")
    figure.suptitle(title, x=0.01, ha="left", fontsize=14, fontweight="bold")
    for axis, ((stride, kernel), found) in zip(axes.flat, maps.items(), strict=True):
        image = axis.imshow(100 * found, origin="lower", aspect="auto", cmap="magma", vmin=0, vmax=120)
        axis.set_title(f"{kernel} x {kernel}, stride {stride}", fontsize=11, loc="left")
        axis.set_xticks(range(len(SIZES)), SIZES, rotation=60, fontsize=8)
        axis.set_yticks(range(len(CHANNELS)), CHANNELS, fontsize=8)
        for (row, column), share in np.ndenumerate(found):
            if not np.isnan(share):
                ink = "black" if share > 0.7 else "white"
                axis.text(column, row, f"{100 * share:.0f}", ha="center", va="center", fontsize=6, color=ink)
    figure.supxlabel("height and width of the image")
    figure.supylabel("channels in and out")
    figure.colorbar(image, ax=axes, label="% of the FMA peak", shrink=0.5, extend="max", pad=0.01)
    figure.savefig(path, dpi=90)
    plt.close(figure)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.sweep", description=__doc__.partition("\n")[0])
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--layout", choices=["NCHW", "NHWC"], default="NCHW")
    parser.add_argument("--out", type=Path, default=Path(__file__).with_name("results"), help="folder of the results")
    options = parser.parse_args(arguments)
    try:
        import matplotlib  # noqa: F401
        from tqdm import tqdm
    except ImportError as problem:
        print(f"{problem}: pip install 'convc[bench]'", file=sys.stderr)
        return 1
    convc.set_num_threads(options.threads)
    total = sum(1 for stride in STRIDES for kernel in KERNELS for _ in shapes(stride, kernel))
    meter = Peak(options.threads)
    with tqdm(total=total, leave=False, dynamic_ncols=True, disable=None) as bar:
        maps = sweep(options.layout, lambda: meter.measure(0.05), bar.update)
    info = convc.cpu_info()
    title = f"convc on {info['cpu']} ({info['isa']}), {options.layout}, threads: {options.threads}, % of the FMA peak"
    options.out.mkdir(parents=True, exist_ok=True)
    path = options.out / f"sweep_{options.layout.lower()}.png"
    draw(maps, title, path)
    figures = {f"stride {s}, kernel {k}": np.round(found, 3).tolist() for (s, k), found in maps.items()}
    path.with_suffix(".json").write_text(json.dumps({"channels": CHANNELS, "sizes": SIZES, "maps": figures}))
    print(f"{path.name} and {path.with_suffix('.json').name} are in {options.out}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
