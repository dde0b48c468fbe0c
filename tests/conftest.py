"""Settings of all tests."""

import gc
import os
from collections.abc import Iterator

import pytest

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

# Test files import TensorFlow, TFX and their like as they are collected: millions of objects that stay.
gc.disable()

# Files with such tests take longest. They come first, so that no worker is still at one when the others have ended.
_LONG = ("e2e", "slow")


def pytest_addoption(parser: pytest.Parser) -> None:
    """Adds what `make test-engines` gives."""
    parser.addoption(
        "--beam-job-server", metavar="HOST:PORT", help="Job server that runs the Beam steps of test_beam_args.py."
    )


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Sorts files by their longest tests; the tests of a file stay together, in their order."""
    rank: dict[str, int] = {}
    for item in items:
        long = (_LONG.index(mark.name) for mark in item.iter_markers() if mark.name in _LONG)
        file = item.location[0]
        rank[file] = min(rank.get(file, len(_LONG)), *long, len(_LONG))
    items.sort(key=lambda item: rank[item.location[0]])


def pytest_collection_finish() -> None:
    """Has later collections of garbage, which tests ask for in each strip, pass over all that was imported."""
    gc.freeze()
    gc.enable()


@pytest.fixture(scope="module", autouse=True)
def _garbage_of_a_file_is_collected() -> Iterator[None]:
    from tensorflow.python.framework import ops

    # TensorFlow keeps the gradient of every `tf.custom_gradient` that a function was traced with, and thereby the
    # function's graph with all that it calls, until the process ends.
    gradients = ops.gradient_registry._registry
    before = set(gradients)
    yield
    for name in set(gradients) - before:
        if name.startswith("CustomGradient-"):
            del gradients[name]
    # Functions hold their variables in cycles.
    gc.collect()
    # What is left now stays: caches and modules. Collections, of which each strip has one, need not pass over it again.
    gc.freeze()


@pytest.fixture
def registered_before() -> Iterator[None]:
    """Takes away the criteria and schedules that a test registers."""
    from tfx_pruning.engine.choices import CRITERIA, SCHEDULES

    before = [(registry, dict(registry._registered)) for registry in (CRITERIA, SCHEDULES)]
    yield
    for registry, registered in before:
        registry._registered = registered
