"""strip_saved_model: removes all that only training needs from a SavedModel."""

import dataclasses
import functools
import os
from collections.abc import Callable, Iterable

from absl import logging

from .. import staging
from ..examples.serialized_records import checked_records
from ..places import checked_model_path
from ..saved_model import sizes
from ..saved_model.meta_graph import has_objects, read_saved_model
from .check.acceptance import DRAWN_INPUTS, Acceptance
from .check.answers import checked_tolerance
from .check.relative_tolerance import checked_shrink_tolerance
from .shrink.report import ShrinkReport
from .shrink.shrink import shrink_in_place
from .tf1.saved_model import GraphModel
from .tf2.object_model import ObjectModel


@dataclasses.dataclass(frozen=True)
class StripReport:
    """What `strip_saved_model` did.

    Attributes:
        variables_removed: Keys of the source's variables that the stripped model lacks, sorted. A key is what
            `tf.train.list_variables` shows, less '/.ATTRIBUTES/VARIABLE_VALUE', as in 'dense/_kernel/pruning/mask'.
        variables_kept: Keys of the stripped model's variables, sorted.
        signatures_checked: Names of the signatures. All of them answered as those of the source.
        source_bytes: All files of the source, in bytes.
        stripped_bytes: All files of the stripped model, in bytes.
        destination: Folder of the stripped model.
        shrink: What shrinking did; None if it was not asked for.
    """

    variables_removed: tuple[str, ...]
    variables_kept: tuple[str, ...]
    signatures_checked: tuple[str, ...]
    source_bytes: int
    stripped_bytes: int
    destination: str
    shrink: ShrinkReport | None = None

    @functools.cached_property
    def gzipped_bytes(self) -> int:
        """Bytes of the stripped model as one .tar.gz, measured when first asked for: 40 s per GB.

        Raises:
            NotADirectoryError: It is no longer there.
        """
        return sizes.gzipped_bytes(self.destination)


