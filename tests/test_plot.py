"""The pictures: figures that render, without pyplot, and that show the numbers they were given."""

import io
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest

pytest.importorskip("matplotlib")
from convc import plot

HISTORY = SimpleNamespace(
    train_loss=[1.0, 0.3, 0.1], train_accuracy=[0.6, 0.9, 0.95], val_loss=[0.8, 0.3, 0.2], val_accuracy=[0.7, 0.9, 0.92]
)
NO_VALIDATION = SimpleNamespace(train_loss=[1.0], train_accuracy=[0.6], val_loss=[], val_accuracy=[])


def pixels(figure):
    """The rendered figure, (height, width, 4), uint8."""
    from matplotlib.image import imread

    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=60)
    buffer.seek(0)
    return imread(buffer)


def texts(figure):
    found = [text.get_text() for text in figure.texts]
    for axes in figure.axes:
        found += [text.get_text() for text in axes.texts]
        for inset in axes.child_axes:
            found.append(inset.get_xlabel())
    return found


def demo_figure(hardest=6, classes=10, **changes):
    rng = np.random.default_rng(0)
    arguments = {
        "history": HISTORY,
        "weight": rng.standard_normal((32, 1, 3, 3)),
        "image": rng.random((8, 8)),
        "maps": [rng.random((32, 8, 8)), rng.random((64, 4, 4))],
        "probabilities": np.eye(classes)[3],
        "hardest": [(rng.random((8, 8)), 3, i) for i in range(hardest)],
        "layers": ["FC"],
        "title": "Title",
        "subtitle": "Subtitle",
    }
    return plot.demo(**(arguments | changes))


def test_training_curves():
    figure = plot.training_curves(HISTORY)
    loss, accuracy = figure.axes
    lines = [line.get_ydata() for line in loss.lines if len(line.get_ydata()) == 3]
    assert sorted(map(list, lines)) == sorted([HISTORY.train_loss, HISTORY.val_loss])
    assert [line.get_xdata()[0] for line in loss.lines if len(line.get_xdata()) == 3] == [1, 1]
    assert {"held out 0.200", "training 0.100"} <= {text.get_text() for text in loss.texts}
    assert {"held out 0.920", "training 0.950"} <= {text.get_text() for text in accuracy.texts}
    assert pixels(figure).min() < 0.5


def test_training_curves_without_validation():
    figure = plot.training_curves(NO_VALIDATION)
    assert "training 1.000" in texts(figure)
    assert not any("held out" in text for text in texts(figure))
    pixels(figure)
    assert all(float(tick).is_integer() for tick in figure.axes[0].get_xticks())  # no half epochs


def test_training_that_ended_in_its_first_epoch():
    nothing = SimpleNamespace(train_loss=[], train_accuracy=[], val_loss=[], val_accuracy=[])
    pixels(plot.training_curves(nothing))
    pixels(demo_figure(history=nothing))


def test_loss_of_zero_and_nan():
    for value in (0.0, float("nan"), float("inf")):
        values = [value, value]
        pixels(
            plot.training_curves(
                SimpleNamespace(train_loss=values, train_accuracy=values, val_loss=[], val_accuracy=[])
            )
        )


@pytest.mark.parametrize("shape", [(1, 1, 3, 3), (32, 1, 3, 3), (13, 3, 5, 5), (8, 16, 3, 1), (64, 1, 30, 30)])
def test_filters_shows_every_weight(shape):
    weight = np.arange(np.prod(shape), dtype=float).reshape(shape)
    shown = np.unique(plot.filters(weight).axes[0].images[0].get_array())
    if shape[1] == 3:
        assert shown.min() >= 0
        assert shown.max() <= 1
    else:
        np.testing.assert_array_equal(shown[~np.isnan(shown)].compressed(), np.unique(weight))


def test_filters_are_white_at_zero():
    image = plot.filters(np.array([[[[-1.0, 0.0], [0.5, 0.25]]]])).axes[0].images[0]
    np.testing.assert_allclose(image.to_rgba(np.zeros((1, 1)))[0, 0, :3], 1, atol=0.05)
    assert image.get_clim() == (-1, 1)


def test_columns():
    narrow = plot.filters(np.ones((6, 1, 3, 3)), columns=1).axes[0].images[0].get_array()
    wide = plot.filters(np.ones((6, 1, 3, 3)), columns=100).axes[0].images[0].get_array()
    assert narrow.shape[0] > 5 * narrow.shape[1]
    assert wide.shape[1] > 5 * wide.shape[0]
    for draw, array in ((plot.filters, np.ones((6, 1, 3, 3))), (plot.activation_maps, np.ones((6, 3, 3)))):
        with pytest.raises(ValueError, match="columns"):
            draw(array, columns=0)


