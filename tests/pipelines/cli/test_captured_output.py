import os
import pathlib
import subprocess
import sys

import pytest

from tfx_pruning.pipelines.cli.captured_output import output_in


def test_all_that_is_printed_goes_to_the_file_but_for_what_is_written_to_the_streams(
    tmp_path: pathlib.Path, capfd: pytest.CaptureFixture[str]
) -> None:
    log = tmp_path / "run.log"
    log.write_text("of an earlier run\n", encoding="utf-8")

    def work() -> None:
        with output_in(log) as (stdout, stderr):
            os.write(1, b"as C++ does\n")
            subprocess.run([sys.executable, "-c", "import sys; print('of a child', file=sys.stderr)"], check=True)
            print("for people", file=stdout)
            print("for people who read JSON", file=stderr)
            raise KeyError

    with pytest.raises(KeyError):
        work()
    os.write(1, b"after\n")
    assert log.read_text(encoding="utf-8").splitlines() == ["of an earlier run", "as C++ does", "of a child"]
    printed = capfd.readouterr()
    assert printed.out.splitlines() == ["for people", "after"]
    assert printed.err == "for people who read JSON\n"
