"""Settings that every test shares."""

import os
import signal

import pytest
from hypothesis import HealthCheck, settings

import convc

# By default the same cases in every run, so that a red test is the change's fault; `make test ARGS="..."` with
# HYPOTHESIS_PROFILE=thorough draws new ones, and more of them.
settings.register_profile("same", derandomize=True, deadline=None, max_examples=100, database=None)
settings.register_profile("thorough", deadline=None, max_examples=2000, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "same"))

# A shell that runs the tests in the background has them ignore Ctrl-C, and their children too.
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True)
def keep_settings():
    """A test may choose threads and instruction sets; the next one starts afresh."""
    isa, threads = convc.get_isa(), convc.get_num_threads()
    yield
    convc.set_isa(isa)
    convc.set_num_threads(threads)


@pytest.fixture(scope="session")
def torch():
    """PyTorch, a second oracle."""
    module = pytest.importorskip("torch")
    module.set_num_threads(1)
    return module
