"""`tfx-pruning metadata`: what it prints, and how it fails."""

import json
import pathlib
import re
import subprocess
import sys
from collections.abc import Sequence

import click.testing
import pytest
from ml_metadata.proto import metadata_store_pb2 as mlmd

from helpers.store_builder import STATE, STRIPPED, StoreBuilder, build_sweep, build_taxi
from tfx_pruning import properties
from tfx_pruning.cli import metadata_command, metadata_view
from tfx_pruning.engine.hparams import PruningHParams
from tfx_pruning.metadata import connection


@pytest.fixture(autouse=True)
def _no_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TFX_PRUNING_DB", raising=False)
    monkeypatch.delenv("MYSQL_PWD", raising=False)


@pytest.fixture(scope="module")
def taxi(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    builder = build_taxi(tmp_path_factory.mktemp("taxi") / "metadata.sqlite")
    for table, count in (("Context", 30), ("Execution", 17), ("Artifact", 14)):
        for id in range(1, count + 1):
            builder.set_times(table, id, 1_000 * id, 1_000 * id + 1_500)
    return builder.path


@pytest.fixture
def empty(tmp_path: pathlib.Path) -> pathlib.Path:
    return StoreBuilder(tmp_path / "metadata.sqlite").path


def _invoke(*arguments: str | pathlib.Path) -> click.testing.Result:
    result = click.testing.CliRunner().invoke(metadata_command.command, [str(each) for each in arguments])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def _printed(*arguments: str | pathlib.Path) -> str:
    result = _invoke(*arguments)
    assert (result.exit_code, result.stderr) == (0, "")
    return result.stdout


def _refusal(*arguments: str | pathlib.Path) -> str:
    result = _invoke(*arguments)
    assert (result.exit_code, result.stdout) == (1, "")
    (line,) = result.stderr.splitlines()
    return line


def test_lineage_tree(taxi: pathlib.Path) -> None:
    assert _printed("lineage", "7", "--db", taxi) == (
        "Examples 1  CsvExampleGen\n"
        "└── Schema 2  SchemaGen\n"
        "    ├── TransformGraph 3  Transform  with examples 1\n"
        "    └── Examples 4  Transform  with examples 1\n"
        "        └── Model 5  Trainer  with transform_graph 3\n"
        "            └── Model 6  PruningTrainer  pruned  90.00% sparse  3,218,360 bytes"
        "  with transform_graph 3, examples 4\n"
        "                └── Model 7  Stripper  stripped  90.00% sparse  883,999 bytes  with examples 1  <- asked for\n"
        "                    ├── ModelBlessing 8  Evaluator  blessed  with examples 1, baseline_model 5\n"
        "                    │   └── PushedModel 9  Pusher  pushed to serving/7  with model 7\n"
        "                    └── Model 10  Trainer  with transform_graph 3, examples 4  run run-2"
        "  (goes on: lineage 10)\n"
    )


def test_lineage_of_a_run_that_was_not_pushed(taxi: pathlib.Path) -> None:
    lines = _printed("lineage", "12", "--db", taxi).splitlines()
    assert lines[-3:] == [
        "                    └── ModelBlessing 13  Evaluator  not blessed  with examples 1, baseline_model 10",
        "                        └── PushedModel 14  Pusher  not pushed  with model 12",
        "Model 7  Stripper  stripped  90.00% sparse  883,999 bytes  run run-1  (goes on: lineage 7)",
    ]
    across = _printed("lineage", "12", "--across-runs", "--db", taxi)
    assert "goes on" not in across
    assert "Model 5  Trainer  with transform_graph 3  run run-1\n" in across


def test_long_history_is_a_tree_for_each_run(empty: pathlib.Path) -> None:
    builder = StoreBuilder(empty)
    builder.artifact("Model")
    builder.append_trainings(30)
    lines = _printed("lineage", "1", "--across-runs", "--db", empty).splitlines()
    assert lines[:5] == [
        "Model 1  made outside of a pipeline  <- asked for",
        "└── Model 2  Trainer  run run-0",
        "    └── Model 3  Trainer  run run-1  (goes on below)",
        "Model 3  Trainer  run run-1",
        "└── Model 4  Trainer  run run-2  (goes on below)",
    ]
    assert lines[-1] == "Model 31  Trainer  run run-29"
    assert len(lines) == 60


def test_lineage_of_a_sweep_names_the_metric_and_some_of_many_inputs(tmp_path: pathlib.Path) -> None:
    build_sweep(tmp_path / "metadata.sqlite")
    lines = _printed("lineage", "10", "--db", tmp_path / "metadata.sqlite").splitlines()
    (chosen,) = [line.strip("│├└─ ") for line in lines if "<- asked for" in line]
    assert chosen == (
        "Model 10  SparsitySelector  stripped  90.00% sparse  883,999 bytes  auc 0.9421  with model_s50 2, "
        "evaluation_s50 3, evaluation_s90 5, model_s95 6, evaluation_s95 7, model_s99 8 and 1 more  <- asked for"
    )


def test_lineage_json(taxi: pathlib.Path) -> None:
    found = json.loads(_printed("lineage", "7", "--db", taxi, "--json"))
    assert found["artifact_id"] == 7
    assert [(node["id"], node["relation"]) for node in found["nodes"]] == [
        *((id, "source") for id in range(1, 7)),
        (7, "self"),
        *((id, "result") for id in range(8, 11)),
    ]
    assert found["nodes"][6]["properties"]["sparsity"] == 0.899999


def test_deleted_model_is_named_so(empty: pathlib.Path) -> None:
    builder = StoreBuilder(empty)
    builder.run("taxi", "run-1")
    builder.execute("Trainer", {}, {"model": "Model"}, artifact_state=mlmd.Artifact.DELETED)
    builder.artifact("Model")
    assert _printed("lineage", "1", "--db", empty) == "Model 1  Trainer  deleted  <- asked for\n"
    assert _printed("lineage", "2", "--db", empty) == "Model 2  made outside of a pipeline  <- asked for\n"


def test_runs_have_a_line_each(taxi: pathlib.Path) -> None:
    assert _printed("runs", "--db", taxi).splitlines() == [
        "run    pipeline  started                  state     sparsity    bytes  verdict",
        "run-2  taxi      1970-01-01 00:00:11 UTC  complete    90.00%  883,999  refused",
        "run-1  taxi      1970-01-01 00:00:02 UTC  complete    90.00%  883,999  blessed",
    ]


def test_runs_tell_the_metric_and_the_latency_that_were_recorded(tmp_path: pathlib.Path) -> None:
    builder = StoreBuilder(tmp_path / "metadata.sqlite")
    builder.run("taxi", "run-1")
    timed = {properties.MILLISECONDS: "0.512", properties.DENSE_MILLISECONDS: "1.5", properties.LATENCY_BATCH: 64}
    old = {properties.METRIC: "AUC", properties.METRIC_VALUE: "0.5"}
    builder.execute("Stripper", {}, {"model": "Model"}, custom={"model": {**STRIPPED, **old}})
    measured = {**timed, **old, properties.METRIC_VALUE: "0.94111", properties.BASELINE_METRIC_VALUE: "0.94444"}
    builder.execute("Evaluator", {}, {"evaluation": "ModelEvaluation"}, custom={"evaluation": measured})
    builder.execute("Pusher", state=STATE.FAILED)
    builder.set_times("Context", 2, 1_000, 1_000)
    assert _printed("runs", "--db", builder.path).splitlines() == [
        "run    pipeline  started                  state   metric   value   dense  sparsity    bytes     ms  dense ms",
        "run-1  taxi      1970-01-01 00:00:01 UTC  failed  AUC     0.9411  0.9444    90.00%  883,999  0.512       1.5",
    ]
    (run,) = json.loads(_printed("runs", "--db", builder.path, "--json"))["runs"]
    assert {key: value for key, value in run.items() if key not in ("executions", "started", "seconds")} == {
        "run": "run-1",
        "pipeline": "taxi",
        "state": "failed",
        "metric": "AUC",
        "metric_value": 0.94111,
        "baseline_metric_value": 0.94444,
        "sparsity": 1 - 16333 / 163328,
        "stripped_bytes": 883999,
        "milliseconds": 0.512,
        "dense_milliseconds": 1.5,
        "latency_batch": 64,
        "verdict": None,
    }


def test_a_sweep_tells_what_was_chosen(tmp_path: pathlib.Path) -> None:
    build_sweep(tmp_path / "metadata.sqlite")
    (run,) = json.loads(_printed("runs", "--db", tmp_path / "metadata.sqlite", "--json"))["runs"]
    assert (run["metric"], run["metric_value"], run["verdict"]) == ("auc", 0.94209, "blessed")


def test_nodes_of_runs(taxi: pathlib.Path) -> None:
    assert _printed("runs", "--db", taxi, "--limit", "1", "--nodes").splitlines() == [
        "taxi  run-2",
        "started 1970-01-01 00:00:11 UTC, 7.5 s, 6 complete, 3 cached",
        "node            execution  state     seconds",
        "CsvExampleGen           9  cached        1.5",
        "SchemaGen              10  cached        1.5",
        "Transform              11  cached        1.5",
        "Resolver               12  complete      1.5",
        "Trainer                13  complete      1.5",
        "PruningTrainer         14  complete      1.5",
        "Stripper               15  complete      1.5",
        "Evaluator              16  complete      1.5",
        "Pusher                 17  complete      1.5",
    ]
    assert [line for line in _printed("runs", "--nodes", "--db", taxi).splitlines() if line.startswith("taxi")] == [
        "taxi  run-2",
        "taxi  run-1",
    ]


def test_runs_json(taxi: pathlib.Path) -> None:
    found = json.loads(_printed("runs", "--db", taxi, "--pipeline", "taxi", "--limit", "1", "--json"))
    (run,) = found["runs"]
    assert {**run, "executions": run["executions"][:1]} == {
        "run": "run-2",
        "pipeline": "taxi",
        "started": "1970-01-01T00:00:11.000+00:00",
        "seconds": 7.5,
        "state": "complete",
        "metric": None,
        "metric_value": None,
        "baseline_metric_value": None,
        "sparsity": 1 - 16333 / 163328,
        "stripped_bytes": 883999,
        "milliseconds": None,
        "dense_milliseconds": None,
        "latency_batch": None,
        "verdict": "refused",
        "executions": [
            {
                "id": 9,
                "node": "CsvExampleGen",
                "state": "cached",
                "started": "1970-01-01T00:00:09.000+00:00",
                "seconds": 1.5,
            }
        ],
    }


def test_run_that_goes_on(empty: pathlib.Path) -> None:
    builder = StoreBuilder(empty)
    builder.run("taxi", "run-1")
    builder.execute("Trainer", state=STATE.RUNNING)
    lines = _printed("runs", "--nodes", "--db", empty).splitlines()
    assert lines[1].endswith(" UTC, 1 running")
    assert lines[3].split() == ["Trainer", "1", "running"]


def test_artifacts(taxi: pathlib.Path) -> None:
    assert _printed("artifacts", "--db", taxi, "--limit", "1").splitlines() == [
        "Model 12  Stripper, stripped",
        "  state                live",
        "  pipeline             taxi",
        "  run                  run-2",
        "  created              1970-01-01 00:00:12 UTC",
        "  uri                  root/Stripper/model",
        "  prune_option         weight",
        "  target_sparsity      90.00%",
        "  sparsity             90.00%",
        "  prunable_parameters  163,328",
        "  nonzero_parameters   16,333",
        "  hparams              target_sparsity=0.9, pruning_frequency=8",
        "  trained_bytes        3,218,360",
        "  stripped_bytes       883,999",
        "  variables_removed    26",
    ]


def test_artifacts_of_a_type(taxi: pathlib.Path) -> None:
    assert _printed("artifacts", "--db", taxi, "--type", "Schema").splitlines()[:4] == [
        "Schema 2  SchemaGen",
        "  state      live",
        "  pipeline   taxi",
        "  run        run-1",
    ]
    assert "  cached in  run-2\n" in _printed("artifacts", "--db", taxi, "--type", "Schema")
    assert _printed("artifacts", "--db", taxi, "--type", "Shema") == (
        "No artifacts of type Shema are recorded; there are such of Examples, Model, ModelBlessing, PushedModel, "
        "Schema, TransformGraph.\n"
    )


def test_artifacts_json(taxi: pathlib.Path) -> None:
    found = json.loads(_printed("artifacts", "--db", taxi, "--limit", "2", "--json"))
    assert [(each["id"], each["stage"]) for each in found["artifacts"]] == [(12, "stripped"), (11, "pruned")]
    assert found["artifacts"][0]["properties"]["trained_bytes"] == 3218360


def test_without_a_command_runs_and_models(taxi: pathlib.Path) -> None:
    printed = _printed("--db", taxi)
    assert printed == _printed("runs", "--db", taxi) + "\n" + _printed("artifacts", "--db", taxi)
    found = json.loads(_printed("--db", taxi, "--json"))
    assert found["runs"] == json.loads(_printed("runs", "--db", taxi, "--json"))["runs"]
    assert found["artifacts"] == json.loads(_printed("artifacts", "--db", taxi, "--json"))["artifacts"]


def test_options_hold_before_a_command_too(taxi: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = _printed("lineage", "7", "--db", taxi, "--json")
    assert _printed("--db", taxi, "--json", "lineage", "7") == expected
    monkeypatch.setenv("TFX_PRUNING_DB", str(taxi))
    assert _printed("lineage", "7", "--json") == expected
    monkeypatch.setenv("TFX_PRUNING_DB", "nowhere.sqlite")
    assert _printed("--db", taxi, "lineage", "7", "--json") == expected


def test_empty_store_says_so(empty: pathlib.Path) -> None:
    assert _printed("runs", "--db", empty) == "No pipeline runs are recorded.\n"
    assert _printed("artifacts", "--db", empty) == "No artifacts of type Model are recorded.\n"
    assert json.loads(_printed("--db", empty, "--json")) == {"runs": [], "artifacts": []}
    assert _refusal("lineage", "1", "--db", empty) == ("Error: there is no artifact 1: the store holds no artifacts.")


def test_errors_are_one_line(taxi: pathlib.Path, tmp_path: pathlib.Path) -> None:
    missing = tmp_path / "metadata.sqlite"
    assert _refusal("runs", "--db", missing).startswith(f"Error: there is no file {missing}; name the SQLite file")
    assert not missing.exists()
    assert _refusal("lineage", "99", "--db", taxi) == ("Error: there is no artifact 99; the nearest ids are 13, 14.")
    assert _refusal("runs", "--pipeline", "texi", "--db", taxi) == (
        "Error: there is no pipeline 'texi'; the store has 'taxi'."
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["runs"], "Missing option '--db': name the database there or in the variable TFX_PRUNING_DB."),
        (["lineage", "0", "--db", "x"], "Invalid value for 'ID': 0 is not in the range 1<=x<=9223372036854775807."),
        (["runs", "--limit", "0", "--db", "x"], "Invalid value for '--limit': 0 is not in the range x>=1."),
        (["runs", "--db", "mysql://db"], "Invalid value for '--db': 'mysql://db' names no user and no database"),
    ],
)
def test_wrong_usage(arguments: Sequence[str], message: str) -> None:
    result = _invoke(*arguments)
    assert (result.exit_code, result.stdout) == (2, "")
    assert message in result.stderr


