"""The model that is pruned after its training: opened, with the signature that answers examples."""

from collections.abc import Sequence

from ..saved_model.meta_graph import has_objects, read_saved_model
from ..saved_model.saved_objects import SavedObjects
from .saved_weights import SavedWeight
from .traced_signature import uses_in_signature

_DEFAULT_SIGNATURE = "serving_default"


def opened_model(source: str) -> SavedObjects:
    """Reads a SavedModel; it is not loaded.

    Raises:
        ValueError: It is not one of TensorFlow 2, or has no signatures.
    """
    if not has_objects(read_saved_model(source)):
        raise ValueError(
            f"The SavedModel at {source!r} is one of TensorFlow 1, which cannot be pruned. Save the model with "
            "tf.saved_model.save."
        )
    model = SavedObjects.read(source)
    if not model.graph.signatures:
        raise ValueError(
            f"The SavedModel at {source!r} has no signatures, so nothing says which variables are used. Save it with "
            "tf.saved_model.save(model, path, signatures=...) or model.export."
        )
    return model


def signature_name(model: SavedObjects, name: str | None) -> str:
    """The signature that answers examples: `name`, or if that is None 'serving_default', or the only one.

    Raises:
        ValueError: There is no such signature.
    """
    names = sorted(model.graph.signatures)
    if name is None and _DEFAULT_SIGNATURE in names:
        return _DEFAULT_SIGNATURE
    if name is None and len(names) == 1:
        return names[0]
    if name not in names:
        what = "none was named" if name is None else f"it has no {name!r}"
        raise ValueError(
            f"The SavedModel at {model.folder!r} has the signatures {names}, and {what}. Name the one that answers the "
            "examples."
        )
    return name


def multiplied_weights(model: SavedObjects, weights: Sequence[SavedWeight]) -> set[int]:
    """The objects of the weights by which some signature multiplies activations."""
    found: set[int] = set()
    for name in model.graph.signatures:
        _, uses = uses_in_signature(model, name, weights)
        found |= {use.weight for use in uses.products} | uses.inside
    return found
