"""What must not be trained on: the images and texts of benchmark files, ready to be asked."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

import numpy as np
from pydantic import Field

from negscale.core.config import Config
from negscale.core.image import ImageError, decode
from negscale.datasets.images import ImageReader
from negscale.guard.benchmarks import BenchmarkFile, Entry, image_key
from negscale.guard.hashes import HammingIndex, perceptual_hash
from negscale.guard.texts import NearCaptions, key_of, normalise
from negscale.storage.folder import open_folder

_THREADS = 8
_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff", ".avif")


class GuardConfig(Config):
    """What counts as an overlap."""

    radius: int = Field(default=8, ge=0, le=15)
    """Bits of 64 in which perceptual hashes of one photograph may differ."""
    mirrored: bool = True
    """Also find mirrored photographs."""
    caption_min_words: int = Field(default=5, ge=1)
    """Shorter captions ("a red car") coincide by chance and are no evidence."""
    near_captions: float = Field(default=0.0, ge=0.0, le=1.0)
    """Similarity of word 3-grams (Jaccard) from which captions count as the same; 0 = only equal ones."""


@dataclass(frozen=True, slots=True)
class ImageFacts:
    """What is known of an image's bytes and pixels."""

    sha256: bytes
    perceptual: int
    mirrored: int


@dataclass(frozen=True, slots=True)
class Match:
    """Why a row overlaps: the reason, the benchmark's item, and how far apart the two are (bits, or 1 - similarity)."""

    reason: str  # image_id, image_sha256, image_perceptual, image_mirrored, caption, caption_near
    entry: Entry
    distance: float = 0.0


def facts_of(data: bytes) -> ImageFacts:
    """Hashes of an encoded image; raises ImageError."""
    one, other = perceptual_hash(decode(data))
    return ImageFacts(sha256(data).digest(), one, other)


def read_facts(reader: ImageReader, refs: Sequence[Any], threads: int = _THREADS) -> list[ImageFacts | ImageError]:
    """The facts of every image reference, or why it cannot be read."""

    def one(ref: Any) -> ImageFacts | ImageError:
        try:
            return facts_of(reader.read_bytes(ref))
        except ImageError as error:
            return error

    with ThreadPoolExecutor(threads) as pool:
        return list(pool.map(one, refs))


class Reference:
    """Benchmark files as look-up tables. Memory grows with the benchmarks, not with the rows that are asked about."""

    def __init__(self, files: Sequence[BenchmarkFile], config: GuardConfig, image_folders: Sequence[str] = ()) -> None:
        """image_folders: where the benchmarks' images lie, by path or by file name; without any, pixels are not compared."""
        self.config = config
        self._by_key: dict[str, Entry] = {}
        self._by_text: dict[bytes, Entry] = {}
        self._near = NearCaptions(config.near_captions) if config.near_captions else None
        self._near_entries: list[Entry] = []
        for entry in (entry for file in files for entry in file.entries):
            if key := image_key(entry.image):
                self._by_key.setdefault(key, entry)
            for text in entry.texts:
                self._add_text(entry, normalise(text))
        self.unread: Counter[str] = Counter()  # benchmark images that could not be compared, by kind
        self._by_sha: dict[bytes, Entry] = {}
        self._hashed: list[Entry] = []
        hashes: list[int] = []
        for entry, facts in self._facts(files, image_folders):
            self._by_sha.setdefault(facts.sha256, entry)
            self._hashed.append(entry)
            hashes.append(facts.perceptual)
        self._index = HammingIndex(np.array(hashes, np.uint64), config.radius)

    @property
    def images_named(self) -> int:
        """Images that are known by name."""
        return len(self._by_key)

    @property
    def images_hashed(self) -> int:
        """Images that are known by their pixels."""
        return len(self._hashed)

    @property
    def texts(self) -> int:
        """Different captions, short ones left out."""
        return len(self._by_text)

    def _add_text(self, entry: Entry, text: str) -> None:
        if text.count(" ") + 1 < self.config.caption_min_words:
            return
        key = key_of(text)
        if key in self._by_text:
            return
        self._by_text[key] = entry
        if self._near is not None:
            self._near.add(text)
            self._near_entries.append(entry)

    def _facts(self, files: Sequence[BenchmarkFile], roots: Sequence[str]) -> Iterator[tuple[Entry, ImageFacts]]:
        if not roots:
            return
        wanted: dict[str, Entry] = {}
        for entry in (entry for file in files for entry in file.entries):
            if entry.image:
                wanted.setdefault(image_key(entry.image) or f"path:{entry.image}", entry)
        found: dict[str, tuple[str, str]] = {}
        for root in roots:
            for file in open_folder(root).walk():
                if file.path.lower().endswith(_SUFFIXES):
                    key = image_key(file.path)
                    found.setdefault(key if key in wanted else f"path:{file.path}", (root, file.path))
        self.unread["missing_image"] += len(wanted.keys() - found.keys())
        for root in roots:
            mine = [(wanted[key], path) for key, (where, path) in found.items() if where == root and key in wanted]
            for at in range(0, len(mine), 256):
                part = mine[at : at + 256]
                facts = read_facts(ImageReader(root), [{"uri": path} for _, path in part])
                for (entry, _), fact in zip(part, facts, strict=True):
                    if isinstance(fact, ImageError):
                        self.unread[fact.kind] += 1
                    else:
                        yield entry, fact

    def match_names(self, *names: str | None) -> Match | None:
        """By what the image is called: COCO's number in any split, or the file name."""
        for name in names:
            entry = self._by_key.get(image_key(name)) if name else None
            if entry is not None:
                return Match("image_id", entry)
        return None

    def match_caption(self, caption: str) -> Match | None:
        """By the words of a caption."""
        text = normalise(caption)
        if text.count(" ") + 1 < self.config.caption_min_words:
            return None
        if (entry := self._by_text.get(key_of(text))) is not None:
            return Match("caption", entry)
        if self._near is not None and (found := self._near.find(text)) is not None:
            return Match("caption_near", self._near_entries[found[0]], round(1.0 - found[1], 4))
        return None

    def match_images(self, facts: Sequence[ImageFacts]) -> list[list[Match]]:
        """By bytes and pixels, for each image: the reasons that hold, at most one of each kind, the nearest entry first."""
        matches: list[list[Match]] = [[] for _ in facts]
        for number, fact in enumerate(facts):
            if (entry := self._by_sha.get(fact.sha256)) is not None:
                matches[number].append(Match("image_sha256", entry))
        ways = [("image_perceptual", [fact.perceptual for fact in facts])]
        if self.config.mirrored:
            ways.append(("image_mirrored", [fact.mirrored for fact in facts]))
        for reason, hashes in ways:
            best: dict[int, tuple[int, int]] = {}
            for number, other, apart in zip(*self._index.near(np.array(hashes, np.uint64)), strict=True):
                best[int(number)] = min(best.get(int(number), (99, 0)), (int(apart), int(other)))
            for number, (apart, other) in sorted(best.items()):
                matches[number].append(Match(reason, self._hashed[other], float(apart)))
        return matches
