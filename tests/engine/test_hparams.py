import dataclasses
import json

import hypothesis
import pytest
import re2
from hypothesis import strategies as st

from tfx_pruning import PruningHParams

# Name -> default of every field that google-research model_pruning documents for pruning.
REFERENCE_DEFAULTS = {
    "name": "model_pruning",
    "begin_pruning_step": 0,
    "end_pruning_step": -1,
    "weight_sparsity_map": (),
    "block_dims_map": (),
    "group_sparsity_map": (),
    "group_block_dims_map": (),
    "group_pruning": False,
    "threshold_decay": 0.0,
    "pruning_frequency": 10,
    "nbins": 256,
    "block_height": 1,
    "block_width": 1,
    "block_pooling_function": "AVG",
    "initial_sparsity": 0.0,
    "target_sparsity": 0.5,
    "sparsity_function_begin_step": 0,
    "sparsity_function_end_step": 100,
    "sparsity_function_exponent": 3.0,
    "use_tpu": False,
    "gradient_decay_rate": 0.99,
    "prune_option": "weight",
    "intra_block_sparsity": False,
    "add_summary": True,
}
NEW_DEFAULTS = {
    "gradient_estimator": "backprop",
    "allocation": "uniform",
    "min_layer_density": 0.0,
    "sparsity_function": "polynomial",
    "include": (),
    "exclude": (),
    "seed": 0,
    "granularity": "element",
    "cost": "parameters",
    "channel_multiple": 1,
    "block_conv": False,
    "n_of_m": "",
    "regrow": "",
    "regrow_fraction": 0.3,
    "distill_weight": 0.0,
    "temperature": 3.0,
    "distill_loss": "",
    "quantize": "",
    "quantize_begin_step": -1,
    "sensitivity_map": (),
}


def test_fields_and_defaults_are_the_references_and_the_new_ones():
    assert dataclasses.asdict(PruningHParams()) == {**REFERENCE_DEFAULTS, **NEW_DEFAULTS}


def test_is_frozen():
    with pytest.raises(dataclasses.FrozenInstanceError):
        PruningHParams().target_sparsity = 0.9


def test_parse_reads_the_references_example():
    hparams = PruningHParams.parse(
        "name=cifar10,begin_pruning_step=1000,target_sparsity=0.9,weight_sparsity_map=[conv1:0.9,conv.*/kernel:0.8]"
    )
    assert hparams == PruningHParams(
        name="cifar10",
        begin_pruning_step=1000,
        target_sparsity=0.9,
        weight_sparsity_map=["conv1:0.9", "conv.*/kernel:0.8"],
    )


def test_empty_items_are_the_references_way_to_write_an_empty_list():
    assert PruningHParams(weight_sparsity_map=[""]) == PruningHParams()
    assert PruningHParams.parse("") == PruningHParams()


@pytest.mark.parametrize(
    "pattern",
    [r"dense_[0-9]+/kernel", r"a{1,2}/b", r"(a|b,c)", r"a\,b", "a}b", r"[],(]x", r"\[x\]", r"[^]a,b]", r"\d\("],
)
def test_regexes_with_commas_and_brackets_survive_the_string(pattern):
    hparams = PruningHParams(include=[pattern, "kernel$"], exclude=[pattern])
    assert PruningHParams.parse(hparams.to_string()) == hparams


@pytest.mark.parametrize("pattern", ["a]", "x{", "(a|b),c", " a"])
def test_an_item_that_could_not_be_read_back_is_refused(pattern):
    with pytest.raises(ValueError, match="cannot be written on one line") as caught:
        PruningHParams(include=[pattern])
    assert repr(pattern) in str(caught.value)


sparsities = st.floats(0, 1, exclude_max=True, allow_subnormal=False)
hparams_strategy = st.builds(
    PruningHParams,
    name=st.from_regex(r"[\w./-]+", fullmatch=True),
    pruning_frequency=st.integers(1, 10**6),
    begin_pruning_step=st.integers(0, 10**9),
    initial_sparsity=sparsities,
    target_sparsity=sparsities,
    gradient_decay_rate=sparsities,
    sparsity_function_exponent=st.floats(1e-3, 100),
    prune_option=st.sampled_from(["weight", "first_order_gradient", "second_order_gradient"]),
    gradient_estimator=st.sampled_from(["backprop", "weight_delta"]),
    weight_sparsity_map=st.lists(st.builds("layer_{}/kernel:{!r}".format, st.integers(0, 99), sparsities), max_size=3),
    sparsity_function=st.sampled_from(["polynomial", "constant", "cosine", "one_shot"]),
    include=st.lists(st.from_regex(r"[a-z_/.*+]{1,8}", fullmatch=True).filter(lambda p: _compiles(p)), max_size=3),
    add_summary=st.booleans(),
    seed=st.integers(-(2**31), 2**31),
)


