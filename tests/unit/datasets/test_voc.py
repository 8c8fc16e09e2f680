from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from negscale.core.errors import ConfigError
from negscale.core.schema import ENVELOPE, IMAGE_OBJECTS
from negscale.datasets.voc import VocConfig
from negscale.datasets.voc_xml import VocXmlError, parse_annotation
from tests.unit.datasets.layouts import kinds, picture


def annotation(name: str, *objects: str, size: str = "<width>8</width><height>6</height>") -> str:
    inside = "".join(objects)
    return f"""<annotation>
	<folder>VOC2007</folder><filename>{name}.jpg</filename>
	<source><database>The VOC2007 Database</database></source>
	<size>{size}<depth>3</depth></size><segmented>0</segmented>
	{inside}</annotation>"""


def an_object(name: str, difficult: int = 0, parts: str = "") -> str:
    return (
        f"<object><name>{name}</name><pose>Unspecified</pose><difficult>{difficult}</difficult>"
        f"<bndbox><xmin>1</xmin><ymin>1</ymin><xmax>4</xmax><ymax>4</ymax></bndbox>{parts}</object>"
    )


BOMB = """<?xml version="1.0"?><!DOCTYPE lolz [<!ENTITY lol "lol"><!ENTITY lol2 "&lol;&lol;&lol;&lol;&lol;&lol;&lol;&lol;">]>
<annotation><filename>&lol2;</filename></annotation>"""
EXTERNAL = """<!DOCTYPE a [<!ENTITY f SYSTEM "file:///etc/passwd">]><annotation><filename>&f;</filename></annotation>"""


def write_voc(root: Path, annotations: dict[str, str | None], split: str = "test") -> None:
    for folder in ("Annotations", "ImageSets/Main", "JPEGImages"):
        (root / folder).mkdir(parents=True)
    (root / "ImageSets/Main" / f"{split}.txt").write_text("".join(f"{name}\n" for name in annotations))
    for name, text in annotations.items():
        (root / "JPEGImages" / f"{name}.jpg").write_bytes(picture(9))
        if text is not None:
            (root / "Annotations" / f"{name}.xml").write_text(text)


def rows_of(root: Path, **config: Any) -> list[dict[str, Any]]:
    source = VocConfig(root=str(root), **config).build()
    listing = source.list()
    assert listing.index is not None
    found, at = [], 0
    for shard in listing.shards:
        table = source.read(shard, listing.index.slice(at, shard.rows))
        assert table.schema.equals(pa.schema([*ENVELOPE, *IMAGE_OBJECTS]))
        found += table.to_pylist()
        at += shard.rows
    return found


def test_rows_are_images_with_their_objects(tmp_path: Path) -> None:
    head = "<part><name>head</name><bndbox><xmin>1</xmin></bndbox></part>"
    write_voc(tmp_path, {
        "000001": annotation("000001", an_object("dog"), an_object("person", parts=head), an_object("dog")),
        "000002": annotation("000002", an_object("chair", difficult=1), an_object("sofa")),
        "000003": annotation("000003"),
    })  # fmt: skip
    rows = rows_of(tmp_path, split="test", shard_rows=2)
    assert [(r["id"], r["objects"]) for r in rows] == [
        ("000001", ["dog", "person"]), ("000002", ["chair", "sofa"]), ("000003", []),
    ]  # fmt: skip
    assert [r["objects"] for r in rows_of(tmp_path, split="test", difficult=False)][1] == ["sofa"]
    assert (rows[0]["image"]["height_px"], rows[0]["image"]["width_px"]) == (6, 8)
    assert VocConfig(root=str(tmp_path)).reader().read(rows[2]["image"]).shape == (8, 8, 3)


def test_bad_annotations_break_their_row_and_no_other(tmp_path: Path) -> None:
    write_voc(tmp_path, {
        "ok": annotation("ok", an_object("cat")), "bomb": BOMB, "external": EXTERNAL, "none": None, "cut": "<annotation><obj",
        "empty": "", "other": "<html></html>", "nameless": annotation("x", "<object><pose>Left</pose></object>"),
        "huge": annotation("x", "<!--" + "x" * 1_100_000 + "-->"), "deep": "<annotation>" + "<a>" * 50,
        "charset": "<?xml version='1.0' encoding='no-such'?><annotation/>",
    })  # fmt: skip
    rows = rows_of(tmp_path, split="test")
    assert dict(zip([r["id"] for r in rows], kinds(rows), strict=True)) == {
        "ok": None, "bomb": "forbidden_doctype", "external": "forbidden_doctype", "none": "missing_annotation",
        "cut": "schema", "empty": "schema", "other": "schema", "nameless": "schema", "huge": "oversized_xml",
        "deep": "schema", "charset": "schema",
    }  # fmt: skip
    assert rows[0]["objects"] == ["cat"]


def test_sizes_that_are_no_numbers_are_left_out() -> None:
    found = parse_annotation(annotation("x", size="<width>-1</width><height>99999999999</height>").encode())
    assert (found.height_px, found.width_px) == (None, None)
    with pytest.raises(VocXmlError, match="document type"):
        parse_annotation(BOMB.encode("utf-16"))


def test_splits_are_checked(tmp_path: Path) -> None:
    write_voc(tmp_path, {"000001": annotation("000001")})
    with pytest.raises(ConfigError, match=r"no file .*trainval.txt; splits there: test"):
        VocConfig(root=str(tmp_path)).build().list()
    (tmp_path / "ImageSets/Main/dog_test.txt").write_text("000001 -1\n")
    assert [r["id"] for r in rows_of(tmp_path, split="dog_test")] == ["000001"]
    (tmp_path / "ImageSets/Main/bad.txt").write_text("../../secret\n")
    with pytest.raises(ConfigError, match="line 1 is no image name"):
        VocConfig(root=str(tmp_path), split="bad").build().list()
