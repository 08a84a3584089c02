"""How long idle OpenMP threads spin before they sleep, which GNU's OpenMP reads from the environment when it is loaded.

By default they spin for milliseconds. Where other processes work on the same CPUs a spinning thread uses up its share
and is missing when the next operator calls: training on the digits took five times as long. Spinning for microseconds
is enough for operators that follow each other. All else about threads is in c/threads.c.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager

SPINS = "1000"


@contextmanager
def brief_spinning() -> Iterator[None]:
    """The variable is set for what is loaded meanwhile, unless the user has decided; then it is as it was."""
    if "OMP_WAIT_POLICY" in os.environ or "GOMP_SPINCOUNT" in os.environ:
        yield
        return
    os.environ["GOMP_SPINCOUNT"] = SPINS
    try:
        yield
    finally:
        del os.environ["GOMP_SPINCOUNT"]
