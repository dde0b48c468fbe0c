"""What commands print."""

import click
import pytest

from tfx_pruning.cli.console import Output, reporting, table


def test_strings_are_no_markup_and_do_not_control_the_terminal(capsys):
    def show(console):
        rows = table("name", "shape ")
        rows.add_row("[bold]a\x1b[31m", "3x\ud8002")
        console.print(rows)
        console.print("[/] of \x9b\n\nend")

    Output(as_json=False, debug=False).result({}, show)
    assert [line.rstrip() for line in capsys.readouterr().out.splitlines()] == [
        "name             shape",
        r"[bold]a\x1b[31m  3x\ud8002",
        r"[/] of \x9b",
        "",
        "end",
    ]


def test_errors_do_not_control_the_terminal():
    @reporting
    def fail(output):
        raise ValueError("no \x1b[31m\n\nmodel")

    with pytest.raises(click.ClickException, match=r"^no \\x1b\[31m model$"):
        fail(as_json=False, debug=False)
