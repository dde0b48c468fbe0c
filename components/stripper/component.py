"""The Stripper component."""

from collections.abc import Sequence

from tfx import types
from tfx.dsl.components.base import base_beam_component, executor_spec
from tfx.orchestration import data_types
from tfx.types import standard_artifacts
from tfx.utils import json_utils

from ..examples.split_names import check_splits
from ..pruning_report import PruningReport
from . import executor
from .check.answers import checked_tolerance
from .check.relative_tolerance import checked_shrink_tolerance
from .export.exporter import check_shrunk_formats
from .export.formats import exporters
from .export.model_export import check_export_tolerance, checked_metric
from .spec import (
    DEFAULT_NUM_EXAMPLES,
    DEFAULT_SIGNATURE_NAME,
    StripperSpec,
    check_num_examples,
    check_signature_name,
    encode_formats,
)


class Stripper(base_beam_component.BaseBeamComponent):
    """A TFX component that removes all that only training needs from a model.

    Masks, thresholds, gradients, old weights, optimizer and slot variables go, and every other variable that no
    signature reaches. Signatures, lookup tables and assets stay, a serving signature with its Transform layer included.
    Nothing is published before every signature has been checked to answer bit for bit as before. Given `examples`, one
    signature is proven to answer all of them as before, on Beam.

    Example:
        ```
        stripper = Stripper(
            model=pruning_trainer.outputs['model'],
            examples=example_gen.outputs['examples'])
        pusher = Pusher(model=stripper.outputs['model'], push_destination=...)
        ```

    Component `outputs` contains:
     - `model`: Channel of type `standard_artifacts.Model`, the stripped model, with the exports in its folder
       `exports`. Its custom properties are those that PruningTrainer wrote on the input, and sizes, variables removed,
       signatures checked, what was proven and what was exported.
     - `report`: Channel of type `PruningReport`, a page of HTML and its figures as JSON: sparsity of the stripped
       model's weights, sizes, variables removed, signatures checked.
    """

    SPEC_CLASS = StripperSpec
    EXECUTOR_SPEC = executor_spec.BeamExecutorSpec(executor.Executor)

    def __init__(
        self,
        model: types.BaseChannel,
        examples: types.BaseChannel | None = None,
        splits: Sequence[str] | None = None,
        signature_name: str | data_types.RuntimeParameter = DEFAULT_SIGNATURE_NAME,
        tolerance: float | data_types.RuntimeParameter = 0.0,
        num_examples: int | data_types.RuntimeParameter = DEFAULT_NUM_EXAMPLES,
        export: Sequence[str] | data_types.RuntimeParameter = (),
        export_signature: str | data_types.RuntimeParameter | None = None,
        export_tolerance: float | data_types.RuntimeParameter | None = None,
        export_metric: str | data_types.RuntimeParameter | None = None,
        export_label: str | data_types.RuntimeParameter | None = None,
        shrink: bool | data_types.RuntimeParameter = False,
        shrink_tolerance: float | data_types.RuntimeParameter | None = None,
    ) -> None:
        """Constructs a Stripper component.

        Args:
            model: A channel of type `standard_artifacts.Model`, pruned or not.
            examples: An optional channel of type `standard_artifacts.Examples`: what the signature `signature_name`
                parses, those of ExampleGen if it holds the Transform graph, or with its inputs as features, those of
                Transform if it does not. The stripped model must answer each of them as `model` does.
            splits: The splits to prove on. By default 'eval', which is much smaller than the training data and like it;
                Evaluator measures the same model on it. All splits if there is no 'eval'.
            signature_name: The signature that answers the examples.
            tolerance: The largest difference of a floating-point number of an answer; 0.0 requires bitwise equality.
            num_examples: Number of examples used to pre-check each signature that parses such records, in the
                component's own process, taken from the first split; at least 1.
            export: Names of the formats that the stripped model is also exported in, such as 'tflite'; those with int8
                activations need `examples`. 'MODULE:NAME', or NAME once the module is imported, is a format that a
                module of yours registers with `tfx_pruning.register_exporter`. A RuntimeParameter is a JSON list.
            export_signature: Name of the signature that is exported; by default 'serving_default' if its inputs are
                numbers, else the first signature, by name, whose inputs are.
            export_tolerance: The largest difference of a TFLite file's answers from the model's, over the largest
                answer; by default the format's own.
            export_metric: Name of a class of `keras.metrics`, such as 'SparseCategoricalAccuracy'. The stripped
                model and each export that can be run are measured by it, on `num_examples` examples. None by default.
            export_label: Name of the feature of `examples` that holds the label of `export_metric`.
            shrink: Whether dead units are cut, so that tensors become smaller, as `strip_saved_model` says. A
                RuntimeParameter is an int, 0 or 1.
            shrink_tolerance: The t in |difference| <= t * (1 + |answer|), by which answers of the shrunk model may
                differ, those to the examples too; by default 1e-5.

        Raises:
            ValueError: `num_examples` is below 1, `tolerance` is negative or not finite, `signature_name` or `splits`
                is empty, a format is unknown, needs examples or, with `shrink`, has weights alone, `export_tolerance`
                is not above 0, `export_metric` is no metric or lacks label, exports or examples, or `shrink_tolerance`
                is not above 0, or given without `shrink`.
            TypeError: One of them is of another type.
        """
        if not isinstance(num_examples, data_types.RuntimeParameter):
            check_num_examples(num_examples)
        if not isinstance(tolerance, data_types.RuntimeParameter):
            tolerance = checked_tolerance(tolerance)
        if not isinstance(signature_name, data_types.RuntimeParameter):
            check_signature_name(signature_name)
        check_splits(splits)
        if not isinstance(export_tolerance, data_types.RuntimeParameter):
            check_export_tolerance(export_tolerance)
        if not isinstance(export, data_types.RuntimeParameter):
            if examples is None and (needing := [each.name for each in exporters(export) if each.needs_examples]):
                raise ValueError(f"export has {', '.join(needing)}, which need examples; give Stripper examples.")
            if shrink is True:
                check_shrunk_formats(exporters(export))
            _check_export_metric(export_metric, export_label, list(export), examples is not None)
            export = encode_formats(export)
        if not isinstance(shrink, data_types.RuntimeParameter):
            if not isinstance(shrink_tolerance, data_types.RuntimeParameter):
                checked_shrink_tolerance(shrink, shrink_tolerance)
            shrink = int(shrink)
        super().__init__(
            spec=StripperSpec(
                trained_model=model,
                examples=examples,
                splits=json_utils.dumps(None if splits is None else list(splits)),
                signature_name=signature_name,
                tolerance=tolerance,
                num_examples=num_examples,
                export=export,
                export_signature=export_signature,
                export_tolerance=float(export_tolerance) if isinstance(export_tolerance, int) else export_tolerance,
                export_metric=export_metric,
                export_label=export_label,
                shrink=shrink,
                shrink_tolerance=float(shrink_tolerance) if isinstance(shrink_tolerance, int) else shrink_tolerance,
                model=types.Channel(type=standard_artifacts.Model),
                report=types.Channel(type=PruningReport),
            )
        )


def _check_export_metric(
    metric: str | data_types.RuntimeParameter | None,
    label: str | data_types.RuntimeParameter | None,
    export: Sequence[str],
    has_examples: bool,
) -> None:
    if any(isinstance(each, data_types.RuntimeParameter) for each in (metric, label)):
        return
    if checked_metric(metric, label) is not None and not (export and has_examples):
        raise ValueError(
            f"export_metric is {metric!r}, which is measured of exports on examples. Give Stripper export and "
            "examples, or leave export_metric out."
        )
