#!/usr/bin/env bash
# Keras 3.15.1, TensorFlow 2.21.0: quantize("int4") gives zeros of a kernel other codes than zero, so that it no longer compresses.
#
# By default int4 is asymmetric, in blocks of 128 inputs: each block of a column has a zero point, and a pruned weight has the zero
# point's code. The product is right, but a kernel that is 90 % zeros has few codes of zero, and gzipped it is no smaller than int8.
# Int4QuantizationConfig(block_size=-1) is symmetric and keeps the zeros.
#
# Seen, of a Dense of 256x128 with 90 % zeros, kernel gzipped:
#   int8: 90.1 % codes of zero, 6,718 bytes
#   int4: 19.8 % codes of zero, 6,780 bytes
#   int4, block_size=-1: 91.3 % codes of zero, 4,007 bytes
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check tensorflow-cpu==2.21.0 keras==3.15.1
cd "$folder"
TF_CPP_MIN_LOG_LEVEL=3 CUDA_VISIBLE_DEVICES= "$folder/venv/bin/python" - 2>/dev/null <<'PYTHON'
import gzip

import keras
import numpy as np

rng = np.random.default_rng(0)
weights = rng.normal(size=(256, 128)).astype("float32")
weights[rng.random(weights.shape) < 0.9] = 0


def look(name, mode, config=None):
    model = keras.Sequential([keras.Input((256,)), keras.layers.Dense(128, use_bias=False)])
    model.set_weights([weights])
    model.quantize(mode, config=config)
    stored = model.layers[0]._kernel.numpy()
    # Two codes of int4 in a byte.
    codes = np.stack([stored.view(np.uint8) & 15, stored.view(np.uint8) >> 4]) if mode == "int4" else stored
    zeros, size = float(np.mean(codes == 0)), len(gzip.compress(stored.tobytes()))
    print(f"{name}: {zeros:.1%} codes of zero, {size:,} bytes")
    return zeros, size


zeros, int8_size = look("int8", "int8")
assert zeros > 0.9, "changed"
zeros, size = look("int4", "int4")
assert zeros < 0.3 and size > 0.95 * int8_size, "changed"
zeros, size = look("int4, block_size=-1", "int4", keras.quantizers.Int4QuantizationConfig(block_size=-1))
assert zeros > 0.9 and size < 0.7 * int8_size, "changed"
PYTHON
