"""Training: mini-batches, progress, and an answer to Ctrl-C that never leaves a half-changed network."""

from __future__ import annotations

import contextlib
import math
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from types import FrameType
from typing import Any, Protocol

import numpy as np

from convc import shapes
from convc.loss import CrossEntropyLoss
from convc.nn import Module
from convc.optim import Adam, Optimizer

__all__ = ["History", "evaluate", "fit", "predict"]

Array = np.ndarray[Any, np.dtype[Any]]
Data = tuple[Array, Array]


class Loss(Protocol):
    """What a loss must do; `convc.loss.CrossEntropyLoss` is one. It is the mean over the samples of a batch."""

    def forward(self, logits: Array, target: Array) -> tuple[Any, Callable[[], Array]]: ...


@dataclass
class History:
    """
    What happened in training: one entry for each finished epoch.

    Attributes
    ----------
    train_loss, train_accuracy : list of float
        Means over the epoch's batches, each measured before its step. The accuracy is the share of right answers, and
        NaN where the targets are not classes.
    val_loss, val_accuracy : list of float
        On the validation data after the epoch; empty without them.
    seconds : float
        Duration of the training, validation included.
    interrupted : bool
        Whether Ctrl-C ended it.
    """

    train_loss: list[float] = field(default_factory=list)
    train_accuracy: list[float] = field(default_factory=list)
    val_loss: list[float] = field(default_factory=list)
    val_accuracy: list[float] = field(default_factory=list)
    seconds: float = 0.0
    interrupted: bool = False


Callback = Callable[[int, History], Any]