def test_password_is_taken_from_the_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    opened = []
    monkeypatch.setattr(connection, "open_store", _refuse_and_keep(opened))
    monkeypatch.setenv("MYSQL_PWD", "p@ss")
    assert _refusal("runs", "--db", "mysql://reader@db/mlmd") == "Error: no server"
    assert (opened[0].mysql.host, opened[0].mysql.user, opened[0].mysql.password) == ("db", "reader", "p@ss")


def test_password_is_asked_for_at_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    opened, asked = [], []
    monkeypatch.setattr(connection, "open_store", _refuse_and_keep(opened))
    monkeypatch.setattr(metadata_command, "_at_terminal", lambda: True)
    monkeypatch.setattr(click, "prompt", lambda text, **options: asked.append((text, options["hide_input"])) or "typed")
    assert _refusal("runs", "--db", "mysql://reader@db/mlmd") == "Error: no server"
    assert asked == [("Password of reader at db", True)]
    assert opened[0].mysql.password == "typed"


def test_password_is_none_away_from_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    opened = []
    monkeypatch.setattr(connection, "open_store", _refuse_and_keep(opened))
    assert _refusal("runs", "--db", "mysql://reader@db/mlmd") == "Error: no server"
    assert opened[0].mysql.password == ""


def _refuse_and_keep(opened: list[mlmd.ConnectionConfig]):
    def open_store(config: mlmd.ConnectionConfig) -> None:
        opened.append(config)
        raise connection.StoreError("no server")

    return open_store


