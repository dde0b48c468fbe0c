"""Sweeps of the taxi data, end to end: one that is killed and goes on, one that finds all in the cache, one in vain."""

import dataclasses
import json
import os
import pathlib
import signal
import subprocess
import sys
import time

import ml_metadata
import numpy as np
import pytest
import tensorflow_model_analysis as tfma
from ml_metadata.proto import metadata_store_pb2

from helpers.page_text import PageText
from helpers.shrunk_models import matrices, without_what_was_cut
from helpers.taxi_trips import write_few_trips
from tfx_pruning import properties
from tfx_pruning.metadata.connection import connection_config, open_store
from tfx_pruning.metadata.lineage import lineage
from tfx_pruning.metadata.store_reader import StoreReader

pytestmark = pytest.mark.e2e

PIPELINE = "chicago_taxi_pruning_sweep"
# A tolerance that every model is within: all that is chosen is known before.
FLAGS = ["--train-steps=40", "--pruning-steps=60", "--min-sparsity=0.5", "--max-sparsity=0.9", "--resolution=0.4"]
WITHIN = [*FLAGS, "--min-metric=0", "--tolerance=1"]
# The first call has tried the module.
NOT_TRIED = "--no-try-module"
HALF, MOST = "first_order_gradient_s5000", "first_order_gradient_s9000"
DATA = ["CsvExampleGen", "StatisticsGen", "SchemaGen", "ExampleValidator", "Transform", "Trainer"]
COMPLETE, CACHED = metadata_store_pb2.Execution.COMPLETE, metadata_store_pb2.Execution.CACHED


@dataclasses.dataclass(frozen=True)
class Call:
    """One call of the command, and what was there after it."""

    returncode: int
    stdout: str
    stderr: str
    pushed: list[str]
    page: str

    @property
    def found(self):
        """The JSON that it printed."""
        return json.loads(self.stdout)


class Store:
    """ML Metadata of the sweeps."""

    def __init__(self, root):
        config = metadata_store_pb2.ConnectionConfig()
        config.sqlite.filename_uri = str(root / "metadata.sqlite")
        config.sqlite.connection_mode = metadata_store_pb2.SqliteMetadataSourceConfig.READONLY
        self.store = ml_metadata.MetadataStore(config)

    def executions(self, node):
        """All executions of a node, oldest first."""
        context = self.store.get_context_by_type_and_name("node", f"{PIPELINE}.{node}")
        return sorted(self.store.get_executions_by_context(context.id), key=lambda execution: execution.id)

    def completed(self, node):
        """How often a node ran to its end."""
        return [execution.last_known_state for execution in self.executions(node)].count(COMPLETE)

    def output(self, node, key):
        """What a node put out when it first ran to its end."""
        execution = next(each for each in self.executions(node) if each.last_known_state == COMPLETE)
        events = self.store.get_events_by_execution_ids([execution.id])
        (artifact_id,) = [
            event.artifact_id
            for event in events
            if event.type == metadata_store_pb2.Event.OUTPUT and event.path.steps[0].key == key
        ]
        return self.store.get_artifacts_by_id([artifact_id])[0]

    def properties(self, node, key):
        """Custom properties of that."""
        found = self.output(node, key).custom_properties
        return {name: getattr(value, value.WhichOneof("value")) for name, value in found.items()}


def _command(root, *arguments):
    arguments = f"--data-root={root.parent / 'data'}", *arguments
    return [str(pathlib.Path(sys.executable).with_name("tfx-pruning")), "sweep", "--root", str(root), *arguments]


def _call(root, *arguments):
    result = subprocess.run(_command(root, *arguments), capture_output=True, text=True, timeout=900, check=False)
    serving, page = root / "serving", root / "report.html"
    pushed = sorted(os.listdir(serving)) if serving.exists() else []
    text = page.read_text(encoding="utf-8") if page.exists() else ""
    return Call(result.returncode, result.stdout, result.stderr, pushed, text)


