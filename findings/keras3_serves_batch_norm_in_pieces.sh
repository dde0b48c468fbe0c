#!/usr/bin/env bash
# Keras 3.15.1, tf_keras 2.21.0, TensorFlow 2.21.0: what Keras 3 traces for a batch normalisation is no FusedBatchNormV3.
#
# For inference tf_keras writes one FusedBatchNormV3 of the convolution's output. Keras 3 writes a Mul and an AddV2 of that output,
# besides arithmetic of vectors, though its training step uses the fused operation, and though layout and dtype would allow it. So
# a served network passes twice over the largest tensors that it has, where one pass, or none, would do.
#
# Seen, of Conv2D, BatchNormalization and ReLU: the operations whose output has the image's four axes
#   keras: AddV2, Conv2D, Mul, Relu
#   tf_keras: Conv2D, FusedBatchNormV3, Relu
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check tensorflow-cpu==2.21.0 keras==3.15.1 tf_keras==2.21.0
cd "$folder"
cat > served.py <<'PYTHON'
import sys

import tensorflow as tf

name = sys.argv[1]
library = __import__(name)
layers = library.layers
model = library.Sequential(
    [layers.Input((8, 8, 3)), layers.Conv2D(4, 3, use_bias=False), layers.BatchNormalization(), layers.ReLU()]
)
spec = [tf.TensorSpec([None, 8, 8, 3], name="x")]
serve = tf.function(lambda x: model(x, training=False), input_signature=spec, autograph=False)
made = [(operation.type, operation.outputs[0].shape) for operation in serve.get_concrete_function().graph.get_operations() if operation.outputs]
operations = sorted(kind for kind, shape in made if kind != "Identity" and shape.rank == 4 and shape[1] == 6)
print(f"{name}:", ", ".join(operations))
PYTHON
export TF_CPP_MIN_LOG_LEVEL=3 CUDA_VISIBLE_DEVICES=
seen=$(for library in keras tf_keras; do "$folder/venv/bin/python" served.py $library 2>/dev/null | tail -1; done)
echo "$seen"
[ "$seen" = "keras: AddV2, Conv2D, Mul, Relu
tf_keras: Conv2D, FusedBatchNormV3, Relu" ] || { echo "changed" >&2; exit 1; }
