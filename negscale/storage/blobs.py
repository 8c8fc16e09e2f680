"""Images that a stage makes: many bodies in one tar, named by its content.

An object per image would be millions of puts; one file per batch is written once, in the order of the rows, and a row
refers to its bytes by offset. The name is the sha256 of the members' names (their sha256) in order: a shard that runs
twice writes the same object or finds it there. Any tar program opens the file. Bodies wait in a `Spool` until the batch
is whole.
"""

from __future__ import annotations

import contextlib
import mmap
import os
import tarfile
import tempfile
from collections.abc import Iterable
from hashlib import sha256
from pathlib import Path
from types import TracebackType
from typing import Any

from negscale.core.errors import FatalError
from negscale.storage.folder import Folder, LocalFolder, attempt_name

MEMORY_BYTES = 16 << 20  # of a batch: what fits is written once, the rest twice
_BUFFER_BYTES = 1 << 20  # few writes: each hands the interpreter's lock to another thread
_PAD = bytes(tarfile.BLOCKSIZE)
_BLANK = tarfile.TarInfo().tobuf(tarfile.USTAR_FORMAT)  # ustar: name 0-99, ..., size 124-135, time, sum 148-155, ...
_OWNER, _TIME, _REST = _BLANK[100:124], _BLANK[136:148], _BLANK[156:]
_BLANK_SUM = sum(_OWNER + _TIME + _REST) + 8 * ord(" ")  # the sum's own field counts as blanks


class Spool:
    """The bodies of a batch in the order of their arrival: in memory up to a budget, then in a temporary file.

    One thread appends, and one reads when all is there. Gone when closed, or with the process.
    """

    def __init__(self, folder: str = "", memory_bytes: int = MEMORY_BYTES) -> None:
        """folder: where the file lies; empty = the system's (TMPDIR)."""
        self._folder, self._budget = folder or None, memory_bytes
        # pages of its own: they go back to the system with the batch, where bodies on the heap would leave it in holes
        self._memory = mmap.mmap(-1, max(memory_bytes, 1), flags=mmap.MAP_PRIVATE)
        self._file: Any = None
        self._end = 0

    def append(self, chunks: Iterable[bytes]) -> tuple[int, int]:
        """Keep one body; returns (place, length). Raises FatalError when the disk is full."""
        at = end = self._end
        for chunk in chunks:
            if self._file is None and end + len(chunk) > self._budget:
                self._open_file(at)
                self._write(self._memory[at:end])
            if self._file is None:
                self._memory[end : end + len(chunk)] = chunk
            else:
                self._write(chunk)
            end += len(chunk)
        self._end = end
        return at, end - at

    def _open_file(self, start: int) -> None:
        try:
            self._file = tempfile.TemporaryFile(dir=self._folder, prefix="negscale-spool-")  # noqa: SIM115
            self._start = start  # the body that begins here is the first in the file
        except OSError as error:
            raise _no_room(error) from error

    def _write(self, data: bytes) -> None:
        try:
            self._file.write(data)
        except OSError as error:
            raise _no_room(error) from error

    def read(self, at: int, length: int) -> bytes:
        """The bytes of the body at a place; appends are over by then."""
        if self._file is None or at < self._start:
            return self._memory[at : at + length]
        self._file.seek(at - self._start)
        data: bytes = self._file.read(length)
        if len(data) != length:
            raise FatalError("the spool file is shorter than what was written to it; see the disk")
        return data

    def close(self) -> None:
        """Free memory and disk."""
        self._memory.close()
        if self._file is not None:
            self._file.close()


class TarBlob:
    """A tar that is being written aside; `commit` puts it where it belongs, unless it is there. Raises FatalError without room."""

    def __init__(self, folder: Folder, prefix: str) -> None:
        self._folder, self._prefix = folder, prefix
        aside = folder.path / prefix if isinstance(folder, LocalFolder) else Path(tempfile.gettempdir())
        self._path = aside / f".blob.{os.getpid()}.{attempt_name()}.tmp"
        try:
            aside.mkdir(parents=True, exist_ok=True)
            self._file: Any = self._path.open("wb", _BUFFER_BYTES)
        except OSError as error:
            raise _no_room(error) from error
        self._offsets: dict[bytes, int] = {}
        self._names = sha256()
        self._size = 0

    def __enter__(self) -> TarBlob:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()
        self._path.unlink(missing_ok=True)

    def add(self, data: bytes, digest: bytes, extension: str) -> int:
        """The offset of `data`, whose sha256 is `digest`; equal data are written once."""
        if digest not in self._offsets:
            name = f"{digest.hex()}.{extension}".encode()
            self._names.update(name + b"\n")
            self._offsets[digest] = self._size + tarfile.BLOCKSIZE
            self._write(_header(name, len(data)), data, _PAD[: -len(data) % tarfile.BLOCKSIZE])
        return self._offsets[digest]

    def commit(self) -> str:
        """Make the tar durable; returns its path in the folder."""
        self._write(_PAD, _PAD)
        uri = f"{self._prefix}/{self._names.hexdigest()}.tar"
        try:
            self._file.flush()
            os.fsync(self._file.fileno())  # after a power cut no committed row may refer to an empty file
            self._put(uri)
        except OSError as error:
            raise _no_room(error) from error
        return uri

    def _write(self, *parts: bytes) -> None:
        try:
            for part in parts:
                self._file.write(part)
                self._size += len(part)
        except OSError as error:
            raise _no_room(error) from error

    def _put(self, uri: str) -> None:
        if isinstance(self._folder, LocalFolder):
            with contextlib.suppress(FileExistsError):  # another attempt wrote the same bytes
                os.link(self._path, self._folder.path / uri)
        elif not self._folder.exists(uri):  # content-addressed: two writers that race write the same bytes
            import fsspec

            store, key = fsspec.core.url_to_fs(f"{self._folder.uri}/{uri}", skip_instance_cache=True)
            store.put_file(str(self._path), key)  # in parts, so that memory does not grow with the blob


def _header(name: bytes, size: int) -> bytes:
    """The header block of a plain file, as `tarfile` writes it and at a tenth of its time: there is one an image."""
    if len(name) > 100 or size >= 8**11:
        raise ValueError(f"{name.decode()}, {size} bytes: too long for a plain tar header")
    sizes = b"%011o\0" % size
    total = _BLANK_SUM + sum(name) + sum(sizes)
    return name.ljust(100, b"\0") + _OWNER + sizes + _TIME + b"%06o\0 " % total + _REST


def _no_room(error: OSError) -> FatalError:
    return FatalError(
        f"cannot store images: {error.strerror or error} ({error.filename or 'temporary file'}); free space there, or set "
        f"TMPDIR and runtime.run_root to other disks, then run the same command again"
    )
