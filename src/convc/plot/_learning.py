"""How a training went."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

from convc.plot._base import GRID, PALE, SOFT, STRONG, heading, new_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Curve = tuple[str, Sequence[float], str]  # name, values, colour


class History(Protocol):
    """What `convc.train.fit` returns, as far as it is drawn here."""

    train_loss: list[float]
    train_accuracy: list[float]
    val_loss: list[float]
    val_accuracy: list[float]


def training_curves(history: History) -> Figure:
    """
    Loss and accuracy after each epoch, for the training and, where there is one, the validation set.

    Parameters
    ----------
    history : convc.train.History

    Returns
    -------
    matplotlib.figure.Figure

    Examples
    --------
    >>> from types import SimpleNamespace
    >>> from convc import plot
    >>> history = SimpleNamespace(
    ...     train_loss=[1.2, 0.4], train_accuracy=[0.6, 0.9], val_loss=[0.9, 0.3], val_accuracy=[0.7, 0.92])
    >>> len(plot.training_curves(history).axes)
    2
    """
    figure = new_figure(9.6, 3.6)
    loss, accuracy = figure.subplots(1, 2)
    figure.subplots_adjust(left=0.06, right=0.87, top=0.82, bottom=0.14, wspace=0.6)
    draw_curves(loss, losses(history), "Loss", "mean cross-entropy", log=True)
    draw_curves(accuracy, accuracies(history), "Accuracy", "share of right answers")
    return figure


def losses(history: History) -> list[Curve]:
    return [("training", history.train_loss, PALE), ("held out", history.val_loss, STRONG)]


def accuracies(history: History) -> list[Curve]:
    return [("training", history.train_accuracy, PALE), ("held out", history.val_accuracy, STRONG)]


def draw_curves(axes: Axes, curves: Sequence[Curve], title: str, note: str, log: bool = False) -> None:
    """A line over the epochs for each curve that has values, named at its right end."""
    from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator

    if log and any(value > 0 for _, values, _ in curves for value in values):
        axes.set_yscale("log")
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.yaxis.set_minor_locator(NullLocator())
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=6, min_n_ticks=1))
    axes.set_xlabel("epoch", color=SOFT, fontsize=9)
    axes.tick_params(colors=SOFT, labelsize=9, length=0)
    axes.grid(axis="y", color=GRID, linewidth=0.8)
    axes.set_axisbelow(True)
    for side, spine in axes.spines.items():
        spine.set(visible=side == "bottom", color=GRID)
    heading(axes, title, note)
    curves = sorted((curve for curve in curves if len(curve[1])), key=lambda curve: curve[1][-1])
    for place, (name, values, colour) in enumerate(curves):
        axes.plot(range(1, len(values) + 1), values, color=colour, linewidth=2.2, solid_capstyle="round")
        axes.plot([len(values)], values[-1:], "o", color=colour, markersize=5)
        # The lower curve's name is moved down a little and the upper one's up, so that they cannot touch.
        shift = 12 * place - 6 if len(curves) > 1 else 0
        axes.annotate(
            f"{name} {values[-1]:.3f}", (len(values), values[-1]), xytext=(9, shift), textcoords="offset points",
            va="center", fontsize=9, color=colour, fontweight="bold",
        )  # fmt: skip
    axes.margins(y=0.09)
