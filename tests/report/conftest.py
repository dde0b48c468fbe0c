import pytest

from helpers.report_models import train


@pytest.fixture(scope="session")
def trained(tmp_path_factory):
    return train(tmp_path_factory.mktemp("trained") / "model")
