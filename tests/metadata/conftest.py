"""What the tests of ML Metadata share."""

import pathlib
from typing import Any

import pytest
from google.protobuf.message import Message
from ml_metadata import errors
from ml_metadata.metadata_store import metadata_store

from helpers.store_builder import StoreBuilder


@pytest.fixture(autouse=True)
def no_filter_query(monkeypatch: pytest.MonkeyPatch) -> None:
    """Stores refuse a filter_query, as those of ml-metadata 1.21 do; 1.17 has it still."""
    call = metadata_store.MetadataStore._call

    def checked(self: metadata_store.MetadataStore, method: str, request: Message, *others: Any) -> None:
        if "filter_query" in str(request):
            raise errors.UnimplementedError("filter_query is not supported")
        call(self, method, request, *others)

    monkeypatch.setattr(metadata_store.MetadataStore, "_call", checked)


@pytest.fixture
def builder(tmp_path: pathlib.Path) -> StoreBuilder:
    """An empty store."""
    return StoreBuilder(tmp_path / "metadata.sqlite")
