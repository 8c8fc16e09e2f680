"""What judges and measures say of an edited image; one stage a measure, so that each has workers of its own.

After NeIn's evaluation_protocol/ (Bui et al., arXiv 2409.06481, section 4) and MagicBrush's image metrics. The wanted image
is the ground truth (`image`) where the instruction denies the object, and the input where it does not. What differs: one
answer an object and judge is kept with the row, so that every score is a reduction over rows; answers that cannot be
read are asked again with another seed; distances are taken at the size of the edit too.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import numpy as np
import pyarrow as pa
from PIL import Image as Pillow

from negscale.core.backend import Image, Judge, Picture, Verdict
from negscale.core.schema import EDIT_DISTANCES, EDIT_QUERY, IMAGE, SEEN_OBJECT
from negscale.core.stage import Fault, Outcome, Resources, Row, Stage, row_seed
from negscale.stages.edit_queries import REMOVING, read_column
from negscale.stages.pixels import ReadsImages

CELLS = 6  # windows side by side along a side, in which the largest change is sought


class EncodesImages(Protocol):
    """Features of pictures, one row each."""

    def load(self) -> None: ...
    def close(self) -> None: ...
    def encode_images(self, images: Sequence[Image]) -> np.ndarray: ...  # float32[N, D]


class ComparesImages(Protocol):
    """A distance of each pair of pictures of equal size; a Fault for a pair that it cannot take."""

    def load(self) -> None: ...
    def close(self) -> None: ...
    def distances(self, a: Sequence[Image], b: Sequence[Image]) -> list[float | Fault]: ...


class SeeObjects(Stage):
    """Which of the row's objects a judge sees in one of its images."""

    version = 1

    def __init__(
        self, name: str, image_column: str, into: str, judge: Callable[[], Judge], images: ReadsImages, seed: int,
        max_attempts: int, resources: Resources,
    ) -> None:  # fmt: skip
        """image_column: `image_with_object` before the edit, `edited_image` after it. into: column of the answers."""
        self.name, self._column, self._into = name, image_column, into
        self._build, self._images, self._seed, self._attempts = judge, images, seed, max_attempts
        self.reads = pa.schema([
            (image_column, IMAGE), ("image_id", pa.string()), ("caption_objects", pa.list_(pa.string())),
            ("absent_object", pa.string()),
        ])  # fmt: skip
        self.writes = pa.schema([(into, pa.list_(SEEN_OBJECT))])
        self.resources = resources

    def setup(self) -> None:
        self.judge = self._build()
        self.judge.load()

    def process(self, rows: Sequence[Row]) -> Sequence[Outcome]:
        pixels = read_column(rows, self._column, self._images) if self.judge.needs_pixels else [None] * len(rows)
        asked = [
            (at, name) for at, found in enumerate(pixels) if not isinstance(found, Fault) for name in _objects(rows[at])
        ]
        verdicts: dict[tuple[int, str], Verdict | Fault] = {}
        for attempt in range(self._attempts):
            open_ = [pair for pair in asked if pair not in verdicts or _again(verdicts[pair])]
            if not open_:
                break
            pictures = [
                Picture(pixels[at], rows[at]["image_id"] or "", self._seed_of(rows[at], name, attempt))
                for at, name in open_
            ]  # fmt: skip
            verdicts.update(zip(open_, self.judge.judge(pictures, [name for _, name in open_]), strict=True))
        return [
            found if isinstance(found, Fault) else self._row({n: verdicts[at, n] for n in _objects(rows[at])})
            for at, found in enumerate(pixels)
        ]

    def _seed_of(self, row: Row, name: str, attempt: int) -> int:
        return row_seed(self._seed, row, self.name, name, attempt)

    def _row(self, verdicts: Mapping[str, Verdict | Fault]) -> Outcome:
        seen = []
        for name, verdict in verdicts.items():
            if isinstance(verdict, Fault):
                if verdict.retryable and verdict.kind != "unparsable":  # a time-out says nothing of the picture
                    return verdict
                said = {"seen": None, "score": None, "answer": f"{verdict.kind}: {verdict.message}"[:500]}
            else:
                said = {"seen": verdict.accept, "score": verdict.score, "answer": verdict.raw[:500]}
            seen.append({"object": name, **said})
        return {self._into: seen}

    def close(self) -> None:
        self.judge.close()


def _objects(row: Row) -> list[str]:
    return list(dict.fromkeys(name for name in [row["absent_object"], *(row["caption_objects"] or ())] if name))


def _again(verdict: Verdict | Fault) -> bool:
    return verdict.retryable if isinstance(verdict, Fault) else verdict.accept is None


_PAIR = pa.schema([
    ("image", IMAGE), ("image_with_object", IMAGE), ("edited_image", IMAGE), ("edit_query", EDIT_QUERY),
])  # fmt: skip


