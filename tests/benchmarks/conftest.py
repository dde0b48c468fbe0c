import importlib
import pathlib

import pytest


@pytest.fixture(scope="module")
def benchmark():
    """A function that imports a module of benchmarks/."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(pathlib.Path(__file__).parents[2] / "benchmarks")
        yield importlib.import_module
