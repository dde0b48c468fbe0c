"""What a trial of a user's module finds."""

import pathlib
import re
from collections.abc import Callable
from typing import Any

import pytest

from helpers import house_data
from tfx_pruning.pipelines.config import PipelineConfig
from tfx_pruning.pipelines.module_copy import importable_copy
from tfx_pruning.pipelines.trial.module_trial import ModuleTrial, TrialFailedError

pytestmark = pytest.mark.slow

SOURCE = house_data.MODULE_FILE.read_text(encoding="utf-8")
Try = Callable[..., pathlib.Path]


@pytest.fixture
def tried(tmp_path: pathlib.Path) -> Try:
    """Tries the houses' module with a piece of its text replaced; returns its file."""

    def tried(old: str = "", new: str = "", **fields: Any) -> pathlib.Path:
        assert old in SOURCE
        file = tmp_path / "houses.py"
        file.write_text(SOURCE.replace(old, new) if old else SOURCE, encoding="utf-8")
        values = {"label_key": "price", "preprocessing_signature": "", "metric": "MeanSquaredError"}
        values |= {"metric_direction": "lower", "max_metric_drop": 1.0}
        places = {"pipeline_root": "a", "data_root": "b", "serving_dir": "c", "module_file": str(file)}
        config = PipelineConfig.from_values({**values, **places, **fields})
        folder = tmp_path / "trial"
        folder.mkdir()
        module = importable_copy(str(file), folder / "modules")
        ModuleTrial(config, module, house_data.examples()[:150], folder).run()
        return file

    return tried


def test_module_that_works_trains_one_step_on_the_examples(tried: Try) -> None:
    seen = "    assert (fn_args.train_steps, fn_args.eval_steps, fn_args.base_model) == (1, 1, None)\n"
    seen += "    assert len(fn_args.train_files) == 1 and fn_args.schema_path and fn_args.model_run_dir\n"
    tried("    keras.utils.set_random_seed(3)\n", seen, pruning={"distill_weight": 0.5})


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (
            "import tfx_pruning\n",
            "import tfx_prunning\n",
            r"its import fails with ModuleNotFoundError: No module named 'tfx_prunning', at {file}:9 in <module>",
        ),
        (
            "tft.scale_to_z_score(",
            "tft.scale_to_zscore(",
            r"preprocessing_fn fails with AttributeError: .* no attribute 'scale_to_zscore', at {file}:16 in ",
        ),
        (
            "_dense(inputs[LABEL])",
            "_dense(inputs['prize'])",
            r"preprocessing_fn fails with KeyError: 'prize', at {file}:17 in preprocessing_fn",
        ),
        (
            "inputs.values()",
            "inputz.values()",
            r"run_fn fails with NameError: name 'inputz' is not defined, at {file}:24 in run_fn",
        ),
        (
            "keras.layers.Dense(1, name",
            "keras.layers.Dense('1', name",
            r"run_fn fails with \w+Error: .*, at {file}:27 in run_fn",
        ),
        (
            "tf.io.parse_example(examples, specs)",
            "tf.io.parse_example(examples, spec)",
            r"run_fn, where it saves the model, fails with NameError: name 'spec' .*, at {file}:42 in serve",
        ),
        (
            '{"serving_default": serve}',
            '{"serve": serve}',
            r"the model that run_fn saved has no signature 'serving_default'\. There are serve\. Save it with ",
        ),
        (
            "    tf.saved_model.save(",
            "    (lambda *_, **__: None)(",
            r"run_fn saved no model: end it with tf\.saved_model\.save\(model",
        ),
        (
            "{name: spec for name, spec in transform.raw_feature_spec().items() if name != LABEL}",
            '{"area": tf.io.FixedLenFeature([2], tf.float32)}',
            r"run_fn.* fails with ",
        ),
        (
            'return {"price": model(',
            'tf.debugging.assert_less(tf.size(examples), 3)\n        return {"price": model(',
            r"the signature 'serving_default' of the model that run_fn saved fails with InvalidArgumentError: ",
        ),
    ],
)
def test_part_that_fails_is_named_with_the_line(
    tried: Try, tmp_path: pathlib.Path, old: str, new: str, message: str
) -> None:
    with pytest.raises(TrialFailedError, match=message.format(file=re.escape(str(tmp_path / "houses.py")))):
        tried(old, new)


@pytest.mark.parametrize(
    ("old", "new", "fields", "message"),
    [
        (
            "",
            "",
            {"preprocessing_signature": "transform_features"},
            r"no signature 'transform_features'\. There are serving_default\. .* or set preprocessing_signature",
        ),
        (
            '{"serving_default": serve}',
            '{"serving_default": serve, "transform_features": serve}',
            {"preprocessing_signature": "transform_features", "label_key": "prize"},
            r"'transform_features' .* has no output 'prize', which is the label_key\. Did you mean 'price'\?",
        ),
        (
            '{"price": model(model.transform_layer(tf.io.parse_example(examples, specs)))}',
            '{"p": tf.nn.softmax(tf.tile(model(model.transform_layer(tf.io.parse_example(examples, specs))), [1, 9]))}',
            {"label_key": "rooms", "metric": "Accuracy", "metric_direction": "higher"},
            r"metric: Accuracy does not fit a label that is the number of a class and a model that answers with 9 "
            r"numbers: use SparseCategoricalAccuracy$",
        ),
        (
            "",
            "",
            {"further_metrics": ["MeanAbsoluteError", "BinaryAccuracy"]},
            r"further_metrics: BinaryAccuracy does not fit a label that is a number and a model that answers with 1 "
            r"number: use MeanSquaredError or MeanAbsoluteError$",
        ),
        (
            "    tf.saved_model.save(model,",
            "    served = tf.Module()\n    served.model = model\n    tf.saved_model.save(served,",
            {"pruning": {"distill_weight": 0.5}},
            r"as the teacher of the pruned one, fails with ValueError: The teacher, .*, has no function that takes the "
            r"features of a training batch; it has signature 'serving_default'\(examples: string \(None,\)\)",
        ),
    ],
)
def test_setting_that_does_not_fit_the_model_is_named(
    tried: Try, old: str, new: str, fields: dict[str, Any], message: str
) -> None:
    with pytest.raises(TrialFailedError, match=message):
        tried(old, new, **fields)
