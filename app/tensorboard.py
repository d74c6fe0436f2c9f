"""TensorBoard event files of a run's curves, so that existing tools open it.

A file is a row of records: length, its checksum, an `Event` message, its checksum. Written by hand, for the message
needs four fields only. Sources: TensorFlow `core/lib/io/record_writer.cc` and `core/util/event.proto`,
`core/framework/summary.proto`; CRC-32C with the mask of `core/lib/hash/crc32c.h`.
"""

import struct
from collections.abc import Iterator, Sequence

from app.reports import Series

CASTAGNOLI = 0x82F63B78
MASK_DELTA = 0xA282EAD8
VERSION = b"brain.Event:2"


def event_file(all_series: Sequence[Series]) -> Iterator[bytes]:
    """The file in pieces: its version first, then each value at its step and time."""
    points = [(point, series.name) for series in all_series for point in series.points]
    points.sort(key=lambda one: (one[0].recorded_at, one[0].step))
    began = points[0][0].recorded_at.timestamp() if points else 0.0
    yield record(_double(1, began) + _bytes(3, VERSION))
    for point, name in points:
        value = _bytes(1, name.encode()) + _float(2, point.value)
        summary = _bytes(1, value)
        yield record(_double(1, point.recorded_at.timestamp()) + _varint(2, point.step) + _bytes(5, summary))


def record(data: bytes) -> bytes:
    """One record around a message."""
    length = struct.pack("<Q", len(data))
    return length + struct.pack("<I", masked_crc(length)) + data + struct.pack("<I", masked_crc(data))


def masked_crc(data: bytes) -> int:
    """CRC-32C, rotated by 15 bits and shifted, as records store it."""
    crc = crc32c(data)
    return (((crc >> 15) | (crc << 17)) + MASK_DELTA) & 0xFFFFFFFF


def crc32c(data: bytes) -> int:
    """The checksum of Castagnoli."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc = _TABLE[(crc ^ byte) & 0xFF] ^ (crc >> 8)
    return crc ^ 0xFFFFFFFF


def _entry(number: int) -> int:
    for _ in range(8):
        number = (number >> 1) ^ (CASTAGNOLI if number & 1 else 0)
    return number


_TABLE = tuple(map(_entry, range(256)))


def _plain(number: int) -> bytes:
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


def _varint(field: int, number: int) -> bytes:
    return _plain(field << 3) + _plain(number)


def _double(field: int, number: float) -> bytes:
    return _plain(field << 3 | 1) + struct.pack("<d", number)


def _float(field: int, number: float) -> bytes:
    return _plain(field << 3 | 5) + struct.pack("<f", number)


def _bytes(field: int, data: bytes) -> bytes:
    return _plain(field << 3 | 2) + _plain(len(data)) + data
