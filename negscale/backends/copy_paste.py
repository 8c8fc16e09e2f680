"""An `ImageEditor` for photographs without a GPU: it pastes a real instance of the object that the instruction names.

Stands where NeIn (Bui et al., arXiv 2409.06481, section 3.1) lets InstructPix2Pix paint "Add a dog.". What differs: the
object is a photograph of one, cut out by its annotated mask, so that it is there for certain and its place is known; the
rest of the image keeps every pixel. It reads no words but the request's `subject`. Size and place come from the bank's
annotations and, where they are given, from those of the edited image.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Sequence
from functools import cached_property
from typing import Any, Literal

import numpy as np
from pydantic import Field

from negscale.backends.compositing import Cutout, Light, cut_out, light_of, paste
from negscale.backends.corpora import image_key, read_bytes
from negscale.backends.instance_bank import Bank, BankRules, Instance, annotated_instances, build_bank
from negscale.backends.pixels import pixel_fault
from negscale.backends.placement import Ground, Place, PlacementRules, find_place
from negscale.backends.scene_statistics import bottom_of, fit_statistics
from negscale.backends.vocabulary import Vocabulary
from negscale.core.backend import Edit, EditRequest, Image
from negscale.core.boxes import area
from negscale.core.config import Config, Location
from negscale.core.errors import ConfigError, FatalError
from negscale.core.image import ImageError
from negscale.core.rng import rng_for
from negscale.core.stage import Fault, Resources
from negscale.datasets.images import ImageReader
from negscale.storage.folder import open_folder

VERSION = 1
_CUTOUTS = 256  # kept decoded
_ONE_SIDED = frozenset(
    {"stop sign", "clock", "keyboard", "book", "parking meter", "tv", "laptop", "cell phone", "remote"}
)


class CopyPasteConfig(Config):
    """Pastes annotated instances of photographs."""

    kind: Literal["copy_paste"] = "copy_paste"
    annotations: Location = ""
    """instances_*.json in COCO's format: what may be pasted. Not of the set that is edited, nor of one that is tested on."""
    images: Location = ""
    """Folder of the photographs that `annotations` names."""
    targets: Location = ""
    """instances_*.json of the images that are edited, for sizes and places; empty = those are not known."""
    bank: BankRules = BankRules()
    placement: PlacementRules = PlacementRules()
    candidates: int = Field(default=6, ge=1)
    """Instances drawn for an edit; the one that suits the image best is pasted."""
    feather: float = Field(default=0.02, ge=0, le=0.5)
    """Width of the soft edge as a share of the pasted object's size; at least one pixel unless it is 0."""
    harmonise: float = Field(default=0.4, ge=0, le=1)
    """Share of the difference in light between the two photographs that is made up for; 0 = the object as it was."""
    shadow: float = Field(default=0.4, ge=0, le=1)
    """Darkness of the ground at the foot of what stands on something; 0 = no shadow."""
    mirror: bool = True
    """Half of the objects are mirrored, those that carry writing never."""

    def content(self) -> dict[str, Any]:
        """Hashes of the annotations and of the photographs' names and sizes."""
        data = read_bytes(self.annotations, "editor.annotations")
        there = sorted(self.listed().items())
        listing = "".join(f"{name}\t{size}\n" for name, size in there)
        facts = {
            "annotations_sha256": hashlib.sha256(data).hexdigest(),
            "images_sha256": hashlib.sha256(listing.encode()).hexdigest(),
        }
        if self.targets:
            facts["targets_sha256"] = hashlib.sha256(read_bytes(self.targets, "editor.targets")).hexdigest()
        return facts

    def listed(self) -> dict[str, int]:
        """File name -> bytes of what lies in `images`. Raises ConfigError when nothing does."""
        if not self.images:
            raise ConfigError("editor.images is empty; set it to the folder of the photographs of editor.annotations")
        try:
            found = {entry.path: entry.size_bytes for entry in open_folder(self.images).list()}
        except (FileNotFoundError, NotADirectoryError):
            found = {}
        if not found:
            raise ConfigError(f"editor.images: there is no file in {self.images!r}; give the folder of the photographs")
        return found

    def build(self) -> CopyPasteEditor:
        """The editor, not loaded yet."""
        return CopyPasteEditor(self)

    def resources(self) -> Resources:
        """One core; about a tenth of a second an edit."""
        return Resources(cpus=1.0, row_ms=100.0)


