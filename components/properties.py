"""Keys of the custom properties that this package's components write on artifacts in ML Metadata.

PruningTrainer writes the first two groups on its Model; Stripper copies them from its input model and adds the next;
SparsitySelector copies all of these and adds the last. `tfx-pruning run` adds its own at the end of a run.

ML Metadata's SQLite keeps six decimals of a float, and refuses NaN and infinity. So what may be any of these is a str,
the `repr` of a float; floats are fractions only.
"""

from collections.abc import Mapping
from typing import Any

PRUNE_OPTION = "prune_option"  # str
GRADIENT_ESTIMATOR = "gradient_estimator"  # str
TARGET_SPARSITY = "target_sparsity"  # float, a fraction: of the multiply-adds if `hparams` have cost='flops'
SPARSITY = "sparsity"  # float, a fraction of the prunable parameters
TOTAL_SPARSITY = "total_sparsity"  # float, the zeros among the prunable parameters as a fraction of all parameters
PRUNABLE_PARAMETERS = "prunable_parameters"  # int
NONZERO_PARAMETERS = "nonzero_parameters"  # int, among the prunable ones
TOTAL_PARAMETERS = "total_parameters"  # int, the model's own; no pruning or optimizer variables
HPARAMS = "hparams"  # str, as PruningHParams.parse reads it
TRAINED_BYTES = "trained_bytes"  # int, the SavedModel as trained, all its files

# With cost='flops' besides. Of the matrix products and convolutions for one example.
MULTIPLY_ADDS = "multiply_adds"  # int, before pruning
MULTIPLY_ADDS_KEPT = "multiply_adds_kept"  # int, those that the masks keep
MULTIPLY_ADDS_SPARSITY = "multiply_adds_sparsity"  # float, the fraction that is gone; TARGET_SPARSITY asks for it

STRIPPED_BYTES = "stripped_bytes"  # int, the stripped SavedModel, all its files
GZIPPED_BYTES = "gzipped_bytes"  # int, the stripped SavedModel as one .tar.gz
VARIABLES_REMOVED = "variables_removed"  # int
SIGNATURES_CHECKED = "signatures_checked"  # str, their names joined by commas

# If Stripper shrank the model. The sizes of the shrunk model itself are the stripped model's, above.
VARIABLES_CUT = "variables_cut"  # int, those that became smaller; 0 if no unit was dead
SCALES_FOLDED = "scales_folded"  # int, multiplications by channel that went into convolutions' kernels
PARAMETERS_BEFORE_SHRINKING = "parameters_before_shrinking"  # int, of all variables that are no strings
PARAMETERS_SHRUNK = "parameters_shrunk"  # int, the same of the shrunk model
MULTIPLY_ADDS_BEFORE_SHRINKING = "multiply_adds_before_shrinking"  # int, for one example
MULTIPLY_ADDS_SHRUNK = "multiply_adds_shrunk"  # int, the same of the shrunk model
BYTES_BEFORE_SHRINKING = "bytes_before_shrinking"  # int, the stripped SavedModel, all its files
GZIPPED_BYTES_BEFORE_SHRINKING = "gzipped_bytes_before_shrinking"  # int, the same as one .tar.gz; none above 32 MiB
SHRINK_MAX_DIFFERENCE = "shrink_max_difference"  # str, a float: of an answer, in absolute numbers
SHRINK_TOLERANCE = "shrink_tolerance"  # str, a float: the t in |difference| <= t * (1 + |answer|)
SHRINK_UNTRACED = "shrink_untraced"  # str, why the model could not be traced, so that nothing was cut; else missing

# If Stripper was given examples.
SIGNATURE_PROVEN = "signature_proven"  # str
SPLITS_PROVEN = "splits_proven"  # str, their names joined by commas
EXAMPLES_PROVEN = "examples_proven"  # int
EXAMPLES_DIFFERING = "examples_differing"  # int, in any bit, within the tolerance
MAX_ABSOLUTE_DIFFERENCE = "max_absolute_difference"  # str, a float
TOLERANCE = "tolerance"  # str, a float

# If Stripper was given a metric for the exports.
EXPORT_METRIC = "export_metric"  # str, its name
EXPORT_METRIC_VALUE = "export_metric_value"  # str, a float: of the stripped model

