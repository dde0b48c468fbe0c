import dataclasses
import re
import xml.etree.ElementTree as ET

import numpy as np
import pytest

from helpers.page_text import PageText
from tfx_pruning.call_times import CallTimes
from tfx_pruning.engine.history.histogram import Histogram
from tfx_pruning.engine.history.training_history import StepRange, WeightHistory
from tfx_pruning.engine.keras.delivered_sparsity import WeightSparsity
from tfx_pruning.engine.model_variables import model_variables
from tfx_pruning.report import figures
from tfx_pruning.report.document import Export, ReportDocument, Shrinking
from tfx_pruning.report.latency import Latency
from tfx_pruning.report.page import page
from tfx_pruning.saved_model.variables import SavedVariables

NASTY = '</title><script>alert("$x_1$")</script>&amp;<b>'


@pytest.fixture(scope="module")
def text(trained):
    return page(trained.document)


@pytest.fixture(scope="module")
def shown(text):
    return PageText(text)


def kernels(trained):
    """The kernels of the SavedModel, by their paths."""
    saved = SavedVariables(trained.saved)
    return {v.name: saved.value(v) for v in model_variables(saved) if v.name.endswith("kernel")}


def test_sparsity_by_layer_is_that_of_the_saved_model(trained, shown):
    rows = shown.tables["layers"][1:]
    assert [[cell.replace("\xa0", " ") for cell in row] for row in rows] == [
        [
            path,
            " \N{MULTIPLICATION SIGN} ".join(map(str, kernel.shape)),
            str(kernel.size),
            str(np.count_nonzero(kernel)),
            f"{np.mean(kernel == 0):.2%}".replace("%", " %"),
        ]
        for path, kernel in kernels(trained).items()
    ]
    assert len(rows) == 2


def test_the_figures_at_the_top_are_those_of_the_model(trained, shown):
    sizes = [kernel.size for kernel in kernels(trained).values()]
    left = sum(np.count_nonzero(kernel) for kernel in kernels(trained).values())
    total = trained.model.count_params()
    assert left == round(sum(sizes) * 0.25)
    assert {name: " ".join(value.split()) for name, value in shown.tiles.items()} == {
        "auc": "0.9375 dense 0.9500",
        "Sparsity": "75.00 % of 2 pruned weights",
        "Weights not zero": f"{left} of {sum(sizes)} pruned",
        "Asked for": "75.00 % of the weights, global",
        "Parameters in all": f"{total} {(sum(sizes) - left) / total:.2%} zero".replace("%", " %"),
        "Optimizer steps": "9",
        "Mask updates": "4 from step 2 to 8",
        "Size": "65.4 kB SavedModel stripped",
        "Variables removed": "1",
    }


def test_the_course_tells_asked_and_reached_and_the_loss(trained, shown):
    rows = shown.tables["course"]
    history = trained.document.training
    assert rows[0] == ["step", "asked for", "reached"]
    assert [row[0] for row in rows[1:6]] == ["2", "4", "6", "8", "9"]
    for row, point in zip(rows[1:6], history.sparsity, strict=True):
        assert row[1:] == [figures.percent(point.asked), figures.percent(point.reached)]
    losses = rows[rows.index(["step", "training", "validation"]) + 1 :][:9]
    assert [row[:2] for row in losses] == [[str(p.step), f"{p.values['loss']:.5g}"] for p in history.metrics]
    assert [row[2] for row in losses if row[2]] == [f"{p.values['val_loss']:.5g}" for p in history.epochs]


def test_histograms_add_up_to_the_weights(trained, shown):
    rows = [row for row in shown.tables["weights"] if row[0] == "after training"]
    assert sum(int(row[3].replace(",", "")) for row in rows) == sum(k.size for k in kernels(trained).values())
    zeros = [int(row[3]) for row in rows if row[1:3] == ["0", "0"]]
    assert zeros == [np.count_nonzero(kernel == 0) for kernel in kernels(trained).values()]


def test_evaluation_sizes_hparams_and_lineage_are_told(shown):
    assert shown.tables["evaluation"][1:] == [["auc", "0.9500", "0.9375", "-0.0125"]]
    assert shown.tables["sizes"][1:] == [
        ["SavedModel as trained", "123,456", "100.0%"],
        ["SavedModel stripped", "65,432", "53.0%"],
    ]
    assert ["target_sparsity", "0.75"] in shown.tables["hparams"]
    assert shown.tables["lineage"][1:] == [["input examples", "Examples 4: /data/examples/4"]]


def test_what_is_not_the_default_is_marked(text):
    chosen = re.findall(r'<tr class="chosen"><td><code>(\w+)', text)
    assert sorted(chosen) == sorted(
        ["allocation", "prune_option", "pruning_frequency", "sparsity_function_end_step", "target_sparsity"]
    )


