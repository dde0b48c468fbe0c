#!/usr/bin/env bash
# Keras 3.15.1, TensorFlow 2.21.0: the SavedModel of model.export has each variable twice.
#
# ExportArchive tracks the model's variables in two lists, `variables` and `_all_variables`, and the checkpoint of the SavedModel keeps
# both copies. tf.saved_model.save of the same model writes each once. Loading takes either; disk, upload and download of what is
# served are twice as large as the weights.
#
# Seen, of Dense(100) on 100 inputs, 40,400 bytes of weights:
#   export: 81,826 bytes in variables/, keys _all_variables/0, _all_variables/1, variables/0, variables/1
#   tf.saved_model.save: 42,040 bytes
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check tensorflow-cpu==2.21.0 keras==3.15.1
cd "$folder"
TF_CPP_MIN_LOG_LEVEL=3 CUDA_VISIBLE_DEVICES= "$folder/venv/bin/python" - 2>/dev/null <<'PYTHON'
import pathlib

import keras
import tensorflow as tf

model = keras.Sequential([keras.Input((100,)), keras.layers.Dense(100)])
model.export("exported", verbose=False)
spec = [tf.TensorSpec([None, 100], name="x")]
serve = tf.function(lambda x: {"y": model(x)}, input_signature=spec, autograph=False)
tf.saved_model.save(model, "saved", signatures=serve)


def look(name):
    folder = pathlib.Path(name, "variables")
    reader = tf.train.load_checkpoint(str(folder / "variables"))
    keys = [key.removesuffix("/.ATTRIBUTES/VARIABLE_VALUE") for key, shape in reader.get_variable_to_shape_map().items() if shape]
    size = sum(file.stat().st_size for file in folder.iterdir())
    print(f"{name}: {size:,} bytes, keys {', '.join(sorted(keys))}")
    return size, sorted(keys)


size, keys = look("exported")
assert keys == ["_all_variables/0", "_all_variables/1", "variables/0", "variables/1"], "changed"
assert size > 2 * 40_400, "changed"
size, keys = look("saved")
assert len(keys) == 2 and size < 1.1 * 40_400, "changed"
PYTHON
