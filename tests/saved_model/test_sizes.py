"""Sizes of folders: exact bytes, and an archive that really opens."""

import gzip
import os
import random
import subprocess
import tarfile

import pytest

from tfx_pruning.saved_model import sizes


@pytest.fixture
def folder(tmp_path):
    """Three files, 70,007 bytes: compressible, not compressible, and a small one in a subfolder."""
    root = tmp_path / "model"
    (root / "variables").mkdir(parents=True)
    (root / "zeros").write_bytes(bytes(30_000))
    (root / "noise").write_bytes(random.Random(1).randbytes(40_000))
    (root / "variables" / "index").write_bytes(b"content")
    return root


def test_directory_bytes_sums_all_files(folder):
    assert sizes.directory_bytes(folder) == 70_007
    assert sizes.directory_bytes(str(folder) + "/") == 70_007


def test_directory_bytes_of_an_empty_folder_is_zero(tmp_path):
    assert sizes.directory_bytes(tmp_path) == 0


def test_gzipped_bytes_is_the_length_of_a_real_archive(folder, tmp_path, monkeypatch):
    written = []
    write = sizes._ByteCounter.write
    monkeypatch.setattr(
        sizes._ByteCounter, "write", lambda self, data: written.append(bytes(data)) or write(self, data)
    )

    counted = sizes.gzipped_bytes(folder)

    archive = b"".join(written)
    assert counted == len(archive)
    (tmp_path / "archive.tar.gz").write_bytes(archive)
    with tarfile.open(tmp_path / "archive.tar.gz") as opened:
        assert opened.getnames() == ["noise", "variables/index", "zeros"]
        for name in opened.getnames():
            assert opened.extractfile(name).read() == (folder / name).read_bytes()


def test_gzipped_bytes_is_near_what_tar_and_gzip_make(folder):
    command = ["tar", "--sort=name", "-C", str(folder), "-cf", "-", "noise", "variables/index", "zeros"]
    plain = subprocess.run(command, check=True, capture_output=True).stdout
    assert sizes.gzipped_bytes(folder) == pytest.approx(len(gzip.compress(plain, 6)), abs=300)
    assert 40_000 < sizes.gzipped_bytes(folder) < 41_500


def test_gzipped_bytes_depends_on_the_contents_alone(folder, tmp_path):
    first = sizes.gzipped_bytes(folder)
    copy = tmp_path / "elsewhere" / "copy"
    (copy / "variables").mkdir(parents=True)
    for name in ("zeros", "variables/index", "noise"):
        (copy / name).write_bytes((folder / name).read_bytes())
        os.utime(copy / name, (1, 1))
        (copy / name).chmod(0o600)
    assert sizes.gzipped_bytes(copy) == first


@pytest.mark.parametrize("measure", [sizes.directory_bytes, sizes.gzipped_bytes])
def test_sizes_refuse_what_is_no_folder(measure, tmp_path):
    (tmp_path / "file").write_bytes(b"content")
    for path in (tmp_path / "file", tmp_path / "missing"):
        with pytest.raises(NotADirectoryError, match="is not a folder"):
            measure(path)
