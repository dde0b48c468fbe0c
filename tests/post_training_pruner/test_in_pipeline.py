"""PostTrainingPruner in a pipeline that runs here: condition, id, RuntimeParameter, cache, ML Metadata."""

import json
import os
import pathlib

import pytest
import tensorflow as tf
from tfx import v1 as tfx
from tfx.dsl.compiler import compiler
from tfx.orchestration.portable import runtime_parameter_utils

from helpers.record_files import write_records
from tfx_pruning import PostTrainingPruner, PruningReport
from tfx_pruning.metadata.artifacts import list_artifacts
from tfx_pruning.metadata.connection import connection_config, open_store
from tfx_pruning.metadata.runs import list_runs
from tfx_pruning.metadata.store_reader import StoreReader

NODE = "OneShot"


def _pipeline(root: pathlib.Path, two_layers: str) -> tfx.dsl.Pipeline:
    model = tfx.dsl.Importer(
        source_uri=str(root / "trained"),
        artifact_type=tfx.types.standard_artifacts.Model,
        custom_properties={"accuracy": 90},
    ).with_id("model")
    examples = tfx.dsl.Importer(
        source_uri=str(root / "examples"),
        artifact_type=tfx.types.standard_artifacts.Examples,
        properties={"split_names": json.dumps(["train"])},
        custom_properties={"payload_format": "FORMAT_TF_EXAMPLE"},
    ).with_id("examples")
    with tfx.dsl.Cond(model.outputs["result"].future()[0].custom_property("accuracy") >= 80):
        pruner = PostTrainingPruner(
            model=model.outputs["result"],
            examples=examples.outputs["result"],
            hparams=tfx.dsl.experimental.RuntimeParameter(
                "hparams", str, "prune_option=wanda,target_sparsity=0.5,allocation=global"
            ),
        ).with_id(NODE)
    with tfx.dsl.Cond(model.outputs["result"].future()[0].custom_property("accuracy") >= 95):
        other = PostTrainingPruner(model=model.outputs["result"], hparams="target_sparsity=0.5").with_id("Never")
    return tfx.dsl.Pipeline(
        pipeline_name="one_shot",
        pipeline_root=str(root / "artifacts"),
        components=[model, examples, pruner, other],
        enable_cache=True,
        metadata_connection_config=tfx.orchestration.metadata.sqlite_metadata_connection_config(
            str(root / "metadata.sqlite")
        ),
    )


@pytest.mark.slow
def test_runs_as_a_node_of_tfx(two_layers, images, tmp_path):
    os.makedirs(tmp_path / "trained")
    os.symlink(two_layers, tmp_path / "trained" / "Format-Serving")
    records = []
    for image, word in zip(images["image"], images["word"], strict=True):
        example = tf.train.Example()
        example.features.feature["image"].float_list.value.extend(image.ravel())
        example.features.feature["word"].int64_list.value.append(int(word))
        records.append(example.SerializeToString())
    write_records(tmp_path / "examples" / "Split-train" / "data.gz", records)
    for parameters in ({}, {}, {"hparams": "prune_option=obc,target_sparsity=0.75"}):
        compiled = compiler.Compiler().compile(_pipeline(tmp_path, two_layers))
        runtime_parameter_utils.substitute_runtime_parameter(compiled, parameters)
        tfx.orchestration.LocalDagRunner().run_with_ir(compiled)
    reader = StoreReader(open_store(connection_config(str(tmp_path / "metadata.sqlite"))))
    states = [{each.node: each.state for each in run.executions} for run in reversed(list_runs(reader))]
    assert [state.get(NODE) for state in states] == ["complete", "cached", "complete"]
    assert not any(state.get("Never") == "complete" for state in states)
    made = [each for each in list_artifacts(reader, "Model") if each.made_by.node == NODE]
    found = sorted((each.properties["prune_option"], each.properties["nonzero_parameters"]) for each in made)
    assert found == [("obc", 84), ("wanda", 168)]
    reports = list_artifacts(reader, PruningReport.TYPE_NAME)
    assert {each.made_by.node for each in reports} == {NODE}
