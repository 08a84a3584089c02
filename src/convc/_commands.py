"""What the commands of ``python -m convc`` do; their options are in ``__main__``."""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import os
import platform
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

import convc
from convc import _recipe, data, nn, train

Command = Callable[[argparse.Namespace], int]
DATASETS = ("digits", "mnist", "cifar10")

_DIGITS = tuple("0123456789")
_CLASSES = {"digits": _DIGITS, "mnist": _DIGITS, "cifar10": data.CIFAR10_CLASSES}
_SHAPES = {"digits": (1, 8, 8), "mnist": (1, 28, 28), "cifar10": (3, 32, 32)}
_EPOCHS = {"digits": 10, "mnist": 4, "cifar10": 10}
_LR = {"digits": 0.1, "mnist": 0.05, "cifar10": 0.05}
_SHOWN = 13  # a held-out digit that is easy to recognise: a five
_TIMES = "\N{MULTIPLICATION SIGN}"
_ARROW = "\N{RIGHTWARDS ARROW}"
_INTERRUPTED = 130  # what a shell reports for a program that Ctrl-C ended


class UserError(Exception):
    """Something that the user can put right; shown as one line without a traceback."""


@contextlib.contextmanager
def _for_the_user(*kinds: type[Exception]) -> Iterator[None]:
    """Errors of these kinds are the user's: a bad file, too little memory."""
    try:
        yield
    except OSError as error:
        if OSError not in kinds:
            raise
        known = error.filename is not None and error.strerror
        raise UserError(f"{os.fspath(error.filename)}: {error.strerror}" if known else str(error)) from error
    except kinds as error:
        raise UserError(" ".join(str(error).split())) from error


def info(arguments: argparse.Namespace) -> int:
    """What convc found and chose on this machine."""
    facts = convc.cpu_info()
    rows = (
        ("convc", facts["version"]),
        ("CPU", facts["cpu"]),
        ("ISA", f"{facts['isa']} (available: {', '.join(facts['available_isas'])})"),
        ("threads", facts["num_threads"]),
        ("Python", f"{platform.python_version()} {platform.python_implementation()} on {platform.platform()}"),
        ("NumPy", np.__version__),
    )
    print("\n".join(f"{name:<8} {value}" for name, value in rows))
    return 0


def demo(arguments: argparse.Namespace) -> int:
    """Learn the digits, say how well that went, draw what was learned."""
    _set_threads(arguments.threads)
    if _installed("matplotlib"):
        _check_picture(arguments.output)
    originals, held_out = data.load_digits("train"), data.load_digits("test")
    images, labels = _with_copies(originals, arguments.seed)
    net = _recipe.small_cnn(1, 8, seed=arguments.seed)
    facts = convc.cpu_info()
    print(f"convc {facts['version']}, {facts['isa']}, {_count(facts['num_threads'], 'thread')}\n")
    print(net.summary((1, 8, 8)))
    counts = f"{len(originals[1]):,} handwritten digits to learn, {len(labels):,} with moved and warped copies"
    print(f"\n{counts}; {len(held_out[1])} held out.")
    history = _recipe.fit(
        net, images, labels, held_out, epochs=arguments.epochs, seed=arguments.seed, progress=_progress(arguments)
    )
    _tell_time(history)
    scores = train.predict(net, held_out[0])
    _report(held_out[1], scores, _DIGITS)
    if _installed("matplotlib"):
        with _for_the_user(OSError):
            _demo_figure(net, history, len(originals[1]), held_out, scores).savefig(arguments.output)
        print(f"Picture: {os.path.abspath(arguments.output)}")
    else:
        print("Picture: none, for matplotlib is not installed (pip install matplotlib)")
    return _INTERRUPTED if history.interrupted else 0


def train_command(arguments: argparse.Namespace) -> int:
    """Train the small network on one of the data sets and save it."""
    _set_threads(arguments.threads)
    # An hour of training should not end in a file that cannot be written.
    if arguments.save:
        _require("safetensors")
        _check_writable(arguments.save)
    if arguments.plot:
        _require("matplotlib")
        _check_picture(arguments.plot)
    name = arguments.data
    held_out = _load(name, arguments.path, "test")
    images, labels = _load(name, arguments.path, "train")
    if name == "digits":
        images, labels = _with_copies((images, labels), arguments.seed)
    net = _recipe.small_cnn(*_SHAPES[name][:2], seed=arguments.seed)
    print(net.summary(_SHAPES[name]))
    print(f"\n{len(labels):,} images to learn, {len(held_out[1]):,} held out.")
    with _for_the_user(FloatingPointError, MemoryError):
        history = _recipe.fit(
            net,
            images,
            labels,
            held_out,
            epochs=arguments.epochs or _EPOCHS[name],
            batch_size=arguments.batch_size,
            lr=arguments.lr or _LR[name],
            seed=arguments.seed,
            progress=_progress(arguments),
        )
    _tell_time(history)
    if arguments.save:
        with _for_the_user(OSError):
            net.save(arguments.save)
        print(f"Model: {os.path.abspath(arguments.save)}")
    _report(held_out[1], train.predict(net, held_out[0]), _CLASSES[name])
    if arguments.plot:
        from convc import plot

        with _for_the_user(OSError):
            plot.training_curves(history).savefig(arguments.plot)
        print(f"Picture: {os.path.abspath(arguments.plot)}")
    return _INTERRUPTED if history.interrupted else 0


