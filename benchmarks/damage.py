"""Strips of SavedModels whose files are damaged: cut short at every percent, and with wrong bits.

Each must be refused with an error of a documented type, and leave nothing; or answer as the model does. Exit status 1
otherwise. Strips run in this process.
"""

import argparse
import collections
import os
import pathlib
import random
import shutil
import sys
import tempfile
from collections.abc import Iterator

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ["CUDA_VISIBLE_DEVICES"] = ""

import numpy as np
import tensorflow as tf
from _table import publish

from tfx_pruning import strip_saved_model
from tfx_pruning.stripper.check.verify import VerificationError

_FILES = ("saved_model.pb", "variables/variables.index", "variables/variables.data-00000-of-00001")
_X = np.random.default_rng(0).normal(size=(4, 8)).astype("float32")
_COLUMNS = ("trials", "refused", "equal answers", "other answers", "other errors", "left behind")
_WRONG = _COLUMNS[3:]


def main() -> int:
    """Damages, strips, prints the table and judges it; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--percent", type=int, default=1, help="of the length between two cuts (default: 1)")
    parser.add_argument("--bits", type=int, default=100, help="wrong bits, one a strip, of each file (default: 100)")
    parser.add_argument("--seed", type=int, default=7, help="of the places of the bits (default: 7)")
    arguments = parser.parse_args()
    draws = random.Random(arguments.seed)
    found = {}
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        model = _save(folder / "model")
        right = _answer(model)
        for file in _FILES:
            content = (model / file).read_bytes()
            cuts = (content[: len(content) * part // 100] for part in range(0, 100, arguments.percent))
            found[f"{file}, cut short"] = _tried(model, file, cuts, right, folder)
            found[f"{file}, a wrong bit"] = _tried(
                model, file, _wrong_bits(content, arguments.bits, draws), right, folder
            )
    bad = {(row, column): counts[column] for row, counts in found.items() for column in _WRONG if counts[column]}
    verdicts = [f"FAIL: {row}: {column}: {count}, none was wanted." for (row, column), count in bad.items()]
    publish(
        "damage",
        "SavedModels that are damaged",
        ["file, damage", *_COLUMNS],
        [[row, *(str(counts[column]) for column in _COLUMNS)] for row, counts in found.items()],
        [
            *(verdicts or [f"pass: none wanted and none found: {', '.join(_WRONG)}."]),
            "Refused: a ValueError that names the source, or a VerificationError. Equal: in every bit.",
            "A wrong bit in saved_model.pb may make another valid model, such as one with another name in it: then the "
            "stripped model answers as that one does, or both cannot be loaded.",
        ],
        page="reliability.md",
    )
    return int(bool(bad))


def _save(folder: pathlib.Path) -> pathlib.Path:
    module = tf.Module()
    module.first = tf.Variable(np.random.default_rng(1).normal(size=(8, 16)).astype("float32"), name="first")
    module.second = tf.Variable(np.random.default_rng(2).normal(size=(16, 3)).astype("float32"), name="second")

    @tf.function(input_signature=[tf.TensorSpec([None, 8], name="x")], autograph=False)
    def serve(x: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"y": tf.nn.relu(x @ module.first) @ module.second}

    tf.saved_model.save(module, folder, signatures={"serving_default": serve})
    return folder


def _answer(folder: pathlib.Path) -> bytes | None:
    """What a model answers; None if TensorFlow cannot load it, or ask it."""
    try:
        signature = tf.saved_model.load(str(folder)).signatures["serving_default"]
        return signature(x=tf.constant(_X))["y"].numpy().tobytes()
    except Exception:
        return None


def _wrong_bits(content: bytes, bits: int, draws: random.Random) -> Iterator[bytes]:
    for bit in draws.sample(range(len(content) * 8), min(bits, len(content) * 8)):
        damaged = bytearray(content)
        damaged[bit // 8] ^= 1 << bit % 8
        yield bytes(damaged)


def _tried(
    model: pathlib.Path, file: str, contents: Iterator[bytes], right: bytes | None, folder: pathlib.Path
) -> collections.Counter[str]:
    counts: collections.Counter[str] = collections.Counter()
    work = folder / "work"
    for content in contents:
        shutil.copytree(model, work / "source")
        (work / "source" / file).write_bytes(content)
        counts["trials"] += 1
        counts[_outcome(work, right)] += 1
        counts["left behind"] += any(each.name not in ("source", "out") for each in work.iterdir())
        shutil.rmtree(work)
    return counts


def _outcome(work: pathlib.Path, right: bytes | None) -> str:
    source, destination = work / "source", work / "out"
    try:
        strip_saved_model(source, destination)
    except (ValueError, VerificationError) as error:
        is_told = isinstance(error, VerificationError) or str(source) in str(error)
        return "refused" if is_told and not destination.exists() else _told("other errors", error)
    except Exception as error:
        return _told("other errors", error)
    answer = _answer(destination)
    # A graph with a wrong bit may be another one that is right.
    return "equal answers" if answer in (right, _answer(source)) else "other answers"


def _told(kind: str, error: BaseException) -> str:
    print(f"{type(error).__name__}: {error}"[:2000], file=sys.stderr, flush=True)
    return kind


if __name__ == "__main__":
    sys.exit(main())
