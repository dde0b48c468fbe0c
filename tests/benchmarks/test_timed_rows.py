"""What the benchmarks time still runs, on sizes that take no time."""

import pathlib
import sys

import numpy as np
import pytest

SCRIPTS = (pathlib.Path(__file__).parents[2] / "benchmarks").glob("[!_]*.py")


def test_every_row_of_mask_update_updates_masks_to_the_sparsity(benchmark):
    module = benchmark("mask_update")
    weight = np.random.default_rng(0).normal(size=(100, 80)).astype(np.float32)
    rows = module._rows(weight)
    assert list(rows) == [module._NUMPY, *module._OURS]
    for update in rows.values():
        # Its own assertions: a mask was updated, and the share asked for is kept.
        update()


def test_step_overhead_times_each_criterion_and_knows_its_bytes(benchmark, monkeypatch):
    module = benchmark("step_overhead")
    for part in (module, benchmark("_models"), benchmark("_turns")):
        monkeypatch.setattr(part, "STEPS", 4)
    for part in (module, benchmark("_models")):
        monkeypatch.setattr(part, "TIMES", 3)
    seconds, needed = module._times(lambda layers: [layers.Dense(30), layers.Dense(10)], (20,), 8, 0)
    assert set(seconds) == {module._DENSE, *module._OPTIONS}
    assert all(each > 0 for times in seconds.values() for each in times)
    # One byte of mask a weight, four of the gradients' average, and a threshold for each of the two kernels.
    weights = 20 * 30 + 30 * 10
    assert needed == {
        "magnitude |w|": 1 + 8 / weights,
        "first order |w| |dL/dw|": 5 + 8 / weights,
        "second order w^2 (dL/dw)^2": 5 + 8 / weights,
    }


@pytest.mark.parametrize("name", sorted(path.stem for path in SCRIPTS if "def main()" in path.read_text()))
def test_every_benchmark_finds_what_it_uses_and_says_what_it_does(name, benchmark, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", [f"{name}.py", "--help"])
    with pytest.raises(SystemExit) as left:
        benchmark(name).main()
    assert left.value.code == 0
    assert benchmark(name).__doc__.splitlines()[0] in " ".join(capsys.readouterr().out.splitlines()[:8])
