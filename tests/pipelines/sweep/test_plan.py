import dataclasses

import pytest

from tfx_pruning import PruningHParams
from tfx_pruning.pipelines.config import PipelineConfig
from tfx_pruning.pipelines.sweep.plan import SweepPlan

CONFIG = PipelineConfig(
    pipeline_root="artifacts",
    data_root="data",
    serving_dir="serving",
    pruning_steps=70,
    pruning={"prune_option": "weight", "allocation": "erk", "target_sparsity": 0.3},
)


def test_sparsities_are_exact_and_both_ends_are_among_them():
    assert SweepPlan(CONFIG, min_sparsity=0.9, max_sparsity=0.95, resolution=0.02).sparsities == (0.9, 0.92, 0.94, 0.95)
    assert SweepPlan(CONFIG, min_sparsity=0.7, max_sparsity=0.9, resolution=0.1).sparsities == (0.7, 0.8, 0.9)
    assert SweepPlan(CONFIG, min_sparsity=0.995, max_sparsity=0.9952, resolution=0.0001).sparsities == (
        0.995,
        0.9951,
        0.9952,
    )
    assert SweepPlan(CONFIG, min_sparsity=0.9, max_sparsity=0.9).sparsities == (0.9,)
    assert len(SweepPlan(CONFIG).sparsities) == 50


def test_a_candidate_has_the_fields_of_config_and_option_and_its_target():
    plan = SweepPlan(CONFIG, ["first_order_gradient", "allocation=uniform,exclude=[output]"])
    first, second = (plan.candidate(option, 0.9) for option in plan.options)
    assert first.hparams == PruningHParams.for_steps(
        70, prune_option="first_order_gradient", allocation="erk", target_sparsity=0.9
    )
    assert second.hparams == PruningHParams.for_steps(
        70, prune_option="weight", allocation="uniform", exclude=["output"], target_sparsity=0.9
    )
    assert (first.name, second.name) == ("first_order_gradient_s9000", "allocation_uniform_exclude_output_s9000")


def test_without_options_there_is_that_of_the_config():
    plan = SweepPlan(CONFIG)
    assert plan.options == ("weight",)
    candidate = plan.candidate("weight", 0.55)
    assert (candidate.name, candidate.hparams.allocation) == ("weight_s5500", "erk")


def test_a_long_option_has_a_name_of_its_own():
    options = [f"exclude=[{'a_very_long_path/' * 4}{last}]" for last in "ab"]
    names = {SweepPlan(CONFIG, [option]).candidate(option, 0.9).name for option in options}
    assert len(names) == 2
    assert max(map(len, names)) <= 64


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"min_sparsity": 0.0}, ValueError, "must be above 0 and below 1.*got 0.0 and 0.99"),
        ({"max_sparsity": 1}, ValueError, "must be above 0 and below 1.*got 0.5 and 1"),
        ({"min_sparsity": 0.95, "max_sparsity": 0.9}, ValueError, "the first no larger than the second"),
        ({"min_sparsity": 90}, ValueError, r"min_sparsity must be in \[0, 1\], got 90"),
        ({"max_sparsity": float("nan")}, ValueError, r"max_sparsity must be a finite number, got nan"),
        ({"min_sparsity": "0.9"}, TypeError, "min_sparsity must be a finite number, got '0.9'"),
        ({"resolution": 0}, ValueError, "resolution must be above 0"),
        ({"resolution": 0.00015}, ValueError, "resolution must be a multiple of 0.0001, got 0.00015"),
        ({"options": "weight"}, TypeError, "options must be a list of strings, got 'weight'"),
        ({"options": [1]}, TypeError, "options must be a list of strings, got \\[1\\]"),
        ({"options": [" "]}, ValueError, "An option is empty"),
        ({"options": ["wieght"]}, ValueError, "The option 'wieght' at the sparsity 0.5: .*wieght"),
        ({"options": ["alocation=erk"]}, ValueError, "allocation"),
        ({"options": ["target_sparsity=0.9"]}, ValueError, "sets target_sparsity, which is what a sweep looks for"),
        ({"options": ["weight", "prune_option=weight"]}, ValueError, "'prune_option=weight' is given twice"),
        ({"options": ["allocation=uniform,n_of_m=2:4"]}, ValueError, "n_of_m=2:4. at the sparsity 0.99: "),
    ],
)
def test_a_wrong_plan_is_refused(arguments, error, message):
    with pytest.raises(error, match=message):
        SweepPlan(CONFIG, **arguments)


def test_a_sweep_without_a_cache_is_refused():
    with pytest.raises(ValueError, match="enable_cache must be True"):
        SweepPlan(dataclasses.replace(CONFIG, enable_cache=False))
