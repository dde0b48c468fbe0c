"""The variables of a SavedModel that are the model's own."""

from ..saved_model.variables import SavedVariable, SavedVariables
from . import naming


def model_variables(saved: SavedVariables) -> list[SavedVariable]:
    """All variables but those of pruning, of a Keras optimizer and of metrics, in the order of their nodes."""
    return [each for each in saved if not each.in_training_only and not naming.is_pruning_variable(each.name)]
