"""Builds convc: one static library for each instruction set, each with its own flags, linked into the Cython module.

Settings from the environment:
  CONVC_ABI3=1      build for the limited API (cp311-abi3); not on free-threaded Python
  CONVC_WERROR=1    warnings are errors
  CONVC_SANITIZE=S  compile and link with -fsanitize=S, for instance address,undefined
  CONVC_CFLAGS=F    further flags for the compiler, after its own: "-g", or "-O0" for a quick build of slow code
"""

import os
import platform
import re
import subprocess
import sys
import sysconfig
import tempfile
from concurrent.futures import ThreadPoolExecutor
from glob import glob
from pathlib import Path

from Cython.Build import cythonize
from setuptools import Extension, setup
from setuptools.command.build_clib import build_clib
from setuptools.command.build_ext import build_ext

CORE = "src/convc/c"
HEADERS = sorted(
    glob("include/*.h") + glob(f"{CORE}/*.h") + glob(f"{CORE}/kernels/*.h") + glob(f"{CORE}/kernels/*_tmpl.c")
)
PXI = sorted(glob("src/convc/*.pxi") + glob("src/convc/*.pxd"))
MSVC = sys.platform == "win32"
FREE_THREADED = bool(sysconfig.get_config_var("Py_GIL_DISABLED"))
ABI3 = os.environ.get("CONVC_ABI3") == "1" and not FREE_THREADED
SANITIZE = os.environ.get("CONVC_SANITIZE", "")

# The plain files get no flags of any instruction set: they run before the machine has been asked what it has.
ISA_FLAGS = {
    "x86_64": {
        "scalar": [],
        "sse2": [],
        "avx2": ["/arch:AVX2"] if MSVC else ["-mavx2", "-mfma"],
        "avx512": ["/arch:AVX512"]
        if MSVC
        else ["-mavx2", "-mfma", "-mavx512f", "-mavx512bw", "-mavx512dq", "-mavx512vl"],
    },
    "aarch64": {"scalar": [], "neon": []},
}


def machine() -> str:
    """The architecture that is built for: macOS says it in ARCHFLAGS when it crosses."""
    archflags = os.environ.get("ARCHFLAGS", "")
    name = "arm64" if "arm64" in archflags else "x86_64" if "x86_64" in archflags else platform.machine().lower()
    return {"amd64": "x86_64", "x86_64": "x86_64", "arm64": "aarch64", "aarch64": "aarch64"}.get(name, name)


def openmp() -> tuple[list[str], list[str]]:
    """Flags that compile and link OpenMP, or none where the compiler has it not: convc then runs on one thread."""
    if MSVC:
        return ["/openmp"], []
    if sys.platform == "darwin":
        roots = [os.environ.get("LIBOMP_ROOT", ""), "/opt/homebrew/opt/libomp", "/usr/local/opt/libomp"]
        root = next((r for r in roots if r and Path(r, "include/omp.h").exists()), None)
        if root is None:
            return [], []
        return ["-Xpreprocessor", "-fopenmp", f"-I{root}/include"], [f"-L{root}/lib", "-lomp"]
    compiler = (os.environ.get("CC") or sysconfig.get_config_var("CC") or "cc").split()
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder, "probe.c")
        source.write_text("#include <omp.h>\nint main(void) { return omp_get_max_threads() < 1; }\n")
        probe = subprocess.run([*compiler, "-fopenmp", source, "-o", Path(folder, "probe")], capture_output=True)
    return (["-fopenmp"], ["-fopenmp"]) if probe.returncode == 0 else ([], [])


OPENMP_COMPILE, OPENMP_LINK = openmp()
if MSVC:
    COMMON = ["/O2", "/std:c11", "/experimental:c11atomics", "/fp:precise"]
else:
    COMMON = ["-std=c11", "-O3", "-g0", "-ffp-contract=off", "-fno-math-errno", "-fvisibility=hidden", "-fno-lto"]
    COMMON += ["-Wall", "-Wextra", "-Wshadow"] + (["-Werror"] if os.environ.get("CONVC_WERROR") == "1" else [])
if SANITIZE:
    # Addresses are counted from where a padded image would begin. None outside the image is read: that matters.
    COMMON += [f"-fsanitize={SANITIZE}", "-fno-sanitize=pointer-overflow", "-fno-omit-frame-pointer", "-g", "-O1"]
    OPENMP_LINK = [*OPENMP_LINK, f"-fsanitize={SANITIZE}"]
FURTHER = os.environ.get("CONVC_CFLAGS", "").split()
# setuptools compares only the age of objects: those of other settings are kept in a folder of their own.
VARIANT = re.sub(r"\W+", "-", " ".join(["abi3" if ABI3 else "", SANITIZE, *FURTHER])).strip("-")


def library(name: str, sources: list[str], flags: list[str]) -> tuple[str, dict]:
    """One entry of build_clib; the headers and templates are what every source depends on."""
    return name, {
        "sources": sources,
        "include_dirs": ["include", CORE],
        "cflags": COMMON + flags + FURTHER,
        "obj_deps": dict.fromkeys([*sources, ""], HEADERS),
    }


ISAS = ISA_FLAGS.get(machine(), {"scalar": []})
# The longest first, so that they are built side by side.
LIBRARIES = [library(f"convc_{isa}", [f"{CORE}/kernels/isa_{isa}.c"], flags) for isa, flags in reversed(ISAS.items())]
LIBRARIES.append(library("convc_base", sorted(glob(f"{CORE}/*.c")), OPENMP_COMPILE))


class BuildLibraries(build_clib):
    """build_clib, all libraries at once."""

    def build_libraries(self, libraries: list) -> None:
        with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
            list(pool.map(lambda entry: build_clib.build_libraries(self, [entry]), libraries))


class BuildExtension(build_ext):
    """build_ext after build_clib, and without the interpreter's own flags for link-time optimisation."""

    def run(self) -> None:
        self.run_command("build_clib")
        super().run()

    def build_extensions(self) -> None:
        if not MSVC:
            for part in ("compiler_so", "linker_so"):
                words = [w for w in getattr(self.compiler, part) if not w.startswith("-flto")]
                self.compiler.set_executable(part, words)
        super().build_extensions()


EXTENSION = Extension(
    "convc._core",
    ["src/convc/_core.pyx"],
    include_dirs=["include", CORE],
    libraries=["convc_base", *(f"convc_{isa}" for isa in ISAS)],
    depends=[*HEADERS, *PXI, *glob(f"{CORE}/*.c"), *glob(f"{CORE}/kernels/*.c")],
    extra_compile_args=[*(["/O2"] if MSVC else ["-O2", "-g0", "-fvisibility=hidden"]), *FURTHER],
    extra_link_args=OPENMP_LINK,
    define_macros=[("Py_LIMITED_API", "0x030B0000")] if ABI3 else [],
    py_limited_api=ABI3,
)

setup(
    libraries=LIBRARIES,
    ext_modules=cythonize([EXTENSION], include_path=["src"], build_dir="build/cython", language_level=3),
    cmdclass={"build_clib": BuildLibraries, "build_ext": BuildExtension},
    options={"build": {"build_base": f"build/{VARIANT}" if VARIANT else "build"}}
    | ({"bdist_wheel": {"py_limited_api": "cp311"}} if ABI3 else {}),
)
