"""How many trainings a budget takes, with a runner that runs nothing."""

import dataclasses

import pytest

from tfx_pruning import properties
from tfx_pruning.pipelines.config import PipelineConfig
from tfx_pruning.pipelines.run import budget_rounds
from tfx_pruning.pipelines.run.folder import RunFolder
from tfx_pruning.pipelines.run.outputs import NodeOutput
from tfx_pruning.pipelines.task_state import TaskState


@dataclasses.dataclass
class Run:
    """A run whose checks are those of `RETRIES`."""

    metadata: str
    pipeline_name: str
    name: str

    def output(self, node, key):
        assert key == "report"
        return NodeOutput("", {properties.BUDGET_RETRY: int(node in self.name.split())})


@pytest.fixture
def rounds(tmp_path, monkeypatch):
    """Runs rounds in which the checks that are named want another training; returns the trainings of each run."""
    monkeypatch.setattr(budget_rounds, "MetadataRun", Run)
    monkeypatch.setattr(budget_rounds, "with_importable_module", lambda config, folder: config)
    monkeypatch.setattr(budget_rounds, "read_budget_sweep", lambda run, config, trainings: dict(trainings))
    config = PipelineConfig(
        pipeline_root=str(tmp_path), data_root=str(tmp_path), serving_dir=str(tmp_path), max_bytes="1MB"
    )

    def run(ways, retries):
        ran = []

        def run_pipeline(pipeline, on_task, code):
            ran.append(sorted(node.id for node in pipeline.components if node.id.startswith("PruningTrainer")))
            assert ("Pusher" in {node.id for node in pipeline.components}) == (len(ran) > 1 and ran[-1] == ran[-2])
            on_task("Trainer", None)
            on_task("Trainer", TaskState.SUCCEEDED)
            return " ".join(retries)

        told = []
        found = budget_rounds.run_budget_rounds(
            config,
            {way: config.hparams for way in ways},
            RunFolder(tmp_path),
            lambda name, state: told.append((name, state)),
            run_pipeline,
            (),
        )
        assert told == [("Trainer", None), ("Trainer", TaskState.SUCCEEDED)]
        return found[1], len(ran)

    return run


def test_a_budget_that_is_met_takes_one_training(rounds):
    assert rounds(["budget"], []) == ({"budget": 1}, 2)


def test_what_misses_it_is_trained_again(rounds):
    assert rounds(["budget"], ["BudgetCheck.budget_1"]) == ({"budget": 2}, 3)


def test_nothing_is_trained_more_than_three_times(rounds):
    assert rounds(["a"], [f"BudgetCheck.a_{number}" for number in range(1, 9)]) == ({"a": 3}, 4)


def test_ways_to_prune_have_trainings_of_their_own(rounds):
    assert rounds(["a", "b"], ["BudgetCheck.b_1"]) == ({"a": 1, "b": 2}, 3)