@pytest.mark.parametrize(
    ("name", "value", "text"),
    [
        (properties.SPARSITY, 0.5, "50.00%"),
        (properties.TARGET_SPARSITY, 1, "100.00%"),
        (properties.TRAINED_BYTES, 3218360, "3,218,360"),
        (properties.TRAINED_BYTES, 3218360.0, "3,218,360"),  # as Kubeflow hands it on
        ("tflite_bytes", 1234567, "1,234,567"),
        (properties.PRUNE_OPTION, "weight", "weight"),
        ("current_model_id", 1234, "1234"),
        ("loss", 0.25, "0.25"),
        (properties.HPARAMS, PruningHParams().to_string(), "all at their defaults"),
        (properties.HPARAMS, PruningHParams(target_sparsity=0.75).to_string(), "target_sparsity=0.75"),
        (properties.HPARAMS, "of another kind", "of another kind"),
    ],
)
def test_readable_properties(name: str, value: str | int | float, text: str) -> None:
    assert metadata_view.readable(name, value) == text


def test_names_are_no_markup(empty: pathlib.Path) -> None:
    builder = StoreBuilder(empty)
    builder.run("[red]taxi[/red]", "[/]")
    builder.execute(
        "Trainer", {}, {"model": "Model"}, node="[bold]", custom={"model": {"note": "[b]x[/b]", "uri": "mine"}}
    )
    assert "[red]taxi[/red]  [/]\n" in _printed("runs", "--nodes", "--db", empty)
    assert "\n[bold] " in _printed("runs", "--nodes", "--db", empty)
    assert "\n[/]  [red]taxi[/red]  " in _printed("runs", "--db", empty)
    assert _printed("artifacts", "--db", empty).splitlines()[-3:] == [
        "  uri       root/[bold]/model",
        "  note      [b]x[/b]",
        "  uri       mine",
    ]
    assert _printed("lineage", "1", "--db", empty) == "Model 1  [bold]  <- asked for\n"


