import json

import numpy as np
import pytest

from tfx_pruning import PruningHParams


def test_a_run_that_was_cut_short_finds_its_whole_results(benchmark, tmp_path):
    path = tmp_path / "results"
    results = benchmark("_results_file").ResultsFile(path)
    results["mlp", 0.9] = [0.975, 0.9]
    results["mlp", 0.99] = None
    path.write_text(path.read_text() + '[["mlp", 0.995], [0.9')

    again = benchmark("_results_file").ResultsFile(path)
    assert ["mlp", 0.9] in again
    assert again["mlp", 0.9] == [0.975, 0.9]
    assert again["mlp", 0.99] is None
    assert ["mlp", 0.995] not in again
    again["mlp", 0.995] = [0.5, 0.995]
    assert [json.loads(line)[0] for line in path.read_text().splitlines()] == [["mlp", s] for s in (0.9, 0.99, 0.995)]


def test_a_line_that_is_no_result_is_named(benchmark, tmp_path):
    path = tmp_path / "results"
    path.write_text('[["mlp", 0.9], [0.975, 0.9]]\nnonsense\n')
    with pytest.raises(ValueError, match=r"results:2 is no result"):
        benchmark("_results_file").ResultsFile(path)


def test_five_seeds_test_every_image_once(benchmark):
    digits = benchmark("_digits")
    model = digits.MODELS["cnn"]
    splits = [digits.split(model, seed) for seed in range(5)]
    assert sum(len(split["test_x"]) for split in splits) == 1797
    assert {len(split["train_x"]) + len(split["test_x"]) for split in splits} == {1797}
    assert splits[0]["train_x"].shape[1:] == (8, 8, 1)
    assert not np.array_equal(digits.split(model, 5)["test_x"], splits[0]["test_x"])


@pytest.mark.parametrize("name", ["mlp", "cnn"])
def test_batches_of_a_training_are_as_many_as_its_steps_and_show_an_image_once_an_epoch(benchmark, name):
    digits = benchmark("_digits")
    model = digits.MODELS[name]
    split = digits.split(model, 3)
    positions = np.arange(len(split["train_x"]))
    batches = list(digits.batches(model, split["train_x"], positions, 3).as_numpy_iterator())
    assert len(batches) == model.steps
    seen = [np.concatenate([shown for _, shown in batches[22 * e : 22 * (e + 1)]]) for e in range(model.epochs)]
    assert all(len(np.unique(epoch)) == len(epoch) == 22 * 64 for epoch in seen)
    assert not np.array_equal(seen[0], seen[1])
    images, shown = batches[5]
    np.testing.assert_array_equal(images, split["train_x"][shown])


def test_a_floor_is_half_the_density_asked_for(benchmark):
    methods = benchmark("_methods")
    hparams = methods.hparams("magnitude |w|, global with a floor", 0.98, 1760)
    assert (hparams.allocation, hparams.min_layer_density, hparams.target_sparsity) == ("global", 0.01, 0.98)
    assert methods.hparams(methods.TFMOT, 0.98, 1760) == PruningHParams.for_steps(
        1760,
        target_sparsity=0.98,
        prune_option="weight",
        allocation="uniform",
        gradient_decay_rate=hparams.gradient_decay_rate,
    )
