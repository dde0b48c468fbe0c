"""Tables, as TensorFlow writes and reads them."""

import pytest
import tensorflow as tf

from tfx_pruning.saved_model.sorted_table import read_table, table_bytes


def _checkpoint(folder, count):
    """An index that TensorFlow wrote, of more than one block if `count` is large."""
    names = [f"variable number {number}, with a long name to fill the table" for number in range(count)]
    prefix = str(folder / "values")
    tf.raw_ops.SaveV2(
        prefix=prefix,
        tensor_names=names,
        shape_and_slices=[""] * count,
        tensors=[tf.constant(float(number)) for number in range(count)],
    )
    return names, prefix


@pytest.mark.parametrize("count", [1, 8000])
def test_read_table_finds_every_key_that_tensorflow_wrote(count, tmp_path):
    names, _ = _checkpoint(tmp_path, count)
    table = read_table((tmp_path / "values.index").read_bytes())
    assert set(table) == {b"", *(name.encode() for name in names)}


@pytest.mark.parametrize("count", [1, 8000])
def test_tensorflow_reads_what_table_bytes_wrote(count, tmp_path):
    names, prefix = _checkpoint(tmp_path, count)
    index = tmp_path / "values.index"
    written = table_bytes(read_table(index.read_bytes()))
    assert read_table(written) == read_table(index.read_bytes())
    index.write_bytes(written)
    reader = tf.train.load_checkpoint(prefix)
    assert set(reader.get_variable_to_shape_map()) == set(names)
    assert [float(reader.get_tensor(name)) for name in names] == [float(number) for number in range(count)]


def test_an_empty_table_is_read_as_it_was_written():
    assert read_table(table_bytes({})) == {}


@pytest.mark.parametrize("place", [0, 40, -1])
def test_read_table_refuses_a_byte_that_changed(place, tmp_path):
    _checkpoint(tmp_path, 3)
    content = bytearray((tmp_path / "values.index").read_bytes())
    content[place] ^= 0x40
    with pytest.raises((ValueError, IndexError)):
        read_table(bytes(content))


@pytest.mark.parametrize("length", [0, 7, 47, 100])
def test_read_table_refuses_a_file_that_is_cut_short(length, tmp_path):
    _checkpoint(tmp_path, 3)
    with pytest.raises(ValueError, match="does not end as a table does"):
        read_table((tmp_path / "values.index").read_bytes()[:length])
