import numpy as np
import pytest

from tfx_pruning.stripper.export.answer_difference import AnswerDifference


@pytest.fixture
def difference():
    made = AnswerDifference()
    made.add(
        {"scores": np.array([4.0, 1.0], np.float32), "best": np.array([0, 1, 2, 3]), "same": np.array([1.0])},
        {"scores": np.array([4.0, 0.5], np.float32), "best": np.array([0, 2, 2, 3]), "same": np.array([1.0])},
    )
    return made


def test_every_output_beyond_the_tolerance_is_named_the_worst_first(difference):
    assert difference.relative == 0.25
    best = "1 of 4 values of output 'best', 0.25 of them"
    scores = "0.5 in output 'scores', 0.125 of its largest value 4"
    assert difference.beyond(0.2) == best
    assert difference.beyond(1e-9) == f"{best}; {scores}"
    assert str(difference) == f"{best}; {scores}; 0 in output 'same', 0 of its largest value 1"


def test_nothing_is_beyond_a_tolerance_that_is_kept(difference):
    assert difference.beyond(0.25) == "nothing"