def _compiles(pattern):
    try:
        re2.compile(pattern)
    except re2.error:
        return False
    return True


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({"group_pruning": True}, "group_pruning=true"),
        (
            {"group_pruning": True, "group_sparsity_map": ["^(a|b,c)/:0.5", "d[,]:0"], "min_layer_density": 0.01},
            "group_sparsity_map=[^(a|b,c)/:0.5,d[,]:0],group_pruning=true,min_layer_density=0.01",
        ),
        ({"allocation": "erk", "min_layer_density": 0.01}, "allocation=erk,min_layer_density=0.01"),
        ({"allocation": "global", "sparsity_function": "one_shot"}, "sparsity_function=one_shot,allocation=global"),
    ],
)
def test_allocation_and_schedule_survive_string_and_json(fields, text):
    hparams = PruningHParams(**fields)
    for name, value in fields.items():
        assert getattr(hparams, name) == (tuple(value) if isinstance(value, list) else value)
    assert PruningHParams.parse(hparams.to_string()) == PruningHParams.from_json(hparams.to_json()) == hparams
    assert PruningHParams.parse(text) == hparams


def test_groups_are_regexes_with_their_sparsities():
    hparams = PruningHParams(group_pruning=True, group_sparsity_map=["^a:b/:0.5", "c$:0"])
    groups = [(pattern.pattern, sparsity) for pattern, sparsity in hparams.group_sparsities]
    assert groups == [("^a:b/", 0.5), ("c$", 0)]


@pytest.mark.parametrize(
    ("sparsity_function", "step"), [("polynomial", 80), ("cosine", 80), ("one_shot", 80), ("constant", 20)]
)
def test_target_step_is_where_the_schedule_has_its_target(sparsity_function, step):
    fields = {
        "sparsity_function": sparsity_function,
        "sparsity_function_begin_step": 20,
        "sparsity_function_end_step": 80,
    }
    assert PruningHParams(**fields).target_step == step
    assert PruningHParams(end_pruning_step=step, **fields).target_step == step
    which = "begin" if sparsity_function == "constant" else "end"
    with pytest.raises(
        ValueError,
        match=f"end_pruning_step={step - 1}, .* at sparsity_function_{which}_step={step}. .* or to -1, in a training "
        f"of at least {step} steps",
    ):
        PruningHParams(end_pruning_step=step - 1, **fields)


@pytest.mark.parametrize(("end_pruning_step", "expected"), [(-1, 80), (90, 90)])
def test_regrowth_ends_with_the_pruning_or_when_the_target_is_reached(end_pruning_step, expected):
    hparams = PruningHParams(regrow="gradient", sparsity_function_end_step=80, end_pruning_step=end_pruning_step)
    assert hparams.regrow_end_step == expected


@hypothesis.settings(derandomize=True, deadline=None)
@hypothesis.given(hparams_strategy)
def test_string_and_json_round_trips_are_exact(hparams):
    assert PruningHParams.parse(hparams.to_string()) == hparams
    assert PruningHParams.parse(str(hparams)) == hparams
    assert PruningHParams.from_json(hparams.to_json()) == hparams


