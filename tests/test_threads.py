"""Threads: the same bits for any number of them, calls from many Python threads, processes that fork."""

import os
import signal
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


def test_small_and_large_work_share_their_threads():
    """A smaller team would end some of them, and starting them anew takes longer than the work."""
    if not os.path.exists("/proc/self/task"):
        pytest.skip("threads are counted in /proc")
    code = """
import os, convc, numpy
convc.set_num_threads(6)
seen = set()
for size in (1 << 22, 1 << 19, 1 << 20, 1 << 22):
    convc.relu(numpy.ones(size, numpy.float32))
    seen |= set(os.listdir("/proc/self/task"))
print(len(seen))
"""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "OPENBLAS_NUM_THREADS": "1"}
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment)
    assert int(run.stdout) == 6


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


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="no timers here")
@pytest.mark.parametrize("algorithm", ["gemm", "winograd"])
def test_a_signal_handler_may_call_again(algorithm):
    """It runs in the middle of an operator, whose memory is not the nested call's to take."""
    x, weight = np.ones((2, 64, 128, 128)), np.ones((64, 64, 3, 3))
    big, calls = np.ones((300, 300)), []

    def handler(*_):
        calls.append(convc.gemm(big, big)[0, 0])
        convc.conv2d(x[:, :32, :40], weight[:, :32], algorithm="winograd")

    before = signal.signal(signal.SIGALRM, handler)
    convc.set_isa("scalar")
    convc.set_num_threads(1)
    expected = convc.conv2d(x, weight, algorithm=algorithm)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.03)
        for _ in range(100):
            np.testing.assert_array_equal(convc.conv2d(x, weight, algorithm=algorithm), expected)
            if calls:
                break
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert calls
    assert set(calls) == {300}


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="no timers here")
@pytest.mark.parametrize("work", ["winograd", "gemm"])
def test_many_short_steps_hear_ctrl_c(work):
    """An operator that asks at its end only would finish."""
    convc.set_isa("scalar")
    convc.set_num_threads(1)
    asked = []

    def handler(*_):
        asked.append(None)
        raise KeyboardInterrupt

    x, weight = np.ones((8, 64, 224, 224), np.float32), np.ones((64, 64, 3, 3), np.float32)
    out = np.zeros((8, 64, 222, 222), np.float32)
    a, b = np.broadcast_to(np.float32(1), (60_000, 4096)), np.ones((4096, 320), np.float32)
    product = np.zeros((60_000, 320), np.float32)
    calls = {
        "winograd": lambda: convc.conv2d(x, weight, algorithm="winograd", out=out),
        "gemm": lambda: convc.gemm(a, b, out=product),
    }
    before = signal.signal(signal.SIGALRM, handler)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.1)
        with pytest.raises(KeyboardInterrupt):
            calls[work]()
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert len(asked) == 1
    assert not (out if work == "winograd" else product)[-1].any(), "what was left to do when it was interrupted"


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