def predict(arguments: argparse.Namespace) -> int:
    """Use a saved network on the test part of a data set, or on images from a file."""
    if arguments.path and not arguments.data:
        raise UserError("--path goes with --data; --input names its file itself")
    _set_threads(arguments.threads)
    _require("safetensors")
    with _for_the_user(OSError, ValueError):
        net = _recipe.load(arguments.model)
    if arguments.data:
        images, labels = _load(arguments.data, arguments.path, "test")
        scores = _scores(arguments.model, net, images)
        if scores.shape[1] != len(_CLASSES[arguments.data]):
            raise UserError(f"{arguments.model} tells {scores.shape[1]} classes apart, not the 10 of {arguments.data}")
        _report(labels, scores, _CLASSES[arguments.data])
        return 0
    with _for_the_user(OSError, ValueError):
        images = _read_images(arguments.input, _channels(net))
    for i, probabilities in enumerate(convc.softmax(_scores(arguments.model, net, images)) if len(images) else ()):
        best = int(probabilities.argmax())
        print(f"{i}: {best} ({100 * probabilities[best]:.1f} %)")
    return 0


def _scores(model: str, net: nn.Module, images: np.ndarray) -> np.ndarray:
    """What the network says to the images, one row each, if it takes images of their size."""
    dtype = next((parameter.data.dtype for parameter in net.parameters()), images.dtype)
    try:
        scores = net.output_shape(images.shape[1:])
    except (ValueError, TypeError) as error:
        raise UserError(f"{model} does not take images of {_size(images.shape[1:])}: {error}") from error
    if len(scores) != 1:
        raise UserError(f"{model} is no classifier: its output is of shape {scores}")
    return train.predict(net, images.astype(dtype, copy=False))


def _channels(net: nn.Module) -> int:
    """How many channels the images for this network have."""
    return next((layer.in_channels for layer in net.modules() if isinstance(layer, nn.Conv2d)), 1)


def _load(name: str, path: str | None, split: data.Split) -> tuple[np.ndarray, np.ndarray]:
    if name == "digits":
        if path:
            raise UserError("the digits ship with convc, --path is for mnist and cifar10")
        return data.load_digits(split)
    if not path:
        raise UserError(f"--data {name} needs --path: nothing is downloaded")
    read = data.load_mnist if name == "mnist" else data.load_cifar10
    with _for_the_user(OSError, ValueError):
        return read(path, split)