REFUSED = [
    ({"gradient_estimator": "hutchinson"}, ValueError, ["'hutchinson'", "prune_option='weight'", "'second_order"]),
    (
        {"gradient_estimator": "hutchinson", "prune_option": "second_order_gradient", "regrow": "gradient"},
        ValueError,
        ["regrow='gradient'", "gradient_estimator='hutchinson'", "'backprop'"],
    ),
    ({"regrow": "magnitude"}, ValueError, ["regrow", "'gradient'", "'magnitude'"]),
    ({"regrow_fraction": 0.0}, ValueError, ["regrow_fraction", "(0, 1)", "0.0"]),
    ({"regrow_fraction": 1.0}, ValueError, ["regrow_fraction", "(0, 1)", "1.0"]),
    (
        {"regrow": "gradient", "gradient_estimator": "weight_delta"},
        ValueError,
        ["regrow='gradient'", "gradient_estimator='weight_delta'", "'backprop'"],
    ),
    (
        {"regrow": "gradient", "sparsity_function": "constant", "begin_pruning_step": 5},
        ValueError,
        ["regrow='gradient'", "begin_pruning_step=5", "step 0", "Set end_pruning_step"],
    ),
    ({"distill_weight": 1.5}, ValueError, ["distill_weight must be in [0, 1]", "got 1.5"]),
    ({"distill_weight": -0.1}, ValueError, ["distill_weight must be in [0, 1]", "got -0.1"]),
    ({"distill_weight": float("nan")}, ValueError, ["distill_weight must be a finite number"]),
    ({"temperature": 0.0}, ValueError, ["temperature must be above 0", "got 0.0"]),
    ({"temperature": -1}, ValueError, ["temperature must be above 0", "got -1.0"]),
    ({"distill_loss": "softmax"}, ValueError, ["distill_loss must be 'categorical'", "got 'softmax'"]),
    ({"quantize": "int4"}, ValueError, ["quantize must be 'int8'", "'' for no rounding", "got 'int4'"]),
    ({"quantize": "int8", "quantize_begin_step": 0}, ValueError, ["quantize_begin_step must be", "got 0"]),
    ({"quantize_begin_step": 9}, ValueError, ["quantize_begin_step=9 has no effect", "Set quantize='int8'"]),
    ({"regrow": "gradient", "n_of_m": "2:4"}, ValueError, ["regrow_fraction=0.3", "2 weights", "run of 4", "0.5"]),
    (
        {"regrow": "gradient", "n_of_m": "1:4", "target_sparsity": 0.75},
        ValueError,
        ["run of 4 keeps one weight", "regrow='gradient'"],
    ),
    ({"begin_pruning_step": -1}, ValueError, ["begin_pruning_step", "-1"]),
    ({"begin_pruning_step": 200, "end_pruning_step": 200}, ValueError, ["begin_pruning_step", "200", "-1"]),
    ({"sparsity_function_begin_step": -5}, ValueError, ["sparsity_function_begin_step", "-5"]),
    ({"sparsity_function_begin_step": 100}, ValueError, ["sparsity_function_begin_step", "100"]),
    ({"end_pruning_step": 50}, ValueError, ["end_pruning_step=50", "sparsity_function_end_step=100"]),
    ({"end_pruning_step": -7}, ValueError, ["end_pruning_step must be a step", "-7"]),
    ({"threshold_decay": 1.0}, ValueError, ["threshold_decay", "[0, 1)", "1.0"]),
    ({"initial_sparsity": -0.1}, ValueError, ["initial_sparsity", "[0, 1)", "-0.1"]),
    ({"target_sparsity": 1.0}, ValueError, ["target_sparsity", "[0, 1)", "1.0"]),
    ({"target_sparsity": float("nan")}, ValueError, ["target_sparsity", "finite", "nan"]),
    ({"gradient_decay_rate": 1.0}, ValueError, ["gradient_decay_rate", "1.0"]),
    ({"pruning_frequency": 0}, ValueError, ["pruning_frequency", "0"]),
    ({"sparsity_function_exponent": 0.0}, ValueError, ["sparsity_function_exponent", "0.0"]),
    ({"prune_option": "magnitude"}, ValueError, ["prune_option", "first_order_gradient", "'magnitude'"]),
    ({"gradient_estimator": "x"}, ValueError, ["gradient_estimator", "weight_delta", "'x'"]),
    ({"allocation": "erdos"}, ValueError, ["allocation", "global", "'erdos'"]),
    ({"block_pooling_function": "MIN"}, ValueError, ["block_pooling_function", "AVG", "'MIN'"]),
    ({"weight_sparsity_map": ["a:1.0"]}, ValueError, ["weight_sparsity_map", "'a:1.0'"]),
    ({"weight_sparsity_map": ["a"]}, ValueError, ["weight_sparsity_map", "regex:sparsity", "'a'"]),
    ({"weight_sparsity_map": ["(:0.5"]}, ValueError, ["weight_sparsity_map", "'(:0.5'"]),
    ({"weight_sparsity_map": ["a:0.5"], "allocation": "global"}, ValueError, ["weight_sparsity_map", "global"]),
    ({"weight_sparsity_map": ["a:0.5"], "allocation": "erk"}, ValueError, ["weight_sparsity_map", "'erk'"]),
    (
        {"weight_sparsity_map": ["a:0.5"], "group_pruning": True},
        ValueError,
        ["group_pruning without group_sparsity_map", "weight_sparsity_map=['a:0.5']"],
    ),
    ({"group_sparsity_map": ["a:0.5"]}, ValueError, ["group_sparsity_map=['a:0.5'] needs group_pruning=True"]),
    ({"group_sparsity_map": ["a:1"], "group_pruning": True}, ValueError, ["group_sparsity_map", "'a:1'", "[0, 1)"]),
    ({"group_sparsity_map": ["a"], "group_pruning": True}, ValueError, ["group_sparsity_map", "regex:sparsity"]),
    ({"group_pruning": True, "allocation": "global"}, ValueError, ["group_pruning", "allocation='global'"]),
    ({"group_pruning": True, "allocation": "erk"}, ValueError, ["group_pruning", "allocation='erk'"]),
    ({"group_pruning": "yes"}, TypeError, ["group_pruning", "'yes'"]),
    ({"min_layer_density": 1.0, "allocation": "global"}, ValueError, ["min_layer_density", "[0, 1)", "1.0"]),
    ({"min_layer_density": -0.1, "allocation": "global"}, ValueError, ["min_layer_density", "[0, 1)", "-0.1"]),
    ({"min_layer_density": "1"}, TypeError, ["min_layer_density", "'1'"]),
    ({"min_layer_density": 0.1}, ValueError, ["min_layer_density=0.1", "allocation='uniform'", "'global', 'erk' or"]),
    ({"sparsity_function": "linear"}, ValueError, ["sparsity_function", "polynomial, constant", "'linear'"]),
    ({"include": ["*"]}, ValueError, ["include", "'*'", "regular expression"]),
    ({"include": "kernel"}, TypeError, ["include", "list of strings", "'kernel'"]),
    ({"target_sparsity": "0.9"}, TypeError, ["target_sparsity", "'0.9'", "str"]),
    ({"pruning_frequency": 2.5}, TypeError, ["pruning_frequency", "whole number", "2.5"]),
    ({"pruning_frequency": True}, TypeError, ["pruning_frequency", "True"]),
    ({"add_summary": 1}, TypeError, ["add_summary", "1"]),
    ({"name": "a,b"}, ValueError, ["name", "'a,b'"]),
    ({"block_height": 0}, ValueError, ["block_height", "-1 for the whole dimension", "0"]),
    ({"block_width": -2}, ValueError, ["block_width", "-1 for the whole dimension", "-2"]),
    ({"block_dims_map": ["a:4x0"]}, ValueError, ["block_dims_map", "regex:HxW", "'a:4x0'"]),
    ({"group_pruning": True, "n_of_m": "1:2"}, ValueError, ["n_of_m='1:2'", "and groups"]),
    ({"intra_block_sparsity": True}, ValueError, ["intra_block_sparsity", "block_width must be at least 2", "got 1"]),
    ({"threshold_decay": 0.5}, ValueError, ["threshold_decay=0.5", "not supported"]),
]


