"""What is installed and shipped: imports, the header, sources that others compile, wheel and sdist, baseline code."""

import email
import fnmatch
import os
import platform
import re
import runpy
import shutil
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from pathlib import Path, PurePosixPath

import numpy as np
import pytest

import convc

ROOT = Path(__file__).resolve().parents[1]
EXAMPLE = ROOT / "examples" / "embedding"
CORE = ROOT / "src" / "convc" / "c"
EXTRAS = {"tqdm", "matplotlib", "safetensors", "scipy", "torch"}
C_COMPILER = shutil.which(os.environ.get("CC", "cc").split()[0])
CXX_COMPILER = shutil.which(os.environ.get("CXX", "c++").split()[0])
# A compiler that makes code for this machine; Windows builds with another one.
needs_compiler = pytest.mark.skipif(C_COMPILER is None or sys.platform == "win32", reason="no C compiler")
on_linux = pytest.mark.skipif(sys.platform != "linux", reason="the example's flags for OpenMP are those of Linux")
DISASSEMBLES = sys.platform == "linux" and platform.machine() == "x86_64" and shutil.which("objdump") is not None
needs_objdump = pytest.mark.skipif(not DISASSEMBLES, reason="x86-64 Linux with objdump only")
needs_checkout = pytest.mark.skipif(
    not Path(convc.__file__).is_relative_to(ROOT / "src"), reason="convc is not imported from a checkout"
)
# A sanitizer's run time is preloaded into every process of its build's tests: compilers would be checked with it.
plain = pytest.mark.skipif(os.environ.get("CONVC_SANITIZED") == "1", reason="about the package, not about this build")


def run(command, **options):
    """Stdout of a command that succeeds."""
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True, timeout=280, **options)
    assert done.returncode == 0, f"{done.args}\n{done.stdout}\n{done.stderr}"
    return done.stdout


# ---- import ----


def test_import_needs_numpy_and_the_standard_library_only():
    code = "import sys; before = set(sys.modules); import convc; print(*set(sys.modules) - before)"
    loaded = set(run([sys.executable, "-c", code]).split())
    packages = {name.partition(".")[0] for name in loaded}
    # Compiled packages bring along modules of Cython's own, such as _cython_3_1_2.
    foreign = {name for name in packages - sys.stdlib_module_names if not name.startswith(("_cython_", "cython_"))}
    assert foreign == {"convc", "numpy"}
    assert not loaded & {f"convc.{name}" for name in convc._LAZY}


def test_lazy_modules_work_without_extras():
    """All but the plots: these need matplotlib when they draw, and nothing before."""
    block = f"import sys; sys.modules.update(dict.fromkeys({sorted(EXTRAS)!r}))"  # None there makes an import fail
    code = f"{block}\nimport numpy as np\nfrom convc import convert, data, loss, nn, optim, plot, shapes, train\n"
    code += "net = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))\n"
    code += "print(train.fit(net, *data.load_digits('test'), epochs=1).train_loss)"
    assert run([sys.executable, "-c", code]).startswith("[")


# ---- the header and the sources ----


def test_include_has_the_header():
    header = Path(convc.get_include(), "convc.h").read_text(encoding="utf-8")
    assert f'#define CONVC_VERSION "{convc.__version__}"' in header
    assert "Python.h" not in header


@plain
@needs_compiler
@pytest.mark.parametrize("dialect", ["c11", "c++17"])
def test_header_compiles_alone(tmp_path, dialect):
    compiler, suffix = (CXX_COMPILER, ".cc") if dialect == "c++17" else (C_COMPILER, ".c")
    if compiler is None:
        pytest.skip("no C++ compiler")
    source = tmp_path / f"alone{suffix}"
    source.write_text('#include "convc.h"\n#include "convc.h"\nint main(void) { return convc_get_isa() == 0; }\n')
    warnings = ["-Wall", "-Wextra", "-Wpedantic", "-Wshadow", "-Werror"]
    run([compiler, f"-std={dialect}", *warnings, f"-I{convc.get_include()}", "-c", source, "-o", tmp_path / "alone.o"])


def test_header_and_pxd_declare_the_same():
    pattern = re.compile(r"\bconvc_\w+(?=\()")
    header = re.sub(r"/\*.*?\*/", "", Path(convc.get_include(), "convc.h").read_text(encoding="utf-8"), flags=re.DOTALL)
    pxd = Path(convc.__file__).with_name("capi.pxd").read_text(encoding="utf-8")
    declared = set(pattern.findall(pxd.partition("cdef extern")[2]))
    assert set(pattern.findall(header)) == declared
    constants = re.compile(r"\bCONVC_[A-Z0-9_]+")
    assert set(constants.findall(header)) - {"CONVC_H"} == set(constants.findall(pxd))


