"""The options of commands that have a SavedModel answer examples."""

from collections.abc import Callable
from typing import Any, TypeVar

import click

_Command = TypeVar("_Command", bound=Callable[..., Any])


def examples_options(*, required: bool, num_examples: int) -> Callable[[_Command], _Command]:
    """`--examples`, as `data`, and `--num-examples`.

    Args:
        required: Whether the command needs examples.
        num_examples: How many are read at most, unless the user says otherwise.
    """
    return _all(
        click.option(
            "--examples",
            "data",
            multiple=True,
            required=required,
            help="TFRecord file with examples, gzipped or not, or a pattern of such; may be given several times.",
        ),
        click.option(
            "--num-examples",
            type=click.IntRange(1),
            default=num_examples,
            show_default=True,
            help="Examples read at most.",
        ),
    )


def answer_options(*, label: str, unseen: str) -> Callable[[_Command], _Command]:
    """`--signature`, `--label`, `--loss`, `--output`, as `output_name`, and `--unseen`.

    Args:
        label: Help of `--label`.
        unseen: Help of `--unseen`.
    """
    return _all(
        click.option(
            "--signature", help="Signature that answers the examples.  [default: serving_default, or the only one]"
        ),
        click.option("--label", help=label),
        click.option(
            "--loss",
            type=click.Choice(["auto", "softmax_cross_entropy", "sigmoid_cross_entropy", "squared_error"]),
            default="auto",
            show_default=True,
            help="How answers are compared with labels.",
        ),
        click.option(
            "--output",
            "output_name",
            help="Output of the signature that is compared with the labels, or is the loss.  [default: the only one]",
        ),
        click.option(
            "--unseen", type=click.Choice(["error", "magnitude"]), default="error", show_default=True, help=unseen
        ),
    )


def _all(*options: Callable[[_Command], _Command]) -> Callable[[_Command], _Command]:
    def added(command: _Command) -> _Command:
        for option in reversed(options):
            command = option(command)
        return command

    return added
