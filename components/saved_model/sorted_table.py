"""Tables of sorted byte strings in LevelDB's format, in which TensorFlow writes the index of a checkpoint."""

import struct
from collections.abc import Iterator, Mapping

import google_crc32c

_MAGIC = 0xDB4775248B80FB57
_FOOTER_BYTES = 48
_UNCOMPRESSED = b"\0"
_TRAILER_BYTES = 5  # of a block: how it is compressed, and its checksum
_BLOCK_BYTES = 1 << 18  # TensorFlow's


def read_table(content: bytes) -> dict[bytes, bytes]:
    """The keys and values of a table.

    Args:
        content: The whole file.

    Raises:
        ValueError: It is no table, or is damaged or compressed. TensorFlow does not compress its tables.
    """
    if len(content) < _FOOTER_BYTES or struct.unpack("<Q", content[-8:]) != (_MAGIC,):
        raise ValueError("it does not end as a table does")
    footer = content[-_FOOTER_BYTES:]
    _, at = _handle(footer, 0)  # of the block on blocks, which is empty
    index, _ = _handle(footer, at)
    return {
        key: value
        for _, handle in _entries(_block(content, index))
        for key, value in _entries(_block(content, _handle(handle, 0)[0]))
    }


def table_bytes(items: Mapping[bytes, bytes]) -> bytes:
    """A table as the content of a file.

    Args:
        items: Values by key.
    """
    content = bytearray()
    index: list[tuple[bytes, bytes]] = []
    block: list[tuple[bytes, bytes]] = []
    length = 0
    for key, value in sorted(items.items()):
        block.append((key, value))
        length += len(key) + len(value)
        if length >= _BLOCK_BYTES:
            index.append((key, _append_block(content, block)))
            block, length = [], 0
    if block:
        index.append((block[-1][0], _append_block(content, block)))
    handles = _append_block(content, []) + _append_block(content, index)
    return bytes(content) + handles.ljust(_FOOTER_BYTES - 8, b"\0") + struct.pack("<Q", _MAGIC)


def _block(content: bytes, handle: tuple[int, int]) -> bytes:
    offset, size = handle
    block, trailer = content[offset : offset + size], content[offset + size : offset + size + _TRAILER_BYTES]
    if len(trailer) < _TRAILER_BYTES or trailer[1:] != _checksum(block + trailer[:1]):
        raise ValueError("the checksum of a block of it differs")
    if trailer[:1] != _UNCOMPRESSED:
        raise ValueError("it is compressed")
    return block


def _entries(block: bytes) -> Iterator[tuple[bytes, bytes]]:
    (restarts,) = struct.unpack("<I", block[-4:])
    end = len(block) - 4 - 4 * restarts
    key, at = b"", 0
    while at < end:
        shared, at = _varint(block, at)
        own, at = _varint(block, at)
        length, at = _varint(block, at)
        key = key[:shared] + block[at : at + own]
        at += own
        yield key, block[at : at + length]
        at += length


def _append_block(content: bytearray, entries: list[tuple[bytes, bytes]]) -> bytes:
    """Appends a block to a file; returns its handle, encoded."""
    block, restarts = bytearray(), []
    for key, value in entries:
        restarts.append(len(block))
        block += b"\0" + _varint_bytes(len(key)) + _varint_bytes(len(value)) + key + value
    restarts = restarts or [0]
    block += struct.pack(f"<{len(restarts)}I", *restarts) + struct.pack("<I", len(restarts))
    handle = _varint_bytes(len(content)) + _varint_bytes(len(block))
    content += block + _UNCOMPRESSED + _checksum(bytes(block) + _UNCOMPRESSED)
    return handle


def _checksum(block: bytes) -> bytes:
    return struct.pack("<I", masked(google_crc32c.value(block)))


def masked(checksum: int) -> int:
    """A CRC-32C in the masked form in which files store it."""
    return ((checksum >> 15 | checksum << 17) + 0xA282EAD8) & 0xFFFFFFFF


def _handle(content: bytes, at: int) -> tuple[tuple[int, int], int]:
    offset, at = _varint(content, at)
    size, at = _varint(content, at)
    return (offset, size), at


def _varint(content: bytes, at: int) -> tuple[int, int]:
    """A number, and the index after its last byte."""
    number = shift = 0
    while True:
        byte = content[at]
        number |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:
            return number, at


def _varint_bytes(number: int) -> bytes:
    found = bytearray()
    while number >= 0x80:
        found.append(number & 0x7F | 0x80)
        number >>= 7
    found.append(number)
    return bytes(found)
