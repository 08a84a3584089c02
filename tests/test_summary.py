"""The table of a network: its numbers, its marks, its width, and its HTML."""

import math
import re
from html.parser import HTMLParser

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from convc import nn


def lenet(lib, **dtype):
    return lib.Sequential(
        lib.Conv2d(1, 6, 5, padding=2, **dtype),
        lib.ReLU(),
        lib.MaxPool2d(2),
        lib.Conv2d(6, 16, 5, **dtype),
        lib.ReLU(),
        lib.MaxPool2d(2),
        lib.Flatten(),
        lib.Linear(400, 120, **dtype),
        lib.ReLU(),
        lib.Linear(120, 84, **dtype),
        lib.ReLU(),
        lib.Linear(84, 10, **dtype),
    )


def test_summary_of_lenet():
    summary = lenet(nn).summary((1, 28, 28))
    by_name = {row.name: row for row in summary.rows}
    assert [by_name[name].parameters for name in ("0", "3", "7", "9", "11")] == [
        5 * 5 * 1 * 6 + 6,
        5 * 5 * 6 * 16 + 16,
        400 * 120 + 120,
        120 * 84 + 84,
        84 * 10 + 10,
    ]
    assert summary.parameters == 61706
    assert [by_name[name].output_shape for name in ("0", "2", "5", "6", "11")] == [
        (6, 28, 28),
        (6, 14, 14),
        (16, 5, 5),
        (400,),
        (10,),
    ]
    assert by_name["0"].macs == 28 * 28 * 6 * 25
    assert summary.macs == 28 * 28 * 6 * 25 + 10 * 10 * 16 * 6 * 25 + 400 * 120 + 120 * 84 + 840
    assert by_name["5"].receptive_field.size == (16, 16)
    assert by_name["5"].receptive_field.jump == (4, 4)
    assert by_name["7"].receptive_field is None
    table = str(summary)
    assert repr(summary) == table
    for piece in ("61,706", "16 x 5 x 5", "MaxPool2d 2x2", "receptive field", "416,520", "14 x 14"):
        assert piece in table
    assert max(map(len, table.splitlines())) <= 100


def test_parameter_count_is_pytorchs():
    torch = pytest.importorskip("torch")
    expected = sum(parameter.numel() for parameter in lenet(torch.nn).parameters())
    assert lenet(nn).summary((1, 28, 28)).parameters == expected


@pytest.mark.parametrize(
    ("shape", "error", "match"),
    [
        ((3, 28, 28), ValueError, "layer 0.*1 channels, got"),
        ((28, 28), ValueError, "layer 0.*3 axes"),
        ((1, 4, 4), ValueError, "layer 3.*kernel_size"),
        ((1, 32, 32), ValueError, "layer 7.*400 features"),
        ((1, 28, 0), ValueError, "input_shape"),
        (28, TypeError, "input_shape"),
    ],
)
def test_summary_names_the_layer_that_does_not_fit(shape, error, match):
    with pytest.raises(error, match=match):
        lenet(nn).summary(shape)


class Own(nn.Module):
    """A module of a user's own, which says nothing about itself."""

    def __init__(self, inner):
        self.inner = inner

    def forward(self, x):
        return self.inner.forward(x)


class Telling(Own):
    """One that does."""

    def macs(self, input_shape):
        return self.inner.macs(input_shape)

    def receptive_field(self, field):
        return self.inner.receptive_field(field)

    def unshared_parameters(self, input_shape):
        return self.inner.unshared_parameters(input_shape)


class Scale(nn.Module):
    """A parameter and no modules: it may be taken to see one position."""

    def __init__(self):
        self.scale = nn.Parameter(np.ones(1, np.float32))

    def forward(self, x):
        return x * self.scale.data, lambda grad: grad * self.scale.data


def line(summary, name, *columns):
    text = summary.table(*columns) if columns else str(summary)
    return next(line for line in text.splitlines() if line.split()[:1] == [name])


# ---- modules that it does not know


def test_nested_modules():
    inner = nn.Sequential(nn.Conv2d(2, 2, 3, padding=1), nn.ReLU())
    net = nn.Sequential(Own(inner), nn.Sequential(nn.MaxPool2d(2), nn.Flatten()))
    summary = net.summary((2, 4, 4))
    assert [row.name for row in summary.rows] == ["0", "1.0", "1.1"]
    assert summary.rows[0].parameters == 3 * 3 * 2 * 2 + 2
    assert summary.rows[0].output_shape == (2, 4, 4)
    assert summary.rows[-1].output_shape == (8,)