@plain
@needs_checkout
@needs_compiler
@on_linux
def test_embedding(tmp_path, monkeypatch):
    """The example: a C program of the core's sources and nothing else, here without optimisation to save time."""
    monkeypatch.syspath_prepend(str(EXAMPLE))
    import build_core

    flags = [flag for flag in build_core.FLAGS if flag != "-O3"] + ["-O0", "-Wall", "-Wextra", "-Werror"]
    build_core.build_program(EXAMPLE / "blur.c", tmp_path / "blur", flags)
    picture = np.zeros((1, 1, 6, 6), np.float32)
    picture[0, 0, 1, 1], picture[0, 0, 4, 3] = 1, 2
    expected = convc.conv2d(picture, np.ones((1, 1, 3, 3), np.float32), padding=1)[0, 0]
    for isa in convc.cpu_info()["available_isas"]:
        shown = run([tmp_path / "blur"], env={**os.environ, "CONVC_ISA": isa})
        assert np.array_equal(np.loadtxt(shown.splitlines(), dtype=np.float32), expected), isa


@needs_checkout
def test_example_has_the_flags_of_the_build(monkeypatch):
    monkeypatch.syspath_prepend(str(EXAMPLE))
    import build_core

    built = {name.removeprefix("convc_"): entry["cflags"] for name, entry in setup_libraries(monkeypatch)}
    assert all(flag in built["base"] for flag in build_core.FLAGS if flag not in ("-fPIC", "-fopenmp"))
    del built["base"]
    own = {isa: [flag for flag in flags if flag.startswith("-m")] for isa, flags in built.items()}
    assert own == build_core.kernels()


@plain
@needs_checkout
def test_cython_example_translates(tmp_path):
    """capi.pxd is enough for other Cython code."""
    main = pytest.importorskip("Cython.Compiler.Main")
    options = main.CompilationOptions(
        main.default_options,
        include_path=[str(Path(convc.__file__).parents[1])],
        output_file=str(tmp_path / "pyblur.c"),
    )
    result = main.compile(str(EXAMPLE / "pyblur.pyx"), options)
    assert result.num_errors == 0
    assert '#include "convc.h"' in (tmp_path / "pyblur.c").read_text(encoding="utf-8")


# ---- code for every x86-64 ----


def setup_libraries(monkeypatch):
    """The static libraries that setup.py builds."""
    setuptools, build = pytest.importorskip("setuptools"), pytest.importorskip("Cython.Build")
    caught = {}
    monkeypatch.setattr(setuptools, "setup", caught.update)
    monkeypatch.setattr(build, "cythonize", lambda modules, **_: modules)
    monkeypatch.chdir(ROOT)
    runpy.run_path("setup.py")
    return caught["libraries"]


def registers(objects):
    """The SIMD registers that compiled code uses, and the newest encoding: any v-prefixed instruction is AVX."""
    code = run(["objdump", "-d", "--no-show-raw-insn", *objects])
    assert ".text" in code
    instructions = re.findall(r"^\s*[0-9a-f]+:\s+(\S+)", code, re.MULTILINE)
    assert len(instructions) > 100
    used = set(re.findall(r"%([xyz]mm|k[0-7])", code))
    return {name[:3] if "mm" in name else "k" for name in used} | {"vex" for name in instructions if name[0] == "v"}


@plain
@needs_checkout
@needs_compiler
@needs_objdump
def test_plain_files_run_on_every_x86_64(tmp_path, monkeypatch):
    """What runs before and beside the chosen kernels is compiled without AVX."""
    entry = dict(setup_libraries(monkeypatch))["convc_base"]
    assert {Path(source).name for source in entry["sources"]} >= {"dispatch.c", "conv.c", "threads.c", "shape.c"}
    include = [f"-I{ROOT / folder}" for folder in entry["include_dirs"]]
    for source in entry["sources"]:
        run([C_COMPILER, *entry["cflags"], *include, "-c", source, "-o", tmp_path / f"{Path(source).stem}.o"], cwd=ROOT)
    assert registers(sorted(tmp_path.glob("*.o"))) <= {"xmm"}


# ---- wheel and sdist ----


LITTER = shutil.ignore_patterns(
    ".git", ".venv*", "build", "dist", "*.egg-info", "*.so", "*.o", "*.a", "__pycache__", ".*_cache", ".hypothesis"
)
WHEEL_HAS = [
    "convc/__init__.py",
    "convc/_core.pyi",
    "convc/_core.*",
    "convc/capi.pxd",
    "convc/datasets/NOTICE",
    "convc/datasets/digits.npz",
    "convc/include/convc.h",
    "convc/nn/__init__.py",
    "convc/py.typed",
    "convc-*.dist-info/licenses/LICENSE",
    "convc-*.dist-info/licenses/src/convc/datasets/NOTICE",
    "convc-*.dist-info/entry_points.txt",
]
SDIST_HAS = [
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "LICENSE",
    "Makefile",
    "README.md",
    "examples/embedding/blur.c",
    "examples/embedding/pyblur.pyx",
    "include/convc.h",
    "pyproject.toml",
    "setup.py",
    "src/convc/_core.pyx",
    "src/convc/capi.pxd",
    "src/convc/datasets/digits.npz",
    "tests/test_packaging.py",
]