@pytest.fixture(scope="module")
def killed(tmp_path_factory):
    """The root of a sweep that was killed while its first candidate was trained."""
    root = tmp_path_factory.mktemp("sweep") / "root"
    write_few_trips(root.parent / "data", 3000)
    log = root / "run.log"
    process = subprocess.Popen(_command(root, *WITHIN), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while not log.exists() or f"Component PruningTrainer.{HALF} is running." not in log.read_text(errors="replace"):
        assert process.poll() is None, "it ended before a candidate was trained"
        time.sleep(0.1)
    time.sleep(2)
    process.send_signal(signal.SIGKILL)
    process.wait()
    return root


@pytest.fixture(scope="module")
def resumed(killed):
    """The same sweep, called again."""
    return _call(killed, *WITHIN, NOT_TRIED)


@pytest.fixture(scope="module")
def again(killed, resumed):
    """The same sweep, when it had come to its end."""
    before = {execution.id for execution in Store(killed).store.get_executions()}
    return _call(killed, *WITHIN, NOT_TRIED, "--json"), before


@pytest.fixture(scope="module")
def in_vain(killed, again):
    """A sweep of the same with a bound that no model reaches."""
    return _call(killed, *FLAGS, NOT_TRIED, "--min-metric=1", "--json")


@pytest.fixture(scope="module")
def store(killed, in_vain):
    return Store(killed)


def _verdicts(found):
    return {each["name"]: each["within"] for each in found["candidates"]}


def _files(folder):
    return {
        str(file.relative_to(folder)): file.read_bytes() for file in pathlib.Path(folder).rglob("*") if file.is_file()
    }


def test_sweep_that_was_killed_goes_on_where_it_stood(resumed, store):
    assert resumed.returncode == 0, resumed.stdout + resumed.stderr
    for node in DATA:
        assert store.completed(node) == 1, node
    first, *later = store.executions(f"PruningTrainer.{HALF}")
    assert first.last_known_state not in (COMPLETE, CACHED)
    assert [execution.last_known_state for execution in later].count(COMPLETE) == 1


def test_each_candidate_is_trained_stripped_and_evaluated_once(store):
    for kind in ("PruningTrainer", "Stripper", "Evaluator"):
        for name in (HALF, MOST):
            assert store.completed(f"{kind}.{name}") == 1, (kind, name)


def test_progress_names_each_component_once_and_each_round(resumed):
    lines = resumed.stdout.splitlines()
    ran = [line.split()[0] for line in lines if line.endswith(" s") and line.startswith("  ")]
    kinds = ["PruningTrainer", "Stripper", "Evaluator"]
    of_candidates = [f"{kind}.{name}" for name in (HALF, MOST) for kind in kinds]
    assert sorted(ran) == sorted([*DATA, "Stripper.dense", *of_candidates, "SparsitySelector", "Pusher"])
    assert [line for line in lines if line.startswith("Round")] == [f"Round 1: {HALF}", f"Round 2: {MOST}"]
    assert lines[-1] == "90.00% is within the tolerance: --max-sparsity allowed no more."


def test_second_call_finds_all_in_the_cache_and_says_the_same(again, resumed, store):
    call, before = again
    assert call.returncode == 0, call.stdout + call.stderr
    in_vain_begins = min(execution.id for execution in store.executions("SparsitySelector")[2:])
    new = [each for each in store.store.get_executions() if each.id not in before and each.id < in_vain_begins]
    pipeline_nodes = [each for each in new if each.last_known_state != CACHED]
    assert len(new) > 20
    assert pipeline_nodes == []
    assert call.pushed == resumed.pushed
    assert len(call.pushed) == 1
    assert _verdicts(call.found) == {HALF: True, MOST: True}
    assert call.found["chosen"] == MOST


def test_pushed_model_is_the_sparsest_candidate(killed, resumed, store):
    pushed = killed / "serving" / resumed.pushed[0]
    assert _files(pushed) == _files(pathlib.Path(store.output(f"Stripper.{MOST}", "model").uri, "Format-Serving"))
    trained = pathlib.Path(store.output(f"PruningTrainer.{MOST}", "model").uri, "Format-Serving")
    kernels, cut = matrices(pushed), without_what_was_cut(trained, pushed)
    assert [key for key, kernel in kernels.items() if not np.array_equal(kernel, cut[key])] == []
    size = sum(matrices(trained)[key].size for key in kernels)
    assert sum(np.count_nonzero(matrices(trained)[key]) for key in kernels) == round(size * 0.1)
    found = store.properties("Pusher", "pushed_model")
    assert (found["pushed"], found["pushed_destination"]) == (1, str(pushed))


def test_figures_are_those_of_the_metadata_and_the_evaluations(again, store):
    found = again[0].found
    for each in found["candidates"]:
        stripped = store.properties(f"Stripper.{each['name']}", "model")
        evaluation = store.output(f"Evaluator.{each['name']}", "evaluation").uri
        metrics = {
            key: tfma.load_eval_result(evaluation, model_name=key).get_metrics_for_slice()["AUC"]["doubleValue"]
            for key in (tfma.CANDIDATE_KEY, tfma.BASELINE_KEY)
        }
        assert each["metric"] == metrics[tfma.CANDIDATE_KEY]
        assert found["baseline"]["metric"] == pytest.approx(metrics[tfma.BASELINE_KEY], rel=1e-4)
        # Stripper rounds numbers to six decimals for ML Metadata, not for its report.
        assert each[properties.SPARSITY] == pytest.approx(stripped[properties.SPARSITY], abs=5e-7)
        for key in (properties.STRIPPED_BYTES, properties.GZIPPED_BYTES, properties.HPARAMS):
            assert each[key] == stripped[key], key
    dense = store.properties("Stripper.dense", "model")
    assert found["baseline"]["gzipped_bytes"] == dense[properties.GZIPPED_BYTES]


def test_chosen_model_has_its_figures_in_the_metadata(again, store):
    found = again[0].found
    chosen = store.properties("SparsitySelector", "model")
    candidate = store.properties(f"Stripper.{MOST}", "model")
    (figures,) = [each for each in found["candidates"] if each["name"] == MOST]
    assert chosen[properties.CANDIDATE] == MOST
    assert float(chosen[properties.METRIC_VALUE]) == figures["metric"]
    assert float(chosen[properties.BASELINE_METRIC_VALUE]) == found["baseline"]["metric"]
    assert {key: chosen[key] for key in properties.PRUNING} == {key: candidate[key] for key in properties.PRUNING}
    noted = json.loads(store.properties("SparsitySelector", "report")[properties.CANDIDATES])
    assert noted == found["candidates"]


def test_page_shows_the_figures(again, resumed):
    found = again[0].found
    page = PageText(resumed.page)
    rows = {row[0]: row for row in page.tables["sweep"]}
    assert set(rows) == {"model", "dense", HALF, MOST}
    assert rows["dense"][2] == f"{found['baseline']['metric']:.4f}"
    for each in found["candidates"]:
        assert rows[each["name"]][2] == f"{each['metric']:.4f}"
        assert rows[each["name"]][4:6] == [f"{each['stripped_bytes']:,}", f"{each['gzipped_bytes']:,}"]
    assert [rows[name][-1] for name in (HALF, MOST)] == ["within", "chosen"]
    assert {"layers", "course", "evaluation"} <= set(page.tables)


def test_table_marks_what_was_pushed(resumed):
    (line,) = [line for line in resumed.stdout.splitlines() if line.endswith("  pushed")]
    assert line.split()[:2] == [MOST, "90.00%"]


def test_chosen_model_stands_under_its_candidate_and_over_what_was_pushed(killed, store):
    reader = StoreReader(open_store(connection_config(str(killed / "metadata.sqlite"))))
    chosen = store.output("SparsitySelector", "model").id
    nodes = {node.artifact.id: node for node in lineage(reader, chosen).nodes}
    assert nodes[chosen].parent_id == store.output(f"Stripper.{MOST}", "model").id
    assert nodes[store.output("Pusher", "pushed_model").id].parent_id == chosen
    others = [store.output(f"Stripper.{HALF}", "model").id, store.output("Trainer", "model").id]
    assert [nodes[id].relation for id in others] == ["source", "source"]


def test_none_within_pushes_nothing_and_trains_nothing(in_vain, resumed, store):
    assert in_vain.returncode == 3, in_vain.stdout + in_vain.stderr
    assert (in_vain.found["chosen"], in_vain.found["pushed_to"]) == (None, None)
    assert _verdicts(in_vain.found) == {HALF: False}
    assert "Nothing was pushed: the AUC of no candidate is at least 1" in in_vain.stderr
    assert in_vain.pushed == resumed.pushed
    assert store.completed(f"Evaluator.{HALF}") == 1
    assert store.completed("SparsitySelector") == 2
