"""Finding the files of Examples artifacts."""

import json

import pytest
from tfx.components.util import examples_utils
from tfx.types import artifact_utils, standard_artifacts

from helpers.record_files import example, write_records
from tfx_pruning.examples.examples_input import ExamplesInput


def _examples(folder):
    """Two splits of one record each."""
    artifact = standard_artifacts.Examples()
    artifact.uri = str(folder)
    artifact.split_names = artifact_utils.encode_split_names(["train", "eval"])
    for value, split in enumerate(("train", "eval")):
        write_records(folder / f"Split-{split}" / "data.gz", [example(x=[value])])
    return artifact


@pytest.mark.parametrize("name", ["plain", "root[1]", "root[ab", "a*b?", "back\\slash"])
def test_files_are_found_whatever_the_name_of_the_folder(name, tmp_path):
    artifact = _examples(tmp_path / name)
    # What the name matches as a pattern holds other examples.
    write_records(tmp_path / "root1" / "Split-eval" / "other.gz", [example(x=[7])])
    write_records(tmp_path / "axxbx" / "Split-eval" / "other.gz", [example(x=[7])])
    found = ExamplesInput.read([artifact], ["eval"])
    assert [file.path for file in found.files] == [f"{artifact.uri}/Split-eval/data.gz"]
    assert found.records(10) == [example(x=[1])]


def test_patterns_of_splits_are_patterns(tmp_path):
    artifact = _examples(tmp_path / "root[1]")
    artifact.set_string_custom_property(
        examples_utils.CUSTOM_SPLIT_PATTERN_PROPERTY_NAME, json.dumps({"all": "Split-*/data.[g]z"})
    )
    found = ExamplesInput.read([artifact], None)
    assert [file.path for file in found.files] == [
        f"{artifact.uri}/Split-{split}/data.gz" for split in ("eval", "train")
    ]
