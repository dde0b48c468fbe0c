"""Whatever a pipeline's configuration is: a configuration, or an error of a documented type that names the field."""

import dataclasses
import json
import pathlib
import re
from typing import Any

import hypothesis
import pytest
import yaml
from hypothesis import strategies as st

from tfx_pruning.pipelines.config import PipelineConfig
from tfx_pruning.pipelines.config_file import read_mapping

FIELDS = [field.name for field in dataclasses.fields(PipelineConfig)]
NAMES = st.sampled_from(FIELDS)
PATHS = {"pipeline_root": "artifacts", "data_root": "data", "serving_dir": "serving"}
SETTINGS = hypothesis.settings(
    derandomize=True, deadline=None, max_examples=2000, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)

_SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.integers(1, 999),
    st.floats(),
    st.text(max_size=8),
    st.sampled_from([10**400, "higher", "lower", "csv", "AUC", "MeanSquaredError", "weight", "no_such", "os:x"]),
)
_PRUNING = st.dictionaries(
    st.sampled_from(["target_sparsity", "prune_option", "include", "seed", "block_dims_map", "typo"]) | st.integers(),
    _SCALARS | st.lists(_SCALARS, max_size=2),
    max_size=3,
)
_VALUES = st.one_of(_SCALARS, st.lists(_SCALARS, max_size=3), _PRUNING)
_FIELDS = st.dictionaries(NAMES, _VALUES, max_size=4)


def check_message(error: Exception, *words: str) -> None:
    assert any(re.search(rf"(?<!\w){re.escape(word)}(?!\w)", str(error)) for word in words), str(error)[:500]


@pytest.mark.slow
@SETTINGS
@hypothesis.given(_FIELDS)
def test_keywords(fields: dict[str, Any]) -> None:
    try:
        PipelineConfig(**{**PATHS, **fields})
    except (TypeError, ValueError) as error:
        pruning = fields["pruning"] if isinstance(fields.get("pruning"), dict) else {}
        check_message(error, "pruning_steps", "metric_direction", *fields, *map(str, pruning))


@pytest.mark.slow
@SETTINGS
@hypothesis.given(_FIELDS)
def test_values_of_a_file(fields: dict[str, Any]) -> None:
    try:
        PipelineConfig.from_values({**PATHS, **fields})
    except (TypeError, ValueError) as error:
        pruning = fields["pruning"] if isinstance(fields.get("pruning"), dict) else {}
        known = ("pruning_steps", "metric_direction", "max_metric_drop", "label_key")
        check_message(error, *known, *fields, *map(str, pruning))


_TOKENS = ["a", "&x ", "*x", "<<: ", "- ", "1e3", "2026-99-99", "!!int "]
YAML = st.one_of(
    st.text(),
    st.lists(st.sampled_from([*"[]{}:,&*<>!|'\"#%-?= \n\t", *_TOKENS])).map("".join),
    st.dictionaries(NAMES, _VALUES, max_size=3).map(yaml.dump),
)


@pytest.mark.slow
@SETTINGS
@hypothesis.given(text=YAML)
def test_files(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    check_file(tmp_path_factory.getbasetemp(), text)


def check_file(folder: pathlib.Path, text: str) -> None:
    file = folder / "fuzzed.yaml"
    file.write_bytes(text.encode("utf-8", "surrogatepass"))
    try:
        assert isinstance(read_mapping(file), dict)
    except ValueError as error:
        check_message(error, "fuzzed.yaml")


def written(folder: pathlib.Path, text: str) -> pathlib.Path:
    file = folder / "settings.yaml"
    file.write_text(text, encoding="utf-8")
    return file


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("min_metric: 2026-99-99", "min_metric holds '2026-99-99', which is no timestamp that can be read"),
        ("train_steps: !!int many", "train_steps holds 'many', which is no int that can be read; put text in quotes"),
        ("shrink: !!bool maybe", "shrink holds 'maybe', which is no bool"),
        ("train_steps: " + "9" * 5000, "train_steps holds '999"),
        ("pruning: {seed: 0o9, target_sparsity: 2026-02-30}", "target_sparsity holds '2026-02-30'"),
        ("base: &base {metric: AUC}\n<<: *base", "'<<' merges one mapping into another, which is not supported"),
        ("pruning: &p {include: *p}", "an alias stands inside of what it stands for"),
        ("[a]: 1", r"a key must be a name, got \['a'\]"),
        (
            "\n".join(["l0: &l0 [x, x, x, x, x, x, x, x, x, x]"])
            + "".join(f"\nl{n}: &l{n} [{', '.join([f'*l{n - 1}'] * 10)}]" for n in range(1, 7)),
            "its aliases stand for more than 100,000 values; use fewer of them",
        ),
        ("include: " + "[" * 20_000, "is nested too deeply"),
    ],
)
def test_the_problem_is_said(tmp_path: pathlib.Path, text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        read_mapping(written(tmp_path, text))
    assert "settings.yaml" in str(caught.value)
    assert len(str(caught.value)) < 1000


def test_aliases_are_read(tmp_path: pathlib.Path) -> None:
    text = "metric: &m AUC\nfurther_metrics: [*m, Recall]\npruning: &p {seed: 1}\nx: *p"
    found = read_mapping(written(tmp_path, text))
    assert found == {"metric": "AUC", "further_metrics": ["AUC", "Recall"], "pruning": {"seed": 1}, "x": {"seed": 1}}


@pytest.mark.parametrize("name", ["", "a/b", "..", "-a", "a b", "a\n", "a" * 58, "\ud800"])
def test_a_wrong_name_of_the_pipeline_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="pipeline_name must "):
        PipelineConfig(**PATHS, pipeline_name=name)


@pytest.mark.parametrize("name", ["a", "prices_2.v-1", "цены", "a" * 57])
def test_a_right_name_of_the_pipeline_is_taken(name: str) -> None:
    assert PipelineConfig(**PATHS, pipeline_name=name).pipeline_name == name


def test_a_pipeline_named_after_its_module_has_a_right_name() -> None:
    values = {**PATHS, "module_file": f"/x/my module ({'a' * 80}).py", "label_key": "y"}
    assert PipelineConfig.from_values(values).pipeline_name == f"my_module_{'a' * 30}_pruning"


def test_json_is_yaml(tmp_path: pathlib.Path) -> None:
    values = {"metric": "AUC", "pruning": {"include": ["a", "b"], "seed": 3}}
    assert read_mapping(written(tmp_path, json.dumps(values))) == values
