"""Pusher's executor: a version of the model appears as a whole."""

import os
from typing import Any

import tensorflow as tf
from tfx import types
from tfx.components.pusher import executor
from tfx.proto import pusher_pb2
from tfx.types import artifact_utils, standard_component_specs
from tfx.utils import proto_utils

from tfx_pruning import leftovers, places, staging
from tfx_pruning.saved_model.sizes import directory_bytes

_DESTINATION = "pushed_destination"
_VERSION = "pushed_version"
_NAME = "push"


class Executor(executor.Executor):
    """Pushes as TFX's own does, but through a hidden folder.

    TFX's own copies file by file to the place that TensorFlow Serving watches. One that is killed leaves half a version
    there for good, which is the latest one until another is pushed. TFX's own also skips a push within the same second
    as another, and says that it pushed.
    """

    def Do(
        self,
        input_dict: dict[str, list[types.Artifact]],
        output_dict: dict[str, list[types.Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        """Copies a blessed model to the hidden `.push.HEX.stripping` in the base directory, then renames it.

        What earlier pushes left there that were killed is removed. On file systems that cannot rename a folder at once,
        TFX's own executor does the work.

        Args:
            input_dict: As for tfx Pusher's executor.
            output_dict: As for tfx Pusher's executor.
            exec_properties: As for tfx Pusher's executor.

        Raises:
            ValueError: The base directory is of no file system that TensorFlow knows.
            OSError: The base directory cannot be written, or has no room for the model.
        """
        key = standard_component_specs.PUSH_DESTINATION_KEY
        destination = pusher_pb2.PushDestination()
        proto_utils.json_to_proto(exec_properties[key], destination)
        asked = destination.filesystem.base_directory
        base = places.checked_place(asked)
        place = os.path.join(base, _NAME)
        if places.is_local(base):
            leftovers.clear(place)
        if not places.is_local(base) or not self.CheckBlessing(input_dict):
            super().Do(input_dict, output_dict, exec_properties)
            return
        staging.check_writable(place)
        folder, lock = leftovers.made(place, leftovers.STRIPPING)
        try:
            staging.check_room(folder, directory_bytes(self.GetModelPath(input_dict)), "model")
            destination.filesystem.base_directory = folder
            super().Do(input_dict, output_dict, exec_properties | {key: proto_utils.proto_to_json(destination)})
            model = artifact_utils.get_single_instance(output_dict[standard_component_specs.PUSHED_MODEL_KEY])
            version = _renamed(model.get_string_custom_property(_DESTINATION), base)
            model.set_string_custom_property(_DESTINATION, os.path.join(asked, version))
            model.set_string_custom_property(_VERSION, version)
        finally:
            tf.io.gfile.rmtree(folder)
            lock.release()


def _renamed(folder: str, base: str) -> str:
    """Moves the folder of a version to the base directory, under the next name that is free; returns that."""
    version = int(os.path.basename(folder))
    while True:
        try:
            # In the place of an empty folder alone.
            os.rename(folder, os.path.join(base, str(version)))
            return str(version)
        except OSError:
            if not os.path.exists(os.path.join(base, str(version))):
                raise
            version += 1