@plain
@needs_checkout
@needs_compiler
@pytest.mark.slow
def test_distributions(tmp_path):
    """
    An sdist from the tree, a wheel from the sdist, a fresh interpreter that uses the wheel.

    Optimisation is off, for time; it changes neither the files nor the instruction sets that the compiler may use.
    """
    for package in ("build", "setuptools", "Cython"):
        pytest.importorskip(package)
    tree, out = tmp_path / "tree", tmp_path / "out"
    shutil.copytree(ROOT, tree, ignore=LITTER)
    build = [sys.executable, "-m", "build", "--no-isolation", "--outdir", out]
    run([*build, "--sdist", tree])
    (sdist,) = out.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        archive.extractall(tmp_path, filter="data")
    unpacked = tmp_path / sdist.name.removesuffix(".tar.gz")
    check_sdist({path.relative_to(unpacked).as_posix() for path in unpacked.rglob("*") if path.is_file()})

    run([*build, "--wheel", unpacked], env={**os.environ, "CONVC_CFLAGS": "-O0"})
    (wheel,) = out.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        check_wheel(archive.namelist())
        metadata = next(name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        check_metadata(email.message_from_bytes(archive.read(metadata)))
        archive.extractall(tmp_path / "site")
    check_installed(tmp_path / "site")
    if DISASSEMBLES:
        check_archives(
            {path.stem.removeprefix("libconvc_"): path for path in (unpacked / "build").rglob("libconvc_*.a")}
        )


def check_sdist(names):
    assert [name for name in SDIST_HAS if name not in names] == []
    for folder, pattern in ((CORE, "**/*.[ch]"), (ROOT / "tests", "*.py"), (ROOT / "include", "*.h")):
        missing = {path.relative_to(ROOT).as_posix() for path in folder.glob(pattern)} - names
        assert not missing
    unwanted = ("*.so", "*.o", "*.a", "*.pyc", "src/convc/*.c", "*_cache/*", "build/*")
    assert [name for name in names if any(PurePosixPath(name).match(pattern) for pattern in unwanted)] == []


def check_wheel(names):
    assert [pattern for pattern in WHEEL_HAS if not fnmatch.filter(names, pattern)] == []
    assert {name.partition("/")[0] for name in names} <= {"convc", f"convc-{convc.__version__}.dist-info"}
    unwanted = ("*.c", "*.pyx", "*.pxi", "test*.py", "tests/*", "*.o", "*.a", "*.npy", "*.pyc", "convc/c/*")
    assert [name for name in names if any(PurePosixPath(name).match(pattern) for pattern in unwanted)] == []
    assert fnmatch.filter(names, "*.h") == ["convc/include/convc.h"]
    modules = {path.relative_to(ROOT / "src").as_posix() for path in (ROOT / "src" / "convc").rglob("*.py")}
    assert {name for name in names if name.endswith(".py")} == modules


def check_metadata(metadata):
    assert metadata["Name"] == "convc"
    assert metadata["Version"] == convc.__version__
    assert metadata["License-Expression"] == "BSD-3-Clause"
    assert sorted(metadata.get_all("License-File")) == ["LICENSE", "src/convc/datasets/NOTICE"]
    assert metadata["Requires-Python"] == ">=3.11"
    assert metadata["Summary"]
    assert metadata["Description-Content-Type"] == "text/markdown"
    assert metadata.get_payload().startswith("# convc")
    assert {"train", "plot", "convert", "examples", "test", "bench"} <= set(metadata.get_all("Provides-Extra"))
    required = [line for line in metadata.get_all("Requires-Dist") if "extra ==" not in line]
    assert len(required) == 1
    assert re.match(r"numpy\b", required[0])


def check_installed(site):
    """The wheel's own files compute, find their header, and say that they have no sources."""
    code = (
        "import numpy as np, convc, os, pathlib\n"
        "print(convc.conv2d(np.ones((1, 1, 3, 3)), np.ones((1, 1, 3, 3))).item())\n"
        "print(os.path.relpath(convc.get_include(), os.path.dirname(convc.__file__)))\n"
        "print(pathlib.Path(convc.__file__).parents[1])\n"
        "print(len(convc.data.load_digits()[1]))\n"
        "try:\n    convc.get_sources()\nexcept FileNotFoundError as error:\n    print('sdist' in str(error))\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(site), "PYTHONNOUSERSITE": "1"}
    assert run([sys.executable, "-c", code], env=environment, cwd=site).splitlines() == [
        "9.0",
        "include",
        str(site),
        "1797",
        "True",
    ]


def check_archives(archives):
    """The static libraries that went into the wheel use their instruction set and none above it."""
    assert set(archives) == {"base", "scalar", "sse2", "avx2", "avx512"}
    assert registers([archives["base"]]) <= {"xmm"}
    assert registers([archives["scalar"]]) <= {"xmm"}
    assert registers([archives["sse2"]]) <= {"xmm"}
    assert registers([archives["avx2"]]) == {"xmm", "ymm", "vex"}
    assert registers([archives["avx512"]]) >= {"zmm", "k", "vex"}


# ---- tools ----


@needs_checkout
def test_pre_commit_has_the_versions_of_lint():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    hooks = (ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8")
    assert set(re.findall(r'"([\w.=*-]+)"', hooks)) == set(project["optional-dependencies"]["lint"])