def test_names_do_not_control_the_terminal(empty: pathlib.Path) -> None:
    builder = StoreBuilder(empty)
    builder.run("taxi\x1b[31m", "run\x9b")
    builder.execute("Trainer", {}, {"model": "Model"}, node="no\x1bde", custom={"model": {"note": "a\nb\x1b"}})
    assert r"taxi\x1b[31m  run\x9b" in _printed("runs", "--nodes", "--db", empty)
    assert "\n" + r"no\x1bde " in _printed("runs", "--nodes", "--db", empty)
    assert "\n" + r"run\x9b  taxi\x1b[31m  " in _printed("runs", "--db", empty)
    assert r"  note      a\nb\x1b" in _printed("artifacts", "--db", empty).splitlines()
    assert _printed("lineage", "1", "--db", empty) == r"Model 1  no\x1bde  <- asked for" + "\n"


@pytest.mark.parametrize("arguments", [[], ["runs"], ["artifacts"], ["lineage"]])
def test_help_has_examples_and_the_keys_of_the_json(arguments: list[str]) -> None:
    printed = _printed(*arguments, "--help")
    assert f"tfx-pruning metadata {' '.join(arguments)}" in printed
    assert "Examples:" in printed
    assert "JSON: {" in printed


def test_commands_of_the_page_are_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    opened = []
    monkeypatch.setattr(connection, "open_store", _refuse_and_keep(opened))
    page = (pathlib.Path(__file__).parents[2] / "docs" / "metadata.md").read_text(encoding="utf-8")
    commands = re.findall(r"^ {4}tfx-pruning metadata (.+)$", page, re.MULTILINE)
    assert len(commands) == 4
    for arguments in commands:
        assert _refusal(*arguments.split()) == "Error: no server"
    assert [config.WhichOneof("config") for config in opened] == ["sqlite", "sqlite", "mysql", "sqlite"]


@pytest.mark.slow
def test_command_loads_neither_tfx_nor_tensorflow(taxi: pathlib.Path) -> None:
    program = (
        "import sys\n"
        "from tfx_pruning.cli.metadata_command import command\n"
        f"command(['lineage', '7', '--db', {str(taxi)!r}], standalone_mode=False)\n"
        "assert not {'tfx', 'tensorflow', 'apache_beam', 'kfp'} & set(sys.modules), sys.modules\n"
    )
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120, check=False)
    assert (result.returncode, result.stderr) == (0, "")
    assert "Model 7  Stripper" in result.stdout