def test_the_page_needs_nothing_from_outside_and_runs_nothing(text, shown):
    for tag, attributes in shown.elements:
        assert tag not in {"script", "link", "img", "iframe", "object"}
        for name, value in attributes.items():
            assert not name.startswith("on"), name
            if name in {"src", "href", "xlink:href"}:
                assert value.startswith("#")
    assert re.findall(r"url\((?!#)|@import|https?:", text) == []
    policy = {"http-equiv": "Content-Security-Policy", "content": "default-src 'none'; style-src 'unsafe-inline'"}
    assert ("meta", policy) in shown.elements


def test_ids_are_one_of_a_kind_and_references_lead_somewhere(text, shown):
    assert len(shown.ids) == len(set(shown.ids))
    references = re.findall(r'url\(#([^)]+)\)|href="#([^"]+)"|aria-labelledby="([^"]+)"', text)
    named = {name for names in references for name in names if name}
    assert named
    assert named <= set(shown.ids)


def test_every_plot_says_what_it_is_and_has_a_table(shown):
    plots = [attributes for tag, attributes in shown.elements if tag == "svg"]
    assert len(plots) == len([tag for tag, _ in shown.elements if tag == "figure"]) == 9
    assert all(plot["role"] == "img" and plot["aria-labelledby"] in shown.ids for plot in plots)


def test_colours_are_the_pages_own(text):
    for svg in re.findall(r"<svg.*?</svg>", text, re.DOTALL):
        assert set(re.findall(r"(?:fill|stroke): *(#\w+)", svg)) == set()
    assert "var(--first)" in text


def test_names_are_shown_as_text(trained):
    history = trained.document.training
    weights = tuple(dataclasses.replace(weight, path=NASTY) for weight in history.weights)
    document = dataclasses.replace(
        trained.document,
        title=NASTY,
        weights=(WeightSparsity(NASTY, (2, 2), 1),),
        training=dataclasses.replace(history, weights=weights),
        sizes={NASTY: 5},
        lineage={NASTY: NASTY},
    )
    text = page(document)
    shown = PageText(text)
    assert not [tag for tag, _ in shown.elements if tag in {"script", "b"}]
    assert shown.tables["layers"][1][0] == NASTY
    assert shown.tables["lineage"][1] == [NASTY, NASTY]
    first_plot = ET.fromstring(re.search(r"<svg.*?</svg>", text, re.DOTALL)[0])
    # No formula is made of the dollars either.
    assert any(NASTY[-30:] in (element.text or "") for element in first_plot.iter("text"))


def test_a_training_that_went_on_says_so(trained):
    history = dataclasses.replace(trained.document.training, first_step=500)
    text = page(dataclasses.replace(trained.document, training=history))
    assert "The training went on from step 500" in text
    assert "at step 500" in text


def test_a_model_without_a_history_has_a_page():
    shown = PageText(page(ReportDocument("Model", (WeightSparsity("dense/kernel", (2, 3), 4, pruned=False),))))
    assert shown.tiles == {}
    assert set(shown.tables) == {"layers"}
    assert shown.tables["layers"][1] == ["dense/kernel", "2 \N{MULTIPLICATION SIGN} 3", "6", "4", "33.33\xa0%"]


def test_what_was_not_pruned_is_told_from_what_was():
    weights = WeightSparsity("kernel", (2, 3), 3), WeightSparsity("bias", (3,), 3, pruned=False)
    shown = PageText(page(ReportDocument("Model", weights)))
    assert [(row[0], row[-1]) for row in shown.tables["layers"]] == [
        ("weight", "pruned"),
        ("kernel", "yes"),
        ("bias", "no"),
    ]
    assert shown.tiles["Weights not zero"].split() == ["3", "of", "6", "pruned"]


def test_a_page_on_hundreds_of_layers_and_a_long_training_is_bounded(trained):
    history = trained.document.training
    small, large = (Histogram.of(np.arange(1, size + 1)) for size in (5, 50))
    weights = tuple(
        WeightHistory(f"layer_{i}/kernel", (5,), large if i % 50 == 0 else small, small, None, None) for i in range(500)
    )
    document = dataclasses.replace(
        trained.document,
        weights=tuple(WeightSparsity(f"layer_{i}/kernel", (5,), 2) for i in range(500)),
        training=dataclasses.replace(history, weights=weights, mask_updates=(StepRange(0, 10_000_000, 10),)),
    )
    text = page(document)
    shown = PageText(text)
    assert len(shown.tables["layers"]) == 501
    assert text.count("<h3>") == figures.WEIGHTS
    assert all(f"<h3>layer_{i}/kernel</h3>" in text for i in range(0, 500, 50))
    assert "The 12 largest of 500 weights" in text
    assert "1,000,001 mask updates, from step 0 to step 10,000,000" in text
    assert len(text) < 1_500_000


@pytest.mark.parametrize(
    ("value", "shown"),
    [(0, "0 bytes"), (999, "999 bytes"), (111_143, "111 kB"), (3_218_287, "3.22 MB"), (5e12, "5000 GB")],
)
def test_bytes_are_shown_for_people(value, shown):
    assert figures.byte_count(value).replace("\xa0", " ") == shown


