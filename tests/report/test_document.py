import dataclasses
import json

import pytest

from tfx_pruning.engine.keras.delivered_sparsity import WeightSparsity
from tfx_pruning.report.document import ReportDocument


def test_json_gives_the_document_back(trained):
    assert ReportDocument.from_json(trained.document.to_json()) == trained.document


def test_a_document_of_nothing_but_weights_is_given_back():
    document = ReportDocument("Model", (WeightSparsity("dense/kernel", (2, 3), 4, pruned=False),))
    assert ReportDocument.from_json(document.to_json()) == document
    assert (document.sparsity, document.pruned_weights) == (0.0, ())


def test_sums_are_of_the_pruned_weights_alone():
    weights = (
        WeightSparsity("a", (2, 5), 4),
        WeightSparsity("b", (10,), 2),
        WeightSparsity("bias", (100,), 0, pruned=False),
    )
    document = ReportDocument("Model", weights)
    assert (document.prunable_parameters, document.nonzero_parameters, document.sparsity) == (20, 6, 0.7)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("no json", ["here.json is no JSON"]),
        ("[]", ["format None", "expected 3"]),
        ('{"format": 7}', ["format 7", "expected 3"]),
        ('{"format": 3, "title": "T"}', ["here.json is no report", "training"]),
    ],
)
def test_what_is_no_report_is_refused(text, words):
    with pytest.raises(ValueError, match=r"here\.json") as caught:
        ReportDocument.from_json(text, "here.json")
    for word in words:
        assert word in str(caught.value)


def test_a_number_that_json_has_not_is_refused(trained):
    document = dataclasses.replace(trained.document, sizes={"model": float("nan")})
    with pytest.raises(ValueError, match="not JSON compliant"):
        document.to_json()


def test_the_json_names_its_format(trained):
    assert json.loads(trained.document.to_json())["format"] == 3
