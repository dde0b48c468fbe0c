"""Functions are called by turns, and their times told by quartiles."""

from tfx_pruning.call_times import CallTimes, milliseconds_by_turns


def test_each_is_called_once_a_turn_and_nobody_is_always_first() -> None:
    order: list[str] = []
    calls = {name: lambda name=name: order.append(name) for name in "abc"}
    times = milliseconds_by_turns(calls, warm_up=1, most_turns=3, seconds=60.0)
    assert "".join(order) == "abc" + "abc" + "bca" + "cab"
    assert {name: len(each) for name, each in times.items()} == dict.fromkeys("abc", 3)


def test_time_that_is_up_ends_the_turns_but_not_before_ten() -> None:
    assert len(milliseconds_by_turns({"a": lambda: None}, 0, most_turns=50, seconds=-1.0)["a"]) == 10


def test_quartiles() -> None:
    assert CallTimes.of([5.0, 1.0, 2.0, 3.0, 4.0]) == CallTimes(3.0, 2.0, 4.0, 5)
    assert CallTimes.of([1.0, 2.0]) == CallTimes(1.5, 1.25, 1.75, 2)
    assert CallTimes.of([3.0]) == CallTimes(3.0, 3.0, 3.0, 1)
    assert CallTimes(1.25, 1.2, 1.306, 9).in_words() == "1.25 ms (1.2 to 1.31)"
