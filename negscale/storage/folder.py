"""The one storage seam: list, read, write, put-if-absent, delete, on local disks and by URI through fsspec."""

from __future__ import annotations

import contextlib
import errno
import os
import time
import uuid
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from negscale.core.errors import ConfigError, FatalError

_CREDENTIALS_HINT = {
    "s3": "AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and, for other stores than AWS, AWS_ENDPOINT_URL",
    "gs": "GOOGLE_APPLICATION_CREDENTIALS",
    "abfs": "AZURE_STORAGE_ACCOUNT_NAME and AZURE_STORAGE_ACCOUNT_KEY",
}


@dataclass(frozen=True, slots=True)
class Entry:
    """One object of a folder."""

    path: str  # relative to the folder, with forward slashes
    size_bytes: int


class Folder(ABC):
    """A folder of immutable-by-convention objects. Paths are relative, with forward slashes.

    Reads of absent objects raise FileNotFoundError; a full or unwritable store raises FatalError with what to do.
    """

    uri: str

    @abstractmethod
    def read(self, path: str) -> bytes:
        """The whole object."""

    @abstractmethod
    def read_range(self, path: str, offset: int, length: int) -> bytes:
        """`length` bytes from `offset`."""

    @abstractmethod
    def open(self, path: str) -> Any:
        """A seekable binary reader, for Parquet."""

    @abstractmethod
    def write(self, path: str, data: bytes, durable: bool = True) -> None:
        """Create or replace the object whole: a reader sees the old or the new one, never a part.

        durable: survives a power cut (not only a killed process) once this returns; costs a disk sync.
        """

    @abstractmethod
    def put_if_absent(self, path: str, data: bytes) -> bool:
        """Create the object whole; False, with nothing changed, when one is there already. Atomic among writers."""

    @abstractmethod
    def list(self, prefix: str = "") -> Iterator[Entry]:
        """Objects directly in folder `prefix` (not deeper)."""

    @abstractmethod
    def walk(self) -> Iterator[Entry]:
        """Objects at any depth, hidden ones (``.name``) left out."""

    @abstractmethod
    def size(self, path: str) -> int:
        """Bytes of one object."""

    @abstractmethod
    def exists(self, path: str) -> bool: ...

    @abstractmethod
    def delete(self, path: str) -> None:
        """Delete the object; no error when it is not there."""

    def child(self, path: str) -> Folder:
        """The sub-folder `path` as a folder of its own."""
        return open_folder(f"{self.uri.rstrip('/')}/{path}")


def open_folder(uri: str) -> Folder:
    """The folder at a local path or at a URI that fsspec knows (``s3://bucket/prefix``)."""
    if "://" in uri and not uri.startswith("file://"):
        return RemoteFolder(uri)
    return LocalFolder(uri.removeprefix("file://"))


class LocalFolder(Folder):
    """A folder on a disk that all workers share. Put-if-absent is `os.link`, which is atomic on POSIX disks and NFS."""

    def __init__(self, path: str) -> None:
        self.path = Path(path).expanduser().absolute()
        self.uri = str(self.path)

    def read(self, path: str) -> bytes:
        return (self.path / path).read_bytes()

    def read_range(self, path: str, offset: int, length: int) -> bytes:
        with (self.path / path).open("rb") as file:
            file.seek(offset)
            return file.read(length)

    def open(self, path: str) -> Any:
        return (self.path / path).open("rb")

    def write(self, path: str, data: bytes, durable: bool = True) -> None:
        target = self.path / path
        aside = self._write_aside(target, data, durable)
        os.replace(aside, target)

    def put_if_absent(self, path: str, data: bytes) -> bool:
        target = self.path / path
        if target.exists():
            return False
        aside = self._write_aside(target, data)
        try:
            os.link(aside, target)
        except FileExistsError:
            return False
        finally:
            aside.unlink(missing_ok=True)
        return True

    def _write_aside(self, target: Path, data: bytes, durable: bool = True) -> Path:
        aside = target.parent / f".{target.name}.{os.getpid()}.{time.monotonic_ns()}.tmp"
        try:
            try:
                file = aside.open("wb")
            except FileNotFoundError:
                target.parent.mkdir(parents=True, exist_ok=True)
                file = aside.open("wb")
            with file:
                file.write(data)
                if durable:
                    file.flush()
                    os.fsync(file.fileno())  # after a power cut a linked name must not point at an empty file
        except OSError as error:
            with contextlib.suppress(OSError):  # the first error is the one that explains
                aside.unlink()
            raise _write_error(str(target), error) from error
        return aside

    def list(self, prefix: str = "") -> Iterator[Entry]:
        try:
            entries = os.scandir(self.path / prefix)
        except FileNotFoundError:
            return
        with entries:
            for entry in entries:
                if entry.is_file() and not entry.name.startswith("."):
                    try:
                        size = entry.stat().st_size
                    except FileNotFoundError:  # swept by another worker while we list
                        continue
                    yield Entry(f"{prefix}/{entry.name}".lstrip("/"), size)

    def walk(self) -> Iterator[Entry]:
        for here, folders, files in os.walk(self.path, followlinks=True):
            folders[:] = sorted(name for name in folders if not name.startswith("."))
            for name in files:
                if not name.startswith("."):
                    full = Path(here, name)
                    yield Entry(full.relative_to(self.path).as_posix(), full.stat().st_size)

    def size(self, path: str) -> int:
        return (self.path / path).stat().st_size

    def sweep_temporary(self, prefix: str, older_than_s: float) -> int:
        """Delete what killed writers left under `prefix`; returns the number of files."""
        swept = 0
        for aside in (self.path / prefix).glob(".*.tmp"):
            try:
                if time.time() - aside.stat().st_mtime >= older_than_s:
                    aside.unlink()
                    swept += 1
            except FileNotFoundError:
                continue
        return swept

    def exists(self, path: str) -> bool:
        return (self.path / path).exists()

    def delete(self, path: str) -> None:
        (self.path / path).unlink(missing_ok=True)


