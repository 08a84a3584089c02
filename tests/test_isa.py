"""Instruction sets: each one that the machine has gives what the others give."""

import os
import runpy
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import work
from strategies import ISAS

import convc

ROOT = Path(__file__).parent.parent


def run_python(code, **variables):
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), **variables}
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=False)


def test_every_isa_computes_the_same_up_to_rounding():
    convc.set_isa("scalar")
    expected = work.everything()
    assert ISAS[0] == "scalar"
    for isa in ISAS[1:]:
        convc.set_isa(isa)
        for name, ours in work.everything().items():
            if ours.dtype == np.int64:
                continue  # of a maximum that rounding may have moved
            scale = np.abs(expected[name]).max()
            tolerance = 2e-5 if ours.dtype == np.float32 else 1e-13
            np.testing.assert_allclose(ours, expected[name], rtol=0, atol=tolerance * scale, err_msg=f"{isa} {name}")


@pytest.mark.parametrize("isa", ISAS)
def test_environment_forces_one(isa):
    run = run_python("import convc; print(convc.get_isa(), convc.cpu_info()['isa'])", CONVC_ISA=isa)
    assert run.stdout.split() == [isa, isa]
    assert run.stderr == ""


def test_environment_asks_for_what_the_machine_has_not():
    run = run_python("import convc; print(convc.get_isa())", CONVC_ISA="vliw")
    assert run.stdout.split() == [ISAS[-1]]
    assert "CONVC_ISA" in run.stderr
    assert "vliw" in run.stderr
    assert ", ".join(ISAS) in run.stderr


def test_the_best_one_is_the_default():
    environment = {k: v for k, v in os.environ.items() if k != "CONVC_ISA"}
    environment["PYTHONPATH"] = os.pathsep.join(sys.path)
    command = [sys.executable, "-c", "import convc; print(convc.get_isa())"]
    run = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    assert run.stdout.strip() == ISAS[-1]


@pytest.mark.parametrize("name", ["", "AVX2", "vliw", "avx2\0", "é" * 1000])
def test_names_that_are_none(name):
    before = convc.get_isa()
    with pytest.raises(ValueError, match="name must be an instruction set"):
        convc.set_isa(name)
    assert convc.get_isa() == before


@pytest.mark.skipif(shutil.which("cc") is None or sys.platform != "linux", reason="needs a C compiler")
def test_from_c(tmp_path):
    """The core without Python: also what a cross-compiled build is tried with."""
    kernels = runpy.run_path(str(ROOT / "examples/embedding/build_core.py"))["kernels"]()
    common = ["cc", "-std=gnu11", "-O1", "-fopenmp", f"-I{ROOT / 'include'}", f"-I{ROOT / 'src/convc/c'}", "-c"]
    templates = [ROOT / f"src/convc/c/kernels/isa_{isa}.c" for isa in kernels]
    plain = {k: v for k, v in os.environ.items() if k != "LD_PRELOAD"}  # no sanitizer in the compiler
    jobs = [
        subprocess.Popen(
            [*common, *kernels.get(path.stem.removeprefix("isa_"), []), path, "-o", tmp_path / f"{path.stem}.o"],
            env=plain,
        )
        for path in [*templates, *(ROOT / "src/convc/c").glob("*.c"), ROOT / "tests/c/compare_isas.c"]
    ]
    assert [job.wait() for job in jobs] == [0] * len(jobs)
    program = tmp_path / "compare_isas"
    subprocess.run(["cc", "-fopenmp", *tmp_path.glob("*.o"), "-lm", "-o", program], check=True, env=plain)
    run = subprocess.run([program, "200"], capture_output=True, text=True, check=False, env=plain)
    assert run.returncode == 0, run.stdout + run.stderr
    assert " 0 differ" in run.stdout
