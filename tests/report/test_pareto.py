"""The plot of a sweep, and its table."""

import dataclasses
import math
import xml.etree.ElementTree as ET

import pytest

from helpers.page_text import PageText
from tfx_pruning import PruningHParams
from tfx_pruning.report.document import Evaluation, ReportDocument
from tfx_pruning.report.page import page
from tfx_pruning.report.pareto import metric_text, pareto
from tfx_pruning.sweep import MetricGoal, Sweep, SweepBaseline, SweepCandidate


def _candidate(name, option, sparsity, metric, gzipped):
    hparams = PruningHParams(prune_option=option, target_sparsity=sparsity).to_string()
    return SweepCandidate(name, sparsity, metric, 883930, gzipped, hparams)


SWEEP = Sweep(
    MetricGoal("auc", 0.003),
    SweepBaseline(0.9444, 900123, 620456),
    (
        _candidate("first_s9800", "first_order_gradient", 0.98, 0.9312, 52001),
        _candidate("first_s9500", "first_order_gradient", 0.95, 0.9421, 70345),
        _candidate("first_s7400", "first_order_gradient", 0.74, 0.9447, 250678),
        _candidate("weight_s9500", "weight", 0.95, 0.9391, 71234),
        _candidate("weight_s9700", "weight", 0.97, math.nan, 61000),
    ),
)


@pytest.fixture(scope="module")
def figure():
    return pareto(SWEEP)


@pytest.fixture(scope="module")
def texts(figure):
    """The texts of the plot, with no-break spaces as spaces."""
    return [
        "".join(element.itertext()).replace("\xa0", " ").strip() for element in ET.fromstring(figure.svg).iter("text")
    ]


def test_the_table_has_the_figures_of_all_candidates(figure):
    headings, rows = figure.table
    assert headings == ("model", "sparsity", "auc", "against dense", "stripped bytes", "gzipped bytes", "verdict")
    assert [tuple(cell.replace("\xa0", " ") for cell in row) for row in rows] == [
        ("dense", "", "0.9444", "", "900,123", "620,456", ""),
        ("first_s7400", "74.00 %", "0.9447", "+0.0003", "883,930", "250,678", "within"),
        ("first_s9500", "95.00 %", "0.9421", "-0.0023", "883,930", "70,345", "chosen"),
        ("weight_s9500", "95.00 %", "0.9391", "-0.0053", "883,930", "71,234", "over"),
        ("weight_s9700", "97.00 %", "none", "", "883,930", "61,000", "over"),
        ("first_s9800", "98.00 %", "0.9312", "-0.0132", "883,930", "52,001", "over"),
    ]


def test_every_candidate_with_a_metric_is_labelled(texts):
    labels = [text for text in texts if text.endswith("%") or text == "dense"]
    assert sorted(labels) == ["74 %", "95 %", "95 %", "98 %", "dense", "dense"]  # one of the two in the legend


def test_the_legend_tells_lines_and_options(texts):
    for name in ("worst allowed", "front", "chosen", "first_order_gradient", "weight"):
        assert texts.count(name) == 1, name


def test_the_caption_tells_the_limit_and_the_choice(figure):
    assert "auc, of which higher is better" in figure.caption
    assert "Allowed is 0.9414 or higher: tolerance 0.003 from the dense model's 0.9444." in figure.caption
    assert figure.caption.endswith("Chosen is first_s9500.")


def test_none_chosen_and_lower_is_better():
    goal = MetricGoal("loss", 0.0, "lower", bound=0.5)
    found = pareto(dataclasses.replace(SWEEP, goal=goal))
    assert (
        "Allowed is 0.5000 or lower: tolerance 0 from the dense model's 0.9444, and never worse than 0.5."
        in found.caption
    )
    assert found.caption.endswith("No candidate is good enough.")
    assert "chosen" not in {row[-1] for row in found.table[1]}


def test_labels_keep_clear_of_each_other():
    crowd = tuple(_candidate(f"c{i}", "weight", 0.90 + i / 100, 0.94 - i / 1000, 100_000 - 3000 * i) for i in range(8))
    svg = ET.fromstring(pareto(dataclasses.replace(SWEEP, candidates=crowd, baseline=SweepBaseline(0.9444))).svg)
    places = []
    for element in svg.iter("text"):
        if "".join(element.itertext()).endswith("%"):
            places.append((float(element.get("x")), float(element.get("y"))))
    assert len(places) == 8
    for index, (x, y) in enumerate(places):
        # A label is about 30 units wide and 10 high.
        assert all(abs(x - other) > 28 or abs(y - below) > 8 for other, below in places[:index])


