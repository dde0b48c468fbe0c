"""Names that pruning leaves in a SavedModel: this project's, and those of tfmot's `prune_low_magnitude`."""

import re

from ...engine import naming

_TFMOT_WRAPPER = "prune_low_magnitude_"
_TFMOT_VARIABLE = re.compile(rf"(?:.*/)?{_TFMOT_WRAPPER}[^/]+/(?P<kind>mask|threshold|pruning_step)(?:_\d+)?")


def is_pruning_name(name: str) -> bool:
    """Whether `name` (a variable's name or checkpoint key) is a mask's, threshold's, gradient's, ..."""
    return naming.is_pruning_variable(name) or _TFMOT_VARIABLE.fullmatch(name.partition(":")[0]) is not None


def is_mask_name(name: str) -> bool:
    """Whether `name` (a variable's name or checkpoint key) is a mask's."""
    if match := _TFMOT_VARIABLE.fullmatch(name.partition(":")[0]):
        return match["kind"] == naming.MASK
    return naming.is_pruning_variable(name) and name.partition(":")[0].endswith(f"/{naming.MASK}")


def without_wrapper(name: str) -> str:
    """The name that a node, an argument or a function has without tfmot's wrapper.

    Examples:
        >>> without_wrapper('model/prune_low_magnitude_dense/MatMul')
        'model/dense/MatMul'
    """
    return name.replace(_TFMOT_WRAPPER, "")
