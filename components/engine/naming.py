"""Names of the pruning variables, and predicates over them.

Every pruned weight carries one trackable child, called `STATE`, that holds its mask, threshold, gradient and old
weights. Wherever the weight is saved (SavedModel, `tf.train.Checkpoint`), they are saved too, at
`<the weight's node>/pruning/mask` and so on. The variables' names have the same form. A model whose `fit` was pruned
has one more child, `MODEL_STATE`, with the steps so far, the step of the last mask update and the hyperparameters.

TensorFlow loads nothing that only a variable holds, so the root of a SavedModel has the child `STATES`, from which the
states hang that would be lost.
"""

STATE = "pruning"
MODEL_STATE = "tfx_pruning"
STATES = "tfx_pruning_states"
MASK = "mask"
FORWARD_MASK = "forward_mask"  # a second name of a mask that the forward pass multiplies by
THRESHOLD = "threshold"
GRADIENT = "gradient"
OLD_WEIGHT = "old_weight"
OLD_OLD_WEIGHT = "old_old_weight"
LAST_MASK_UPDATE_STEP = "last_mask_update_step"
HPARAMS = "hparams"
STEP = "step"

WEIGHT_VARIABLES = (MASK, THRESHOLD, GRADIENT, OLD_WEIGHT, OLD_OLD_WEIGHT)

_KINDS = frozenset((*WEIGHT_VARIABLES, LAST_MASK_UPDATE_STEP, HPARAMS, STEP))


def pruning_variable_name(owner: str, kind: str) -> str:
    """Name of a pruning variable: `'dense/kernel'`, `'mask'` -> `'dense/kernel/pruning/mask'`."""
    return f"{owner}/{STATE}/{kind}"


def is_pruning_variable(name: str) -> bool:
    """Whether a variable's name, with or without `:0`, is that of a pruning variable."""
    head, _, kind = _plain(name).rpartition("/")
    return kind in _KINDS and head.rpartition("/")[2] == STATE


def _plain(name: str) -> str:
    return name.partition(":")[0]
