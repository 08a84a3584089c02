"""Results of operators: the memory of large ones is used again, never too early and never without bound."""

import concurrent.futures
import os
import pickle
import subprocess
import sys

import numpy as np
import pytest

import convc

kept = pytest.mark.skipif(
    os.environ.get("CONVC_SANITIZED") == "1", reason="a build with sanitizers keeps no memory, so that they see it go"
)
MEBIBYTE = 1 << 20


def ones(megabytes):
    return np.ones(megabytes * MEBIBYTE // 4, np.float32)


def address(array):
    return array.__array_interface__["data"][0]


@kept
def test_memory_of_a_large_result_is_used_again():
    x = ones(3)
    first = address(convc.relu(x))
    assert address(convc.relu(x)) == first
    assert address(convc.relu(x)) % 64 == 0


def test_a_view_keeps_the_memory():
    x = ones(3)
    y = convc.relu(x)
    part, at = y[-5:], address(y)
    del y
    others = [convc.relu(2 * x) for _ in range(4)]
    assert at not in map(address, others)
    np.testing.assert_array_equal(part, np.ones(5))


def test_results_are_ordinary_arrays():
    x = np.arange(-(10**5), 10**5, dtype=np.float64)
    y = convc.relu(x)
    assert type(y) is np.ndarray
    assert y.flags.writeable
    assert y.flags.c_contiguous
    y += 1
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(y)), np.maximum(x, 0) + 1)


def test_many_threads_get_memory_of_their_own():
    """Sizes and contents mixed: a block lent twice would show."""

    def work(seed):
        rng = np.random.default_rng(seed)
        held = []
        for _ in range(60):
            value, size = float(rng.integers(1, 100)), int(rng.integers(60_000, 300_000))
            held.append((value, convc.relu(np.full(size, value, np.float32))))
            if len(held) > 5:
                expected, y = held.pop(int(rng.integers(len(held))))
                assert (y == expected).all()
        return all((y == expected).all() for expected, y in held)

    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        assert all(pool.map(work, range(16)))


SCRIPT = """
import os, sys
import numpy as np, convc
resource = __import__("resource")
held = []
for size in range(8, 64):
    held = [convc.relu(np.ones(size << 18, np.float32)) for _ in range(3)]
held = None
def now():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * resource.getpagesize() >> 20
print(now())
"""


@pytest.mark.skipif(not os.path.exists("/proc/self/statm"), reason="reads Linux's /proc")
@kept
def test_what_is_kept_is_bounded():
    """After three results of each size up to 63 MiB, no more than 128 MiB of them are still there."""
    run = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=True)
    assert int(run.stdout) < 128 + 120  # the interpreter and NumPy themselves


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_child_has_memory():
    x = ones(3)
    convc.relu(x)
    child = os.fork()
    if child == 0:
        os._exit(0 if convc.relu(x).sum() == x.size else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
