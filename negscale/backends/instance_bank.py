"""A bank of objects to paste: the instances of an annotated image set that are whole, large enough and not hidden.

Copy-paste as in Dwibedi et al. ("Cut, Paste and Learn", arXiv 1708.01642) and Ghiasi et al. (arXiv 2012.07177). What
differs: those paste any instance anywhere, to train detectors; here a pasted object is to be taken for a part of the
photograph, so that instances cut by the image's border, hidden by others, or in several parts are left out.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from pydantic import Field

from negscale.backends.corpora import image_key
from negscale.backends.instance_masks import polygon_areas
from negscale.core.boxes import Box, area, as_box, intersection
from negscale.core.config import Config
from negscale.core.errors import ConfigError
from negscale.core.rng import seed_for
from negscale.datasets.coco import parse_coco

_WITHIN, _SMALL = 0.95, 0.35  # a cup on a table: the table's box covers it whole, the table hides nothing of it


class BankRules(Config):
    """Which instances may be pasted."""

    min_side_px: float = Field(default=40.0, gt=0)
    """Least square root of the box's area."""
    border_px: float = Field(default=3.0, ge=0)
    """Instances whose box comes as near to the image's border are cut off by it."""
    max_covered: float = Field(default=0.25, ge=0, le=1)
    """Largest share of the box that another instance's box may overlap: what stands in front leaves a hole."""
    least_per_class: int = Field(default=2, ge=0)
    """A class with fewer instances takes its least covered ones up to `max_covered_rare`."""
    max_covered_rare: float = Field(default=0.5, ge=0, le=1)
    """As `max_covered`, for classes with too few instances."""
    main_part: float = Field(default=0.9, gt=0, le=1)
    """Least share of the mask's area in its largest polygon."""
    per_class: int = Field(default=1000, ge=1)
    """Instances kept of a class, drawn by the hash of their ids."""


@dataclass(frozen=True, slots=True)
class Instance:
    """One annotated object of an image."""

    id: str
    image: str  # file name below the image folder
    image_id: str  # the key that names the image in every corpus
    category: str
    box: Box  # x, y, w, h in pixels
    image_hw: tuple[int, int]
    segmentation: Any = field(repr=False, default=None)
    covered: float = 0.0  # largest share of the box that another instance's box overlaps


@dataclass(frozen=True)
class Bank:
    """Instances by class, in the order of their ids."""

    by_category: Mapping[str, tuple[Instance, ...]]
    left_out: Mapping[str, int]  # reason -> instances

    def __len__(self) -> int:
        return sum(map(len, self.by_category.values()))


def annotated_instances(data: bytes, name: str) -> tuple[list[Instance], tuple[str, ...]]:
    """(every instance of a COCO instances file that is no crowd and has a box, the names of its classes).

    Raises ConfigError naming the file when it is not of that format.
    """
    document = parse_coco(data, name, ("images", "annotations", "categories"))
    try:
        images = {image["id"]: image for image in document["images"]}
        names = {category["id"]: category["name"] for category in document["categories"]}
        found = []
        for number, note in enumerate(document["annotations"]):
            image, box = images.get(note["image_id"]), as_box(note.get("bbox"))
            if image is None or box is None or note.get("iscrowd"):
                continue
            found.append(
                Instance(
                    str(note.get("id", f"entry-{number}")), image["file_name"], image_key(image["file_name"]),
                    names[note["category_id"]], box, (int(image["height"]), int(image["width"])),
                    note.get("segmentation"),
                )
            )  # fmt: skip
    except (KeyError, TypeError, ValueError) as error:
        raise ConfigError(
            f"{name}: an entry is not as in COCO's instances files ({type(error).__name__}: {error}); "
            f"give instances_<split>.json"
        ) from error
    return found, tuple(names.values())


def build_bank(instances: Collection[Instance], rules: BankRules, images: Collection[str]) -> Bank:
    """The instances that `rules` let pass and whose image is among the file names `images`."""
    left_out: Counter[str] = Counter()
    by_category: dict[str, list[Instance]] = {}
    for instance in _with_cover(instances):
        reason = _unfit(instance, rules, images)
        if reason:
            left_out[reason] += 1
        else:
            by_category.setdefault(instance.category, []).append(instance)
    kept: dict[str, tuple[Instance, ...]] = {}
    for category in sorted(by_category):
        whole = sorted(by_category[category], key=lambda one: (one.covered, one.id))
        free = sum(one.covered <= rules.max_covered for one in whole)
        spare = [one for one in whole[free:] if one.covered <= rules.max_covered_rare]
        chosen = [*whole[:free], *spare[: max(0, rules.least_per_class - free)]]
        left_out["covered"] += len(whole) - len(chosen)
        if not chosen:
            continue
        drawn = sorted(chosen, key=lambda one: seed_for(0, "bank", one.id))[: rules.per_class]
        left_out["per_class"] += len(chosen) - len(drawn)
        kept[category] = tuple(sorted(drawn, key=lambda one: one.id))
    return Bank(kept, {reason: count for reason, count in sorted(left_out.items()) if count})


def _with_cover(instances: Collection[Instance]) -> list[Instance]:
    by_image: dict[str, list[Instance]] = {}
    for one in instances:
        by_image.setdefault(one.image, []).append(one)
    return [
        replace(one, covered=max((_cover(one, other) for other in family if other is not one), default=0.0))
        for family in by_image.values() for one in family
    ]  # fmt: skip


def _cover(one: Instance, other: Instance) -> float:
    """Share of the box of `one` that `other` may hide; 0 where `one` lies within a much larger one: it stands on it."""
    share = intersection(one.box, other.box) / area(one.box)
    return 0.0 if share > _WITHIN and area(one.box) < _SMALL * area(other.box) else share


def _unfit(one: Instance, rules: BankRules, images: Collection[str]) -> str | None:
    """Why the instance may not be pasted."""
    height, width = one.image_hw
    left, top, w, h = one.box
    if not one.segmentation:
        return "no_mask"
    if area(one.box) < rules.min_side_px**2:
        return "small"
    if min(left, top, width - left - w, height - top - h) < rules.border_px:
        return "at_the_border"
    if not isinstance(one.segmentation, Mapping):
        try:
            areas = polygon_areas(one.segmentation)
        except (TypeError, ValueError):
            return "bad_mask"
        if max(areas) < rules.main_part * sum(areas) or not max(areas):
            return "in_parts"
    return None if one.image in images else "no_image"
