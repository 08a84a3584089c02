"""How much processor time the rest of the machine takes while we measure; where it takes much, no figure is right."""

from __future__ import annotations

import os
from pathlib import Path
from time import perf_counter

_STAT = Path("/proc/stat")


class Load:
    """Compares the busy time of all CPUs with our own; Linux only, None elsewhere."""

    def __init__(self, own_seconds: float) -> None:
        self._own = own_seconds
        self._busy = busy_seconds()
        self._start = perf_counter()

    def others(self, own_seconds: float) -> float | None:
        """The share of all CPUs' time since the start that neither they idled nor we used, from 0 to 1."""
        if self._busy is None or (busy := busy_seconds()) is None:
            return None
        foreign = busy - self._busy - (own_seconds - self._own)
        available = (perf_counter() - self._start) * (os.cpu_count() or 1)
        return min(max(foreign / available, 0.0), 1.0)


def busy_seconds() -> float | None:
    """Processor time since the machine started, with what a hypervisor gave to other machines."""
    if not _STAT.exists():
        return None
    ticks = [int(field) for field in _STAT.read_text().split("\n", 1)[0].split()[1:9]]
    user, nice, system, _idle, _waiting, interrupt, soft_interrupt, stolen = ticks
    return (user + nice + system + interrupt + soft_interrupt + stolen) / os.sysconf("SC_CLK_TCK")
