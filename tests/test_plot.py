"""The pictures: figures that render, without pyplot, and that show the numbers they were given."""

import doctest
import importlib
import io
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest

pytest.importorskip("matplotlib")
from convc import nn, plot, shapes

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


@pytest.mark.parametrize(
    "shape", [(1, 1, 3, 3), (32, 1, 3, 3), (13, 3, 5, 5), (8, 16, 3, 1), (64, 2, 3, 3), (64, 1, 30, 30)]
)
def test_filters_shows_every_weight(shape):
    weight = np.arange(np.prod(shape), dtype=float).reshape(shape)
    shown = np.unique(plot.filters(weight).axes[0].images[0].get_array())
    if shape[1] == 3:
        assert shown.min() >= 0
        assert shown.max() <= 1
    else:
        np.testing.assert_array_equal(shown[~np.isnan(shown)].compressed(), np.unique(weight))


@pytest.mark.parametrize("shape", [(64, 2, 3, 3), (40, 2, 5, 5), (64, 16, 5, 5), (256, 4, 3, 3)])
def test_filters_of_some_channels_make_no_tower(shape):
    width, height = plot.filters(np.ones(shape)).get_size_inches()
    assert 0.3 < height / width < 1.5


def test_filters_are_white_at_zero():
    image = plot.filters(np.array([[[[-1.0, 0.0], [0.5, 0.25]]]])).axes[0].images[0]
    np.testing.assert_allclose(image.to_rgba(np.zeros((1, 1)))[0, 0, :3], 1, atol=0.05)
    assert image.get_clim() == (-1, 1)


def test_filters_of_a_layer():
    layer = nn.Conv2d(2, 4, 3, layout="NHWC", rng=0)
    shown, expected = (plot.filters(of).axes[0].images[0].get_array() for of in (layer, layer.weight.data))
    np.testing.assert_array_equal(shown, expected)


@pytest.mark.parametrize(
    ("shape", "note"),
    [
        ((8, 1, 3, 3), "blue < 0 < red"),
        ((8, 3, 3, 3), "three channels as colours, grey at zero"),
        ((40, 2, 3, 3), "blue < 0 < red; input channels side by side"),
        ((4, 16, 3, 3), "blue < 0 < red; row = output, column = input channel"),
    ],
)
def test_filters_say_what_they_show(shape, note):
    figure = plot.filters(np.ones(shape))
    assert note in texts(figure)
    check_texts(figure)


def test_columns():
    narrow = plot.filters(np.ones((6, 1, 3, 3)), columns=1).axes[0].images[0].get_array()
    wide = plot.filters(np.ones((6, 1, 3, 3)), columns=100).axes[0].images[0].get_array()
    assert narrow.shape[0] > 5 * narrow.shape[1]
    assert wide.shape[1] > 5 * wide.shape[0]
    for draw, array in ((plot.filters, np.ones((6, 1, 3, 3))), (plot.activation_maps, np.ones((6, 3, 3)))):
        with pytest.raises(ValueError, match="columns"):
            draw(array, columns=0)


def test_activation_maps():
    maps = np.array([[[0.0, 1.0]], [[4.0, 9.0]]])
    figure = plot.activation_maps(maps)
    shown = figure.axes[0].images[0].get_array().compressed()
    assert set(np.unique(shown[~np.isnan(shown)])) == {0.0, 1.0, 2.0, 3.0}  # roots
    assert "blue < 0 < red" not in texts(figure)


def test_activation_maps_below_zero():
    figure = plot.activation_maps(np.array([[[0.0, -1.0]], [[4.0, -9.0]]]))
    image = figure.axes[0].images[0]
    shown = image.get_array().compressed()
    assert set(np.unique(shown[~np.isnan(shown)])) == {-3.0, -1.0, 0.0, 2.0}
    assert image.get_clim() == (-3, 3)
    red, _, blue, _ = image.to_rgba(np.array([[-2.0, 0.0, 2.0]]))[0].T
    assert blue[0] > red[0]
    assert red[1] == pytest.approx(blue[1], abs=0.01)
    assert red[2] > blue[2]
    assert "blue < 0 < red" in texts(figure)


