"""AUC of the taxi pipeline's model, dense and pruned, over several seeds.

The pipeline's own components, from CsvExampleGen to Transform, prepare the Chicago taxi trips that tfx ships, once.
Then each seed trains as the pipeline does, with its steps and hyperparameters: Trainer's executor the dense model, by
`run_fn` of pipelines/modules/taxi.py, and PruningTrainer's executor, from that model on, the pruned one. The models
answer the raw trips of the evaluation split by their signature `serving_default`.

Exit status 1 if the mean AUC of the pruned models is more than .005 below that of the dense ones.
"""

import argparse
import os
import pathlib
import sys
import tempfile
from collections.abc import Iterator

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
import sklearn.metrics
import tensorflow as tf
from _table import publish
from tfx import v1 as tfx
from tfx.components.trainer import executor as trainer_executor
from tfx.orchestration.pipeline import RunOptions
from tfx.types import artifact_utils

from tfx_pruning import PruningHParams, PruningReport, properties
from tfx_pruning.pipelines.beam_args import IN_PROCESS
from tfx_pruning.pipelines.config import PipelineConfig
from tfx_pruning.pipelines.modules import taxi
from tfx_pruning.pipelines.pipeline import create_pipeline
from tfx_pruning.pipelines.taxi_example import shipped_data
from tfx_pruning.pruning_trainer.executor import Executor as PruningTrainerExecutor

_ALLOWED_DROP = 0.005
_BATCH_SIZE = 1000


def main() -> int:
    """Prepares the data, trains, prints the table, and judges it; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=5, help="number of seeds, at least 2, from 0 (default: 5)")
    arguments = parser.parse_args()
    if arguments.seeds < 2:
        parser.error(f"--seeds must be at least 2, got {arguments.seeds}.")
    with tempfile.TemporaryDirectory() as root:
        config = PipelineConfig(
            pipeline_root=root, data_root=shipped_data(), serving_dir=str(pathlib.Path(root, "serving"))
        )
        inputs = prepared(config)
        found = [_aucs(config, inputs, seed) for seed in range(arguments.seeds)]
    dense, pruned, sparsity = np.array(found).T
    assert len(set(dense)) > 1, "The seeds trained one and the same model."
    drop = dense - pruned
    passed = drop.mean() <= _ALLOWED_DROP
    rows = [
        [name, *(f"{value:.4f}" for value in values), f"{values.mean():.4f} ± {values.std(ddof=1):.4f}"]
        for name, values in {"dense": dense, "pruned": pruned, "dense - pruned": drop}.items()
    ]
    publish(
        "taxi",
        "AUC of the taxi pipeline",
        ["model", *(f"seed {seed}" for seed in range(arguments.seeds)), "mean ± standard deviation"],
        rows,
        [
            f"{'pass' if passed else 'FAIL'}: the mean of the pruned models was to be at most {_ALLOWED_DROP} below "
            f"that of the dense ones; it is {drop.mean():.4f} below.",
            f"Pruned by {config.hparams.prune_option}, {config.hparams.allocation} allocation; sparsity delivered: "
            f"{sparsity.min():.4%} to {sparsity.max():.4%}.",
            f"{config.train_steps} steps dense, then {config.pruning_steps} that prune, batches of {taxi.BATCH_SIZE}.",
        ],
    )
    return 0 if passed else 1


def run_fn(fn_args: tfx.components.FnArgs) -> None:
    """The taxi module's `run_fn`, with the seed that `custom_config` names."""
    taxi.SEED = fn_args.custom_config["seed"]
    taxi.run_fn(fn_args)


