import ml_metadata
import pytest
from ml_metadata.proto import metadata_store_pb2
from tfx import types
from tfx.types import standard_artifacts

from tfx_pruning.pipelines.dense_model_strategy import LatestBlessedDenseModel

Event = metadata_store_pb2.Event


class Pipeline:
    """Runs of a pipeline in an ML Metadata of its own, in memory."""

    def __init__(self) -> None:
        config = metadata_store_pb2.ConnectionConfig()
        config.fake_database.SetInParent()
        self.store = ml_metadata.MetadataStore(config)
        self.training = self.store.put_execution_type(metadata_store_pb2.ExecutionType(name="Trainer"))
        self.found: dict[str, list[types.Artifact]] = {"model": [], "model_blessing": []}

    def add(self, kind: type[types.Artifact], **properties: int) -> types.Artifact:
        """Records an artifact with these custom properties."""
        artifact = kind()
        for name, value in properties.items():
            artifact.set_int_custom_property(name, value)
        artifact.type_id = self.store.put_artifact_type(artifact.artifact_type)
        (artifact.id,) = self.store.put_artifacts([artifact.mlmd_artifact])
        return artifact

    def run(self, examples: types.Artifact, blessed: bool = True) -> types.Artifact:
        """Records a dense model that was trained on examples, a pruned one, and the comparison; returns the dense."""
        dense, pruned = self.add(standard_artifacts.Model), self.add(standard_artifacts.Model)
        self.train(dense, examples)
        blessing = self.add(
            standard_artifacts.ModelBlessing,
            blessed=int(blessed),
            current_model_id=pruned.id,
            baseline_model_id=dense.id,
        )
        # As TFX finds them: in no order that tells their age.
        self.found = {
            "model": [pruned, *self.found["model"], dense],
            "model_blessing": [*self.found["model_blessing"], blessing],
        }
        return dense

    def train(self, model: types.Artifact, examples: types.Artifact) -> None:
        """Records an execution that takes examples and puts a model out."""
        (execution,) = self.store.put_executions([metadata_store_pb2.Execution(type_id=self.training)])
        events = []
        for kind, key, artifact in ((Event.INPUT, "examples", examples), (Event.OUTPUT, "model", model)):
            event = Event(execution_id=execution, artifact_id=artifact.id, type=kind)
            event.path.steps.add(key=key)
            events.append(event)
        self.store.put_events(events)

    def start(self, examples: types.Artifact) -> types.Artifact | None:
        """The model from which a dense training on examples starts."""
        found = LatestBlessedDenseModel().resolve_artifacts(self.store, {**self.found, "examples": [examples]})
        assert set(found) == {"model", "model_blessing", "examples"}
        assert {len(artifacts) for artifacts in found.values()} <= {0} or {len(a) for a in found.values()} == {1}
        return found["model"][0] if found["model"] else None


@pytest.fixture
def pipeline() -> Pipeline:
    return Pipeline()


def test_first_run_starts_from_nothing(pipeline: Pipeline) -> None:
    assert pipeline.start(pipeline.add(standard_artifacts.Examples)) is None


def test_other_data_start_from_the_dense_model_and_not_from_the_pruned_one(pipeline: Pipeline) -> None:
    first, second, third = (pipeline.add(standard_artifacts.Examples) for _ in range(3))
    dense = pipeline.run(first)
    assert pipeline.start(second).id == dense.id
    later = pipeline.run(second)
    assert pipeline.start(third).id == later.id


def test_refused_model_leads_to_no_dense_one(pipeline: Pipeline) -> None:
    first, second, third = (pipeline.add(standard_artifacts.Examples) for _ in range(3))
    dense = pipeline.run(first)
    pipeline.run(second, blessed=False)
    assert pipeline.start(third).id == dense.id


def test_same_data_find_what_the_run_before_found(pipeline: Pipeline) -> None:
    first, second = (pipeline.add(standard_artifacts.Examples) for _ in range(2))
    dense = pipeline.run(first)
    assert pipeline.start(first) is None
    later = pipeline.run(second)
    assert pipeline.start(second).id == dense.id
    # From the cache: another execution puts the same model out.
    pipeline.train(later, second)
    assert pipeline.start(second).id == dense.id


def test_model_that_is_gone_is_passed_over(pipeline: Pipeline) -> None:
    first, second, third = (pipeline.add(standard_artifacts.Examples) for _ in range(3))
    dense = pipeline.run(first)
    gone = pipeline.run(second)
    pipeline.found["model"] = [model for model in pipeline.found["model"] if model.id != gone.id]
    assert pipeline.start(third).id == dense.id
