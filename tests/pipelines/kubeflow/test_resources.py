import dataclasses
from typing import Any

import pytest

from tfx_pruning.pipelines.kubeflow.resources import TaskResources, cores, gigabytes


@pytest.mark.parametrize(("quantity", "expected"), [("", 0.0), ("2", 2.0), ("0.5", 0.5), ("500m", 0.5)])
def test_cores(quantity: str, expected: float) -> None:
    assert cores("cpu_limit", quantity) == expected


@pytest.mark.parametrize(
    ("quantity", "expected"), [("", 0.0), ("4G", 4.0), ("512M", 0.512), ("1Gi", 1.073741824), ("1.5Ti", 1649.267441664)]
)
def test_gigabytes(quantity: str, expected: float) -> None:
    assert gigabytes("memory_limit", quantity) == pytest.approx(expected, rel=1e-12)


def test_a_request_may_be_as_high_as_its_limit_and_no_higher() -> None:
    resources = TaskResources(cpu_request="500m", cpu_limit="0.5", memory_request="1Gi", memory_limit="1073741.824K")
    assert cores("cpu_request", resources.cpu_request) == cores("cpu_limit", resources.cpu_limit)
    for field, more in (("cpu_request", "501m"), ("memory_request", "1.01Gi")):
        with pytest.raises(ValueError, match=f"{field} {more} is above"):
            dataclasses.replace(resources, **{field: more})


def test_accelerator_and_labels_are_kept_as_they_are_written() -> None:
    labels = (("cloud.google.com/gke-accelerator", "nvidia-tesla-t4"), ("pool", ""))
    resources = TaskResources(accelerator_type="nvidia.com/gpu", accelerator_count=2, node_selector=labels)
    assert (resources.accelerator_type, resources.accelerator_count) == ("nvidia.com/gpu", 2)
    assert resources.node_selector == labels


def test_nothing_is_asked_for_by_default() -> None:
    assert not any(dataclasses.astuple(TaskResources()))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"cpu_limit": "two"}, "cpu_limit must be a positive number of cores .* got 'two'"),
        ({"cpu_request": "0"}, "cpu_request must be a positive number of cores .* got '0'"),
        ({"memory_limit": "4"}, "memory_limit must be a positive amount of memory .* got '4'"),
        ({"memory_request": "-1Gi"}, "memory_request must be a positive amount of memory .* got '-1Gi'"),
        ({"cpu_request": "3", "cpu_limit": "2500m"}, "cpu_request 3 is above cpu_limit 2500m"),
        ({"memory_request": "1Gi", "memory_limit": "1G"}, "memory_request 1Gi is above memory_limit 1G"),
        ({"accelerator_type": "nvidia.com/gpu"}, "must be given together, got 'nvidia.com/gpu' and 0"),
        ({"accelerator_count": 1}, "must be given together, got '' and 1"),
        ({"accelerator_count": -1}, "accelerator_count must be 0 or more, got -1"),
        ({"node_selector": (("a b", "c"),)}, "must hold labels of Kubernetes, got 'a b'='c'"),
        ({"node_selector": (("pool", "gpu!"),)}, "must hold labels of Kubernetes, got 'pool'='gpu!'"),
    ],
)
def test_what_is_wrong_is_refused(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        TaskResources(**fields)
