"""The benchmark of kills sees what is wrong, and knows how processes end."""

import os
import signal
import sys

import pytest

WHOLE = {"model/saved_model.pb": b"graph", "model/variables/variables.index": b"values"}
IN_ORDER = {signal.SIGKILL: (-9, ""), signal.SIGTERM: (143, ""), signal.SIGINT: (130, "Interrupted: done.\n")}


def _raise():
    raise ValueError("wrong")


@pytest.mark.parametrize(
    ("work", "number", "status", "errors"),
    [
        (lambda: os.write(2, b"one line\n"), None, 0, "one line\n"),
        (lambda: sys.exit(3), None, 3, ""),
        (sys.exit, None, 0, ""),
        (signal.pause, signal.SIGKILL, -9, ""),
        (signal.pause, signal.SIGTERM, -15, ""),
    ],
)
def test_fork_tells_how_its_work_ended(work, number, status, errors, benchmark):
    end = benchmark("_kills").forked(work, number)
    assert (end.status, end.errors, end.was_sent) == (status, errors, number is not None)


@pytest.mark.parametrize(
    ("work", "number", "name"),
    [(_raise, None, "ValueError: wrong"), (signal.pause, signal.SIGINT, "KeyboardInterrupt")],
)
def test_fork_that_fails_has_a_traceback(work, number, name, benchmark):
    end = benchmark("_kills").forked(work, number)
    assert end.status == 1
    assert end.errors.startswith("Traceback")
    assert end.errors.splitlines()[-1] == name


def test_process_gets_its_signal_though_this_one_ignores_it(benchmark):
    command = [sys.executable, "-c", "import signal; signal.pause()"]
    former = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        end = benchmark("_kills").started(command, signal.SIGINT, 0.0)
    finally:
        signal.signal(signal.SIGINT, former)
    assert end.status == -signal.SIGINT


@pytest.mark.parametrize("number", IN_ORDER)
def test_only_the_documented_end_is_in_order(number, benchmark):
    ends = benchmark("_kills").End
    status, errors = IN_ORDER[number]
    assert ends(status, errors, 1.0, True).is_in_order(number)
    assert ends(0, "", 1.0, False).is_in_order(number)
    assert not ends(1, "", 1.0, False).is_in_order(number)
    # It must not go on as if there were no signal.
    assert not ends(0, "", 1.0, True).is_in_order(number)
    assert not ends(1, errors, 1.0, True).is_in_order(number)
    assert not ends(status, f"Traceback\n{errors}", 1.0, True).is_in_order(number)
    assert not ends(status, f"{errors}second line\n", 1.0, True).is_in_order(number)


def _write(folder, files):
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)


@pytest.mark.parametrize(
    ("number", "left", "end", "counted"),
    [
        (signal.SIGTERM, {}, IN_ORDER, {"as before"}),
        (signal.SIGTERM, WHOLE, {signal.SIGTERM: (0, "")}, {"new, whole", "done before"}),
        (signal.SIGTERM, {"model/saved_model.pb": b"graph"}, IN_ORDER, {"half"}),
        (signal.SIGTERM, WHOLE | {"model/variables/variables.index": b"va"}, IN_ORDER, {"half"}),
        (signal.SIGKILL, {".model.0.stripping/saved_model.pb": b"gr"}, IN_ORDER, {"as before", "left behind"}),
        (signal.SIGINT, {}, {signal.SIGINT: (1, "Aborted!\n")}, {"as before", "wrong status or words"}),
    ],
)
@pytest.mark.parametrize("clears", [True, False])
def test_trial_counts_what_is_left(number, left, end, counted, clears, benchmark, monkeypatch, tmp_path):
    module, kills = benchmark("reliability"), benchmark("_kills")

    def strip(source, folder, options, number=None, delay=0.0):
        folder.mkdir(exist_ok=True)
        if number is not None:
            _write(folder, left)
            return kills.End(*end[number], 1.0, end[number][0] != 0)
        _write(folder, WHOLE)
        if not clears:
            _write(folder, {".model.1.stripping/old": b"", "model/variables/variables.index": b"other"})
        for hidden in folder.glob(".*.0.stripping"):
            (hidden / "saved_model.pb").unlink()
            hidden.rmdir()
        return kills.End(0, "", 1.0, False)

    monkeypatch.setattr(module, "_strip", strip)
    _write(tmp_path / "whole", WHOLE)
    whole = kills.checksums(tmp_path / "whole")
    counts = module._strip_trial(tmp_path / "source", tmp_path / "trial", [], number, 0.5, whole)
    wrong = set() if clears else {"wrong after the next run", "left after the next run"}
    assert {column for column, count in counts.items() if count} == counted | wrong
    assert not (tmp_path / "trial").exists()


def test_page_has_a_place_for_a_table(benchmark, monkeypatch, tmp_path, capsys):
    table = benchmark("_table")
    (tmp_path / "docs").mkdir()
    page = tmp_path / "docs" / "reliability.md"
    page.write_text("# Reliability\n<!-- strips -->\nold\n<!-- /strips -->\nend\n")
    monkeypatch.setattr(table, "_ROOT", tmp_path)
    monkeypatch.setattr(sys, "argv", [str(tmp_path / "benchmarks" / "reliability.py"), "--trials", "1"])
    module = benchmark("reliability")
    columns, found = {"trials": None, "half": 0}, {"strip, SIGKILL": {"trials": 2, "half": 1}}
    monkeypatch.setattr(module, "publish", table.publish)
    assert module._publish("strips", "Strips", "command", columns, found, ["Note."]) == 1
    assert module._publish("strips", "Strips", "command", columns, found, [], lambda *_: False) == 0
    text = page.read_text()
    assert text.startswith("# Reliability\n<!-- strips -->\n## Strips\n")
    assert "| strip, SIGKILL |      2 |    1 |" in text
    assert "- pass: none wanted and none found: half." in text
    assert "- FAIL: strip, SIGKILL: half: 1, none was wanted." in capsys.readouterr().out
    assert text.endswith("`python benchmarks/reliability.py --trials 1`\n<!-- /strips -->\nend\n")
