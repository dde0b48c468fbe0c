"""What is told of a sweep, from outputs of nodes that never ran."""

import json

from tfx_pruning import properties
from tfx_pruning.pipelines.run.outputs import NodeOutput
from tfx_pruning.pipelines.run.page_file import PageFile
from tfx_pruning.pipelines.sweep.outcome import SweepOutcome, sweep_document
from tfx_pruning.report.document import ReportDocument
from tfx_pruning.report.files import write_report
from tfx_pruning.sweep import MetricGoal, Sweep, SweepBaseline, SweepCandidate

SWEEP = Sweep(
    MetricGoal("auc", 0.01),
    SweepBaseline(0.9444, 900123, 620456),
    (
        SweepCandidate("weight_s9500", 0.95, 0.9421, 883930, 70345),
        SweepCandidate("weight_s5000", 0.5, 0.9447, 883930, 250678),
        SweepCandidate("weight_s9900", 0.99, 0.9312, 883930, 42001),
    ),
)


class Outputs:
    """RunOutputs of SparsitySelector and Pusher."""

    name, pipeline_name, record = "run1", "houses", "/root/metadata.sqlite"

    def __init__(self, folder, document, pushed):
        write_report(document, folder)
        self._outputs = {
            ("SparsitySelector", "report"): NodeOutput(str(folder), {properties.METRIC: "auc"}),
            ("Pusher", "pushed_model"): NodeOutput("pushed", pushed),
        }

    def output(self, node, key):
        return self._outputs[node, key]


def test_table_of_a_pushed_model(tmp_path):
    document = ReportDocument("Sweep", (), sweep=SWEEP)
    outputs = Outputs(tmp_path, document, {"pushed": 1, "pushed_destination": "/serving/17"})
    outcome = SweepOutcome.of(outputs, SWEEP, PageFile("/root/report.html"))
    assert outcome.table() == (
        ("model", "sparsity", "auc", "against dense", "stripped bytes", "gzipped bytes", "verdict"),
        (
            ("dense", "", "0.9444", "", "900,123", "620,456", ""),
            ("weight_s5000", "50.00%", "0.9447", "+0.0003", "883,930", "250,678", "within"),
            ("weight_s9500", "95.00%", "0.9421", "-0.0023", "883,930", "70,345", "pushed"),
            ("weight_s9900", "99.00%", "0.9312", "-0.0132", "883,930", "42,001", "over"),
        ),
    )
    found = json.loads(json.dumps(outcome.to_dict()))
    assert (found["chosen"], found["pushed_to"], found["record"]) == ("weight_s9500", "/serving/17", Outputs.record)


def test_without_a_model_within_the_document_is_of_the_sweep_alone(tmp_path):
    in_vain = Sweep(MetricGoal("auc", 0, bound=1), SWEEP.baseline, SWEEP.candidates)
    outputs = Outputs(tmp_path, ReportDocument("Sweep", (), sweep=in_vain), {"pushed": 0})
    outcome = SweepOutcome.of(outputs, in_vain, PageFile("/root/report.html"))
    assert (outcome.pushed_to, outcome.sweep) == (None, in_vain)
    assert "pushed" not in {row[-1] for row in outcome.table()[1]}
    assert sweep_document(outputs) == ReportDocument("Sparsity sweep of houses", (), sweep=in_vain)
