"""TaskResources: what one task of a pipeline asks of the cluster."""

import dataclasses
import re

_CPU = re.compile(r"(\d+(?:\.\d+)?)(m?)")
_MEMORY = re.compile(r"(\d+(?:\.\d+)?)([EPTGMK]i?)")
_DECIMAL = {letter: 1000.0**power for power, letter in enumerate("KMGTPE", start=1)}
_BINARY = {f"{letter}i": 1024.0**power for power, letter in enumerate("KMGTPE", start=1)}
_BYTES = _DECIMAL | _BINARY
# Prefixes, names and values of labels by the rules of Kubernetes; a value may be empty.
_LABEL_NAME = re.compile(r"([a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?/)?[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?")
_LABEL_VALUE = re.compile(r"([A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?)?")


@dataclasses.dataclass(frozen=True)
class TaskResources:
    """Resources of a task, checked when they are constructed. The cluster decides on those that are empty.

    Attributes:
        cpu_request: Cores the task is promised: '2', '0.5' or '500m'.
        cpu_limit: Cores it may take at most.
        memory_request: Memory the task is promised: '4Gi', '4G' or '512Mi'.
        memory_limit: Memory above which it is killed.
        accelerator_type: Resource name of an accelerator, such as 'nvidia.com/gpu'; on Vertex AI its type, such as
            'NVIDIA_TESLA_T4'.
        accelerator_count: How many of them.
        node_selector: (label, value) pairs that the task's node must have.

    Raises:
        ValueError: A quantity or label is not one, a request is above its limit, or only one of an accelerator's type
            and count is given.
    """

    cpu_request: str = ""
    cpu_limit: str = ""
    memory_request: str = ""
    memory_limit: str = ""
    accelerator_type: str = ""
    accelerator_count: int = 0
    node_selector: tuple[tuple[str, str], ...] = ()

    def __post_init__(self) -> None:
        for name in ("cpu_request", "cpu_limit"):
            cores(name, getattr(self, name))
        for name in ("memory_request", "memory_limit"):
            gigabytes(name, getattr(self, name))
        for of, number in (("cpu", cores), ("memory", gigabytes)):
            request, limit = getattr(self, f"{of}_request"), getattr(self, f"{of}_limit")
            if request and limit and number(of, request) > number(of, limit):
                raise ValueError(f"{of}_request {request} is above {of}_limit {limit}: a request is at most its limit.")
        if self.accelerator_count < 0:
            raise ValueError(f"accelerator_count must be 0 or more, got {self.accelerator_count}.")
        if bool(self.accelerator_type) != bool(self.accelerator_count):
            raise ValueError(
                "accelerator_type and accelerator_count must be given together, got "
                f"{self.accelerator_type!r} and {self.accelerator_count}."
            )
        for label, value in self.node_selector:
            if not _LABEL_NAME.fullmatch(label) or not _LABEL_VALUE.fullmatch(value):
                raise ValueError(
                    f"node_selector must hold labels of Kubernetes, got {label!r}={value!r}: write "
                    "[PREFIX/]NAME=VALUE, such as cloud.google.com/gke-accelerator=nvidia-tesla-t4."
                )


def cores(name: str, quantity: str) -> float:
    """The cores of a quantity, 0 if it is empty; `name` is for the error.

    Raises:
        ValueError: It is no positive quantity of cores.
    """
    if not quantity:
        return 0.0
    match = _CPU.fullmatch(quantity)
    if match is None or float(match[1]) == 0:
        raise ValueError(f"{name} must be a positive number of cores such as '2' or '500m', got {quantity!r}.")
    return float(match[1]) / (1000 if match[2] else 1)


def gigabytes(name: str, quantity: str) -> float:
    """The gigabytes (10^9 bytes) of a quantity, 0 if it is empty; `name` is for the error.

    Raises:
        ValueError: It is no positive quantity of memory.
    """
    if not quantity:
        return 0.0
    match = _MEMORY.fullmatch(quantity)
    if match is None or float(match[1]) == 0:
        raise ValueError(f"{name} must be a positive amount of memory such as '4Gi' or '512M', got {quantity!r}.")
    return float(match[1]) * _BYTES[match[2]] / 1e9
