"""The README is run: its Python in order, and its commands are looked up where they are defined."""

import re
import shlex
import tomllib
from pathlib import Path

import numpy as np
import pytest

from convc.__main__ import main

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def blocks(language):
    return [code for name, code in BLOCK.findall(README) if name == language]


def shell_lines():
    """The words of each command, without comments."""
    return [words for code in blocks("sh") for line in code.splitlines() if (words := shlex.split(line, comments=True))]


def test_every_block_has_a_language():
    assert README.count("```") == 2 * len(BLOCK.findall(README))
    assert {name for name, _ in BLOCK.findall(README)} == {"python", "sh"}


def test_python_runs(tmp_path, monkeypatch, capsys):
    """One namespace for all blocks, as for a reader who types them one after another."""
    pytest.importorskip("safetensors")
    pytest.importorskip("matplotlib")
    monkeypatch.chdir(tmp_path)
    namespace = {"__name__": "readme"}
    for code in blocks("python"):
        exec(compile(code, "README.md", "exec"), namespace)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "(1797, 2, 4, 4) float32"
    assert "True" in lines  # the saved network says what the original says
    assert namespace["edges"].shape == (64, 2, 8, 8)
    assert namespace["grad_x"].shape == (1797, 1, 8, 8)
    assert namespace["grad_weight"].shape == (2, 1, 3, 3)
    assert np.array_equal(namespace["grad_bias"], np.full(2, 1797 * 64, np.float32))
    assert namespace["history"].val_accuracy[-1] > 0.96


@pytest.mark.parametrize("title", ["Convolve an image", "Train on the digits"])
def test_ten_lines(title):
    """The first block of a section is as short as promised: ten lines, import lines aside."""
    section = README.split(f"## {title}\n")[1].split("\n## ")[0]
    code = next(code for name, code in BLOCK.findall(section) if name == "python")
    assert len([line for line in code.splitlines() if line and "import" not in line]) <= 10


def test_make_targets_exist():
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z]+):", makefile, re.MULTILINE))
    named = {words[1] for words in shell_lines() if words[0] == "make"} | set(re.findall(r"`make (\w+)`", README))
    assert {"demo", "test"} <= named
    assert named <= targets


def test_commands_exist(capsys):
    """Every sub-command and option that the README names is one that the parser knows."""
    commands = [words[3:] for words in shell_lines() if words[:3] == ["python", "-m", "convc"]]
    commands += [words[1:] for text in re.findall(r"`(convc [^`]+)`", README) if (words := shlex.split(text))]
    assert {words[0] for words in commands} >= {"info", "demo", "train", "predict"}
    for name, *arguments in commands:
        with pytest.raises(SystemExit) as end:
            main([name, "--help"])
        assert end.value.code == 0
        help_text = capsys.readouterr().out
        options = [word for word in arguments if word.startswith("--")]
        assert all(re.search(rf"{option}\b", help_text) for option in options), (name, options)


def test_extras_exist():
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["optional-dependencies"]
    named = {name for group in re.findall(r'"\.\[([\w,]+)\]"', README) for name in group.split(",")}
    assert named
    assert named <= set(extras)


def test_files_exist():
    links = [link for link in re.findall(r"\]\(([^)]+)\)", README) if "://" not in link]
    assert links
    assert [link for link in links if not (ROOT / link).exists()] == []


def test_environment_variables_exist():
    """What the README says the environment can set is read somewhere in the package."""
    files = [*(ROOT / "src/convc/c").glob("*.c"), *(ROOT / "src/convc").glob("*.py")]
    sources = "".join(path.read_text(encoding="utf-8") for path in files)
    named = set(re.findall(r"\b(?:CONVC|G?OMP)_[A-Z_]+\b", README))
    assert named
    assert [name for name in named if f'"{name}"' not in sources] == []