def test_labels_stand_at_their_marks_or_are_left_out():
    crowd = tuple(_candidate(f"c{i}", "weight", 0.9 + i / 1000, 0.94 - i / 1e5, 60_000 - 30 * i) for i in range(9))
    found = pareto(dataclasses.replace(SWEEP, candidates=(*crowd, SWEEP.candidates[2])))
    svg = ET.fromstring(found.svg)
    texts = [element for element in svg.iter("text") if "".join(element.itertext()).replace("\xa0", " ").endswith(" %")]
    labels = {
        "".join(each.itertext()).replace("\xa0", " "): (float(each.get("x")), float(each.get("y"))) for each in texts
    }
    chosen, alone = "90.2 %", "74 %"
    assert {chosen, alone} <= labels.keys()
    assert f"{10 - len(labels)} that lie too close to others are in the table only" in found.caption
    assert 2 <= len(labels) < 10
    marks = [(float(element.get("x")), float(element.get("y"))) for element in svg.iter("use")]
    for x, y in labels.values():
        assert min(max(abs(x - right), abs(y - down)) for right, down in marks) < 40


def test_a_chosen_model_is_described_once():
    sizes = {"SavedModel stripped": 4000, "SavedModel stripped and gzipped": 1000}
    document = ReportDocument("Sweep", (), sweep=SWEEP, sizes=sizes, evaluation=Evaluation({"auc": 0.9}, {"auc": 0.8}))
    text = page(document)
    assert text.count("<dt>Size</dt>") == text.count("<dt>auc</dt>") == 1


def test_long_names_of_options_leave_the_plot_its_width():
    options = ["first_order_gradient", "second_order_gradient", "weight"]
    crowd = tuple(
        SweepCandidate(
            f"{option}_{allocation}_{index}",
            0.9 + index / 100,
            0.94 - index / 1000,
            1000,
            90_000 - 5000 * index,
            PruningHParams(prune_option=option, allocation=allocation, target_sparsity=0.9 + index / 100).to_string(),
        )
        for option in options
        for allocation in ("global", "uniform")
        for index in range(5)
    )
    svg = ET.fromstring(pareto(dataclasses.replace(SWEEP, candidates=crowd)).svg)
    marks = [float(element.get("x")) for element in svg.iter("use")]
    assert max(marks) - min(marks) > 200  # of 324
    written = ["".join(element.itertext()) for element in svg.iter("text")]
    assert "second_order_gradient, uniform" in written


def test_sweep_of_one_candidate_without_hyperparameters_or_sizes_of_the_dense_model():
    one = Sweep(MetricGoal("auc", 0.1), SweepBaseline(0.9), (SweepCandidate("s50", 0.5, 0.85, 10, 5),))
    _, (dense, row) = pareto(one).table
    assert dense == ("dense", "", "0.9000", "", "", "", "")
    assert row[0::6] == ("s50", "chosen")


def test_sweep_without_any_number():
    nothing = Sweep(MetricGoal("auc", 0.1), SweepBaseline(0.9), (SweepCandidate("s50", 0.5, math.nan, 10, 5),))
    assert pareto(nothing).table[1][1][2] == "none"


def test_the_page_shows_the_sweep():
    document = ReportDocument("Sweep", (), sweep=SWEEP)
    shown = PageText(page(document))
    assert len(shown.tables["sweep"]) == 7
    assert {name: " ".join(value.split()) for name, value in shown.tiles.items()} == {
        "Candidates": "5 2 good enough",
        "Chosen sparsity": "95.00 % first_s9500",
        "auc": "0.9421 dense 0.9444",
        "Size": "70.3 kB gzipped, dense 620 kB",
    }
    assert ReportDocument.from_json(document.to_json()).to_json() == document.to_json()


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.942, "0.9420"),
        (0, "0.0000"),
        (1.5e-5, "1.5e-05"),
        (-0.25, "-0.2500"),
        (123456.7, "1.2346e+05"),
        (math.nan, "none"),
    ],
)
def test_metrics_as_text(value, text):
    assert metric_text(value) == text