def test_what_a_module_does_not_say_is_a_question_mark():
    """A number would be wrong, for all layers behind it too, until one sees everything."""
    net = nn.Sequential(Own(nn.Conv2d(1, 2, 3)), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(18, 2))
    summary = net.summary((1, 8, 8))
    assert line(summary, "0").split()[-3:] == ["?", "?", "?"]
    assert line(summary, "1").split()[-3:] == ["?", "?", "0"]
    assert line(summary, "3").split()[-2:] == ["all", "36"]
    assert line(summary, "0", "parameters", "unshared").split()[-2:] == ["20", "?"]
    assert "? the module does not say" in str(summary)
    assert "?" not in summary.table("output", "parameters")
    assert summary.rows[0].unknown == ("receptive field", "jump", "start", "multiply-adds", "unshared")


def test_what_a_module_says_is_believed():
    summary = nn.Sequential(Telling(nn.Conv2d(1, 2, 3)), nn.MaxPool2d(2)).summary((1, 8, 8))
    assert "?" not in str(summary)
    assert summary.rows[1].receptive_field.size == (4, 4)
    assert summary.macs == 36 * 18
    scaled = nn.Sequential(Scale(), nn.Conv2d(1, 2, 3)).summary((1, 8, 8))
    assert scaled.rows[0].unknown == ("multiply-adds",)
    assert scaled.rows[1].receptive_field.size == (3, 3)


@pytest.mark.parametrize("error", [IndexError, KeyError, RuntimeError])
def test_a_module_that_fails_is_named(error):
    class Failing(nn.Module):
        def forward(self, x):
            raise error("of its own")

    with pytest.raises(ValueError, match=r"layer 1: .*of its own"):
        nn.Sequential(nn.ReLU(), Failing()).summary((1, 8, 8))
    with pytest.raises(ValueError, match=r"layer Failing: .*of its own"):
        Failing().summary((1, 8, 8))


def test_paths_that_do_not_say_how_far_they_look():
    """Then the place where they join does not know either."""
    silent = nn.Residual(Own(nn.Conv2d(1, 1, 3, padding=1)), shortcut=nn.Conv2d(1, 1, 1))
    summary = nn.Sequential(silent, nn.ReLU()).summary((1, 5, 5))
    assert [row.name for row in summary.rows] == ["0.body.0", "0.shortcut", "0", "1"]
    assert ["receptive field" in row.unknown for row in summary.rows] == [True, False, True, True]
    known = nn.Sequential(nn.Residual(nn.Conv2d(1, 1, 3, padding=1)), nn.ReLU()).summary((1, 5, 5))
    assert not any(row.unknown for row in known.rows)
    assert [row.unshared for row in known.rows] == [250, 0, 0]


def test_what_depends_on_the_size_is_a_question_mark():
    """Until a layer sees everything, and not where elements are repeated a whole number of times."""
    for vague in (nn.AdaptiveMaxPool2d((None, 2)), nn.Upsample(5), nn.Upsample(scale_factor=2, mode="bilinear")):
        paths = nn.Concat(nn.Sequential(), nn.Conv2d(1, 1, 1)), nn.Residual(nn.Conv2d(2, 2, 1))
        net = nn.Sequential(nn.Conv2d(1, 1, 3), vague, *paths, nn.GlobalAvgPool(), nn.Linear(2, 2))
        summary = net.summary((1, 6, 6))
        cells = {row.name: line(summary, row.name, "receptive field").split()[-1] for row in summary.rows}
        assert cells == {"0": "3", **dict.fromkeys(["1", "2.1", "2", "3.body.0", "3"], "?"), "4": "all", "5": "all"}
        assert all(row.receptive_field is None for row in summary.rows[1:])
        assert "? what Upsample and adaptive pools see depends on the size of their input" in str(summary)
        assert "? the module" not in str(summary)
    for whole in (nn.AdaptiveAvgPool2d(1), nn.AdaptiveAvgPool2d((1, 1))):
        assert line(nn.Sequential(whole).summary((1, 6, 6)), "0", "receptive field").split()[-1] == "all"
    beside = nn.Concat(nn.Upsample(3, mode="bilinear"), nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Upsample(3)))
    assert line(nn.Sequential(beside).summary((1, 6, 6)), "0", "receptive field").split()[-1] == "all"


