"""CandidateModels: copies of a dense model, pruned at once and made small, to be measured before any is trained."""

import dataclasses
import os
import pathlib
import shutil
from collections.abc import Sequence

from absl import logging

from ..budget import GZIPPED, SAVED_MODEL, Budget
from ..engine.hparams import PruningHParams
from ..post_training_pruner.prune import prune_saved_model, write_pruned
from ..saved_model import sizes
from ..saved_model.saved_objects import SavedObjects
from ..stripper.export.formats import exporters
from ..stripper.strip_and_export import strip_and_export
from .channel_pruning import ChannelPruning

# Above this, nothing would be left of a small layer.
_LARGEST_SPARSITY = 0.999
_SPARSITY_DIGITS = 6
_PRUNED = "pruned"
# Candidates are measured, not served: quantised ones of untrained weights may answer otherwise.
_ANY_DIFFERENCE = 1e9


def artifact_path(model: str, exports: str, budget: Budget) -> str:
    """Where the artifact is that a budget holds for.

    Args:
        model: Folder of the stripped SavedModel.
        exports: Folder of its exports.
        budget: The budget.
    """
    if budget.export is None:
        return model
    (exporter,) = exporters([budget.export])
    return os.path.join(exports, exporter.file)


def artifact_bytes(path: str, budget: Budget) -> int:
    """How many bytes an artifact takes.

    Args:
        path: As `artifact_path` gives it.
        budget: The budget; its format says what is counted.

    Raises:
        NotADirectoryError: The SavedModel is not there.
        FileNotFoundError: The file is not there.
    """
    if budget.format == SAVED_MODEL:
        return sizes.directory_bytes(path)
    if budget.format == GZIPPED:
        return sizes.gzipped_bytes(path)
    return sizes.file_bytes(path)


@dataclasses.dataclass(frozen=True)
class Candidate:
    """A model that was pruned at once.

    Attributes:
        sparsity: The target sparsity, a fraction; 0 for the dense model.
        model: Folder of the stripped and shrunk SavedModel; it is gone again if the budget has no latency.
        path: The artifact that the budget holds for; likewise.
        bytes: Its size.
    """

    sparsity: float
    model: str
    path: str
    bytes: int


class CandidateModels:
    """Makes candidates of a dense model, each in a folder of its own."""

    def __init__(
        self,
        dense: str,
        hparams: PruningHParams,
        budget: Budget,
        folder: str,
        examples: Sequence[bytes] | None = None,
        shrink: bool = True,
    ) -> None:
        """Takes the dense model.

        Args:
            dense: Folder of the dense SavedModel, stripped.
            hparams: The hyperparameters of the training that is to come. The candidates are pruned by magnitude.
            budget: What is made of each candidate.
            folder: An empty folder for the candidates; the caller removes it.
            examples: Serialized records, as `strip_saved_model` and `export_model` take them.
            shrink: Whether dead units are cut. Channels are always cut.

        Raises:
            ValueError: The model has nothing to prune.
        """
        self._dense = dense
        self._budget = budget
        self._folder = folder
        self._examples = examples
        self._shrink = shrink or hparams.granularity == "channel"
        self._made: dict[float, Candidate] = {}
        self._channels: ChannelPruning | None = None
        self._objects = SavedObjects.read(dense)
        if hparams.granularity == "channel":
            self._channels = ChannelPruning(self._objects, hparams)
        self._hparams = _at_once(hparams)

    @property
    def largest_sparsity(self) -> float:
        """The most that can go: in every layer one channel stays, or one weight in a thousand."""
        return _LARGEST_SPARSITY if self._channels is None else self._channels.largest_sparsity

    def at(self, sparsity: float) -> Candidate:
        """The candidate at a target sparsity, which is made if it was not asked for before.

        Raises:
            ValueError: The model cannot be pruned to it, or cannot be of the budget's format.
        """
        sparsity = round(sparsity, _SPARSITY_DIGITS)
        if sparsity not in self._made:
            self._made[sparsity] = self._make(sparsity)
        return self._made[sparsity]

    def _make(self, sparsity: float) -> Candidate:
        place = os.path.join(self._folder, f"s{sparsity:.6f}")
        pruned, small, exports = (os.path.join(place, name) for name in (_PRUNED, "small", "exports"))
        if not sparsity:
            pruned = self._dense
        elif self._channels is not None:
            pathlib.Path(pruned).mkdir(parents=True)
            write_pruned(self._objects, pruned, self._channels.weights, self._channels.pruned(sparsity))
        else:
            hparams = dataclasses.replace(self._hparams, target_sparsity=sparsity)
            prune_saved_model(self._dense, pruned, None, hparams)
        shrink = self._shrink and sparsity > 0
        try:
            self._strip(pruned, small, exports, shrink)
        except ValueError as error:
            # Units die of single zeros where no training makes up for them.
            if not shrink or self._channels is not None:
                raise
            logging.info("The candidate at the sparsity %g is measured without being shrunk: %s", sparsity, error)
            self._strip(pruned, small, exports, False)
        path = artifact_path(small, exports, self._budget)
        candidate = Candidate(sparsity, small, path, artifact_bytes(path, self._budget))
        # Up to eight copies of a large model would fill the disk. Those that are timed stay.
        shutil.rmtree(place if self._budget.max_latency is None else os.path.join(place, _PRUNED), ignore_errors=True)
        return candidate

    def _strip(self, pruned: str, small: str, exports: str, shrink: bool) -> None:
        strip_and_export(
            pruned,
            small,
            [self._budget.export] if self._budget.export else [],
            export_destination=exports,
            export_tolerance=_ANY_DIFFERENCE if self._budget.export else None,
            examples=self._examples,
            shrink=shrink,
            shrink_tolerance=_ANY_DIFFERENCE if shrink else None,
        )


def _at_once(hparams: PruningHParams) -> PruningHParams:
    """The hyperparameters of which pruning a SavedModel by magnitude takes account."""
    return PruningHParams(
        prune_option="weight",
        allocation=hparams.allocation,
        sensitivity_map=hparams.sensitivity_map,
        min_layer_density=hparams.min_layer_density,
        include=hparams.include,
        exclude=hparams.exclude,
        block_height=hparams.block_height,
        block_width=hparams.block_width,
        block_dims_map=hparams.block_dims_map,
        block_pooling_function=hparams.block_pooling_function,
        block_conv=hparams.block_conv,
        seed=hparams.seed,
    )
