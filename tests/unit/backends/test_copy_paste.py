"""The copy-paste editor on drawn photographs: what is pasted, where, and that nothing else changes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from negscale.backends.compositing import light_of, relit, to_lab
from negscale.backends.copy_paste import CopyPasteConfig, CopyPasteEditor
from negscale.core.backend import Edit, EditRequest
from negscale.core.errors import ConfigError, FatalError
from negscale.core.stage import Fault
from tests.unit.backends.made_photographs import COLOURS, HEIGHT, WIDTH, ground, make_set, note

CUP, DOG, TABLE, KITE = 1, 2, 3, 4
BANK = [
    note(1, 1, CUP, (60, 130, 60, 70)), note(2, 2, CUP, (150, 120, 55, 60)), note(3, 1, DOG, (180, 120, 90, 80)),
    note(4, 2, KITE, (40, 20, 60, 50)), note(5, 3, TABLE, (60, 110, 180, 100)), note(6, 3, CUP, (120, 130, 60, 60)),  # on the table
    note(7, 3, DOG, (0, 150, 70, 80)),  # cut off by the border
    note(8, 1, DOG, (20, 20, 12, 12)),  # small
    note(9, 2, DOG, (220, 140, 70, 60), segmentation=None), note(10, 2, DOG, (220, 30, 70, 60), iscrowd=1),
    note(13, 1, CUP, (240, 150, 60, 60)),  # a third of it before or behind the dog
    note(11, 4, DOG, (100, 100, 90, 90)),  # its photograph is not there
    note(12, 3, DOG, (240, 20, 70, 60), segmentation=[[240, 20, 270, 20, 270, 80, 240, 80], [280, 20, 310, 20, 310, 80, 280, 80]]),
]  # fmt: skip
ALONE: dict[str, Any] = {"shadow": 0.0, "mirror": False}


def config_of(folder: Path, notes: list[dict[str, Any]] | None = None, **values: Any) -> CopyPasteConfig:
    annotations, images = make_set(folder, notes or BANK, missing=(4,))
    return CopyPasteConfig(annotations=str(annotations), images=str(images), **values)


def editor_of(folder: Path, notes: list[dict[str, Any]] | None = None, **values: Any) -> CopyPasteEditor:
    editor = config_of(folder, notes, **values).build()
    editor.load()
    return editor


def request(subject: str, seed: int = 0, image_id: str = "900", **size: Any) -> EditRequest:
    return EditRequest(ground(seed, **size), f"Add a {subject}.", seed, image_id, subject)


def one(editor: CopyPasteEditor, asked: EditRequest) -> Edit:
    (found,) = editor.edit([asked])
    assert isinstance(found, Edit), found
    assert found.box_xyxy_px is not None
    return found


def test_the_bank_lists_what_is_whole_and_says_what_it_left_out(tmp_path: Path) -> None:
    editor = editor_of(tmp_path)
    assert editor.bank is not None
    assert {name: [one.id for one in family] for name, family in editor.bank.by_category.items()} == {
        "cup": ["1", "2", "6"], "dining table": ["5"], "dog": ["3"], "kite": ["4"],
    }  # fmt: skip
    assert editor.bank.left_out == {
        "at_the_border": 1,
        "covered": 1,
        "in_parts": 1,
        "no_image": 1,
        "no_mask": 1,
        "small": 1,
    }
    assert editor.subjects == ("cup", "dog", "dining table", "kite")


@pytest.mark.parametrize("seed", range(6))
def test_the_object_is_where_the_edit_says_and_nothing_else_changes(tmp_path: Path, seed: int) -> None:
    editor = editor_of(tmp_path, harmonise=0.0, **ALONE)
    asked = request("dog", seed)
    before = asked.image.copy()
    edit = one(editor, asked)
    left, top, right, bottom = (int(value) for value in edit.box_xyxy_px or ())
    assert 0 <= left < right <= WIDTH
    assert 0 <= top < bottom <= HEIGHT
    assert (asked.image == before).all()
    changed = (edit.image != asked.image).any(-1)
    outside = changed.copy()
    outside[max(0, top - 2) : bottom + 2, max(0, left - 2) : right + 2] = False
    assert not outside.any()
    rows, columns = np.nonzero(changed)
    assert abs(rows.min() - top) <= 3
    assert abs(columns.max() + 1 - right) <= 3
    middle = edit.image[(top + bottom) // 2, (left + right) // 2].astype(int)
    assert np.abs(middle - COLOURS[DOG]).max() <= 6


def test_an_edit_is_a_function_of_its_request_alone(tmp_path: Path) -> None:
    editor = editor_of(tmp_path)
    asked = [request("cup", seed) for seed in range(4)]
    together = editor.edit(asked)
    fresh = editor_of(tmp_path)
    for number in (3, 0, 2, 1):
        (alone,) = fresh.edit([asked[number]])
        mate = together[number]
        assert isinstance(alone, Edit)
        assert isinstance(mate, Edit)
        assert (alone.image == mate.image).all()
        assert alone.box_xyxy_px == mate.box_xyxy_px
    boxes = {edit.box_xyxy_px for edit in together if isinstance(edit, Edit)}
    assert len(boxes) == 4


def test_names_are_those_of_the_bank_plurals_and_synonyms(tmp_path: Path) -> None:
    editor = editor_of(tmp_path)
    found = editor.edit(
        [request("cups"), request("zebra"), request(""), EditRequest(np.zeros((4, 4), np.uint8), "", 0, "", "cup")]
    )
    assert isinstance(found[0], Edit)
    assert [fault.kind for fault in found if isinstance(fault, Fault)] == [
        "unknown_subject",
        "unknown_subject",
        "bad_pixels",
    ]
    assert isinstance(found[1], Fault)
    assert "cup, dog, dining table, kite" in found[1].message


def test_an_instance_never_goes_back_into_its_own_image(tmp_path: Path) -> None:
    editor = editor_of(tmp_path)
    (fault,) = editor.edit([request("dog", image_id="000000000001")])
    assert isinstance(fault, Fault)
    assert fault.kind == "no_instance"
    assert isinstance(editor.edit([request("dog", image_id="000000000002")])[0], Edit)


@pytest.mark.parametrize("size", [(18, 18), (20, 4000)])
def test_an_image_without_room_is_a_fault(tmp_path: Path, size: tuple[int, int]) -> None:
    (fault,) = editor_of(tmp_path).edit([request("dog", height=size[0], width=size[1])])
    assert isinstance(fault, Fault)
    assert fault.kind == "no_place"


def test_known_large_instances_are_not_covered(tmp_path: Path) -> None:
    large = (100.0, 60.0, 120.0, 150.0)
    targets, _ = make_set(tmp_path / "targets", [note(1, 900, DOG, large)])
    editor = editor_of(tmp_path, targets=str(targets), **ALONE)
    blind = editor_of(tmp_path, **ALONE)
    hidden = {"knows": 0.0, "does not": 0.0}
    for seed in range(25):
        for name, who in (("knows", editor), ("does not", blind)):
            left, top, right, bottom = one(who, request("cup", seed)).box_xyxy_px or (0.0,) * 4
            across = max(0.0, min(right, large[0] + large[2]) - max(left, large[0]))
            down = max(0.0, min(bottom, large[1] + large[3]) - max(top, large[1]))
            share = across * down / (large[2] * large[3])
            hidden[name] = max(hidden[name], share)
    assert hidden["knows"] <= 0.5
    covering = editor_of(tmp_path, targets=str(targets), placement={"max_hidden": 0.0, "large": 0.001}, **ALONE)
    for seed in range(10):
        left, top, right, bottom = one(covering, request("cup", seed)).box_xyxy_px or (0.0,) * 4
        assert right <= 100 + 1 or left >= 220 - 1 or bottom <= 60 + 1 or top >= 210 - 1


def test_light_is_made_up_for_in_part(tmp_path: Path) -> None:
    dark = EditRequest(ground(5, light=-90), "Add a dog.", 5, "900", "dog")
    means = []
    for strength in (0.0, 0.5, 1.0):
        edit = one(editor_of(tmp_path, harmonise=strength, **ALONE), dark)
        left, top, right, bottom = (int(v) for v in edit.box_xyxy_px or ())
        across, down = (right - left) // 4, (bottom - top) // 4
        means.append(to_lab(edit.image[top + down : bottom - down, left + across : right - across])[..., 0].mean())
    assert means[0] > means[1] + 3
    assert means[1] > means[2] + 3
    same = light_of(ground(1))
    pixels = ground(2, 8, 8)
    assert np.abs(relit(pixels, same, same, 1.0).astype(int) - pixels).max() <= 1


def test_a_shadow_lies_at_the_foot_of_what_stands(tmp_path: Path) -> None:
    def darkened(subject: str) -> int:
        plain = one(editor_of(tmp_path, shadow=0.0, mirror=False), request(subject, 3))
        shaded = one(editor_of(tmp_path, shadow=0.6, mirror=False), request(subject, 3))
        assert plain.box_xyxy_px == shaded.box_xyxy_px
        return int((shaded.image.astype(int).sum(-1) < plain.image.astype(int).sum(-1) - 30).sum())

    assert darkened("dog") > 20
    assert darkened("kite") == 0


def test_run_lengths_are_masks_too(tmp_path: Path) -> None:
    mask = np.zeros((HEIGHT, WIDTH), bool)
    mask[130:200, 60:120] = True
    flat = np.flatnonzero(np.diff(mask.T.ravel().astype(int), prepend=0, append=0))
    counts = np.diff(flat, prepend=0, append=HEIGHT * WIDTH).tolist()
    notes = [note(1, 1, CUP, (60, 130, 60, 70), segmentation={"counts": counts, "size": [HEIGHT, WIDTH]})]
    edit = one(editor_of(tmp_path, notes, **ALONE), request("cup"))
    left, top, right, bottom = edit.box_xyxy_px or (0.0,) * 4
    assert (right - left) / (bottom - top) == pytest.approx(60 / 70, abs=0.1)
    wrong = [note(1, 1, CUP, (60, 130, 60, 70), segmentation={"counts": [100], "size": [10, 10]})]
    (fault,) = editor_of(tmp_path / "wrong", wrong).edit([request("cup")])
    assert isinstance(fault, Fault)
    assert "an image of [10, 10]" in fault.message


def test_the_id_follows_bank_photographs_and_rules(tmp_path: Path) -> None:
    config = config_of(tmp_path)
    first = config.build().id
    assert first == config_of(tmp_path).build().id
    assert first != config.model_copy(update={"harmonise": 0.9}).build().id
    moved = config_of(tmp_path / "elsewhere")
    assert first == moved.build().id  # where the files lie bears no identity
    (tmp_path / "photographs" / "000000000003.png").write_bytes(b"other")
    assert first != config.build().id
    assert moved.build().id != config_of(tmp_path / "elsewhere", BANK[:-1]).build().id


def test_what_cannot_be_used_is_named(tmp_path: Path) -> None:
    config = config_of(tmp_path)
    with pytest.raises(FatalError, match="call load"):
        config.build().edit([request("cup")])
    with pytest.raises(ConfigError, match=r"editor\.annotations is empty"):
        CopyPasteConfig(images=config.images).build().load()
    with pytest.raises(ConfigError, match=r"editor\.images is empty"):
        CopyPasteConfig(annotations=config.annotations).build().load()
    with pytest.raises(ConfigError, match=r"no file in .*nowhere"):
        config.model_copy(update={"images": str(tmp_path / "nowhere")}).build().load()
    with pytest.raises(ConfigError, match=r"no instance of .* can be pasted"):
        config_of(
            tmp_path / "crowds", [note(1, 1, CUP, (60, 130, 60, 70), iscrowd=1), note(2, 1, DOG, (1, 1, 5, 5))]
        ).build().load()
    bad = tmp_path / "bad.json"
    bad.write_text(
        json.dumps({"images": [{"id": 1}], "annotations": [{"image_id": 1, "bbox": [1, 1, 9, 9]}], "categories": []})
    )
    with pytest.raises(ConfigError, match=r"give instances_<split>\.json"):
        config.model_copy(update={"annotations": str(bad)}).build().load()


@pytest.mark.real_data
def test_real_photographs_take_real_objects(shared_data: Path) -> None:
    from negscale.datasets.images import ImageReader

    coco = shared_data / "coco"
    config = CopyPasteConfig(
        annotations=str(coco / "annotations/instances_train2017.json"), images=str(coco / "train2017"),
        targets=str(coco / "annotations/instances_val2017.json"),
    )  # fmt: skip
    editor = config.build()
    editor.load()
    assert editor.bank is not None
    assert len(editor.bank) > 250
    assert len(editor.subjects) > 70
    reader = ImageReader(str(coco / "val2017"))
    names = sorted(path.name for path in (coco / "val2017").iterdir())[:10]
    asked = [
        EditRequest(reader.read({"uri": name}), "", 7, name, editor.subjects[7 * k]) for k, name in enumerate(names)
    ]
    for wanted, edit in zip(asked, editor.edit(asked), strict=True):
        assert isinstance(edit, Edit), edit
        left, top, right, bottom = edit.box_xyxy_px or (0.0,) * 4
        height, width = wanted.image.shape[:2]
        share = (right - left) * (bottom - top) / (height * width)
        assert 0.001 < share < 0.5
        changed = (edit.image != wanted.image).any(-1)
        assert changed[int(top) : int(bottom), int(left) : int(right)].mean() > 0.2
        assert changed.mean() < 1.5 * share + 0.1


def test_the_shipped_fragment_fits_the_recipe(tmp_path: Path) -> None:
    from negscale import app

    _, config = app.load_config("nein", ["backends/nein_photos_cpu"], [f"editor.annotations={tmp_path}/x.json"])
    assert isinstance(config.editor, CopyPasteConfig)
    assert config.filter.matcher is None