def test_repeated_elements():
    """Measured on impulses: an output behind the layers sees what the table says."""
    net = nn.Sequential(nn.Upsample(scale_factor=2), nn.Conv1d(1, 1, 3, padding=1, bias=False, dtype=np.float64))
    net[1].weight.data[...] = 1
    field = net.summary((1, 8)).rows[-1].receptive_field
    assert (field.size, field.jump) == ((2,), (0.5,))
    seen = net(np.eye(8)[:, None])[:, 0]
    for place in range(1, 15):
        (first, end), *_ = field.window((place,))
        assert np.flatnonzero(seen[:, place]).tolist() == list(range(first, end))
    scaled = nn.Upsample(scale_factor=(2, 3), mode="nearest-exact").summary((1, 4, 4)).rows[0].receptive_field
    assert scaled.size == (1, 1)
    assert scaled.jump == (1 / 2, 1 / 3)


# ---- what floor drops


@pytest.mark.parametrize(
    ("layer", "shape", "dropped", "note"),
    [
        (nn.Conv2d(1, 1, 3, 2), (1, 9, 10), (0, 1), "0 (1 column)"),
        (nn.Conv2d(1, 1, 3, 4), (1, 9, 10), (2, 3), "0 (2 rows, 3 columns)"),
        (nn.Conv2d(1, 1, 3, 2, layout="NHWC"), (10, 9, 1), (1, 0), "0 (1 row)"),
        (nn.MaxPool1d(2), (1, 5), (1,), "0 (1 column)"),
        (nn.MaxPool3d(2), (1, 5, 4, 7), (1, 0, 1), "0 (1 plane, 1 column)"),
        (nn.MaxPool2d(2), (1, 8, 8), (0, 0), None),
        (nn.MaxPool2d(2, fit="ceil"), (1, 9, 9), (0, 0), None),
        (nn.Conv2d(1, 1, 3, 2, fit="exact"), (1, 9, 9), (0, 0), None),
    ],
)
def test_layers_that_drop_pixels_are_marked(layer, shape, dropped, note):
    summary = nn.Sequential(layer, nn.ReLU()).summary(shape)
    assert [row.dropped for row in summary.rows] == [dropped, ()]
    text = str(summary)
    if note is None:
        assert "*" not in text
        assert text.splitlines()[-1].split()[0] == "total"
    else:
        assert " * " in line(summary, "0")
        assert " * " not in line(summary, "1")
        assert text.splitlines()[-1] == f"* the stride does not fit: the end of the padded input is never read: {note}"


def test_exact_is_refused_in_the_summary_too():
    with pytest.raises(ValueError, match=r"layer 1: stride 2 does not fit .* 25 or 27, or a total padding of 1"):
        nn.Sequential(nn.Conv2d(1, 1, 3), nn.Conv2d(1, 1, 3, 2, fit="exact")).summary((1, 28, 29))


# ---- columns


def test_parameter_sharing():
    net = nn.Sequential(nn.Conv2d(3, 96, 11, stride=4), nn.ReLU(), nn.Flatten(), nn.Linear(96 * 55 * 55, 2))
    summary = net.summary((3, 227, 227))
    assert [(row.parameters, row.unshared) for row in summary.rows[:2]] == [(34_944, 105_705_600), (0, 0)]
    assert summary.rows[3].parameters == summary.rows[3].unshared
    chain = nn.Sequential(nn.MaxPool2d(2), nn.Conv2d(1, 2, 3))
    assert chain.unshared_parameters((1, 10, 8)) == chain.summary((1, 10, 8)).rows[1].unshared == 3 * 2 * 2 * 10
    table = summary.table("parameters", "unshared").splitlines()
    assert table[0].split() == ["layer", "parameters", "unshared"]
    assert table[-1].split() == ["total", f"{summary.parameters:,}", f"{105_705_600 + summary.rows[3].unshared:,}"]


def test_a_table_of_receptive_fields():
    windows = nn.Conv2d(1, 2, 3, padding=1), nn.MaxPool2d(2), nn.Conv2d(2, 2, (3, 1))
    net = nn.Sequential(*windows, nn.Flatten(), nn.Linear(6, 1))
    table = net.summary((1, 6, 6)).table("receptive field", "jump", "start").splitlines()
    assert [re.split("  +", row)[-3:] for row in table[3:6]] == [
        ["3 x 3", "1 x 1", "0, 0"],
        ["4 x 4", "2 x 2", "0.5, 0.5"],
        ["8 x 4", "2 x 2", "2.5, 0.5"],
    ]
    assert table[-1].split() == ["4", "Linear", "all"]  # nothing to add up