@pytest.mark.parametrize(("fields", "kind", "words"), REFUSED, ids=lambda value: str(value)[:60])
def test_wrong_value_is_refused_by_name(fields, kind, words):
    with pytest.raises(kind) as caught:
        PruningHParams(**fields)
    for word in words:
        assert word in str(caught.value)


@pytest.mark.parametrize(
    ("string", "words"),
    [
        ("target_sparsitty=0.9", ["'target_sparsitty'", "'target_sparsity'"]),
        ("zzz=1", ["'zzz'", "begin_pruning_step"]),
        ("target_sparsity", ["name=value", "'target_sparsity'"]),
        ("target_sparsity=high", ["target_sparsity", "a number", "'high'"]),
        ("nbins=1.5", ["nbins", "whole number", "'1.5'"]),
        ("add_summary=yes", ["add_summary", "true or false", "'yes'"]),
        ("nbins=1,nbins=2", ["'nbins'", "twice"]),
        ("include=[a,b", ["opening bracket"]),
        ("include=kernel", ["include", "[a,b]", "'kernel'"]),
    ],
)
def test_wrong_string_is_refused_by_name(string, words):
    with pytest.raises(ValueError) as caught:  # noqa: PT011
        PruningHParams.parse(string)
    for word in words:
        assert word in str(caught.value)


