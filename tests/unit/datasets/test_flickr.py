"""Flickr8k and Flickr30k as they are distributed: `image_folder` reads both."""

from __future__ import annotations

from pathlib import Path

from negscale.datasets.folder import FolderConfig
from tests.unit.datasets.layouts import kinds, picture, read_all


def test_flickr30k(tmp_path: Path) -> None:
    (tmp_path / "flickr30k_images").mkdir()
    lines = []
    for n, name in enumerate(("1000092795.jpg", "10002456.jpg")):
        (tmp_path / "flickr30k_images" / name).write_bytes(picture(n))
        lines += [f"{name}#{k}\tCaption {k} , of image {n} ." for k in range(5)]
    (tmp_path / "results_20130124.token").write_text("\n".join(lines) + "\n")
    config = FolderConfig(root=str(tmp_path), captions="results_20130124.token", image_folder="flickr30k_images")
    rows = read_all(config.build())
    assert [row["caption"] for row in rows] == [line.split("\t")[1] for line in lines]
    assert not any(kinds(rows))
    assert all(len(row["image_captions"]) == 5 for row in rows)
    assert (config.reader().read(rows[9]["image"]) == 1).all()


def test_flickr8k_token_file_and_csv_say_the_same(tmp_path: Path) -> None:
    (tmp_path / "Images").mkdir()
    (tmp_path / "Images" / "a.jpg").write_bytes(picture(3))
    (tmp_path / "Flickr8k.token.txt").write_text("a.jpg#0\tA dog .\na.jpg#1\tTwo , no three dogs .\n")
    (tmp_path / "captions.csv").write_text('image,caption\na.jpg,A dog .\na.jpg,"Two , no three dogs ."\n')
    token, table = (
        read_all(FolderConfig(root=str(tmp_path), captions=name, image_folder="Images").build())
        for name in ("Flickr8k.token.txt", "captions.csv")
    )
    assert token == table
    assert len(token) == 2