def test_columns_must_be_known():
    with pytest.raises(ValueError, match=r"'output', 'parameters', .*got 'flops'"):
        lenet(nn).summary((1, 28, 28)).table("flops")


# ---- width


@given(st.integers(1, 3), st.integers(1, 5), st.integers(1, 9), st.sampled_from([2, 30, 200]))
def test_no_line_is_longer_than_100(ndim, depth, nesting, channels):
    conv = (nn.Conv1d, nn.Conv2d, nn.Conv3d)[ndim - 1]
    layers = []
    for i in range(depth):
        layer = conv(1 if i == 0 else channels, channels, 2, 2)
        for _ in range(nesting):
            layer = nn.Sequential(layer)
        layers.append(layer)
    summary = nn.Sequential(*layers).summary((1, *(997,) * ndim))
    lines = str(summary).splitlines()
    assert max(map(len, lines)) <= 100
    assert len({math.prod(row.output_shape) for row in summary.rows}) == depth


def test_what_is_shortened_first():
    """Spaces within shapes, then the beginnings of names."""
    net = nn.Sequential(nn.Sequential(nn.Conv3d(1, 200, 2), nn.Conv3d(200, 200, 2)))
    spaced, tight = str(net.summary((1, 9, 9, 9))), str(net.summary((1, 997, 997, 997)))
    assert "200 x 8 x 8 x 8" in spaced
    assert "200x996x996x996" in tight
    assert "0.1  Conv3d 2x2x2  200x995x995x995" in tight
    for _ in range(20):
        net = nn.Sequential(net)
    assert re.search(r"^…[0.]+\.1  +Conv3d 2x2x2  200x995x995x995", str(net.summary((1, 997, 997, 997))), re.MULTILINE)


# ---- HTML


class Reader(HTMLParser):
    """The cells of each row; complains of tags that are not closed in order."""

    def __init__(self):
        super().__init__()
        self.open, self.rows, self.styles, self.text = [], [], [], ""

    def handle_starttag(self, tag, attributes):
        self.open.append(tag)
        if tag == "tr":
            self.rows.append([])
            self.styles.append([])
        elif tag in ("td", "th"):
            self.rows[-1].append("")
            self.styles[-1].append(dict(attributes)["style"])

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data
        if self.open and self.open[-1] in ("td", "th"):
            self.rows[-1][-1] += data


def read(summary):
    reader = Reader()
    reader.feed(summary._repr_html_())
    reader.close()
    assert not reader.open
    return reader


def test_html_says_what_the_text_says():
    summary = lenet(nn).summary((1, 29, 29))
    reader = read(summary)
    assert len(reader.rows) == len(summary.rows) + 3
    assert {len(row) for row in reader.rows} == {7}
    assert reader.rows[2] == ["0", "Conv2d 5x5", "6 x 29 x 29", "156", "5 x 5", "1 x 1", "126,150"]
    assert reader.rows[-1][3] == f"{summary.parameters:,}"
    assert reader.rows[4][1] == "MaxPool2d 2x2 *"
    assert "never read: 2 (1 row, 1 column)" in reader.text


def test_html_has_bars():
    reader = read(lenet(nn).summary((1, 28, 28)))
    parameters = [re.search(r"[\d.]+%", styles[3]) for styles in reader.styles]
    assert parameters[9].group() == "100.0%"  # the first fully connected layer has the most
    assert parameters[5].group() == f"{2416 / 48120:.1%}"
    assert parameters[0] is parameters[1] is parameters[3] is parameters[-1] is None


def test_html_of_nothing():
    assert len(read(nn.Sequential().summary((1, 2))).rows) == 3
    assert "%" not in nn.ReLU().summary((1, 2))._repr_html_()


def test_html_is_escaped():
    evil = type("<script>alert('&')</script>", (nn.ReLU,), {})
    html = nn.Sequential(evil()).summary((1, 2))._repr_html_()
    assert "<script" not in html
    assert "&lt;script&gt;alert(&#x27;&amp;&#x27;)&lt;/script&gt;" in html
