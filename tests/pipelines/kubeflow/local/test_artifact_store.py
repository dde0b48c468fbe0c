import pathlib
from typing import Any

import pytest

from tfx_pruning.pipelines.kubeflow.local.artifact import Artifact
from tfx_pruning.pipelines.kubeflow.local.artifact_store import ArtifactStore

BLESSED = 'schema_title="tfx.ModelBlessing" AND state=LIVE AND metadata.blessed.number_value=1'


def _artifact(title: str, uri: str = "/uri", **metadata: Any) -> Artifact:
    return Artifact("", {"instanceSchema": f"title: {title}\ntype: object\n"}, uri, metadata)


@pytest.fixture
def path(tmp_path: pathlib.Path) -> pathlib.Path:
    return tmp_path / "artifacts.jsonl"


def test_artifacts_are_there_when_the_store_is_opened_again(path: pathlib.Path) -> None:
    model = ArtifactStore(path).add(_artifact("tfx.Model", "/a", sparsity=0.5))
    blessing = ArtifactStore(path).add(_artifact("tfx.ModelBlessing", "/b", blessed=1.0))
    assert (model.name, blessing.name) == ("1", "2")
    again = ArtifactStore(path)
    assert again.latest('schema_title="tfx.Model"') == model
    assert again.latest(BLESSED) == blessing


def test_latest_is_the_newest_that_all_terms_fit(path: pathlib.Path) -> None:
    store = ArtifactStore(path)
    assert store.latest(BLESSED) is None
    store.add(_artifact("tfx.ModelBlessing", "/1", blessed=1.0))
    second = store.add(_artifact("tfx.ModelBlessing", "/2", blessed=1.0))
    refused = store.add(_artifact("tfx.ModelBlessing", "/3", blessed=0.0))
    store.add(_artifact("tfx.Model", "/4", blessed=1.0))
    assert store.latest(BLESSED) == second
    assert store.latest('schema_title="tfx.ModelBlessing" AND state=LIVE') == refused
    assert store.latest('name="1"').uri == "/1"
    assert store.latest('schema_title="tfx.Model" AND name="1"') is None
    assert store.latest(BLESSED + " AND state=DELETED") is None


def test_metadata_are_asked_for_by_their_kind(path: pathlib.Path) -> None:
    store = ArtifactStore(path)
    stored = store.add(_artifact("tfx.Model", option="weight", steps=3.0))
    assert store.latest('metadata.option.string_value="weight"') == stored
    assert store.latest('metadata.option.string_value="other"') is None
    assert store.latest("metadata.steps.number_value=3") == stored
    assert store.latest("metadata.option.number_value=3") is None
    assert store.latest("metadata.none.number_value=3") is None


def test_equal_finds_the_same_artifact_and_no_other(path: pathlib.Path) -> None:
    store = ArtifactStore(path)
    stored = store.add(_artifact("tfx.Model", "/a", steps=3.0))
    assert store.equal(_artifact("tfx.Model", "/a", steps=3.0)) == stored
    assert store.equal(_artifact("tfx.Model", "/a", steps=4.0)) is None
    assert store.equal(_artifact("tfx.Model", "/b", steps=3.0)) is None
    assert store.equal(_artifact("tfx.Schema", "/a", steps=3.0)) is None


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("create_time>3", "'create_time>3' is no term"),
        ("uri=/a", "is no term"),
        ("state=LIVE OR state=DEAD", "is no term"),
        ('parent="x"', "has the field 'parent'"),
    ],
)
def test_query_of_another_form_is_refused(path: pathlib.Path, query: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ArtifactStore(path).latest(query)


def test_file_of_something_else_is_refused(path: pathlib.Path) -> None:
    ArtifactStore(path).add(_artifact("tfx.Model"))
    with path.open("a", encoding="utf-8") as file:
        file.write('{"name": "2"}\n')
    with pytest.raises(ValueError, match="line 2, is no artifact"):
        ArtifactStore(path)