@pytest.mark.parametrize("text", ["[1]", "{", json.dumps({"zzz": 1})])
def test_wrong_json_is_refused(text):
    with pytest.raises(ValueError, match=r"hparams|zzz"):
        PruningHParams.from_json(text)


@hypothesis.settings(derandomize=True, deadline=None)
@hypothesis.given(st.integers(2, 10**6))
def test_for_steps_ends_on_a_mask_update_within_the_training(num_steps):
    hparams = PruningHParams.for_steps(num_steps, target_sparsity=0.9)
    begin, end, frequency = hparams.begin_pruning_step, hparams.end_pruning_step, hparams.pruning_frequency
    assert 0 < frequency <= begin < end <= num_steps
    assert (end - begin) % frequency == 0
    assert (hparams.sparsity_function_begin_step, hparams.sparsity_function_end_step) == (begin, end)
    assert hparams.target_sparsity == 0.9


def test_fields_of_a_string_are_those_it_names_for_for_steps_to_complete():
    fields = PruningHParams.fields_of("target_sparsity=0.75,include=[dense,conv],add_summary=false,seed=3")
    assert fields == {"target_sparsity": 0.75, "include": ("dense", "conv"), "add_summary": False, "seed": 3}
    assert PruningHParams.for_steps(200, **fields).target_step == PruningHParams.for_steps(200).target_step
    assert PruningHParams.fields_of("") == {}


@pytest.mark.parametrize("field", ["taget_sparsity", "num_steps"])
def test_unknown_field_is_refused_by_name(field):
    with pytest.raises(ValueError, match=f"Unknown pruning hyperparameter '{field}'"):
        PruningHParams.for_steps(200, **{field: 1})
    with pytest.raises(ValueError, match=f"Unknown pruning hyperparameter '{field}'"):
        PruningHParams.fields_of(f"{field}=1")


def test_for_steps_of_a_thousand():
    hparams = PruningHParams.for_steps(1000)
    assert (hparams.begin_pruning_step, hparams.end_pruning_step, hparams.pruning_frequency) == (150, 600, 10)
    assert (hparams.prune_option, hparams.gradient_decay_rate) == ("first_order_gradient", 0.9)
    assert hparams.allocation == "global"


def test_for_steps_keeps_what_is_given():
    given = {"prune_option": "weight", "gradient_decay_rate": 0.5, "allocation": "erk", "pruning_frequency": 3}
    hparams = PruningHParams.for_steps(1000, **given)
    assert {name: getattr(hparams, name) for name in given} == given


@pytest.mark.parametrize(
    "fields",
    [
        {"weight_sparsity_map": ["dense:0.5"]},
        {"group_pruning": True},
        {"n_of_m": "2:4"},
        {"intra_block_sparsity": True, "block_width": 4},
    ],
)
def test_for_steps_ranks_all_weights_together_only_where_no_field_gives_them_sparsities_of_their_own(fields):
    assert PruningHParams.for_steps(1000, target_sparsity=0.5, **fields).allocation == "uniform"


@pytest.mark.parametrize(
    ("steps", "fields"), [(1, {}), (0, {}), *((100, {"pruning_frequency": frequency}) for frequency in (90, 0))]
)
def test_for_steps_without_room_is_refused(steps, fields):
    with pytest.raises(ValueError, match=r"num_steps|pruning_frequency"):
        PruningHParams.for_steps(steps, **fields)


@pytest.mark.parametrize(
    ("fields", "name"),
    [
        ({"sparsity_function_end_step": 101}, "sparsity_function_end_step"),
        ({"sparsity_function_end_step": 101, "end_pruning_step": 60}, "sparsity_function_end_step"),
        ({"sparsity_function_end_step": 101, "end_pruning_step": -1}, "sparsity_function_end_step"),
        ({"sparsity_function_end_step": 101, "sparsity_function": "one_shot"}, "sparsity_function_end_step"),
        ({"begin_pruning_step": 101, "end_pruning_step": -1}, "begin_pruning_step"),
        (
            {
                "sparsity_function": "constant",
                "sparsity_function_begin_step": 101,
                "sparsity_function_end_step": 102,
                "end_pruning_step": -1,
            },
            "sparsity_function_begin_step",
        ),
    ],
)
def test_for_steps_refuses_a_ramp_that_ends_after_the_training_by_the_name_of_its_steps(fields, name):
    with pytest.raises(ValueError, match=f"{name}=101 is the step .* num_steps=100 ends") as of_for_steps:
        PruningHParams.for_steps(100, **fields)
    with pytest.raises(ValueError, match=f"{name}=101 .* pruning_steps=100 ends .* Set pruning_steps to 101") as of_own:
        PruningHParams.fitted_to(100, fields, "pruning_steps")
    assert "-1" not in str(of_for_steps.value) + str(of_own.value)
    hparams = PruningHParams.for_steps(101, **{**fields, "end_pruning_step": -1})
    assert max(hparams.target_step, hparams.begin_pruning_step) == 101


