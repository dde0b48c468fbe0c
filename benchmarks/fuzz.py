"""Hyperparameters, configurations and reports of any content, drawn under the guidance of the code that they reach.

Runs property tests of tests/ on inputs that Atheris (libFuzzer) mutates towards branches of tfx_pruning that no input
has taken before; Hypothesis makes values of the bytes. Each test is a process of its own.

Exit status 1 if a test fails: an input was neither taken nor refused by an error of a documented type that names the
field. What it was is printed.
"""

import argparse
import concurrent.futures
import importlib.util
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import hypothesis
from _table import publish

_TESTS = pathlib.Path(__file__).resolve().parent.parent / "tests"
_HPARAMS, _CONFIG, _REPORT = (
    "engine/test_hparams_fuzz.py",
    "pipelines/test_config_fuzz.py",
    "report/test_document_fuzz.py",
)
# By what is read: the file and the test.
_TARGETS = {
    "PruningHParams, keywords": (_HPARAMS, "test_keywords"),
    "PruningHParams, for_steps": (_HPARAMS, "test_keywords_for_steps"),
    "PruningHParams, text": (_HPARAMS, "test_strings"),
    "PruningHParams, JSON": (_HPARAMS, "test_json"),
    "PipelineConfig, keywords": (_CONFIG, "test_keywords"),
    "PipelineConfig, values of a file": (_CONFIG, "test_values_of_a_file"),
    "PipelineConfig, YAML": (_CONFIG, "test_files"),
    "report, a wrong value": (_REPORT, "test_a_value_anywhere"),
    "report, any text": (_REPORT, "test_any_text"),
}
_MOST_BYTES = 4096


def main() -> int:
    """Fuzzes each target, prints the table and judges it; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--inputs", type=int, default=100_000, help="of each target (default: 100000)")
    parser.add_argument("--seed", type=int, default=7, help="of the mutations (default: 7)")
    parser.add_argument("--jobs", type=int, default=2, help="processes at once (default: 2)")
    parser.add_argument("--target", choices=_TARGETS, help=argparse.SUPPRESS)
    parser.add_argument(
        "--atheris",
        type=pathlib.Path,
        required=True,
        help="a folder that has it: pip install --no-deps --target FOLDER atheris==3.0.0",
    )
    arguments = parser.parse_args()
    for name in ("inputs", "jobs"):
        if getattr(arguments, name) < 1:
            parser.error(f"--{name} must be at least 1, got {getattr(arguments, name)}.")
    if arguments.target is not None:
        _fuzz(arguments.target, arguments.inputs, arguments.seed)
    rows, failed = [], []
    with concurrent.futures.ThreadPoolExecutor(arguments.jobs) as threads:
        runs = threads.map(lambda target: _run(target, arguments.atheris), _TARGETS)
        for target, run in zip(_TARGETS, runs, strict=True):
            if run.returncode:
                failed.append(target)
                print(f"{target} failed:\n{run.stdout[-2000:]}\n{run.stderr[-6000:]}", file=sys.stderr, flush=True)
                continue
            found = json.loads(run.stdout.splitlines()[-1])
            rows.append([target, *(f"{found[name]:,}" for name in ("inputs", "different", "seconds")), "0"])
            print(f"{target}: done", file=sys.stderr, flush=True)
    rows += [[target, "", "", "", "1"] for target in failed]
    publish(
        "fuzz",
        "Inputs of any content",
        ["what is read", "inputs", "bytes that were tried", "s", "failures"],
        rows,
        [
            f"{'pass' if not failed else 'FAIL'}: each input is taken, or refused by an error of a documented type "
            "that names the field.",
            "Atheris 3.0.0 changes bytes towards code of tfx_pruning that was not reached; Hypothesis makes an input "
            "of them, or none.",
        ],
        page="reliability.md",
    )
    return int(bool(failed))


def _run(target: str, atheris: pathlib.Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, __file__, *sys.argv[1:], "--target", target],
        env={**os.environ, "PYTHONPATH": str(atheris)},
        capture_output=True,
        text=True,
    )


def _fuzz(target: str, inputs: int, seed: int) -> None:
    """Runs one target in this process, prints what it did as JSON, and ends the process."""
    import atheris  # of the folder that was given

    with atheris.instrument_imports(include=["tfx_pruning"]):
        test = _test(*_TARGETS[target])
    fuzz_one_input = test.hypothesis.fuzz_one_input
    begun, tried, taken = time.perf_counter(), 0, 0

    def one(data: bytes) -> None:
        nonlocal tried, taken
        tried += 1
        taken += fuzz_one_input(data) is not None  # None: Hypothesis made no input of the bytes
        if taken == inputs:
            seconds = round(time.perf_counter() - begun)
            print(json.dumps({"inputs": taken, "different": tried, "seconds": seconds}), flush=True)
            os._exit(0)  # libFuzzer has no other end

    atheris.Setup([sys.argv[0], f"-seed={seed}", f"-max_len={_MOST_BYTES}", "-len_control=0"], one)
    atheris.Fuzz()


def _test(file: str, name: str) -> Callable[..., Any]:
    """The property test, made of the file as pytest makes it, with its fixtures."""
    sys.path.insert(0, str(_TESTS))
    spec = importlib.util.spec_from_file_location("fuzzed", _TESTS / file)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    folder = pathlib.Path(tempfile.mkdtemp(prefix="fuzz"))
    if name == "test_files":

        def check(text: str) -> None:
            module.check_file(folder, text)

        return module.SETTINGS(hypothesis.given(module.YAML)(check))
    if name == "test_a_value_anywhere":
        from helpers.report_models import train

        return module.value_anywhere(module.fields_of(train(folder / "model").document))
    return getattr(module, name)


if __name__ == "__main__":
    sys.exit(main())
