"""The first of the taxi trips that tfx ships."""

import csv
import itertools
import pathlib

from tfx_pruning.pipelines.taxi_example import shipped_data


def write_few_trips(folder: pathlib.Path, count: int) -> pathlib.Path:
    """Writes a header and `count` trips as CSV; returns the folder."""
    folder.mkdir(parents=True)
    (source,) = pathlib.Path(shipped_data()).glob("*.csv")
    with source.open(encoding="utf-8", newline="") as file, (folder / "d.csv").open("w", encoding="utf-8") as few:
        csv.writer(few).writerows(itertools.islice(csv.reader(file), count + 1))
    return folder
