"""LatestBlessedDenseModel: which earlier dense model a dense training starts from."""

from collections.abc import Collection

import ml_metadata
from ml_metadata.proto import metadata_store_pb2
from tfx import types
from tfx.components.evaluator import constants
from tfx.dsl.components.common.resolver import ResolverStrategy
from tfx.types import standard_component_specs
from tfx.utils import typing_utils

MODEL_KEY = "model"
BLESSING_KEY = "model_blessing"
EXAMPLES_KEY = "examples"


class LatestBlessedDenseModel(ResolverStrategy):
    """Finds the dense model that the pruned model blessed last was compared with.

    TFX's LatestBlessedModelStrategy finds the pruned model itself, and a dense training must not start from that: it
    would begin with the pruned model's zeros.

    Dense models that were trained on this run's examples are passed over. A run on the same data thus finds what the
    run before it found, and TFX's cache has its dense model.
    """

    def resolve_artifacts(
        self, store: ml_metadata.MetadataStore, input_dict: typing_utils.ArtifactMultiMap
    ) -> dict[str, list[types.Artifact]]:
        """Chooses among the artifacts of the pipeline.

        Args:
            store: ML Metadata.
            input_dict: All models under 'model', all blessings under 'model_blessing', and under 'examples' those that
                the training takes.

        Returns:
            The dense model, the blessing of its pruned copy, and the examples; empty lists if there is no such model.
        """
        models = {model.id: model for model in input_dict[MODEL_KEY]}
        examples = {artifact.id for artifact in input_dict[EXAMPLES_KEY]}
        blessings = sorted(input_dict[BLESSING_KEY], key=lambda blessing: blessing.id, reverse=True)
        for blessing in blessings:
            if blessing.get_int_custom_property(constants.ARTIFACT_PROPERTY_BLESSED_KEY) != 1:
                continue
            dense = models.get(blessing.get_int_custom_property(constants.ARTIFACT_PROPERTY_BASELINE_MODEL_ID_KEY))
            if dense is not None and not _was_trained_on(store, dense.id, examples):
                return {MODEL_KEY: [dense], BLESSING_KEY: [blessing], EXAMPLES_KEY: list(input_dict[EXAMPLES_KEY])}
        return {key: [] for key in input_dict}


def _was_trained_on(store: ml_metadata.MetadataStore, model_id: int, examples: Collection[int]) -> bool:
    """Whether one of the examples, given by their ids, went into the training that put the model out."""
    made_by = {
        event.execution_id
        for event in store.get_events_by_artifact_ids([model_id])
        if event.type == metadata_store_pb2.Event.OUTPUT
    }
    return any(
        event.type == metadata_store_pb2.Event.INPUT
        and event.path.steps[0].key == standard_component_specs.EXAMPLES_KEY
        and event.artifact_id in examples
        for event in store.get_events_by_execution_ids(sorted(made_by))
    )