# On all outputs of SparsitySelector, the report too. The first two are missing if it chose no candidate.
CANDIDATE = "candidate"  # str, name of the one that was chosen
METRIC_VALUE = "metric_value"  # str, a float: of the chosen model
METRIC = "metric"  # str, the metric's name
BASELINE_METRIC_VALUE = "baseline_metric_value"  # str, a float: of the dense model
METRIC_LIMIT = "metric_limit"  # str, a float: the worst value that was allowed
# On the evaluation and the pushed model of `tfx-pruning run`, where the run measured it, beside METRIC, METRIC_VALUE
# and BASELINE_METRIC_VALUE.
MILLISECONDS = "milliseconds"  # str, a float: the median time of a call
DENSE_MILLISECONDS = "dense_milliseconds"  # str, a float: the dense model's
LATENCY_BATCH = "latency_batch"  # int, the number of examples of that call

# On SparsitySelector's report.
CANDIDATES = "candidates"  # str, JSON: all of them, as `Sweep.to_dict` tells them

# On the report of BudgetCheck, and on all outputs of a SparsitySelector that chose a model by a budget.
BUDGET = "budget"  # str, JSON: the fields of `Budget`
DELIVERED_BYTES = "delivered_bytes"  # int, the artifact in the budget's format
DELIVERED_LATENCY = "delivered_latency"  # str, a float: the median of a call, in ms; missing if it was not measured
BUDGET_MET = "budget_met"  # int, 1 if the budget holds, else 0
# On the report of BudgetCheck alone.
BUDGET_VERDICT = "budget_verdict"  # str, JSON: the fields of `BudgetVerdict`
BUDGET_RETRY = "budget_retry"  # int, 1 if another training should come nearer to the budget, else 0
# On the hyperparameters that BudgetSearch and BudgetCheck put out.
NEXT_SPARSITY = "next_sparsity"  # str, a float, a fraction: the target of the training that is to come

# On a PruningReport that is incomplete.
MISSING = "missing"  # str, why

# What TFX writes on every artifact for its own use.
BOOKKEEPING = frozenset({"is_external", "tfx_version", "name", "state", "pipeline_name", "producer_component"})

# Those that are fractions, and floats.
FRACTIONS = (TARGET_SPARSITY, SPARSITY, TOTAL_SPARSITY, MULTIPLY_ADDS_SPARSITY)

PRUNING = (
    PRUNE_OPTION,
    GRADIENT_ESTIMATOR,
    TARGET_SPARSITY,
    SPARSITY,
    TOTAL_SPARSITY,
    PRUNABLE_PARAMETERS,
    NONZERO_PARAMETERS,
    TOTAL_PARAMETERS,
    HPARAMS,
    TRAINED_BYTES,
)

PRUNING_OF_FLOPS = (MULTIPLY_ADDS, MULTIPLY_ADDS_KEPT, MULTIPLY_ADDS_SPARSITY)

# Those that are ints, besides the keys that end with '_bytes'.
_COUNTS = (
    PRUNABLE_PARAMETERS,
    NONZERO_PARAMETERS,
    TOTAL_PARAMETERS,
    MULTIPLY_ADDS,
    MULTIPLY_ADDS_KEPT,
    VARIABLES_REMOVED,
    VARIABLES_CUT,
    SCALES_FOLDED,
    PARAMETERS_BEFORE_SHRINKING,
    PARAMETERS_SHRUNK,
    MULTIPLY_ADDS_BEFORE_SHRINKING,
    MULTIPLY_ADDS_SHRUNK,
    BYTES_BEFORE_SHRINKING,
    GZIPPED_BYTES_BEFORE_SHRINKING,
    EXAMPLES_PROVEN,
    EXAMPLES_DIFFERING,
    LATENCY_BATCH,
    BUDGET_MET,
    BUDGET_RETRY,
)


def is_count(key: str) -> bool:
    """Whether the property is an int."""
    return key in _COUNTS or key.endswith("_bytes")


def exact_sparsity(found: Mapping[str, Any]) -> float:
    """The sparsity of a model, from the counts of its parameters if they are there, for SPARSITY is rounded.

    Args:
        found: Its custom properties; SPARSITY among them.

    Returns:
        A fraction.
    """
    prunable = found.get(PRUNABLE_PARAMETERS)
    if not prunable or NONZERO_PARAMETERS not in found:
        return float(found[SPARSITY])
    return 1.0 - int(found[NONZERO_PARAMETERS]) / int(prunable)


def export_bytes(name: str) -> str:
    """Key of an int: the length of the export in the format `name`, such as 'tflite', in bytes."""
    return f"{name}_bytes"


def export_gzipped_bytes(name: str) -> str:
    """Key of an int: the length of that file gzipped, in bytes."""
    return f"{name}_gzipped_bytes"


def export_max_abs_difference(name: str) -> str:
    """Key of a str, a float: the largest absolute difference of a number in that file's answers from the model's."""
    return f"{name}_max_abs_difference"


def export_metric_value(name: str) -> str:
    """Key of a str, a float: EXPORT_METRIC of that file's answers."""
    return f"{name}_metric_value"
