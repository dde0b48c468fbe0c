"""Cheaper imports, each in a process of its own: in this one TensorFlow is loaded."""

import gc
import json
import subprocess
import sys

import pytest

from tfx_pruning.quick_import import OPTIONAL, quick_import

# A stand-in for TensorFlow that is as it is in what matters here: it imports what it finds, and leaves the rest out.
_TENSORFLOW = """
import gc
COLLECTED = gc.isenabled()
try:
    import optional
except ImportError:
    optional = None
"""
_PROGRAM = """
import gc, json, sys
sys.path.insert(0, {folder!r})
from tfx_pruning.quick_import import quick_import
finders, before = list(sys.meta_path), gc.get_freeze_count()
try:
    with quick_import(without={without!r}):
        import tensorflow
        {then}
except KeyError:
    pass
after = gc.get_freeze_count()
with quick_import(without=("other",)):
    import other
import optional
print(json.dumps([tensorflow.COLLECTED, tensorflow.optional is None, gc.isenabled(), sys.meta_path == finders,
                  after > before + 100, gc.get_freeze_count() == after]))
"""


def _found(folder, without, then="pass"):
    (folder / "tensorflow.py").write_text(_TENSORFLOW, encoding="utf-8")
    for name in ("optional", "other"):
        (folder / f"{name}.py").touch()
    program = _PROGRAM.format(folder=str(folder), without=without, then=then)
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120, check=True)
    return json.loads(run.stdout)


@pytest.mark.parametrize("then", ["pass", "raise KeyError"])
@pytest.mark.parametrize(("without", "hidden"), [((), False), (("optional",), True), (("opt",), False)])
def test_a_block_hides_what_it_says_collects_nothing_and_leaves_no_trace(tmp_path, without, hidden, then):
    collected, is_hidden, *restored = _found(tmp_path, without, then)
    assert (collected, is_hidden) == (False, hidden)
    assert restored == [True] * 4


def test_a_block_is_an_ordinary_one_where_tensorflow_is_loaded(monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorflow", sys)
    finders, frozen = list(sys.meta_path), gc.get_freeze_count()
    with quick_import(without=OPTIONAL):
        assert gc.isenabled()
        assert sys.meta_path == finders
    assert gc.get_freeze_count() == frozen
