"""One seam over disks and S3: the same behaviour behind both, and errors that say what to do."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from negscale.core.errors import FatalError
from negscale.storage.folder import Folder, open_folder


@pytest.fixture(params=["disk", "s3"])
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Folder:
    return open_folder(str(tmp_path / "run") if request.param == "disk" else request.getfixturevalue("s3_uri"))


def test_write_read_list_delete(folder: Folder) -> None:
    folder.write("data/a.bin", b"hello")
    folder.write("data/a.bin", b"hello world")
    folder.write("data/deep/b.bin", b"x")
    assert folder.read("data/a.bin") == b"hello world"
    assert folder.read_range("data/a.bin", 6, 5) == b"world"
    assert [(e.path, e.size_bytes) for e in folder.list("data")] == [("data/a.bin", 11)]
    assert folder.exists("data/a.bin")
    assert not folder.exists("data/none.bin")
    assert folder.child("data").read("a.bin") == b"hello world"
    folder.delete("data/a.bin")
    folder.delete("data/a.bin")
    assert list(folder.list("data")) == []
    assert list(folder.list("nowhere")) == []
    with pytest.raises(FileNotFoundError):
        folder.read("data/a.bin")


def test_put_if_absent_keeps_the_first(folder: Folder) -> None:
    assert folder.put_if_absent("data/s.bin", b"first")
    assert not folder.put_if_absent("data/s.bin", b"second")
    assert folder.read("data/s.bin") == b"first"
    assert [e.path for e in folder.list("data")] == ["data/s.bin"]


def test_a_full_disk_says_what_to_do(tmp_path: Path) -> None:
    mount = tmp_path / "small"
    mount.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(mount)], capture_output=True).returncode:
        pytest.skip("may not mount a small disk here")
    try:
        folder = open_folder(str(mount))
        assert folder.put_if_absent("data/small", b"x")
        with pytest.raises(FatalError, match=r"disk is full.*run_root.*same command again"):
            folder.put_if_absent("data/large", b"x" * 200_000)
        assert not folder.exists("data/large")
        assert not list((mount / "data").glob(".*.tmp")), "a part of the large file was left"
    finally:
        subprocess.run(["umount", str(mount)], check=True)


def test_a_folder_that_cannot_be_made_says_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(FatalError, match="a part of the path is a file"):
        open_folder(str(tmp_path / "file" / "run")).write("data/a", b"x")
