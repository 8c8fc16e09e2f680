"""Written aside, then published whole: a reader of an export never sees a part of it."""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from negscale.core.errors import FatalError, PlanError
from negscale.storage.folder import open_folder


@contextmanager
def staged_file(out: str) -> Iterator[Path]:
    """A path to write; when the block ends well, it becomes the file `out` (a path or URI), replacing an older one."""
    if "://" in out and not out.startswith("file://"):
        with tempfile.TemporaryDirectory(prefix="negscale-export-") as scratch:
            staged = Path(scratch, "export")
            yield staged
            _upload(staged, out)
        return
    target = _local(out)
    if target.is_dir():
        raise PlanError(f"{out} is a folder; give the name of a file, e.g. {out.rstrip('/')}/captions.json")
    with _aside(target) as staged:
        yield staged
        with staged.open("rb") as file:
            os.fsync(file.fileno())
        os.replace(staged, target)


@contextmanager
def staged_folder(out: str) -> Iterator[Path]:
    """An empty folder to fill; when the block ends well, it becomes the folder `out` (a path or URI).

    Raises PlanError when `out` already holds something: a folder cannot be replaced whole. In an object store README.md
    is written last.
    """
    if "://" in out and not out.startswith("file://"):
        if next(iter(open_folder(out).walk()), None) is not None:
            raise PlanError(_taken(out))
        with tempfile.TemporaryDirectory(prefix="negscale-export-") as scratch:
            staged = Path(scratch)
            yield staged
            files = sorted(path for path in staged.rglob("*") if path.is_file())
            for path in sorted(files, key=lambda path: path.name == "README.md"):
                _upload(path, f"{out.rstrip('/')}/{path.relative_to(staged).as_posix()}")
        return
    target = _local(out)
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise PlanError(_taken(out))
    with _aside(target) as staged:
        staged.mkdir()
        yield staged
        os.replace(staged, target)


@contextmanager
def _aside(target: Path) -> Iterator[Path]:
    staged = target.parent / f".{target.name}.{os.getpid()}.{time.monotonic_ns()}.tmp"
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        yield staged
    except OSError as error:  # EEXIST, ENOTDIR: a part of the path is a file
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EROFS, errno.ENOTDIR, errno.EEXIST):
            raise
        raise FatalError(
            f"cannot write {target}: {error.strerror}; free space there or give another --out. Nothing was published."
        ) from error
    finally:
        if staged.is_dir():
            shutil.rmtree(staged, ignore_errors=True)
        elif staged.exists():
            staged.unlink()


def _local(out: str) -> Path:
    return Path(out.removeprefix("file://")).expanduser().absolute()


def _taken(out: str) -> str:
    return f"{out} already holds something; give an empty or a new folder with --out, or move the old export away"


def _upload(path: Path, uri: str) -> None:
    import fsspec

    fs, target = fsspec.core.url_to_fs(uri, use_listings_cache=False, skip_instance_cache=True)
    try:
        fs.put_file(str(path), target)
    except PermissionError as error:
        raise FatalError(f"cannot write {uri}: access refused ({error}); check the store's credentials") from error
