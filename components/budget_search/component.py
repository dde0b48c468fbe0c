"""The BudgetSearch component."""

from typing import Any

from tfx import types
from tfx.dsl.components.base import base_component, executor_spec
from tfx.orchestration import data_types
from tfx.types import standard_artifacts

from ..budget import SAVED_MODEL, TFLITE_INT8, Budget
from ..engine.hparams import PruningHParams
from ..typed_value import checked_value
from . import executor
from .spec import DEFAULT_NUM_EXAMPLES, BudgetSearchSpec

_ANY_BYTES = 1


class BudgetSearch(base_component.BaseComponent):
    """A TFX component that finds the target sparsity by which a pruned model has a size or a latency.

    It stands between the dense model and PruningTrainer. Copies of the dense model are pruned at once, stripped,
    shrunk, exported and measured, without training any.

    Example:
        ```
        search = BudgetSearch(
            dense_model=stripped_dense.outputs['model'], hparams=hparams, max_bytes='1MB', format='tflite')
        pruned = PruningTrainer(hparams=hparams, hyperparameters=search.outputs['hyperparameters'], ...)
        stripper = Stripper(model=pruned.outputs['model'], shrink=True, export=['tflite'])
        check = BudgetCheck(
            model=stripper.outputs['model'],
            dense_model=stripped_dense.outputs['model'],
            hyperparameters=search.outputs['hyperparameters'])
        ```

    Component `outputs` contains:
     - `hyperparameters`: Channel of type `standard_artifacts.HyperParameters`: the target sparsity, which
       PruningTrainer takes, and what was measured, which BudgetCheck takes.
    """

    SPEC_CLASS = BudgetSearchSpec
    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(executor.Executor)

    def __init__(
        self,
        dense_model: types.BaseChannel,
        hparams: PruningHParams | str | data_types.RuntimeParameter,
        max_bytes: int | str | data_types.RuntimeParameter | None = None,
        max_latency: float | str | data_types.RuntimeParameter | None = None,
        format: str = SAVED_MODEL,
        batch_size: int | data_types.RuntimeParameter = 1,
        threads: int | data_types.RuntimeParameter = 1,
        examples: types.BaseChannel | None = None,
        num_examples: int | data_types.RuntimeParameter = DEFAULT_NUM_EXAMPLES,
        shrink: bool = True,
    ) -> None:
        """Constructs the component.

        Args:
            dense_model: A channel of type `standard_artifacts.Model`: Stripper's output of the dense model.
            hparams: The hyperparameters that PruningTrainer gets: PruningHParams, its string, or a RuntimeParameter of
                that string. Their target sparsity has no effect; their `granularity` is 'channel', or, for
                `format='savedmodel_gz'`, any.
            max_bytes: The most bytes that the model may take: a number, or a text such as '1MB'; None for no limit. A
                RuntimeParameter is a str, '' for no limit.
            max_latency: The longest that one call may take, the median of many: a number of milliseconds, or a text
                such as '2ms'; None for no limit. A RuntimeParameter likewise.
            format: What is measured: 'savedmodel', 'savedmodel_gz', 'tflite' or 'tflite_int8'.
            batch_size: How many examples one call has.
            threads: How many threads one call may take.
            examples: A channel of type `standard_artifacts.Examples`, as Stripper takes it: for calls that are timed,
                and for 'tflite_int8'.
            num_examples: How many examples are read at most.
            shrink: Whether Stripper is going to shrink the model.

        Raises:
            ValueError: There is no limit, or a value is out of range; `hparams` are wrong, or their zeros make no model
                smaller; 'tflite_int8' has no examples.
            TypeError: A value is of the wrong type.
        """
        if isinstance(hparams, str):
            hparams = PruningHParams.parse(hparams)
        limits = {"max_bytes": max_bytes, "max_latency": max_latency}
        known = {name: value for name, value in limits.items() if _is_known(value) and value not in (None, "")}
        if not known and not all(map(_is_known, limits.values())):
            known = {"max_bytes": _ANY_BYTES}  # a run says which limit there is
        budget = Budget(
            **known,
            format=checked_value("format", str, format),
            batch_size=batch_size if _is_known(batch_size) else 1,
            threads=threads if _is_known(threads) else 1,
        )
        if not isinstance(hparams, data_types.RuntimeParameter):
            budget.check_hparams(hparams)
            hparams = hparams.to_string()
        if format == TFLITE_INT8 and examples is None:
            raise ValueError("format='tflite_int8' needs examples, which set the ranges of activations; give examples.")
        super().__init__(
            spec=BudgetSearchSpec(
                dense_model=dense_model,
                examples=examples,
                hparams=hparams,
                max_bytes=_text(max_bytes),
                max_latency=_text(max_latency),
                format=format,
                batch_size=batch_size,
                threads=threads,
                num_examples=num_examples,
                shrink=int(checked_value("shrink", bool, shrink)),
                hyperparameters=types.Channel(type=standard_artifacts.HyperParameters),
            )
        )


def _is_known(value: Any) -> bool:
    return not isinstance(value, data_types.RuntimeParameter)


def _text(limit: Any) -> Any:
    if not _is_known(limit):
        return limit
    return "" if limit is None else str(limit)