class RemoteFolder(Folder):
    """A folder in an object store, through fsspec. Put-if-absent is the store's conditional put.

    fsspec's ``mode="create"`` sends ``If-None-Match: *`` on S3 (needs s3fs 2025 or newer) and
    ``ifGenerationMatch=0`` on Google storage.
    """

    def __init__(self, uri: str) -> None:
        self.uri = uri.rstrip("/")
        self._fs: Any = None
        self._root = ""

    def _open(self) -> tuple[Any, str]:
        if self._fs is None:
            import fsspec

            protocol = self.uri.partition("://")[0]
            try:
                # no caches: another driver may write the same folder, and Folder keeps no state of its own
                self._fs, self._root = fsspec.core.url_to_fs(
                    self.uri, use_listings_cache=False, skip_instance_cache=True
                )
            except (ImportError, ValueError) as error:
                raise ConfigError(
                    f"cannot open {self.uri!r}: {error}. Install the fsspec driver for {protocol}://"
                ) from error
        return self._fs, self._root

    def _call(self, method: str, path: str, *args: Any, **kwargs: Any) -> Any:
        fs, root = self._open()
        try:
            return getattr(fs, method)(f"{root}/{path}".rstrip("/"), *args, **kwargs)
        except PermissionError as error:
            protocol = self.uri.partition("://")[0]
            raise FatalError(
                f"{self.uri}/{path}: access refused ({error}). Check {_CREDENTIALS_HINT.get(protocol, 'credentials')}."
            ) from error

    def read(self, path: str) -> bytes:
        return self._call("cat_file", path)

    def read_range(self, path: str, offset: int, length: int) -> bytes:
        return self._call("cat_file", path, start=offset, end=offset + length)

    def open(self, path: str) -> Any:
        import pyarrow as pa

        return pa.BufferReader(self.read(path))  # parts are a shard's size: one request beats seeking

    def write(self, path: str, data: bytes, durable: bool = True) -> None:
        self._call("pipe_file", path, data)

    def put_if_absent(self, path: str, data: bytes) -> bool:
        try:
            self._call("pipe_file", path, data, mode="create")
        except FileExistsError:
            return False
        except OSError as error:
            if "PreconditionFailed" in str(error) or "ConditionalRequestConflict" in str(error):
                return False
            raise
        return True

    def list(self, prefix: str = "") -> Iterator[Entry]:
        _, root = self._open()
        try:
            found = self._call("ls", prefix, detail=True)
        except FileNotFoundError:
            return
        for entry in found:
            if entry["type"] == "file":
                yield Entry(entry["name"].removeprefix(root).lstrip("/"), int(entry["size"] or 0))

    def walk(self) -> Iterator[Entry]:
        root = self._open()[1]
        for name, entry in self._call("find", "", detail=True).items():
            path = name.removeprefix(root).lstrip("/")
            if not path.startswith(".") and "/." not in path:
                yield Entry(path, int(entry["size"] or 0))

    def size(self, path: str) -> int:
        return int(self._call("info", path)["size"] or 0)

    def exists(self, path: str) -> bool:
        return bool(self._call("exists", path))

    def delete(self, path: str) -> None:
        try:
            self._call("rm_file", path)
        except FileNotFoundError:
            return


def attempt_name() -> str:
    """A name for one writer's attempt, unique over hosts and restarts."""
    return uuid.uuid4().hex[:12]


def _write_error(path: str, error: OSError) -> FatalError:
    advice = {
        errno.ENOSPC: "the disk is full: free space or set runtime.run_root to another disk, then run the same command again",
        errno.EDQUOT: "the quota is used up: free space or set runtime.run_root elsewhere, then run the same command again",
        errno.EACCES: "no permission: set runtime.run_root to a folder that you may write",
        errno.EROFS: "the file system is read-only: set runtime.run_root to a folder that you may write",
        errno.ENOTDIR: "a part of the path is a file: set runtime.run_root to a folder",
    }.get(error.errno or 0, "check the folder and run the same command again; finished shards are kept")
    return FatalError(f"cannot write {path}: {error.strerror or error}; {advice}")
