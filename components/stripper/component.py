"""The Stripper component."""

from collections.abc import Sequence

from tfx import types
from tfx.dsl.components.base import base_component, executor_spec
from tfx.orchestration import data_types
from tfx.types import standard_artifacts

from . import executor
from .formats import chosen_formats, refuse_tolerance
from .spec import DEFAULT_NUM_EXAMPLES, StripperSpec, encode_formats, refuse_num_examples


class Stripper(base_component.BaseComponent):
    """A TFX component that removes all that only training needs from a model.

    Masks, thresholds, gradients, old weights, optimizer and slot variables go, and every other variable that no
    signature reaches. Signatures, lookup tables and assets stay, a serving signature with its Transform layer included.
    Before anything is published, every signature is seen to answer bit for bit as before.

    Example:
      ```
      stripper = Stripper(
          model=pruning_trainer.outputs['model'],
          examples=example_gen.outputs['examples'])
      pusher = Pusher(model=stripper.outputs['model'], push_destination=...)
      ```

    Component `outputs` contains:
     - `model`: Channel of type `standard_artifacts.Model`, the stripped model, with the exports in its folder
       `exports`. Its custom properties are those that PruningTrainer wrote on the input, and sizes, variables removed
       and signatures checked.
    """

    SPEC_CLASS = StripperSpec
    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(executor.Executor)

    def __init__(
        self,
        model: types.BaseChannel,
        examples: types.BaseChannel | None = None,
        num_examples: int | data_types.RuntimeParameter = DEFAULT_NUM_EXAMPLES,
        export: Sequence[str] | data_types.RuntimeParameter = (),
        export_signature: str | data_types.RuntimeParameter | None = None,
        export_tolerance: float | data_types.RuntimeParameter | None = None,
    ) -> None:
        """Constructs a Stripper component.

        Args:
          model: A channel of type `standard_artifacts.Model`, pruned or not.
          examples: An optional channel of type `standard_artifacts.Examples`, in the form that the model's serving
            signatures parse: those of ExampleGen if they hold the Transform graph. Signatures are checked on them,
            besides drawn inputs.
          num_examples: How many of the examples are read, from the split 'eval' if there is one, at least 1.
          export: Names of the formats that the stripped model is exported in besides, keys of
            `tfx_pruning.stripper.formats.FORMATS`; those with int8 activations need `examples`. A RuntimeParameter is a
            JSON list of them.
          export_signature: Name of the signature that is exported; by default 'serving_default' if its inputs are
            numbers, else the first signature, by name, whose inputs are.
          export_tolerance: The largest difference of a TFLite file's answers from the model's, over the largest answer;
            by default the format's own.

        Raises:
          TypeError: `export` is a string.
          ValueError: `num_examples` is below 1, a format is unknown or needs examples, or `export_tolerance` is not
            above 0.
        """
        if not isinstance(num_examples, data_types.RuntimeParameter):
            refuse_num_examples(num_examples)
        if not isinstance(export_tolerance, data_types.RuntimeParameter):
            refuse_tolerance(export_tolerance)
        if not isinstance(export, data_types.RuntimeParameter):
            if examples is None and (needing := [each.name for each in chosen_formats(export) if each.needs_examples]):
                raise ValueError(
                    f"export has {', '.join(needing)}, which need examples for the range of activations; give Stripper "
                    "examples."
                )
            export = encode_formats(export)
        super().__init__(
            spec=StripperSpec(
                trained_model=model,
                examples=examples,
                num_examples=num_examples,
                export=export,
                export_signature=export_signature,
                export_tolerance=float(export_tolerance) if isinstance(export_tolerance, int) else export_tolerance,
                model=types.Channel(type=standard_artifacts.Model),
            )
        )
