"""What hypothesis draws: convolutions, pools and matrices of every form, over memory of every form."""

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import reference
from hypothesis import strategies as st

import convc

ISAS = convc.cpu_info()["available_isas"]
FIRST, LAST = ("NCW", "NCHW", "NCDHW"), ("NWC", "NHWC", "NDHWC")

# ---- memory ----


def spread(a):
    """Gaps between the elements, full of NaN."""
    wide = np.full([2 * n + 1 for n in a.shape], np.nan if a.dtype.kind == "f" else -1, a.dtype)
    view = wide[tuple(slice(1, None, 2) for _ in a.shape)]
    view[...] = a
    return view


def backwards(a):
    flip = (slice(None, None, -1),) * a.ndim
    return np.ascontiguousarray(a[flip])[flip]


def shuffled(a):
    """The axes in another order in memory."""
    order = np.roll(np.arange(a.ndim), 1)
    return np.ascontiguousarray(a.transpose(order)).transpose(np.argsort(order))


def inner(a):
    """A window of a larger array, as slicing gives."""
    wide = np.full([n + 3 for n in a.shape], np.nan if a.dtype.kind == "f" else -1, a.dtype)
    view = wide[tuple(slice(2, -1) for _ in a.shape)]
    view[...] = a
    return view


VIEWS = (np.ascontiguousarray, np.asfortranarray, spread, backwards, shuffled, inner)
views = st.sampled_from(VIEWS)
dtypes = st.sampled_from([np.float32, np.float64])
isas = st.sampled_from(ISAS)


def integers(rng, *shape, dtype=np.float64, limit=3):
    """Whole numbers whose sums of products stay below 2**24: any order of summation gives the same bits."""
    return rng.integers(-limit, limit + 1, shape).astype(dtype)


def channels_last(a):
    return np.moveaxis(a, 1, -1)


def channels_first(a):
    return np.moveaxis(a, -1, 1)


# ---- windows ----


@dataclass(frozen=True)
class Window:
    kernel: tuple[int, ...]
    stride: tuple[int, ...]
    padding: tuple[tuple[int, int], ...]
    dilation: tuple[int, ...]

    @property
    def spatial(self):
        return len(self.kernel)

    @property
    def geometry(self):
        """The arguments that the oracle wants, in its order."""
        return self.stride, self.padding, self.dilation

    @property
    def options(self):
        return {"stride": self.stride, "padding": self.padding, "dilation": self.dilation}


LONGEST = {1: 90, 2: 24, 3: 7}  # of a spatial axis: vectors are up to 16 wide, blocks 32


@st.composite
def windows(draw, spatial, pools=False, dilated=True, longest=LONGEST):
    """A window, and the size of an image that it fits."""
    kernel, stride, padding, dilation, size = [], [], [], [], []
    for _ in range(spatial):
        k, s = draw(st.integers(1, 5 if spatial < 3 else 3)), draw(st.integers(1, 4))
        d = draw(st.integers(1, 3)) if dilated else 1
        reach = d * (k - 1) + 1
        most = reach // 2 if pools else reach + 1
        before = draw(st.integers(0, most))
        after = before if pools else draw(st.integers(0, most))
        smallest = max(1, reach - before - after)
        kernel.append(k)
        stride.append(s)
        dilation.append(d)
        padding.append((before, after))
        size.append(draw(st.integers(smallest, smallest + longest[spatial])))
    return Window(tuple(kernel), tuple(stride), tuple(padding), tuple(dilation)), tuple(size)


# ---- convolutions ----


@dataclass(frozen=True)
class Convolution:
    x: np.ndarray = field(repr=False)  # channels first
    weight: np.ndarray = field(repr=False)
    bias: np.ndarray | None = field(repr=False)
    window: Window
    groups: int
    last: bool
    isa: str
    view: Any
    algorithm: str  # of those that sum products only: what they compute is exact on integers
    shapes: tuple = ()

    def __post_init__(self):
        object.__setattr__(self, "shapes", (self.x.shape, self.weight.shape, self.x.dtype.name))

    @property
    def spatial(self):
        return self.window.spatial

    @property
    def layout(self):
        return (LAST if self.last else FIRST)[self.spatial - 1]

    @property
    def options(self):
        return {
            **self.window.options,
            "groups": self.groups,
            "layout": self.layout,
            "algorithm": self.algorithm,
        }

    @property
    def geometry(self):
        return (*self.window.geometry, self.groups)

    @property
    def terms(self):
        """Products in a sum, and the bias."""
        return int(np.prod(self.weight.shape[1:])) + 1

    def laid_out(self, a):
        """A channels-first array as this convolution's layout and view want it."""
        return self.view(channels_last(a) if self.last else a)

    def first(self, a):
        return channels_first(a) if self.last else a

    def function(self, suffix=""):
        return getattr(convc, f"conv{self.spatial}d{suffix}")

    def with_arrays(self, **arrays):
        return replace(self, **arrays)


