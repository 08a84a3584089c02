"""Compiles the C files of convc, each with the flags that it needs; as a program, builds build/blur from blur.c."""

import os
import platform
import subprocess
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import convc

# Only the kernels get the flags of an instruction set: all else runs before the machine has been asked what it has.
KERNELS = {
    "x86_64": {
        "scalar": [],
        "sse2": [],
        "avx2": ["-mavx2", "-mfma"],
        "avx512": ["-mavx2", "-mfma", "-mavx512f", "-mavx512bw", "-mavx512dq", "-mavx512vl"],
    },
    "aarch64": {"scalar": [], "neon": []},
}
COMPILER = os.environ.get("CC", "cc").split()
# -ffp-contract=off keeps results the same for every compiler; leave -fopenmp out for a library on one thread.
FLAGS = ["-std=c11", "-O3", "-fPIC", "-ffp-contract=off", "-fno-math-errno", "-fvisibility=hidden", "-fopenmp"]
LINK = ["-fopenmp", "-lm", "-pthread"]


def kernels() -> dict[str, list[str]]:
    """The instruction sets of this machine's architecture, and their flags; the core expects all of them."""
    machine = {"amd64": "x86_64", "arm64": "aarch64"}.get(platform.machine().lower(), platform.machine().lower())
    return KERNELS.get(machine, {"scalar": []})


def compile_core(folder: Path, flags: list[str] = FLAGS) -> list[str]:
    """Compile what this machine's architecture needs into the folder and return the object files."""
    flags_of = kernels()
    commands = {}
    for source in map(Path, convc.get_sources()):
        isa = source.stem.removeprefix("isa_") if source.stem.startswith("isa_") else None
        if isa is None or isa in flags_of:
            target = str(folder / f"{source.stem}.o")
            own = flags_of[isa] if isa else []
            commands[target] = [*COMPILER, *flags, *own, f"-I{convc.get_include()}", "-c", str(source), "-o", target]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        list(pool.map(lambda command: subprocess.run(command, check=True), commands.values()))
    return list(commands)


def build_program(source: Path, program: Path, flags: list[str] = FLAGS) -> None:
    """Compile a C program and link it with the core."""
    with tempfile.TemporaryDirectory() as folder:
        objects = compile_core(Path(folder), flags)
        include = f"-I{convc.get_include()}"
        subprocess.run([*COMPILER, *flags, include, str(source), *objects, *LINK, "-o", str(program)], check=True)


if __name__ == "__main__":
    here = Path(__file__).resolve().parent
    (here / "build").mkdir(exist_ok=True)
    build_program(here / "blur.c", here / "build" / "blur")