def test_for_steps_updates_masks_up_to_the_end_of_a_ramp_that_is_given():
    assert PruningHParams.for_steps(100, sparsity_function_end_step=90).end_pruning_step == 90
    assert PruningHParams.for_steps(100, sparsity_function_end_step=50).end_pruning_step == 60
    assert PruningHParams.for_steps(100, sparsity_function_end_step=50, end_pruning_step=55).end_pruning_step == 55


def test_wrong_types_are_refused_by_for_steps_and_parse():
    with pytest.raises(TypeError, match="pruning_frequency must be a whole number, got '5'"):
        PruningHParams.for_steps(100, pruning_frequency="5")
    with pytest.raises(TypeError, match="reads a string, got 5"):
        PruningHParams.parse(5)


def test_tuned_takes_what_is_named_under_pruning_and_passes_over_the_rest():
    hparams = PruningHParams(target_sparsity=0.5, pruning_frequency=7)
    values = {
        "units": 12,
        "target_sparsity": 0.1,
        "pruning/target_sparsity": 0.9,
        "pruning/prune_option": "second_order_gradient",
        "pruning/begin_pruning_step": 3,
        "pruning/include": "[dense_[12]/kernel,conv]",
        "pruning/exclude": ["head"],
    }
    assert hparams.tuned(values) == PruningHParams(
        target_sparsity=0.9,
        pruning_frequency=7,
        prune_option="second_order_gradient",
        begin_pruning_step=3,
        include=["dense_[12]/kernel", "conv"],
        exclude=["head"],
    )
    assert hparams.tuned({"units": 12}) == hparams.tuned({}) == hparams


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (
            {"pruning/target_sparsty": 0.5},
            r"refused \(pruning/target_sparsty=0.5\): Unknown .* Did you mean 'target_sparsity'\? Change what",
        ),
        ({"pruning/": 1}, "Unknown pruning hyperparameter ''"),
        (
            {"pruning/target_sparsity": 1.5, "units": 3},
            r"refused \(pruning/target_sparsity=1.5\): target_sparsity must",
        ),
        ({"pruning/target_sparsity": "0.5"}, "target_sparsity must be a finite number, got '0.5'"),
        ({"pruning/target_sparsity": None}, "target_sparsity must be a finite number, got None"),
        ({"pruning/begin_pruning_step": 3.5}, "begin_pruning_step must be a whole number, got 3.5"),
        ({"pruning/include": "dense"}, "include must be a list in brackets"),
        (
            {"pruning/n_of_m": "2:4", "pruning/target_sparsity": 0.9},
            r"pruning/n_of_m='2:4', .*Set target_sparsity to 0.5",
        ),
    ],
)
def test_wrong_tuned_values_are_refused_with_what_was_tuned(values, message):
    with pytest.raises(ValueError, match=message):
        PruningHParams().tuned(values)


@pytest.mark.parametrize(
    ("fields", "first"),
    [
        ({"sparsity_function_end_step": 60}, 61),
        ({"sparsity_function_end_step": 60, "begin_pruning_step": 80}, 81),
        ({"sparsity_function_end_step": 60, "quantize_begin_step": 7}, 7),
    ],
)
def test_rounding_begins_when_the_target_is_reached_or_at_a_step_of_ones_own(fields, first):
    assert PruningHParams(quantize="int8", **fields).first_quantized_step == first


@pytest.mark.parametrize("fields", [{"sparsity_function_end_step": 40}, {"quantize_begin_step": 41}])
def test_for_steps_refuses_a_rounding_that_would_never_begin(fields):
    with pytest.raises(ValueError, match="would begin at step 41, after the training ends with num_steps=40"):
        PruningHParams.for_steps(40, quantize="int8", **fields)
