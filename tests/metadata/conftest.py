"""What the tests of ML Metadata share."""

import pathlib

import pytest

from helpers.store_builder import StoreBuilder


@pytest.fixture
def builder(tmp_path: pathlib.Path) -> StoreBuilder:
    """An empty store."""
    return StoreBuilder(tmp_path / "metadata.sqlite")