class CopyPasteEditor:
    """See the module's docstring. An edit is a function of its request alone."""

    exact = True

    def __init__(self, config: CopyPasteConfig) -> None:
        self._config = config
        self.bank: Bank | None = None
        self._known: dict[str, list[Instance]] = {}
        self._cutouts: OrderedDict[str, Cutout | str] = OrderedDict()

    @property
    def id(self) -> str:
        """Version and a hash of the bank: annotations, photographs, rules."""
        return self._id

    @cached_property
    def _id(self) -> str:
        facts = repr(sorted(self._config.identity().items()))
        return f"copy_paste@{VERSION}/{hashlib.sha256(facts.encode()).hexdigest()[:12]}"

    def load(self) -> None:
        """Read the annotations and list the bank. Raises ConfigError when it is empty or a file is not of its format."""
        config = self._config
        data = read_bytes(config.annotations, "editor.annotations")
        instances, names = annotated_instances(data, config.annotations)
        self.bank = build_bank(instances, config.bank, config.listed())
        if not len(self.bank):
            raise ConfigError(
                f"editor: no instance of {config.annotations!r} can be pasted ({dict(self.bank.left_out)}); give "
                f"annotations with masks of the photographs in {config.images!r}, or relax editor.bank"
            )
        self._statistics = fit_statistics(instances)
        self._vocabulary = Vocabulary([name for name in names if name in self.bank.by_category])
        self._reader = ImageReader(config.images)
        if config.targets:
            known, _ = annotated_instances(read_bytes(config.targets, "editor.targets"), config.targets)
            for one in known:
                self._known.setdefault(one.image_id, []).append(one)

    def close(self) -> None:
        """Drop bank and cutouts."""
        self.bank, self._known = None, {}
        self._cutouts.clear()

    @property
    def subjects(self) -> tuple[str, ...]:
        """The classes that the bank can paste."""
        return self._vocabulary.names

    def edit(self, requests: Sequence[EditRequest]) -> list[Edit | Fault]:
        """Each image with an instance of its request's `subject`. Faults: unknown_subject, no_instance, no_place, bad_pixels."""
        if self.bank is None:
            raise FatalError(f"{self.id}: edit() on an editor that is not loaded; call load() first")
        return [self._edit(request, self.bank) for request in requests]

    def _edit(self, request: EditRequest, bank: Bank) -> Edit | Fault:
        broken = pixel_fault(request.image, request.image_id)
        if broken is not None:
            return broken
        category = self._vocabulary.find(request.subject)
        if category is None:
            return Fault(
                "unknown_subject",
                f"the bank has no {request.subject!r}; its {len(self.subjects)} classes are {', '.join(self.subjects)}",
            )
        key = image_key(request.image_id)
        family = [one for one in bank.by_category[category] if one.image_id != key]
        if not family:
            return Fault("no_instance", f"every {category!r} of the bank is from image {request.image_id!r} itself")
        rng = rng_for(request.seed, "copy_paste")
        drawn = [family[int(k)] for k in rng.permutation(len(family))[: self._config.candidates]]
        known = self._fitting(key, request.image)
        ground, light = Ground(request.image), light_of(request.image)
        rules, problem = self._config.placement, "the image has no room for it"
        offers: list[tuple[float, Instance, Cutout, Place]] = []
        for one in drawn:
            cutout = self._cutout(one)
            if isinstance(cutout, str):
                problem = cutout
                continue
            place = find_place(one, request.image, ground, cutout.colour, known, self._statistics, rules, rng)
            if place is not None:
                strange = _strangeness(one, cutout, place, request.image.shape[0], light)
                offers.append((place.cost + strange, one, cutout, place))
        for _, one, cutout, place in sorted(offers, key=lambda offer: offer[0]):
            mirrored = self._config.mirror and category not in _ONE_SIDED and bool(rng.random() < 0.5)
            feather = max(1.0, self._config.feather * area(place.box) ** 0.5) if self._config.feather else 0.0
            shadow = self._config.shadow if self._statistics.grounded(category) else 0.0
            try:
                image, box = paste(request.image, cutout, place.box, feather, self._config.harmonise, mirrored, shadow)
            except ValueError as error:
                problem = f"instance {one.id}: {error}"
                continue
            return Edit(image, box)
        return Fault("no_place", f"none of {len(drawn)} instances of {category!r} could be pasted: {problem}")

    def _fitting(self, key: str, image: Image) -> list[Instance]:
        """What is known of the image, in its own pixels: it may have been scaled since it was annotated."""
        height, width = image.shape[:2]
        known = self._known.get(key, [])
        if not known or known[0].image_hw == (height, width):
            return known
        down, across = height / known[0].image_hw[0], width / known[0].image_hw[1]
        return [
            Instance(
                one.id, one.image, one.image_id, one.category,
                (one.box[0] * across, one.box[1] * down, one.box[2] * across, one.box[3] * down), (height, width),
            )
            for one in known
        ]  # fmt: skip

    def _cutout(self, one: Instance) -> Cutout | str:
        """The instance cut out, or why it cannot be."""
        if one.id in self._cutouts:
            self._cutouts.move_to_end(one.id)
            return self._cutouts[one.id]
        try:
            found: Cutout | str = cut_out(one, self._reader.read({"uri": one.image}))
        except (ImageError, ValueError) as error:
            found = f"instance {one.id} of {one.image}: {error}"
        self._cutouts[one.id] = found
        if len(self._cutouts) > _CUTOUTS:
            self._cutouts.popitem(last=False)
        return found


def _strangeness(one: Instance, cutout: Cutout, place: Place, height_px: int, light: Light) -> float:
    """How unlike its own photograph the instance would stand: light, height in the picture, change of size."""
    lightness = abs(float(light.mean[0] - cutout.light.mean[0])) / 50
    bottom = (place.box[1] + place.box[3]) / height_px - bottom_of(one)
    scale = abs(float(np.log(place.box[2] / one.box[2])))
    return round(lightness + abs(bottom) + 0.25 * scale, 6)
