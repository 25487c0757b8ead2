"""An append-only file of results that must not be computed twice, whole to the last record after any crash."""

from __future__ import annotations

import json
import os
import struct
import zlib
from pathlib import Path
from types import TracebackType
from typing import Any, TypeAlias

JsonValue: TypeAlias = Any

_MAGIC = b"ponder journal 1\n"
_HEADER = struct.Struct("<II")
"""Length and CRC-32 of the payload, which is the zlib-compressed JSON of [key, value]."""


class Journal:
    """Values by key; a value appended under a key that is there already takes its place.

    Opening reads the records in order and cuts the file off at the first one that is incomplete or damaged.
    """

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        self._records: dict[str, tuple[int, int]] = {}
        self._end = 0
        self._recover(path.stat().st_size)

    def keys(self) -> list[str]:
        """The keys, in the order in which they first came."""
        return list(self._records)

    def get(self, key: str) -> JsonValue | None:
        """The value last appended under `key`, or None."""
        if key not in self._records:
            return None
        offset, length = self._records[key]
        return _decode(os.pread(self._file, length, offset))[1]

    def append(self, key: str, value: JsonValue) -> None:
        """Add a JSON value (NaN and the infinities allowed); it is durable once this returns."""
        payload = zlib.compress(json.dumps([key, value]).encode("ascii"))
        record = _HEADER.pack(len(payload), zlib.crc32(payload)) + payload
        self._write(record)
        self._records[key] = (self._end + _HEADER.size, len(payload))
        self._end += len(record)

    def close(self) -> None:
        """Close the file; the journal cannot be used after this."""
        os.close(self._file)

    def __enter__(self) -> Journal:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _recover(self, size: int) -> None:
        if os.pread(self._file, len(_MAGIC), 0) != _MAGIC:
            os.ftruncate(self._file, 0)
            self._write(_MAGIC)
            self._end = len(_MAGIC)
            return
        self._end = len(_MAGIC)
        while (payload := self._payload_at(self._end, size)) is not None:
            key = _decode(payload)[0]
            self._records[key] = (self._end + _HEADER.size, len(payload))
            self._end += _HEADER.size + len(payload)
        os.ftruncate(self._file, self._end)

    def _payload_at(self, offset: int, size: int) -> bytes | None:
        header = os.pread(self._file, _HEADER.size, offset)
        if len(header) < _HEADER.size:
            return None
        length, checksum = _HEADER.unpack(header)
        if offset + _HEADER.size + length > size:
            return None
        payload = os.pread(self._file, length, offset + _HEADER.size)
        # A run of zeros, as some file systems leave after a crash, has the right CRC-32 of nothing.
        return payload if length and zlib.crc32(payload) == checksum else None

    def _write(self, data: bytes) -> None:
        written = os.pwrite(self._file, data, self._end)
        if written < len(data):
            # A write cut short is a full disk or a limit; writing the rest brings out which.
            os.pwrite(self._file, data[written:], self._end + written)
        os.fsync(self._file)


def _decode(payload: bytes) -> tuple[str, JsonValue]:
    key, value = json.loads(zlib.decompress(payload))
    return key, value
