import math

import hypothesis
import tensorflow as tf
from hypothesis import strategies as st

from tfx_pruning.engine.update_steps import UpdateSteps

UPDATE_STEPS = st.builds(
    UpdateSteps,
    begin=st.integers(0, 20),
    end=st.one_of(st.just(-1), st.integers(21, 60)),
    frequency=st.integers(1, 15),
)


@hypothesis.settings(derandomize=True, deadline=None, max_examples=200)
@hypothesis.given(UPDATE_STEPS, st.integers(0, 40), st.integers(0, 40))
def test_the_next_update_is_at_the_first_step_that_is_due(updates, step, last_update):
    due = [later for later in range(step + 1, 100) if updates.is_due(later, last_update)]
    assert updates.next_due(step, last_update) == (due[0] if due else math.inf)


@hypothesis.settings(derandomize=True, deadline=None, max_examples=100)
@hypothesis.given(UPDATE_STEPS, st.integers(1, 60))
def test_updates_are_known_from_the_last_one(updates, steps):
    made = [0]
    for step in range(1, steps + 1):
        if updates.is_due(step, made[-1]):
            made.append(step)
    after = made[len(made) // 2]
    if made[-1] > after:
        assert list(updates.between(after, made[-1])) == [step for step in made if step > after]


@hypothesis.settings(derandomize=True, deadline=None, max_examples=30)
@hypothesis.given(UPDATE_STEPS, st.integers(0, 70), st.integers(0, 40))
def test_tensors_are_taken_as_numbers_are(updates, step, last_update):
    of_tensors = updates.is_due(tf.constant(step, tf.int64), tf.Variable(last_update, dtype=tf.int64))
    assert bool(of_tensors) is updates.is_due(step, last_update)


def test_the_latest_step_of_masks_lies_between_begin_and_end():
    updates = UpdateSteps(begin=5, end=10, frequency=1)
    assert [updates.latest(step) for step in (4, 5, 9, 10, 11)] == [None, 5, 9, 10, 10]
    assert UpdateSteps(begin=5, end=-1, frequency=1).latest(1000) == 1000
