"""The README says what the code has."""

import contextlib
import dataclasses
import inspect
import itertools
import pathlib
import re
import types

import keras_tuner
from tfx import v1 as tfx
from tfx.components import Trainer

from tfx_pruning import PruningHParams, PruningTrainer, properties
from tfx_pruning.pruning_trainer.spec import PruningTrainerSpec

_ROOT = pathlib.Path(__file__).parents[2]
_README = (_ROOT / "components" / "pruning_trainer" / "README.md").read_text(encoding="utf-8")
_TUNER = (_ROOT / "docs" / "guides" / "tuner.md").read_text(encoding="utf-8")


def _table(heading, header):
    """Rows of the table whose header starts so, as lists of cells, under a heading."""
    section = _README.partition(f"## {heading}\n")[2].partition("\n## ")[0]
    lines = section.partition(f"| {header}")[2].splitlines()[2:]
    rows = [re.split(r"(?<!\\)\|", line)[1:-1] for line in itertools.takewhile(bool, lines)]
    return [[cell.strip() for cell in row] for row in rows]


def _names(heading, header):
    return [name for row in _table(heading, header) for name in re.findall(r"`(\w+)`", row[0])]


def test_defaults_are_those_of_the_code():
    defaults = {field.name: repr(field.default) for field in dataclasses.fields(PruningHParams)}
    rows = _table("Hyperparameters", "Field")
    assert len(rows) >= 5
    for names, values, _ in rows:
        for name, value in zip(re.findall(r"`(\w+)`", names), re.findall(r"`([^`]+)`", values), strict=True):
            assert defaults[name] == value, name


def test_lists_every_parameter_and_output():
    names = _names("Inputs", "Parameter")
    assert sorted(names) == sorted(inspect.signature(PruningTrainer).parameters)
    assert set(names) >= set(inspect.signature(Trainer.__init__).parameters) - {"self"}
    assert _names("Outputs", "Output") == list(PruningTrainerSpec.OUTPUTS)


def test_lists_the_properties_that_are_written():
    assert tuple(_names("Outputs", "Property")) == (*properties.PRUNING, *properties.PRUNING_OF_FLOPS)


def test_example_constructs_the_component():
    code = re.search(r"```python\n(.*?)```", _README, re.DOTALL)[1]
    transform, schema_gen, trainer = (types.SimpleNamespace() for _ in range(3))
    transform.outputs = {
        "transformed_examples": tfx.types.standard_artifacts.Examples,
        "transform_graph": tfx.types.standard_artifacts.TransformGraph,
    }
    schema_gen.outputs = {"schema": tfx.types.standard_artifacts.Schema}
    trainer.outputs = {"model": tfx.types.standard_artifacts.Model}
    for upstream in (transform, schema_gen, trainer):
        upstream.outputs = {name: tfx.dsl.Channel(type=kind) for name, kind in upstream.outputs.items()}
    namespace = {"tfx": tfx, "transform": transform, "schema_gen": schema_gen, "trainer": trainer}
    # A module file would be packaged at once; this one does not exist.
    exec(code.replace('module_file="taxi_module.py"', 'run_fn="taxi_module.run_fn"'), namespace)
    hparams = PruningHParams.parse(namespace["pruned"].exec_properties["hparams"])
    assert (hparams.prune_option, hparams.target_sparsity) == ("first_order_gradient", 0.9)


def test_example_of_a_search_prunes_each_trial_by_what_it_chose():
    (code,) = re.findall(r"```python\n(class .*?)```", _TUNER, re.DOTALL)
    scopes, widths = [], []
    names = {
        "keras_tuner": keras_tuner,
        "tfx_pruning": types.SimpleNamespace(
            pruning_scope=lambda hparams: contextlib.nullcontext(scopes.append(hparams))
        ),
        "hparams": PruningHParams(target_sparsity=0.75),
        "build_model": widths.append,
    }
    exec(code, names)
    hyper_model, hp = names["Regression"](), keras_tuner.HyperParameters()
    hyper_model.build(hp)
    hp.values["pruning/prune_option"] = "second_order_gradient"
    model = types.SimpleNamespace(fit=lambda *args, **kwargs: (args, kwargs))
    assert hyper_model.fit(hp, model, 1, epochs=2) == ((1,), {"epochs": 2})
    assert scopes == [PruningHParams(target_sparsity=0.75, prune_option="second_order_gradient")]
    assert widths == [64]