@pytest.mark.parametrize("character", ["\0", "\x1b", "\x9b", "\ud800", "\ufffe", "\uffff", "\u202e"])
def test_names_with_characters_that_cannot_be_shown_are_escaped(character, trained):
    name = f"odd{character}name"
    training = trained.document.training
    document = dataclasses.replace(
        trained.document,
        title=name,
        weights=(WeightSparsity(name, (2, 3), 3, True),),
        sizes={name: 5},
        lineage={name: name},
        training=dataclasses.replace(
            training,
            metrics=tuple(dataclasses.replace(each, values={name: 1.0}) for each in training.metrics),
            weights=tuple(dataclasses.replace(each, path=name) for each in training.weights),
        ),
    )
    text = page(document)
    text.encode()
    assert character not in text
    shown = f"odd{ascii(character)[1:-1]}name"
    tables = PageText(text).tables
    assert [row[0] for row in tables["layers"]] == ["weight", shown]
    assert [shown, shown] in tables["lineage"]
    assert f"{shown} in training" in text


def test_a_run_leads_with_the_verdict_and_what_is_served(trained):
    shrinking = Shrinking(
        shapes={"hidden/kernel": ("12 x 16", "12 x 4")},
        parameters=(242, 62),
        multiply_adds=(224, 56),
        bytes=(65_432, 60_000),
        gzipped_bytes=(9_000, 8_500),
        largest_difference=1e-7,
        tolerance=1e-5,
    )
    document = dataclasses.replace(
        trained.document,
        stripping=dataclasses.replace(trained.document.stripping, shrinking=shrinking),
        evaluation=dataclasses.replace(trained.document.evaluation, refusals=("auc is 0.9375, asked for is 0.94",)),
        sizes={"dense": 200, "stripped": 50, "dense, gzipped": 80, "stripped and gzipped": 20, "export": 100},
    )
    shown = PageText(page(document))
    tiles = {name: " ".join(value.replace("\xa0", " ").split()) for name, value in shown.tiles.items()}
    assert list(tiles)[:6] == [
        "Verdict",
        "auc",
        "Parameters served",
        "Multiply-adds an example",
        "Served, raw",
        "Served, gzipped",
    ]
    assert tiles["Verdict"] == "refused auc is 0.9375, asked for is 0.94"
    assert tiles["Parameters served"] == "62 of 242"
    assert tiles["Served, raw"] == "60 kB 65.4 kB before shrinking"
    # Gzipped files are compared with gzipped files.
    assert [row[2] for row in shown.tables["sizes"][1:]] == ["100.0%", "25.0%", "100.0%", "25.0%", "50.0%"]
    good = dataclasses.replace(document.evaluation, refusals=())
    assert PageText(page(dataclasses.replace(document, evaluation=good))).tiles["Verdict"].strip() == "good enough"


def test_speed_is_told_only_where_it_was_measured(trained, shown):
    assert "Speed" not in shown.tiles
    assert "latency" not in shown.tables
    slow, fast = CallTimes(5.5, 5.25, 6.0, 150), CallTimes(2.0, 1.875, 2.125, 150)
    often = dataclasses.replace(fast, calls=200)
    single = Latency("serve", 1, often, often)
    document = dataclasses.replace(trained.document, latency=(single, Latency("serve", 64, slow, fast)))
    assert ReportDocument.from_json(document.to_json()) == document
    measured = PageText(page(document))
    tile = " ".join(measured.tiles["Speed"].replace("\xa0", " ").split())
    assert tile == "2.8x as fast batch of 64: 2 ms, dense 5.5 ms"
    assert measured.tables["latency"][1:] == [
        ["1", "2 (1.88 to 2.12)", "2 (1.88 to 2.12)", "1.00", "200"],
        ["64", "5.5 (5.25 to 6)", "2 (1.88 to 2.12)", "2.75", "150"],
    ]
    alike = PageText(page(dataclasses.replace(document, latency=(single,))))
    assert alike.tiles["Speed"].startswith("about as fast")


def test_exports_are_told_with_the_metric_if_there_is_one(trained, shown):
    assert "exports" not in shown.tables
    lite = Export("tflite_int8", 1234, 0.25, "examples", "AUC", 0.9375, 0.9441)
    weights = Export("keras_weights", 999, 0.0, "variables", "AUC", None, 0.9441)
    document = dataclasses.replace(trained.document, exports=(lite, weights))
    assert ReportDocument.from_json(document.to_json()) == document
    assert PageText(page(document)).tables["exports"] == [
        ["format", "bytes", "largest difference", "checked on", "AUC"],
        ["stripped SavedModel", "", "", "", "0.9441"],
        ["tflite_int8", "1,234", "0.25", "examples", "0.9375"],
        ["keras_weights", "999", "0", "variables", "not measured"],
    ]
    plain = dataclasses.replace(lite, metric=None, metric_value=None, model_metric_value=None)
    found = PageText(page(dataclasses.replace(document, exports=(plain,)))).tables["exports"]
    assert found == [
        ["format", "bytes", "largest difference", "checked on"],
        ["tflite_int8", "1,234", "0.25", "examples"],
    ]
