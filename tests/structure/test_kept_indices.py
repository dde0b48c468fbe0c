"""What is left of the variables of a shrunk model, and how it is kept beside it."""

import json

import numpy as np
import pytest

from tfx_pruning.structure.kept_indices import FILE, KeptIndices, KeptVariable

_KEPT = KeptVariable((3, 4), {1: (0, 2, 3)})


def test_a_variable_is_expanded_with_zeros() -> None:
    value = np.arange(1.0, 10.0, dtype=np.float32).reshape(3, 3)
    expanded = _KEPT.expanded(value)
    assert expanded.tolist() == [[1, 0, 2, 3], [4, 0, 5, 6], [7, 0, 8, 9]]
    assert expanded.dtype == np.float32
    assert _KEPT.left == (3, 3)


def test_a_variable_of_another_shape_is_refused() -> None:
    with pytest.raises(ValueError, match=r"has shape \(3, 4\), but \(3, 3\) was kept"):
        _KEPT.expanded(np.zeros((3, 4)))


def test_two_cuts_are_one() -> None:
    both = _KEPT.then(KeptVariable((3, 3), {0: (1,), 1: (0, 2)}))
    assert both == KeptVariable((3, 4), {0: (1,), 1: (0, 3)})
    assert KeptIndices({"a": _KEPT}).then(KeptIndices({"b": _KEPT})).variables == {"a": _KEPT, "b": _KEPT}


def test_what_was_written_is_read(tmp_path) -> None:
    KeptIndices({"layer/kernel": _KEPT}).write(str(tmp_path))
    assert KeptIndices.read(str(tmp_path)).variables == {"layer/kernel": _KEPT}


def test_indices_that_variables_share_stand_once(tmp_path) -> None:
    kept = {"kernel": _KEPT, "gamma": KeptVariable((4,), {0: (0, 2, 3)}), "next": KeptVariable((4, 2), {0: (1,)})}
    KeptIndices(kept).write(str(tmp_path))
    assert json.loads((tmp_path / FILE).read_text())["indices"] == [[0, 2, 3], [1]]
    assert KeptIndices.read(str(tmp_path)).variables == kept


def test_a_model_that_was_not_shrunk_has_none(tmp_path) -> None:
    assert KeptIndices.read(str(tmp_path)).variables == {}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "cannot be read"),
        ("[]", "cannot be read"),
        ('{"version": 1, "variables": {}}', "its version is 1, expected 2"),
        (
            '{"version": 2, "indices": [], "variables": {"a": {"shape": [3]}}}',
            "cannot be read: 'kept'. Shrink the model again",
        ),
        (
            '{"version": 2, "indices": [], "variables": {"a": {"shape": [3], "kept": {"0": 0}}}}',
            "cannot be read: .*index out of range. Shrink the model again",
        ),
    ],
)
def test_a_damaged_file_is_refused(text, message, tmp_path) -> None:
    (tmp_path / FILE).parent.mkdir()
    (tmp_path / FILE).write_text(text)
    with pytest.raises(ValueError, match=message):
        KeptIndices.read(str(tmp_path))
