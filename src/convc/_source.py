"""How `convc.data` reads files that may be hostile: bounded, with errors that name the file and the offset."""

from __future__ import annotations

import gzip
import io
import os
import stat
import zlib
from typing import NoReturn, Self

import numpy as np

_CHUNK = 1 << 20
_DEFLATE_MAX_RATIO = 1032  # no deflate stream expands further


def fail(where: str, offset: int, what: str) -> NoReturn:
    raise ValueError(f"{where}: at byte {offset}: {what}")


class Source:
    """The bytes of a file, decompressed if it is gzip; it knows its name and offset, and turns damage into ValueError.

    `limit` bounds how many bytes may be read, so that a small file cannot unfold into an endless one.
    """

    def __init__(self, path: str | os.PathLike[str], limit: int | None = None) -> None:
        self.path = os.fspath(path)
        self.offset = 0
        self.limit = limit
        status = os.stat(path)
        if not stat.S_ISREG(status.st_mode):  # opening a named pipe would wait for ever
            self.fail("not a regular file")
        self.disk_size = status.st_size
        self._raw = open(path, "rb")  # noqa: SIM115 - closed by __exit__
        self.compressed = self._raw.read(2) == b"\x1f\x8b"
        self._raw.seek(0)
        self._file: io.BufferedIOBase = gzip.GzipFile(fileobj=self._raw) if self.compressed else self._raw

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self._file.close()
        self._raw.close()

    def fail(self, what: str, offset: int | None = None) -> NoReturn:
        fail(self.path, self.offset if offset is None else offset, what)

    def _readinto(self, buffer: memoryview) -> int:
        try:
            count = self._file.readinto(buffer)
        except (EOFError, gzip.BadGzipFile, zlib.error) as error:
            self.fail(f"damaged gzip data: {error}")
        self.offset += count
        if self.limit is not None and self.offset > self.limit:
            self.fail(f"the file holds more than the {self.limit} bytes it may")
        return count

    def read(self, size: int) -> bytes:
        """Up to `size` bytes, fewer only at the end."""
        if self.limit is not None:
            size = min(size, self.limit + 1 - self.offset)
        buffer = bytearray(size)
        return bytes(buffer[: self._fill(memoryview(buffer))])

    def _fill(self, buffer: memoryview) -> int:
        done = 0
        while done < len(buffer):
            count = self._readinto(buffer[done : done + _CHUNK])
            if count == 0:
                break
            done += count
        return done

    def exactly(self, size: int) -> bytes:
        """A header of `size` bytes."""
        data = self.read(size)
        if len(data) < size:
            self.fail(f"truncated: the file ends in a header, {size - len(data)} bytes are missing")
        return data

    def array(self, size: int) -> np.ndarray:
        """The next `size` bytes. Memory is asked for only if the file can hold that many."""
        available = self.disk_size * _DEFLATE_MAX_RATIO if self.compressed else self.disk_size - self.offset
        if size > available:
            self.fail(f"truncated: {size} bytes of data should follow, the file has at most {available}")
        data = np.empty(size, np.uint8)
        got = self._fill(data.data)
        if got < size:
            self.fail(f"truncated: {size - got} of {size} bytes are missing")
        return data

    def expect_end(self) -> None:
        """Nothing may be left; reading on also makes gzip compare its checksum."""
        end = self.offset
        if self.read(1):
            self.fail("bytes are left over after the data that the header describes", offset=end)

    def skip_to(self, offset: int) -> None:
        while self.offset < offset:
            if not self.read(min(offset - self.offset, _CHUNK)):
                self.fail(f"truncated: {offset - self.offset} bytes are missing")

    def drain(self) -> None:
        """Read to the end, for the checksum of gzip."""
        while self.read(_CHUNK):
            pass
