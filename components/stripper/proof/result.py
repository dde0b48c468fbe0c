"""ProofResult: the result of comparing two models on examples."""

import dataclasses
import json

from ...examples.example_files import ExampleFile, ExampleKey


@dataclasses.dataclass(frozen=True)
class Finding:
    """What was found at an example.

    Attributes:
        key: Where the example stands.
        what: The finding, in words.
    """

    key: ExampleKey
    what: str


@dataclasses.dataclass(frozen=True)
class ProofResult:
    """The result of comparing two models on examples. Results of parts add up to that of the whole.

    Attributes:
        examples: How many examples were compared.
        differing: How many have an answer that differs in any bit.
        exceeding: How many have an answer that differs by more than the tolerance.
        max_absolute_difference: Over all numbers of all outputs; infinite where a number became NaN, shapes differ, or
            one model refuses what the other takes. Strings that differ, zeros and NaNs count 0.
        first: The first example, by key, whose answers differ by more than the tolerance; None if there is none.
        refused: The first example that both models refuse or that cannot be read; None if there is none.
    """

    examples: int = 0
    differing: int = 0
    exceeding: int = 0
    max_absolute_difference: float = 0.0
    first: Finding | None = None
    refused: Finding | None = None

    def __add__(self, other: "ProofResult") -> "ProofResult":
        return ProofResult(
            examples=self.examples + other.examples,
            differing=self.differing + other.differing,
            exceeding=self.exceeding + other.exceeding,
            max_absolute_difference=max(self.max_absolute_difference, other.max_absolute_difference),
            first=_earlier(self.first, other.first),
            refused=_earlier(self.refused, other.refused),
        )

    def to_json(self) -> str:
        """The result as JSON."""
        return json.dumps(dataclasses.asdict(self))

    @classmethod
    def from_json(cls, text: str) -> "ProofResult":
        """Reads what `to_json` wrote."""
        fields = json.loads(text)
        for name in ("first", "refused"):
            if (finding := fields[name]) is not None:
                key = ExampleKey(ExampleFile(**finding["key"]["file"]), finding["key"]["index"])
                fields[name] = Finding(key, finding["what"])
        return cls(**fields)


def _earlier(one: Finding | None, other: Finding | None) -> Finding | None:
    return min((each for each in (one, other) if each is not None), key=lambda each: each.key, default=None)