def test_feature_maps_have_two_colours_only_where_there_are_two_signs():
    net = nn.Sequential(nn.Conv2d(1, 4, 3, rng=0), nn.Tanh(), nn.Conv2d(4, 4, 3, rng=1), nn.ReLU())
    figure = plot.feature_maps(net, IMAGE)
    signed, positive = (word for word in texts(figure) if word.startswith("4 maps of"))
    assert signed.endswith("; blue < 0 < red")
    assert "blue" not in positive
    check_texts(figure)


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


# ---- pictures of networks


def digit_net(layout="NCHW"):
    return nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1, layout=layout, rng=0),
        nn.ReLU(),
        nn.MaxPool2d(2, layout=layout),
        nn.Conv2d(4, 6, 3, layout=layout, rng=1),
        nn.ReLU(),
        nn.Flatten(),
        nn.Dropout(0.5, rng=2),
        nn.Linear(6 * 2 * 2, 5, rng=2),
    )


IMAGE = np.random.default_rng(0).random((1, 8, 8), np.float32)


def very_deep():
    return nn.Sequential(
        *[layer for i in range(60) for layer in (nn.Conv2d(3 if i == 0 else 8, 8, 3, padding=1), nn.ReLU())]
    )


NETS = {
    "digits": (digit_net(), (1, 8, 8)),
    "channels last": (digit_net("NHWC"), (8, 8, 1)),
    "nested": (nn.Sequential(nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU()), nn.MaxPool2d((2, 1))), (1, 9, 300)),
    "deep": (very_deep(), (3, 32, 32)),
    "signal": (
        nn.Sequential(nn.Conv1d(2, 16, 9, stride=4), nn.ReLU(), nn.Flatten(), nn.Linear(16 * 248, 5)),
        (2, 1000),
    ),
    "volume": (nn.Sequential(nn.Conv3d(1, 8, 3), nn.MaxPool3d((14, 1, 1)), nn.Flatten()), (1, 16, 32, 32)),
    "vector": (nn.Linear(4, 2), (4,)),
    "many parameters": (nn.Sequential(nn.Conv2d(512, 1024, 3, padding=1), nn.ReLU()), (512, 56, 56)),
    "residual": (nn.Sequential(nn.Conv2d(3, 8, 3), nn.Residual(nn.Conv2d(8, 8, 3, padding=1), nn.ReLU())), (3, 16, 16)),
    "nothing": (nn.Sequential(), (3, 4, 4)),
}


