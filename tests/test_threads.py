"""Threads: the same bits for any number of them, calls from many Python threads, processes that fork."""

import os
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import work

import convc


def test_results_do_not_depend_on_the_number_of_threads():
    convc.set_num_threads(1)
    alone = work.everything()
    for threads in (2, 3, 5, 8):
        convc.set_num_threads(threads)
        assert convc.get_num_threads() == threads
        assert work.differences(work.everything(), alone) == []


def test_large_work_is_shared_out():
    """Else the test above would compare one thread with itself."""
    if not os.path.exists("/proc/self/task"):
        pytest.skip("threads are counted in /proc")
    code = "import os, convc, work; convc.set_num_threads(5); work.small(); print(len(os.listdir('/proc/self/task')))"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "OPENBLAS_NUM_THREADS": "1"}
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment)
    assert int(run.stdout) == 5


def test_calls_from_many_threads():
    convc.set_num_threads(2)
    expected = work.small()
    with ThreadPoolExecutor(8) as pool:
        for ours in pool.map(lambda _: work.small(), range(40)):
            assert work.differences(ours, expected) == []


def test_one_plan_in_many_threads():
    rng = np.random.default_rng(2)
    x, weight = rng.standard_normal((4, 16, 20, 20)), rng.standard_normal((24, 16, 3, 3))
    plan = convc.prepare(weight, None, x.shape)
    expected = plan(x)
    with ThreadPoolExecutor(8) as pool:
        for y in pool.map(lambda _: plan(x), range(60)):
            np.testing.assert_array_equal(y, expected)


def test_kernels_release_the_gil():
    """Python runs on while an operator does: counted, not timed."""
    x, weight = np.ones((1, 128, 160, 160), np.float32), np.ones((128, 128, 3, 3), np.float32)
    running, counted = threading.Event(), []

    def count():
        n = 0
        while not counted:
            n += running.is_set()
            time.sleep(0)  # gives the GIL back
        counted.append(n)

    interval = sys.getswitchinterval()
    convc.set_num_threads(1)
    thread = threading.Thread(target=count)
    thread.start()
    sys.setswitchinterval(
        60
    )  # from here on nobody takes the GIL by force: the kernel lets it go, or nothing is counted
    try:
        running.set()
        convc.conv2d(x, weight, padding=1)
        running.clear()
    finally:
        sys.setswitchinterval(interval)
        counted.append(None)
        thread.join()
    assert counted[1] > 0


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.parametrize("threads", [2, 5])
def test_fifty_forks(threads):
    environment = {**os.environ, "CONVC_NUM_THREADS": str(threads), "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-W", "ignore::DeprecationWarning", work.__file__, "50"]
    run = subprocess.run(command, capture_output=True, text=True, timeout=300, env=environment, check=False)
    assert run.returncode == 0, run.stderr


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({"CONVC_NUM_THREADS": "3", "OMP_NUM_THREADS": "2"}, 3),
        ({"OMP_NUM_THREADS": "2"}, 2),
        ({"OMP_NUM_THREADS": "4,2"}, 4),
        ({"CONVC_NUM_THREADS": "many", "OMP_NUM_THREADS": "2"}, 2),
        ({"CONVC_NUM_THREADS": "0", "OMP_NUM_THREADS": "2"}, 2),
    ],
)
def test_environment(variables, expected):
    environment = {k: v for k, v in os.environ.items() if k not in ("CONVC_NUM_THREADS", "OMP_NUM_THREADS")}
    environment |= {**variables, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", "import convc; print(convc.get_num_threads())"]
    run = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    assert int(run.stdout) == expected


@pytest.mark.skipif(sys.platform != "linux", reason="GNU's OpenMP is what Linux has")
@pytest.mark.parametrize(("variables", "expected"), [({}, "1000"), ({"GOMP_SPINCOUNT": "77"}, "77")])
def test_idle_threads_sleep_soon(variables, expected):
    environment = {k: v for k, v in os.environ.items() if k not in ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT")}
    environment |= {**variables, "OMP_DISPLAY_ENV": "verbose", "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", "import convc, os; print(os.environ.get('GOMP_SPINCOUNT'))"]
    run = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    assert f"GOMP_SPINCOUNT = '{expected}'" in run.stderr
    assert run.stdout.strip() == variables.get("GOMP_SPINCOUNT", "None")  # the environment is as it was


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="no CPU affinity here")
def test_affinity_bounds_the_default():
    code = "import os; os.sched_setaffinity(0, [min(os.sched_getaffinity(0))]); import convc; print(convc.cpu_info())"
    environment = {k: v for k, v in os.environ.items() if k not in ("CONVC_NUM_THREADS", "OMP_NUM_THREADS")}
    environment["PYTHONPATH"] = os.pathsep.join(sys.path)
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment)
    assert "'num_threads': 1" in run.stdout
