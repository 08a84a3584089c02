"""The Python face: names, signatures and stubs, documentation, the installation."""

import ast
import doctest
import inspect
import os
import subprocess
import sys
from pathlib import Path

import pytest
from calls import FUNCTIONS, LAZY, STUB, WEIGHT, X

import convc
from convc import _core

# ---- names, signatures, documentation ----


def test_everything_public_is_there():
    assert set(FUNCTIONS) | {"Plan", "precision", "__version__"} | set(LAZY) == set(convc.__all__)
    assert set(convc.__all__) <= set(dir(convc))
    assert convc.__all__ == sorted(convc.__all__)


def test_signature_of_conv2d():
    assert str(inspect.signature(convc.conv2d)) == (
        "(x, weight, bias=None, stride=1, padding=0, dilation=1, groups=1, *, layout='NCHW', pad_mode='zeros', "
        "fit='floor', algorithm='auto', activation=None, out=None)"
    )


def stub_signatures():
    for node in ast.parse(STUB.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.FunctionDef):
            a = node.args
            plain = a.posonlyargs + a.args
            defaults = [None] * (len(plain) - len(a.defaults)) + a.defaults
            rows = [(p.arg, "plain", d) for p, d in zip(plain, defaults, strict=True)]
            rows += [(p.arg, "keyword", d) for p, d in zip(a.kwonlyargs, a.kw_defaults, strict=True)]
            yield node.name, [(arg, kind, d and ast.literal_eval(d)) for arg, kind, d in rows]


@pytest.mark.parametrize(("name", "typed"), list(stub_signatures()))
def test_stub_matches(name, typed):
    """An overload may leave out an argument with a default, or require it."""
    real = {p.name: p for p in inspect.signature(getattr(_core, name)).parameters.values()}
    assert [arg for arg in real if arg in {row[0] for row in typed}] == [row[0] for row in typed]
    for arg, parameter in real.items():
        assert arg in {row[0] for row in typed} or parameter.default is not parameter.empty
    for arg, kind, default in typed:
        assert (real[arg].kind == inspect.Parameter.KEYWORD_ONLY) == (kind == "keyword"), arg
        if default is not None:
            assert real[arg].default == default, arg


def test_stub_is_complete():
    typed = {name for name, _ in stub_signatures()}
    routines = {name for name, value in vars(_core).items() if inspect.isroutine(value) and not name.startswith("__")}
    assert routines - {name for name in routines if name.startswith("_") and name not in typed} == typed


@pytest.mark.parametrize("name", [*FUNCTIONS, "precision"])
def test_documentation(name):
    text = inspect.getdoc(getattr(convc, name))
    titles = ["Examples"]
    parameters = inspect.signature(getattr(convc, name)).parameters
    if parameters:
        titles += ["Parameters"]
    if parameters and name not in {"precision", "get_sources"}:
        titles += ["Raises"]
    for title in titles:
        assert f"\n{title}\n{'-' * len(title)}\n" in text
    for parameter in parameters:
        assert parameter in text
    for line in text.splitlines():
        assert len(line) <= 116


@pytest.mark.parametrize("name", [*FUNCTIONS, "precision"])
def test_examples(name):
    test = doctest.DocTestParser().get_doctest(inspect.getdoc(getattr(convc, name)), {}, name, None, 0)
    assert test.examples
    report = []
    assert doctest.DocTestRunner().run(test, out=report.append).failed == 0, "".join(report)


# ---- the installation ----


def test_import_is_lazy():
    code = (
        "import sys, convc; names = ('matplotlib', 'tqdm', 'safetensors', 'convc.nn', 'convc.train', 'subprocess'); "
        "print([name for name in names if name in sys.modules]); convc.nn; assert 'convc.nn' in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split("\n")[0] == "[]"


@pytest.mark.parametrize("name", [name for name in LAZY if name != "plot"])
def test_submodules(name):
    assert getattr(convc, name).__name__ == f"convc.{name}"


def test_unknown_attribute():
    with pytest.raises(AttributeError, match="module 'convc' has no attribute 'torch'"):
        _ = convc.torch


def test_installation():
    info = convc.cpu_info()
    assert set(info) == {"version", "cpu", "isa", "available_isas", "num_threads"}
    assert info["version"] == convc.__version__
    assert info["cpu"]
    assert info["isa"] in info["available_isas"]
    assert info["available_isas"][0] == "scalar"
    header = Path(convc.get_include(), "convc.h").read_text(encoding="utf-8")
    assert f'#define CONVC_VERSION "{convc.__version__}"' in header
    assert Path(convc.__file__).with_name("py.typed").exists()
    if not Path(convc.__file__).with_name("c").exists():
        with pytest.raises(FileNotFoundError, match="sdist"):
            convc.get_sources()
        return
    sources = convc.get_sources()
    assert all(os.path.isabs(path) and path.endswith(".c") and os.path.exists(path) for path in sources)
    assert {"conv.c", "isa_scalar.c"} <= {os.path.basename(path) for path in sources}


def test_precision():
    with convc.precision("exact"):
        assert convc.conv2d(X, WEIGHT, groups=2).shape == (2, 8, 4, 6)


def test_number_of_threads():
    before = convc.get_num_threads()
    try:
        convc.set_num_threads(3)
        assert convc.get_num_threads() == convc.cpu_info()["num_threads"] == 3
    finally:
        convc.set_num_threads(before)