def check_texts(figure):
    """No text overlaps another or leaves the picture, not even with few dots an inch, which make letters wider."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    figure.set_dpi(80)
    renderer = FigureCanvasAgg(figure).get_renderer()
    figure.draw(renderer)
    found = [text for axes in figure.axes for text in axes.texts if text.get_text()]
    boxes = [text.get_window_extent(renderer) for text in found]
    for i, box in enumerate(boxes):
        assert box.x0 >= 0
        assert box.y0 >= 0
        assert box.x1 <= figure.bbox.width
        assert box.y1 <= figure.bbox.height
        assert not any(box.overlaps(other) for other in boxes[:i])


@pytest.mark.parametrize("name", NETS)
def test_architecture(name):
    """Every layer is named, the volumes stand below their boxes, and no text touches another or the border."""
    net, shape = NETS[name]
    figure = plot.architecture(net, shape)
    (axes,) = figure.axes
    words = [text.get_text() for text in axes.texts if text.get_text()]
    inner = [row.name for row in net.summary(shape).rows if ".body" not in row.name and ".shortcut" not in row.name]
    for layer in inner:
        assert sum(word.startswith(f"{layer} ".lstrip()) for word in words) >= 1
    volume = (shape[-1], *shape[:-1]) if name == "channels last" else shape
    assert " \N{MULTIPLICATION SIGN} ".join(map(str, volume)) in words
    check_texts(figure)


def test_architecture_draws_blocks_as_one_and_elementwise_layers_with_the_one_before():
    net, shape = NETS["residual"]
    words = texts(plot.architecture(net, shape, title="A block"))
    assert {"A block", "0 Conv2d 3 \N{MULTIPLICATION SIGN} 3", "1 Residual", "block of layers"} <= set(words)
    assert not any("body" in word for word in words)
    words = texts(plot.architecture(digit_net(), (1, 8, 8)))
    assert words.count("24") == 1  # Flatten and Dropout share a column
    assert {"5 Flatten", "6 Dropout", "2 MaxPool2d 2 \N{MULTIPLICATION SIGN} 2 / 2"} <= set(words)


def test_architecture_draws_all_convolutions_alike():
    for layer in (nn.Conv2d(1, 2, 3), nn.ConvTranspose2d(1, 2, 3), nn.LocallyConnected2d(1, 2, 8, 3)):
        words = texts(plot.architecture(nn.Sequential(layer, nn.MaxPool2d(2)), (1, 8, 8)))
        assert {"convolution", "pooling"} <= set(words)
        assert "other" not in words


def test_architecture_shows_sizes():
    """Twice the height is drawn as a root of two, in both layouts."""
    for layout, shape in (("NCHW", (1, 8, 8)), ("NHWC", (8, 8, 1))):
        (axes,) = plot.architecture(digit_net(layout), shape).axes
        fronts = [np.ptp(patch.get_xy()[:4], axis=0) for patch in axes.patches if len(patch.get_xy()) == 5][::3]
        heights = [front[1] for front in fronts]
        widths = [front[0] for front in fronts]
        assert heights[0] == pytest.approx(heights[1])
        assert heights[1] / heights[2] == pytest.approx(2**0.5)
        assert widths[1] / widths[0] == pytest.approx(2)  # four channels beside one


@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
def test_feature_maps(layout):
    net, image = digit_net(layout), IMAGE if layout == "NCHW" else np.moveaxis(IMAGE, 0, -1)
    figure = plot.feature_maps(net, image)
    times = " \N{MULTIPLICATION SIGN} "
    assert [word for word in texts(figure) if "Conv" in word or "Pool" in word] == [
        f"0 Conv2d 3{times}3, 1 ReLU",
        f"2 MaxPool2d 2{times}2 / 2",
        f"3 Conv2d 3{times}3, 4 ReLU",
    ]
    expected = net[:5](image[np.newaxis])
    shown = figure.axes[-1].images[0].get_array()
    found = np.unique(shown[~np.isnan(shown)])
    np.testing.assert_allclose(found, np.unique(np.sqrt(expected)), rtol=1e-6)
    assert f"6 maps of 2{times}2" in texts(figure)
    check_texts(figure)


def test_feature_maps_of_chosen_layers():
    figure = plot.feature_maps(digit_net(), IMAGE, layers=[0, "3"], channels=2)
    words = texts(figure)
    assert {"0 Conv2d 3 \N{MULTIPLICATION SIGN} 3", "3 Conv2d 3 \N{MULTIPLICATION SIGN} 3"} <= set(words)
    assert any(word.startswith("6 maps of") and word.endswith("the first 2 of them") for word in words)
    assert len(figure.axes) == 3
    for layers, message in ((["9"], "layers must be among 0, 1"), ([7], "layers must give maps, but 7 Linear gives 5")):
        with pytest.raises(ValueError, match=message):
            plot.feature_maps(digit_net(), IMAGE, layers=layers)
    with pytest.raises(ValueError, match="no layer of the network gives maps"):
        plot.feature_maps(nn.Flatten(), IMAGE)
    with pytest.raises(ValueError, match="channels must be at least 1"):
        plot.feature_maps(digit_net(), IMAGE, channels=0)


@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
def test_saliency(layout):
    net, image = digit_net(layout), IMAGE if layout == "NCHW" else np.moveaxis(IMAGE, 0, -1)
    figure = plot.saliency(net, image, target=3)
    assert "What the score of class 3 depends on" in texts(figure)
    gradient = nn.input_gradient(net, image[np.newaxis], 3)[0]
    shown = figure.axes[1].images[0].get_array()
    np.testing.assert_allclose(shown, np.abs(gradient).max(axis=0 if layout == "NCHW" else -1), rtol=1e-5)
    assert all(parameter.grad is None for parameter in net.parameters())
    best = int(net(image[np.newaxis]).argmax())
    assert f"What the score of class {best} depends on" in texts(plot.saliency(net, image))
    check_texts(figure)


@pytest.mark.parametrize("size", [(200, 5), (5, 200)])
def test_long_images(size):
    net = nn.Sequential(nn.Conv2d(3, 1, 5, padding=2), nn.ReLU(), nn.Flatten(), nn.Linear(1000, 3))
    image = np.random.default_rng(0).standard_normal((3, *size)).astype(np.float32)
    for figure in (
        plot.saliency(net, image),
        plot.feature_maps(net, image),
        plot.receptive_field(net, image.shape, image=image),
        plot.architecture(net, image.shape),
    ):
        check_texts(figure)
        assert max(figure.get_size_inches()) < 14


def windows(axes):
    """First and last position along each axis of every square but the border, the largest square first."""
    found = []
    for patch in axes.patches:
        (left, top), width, height = patch.get_xy(), patch.get_width(), patch.get_height()
        if not patch.get_fill():
            found.append(((top + 0.5, top + height + 0.5), (left + 0.5, left + width + 0.5)))
    return found[:-1]


def test_receptive_field():
    net = nn.Sequential(
        nn.Conv2d(1, 2, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(2, 2, 3), nn.Flatten(), nn.Linear(8, 2)
    )
    figure = plot.receptive_field(net, (1, 10, 10), position=(0, 1))
    assert windows(figure.axes[1]) == [((0, 8), (2, 10)), ((2, 6), (4, 8)), ((2, 5), (4, 7))]
    words = texts(figure)
    assert {"0 Conv2d 3 \N{MULTIPLICATION SIGN} 3", "8 \N{MULTIPLICATION SIGN} 8"} <= set(words)
    assert any("row 0, column 1 of 2 \N{MULTIPLICATION SIGN} 2" in word for word in words)
    pixels(figure)


def test_receptive_field_says_where_it_stops():
    layers = nn.Conv2d(1, 2, 3), nn.Upsample(scale_factor=2), nn.AvgPool2d(2), nn.AdaptiveAvgPool2d(3), nn.ReLU()
    figure = plot.receptive_field(nn.Sequential(*layers), (1, 10, 10))
    check_texts(figure)
    words = texts(figure)
    assert any("unknown from layer 3 on" in word for word in words)
    assert any("after 2 AvgPool2d" in word for word in words)
    assert not any("unknown" in word for word in texts(plot.receptive_field(nn.Sequential(*layers[:3]), (1, 10, 10))))


def test_receptive_field_is_where_gradients_arrive():
    """The square of an output in a padded, strided and dilated network holds all that its gradient reaches."""
    net = nn.Sequential(
        nn.Conv2d(1, 3, (3, 5), stride=(2, 1), padding=(1, 2), rng=0, dtype=np.float64),
        nn.Conv2d(3, 3, 3, dilation=(1, 2), padding=1, rng=1, dtype=np.float64),
    )
    y, backward = net.forward(np.ones((1, 1, 20, 14)))
    for at in ((4, 5), (0, 0), (9, 11)):
        grad = np.zeros_like(y)
        grad[0, :, at[0], at[1]] = 1
        rows, columns = np.nonzero(backward(grad)[0, 0])
        (window, _) = windows(plot.receptive_field(net, (1, 20, 14), position=at).axes[1])
        ends = ((rows.min(), rows.max() + 1), (columns.min(), columns.max() + 1))
        for (first, last), (start, end), size in zip(ends, window, (20, 14), strict=True):
            assert (first, last) == (max(start, 0), min(end, size))


@pytest.mark.parametrize("name", ["digits", "channels last", "nested", "deep", "residual"])
@pytest.mark.parametrize("with_image", [False, True])
def test_receptive_fields_of_all_kinds(name, with_image):
    net, shape = NETS[name]
    image = np.random.default_rng(0).random(shape, np.float32) if with_image else None
    figure = plot.receptive_field(net, shape, image=image)
    assert len(figure.axes[1].images) == with_image
    assert 0 < len(windows(figure.axes[1])) <= 12
    check_texts(figure)


@pytest.mark.parametrize("side", [8, 1000])
def test_squares_at_the_border_are_not_cut_off(side):
    net = nn.Sequential(nn.Conv2d(1, 1, 3), nn.Conv2d(1, 1, 3))
    axes = plot.receptive_field(net, (1, side, side), position=(0, side - 5)).axes[1]
    for square in axes.patches[:-1]:
        if not square.get_fill():
            box = square.get_window_extent()
            half = square.get_linewidth() / 2 * axes.figure.dpi / 72
            assert axes.bbox.x0 <= box.x0 - half
            assert box.x1 + half <= axes.bbox.x1
            assert axes.bbox.y0 <= box.y0 - half
            assert box.y1 + half <= axes.bbox.y1


def test_receptive_field_on_grey_pixels():
    grey = np.random.default_rng(0).integers(0, 256, (8, 8), np.uint8)
    shown = plot.receptive_field(digit_net(), (1, 8, 8), image=grey).axes[1].images[0].get_array()
    np.testing.assert_allclose(shown, grey / 255)


def effective(weights, theoretical=None):
    return shapes.EffectiveReceptiveField(weights, (4, 4), theoretical)


def test_effective_receptive_field():
    weights = np.random.default_rng(0).random((9, 9))
    field = effective(weights, shapes.receptive_field([(3, 1, 1, 1), (3, 1, 1, 1)]))
    figure = plot.effective_receptive_field({"one": field, "two": field, "three": field, "four": effective(weights)})
    assert [axes.texts[0].get_text() for axes in figure.axes] == ["one", "two", "three", "four"]
    np.testing.assert_array_equal(figure.axes[0].images[0].get_array(), weights)
    assert windows(figure.axes[0]) == [((2, 7), (2, 7))]
    assert windows(figure.axes[3]) == [((0, 9), (0, 9))]
    check_texts(figure)
    pixels(plot.effective_receptive_field(effective(np.zeros((3, 30)))))


# ---- what they refuse


@pytest.mark.parametrize(
    ("draw", "error", "message"),
    [
        (lambda: plot.filters(nn.Linear(2, 2)), TypeError, "weight must be an array or a Conv2d, got Linear"),
        (lambda: plot.architecture("net", (1, 8, 8)), TypeError, "net must be a Module, got str"),
        (lambda: plot.architecture(digit_net(), (3, 8, 8)), ValueError, "layer 0"),
        (lambda: plot.architecture(digit_net(), 8), TypeError, "input_shape"),
        (lambda: plot.architecture(digit_net(), (1, 0, 8)), ValueError, "input_shape"),
        (lambda: plot.feature_maps(digit_net(), [[1.0]]), TypeError, "image must be an array, got list"),
        (lambda: plot.feature_maps(digit_net(), np.ones((1, 8, 8))), TypeError, "image is float64, .* are float32"),
        (lambda: plot.feature_maps(digit_net(), IMAGE[0]), ValueError, "layer 0"),
        (lambda: plot.saliency("net", IMAGE), TypeError, "net must be a Module"),
        (lambda: plot.saliency(digit_net(), IMAGE.astype(np.uint8)), TypeError, "image is uint8"),
        (lambda: plot.saliency(digit_net(), IMAGE, target=5), ValueError, "target must be from 0 to 4"),
        (lambda: plot.saliency(digit_net(), IMAGE, target=1.5), TypeError, "target must be an integer"),
        (lambda: plot.saliency(digit_net()[:2], IMAGE), ValueError, "one row of scores"),
        (lambda: plot.saliency(nn.Linear(4, 2), np.ones(4, np.float32)), ValueError, "image must have a channel axis"),
        (lambda: plot.receptive_field(nn.Linear(4, 2), (4,)), ValueError, "input_shape must have channels, height and"),
        (lambda: plot.receptive_field(nn.Flatten(), (1, 8, 8)), ValueError, "net has no layer"),
        (lambda: plot.receptive_field(digit_net(), (1, 8, 8), (2, 0)), ValueError, "position must be a row and a col"),
        (lambda: plot.receptive_field(digit_net(), (1, 8, 8), (0, -1)), ValueError, "position must be at least 0"),
        (lambda: plot.receptive_field(digit_net(), (1, 8, 8), (0, 1, 2)), ValueError, "position must be"),
        (lambda: plot.receptive_field(digit_net(), (1, 8, 8), image=IMAGE[0, 1:]), ValueError, "image must be of 8"),
        (lambda: plot.effective_receptive_field({}), ValueError, "fields must hold at least one"),
        (lambda: plot.effective_receptive_field(np.ones((3, 3))), TypeError, "fields must be an EffectiveReceptive"),
        (lambda: plot.effective_receptive_field(effective(np.ones(3))), ValueError, "fields must have weights over"),
    ],
)
def test_bad_arguments(draw, error, message):
    with pytest.raises(error, match=message):
        draw()


@pytest.mark.parametrize("name", ["_architecture", "_filters", "_learning", "_receptive", "_saliency"])
def test_examples_in_the_docstrings(name):
    result = doctest.testmod(importlib.import_module(f"convc.plot.{name}"))
    assert result.attempted > 0
    assert result.failed == 0


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
    for draw in (lambda: plot.filters(np.ones((2, 1, 3, 3))), lambda: plot.feature_maps(digit_net(), IMAGE)):
        with pytest.raises(ImportError, match="pip install matplotlib"):
            draw()