def fit(
    net: Module,
    x: Array,
    y: Array,
    *,
    epochs: int,
    batch_size: int = 64,
    optimizer: Optimizer | None = None,
    loss: Loss | None = None,
    validation: Data | None = None,
    seed: int | None = 0,
    progress: bool = True,
    callback: Callback | None = None,
) -> History:
    """
    Train a network on shuffled mini-batches.

    Ctrl-C ends the training early but in good order: the network is then as it was after the last whole step, and the
    history so far is returned with ``interrupted=True``.

    Parameters
    ----------
    net : Module
    x : ndarray, (n, ...)
        Inputs, of the dtype of the network's parameters.
    y : ndarray of integers, (n,)
        Classes, from 0.
    epochs : int
        How often to go through the data.
    batch_size : int
        Samples in a step; the last step of an epoch takes what is left.
    optimizer : Optimizer, optional
        ``Adam(net.parameters())`` if not given.
    loss : optional
        `convc.loss.CrossEntropyLoss` if not given. Any other may come with targets that are not classes.
    validation : (x, y), optional
        Data to measure loss and accuracy on after each epoch.
    seed : int or None
        Decides the order of the samples and what `Dropout` drops: the same network, data and seed give the same bits.
        None draws a seed.
    progress : bool
        Show a bar with loss and accuracy for each epoch on stderr, or a line where that is not a terminal or tqdm is
        not installed.
    callback : callable, optional
        ``callback(epoch, history)`` is called after each epoch, counted from 0; if it returns True, training ends.

    Returns
    -------
    History

    Raises
    ------
    ValueError, TypeError
        If arguments do not fit the network or each other; nothing has changed then.
    FloatingPointError
        If the loss is not finite; the network is as it was before that step.

    Examples
    --------
    >>> import numpy as np
    >>> from convc import nn, train
    >>> x = np.random.default_rng(0).random((200, 2), dtype=np.float32)
    >>> y = (x[:, 0] > x[:, 1]).astype(np.int64)
    >>> net = nn.Sequential(nn.Linear(2, 16, rng=0), nn.ReLU(), nn.Linear(16, 2, rng=1))
    >>> history = train.fit(net, x, y, epochs=30, batch_size=10, progress=False)
    >>> history.train_loss[-1] < history.train_loss[0]
    True
    """
    loss = CrossEntropyLoss() if loss is None else loss
    epochs, batch_size = shapes.integer(epochs, "epochs", 1), shapes.integer(batch_size, "batch_size", 1)
    x, y = _checked(net, x, y, loss, "")
    held_out = None if validation is None else _checked(net, *_pair(validation), loss, "validation ")
    optimizer = Adam(net.parameters()) if optimizer is None else optimizer
    if not hasattr(optimizer, "step") or isinstance(optimizer, type):
        got = f"the class {optimizer.__name__}" if isinstance(optimizer, type) else type(optimizer).__name__
        raise TypeError(f"optimizer must be an optimizer, such as optim.SGD(net.parameters(), lr=0.1), got {got}")
    order, dropout = np.random.SeedSequence(seed).spawn(2)
    rng = np.random.default_rng(order)
    net.seed(dropout)
    history = History()
    start = time.perf_counter()
    try:
        for epoch in range(epochs):
            with _bar(progress, f"Epoch {epoch + 1}/{epochs}", -(-len(x) // batch_size)) as bar:
                trained = _epoch(net, x, y, rng.permutation(len(x)), batch_size, optimizer, loss, bar, epoch)
                measured = held_out and evaluate(net, *held_out, loss=loss)
                bar.finish(*trained, *(measured or ()))
            _record(history, trained, measured)
            history.seconds = time.perf_counter() - start
            if callback is not None and callback(epoch, history):
                break
    except KeyboardInterrupt:
        history.interrupted = True
        history.seconds = time.perf_counter() - start
    finally:
        net.zero_grad()
    return history


def evaluate(
    net: Module, x: Array, y: Array, *, batch_size: int = 256, loss: Loss | None = None
) -> tuple[float, float]:
    """
    Loss and accuracy of a network on data.

    Parameters
    ----------
    net : Module
    x, y, loss
        As for `fit`.
    batch_size : int
        Samples to run at a time.

    Returns
    -------
    loss : float
    accuracy : float
        Share of right answers; NaN where the targets are not classes.

    Examples
    --------
    >>> import numpy as np
    >>> from convc import nn, train
    >>> net = nn.Flatten()  # its input is its answer
    >>> train.evaluate(net, np.eye(3) * 100, np.array([0, 1, 1]))[1]
    0.6666666666666666
    """
    loss = CrossEntropyLoss() if loss is None else loss
    batch_size = shapes.integer(batch_size, "batch_size", 1)
    x, y = _checked(net, x, y, loss, "")
    tally = _Tally()
    for start in range(0, len(x), batch_size):
        logits, target = net(x[start : start + batch_size]), y[start : start + batch_size]
        tally.add(loss.forward(logits, target)[0], logits, target)
    return tally.means()


def predict(net: Module, x: Array, *, batch_size: int = 256) -> Array:
    """
    Output of a network for many inputs, a batch at a time.

    Returns
    -------
    ndarray, (n, ...)
        For a classifier one row of scores a sample; ``argmax(axis=1)`` gives the classes.

    Examples
    --------
    >>> import numpy as np
    >>> from convc import nn, train
    >>> train.predict(nn.ReLU(), np.array([[-1.0], [2.0]]), batch_size=1)
    array([[0.],
           [2.]])
    """
    batch_size = shapes.integer(batch_size, "batch_size", 1)
    _check_input(net, x, "")
    first = net(x[:batch_size])
    if len(x) <= batch_size:
        return first
    result = np.empty((len(x), *first.shape[1:]), first.dtype)
    result[:batch_size] = first
    for start in range(batch_size, len(x), batch_size):
        result[start : start + batch_size] = net(x[start : start + batch_size])
    return result


class _Tally:
    """Running means of loss and accuracy over samples."""

    def __init__(self) -> None:
        self.count = 0
        self.loss = self.right = 0.0

    def add(self, loss: Any, logits: Array, target: Array) -> None:
        size = len(target)
        self.count += size
        self.loss += float(loss) * size
        is_classes = target.ndim == 1 and target.dtype.kind in "iu" and logits.ndim == 2
        self.right += int(np.count_nonzero(logits.argmax(axis=1) == target)) if is_classes else math.nan

    def means(self) -> tuple[float, float]:
        return self.loss / self.count, self.right / self.count


def _epoch(
    net: Module,
    x: Array,
    y: Array,
    order: Array,
    batch_size: int,
    optimizer: Optimizer,
    loss: Loss,
    bar: _Bar,
    epoch: int,
) -> tuple[float, float]:
    tally = _Tally()
    for start in range(0, len(order), batch_size):
        batch = order[start : start + batch_size]
        target = y[batch]
        net.zero_grad()
        with contextlib.ExitStack() as undo:
            # What the forward pass does to the buffers belongs to the step.
            undo.callback(_restore, [(buffer.data, buffer.data.copy()) for _, buffer in net.named_buffers()])
            logits, backward = net.forward_data(x[batch])
            value, loss_backward = loss.forward(logits, target)
            if not np.isfinite(value):
                raise FloatingPointError(
                    f"the loss is {value} in epoch {epoch + 1}, step {start // batch_size + 1}: a smaller learning "
                    f"rate than {optimizer.lr:g} may help, or the inputs hold numbers that are not finite"
                )
            backward(loss_backward())
            with _whole():
                optimizer.step()
                undo.pop_all()
        tally.add(value, logits, target)
        bar.show(*tally.means())
    return tally.means()


def _restore(copies: list[Data]) -> None:
    with _whole():
        for array, copy in copies:
            np.copyto(array, copy)


@contextlib.contextmanager
def _whole() -> Iterator[None]:
    """Ctrl-C waits until the end of the block. Only the main thread gets it, so that others need not wait."""
    handler = signal.getsignal(signal.SIGINT)
    if threading.current_thread() is not threading.main_thread() or not callable(handler):
        yield
        return
    received: list[tuple[int, FrameType | None]] = []
    signal.signal(signal.SIGINT, lambda number, frame: received.append((number, frame)))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, handler)
    if received:
        handler(*received[0])


def _pair(validation: Data) -> Data:
    try:
        x, y = validation
    except (TypeError, ValueError):
        raise TypeError(f"validation must be a pair (x, y), got {type(validation).__name__}") from None
    return x, y


def _check_input(net: Module, x: Array, what: str) -> None:
    if not isinstance(x, np.ndarray) or x.ndim == 0:
        raise TypeError(f"{what}x must be an array with one sample a row, got {type(x).__name__}")
    dtypes = {parameter.data.dtype for parameter in net.parameters()} or {x.dtype}
    if x.dtype not in dtypes:
        wanted = " or ".join(sorted(map(str, dtypes)))
        raise TypeError(f"{what}x is {x.dtype}, the parameters of the network are {wanted}: x.astype(np.{wanted})")


def _checked(net: Module, x: Array, y: Array, loss: Loss, what: str) -> Data:
    """x, and y as the loss wants it, if they go together and fit the network."""
    _check_input(net, x, what)
    if not isinstance(y, np.ndarray) or y.ndim == 0:
        raise TypeError(f"{what}y must be an array with one target a sample, got {type(y).__name__}")
    if len(x) != len(y) or len(x) == 0:
        raise ValueError(f"{what}x and y must hold equally many samples, at least one, got {len(x)} and {len(y)}")
    if not isinstance(loss, CrossEntropyLoss):
        return x, y
    if loss.reduction != "mean":
        raise ValueError(f"the loss must have reduction='mean', got {loss.reduction!r}")
    if y.ndim != 1 or y.dtype.kind not in "iu":
        one_hot = "; for one-hot rows, y.argmax(axis=1)" if y.ndim == 2 else ""
        raise TypeError(f"{what}y must be one-dimensional and hold integers, got {y.dtype} of shape {y.shape}{one_hot}")
    output = net(x[:1])
    if output.ndim != 2:
        raise ValueError(f"the network must give one row of scores a sample, got shape {output.shape} for one sample")
    low, high, classes = int(y.min()), int(y.max()), output.shape[1]
    if low < 0 or high >= classes:
        raise ValueError(f"{what}y must be from 0 to {classes - 1}, the classes of the network, got {low} to {high}")
    return x, y.astype(np.int64, copy=False)


def _record(history: History, trained: tuple[float, float], measured: tuple[float, float] | None) -> None:
    history.train_loss.append(trained[0])
    history.train_accuracy.append(trained[1])
    if measured:
        history.val_loss.append(measured[0])
        history.val_accuracy.append(measured[1])


class _Bar:
    """Progress of one epoch; this one shows nothing."""

    def __enter__(self) -> _Bar:
        return self

    def __exit__(self, *error: object) -> None:
        pass

    def show(self, loss: float, accuracy: float) -> None:
        """One step is done."""

    def finish(self, *means: float) -> None:
        """The epoch is done; `means` as `_postfix` takes them."""


class _Lines(_Bar):
    def __init__(self, title: str) -> None:
        self.title = title

    def finish(self, *means: float) -> None:
        print(f"{self.title}: {_postfix(*means)}", file=sys.stderr)


class _Tqdm(_Bar):
    def __init__(self, tqdm: Any, title: str, total: int) -> None:
        self.bar = tqdm(total=total, desc=title, unit="step", dynamic_ncols=True)

    def __exit__(self, *error: object) -> None:
        self.bar.close()

    def show(self, loss: float, accuracy: float) -> None:
        self.bar.set_postfix_str(_postfix(loss, accuracy), refresh=False)
        self.bar.update()

    def finish(self, *means: float) -> None:
        self.bar.set_postfix_str(_postfix(*means))


def _bar(progress: bool, title: str, total: int) -> _Bar:
    if not progress:
        return _Bar()
    if not sys.stderr.isatty() and "IPython" not in sys.modules:  # a bar would fill a log file with its past
        return _Lines(title)
    try:
        from tqdm import tqdm
    except ImportError:
        return _Lines(title)
    return _Tqdm(tqdm, title, total)


def _postfix(loss: float, accuracy: float, val_loss: float | None = None, val_accuracy: float | None = None) -> str:
    text = _pair_text(loss, accuracy)
    return text if val_loss is None else f"{text}, held out: {_pair_text(val_loss, val_accuracy)}"


def _pair_text(loss: float, accuracy: float | None) -> str:
    share = "" if accuracy is None or math.isnan(accuracy) else f", accuracy {100 * accuracy:.1f} %"
    return f"loss {loss:.4f}{share}"
