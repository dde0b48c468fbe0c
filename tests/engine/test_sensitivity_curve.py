import numpy as np
import pytest

from tfx_pruning.engine.sensitivity_curve import SensitivityCurve


def test_text_can_be_read_back():
    curve = SensitivityCurve.parse("0.5=-0.001;0.9=0.25;0.95=1e-05")
    assert curve.points == ((0.5, -0.001), (0.9, 0.25), (0.95, 1e-05))
    assert SensitivityCurve.parse(curve.text) == curve
    assert SensitivityCurve(((0.5, 0.0123456),)).text == "0.5=0.01235"


def test_the_hull_leaves_out_what_lies_above_it():
    # (50, 4) lies above the line from (25, 1) to (75, 5).
    curve = SensitivityCurve(((0.25, 1.0), (0.5, 4.0), (0.75, 5.0), (0.9, 20.0)))
    assert curve.hull(100, 99) == [(0, 0.0), (25, 1.0), (75, 5.0), (90, 20.0)]
    assert SensitivityCurve(((0.5, 3.0), (0.9, -1.0))).hull(10, 9) == [(0, 0.0), (9, -1.0)]


def test_the_hull_ends_at_the_most_zeros():
    curve = SensitivityCurve(((0.5, 1.0), (0.9, 9.0)))
    assert curve.hull(100, 70) == [(0, 0.0), (50, 1.0), (70, pytest.approx(5.0))]
    assert curve.hull(100, 50) == [(0, 0.0), (50, 1.0)]
    assert curve.hull(100, 0) == [(0, 0.0)]


def test_sparsities_that_make_as_many_zeros_are_one():
    assert SensitivityCurve(((0.5, 1.0), (0.55, 2.0), (0.75, 3.0))).hull(4, 3) == [(0, 0.0), (2, 1.0), (3, 3.0)]


def test_hulls_are_convex_and_below_the_points():
    random = np.random.default_rng(0)
    for _ in range(50):
        sparsities = sorted(set(random.integers(1, 99, 6) / 100))
        curve = SensitivityCurve(tuple((each, random.normal()) for each in sparsities))
        corners = curve.hull(100, 99)
        slopes = np.diff([rise for _, rise in corners]) / np.diff([zeros for zeros, _ in corners])
        assert (np.diff(slopes) > 0).all()
        points = np.array([(0, 0.0), *((100 * sparsity, rise) for sparsity, rise in curve.points)])
        assert (np.interp(points[:, 0], *np.transpose(corners)) <= points[:, 1] + 1e-9).all()
        assert corners[-1] == (round(points[-1, 0]), points[-1, 1])


@pytest.mark.parametrize("text", ["", "0.5", "a=1", "0.5=1;0.4=2", "0=1", "1=1", "0.5=nan", "0.5=inf", "0.5=1;0.5=2"])
def test_other_texts_are_refused(text):
    with pytest.raises(ValueError, match=r"as in '0\.5=0\.001;0\.9=0\.2'"):
        SensitivityCurve.parse(text)
