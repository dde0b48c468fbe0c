"""The Stripper component."""

from tfx import types
from tfx.dsl.components.base import base_component, executor_spec
from tfx.orchestration import data_types
from tfx.types import standard_artifacts

from ..pruning_report import PruningReport
from . import executor
from .spec import DEFAULT_NUM_EXAMPLES, StripperSpec, refuse_num_examples


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
     - `model`: Channel of type `standard_artifacts.Model`, the stripped model. Its custom properties are those that
       PruningTrainer wrote on the input, and sizes, variables removed and signatures checked.
     - `report`: Channel of type `PruningReport`, a page of HTML and its figures as JSON: sparsity of the stripped
       model's weights, sizes, variables removed, signatures checked.
    """

    SPEC_CLASS = StripperSpec
    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(executor.Executor)

    def __init__(
        self,
        model: types.BaseChannel,
        examples: types.BaseChannel | None = None,
        num_examples: int | data_types.RuntimeParameter = DEFAULT_NUM_EXAMPLES,
    ) -> None:
        """Constructs a Stripper component.

        Args:
          model: A channel of type `standard_artifacts.Model`, pruned or not.
          examples: An optional channel of type `standard_artifacts.Examples`, in the form that the model's serving
            signatures parse: those of ExampleGen if they hold the Transform graph. Signatures are checked on them,
            besides drawn inputs.
          num_examples: How many of the examples are read, from the split 'eval' if there is one, at least 1.

        Raises:
          ValueError: `num_examples` is below 1.
        """
        if not isinstance(num_examples, data_types.RuntimeParameter):
            refuse_num_examples(num_examples)
        super().__init__(
            spec=StripperSpec(
                trained_model=model,
                examples=examples,
                num_examples=num_examples,
                model=types.Channel(type=standard_artifacts.Model),
                report=types.Channel(type=PruningReport),
            )
        )