def strip_saved_model(
    source: str | os.PathLike[str],
    destination: str | os.PathLike[str],
    *,
    examples: Iterable[bytes] | None = None,
    overwrite: bool = False,
    tolerance: float = 0.0,
    check: Callable[[str], object] | None = None,
    shrink: bool = False,
    shrink_tolerance: float | None = None,
) -> StripReport:
    """Writes a copy of a SavedModel without masks, thresholds, gradients, old weights, optimizer and slot variables.

    Where a function multiplies a weight by its mask, as `apply_mask` and tfmot's wrappers do, the mask is folded into
    the weight and the multiplication is removed. The same is done in graphs of TensorFlow 1 with the masks of
    google-research's `model_pruning`.

    The copy has the source's signatures, the variables that they reach, the lookup tables, the assets and
    `assets.extra`. Variables keep their names, and their checkpoint keys unless these lead through an optimizer. Other
    callables of the source, such as `__call__` or the `serve` of a Keras export, are dropped: the signatures are the
    contract.

    Before the copy appears at `destination`, every signature is called on the same inputs in both models. Every bit of
    every output must agree, or, with a tolerance, every number must be that close. The source is only read.

    With `shrink`, the dead units of the copy go after that, and its variables become smaller: channels, columns and
    rows that are multiplied by zero, or whose value does not depend on the input and is added to a bias instead. Its
    signatures keep names, shapes and dtypes. As sums of fewer numbers round otherwise, its answers may differ from the
    copy's within `shrink_tolerance`.

    Args:
        source: Folder of a SavedModel, of TensorFlow 2 or 1, pruned or not.
        destination: Where the stripped SavedModel goes: nothing or an empty folder must be there, unless `overwrite`.
            A symbolic link stays: what it points to is written or replaced.
        examples: Serialized records, such as tf.Examples, for signatures that parse such records. They are checked on
            these and on drawn inputs. All are held in memory.
        overwrite: Whether a folder at `destination` is replaced, with all that is in it, once the stripped model is
            checked.
        tolerance: The largest difference of a floating-point number of an answer; 0.0 requires bitwise equality.
        check: A further check, called with the folder of the stripped model before it appears at `destination`. If it
            raises an error, nothing appears there.
        shrink: Whether dead units are cut, too.
        shrink_tolerance: The t, above 0.0, in |difference| <= t * (1 + |answer|) for numbers of float32 and wider after
            shrinking; float16 may differ 1000 and bfloat16 5000 times as much. By default 1e-5. Integers, booleans and
            strings must be equal.

    Returns:
        What was removed, kept, checked and saved.

    Raises:
        FileNotFoundError: There is no SavedModel at `source`.
        FileExistsError: There is something at `destination`, and `overwrite` is False or it is a file; or another
            process puts something there meanwhile.
        OSError: `destination` or the folder of temporary files cannot be written, there is no room for the model, or a
            file system does not answer.
        TypeError: `examples` is not an iterable of bytes, a tolerance not a number, or `shrink` not a bool.
        ValueError: `source` is not a SavedModel with signatures, or cannot be loaded; a signature changes pruning
            variables, or uses one other than to multiply its weight by a mask; no one value serves all uses of a
            weight; `destination` and `source` lie one within the other, or TensorFlow cannot read a SavedModel there;
            `examples` is empty; `tolerance` is negative or not finite; `shrink_tolerance` is not above 0.0 and finite,
            or given without `shrink`; or, with `shrink`, `source` is of TensorFlow 1, or all units of a layer are dead,
            so that no answer depends on the input.
        VerificationError: A signature of the stripped model does not answer as the source, or takes none of the inputs
            that were tried.
    """
    source = checked_model_path(source)
    shrunk = checked_shrink_tolerance(shrink, shrink_tolerance)
    acceptance = Acceptance(checked_records(examples, DRAWN_INPUTS), checked_tolerance(tolerance), check, shrunk)
    staging.check_apart(source, destination)
    checked_model_path(staging.checked_destination(destination, overwrite))
    model = opened(source, shrink)
    with staging.staged(destination, overwrite) as folder:
        return write_stripped(model, source, folder, os.fspath(destination), acceptance)


def opened(source: str, shrink: bool = False) -> ObjectModel | GraphModel:
    """Reads the model to be stripped; raises the errors of `strip_saved_model` if it cannot be stripped or shrunk."""
    saved_model = read_saved_model(source)
    if shrink and not has_objects(saved_model):
        raise ValueError(
            f"The SavedModel at {source!r} is one of TensorFlow 1, which cannot be shrunk. Give shrink=False, or save "
            "the model with tf.saved_model.save."
        )
    return ObjectModel(source) if has_objects(saved_model) else GraphModel(source, saved_model)


def write_stripped(
    model: ObjectModel | GraphModel, source: str, folder: str, destination: str, acceptance: Acceptance
) -> StripReport:
    """Writes the stripped model to an empty folder, which is going to be `destination`, and checks it."""
    shrunk = None
    staging.check_room(folder, model.kept_bytes, "stripped model")
    if acceptance.shrunk is None:
        checked = model.write(folder, acceptance)
    else:
        checked = model.write(folder, dataclasses.replace(acceptance, further=None))
        shrunk = shrink_in_place(folder, acceptance.records, acceptance.shrunk)
        logging.info("Shrunk: %s.", shrunk.in_words())
        acceptance.run_further(folder)
    report = StripReport(
        variables_removed=model.removed,
        variables_kept=model.kept,
        signatures_checked=checked,
        source_bytes=sizes.directory_bytes(source),
        stripped_bytes=sizes.directory_bytes(folder),
        destination=destination,
        shrink=shrunk,
    )
    logging.info(
        "Stripped %s to %s: %d of %d variables removed, %d bytes became %d, signatures checked: %s.",
        source,
        destination,
        len(report.variables_removed),
        len(report.variables_removed) + len(report.variables_kept),
        report.source_bytes,
        report.stripped_bytes,
        ", ".join(report.signatures_checked),
    )
    return report