@st.composite
def convolutions(draw):
    window, size = draw(windows(draw(st.sampled_from([1, 2, 2, 2, 3]))))
    groups = draw(st.sampled_from([1, 1, 1, 2, 3, 17, 40]))
    ins, outs = draw(st.integers(1, 9 if groups < 17 else 2)), draw(st.integers(1, 40 if groups < 17 else 5))
    batch, dtype, rng = draw(st.integers(1, 3)), draw(dtypes), np.random.default_rng(draw(st.integers(0, 99)))
    return Convolution(
        x=integers(rng, batch, groups * ins, *size, dtype=dtype),
        weight=integers(rng, groups * outs, ins, *window.kernel, dtype=dtype),
        bias=integers(rng, groups * outs, dtype=dtype) if draw(st.booleans()) else None,
        window=window,
        groups=groups,
        last=draw(st.booleans()),
        isa=draw(isas),
        view=draw(views),
        algorithm=draw(st.sampled_from(["direct", "direct", "gemm"])),
    )


@dataclass(frozen=True)
class Local(Convolution):
    """Weights for every position, (positions, k, c, *kernel)."""

    @property
    def options(self):
        return {**self.window.options, "layout": self.layout}

    @property
    def geometry(self):
        return self.window.geometry

    @property
    def terms(self):
        return int(np.prod(self.weight.shape[2:])) + 1

    def function(self, suffix=""):
        return getattr(convc, f"locally_connected{self.spatial}d{suffix}")


@st.composite
def local_convolutions(draw):
    window, size = draw(windows(draw(st.sampled_from([1, 2, 2])), longest={1: 40, 2: 9}))
    positions = np.prod(reference.output_size(size, window.kernel, *window.geometry), dtype=int)
    ins, outs, batch = (
        draw(st.sampled_from([1, 2, 3, 17])),
        draw(st.integers(1, 20)),
        draw(st.sampled_from([1, 2, 7, 9])),
    )
    dtype, rng = draw(dtypes), np.random.default_rng(draw(st.integers(0, 99)))
    return Local(
        x=integers(rng, batch, ins, *size, dtype=dtype),
        weight=integers(rng, positions, outs, ins, *window.kernel, dtype=dtype),
        bias=integers(rng, positions, outs, dtype=dtype) if draw(st.booleans()) else None,
        window=window,
        groups=1,
        last=draw(st.booleans()),
        isa=draw(isas),
        view=draw(views),
        algorithm="direct",
    )


def torch_conv(torch, case, x, weight, bias=None):
    """The same in PyTorch, which knows no padding that differs before and after."""
    edges = [edge for pair in reversed(case.window.padding) for edge in pair]
    function = getattr(torch.nn.functional, f"conv{case.spatial}d")
    stride, _, dilation = case.window.geometry
    return function(torch.nn.functional.pad(x, edges), weight, bias, stride, 0, dilation, case.groups)


# ---- pools ----


@dataclass(frozen=True)
class Pool:
    x: np.ndarray = field(repr=False)  # channels first
    window: Window
    fit: str
    last: bool
    isa: str
    view: Any
    shape: tuple = ()

    def __post_init__(self):
        object.__setattr__(self, "shape", (self.x.shape, self.x.dtype.name))

    @property
    def layout(self):
        return (LAST if self.last else FIRST)[self.window.spatial - 1]

    @property
    def arguments(self):
        return {
            "kernel_size": self.window.kernel,
            "stride": self.window.stride,
            "padding": tuple(before for before, _ in self.window.padding),
            "dilation": self.window.dilation,
            "fit": self.fit,
            "layout": self.layout,
        }

    def laid_out(self, a):
        return self.view(channels_last(a) if self.last else a)

    def first(self, a):
        return channels_first(a) if self.last else a

    def function(self, suffix="", name="max_pool"):
        return getattr(convc, f"{name}{self.window.spatial}d{suffix}")


@st.composite
def pools(draw, dilated=True, fits=("floor", "ceil", "ceil alone")):
    window, size = draw(windows(draw(st.sampled_from([1, 2, 2, 2, 3])), pools=True, dilated=dilated))
    fit = draw(st.sampled_from(fits))
    if fit == "ceil alone":  # a single window, which sticks out by less than a stride
        fit, axes = "ceil", zip(window.kernel, window.stride, window.padding, window.dilation, strict=True)
        size = [max(1, d * (k - 1) + 1 - sum(pads) - draw(st.integers(0, s - 1))) for k, s, pads, d in axes]
    rng, dtype = np.random.default_rng(draw(st.integers(0, 99))), draw(dtypes)
    x = integers(rng, draw(st.integers(1, 2)), draw(st.sampled_from([1, 2, 5, 16, 37])), *size, dtype=dtype, limit=9)
    special = draw(st.sampled_from([None, None, np.nan, np.inf, -np.inf]))
    if special is not None:
        x[rng.random(x.shape) < draw(st.sampled_from([0.02, 0.5, 1.0]))] = special
    return Pool(x, window, fit, draw(st.booleans()), draw(isas), draw(views))
