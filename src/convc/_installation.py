"""What this installation is: the CPU it found, where its header and sources are, and the precision that it works in."""

from __future__ import annotations

import os
import platform
import sys
from contextvars import Token
from typing import Any

from convc import _core

_PACKAGE = os.path.dirname(os.path.abspath(__file__))


def cpu_info() -> dict[str, Any]:
    """
    What convc found on this machine and what it chose.

    Returns
    -------
    dict
        "version", "cpu" (its name), "isa" (the instruction set in use), "available_isas" (slowest first) and
        "num_threads".

    Examples
    --------
    >>> import convc
    >>> convc.cpu_info()["isa"] == convc.get_isa()
    True
    """
    return {
        "version": _core.__version__,
        "cpu": _cpu_name(),
        "isa": _core.get_isa(),
        "available_isas": _core._available_isas(),
        "num_threads": _core.get_num_threads(),
    }


def _cpu_name() -> str:
    if sys.platform == "linux":
        # Arm kernels give no model name; the machine type has to do there.
        with open("/proc/cpuinfo", encoding="utf-8", errors="replace") as lines:
            for line in lines:
                key, _, value = line.partition(":")
                if key.strip() == "model name":
                    return value.strip()
    elif sys.platform == "darwin":
        import subprocess

        command = ["/usr/sbin/sysctl", "-n", "machdep.cpu.brand_string"]
        return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip() or platform.machine()
    return platform.processor() or platform.machine()


def get_include() -> str:
    """
    The directory of ``convc.h``, for a compiler's ``-I``.

    Returns
    -------
    str

    Raises
    ------
    FileNotFoundError
        The installation has lost its header.

    Examples
    --------
    >>> import os, convc
    >>> os.path.exists(os.path.join(convc.get_include(), "convc.h"))
    True
    """
    # Beside the package in a wheel, two levels up in a checkout and an editable installation.
    places = [os.path.join(_PACKAGE, "include"), os.path.join(os.path.dirname(os.path.dirname(_PACKAGE)), "include")]
    for place in places:
        if os.path.exists(os.path.join(place, "convc.h")):
            return place
    raise FileNotFoundError(f"convc.h is in none of {places}; reinstall convc")


def get_sources() -> list[str]:
    """
    The C files of convc, to compile into an extension or a program of your own.

    All but the files ``kernels/isa_*.c`` are compiled with the default flags; each of those needs the flags of its
    instruction set. Wheels carry no sources: work in a checkout, an unpacked sdist or an editable installation.

    Returns
    -------
    list of str, absolute paths

    Raises
    ------
    FileNotFoundError
        This installation has no sources.

    Examples
    --------
    >>> import convc
    >>> sources = convc.get_sources()  # doctest: +SKIP
    """
    folder = os.path.join(_PACKAGE, "c")
    found = [
        os.path.join(directory, name)
        for directory, _, names in os.walk(folder)
        for name in names
        if name.endswith(".c") and not name.endswith("_tmpl.c")
    ]
    if not found:
        raise FileNotFoundError(
            f"{folder} does not exist: wheels carry no C sources, an sdist or a checkout of convc does"
        )
    return sorted(found)


class precision:
    """
    A context in which convolutions are computed to a stated precision.

    It holds for the thread or asyncio task that enters it, as `numpy.errstate` does, and for plans prepared inside.

    Parameters
    ----------
    mode : "exact"
        Sums of products only: `algorithm` "auto" stands for "direct", so that Winograd's algorithm, which trades
        accuracy for speed, is not chosen.

    Raises
    ------
    ValueError, TypeError
        Any other mode.

    Examples
    --------
    >>> import numpy as np, convc
    >>> x, weight = np.ones((1, 64, 8, 8), np.float32), np.ones((64, 64, 3, 3), np.float32)
    >>> with convc.precision("exact"):
    ...     y = convc.conv2d(x, weight)
    >>> bool((y == 64 * 9).all())
    True
    """

    def __init__(self, mode: str) -> None:
        if not isinstance(mode, str):
            raise TypeError(f"mode must be 'exact', got {type(mode).__name__}")
        if mode != "exact":
            raise ValueError(f"mode must be 'exact', got {mode!r}")
        self._tokens: list[Token[bool]] = []

    def __enter__(self) -> None:
        self._tokens.append(_core._set_exact())

    def __exit__(self, *exception: object) -> None:
        _core._exact.reset(self._tokens.pop())