class _ComparesWithWanted(Stage):
    """Base: reads the edited image and the one that was wanted."""

    version = 1
    reads = _PAIR

    def __init__(
        self, images: ReadsImages, edited_images: ReadsImages, made_images: ReadsImages, resources: Resources
    ) -> None:
        """images, edited_images, made_images: read `image`, `image_with_object` and `edited_image`."""
        self._readers = {"image": images, "image_with_object": edited_images, "edited_image": made_images}
        self.resources = resources

    def _pixels(self, rows: Sequence[Row], column: str) -> list[Any]:
        return read_column(rows, column, self._readers[column])

    def _wanted(self, rows: Sequence[Row]) -> list[Any]:
        """The image that each instruction asks for: without the object, or the input as it is."""
        found: list[Any] = [None] * len(rows)
        for column, removing in (("image", True), ("image_with_object", False)):
            at = [i for i, row in enumerate(rows) if (row["edit_query"]["kind"] in REMOVING) == removing]
            for i, pixels in zip(at, self._pixels([rows[i] for i in at], column), strict=True):
                found[i] = pixels
        return found


class MeasurePixels(_ComparesWithWanted):
    """L1 and L2 of RGB values, and how much of the input changed."""

    name = "measure_pixels"
    version = 2  # 2: windows half a window apart
    writes = EDIT_DISTANCES

    def process(self, rows: Sequence[Row]) -> Sequence[Outcome]:
        columns = (self._pixels(rows, "edited_image"), self._wanted(rows), self._pixels(rows, "image_with_object"))
        return [_distances(*pixels) for pixels in zip(*columns, strict=True)]


def _distances(edited: Any, wanted: Any, before: Any) -> Outcome:
    for pixels in (edited, wanted, before):
        if isinstance(pixels, Fault):
            return pixels
    l1, l2 = pixel_distances(resized(edited, wanted.shape), wanted)
    l1_edited, l2_edited = pixel_distances(edited, resized(wanted, edited.shape))
    input_ = resized(before, edited.shape)
    change, _ = pixel_distances(edited, input_)
    return {
        "l1": l1, "l2": l2, "l1_edited_size": l1_edited, "l2_edited_size": l2_edited, "change_l1": change,
        "change_peak": peak_change(edited, input_),
    }  # fmt: skip


def pixel_distances(a: Image, b: Image) -> tuple[float, float]:
    """(mean |a - b|, mean (a - b)^2) of two images uint8[H, W, 3] of one size, values in 0..1."""
    difference = np.abs(a.astype(np.int32) - b).ravel()
    counts = np.bincount(difference, minlength=256)  # whole numbers: equal on every machine
    steps = np.arange(256, dtype=np.int64)
    total = difference.size
    return float((counts * steps).sum() / (255 * total)), float((counts * steps**2).sum() / (255**2 * total))


def peak_change(a: Image, b: Image) -> float:
    """Largest mean |a - b| of windows of a sixth of each side, values in 0..1, of two images uint8[H, W, 3] of one size.

    The mean over the whole picture hardly notices that a small object went; a window in which it stood does. Windows lie half
    a window apart: a plain grid divides an object that stands where four cells meet, and its change with it. What a
    latent editor loses by encoding and decoding alone is spread over all windows.
    """
    sums = np.pad(np.abs(a.astype(np.int64) - b).sum(axis=2).cumsum(0).cumsum(1), ((1, 0), (1, 0)))
    (top, bottom), (left, right) = (_windows(length) for length in a.shape[:2])
    inside = (
        sums[np.ix_(bottom, right)] - sums[np.ix_(top, right)] - sums[np.ix_(bottom, left)] + sums[np.ix_(top, left)]
    )
    return float((inside / (3 * 255 * np.outer(bottom - top, right - left))).max())


def _windows(length: int) -> tuple[np.ndarray, np.ndarray]:
    """(starts, ends) of the windows along a side."""
    cells = min(CELLS, length)
    edges = np.arange(2 * cells + 1) * length // (2 * cells)
    return edges[:-2], edges[2:]


def resized(image: Image, shape: Sequence[int]) -> Image:
    """`image` at the height and width of `shape` by PIL's default filter (bicubic, with antialiasing), as released."""
    height, width = shape[:2]
    if image.shape[:2] == (height, width):
        return image
    return np.asarray(Pillow.fromarray(image).resize((width, height), Pillow.Resampling.BICUBIC))


