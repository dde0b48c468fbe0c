"""Writer: the steps that every way to write a stripped SavedModel of TensorFlow 2 has in common."""

import abc
import contextlib
import gc
import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import tensorflow as tf
from tensorflow.core.protobuf import meta_graph_pb2
from tensorflow.python.saved_model import fingerprinting_utils

from ... import staging
from ...saved_model import loading
from ...saved_model.function_library import drop_uncalled_functions
from ...saved_model.meta_graph import EXTRA_ASSETS, FILENAME, read_saved_model
from ...saved_model.object_graph import Path
from ...saved_model.saved_form import restore_saved_form
from ...saved_model.saved_objects import SavedObjects
from ...saved_model.value_copy import ValueCopy
from ..check import verify
from ..check.acceptance import Acceptance
from .object_tree import object_tree, objects_at
from .plan import ReducedGraph, StripPlan


class Writer(abc.ABC):
    """Carries out a plan: writes the stripped model and checks it.

    Attributes:
        plan: The plan.
        folder: The folder to write to, empty at first.
        acceptance: What the stripped model has to pass.
        kept: Keys of the stripped model's variables, sorted; empty until it is written.
    """

    def __init__(self, plan: StripPlan, folder: str, acceptance: Acceptance) -> None:
        """Does nothing yet."""
        self.plan = plan
        self.folder = folder
        self.acceptance = acceptance
        self.kept: tuple[str, ...] = ()

    @abc.abstractmethod
    def write(self) -> tuple[str, ...]:
        """Writes the stripped model and checks it; returns the names of the signatures checked.

        Raises:
            OSError: The folder, or that of temporary files, cannot be written.
            ValueError: The source cannot be loaded.
            VerificationError: A signature does not answer as before, or that could not be checked.
        """

    @contextlib.contextmanager
    def loaded(self, reduced: ReducedGraph) -> Iterator[Any]:
        """The source, loaded from a reduced graph; its memory is free when the block ends."""
        with loading.loaded_as(self.plan.source, reduced.meta_graph, reduced.graph) as model:
            yield model
        del model
        # Functions hold their variables in cycles.
        gc.collect()

    def objects_at(self, model: Any) -> dict[Path, Any]:
        """The objects of a loaded model that stay, by their paths."""
        return objects_at(model, self.plan.stripped.places.values())

    def initialized_at(self, model: Any) -> dict[Path, Any]:
        """As `objects_at`.

        Raises:
            ValueError: A variable has no value.
        """
        objects = self.objects_at(model)
        for found in objects.values():
            if isinstance(found, tf.Variable) and not found.is_initialized():
                raise ValueError(
                    f"The SavedModel at {self.plan.source.folder!r} has no value for its variable {found.name!r}; save "
                    "the model again."
                )
        return objects

    def answers(self, model: Any) -> list[verify.SourceAnswers]:
        """What the signatures of the loaded source answer."""
        return verify.answers_of(self.plan.source, model, self.acceptance.records)

    def save(self, model: Any, objects: Mapping[Path, Any], values: ValueCopy | None = None) -> None:
        """Saves the signatures of `model`, `objects` at their paths and the source's extra assets, and nothing else.

        Args:
            model: A loaded model.
            objects: Its objects that stay.
            values: What is saved in place of the objects' own values, if it is given.

        Raises:
            OSError: The folder cannot be written.
        """
        source = self.plan.source
        options = tf.saved_model.SaveOptions(
            namespace_whitelist=sorted(_operation_namespaces(source.meta_graph)),
            experimental_custom_gradients=False,
            save_debug_info=tf.io.gfile.exists(os.path.join(source.folder, loading.DEBUG_INFO)),
        )
        with staging.write_failure_explained(self.folder):
            with loading.no_garbage_collection():
                tree = object_tree(objects)
                tf.saved_model.save(tree, self.folder, signatures=dict(model.signatures), options=options)
            if values is not None:
                values.finish()
            _tidy(self.plan, self.folder)
            extra = (os.path.join(folder, EXTRA_ASSETS) for folder in (source.folder, self.folder))
            staging.copy_folder(*extra)

    def check(self, answers: Sequence[verify.SourceAnswers], model: Any) -> tuple[str, ...]:
        """Checks that the stripped model answers as its source.

        Args:
            answers: The source's.
            model: The stripped model, loaded from the folder.

        Returns:
            The names of the signatures.

        Raises:
            VerificationError: It does not, or the further check fails.
        """
        source, stripped = self.plan.source, SavedObjects.read(self.folder)
        keys = tuple(sorted(map(stripped.graph.key, stripped.graph.variables)))
        if len(keys) != len(self.plan.stripped.variables):
            raise verify.VerificationError(
                f"The stripped model of {source.folder!r} has the variables {list(keys)}, expected those that its "
                "signatures reach. Nothing was published; please report this model."
            )
        signatures = verify.verify(
            answers,
            source.meta_graph,
            model,
            stripped.meta_graph,
            lambda: loading.load(source),
            self.acceptance.tolerance,
        )
        self.acceptance.run_further(self.folder)
        self.kept = keys
        return signatures


def _tidy(plan: StripPlan, folder: str) -> None:
    """Mends what loading and saving again gets wrong: resources, uncalled functions, defaults of signature inputs."""
    saved_model = read_saved_model(folder)
    stripped = saved_model.meta_graphs[0]
    restore_saved_form(stripped, plan.stripped.meta_graph, plan.stripped.places)
    drop_uncalled_functions(stripped)
    for name, signature in plan.source.meta_graph.signature_def.items():
        for key, value in signature.defaults.items():
            stripped.signature_def[name].defaults[key].CopyFrom(value)
    with tf.io.gfile.GFile(os.path.join(folder, FILENAME), "wb") as stream:
        stream.write(saved_model.SerializeToString(deterministic=True))
    fingerprinting_utils.write_fingerprint(folder)


def _operation_namespaces(meta_graph: meta_graph_pb2.MetaGraphDef) -> set[str]:
    """Namespaces of custom operations, as in 'Addons>Gelu', which TensorFlow saves only when told so."""
    nodes = [meta_graph.graph_def.node, *(each.node_def for each in meta_graph.graph_def.library.function)]
    return {node.op.partition(">")[0] for each in nodes for node in each if ">" in node.op}
