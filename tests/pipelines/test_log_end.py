import pathlib

from tfx_pruning.pipelines.log_end import log_end


def test_last_lines_without_what_controls_a_terminal(tmp_path: pathlib.Path) -> None:
    log = tmp_path / "log"
    assert log_end(log) == ""
    log.write_bytes(b"\n".join(b"%d\t\x1b[31m\xff" % number for number in range(30_000)) + b"\n")
    assert log_end(log, 2) == "29998    \\x1b[31m\N{REPLACEMENT CHARACTER}\n29999    \\x1b[31m\N{REPLACEMENT CHARACTER}"
    assert len(log_end(log).splitlines()) == 20