def prepared(config: PipelineConfig) -> dict[str, list[tfx.dsl.Artifact]]:
    """Runs the pipeline as far as Transform; returns the inputs of Trainer, and the raw examples."""
    metadata = tfx.orchestration.metadata.sqlite_metadata_connection_config(f"{config.pipeline_root}/metadata.sqlite")
    whole = create_pipeline(config, metadata, IN_PROCESS)
    tfx.orchestration.LocalDagRunner().run(whole, run_options=RunOptions(to_nodes=["Transform"]))
    components = {component.id: component for component in whole.components}
    outputs = {
        "raw": components["CsvExampleGen"].outputs["examples"],
        "examples": components["Transform"].outputs["transformed_examples"],
        "transform_graph": components["Transform"].outputs["transform_graph"],
        "schema": components["SchemaGen"].outputs["schema"],
    }
    inputs = {}
    for key, channel in outputs.items():
        artifact = channel.type()
        (folder,) = pathlib.Path(config.pipeline_root, channel.producer_component_id, channel.output_key).iterdir()
        artifact.uri = str(folder)
        if isinstance(artifact, tfx.types.standard_artifacts.Examples):
            artifact.split_names = artifact_utils.encode_split_names(["train", "eval"])
        inputs[key] = [artifact]
    return inputs


def _aucs(config: PipelineConfig, inputs: dict[str, list[tfx.dsl.Artifact]], seed: int) -> tuple[float, float, float]:
    """AUC of one seed's dense and pruned model, and the pruned one's sparsity."""
    raw = inputs["raw"]
    inputs = {key: artifacts for key, artifacts in inputs.items() if key != "raw"}
    dense = trained(trainer_executor.GenericExecutor(), config, inputs, config.train_steps, seed)
    inputs["base_model"] = [dense]
    pruned = trained(PruningTrainerExecutor(), config, inputs, config.pruning_steps, seed)
    aucs = [auc(config, f"{model.uri}/Format-Serving", raw) for model in (dense, pruned)]
    sparsity = pruned.get_float_custom_property(properties.SPARSITY)
    print(f"seed {seed}: dense {aucs[0]:.4f}, pruned {aucs[1]:.4f} at {sparsity:.4%}", file=sys.stderr, flush=True)
    return *aucs, sparsity


def trained(
    executor: trainer_executor.GenericExecutor,
    config: PipelineConfig,
    inputs: dict[str, list[tfx.dsl.Artifact]],
    steps: int,
    seed: int,
    hparams: PruningHParams | None = None,
) -> tfx.dsl.Artifact:
    """The artifact of a model that an executor trains, by `run_fn`, with the seed and the hyperparameters."""
    made = {
        "model": tfx.types.standard_artifacts.Model(),
        "model_run": tfx.types.standard_artifacts.ModelRun(),
        "report": PruningReport(),
    }
    for artifact in made.values():
        artifact.uri = tempfile.mkdtemp(dir=config.pipeline_root)
    exec_properties = {
        "run_fn": f"{pathlib.Path(__file__).stem}.run_fn",
        "train_args": f'{{"num_steps": {steps}}}',
        "eval_args": f'{{"num_steps": {config.eval_steps}}}',
        "custom_config": f'{{"seed": {seed}}}',
        "hparams": (hparams or config.hparams).to_string(),
    }
    executor.Do(inputs, {key: [artifact] for key, artifact in made.items()}, exec_properties)
    return made["model"]


def auc(config: PipelineConfig, model: str, raw: list[tfx.dsl.Artifact]) -> float:
    """The AUC of the SavedModel in a folder, on the evaluation split."""
    signatures = tf.saved_model.load(model).signatures
    labels, scores = [], []
    for examples in eval_batches(raw):
        labels.append(signatures[config.preprocessing_signature](examples=examples)[config.label_key].numpy())
        scores.append(signatures[config.serving_signature](examples=examples)["outputs"].numpy())
    return float(sklearn.metrics.roc_auc_score(np.concatenate(labels), np.concatenate(scores)))


def eval_batches(raw: list[tfx.dsl.Artifact]) -> Iterator[tf.Tensor]:
    """Batches of serialized trips of the evaluation split."""
    files = tf.io.gfile.glob(f"{artifact_utils.get_split_uri(raw, 'eval')}/*")
    yield from tf.data.TFRecordDataset(files, compression_type="GZIP").batch(_BATCH_SIZE)


if __name__ == "__main__":
    sys.exit(main())
