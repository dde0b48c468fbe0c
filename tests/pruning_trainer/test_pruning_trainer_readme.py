"""The README says what the code has."""

import contextlib
import dataclasses
import inspect
import itertools
import pathlib
import re
import types

import keras_tuner
import tensorflow as tf
from tfx import v1 as tfx
from tfx.components import Trainer

import tfx_pruning
from tfx_pruning import PruningHParams, properties

_README = (pathlib.Path(tfx_pruning.__file__).parent / "pruning_trainer" / "README.md").read_text()


def _table(heading, header):
    """Rows of the table whose header starts so, as lists of cells, under a heading."""
    section = _README.partition(f"## {heading}\n")[2].partition("\n## ")[0]
    lines = section.partition(f"| {header}")[2].splitlines()[2:]
    rows = [re.split(r"(?<!\\)\|", line)[1:-1] for line in itertools.takewhile(bool, lines)]
    return [[cell.strip() for cell in row] for row in rows]


def test_lists_every_hyperparameter_with_its_default():
    documented = {}
    for names, defaults, _ in _table("Hyperparameters", "`PruningHParams(...)`"):
        documented.update(zip(re.findall(r"`(\w+)`", names), re.findall(r"`([^`]+)`", defaults), strict=True))
    actual = {field.name: field.default for field in dataclasses.fields(PruningHParams)}
    assert {name: eval(text) for name, text in documented.items()} == {
        name: list(value) if isinstance(value, tuple) else value for name, value in actual.items()
    }


def test_lists_every_parameter_of_trainer():
    section = _README.partition("## Inputs\n")[2].partition("\n| ")[0]
    parameters = set(inspect.signature(Trainer.__init__).parameters) - {"self"}
    assert set(re.findall(r"`(\w+)`", section)) - {"Trainer"} == parameters


def test_lists_the_properties_that_are_written():
    names = [name for row in _table("Outputs", "Property") for name in re.findall(r"`(\w+)`", row[0])]
    assert tuple(names) == (*properties.PRUNING, *properties.PRUNING_OF_FLOPS)


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


def test_example_of_a_criterion_of_ones_own_registers_it(monkeypatch):
    registered = {}
    monkeypatch.setattr(tfx_pruning, "register_criterion", registered.__setitem__, raising=False)
    monkeypatch.setattr(tfx_pruning, "register_schedule", registered.__setitem__, raising=False)
    (code,) = re.findall(r"```python\n(import dataclasses\n.*?)```", _README, re.DOTALL)
    exec(code, {"__name__": "readme"})
    criterion, schedule = registered["root_mean_square"], registered["stairs"]
    assert criterion.scores(tf.constant([-3.0]), criterion.sample(tf.constant([2.0]))).numpy() == [6.0]
    assert float(schedule(0.0, 0.8, 0, 8)(5)) == 0.4


def test_example_of_a_search_prunes_each_trial_by_what_it_chose():
    (code,) = re.findall(r"```python\n(class .*?)```", _README, re.DOTALL)
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
