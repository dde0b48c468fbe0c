#!/usr/bin/env bash
# Keras 3.15.1: keras.distillation.LogitsDistillation, as it is by default, compares the logits themselves.
#
# It is documented to compare probabilities that the temperature softens. Its default loss, "kl_divergence", becomes the function
# keras.losses.kl_divergence, and compute_loss takes the softmax only for an instance of keras.losses.KLDivergence. So the divergence is
# of logits, clipped to [1e-7, 1] as if they were probabilities, and the temperature squared is left out. It is right with
# loss=keras.losses.KLDivergence().
#
# Seen: default 0.7324, with the instance 3.0240, by hand 3.0240
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check tensorflow-cpu==2.21.0 keras==3.15.1
cd "$folder"
TF_CPP_MIN_LOG_LEVEL=3 CUDA_VISIBLE_DEVICES= "$folder/venv/bin/python" - 2>/dev/null <<'PYTHON'
import keras
import numpy as np

teacher, student = np.array([[4.0, 2.0, 1.0]], "float32"), np.array([[1.0, 2.0, 4.0]], "float32")
by_name = float(keras.distillation.LogitsDistillation(3.0).compute_loss(teacher, student))
instance = float(keras.distillation.LogitsDistillation(3.0, keras.losses.KLDivergence()).compute_loss(teacher, student))
soft = [np.exp(each / 3.0) / np.exp(each / 3.0).sum() for each in (teacher, student)]
by_hand = 9.0 * float((soft[0] * np.log(soft[0] / soft[1])).sum())
print(f"default {by_name:.4f}, with the instance {instance:.4f}, by hand {by_hand:.4f}")
assert abs(instance - by_hand) < 1e-3 and abs(by_name - by_hand) > 1.0, "changed"
PYTHON
