"""The examples, run as a reader runs them: each in a process of its own; what they print and draw is checked."""

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"
OF_OTHER_TESTS = {"sliding_classifier"}  # test_convert.py


def run(tmp_path, name, output, *options):
    """What the example prints; it must write its output file."""
    command = [sys.executable, EXAMPLES / f"{name}.py", "--output", tmp_path / output, *options]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert output in done.stdout
    assert (tmp_path / output).stat().st_size > 0
    return done.stdout


def picture(path):
    return pytest.importorskip("matplotlib.image").imread(path)[..., :3]


def percents(line):
    return [float(number) for number in re.findall(r"([\d.]+)%", line)]


def test_every_example_is_tested():
    tested = set(re.findall(r'run\(tmp_path, "(\w+)"', Path(__file__).read_text(encoding="utf-8")))
    assert {path.stem for path in EXAMPLES.glob("*.py")} == tested | OF_OTHER_TESTS


@pytest.mark.parametrize("photograph", ["china.jpg", "flower.jpg"])
def test_filter_photograph(tmp_path, photograph):
    pytest.importorskip("matplotlib")
    pytest.importorskip("sklearn")
    lines = run(tmp_path, "filter_photograph", "sheet.png", "--photograph", photograph).splitlines()
    original, blurred, sharpened = (float(line.split()[-1]) for line in lines[:3])
    assert 2 * blurred < original < sharpened / 2
    assert picture(tmp_path / "sheet.png").std() > 0.1


def test_filter_photograph_draws_no_border_around_a_plain_image(monkeypatch):
    pytest.importorskip("matplotlib")
    pytest.importorskip("sklearn")
    monkeypatch.syspath_prepend(EXAMPLES)
    from filter_photograph import filter_photograph

    for filtered in filter_photograph(np.full((20, 30, 3), 0.5, np.float32)).values():
        assert np.ptp(filtered) < 1e-6


def test_train_digits(tmp_path):
    pytest.importorskip("matplotlib")
    (line,) = [line for line in run(tmp_path, "train_digits", "curves.png").splitlines() if "held-out" in line]
    assert percents(line)[0] > 95
    for name in ("curves.png", "curves-filters.png"):
        assert picture(tmp_path / name).std() > 0.02


def test_train_networks(tmp_path):
    pytest.importorskip("matplotlib")
    lines = run(tmp_path, "train_networks", "networks.png").splitlines()
    for name in ("LeNet-5", "ResNet-8"):
        (learned,) = [line for line in lines if line.startswith(f"{name}:") and "right" in line]
        assert percents(learned)[0] > 90
        for line in lines:
            if line.startswith(f"{name}: scores differ"):
                assert float(line.split()[-1]) < 1e-3
    (fused,) = [line for line in lines if line.startswith("Fused")]
    assert float(fused.split()[-1]) < 1e-3


def test_receptive_fields(tmp_path):
    pytest.importorskip("matplotlib")
    lines = run(tmp_path, "receptive_fields", "fields.png").splitlines()[:3]
    few, many, dilated = [re.search(r"([\d,]+) parameters, sees (\d+) x .* uses ([\d.]+) x", line) for line in lines]
    assert [int(line[2]) for line in (few, many, dilated)] == [9, 33, 31]
    assert few[1] == dilated[1] != many[1]
    assert float(few[3]) > 8
    assert float(many[3]) < 0.7 * 33  # the deeper, the less of what it sees
    assert float(dilated[3]) > 0.9 * 31
    assert picture(tmp_path / "fields.png").std() > 0.02


def test_find_digits(tmp_path):
    pytest.importorskip("matplotlib")
    text = run(tmp_path, "find_digits", "page.png")
    assert float(re.search(r"difference .* is ([\d.e-]+)\.$", text, re.MULTILINE)[1]) < 1e-3
    right, total = re.search(r"(\d+) of the (\d+) are read correctly", text).groups()
    assert int(right) >= 0.85 * int(total)
    assert picture(tmp_path / "page.png").std() > 0.1


def test_fine_tune(tmp_path):
    pytest.importorskip("safetensors")
    lines = run(tmp_path, "fine_tune", "net.safetensors").splitlines()
    first, tuned, scratch = map(percents, lines[1:4])
    assert first[-1] > 90
    assert tuned[0] < 40  # the new head knows nothing yet
    assert tuned[1] > scratch[1] + 10
    assert tuned[-1] > 90