class CompareFeatures(_ComparesWithWanted):
    """Cosine of the features of the edit and of the wanted image: CLIP-I with CLIP, DINO with DINO."""

    def __init__(
        self, name: str, into: str, encoder: Callable[[], EncodesImages], images: ReadsImages,
        edited_images: ReadsImages, made_images: ReadsImages, resources: Resources,
    ) -> None:  # fmt: skip
        super().__init__(images, edited_images, made_images, resources)
        self.name, self._into, self._build = name, into, encoder
        self.writes = pa.schema([(into, pa.float64())])

    def setup(self) -> None:
        self.encoder = self._build()
        self.encoder.load()

    def process(self, rows: Sequence[Row]) -> Sequence[Outcome]:
        edited, wanted = self._pixels(rows, "edited_image"), self._wanted(rows)
        outcomes, features = encoded(self.encoder, edited, wanted)
        for at, (a, b) in features.items():
            a, b = a.astype(np.float64), b.astype(np.float64)
            lengths = float(np.sqrt((a @ a) * (b @ b)))
            if not np.isfinite(lengths) or lengths == 0:
                outcomes[at] = Fault("not_a_number", f"{self.name}: features have the length {lengths}")
            else:
                outcomes[at] = {self._into: float(a @ b) / lengths}
        return outcomes

    def close(self) -> None:
        self.encoder.close()


class KeepFeatures(_ComparesWithWanted):
    """Features of the edit and of the wanted image, kept in the row for the Fréchet distance; removing queries only."""

    name = "keep_features"
    writes = pa.schema([("edited_features", pa.list_(pa.float32())), ("wanted_features", pa.list_(pa.float32()))])

    def __init__(
        self, encoder: Callable[[], EncodesImages], images: ReadsImages, edited_images: ReadsImages,
        made_images: ReadsImages, resources: Resources,
    ) -> None:  # fmt: skip
        super().__init__(images, edited_images, made_images, resources)
        self._build = encoder

    def setup(self) -> None:
        self.encoder = self._build()
        self.encoder.load()

    def process(self, rows: Sequence[Row]) -> Sequence[Outcome]:
        nothing = dict.fromkeys(self.writes.names)
        outcomes: list[Any] = [nothing] * len(rows)
        asked = [i for i, row in enumerate(rows) if row["edit_query"]["kind"] == "negative"]
        chosen = [rows[i] for i in asked]
        found, features = encoded(self.encoder, self._pixels(chosen, "edited_image"), self._wanted(chosen))
        for place, (a, b) in features.items():
            whole = np.isfinite(a).all() and np.isfinite(b).all()
            fault = Fault("not_a_number", f"{self.name}: features that are not finite")
            found[place] = {"edited_features": a.tolist(), "wanted_features": b.tolist()} if whole else fault
        for i, outcome in zip(asked, found, strict=True):
            outcomes[i] = outcome
        return outcomes

    def close(self) -> None:
        self.encoder.close()


def encoded(
    encoder: EncodesImages, edited: Sequence[Any], wanted: Sequence[Any]
) -> tuple[list[Any], dict[int, tuple[np.ndarray, np.ndarray]]]:
    """(the Fault of each pair that has one, else None; features of the others by place). Equal arrays are encoded once."""
    outcomes: list[Any] = [
        next((p for p in pair if isinstance(p, Fault)), None) for pair in zip(edited, wanted, strict=True)
    ]
    whole = [at for at, outcome in enumerate(outcomes) if outcome is None]
    different: dict[int, Image] = {}  # neighbours of one image are one array: the reader decodes it once
    for at in whole:
        different.setdefault(id(edited[at]), edited[at])
        different.setdefault(id(wanted[at]), wanted[at])
    if not different:
        return outcomes, {}
    features = dict(zip(different, encoder.encode_images(list(different.values())), strict=True))
    return outcomes, {at: (features[id(edited[at])], features[id(wanted[at])]) for at in whole}


class ComparePerception(_ComparesWithWanted):
    """LPIPS of the edit, resized to the wanted image's size, and the wanted image; null where the network cannot take it."""

    name = "compare_perception"
    writes = pa.schema([("lpips", pa.float64())])

    def __init__(
        self, distance: Callable[[], ComparesImages], images: ReadsImages, edited_images: ReadsImages,
        made_images: ReadsImages, resources: Resources,
    ) -> None:  # fmt: skip
        super().__init__(images, edited_images, made_images, resources)
        self._build = distance

    def setup(self) -> None:
        self.distance = self._build()
        self.distance.load()

    def process(self, rows: Sequence[Row]) -> Sequence[Outcome]:
        edited, wanted = self._pixels(rows, "edited_image"), self._wanted(rows)
        pairs = list(zip(edited, wanted, strict=True))
        outcomes: list[Any] = [next((p for p in pair if isinstance(p, Fault)), None) for pair in pairs]
        whole = [at for at, outcome in enumerate(outcomes) if outcome is None]
        found = self.distance.distances(
            [resized(edited[at], wanted[at].shape) for at in whole], [wanted[at] for at in whole]
        )
        for at, value in zip(whole, found, strict=True):
            # a picture that is too small for the network is missing in this score, not in the others
            small = isinstance(value, Fault) and value.kind == "small_image"
            outcomes[at] = {"lpips": None if small else value} if small or not isinstance(value, Fault) else value
        return outcomes

    def close(self) -> None:
        self.distance.close()
