import dataclasses

import pytest
from ml_metadata.metadata_store import MetadataStore
from ml_metadata.proto import metadata_store_pb2

from tfx_pruning.pipelines.run_report import ModelMetrics, RunReport

REPORT = RunReport(
    dense=ModelMetrics(auc=0.94444, accuracy=0.8876),
    pruned=ModelMetrics(auc=0.94312, accuracy=0.88579),
    sparsity=0.899999,
    prunable_parameters=163328,
    nonzero_parameters=16333,
    dense_bytes=2368932,
    trained_bytes=3703578,
    stripped_bytes=883889,
    gzipped_bytes=151525,
    refusals=(),
    pushed_to="root/serving/7",
    metadata_path="root/metadata.sqlite",
)


def test_table() -> None:
    assert (
        REPORT.table()
        == """\
                                            dense     pruned
------------------------------------------------------------
AUC                                        0.9444     0.9431
accuracy                                   0.8876     0.8858
sparsity of the kernels                               90.00%
parameters in the kernels                 163,328    163,328
non-zero parameters in the kernels                    16,333
SavedModel as trained, bytes            2,368,932  3,703,578
SavedModel stripped, bytes                           883,889
SavedModel stripped and gzipped, bytes               151,525
------------------------------------------------------------
pushed model  root/serving/7
metadata      root/metadata.sqlite"""
    )


def test_table_says_that_nothing_was_pushed() -> None:
    table = dataclasses.replace(REPORT, pushed_to=None).table()
    assert table.splitlines()[-2] == "pushed model  none"


def test_read_without_a_run_is_refused(tmp_path) -> None:
    path = str(tmp_path / "metadata.sqlite")
    config = metadata_store_pb2.ConnectionConfig()
    config.sqlite.filename_uri = path
    MetadataStore(config)
    with pytest.raises(ValueError, match="records no run of the pipeline 'taxi'"):
        RunReport.read(path, "taxi")