def test_activation_maps():
    maps = np.array([[[0.0, -1.0]], [[4.0, 9.0]]])
    shown = plot.activation_maps(maps).axes[0].images[0].get_array().compressed()
    assert set(np.unique(shown[~np.isnan(shown)])) == {0.0, 2.0, 3.0}  # roots; what is below zero is as dark as zero


@pytest.mark.parametrize(
    ("draw", "array", "name"),
    [
        (plot.filters, np.ones((3, 3)), "weight"),
        (plot.filters, np.ones((0, 1, 3, 3)), "weight"),
        (plot.activation_maps, np.ones((3, 3)), "maps"),
        (plot.activation_maps, np.ones((1, 3, 3, 3)), "maps"),
    ],
)
def test_wrong_shapes(draw, array, name):
    with pytest.raises(ValueError, match=f"{name} must be .* got shape"):
        draw(array)


@pytest.mark.parametrize("draw", [plot.filters, plot.activation_maps])
@pytest.mark.parametrize("value", [0.0, np.nan, np.inf])
def test_dull_and_broken_weights_still_render(draw, value):
    pixels(draw(np.full((4, 1, 3, 3) if draw is plot.filters else (4, 3, 3), value)))


@pytest.mark.parametrize("hardest", [0, 1, 4, 30])
def test_demo(hardest):
    figure = demo_figure(hardest)
    words = texts(figure)
    assert {"Title", "Subtitle", "100.0 %"} <= set(words)
    shown = [word for word in words if "\N{RIGHTWARDS ARROW}" in word]
    assert shown == [f"3 \N{RIGHTWARDS ARROW} {i}" for i in range(min(hardest, 6))]
    assert ("The hardest to read" in words) is (hardest > 0)
    assert pixels(figure).shape[1] > pixels(figure).shape[0]


def test_demo_shows_in_red_what_was_read_wrongly():
    labels = [inset.xaxis.label for axes in demo_figure(6).axes for inset in axes.child_axes]
    right = [label.get_color() for label in labels if label.get_text() == "3 \N{RIGHTWARDS ARROW} 3"]
    wrong = {label.get_color() for label in labels} - set(right)
    assert len(right) == len(wrong) == 1


@pytest.mark.parametrize("best", [0.1, 0.5, 0.51, 1.0])
def test_demo_text_does_not_collide(best):
    """No text overlaps other text or a panel that it does not belong to, and none leaves the picture."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    figure = demo_figure(
        6,
        layers=["CONV, RELU, POOL \N{RIGHTWARDS ARROW} 32 x 4 x 4"] * 2 + ["FC", "21,386 parameters"],
        probabilities=best * np.eye(10)[3],
    )
    renderer = FigureCanvasAgg(figure).get_renderer()
    figure.draw(renderer)
    owners = [(owner, text) for owner in (figure, *figure.axes) for text in owner.texts if text.get_text()]
    boxes = [(owner, text.get_window_extent(renderer)) for owner, text in owners]
    for axes in figure.axes:
        ticks = [tick.get_window_extent(renderer) for tick in axes.get_yticklabels()]
        boxes += [(axes, tick) for tick in ticks if axes.bbox.y0 <= tick.y0 + tick.height / 2 <= axes.bbox.y1]
    assert len(boxes) > 12
    for i, (owner, box) in enumerate(boxes):
        assert box.x0 >= 0
        assert box.y0 >= 0
        assert box.x1 <= figure.bbox.width
        assert box.y1 <= figure.bbox.height
        assert not any(box.overlaps(other) for _, other in boxes[:i])
        assert not any(box.overlaps(axes.get_window_extent(renderer)) for axes in figure.axes if axes is not owner)


def test_demo_needs_two_layers():
    with pytest.raises(ValueError, match="maps"):
        demo_figure(maps=[np.ones((3, 2, 2))])


def test_pyplot_is_not_touched_and_matplotlib_is_lazy():
    script = (
        "import sys; from convc import plot; import numpy as np; assert 'matplotlib' not in sys.modules;"
        "import io; plot.filters(np.ones((2, 1, 3, 3))).savefig(io.BytesIO());"
        "assert 'matplotlib.figure' in sys.modules and 'matplotlib.pyplot' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", script], check=True)


def test_without_matplotlib(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(ImportError, match=r"pip install convc\[plot\]"):
        plot.filters(np.ones((2, 1, 3, 3)))
