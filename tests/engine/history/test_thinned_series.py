import itertools

import pytest

from tfx_pruning.engine.history.thinned_series import ThinnedSeries


def filled(length, capacity=8):
    series = ThinnedSeries(capacity)
    for point in range(length):
        if series.due():
            series.append(point)
    return series


@pytest.mark.parametrize("length", [0, 1, 8])
def test_a_short_series_is_kept_whole(length):
    assert filled(length).points == tuple(range(length))


@pytest.mark.parametrize("length", [9, 10, 17, 33, 1000, 4097])
def test_a_long_series_is_bounded_and_evenly_spread(length):
    points = filled(length).points
    distances = {after - before for before, after in itertools.pairwise(points)}
    assert 4 <= len(points) <= 8
    assert points[0] == 0
    assert len(distances) == 1
    assert length - points[-1] <= distances.pop()


def test_the_end_is_the_last_point_until_the_series_goes_on():
    series = filled(3)
    series.end_with("end")
    assert series.points == (0, 1, 2, "end")
    assert series.due()
    series.append(3)
    assert series.points == (0, 1, 2, 3)
