"""Event files as TensorBoard reads them: the published check value, and records read back by hand."""

import struct
from datetime import UTC, datetime

from app.reports import Point, Series
from app.tensorboard import crc32c, event_file, masked_crc

AT = datetime(2026, 1, 2, tzinfo=UTC)


def test_the_checksum_has_its_published_check_values() -> None:
    # RFC 3720, appendix B.4: 32 bytes of zeros, and of 0xFF; and the check value of CRC-32C.
    assert crc32c(b"123456789") == 0xE3069283
    assert crc32c(bytes(32)) == 0x8A9136AA
    assert crc32c(b"\xff" * 32) == 0x62A8AB43


def records(content: bytes) -> list[bytes]:
    """Messages, each checksum verified."""
    found = []
    while content:
        (length,) = struct.unpack("<Q", content[:8])
        assert struct.unpack("<I", content[8:12])[0] == masked_crc(content[:8])
        data = content[12 : 12 + length]
        assert struct.unpack("<I", content[12 + length : 16 + length])[0] == masked_crc(data)
        found.append(data)
        content = content[16 + length :]
    return found


def test_each_value_is_one_event() -> None:
    points = tuple(Point(step=step, value=0.5, low=None, high=None, recorded_at=AT) for step in (32, 300))
    version, first, second = records(b"".join(event_file([Series(name="objective/kl", points=points)])))
    assert version.endswith(b"brain.Event:2")
    # wall time (field 1, double), step 32 (field 2), summary (field 5) of a value: tag (1) and simple value (2).
    assert first[:9] == b"\x09" + struct.pack("<d", AT.timestamp())
    assert first[9:11] == b"\x10\x20"
    value = b"\x0a\x0cobjective/kl" + b"\x15" + struct.pack("<f", 0.5)
    assert first[11:] == b"\x2a" + bytes([len(value) + 2]) + b"\x0a" + bytes([len(value)]) + value
    assert second[9:12] == b"\x10\xac\x02"  # 300 as a varint


def test_a_run_without_values_is_a_file_with_a_version() -> None:
    assert len(records(b"".join(event_file([])))) == 1
