"""What runs that were killed have left: executions that ML Metadata holds for running, and their folders."""

import os
from collections.abc import Iterator

import ml_metadata
import tensorflow as tf
from absl import logging
from ml_metadata.proto import metadata_store_pb2
from tfx.orchestration import metadata
from tfx.orchestration.portable import execution_publish_utils
from tfx.proto.orchestration import execution_result_pb2

_ACTIVE = (metadata_store_pb2.Execution.NEW, metadata_store_pb2.Execution.RUNNING)
_FAILURE = execution_result_pb2.ExecutorOutput(
    execution_result=execution_result_pb2.ExecutionResult(code=1, result_message="The process of the run has ended.")
)
# Where TFX puts what is no output, below the folder of a node.
_EXECUTIONS = os.path.join(".system", "executor_execution")
# It holds a folder of a random name for each execution, which TFX removes if that succeeds.
_WORK = os.path.join(".system", "stateful_working_dir")


def end_dead_executions(metadata_path: str, pipeline_root: str | None = None) -> int:
    """Marks executions that are still running as failed, and removes what they have written.

    TFX does so when a component raises an error. A process that is killed, or ended by Ctrl-C, leaves its execution as
    running for good, and half of its output. Call this before a run, while no other run uses this file or folder.

    Args:
        metadata_path: The SQLite file of ML Metadata; there may be none yet.
        pipeline_root: The folder in which the pipelines that this file records keep their artifacts, or its URI. It
            must be theirs alone: TFX names folders by the executions' numbers, which are others in another file. None
            if the folders are to stay.

    Returns:
        How many executions were marked.
    """
    if not os.path.exists(metadata_path):
        return 0
    with metadata.Metadata(metadata.sqlite_metadata_connection_config(metadata_path)) as handle:
        ended = 0
        # Not every version of ml-metadata can filter them itself.
        for execution in handle.store.get_executions():
            if execution.last_known_state not in _ACTIVE:
                continue
            try:
                contexts = handle.store.get_contexts_by_execution(execution.id)
            except ml_metadata.errors.NotFoundError:
                continue  # of no pipeline
            if pipeline_root is not None:
                for folder in _folders(execution.id, contexts, pipeline_root):
                    _remove(folder)
            execution_publish_utils.publish_failed_execution(handle, contexts, execution.id, _FAILURE)
            names = ", ".join(f"{context.type} {context.name}" for context in contexts)
            logging.warning("Execution %d (%s) was left by a run that was killed: it failed.", execution.id, names)
            ended += 1
    return ended


def _folders(number: int, contexts: list[metadata_store_pb2.Context], pipeline_root: str) -> Iterator[str]:
    """The folders that TFX has made for an execution, whether they are there or not."""
    pipeline = next((context.name for context in contexts if context.type == "pipeline"), None)
    for context in contexts:
        if context.type == "node" and pipeline is not None:
            node = os.path.join(pipeline_root, context.name.removeprefix(f"{pipeline}."))
            for name in (*_listed(node), _EXECUTIONS):
                yield os.path.join(node, name, str(number))
            yield os.path.join(node, _WORK)


def _listed(folder: str) -> list[str]:
    # Some file systems mark folders with a slash.
    return [name.rstrip("/") for name in tf.io.gfile.listdir(folder)] if tf.io.gfile.isdir(folder) else []


def _remove(folder: str) -> None:
    if not tf.io.gfile.isdir(folder):
        return
    try:
        tf.io.gfile.rmtree(folder)
    except tf.errors.OpError as error:
        logging.warning("%s was left by a run that was killed, and cannot be removed: %s", folder, error.message)
