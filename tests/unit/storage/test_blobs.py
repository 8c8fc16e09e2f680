from __future__ import annotations

import os
import tarfile
import tracemalloc
from hashlib import sha256
from pathlib import Path

import pytest

from negscale.core.errors import FatalError
from negscale.storage.blobs import Spool, TarBlob
from negscale.storage.folder import open_folder

BODIES = [os.urandom(n) for n in (1, 511, 512, 513, 100_000, 7, 40_000)]


@pytest.mark.parametrize("memory_bytes", [0, 1, 1000, 1025, 110_000, 1 << 20])
@pytest.mark.parametrize("chunk", [100, 1 << 20])
def test_a_spool_gives_back_what_it_got(memory_bytes: int, chunk: int) -> None:
    spool = Spool(memory_bytes=memory_bytes)
    places = [spool.append(data[i : i + chunk] for i in range(0, len(data), chunk)) for data in BODIES]
    for (at, length), data in reversed([*zip(places, BODIES, strict=True)]):
        assert spool.read(at, length) == data
    spool.close()


def test_a_spool_holds_no_more_than_its_budget() -> None:
    tracemalloc.start()
    spool = Spool(memory_bytes=1 << 20)
    for n in range(200):
        spool.append([bytes([n]) * 100_000])
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    spool.close()
    assert peak < 2 << 20


def write(folder: str, bodies: list[bytes]) -> tuple[str, list[int]]:
    with TarBlob(open_folder(folder), "images") as blob:
        offsets = [blob.add(data, sha256(data).digest(), "bin") for data in bodies]
        return blob.commit(), offsets


def test_members_lie_where_it_says_and_equal_ones_once(tmp_path: Path) -> None:
    uri, offsets = write(str(tmp_path), [*BODIES, BODIES[3]])
    data = (tmp_path / uri).read_bytes()
    assert [data[at : at + len(body)] for at, body in zip(offsets, BODIES, strict=False)] == BODIES
    assert offsets[-1] == offsets[3]
    with tarfile.open(tmp_path / uri) as tar:
        assert [m.name for m in tar] == [f"{sha256(body).hexdigest()}.bin" for body in BODIES]


def test_headers_are_those_of_tarfile(tmp_path: Path) -> None:
    uri, offsets = write(str(tmp_path), BODIES)
    data = (tmp_path / uri).read_bytes()
    for at, body in zip(offsets, BODIES, strict=True):
        info = tarfile.TarInfo(f"{sha256(body).hexdigest()}.bin")
        info.size = len(body)
        assert data[at - tarfile.BLOCKSIZE : at] == info.tobuf(tarfile.USTAR_FORMAT)


def test_the_name_is_the_content(tmp_path: Path) -> None:
    first, again, other = (write(str(tmp_path), bodies)[0] for bodies in (BODIES, BODIES, BODIES[::-1]))
    assert first == again != other
    assert sorted(p.name for p in (tmp_path / "images").iterdir()) == sorted(Path(uri).name for uri in (first, other))


def test_a_writer_that_does_not_commit_leaves_nothing(tmp_path: Path) -> None:
    with TarBlob(open_folder(str(tmp_path)), "images") as blob:
        blob.add(b"x", sha256(b"x").digest(), "bin")  # and no commit
    assert not list((tmp_path / "images").iterdir())
    (tmp_path / "file").write_text("")
    with pytest.raises(FatalError, match="cannot store images"):
        TarBlob(open_folder(str(tmp_path / "file")), "images")


def test_object_stores(s3_uri: str) -> None:
    first, again = write(s3_uri, BODIES), write(s3_uri, BODIES)
    assert first == again
    assert open_folder(s3_uri).read_range(first[0], first[1][4], 100_000) == BODIES[4]