def _with_copies(originals: tuple[np.ndarray, np.ndarray], seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Images and labels, and beside them copies: four moved by a pixel and four warped ones of each."""
    parts = originals, data.shifted_copies(*originals), data.warped_copies(*originals, seed=seed)
    images, labels = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
    return images, labels


def _read_images(path: str, channels: int) -> np.ndarray:
    """The images of a .npy or IDX file as float32 from 0 to 1, (n, channels, height, width)."""
    images = array = _read_array(path)
    if channels == 1 and array.ndim in (2, 3):
        images = images[..., np.newaxis, :, :]
    if images.ndim == 3:
        images = images[np.newaxis]
    if images.ndim != 4 or images.shape[1] != channels:
        raise ValueError(
            f"{path}: images of {_count(channels, 'channel')} expected, got an array of shape {array.shape}"
        )
    if images.dtype.kind not in "iuf":
        raise ValueError(f"{path}: whole numbers or fractions expected, got {array.dtype}")
    full = 1 if images.dtype.kind == "f" else 255
    if images.size and not (images.min() >= 0 and images.max() <= full):
        raise ValueError(f"{path}: pixels between 0 and {full} expected, got {images.min()} to {images.max()}")
    fractions: np.ndarray = np.divide(images, full).astype(np.float32)
    return fractions


def _read_array(path: str) -> np.ndarray:
    """The array of a .npy or IDX file."""
    with open(path, "rb") as file:
        head = file.read(6)
    if head.startswith((b"\0\0", b"\x1f\x8b")):
        return data.read_idx(path)
    if head != b"\x93NUMPY":
        raise ValueError(f"{path}: neither a .npy nor an IDX file")
    try:
        # Mapping the file makes NumPy compare the shape in the header with the size of the file.
        array: np.ndarray = np.load(path, mmap_mode="r", allow_pickle=False)
    except Exception as error:  # for a damaged header NumPy raises errors of many kinds
        raise ValueError(f"{path}: NumPy cannot read it: {error}") from error
    return array


def _tell_time(history: train.History) -> None:
    epochs = _count(len(history.train_loss), "epoch")
    print(f"\n{'Interrupted after' if history.interrupted else 'Trained for'} {epochs} in {history.seconds:.1f} s.")


def _report(labels: np.ndarray, scores: np.ndarray, classes: Sequence[str]) -> None:
    """Accuracy, and the classes taken for one another, the most frequent first."""
    predicted = scores.argmax(axis=1)
    right = int((predicted == labels).sum())
    print(f"Held-out accuracy: {100 * right / len(labels):.2f} % ({right:,} of {len(labels):,} right)")
    wrong = predicted != labels
    pairs = Counter(zip(labels[wrong].tolist(), predicted[wrong].tolist(), strict=True)).most_common(10)
    if pairs:
        print("Confused:")
        width = max(len(classes[label]) for (label, _), _ in pairs)
        for (label, prediction), count in pairs:
            print(f"  {classes[label]:>{width}} taken for {classes[prediction]:<{width}}  {_count(count, 'time')}")


def _demo_figure(
    net: nn.Sequential,
    history: train.History,
    learned: int,
    held_out: tuple[np.ndarray, np.ndarray],
    scores: np.ndarray,
) -> Any:
    """The picture of the demo: what was learned, and one digit on its way through the network."""
    from convc import plot

    images, labels = held_out
    predicted = scores.argmax(axis=1)
    right = int((predicted == labels).sum())
    hardest = np.argsort(-convc.cross_entropy(scores, labels, reduction="none"), kind="stable")[:6]
    one = images[_SHOWN : _SHOWN + 1]
    stage = f"CONV, RELU, POOL {_ARROW} "
    layers = [stage + _size(net[:end].output_shape((1, 8, 8)), _TIMES) for end in (3, 6)]
    parameters = sum(parameter.data.size for parameter in net.parameters())
    return plot.demo(
        history,
        net[0].weight.data,
        one[0, 0],
        [net[:2](one)[0], net[:5](one)[0]],
        convc.softmax(scores[_SHOWN]),
        [(images[i, 0], int(labels[i]), int(predicted[i])) for i in hardest],
        layers=[*layers, f"FC {_ARROW} 10", f"{parameters:,} parameters"],
        title="A convolutional network learns to read digits",
        subtitle=f"{learned:,} handwritten digits and altered copies, {_count(len(history.train_loss), 'epoch')} in "
        f"{history.seconds:.1f} s on {_count(convc.get_num_threads(), 'thread')}. "
        f"Of {len(labels)} digits that it never saw, it reads {right} correctly: {100 * right / len(labels):.1f} %.",
    )


def _set_threads(threads: int | None) -> None:
    if threads is not None:
        with _for_the_user(ValueError):
            convc.set_num_threads(threads)


def _installed(package: str) -> bool:
    return importlib.util.find_spec(package) is not None


def _progress(arguments: argparse.Namespace) -> bool:
    """Whether to show progress; without tqdm that is a line an epoch."""
    if not (arguments.no_progress or _installed("tqdm")):
        print("No progress bar, for tqdm is not installed (pip install tqdm).")
    return not arguments.no_progress


def _require(package: str) -> None:
    if not _installed(package):
        raise UserError(f"this needs {package}: pip install {package}")


def _check_writable(path: str) -> None:
    """A file can be made at this path, as far as one can tell without making it."""
    folder = os.path.dirname(os.path.abspath(path))
    if os.path.isdir(path) or not os.path.isdir(folder):
        raise UserError(f"cannot write {path}: {'it is' if os.path.isdir(path) else f'{folder} is not'} a directory")
    if not os.access(path if os.path.exists(path) else folder, os.W_OK):
        raise UserError(f"cannot write {path}: permission denied")


def _check_picture(path: str) -> None:
    from matplotlib.figure import Figure

    _check_writable(path)
    known = Figure().canvas.get_supported_filetypes()
    ending = os.path.splitext(path)[1].lower().lstrip(".")
    if ending not in known:
        raise UserError(f"cannot draw into {path}: the name must end in one of .{', .'.join(sorted(known))}")


def _count(number: int, thing: str) -> str:
    return f"{number:,} {thing}" + ("" if number == 1 else "s")


def _size(shape: Sequence[int], times: str = "x") -> str:
    return f" {times} ".join(str(size) for size in shape)
