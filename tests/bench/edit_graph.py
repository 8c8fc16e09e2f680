"""The editing stage in a simulated graph: the model, the decoder and the encoder sleep as long as theirs would work.

Stage, reader, image store, Ray executor and files are the real ones; pictures are small, and the model's sleep stands for a
pass on a GPU. Times: a 512 px JPEG decodes in 6 ms, a 512 px PNG is encoded in 25 ms, an edit of 20 steps on a data-centre GPU
takes 120 ms in a pass of 8 (NeIn's 100 steps take 600, where decoding could hardly be felt).
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import pyarrow as pa

from negscale.backends.image_store import ImageBatch, ImageStore, ImageStoreConfig
from negscale.core.backend import Edit, EditRequest, Image
from negscale.core.pipeline import Listing, Pipeline, Shard
from negscale.core.schema import EDITED, IMAGE
from negscale.core.stage import Fault, Outcome, Resources, Row, Stage
from negscale.datasets.captions import image_ref
from negscale.datasets.images import ImageReader
from negscale.stages.edits import EditImage, EditLimits
from tests.bench.simulated import simulate

EDITS, PASS = 5, 8


@dataclass(frozen=True, slots=True)
class Times:
    """Milliseconds an image."""

    edit: float = 120.0
    decode: float = 6.0
    encode: float = 25.0
    judge: float = 40.0  # of an edit, by a pool of its own


class PlannedEdits:
    """Edits of drawn images, `EDITS` an image, side by side."""

    schema = pa.schema([
        ("image", IMAGE), ("image_id", pa.string()), ("add_instruction", pa.string()), ("absent_object", pa.string()),
    ])  # fmt: skip

    def __init__(self, images: int, shard_images: int) -> None:
        self.images, self.shard_images = images, shard_images

    def list(self) -> Listing:
        starts = range(0, self.images, self.shard_images)
        shards = tuple(Shard(f"s{at:07d}", EDITS * min(self.shard_images, self.images - at), str(at)) for at in starts)
        return Listing(shards, {"images": self.images})

    def read(self, shard: Shard, index: pa.Table | None) -> pa.Table:
        first = int(shard.where)
        return pa.Table.from_pylist([
            {
                "id": f"{n}#{k}", "image": image_ref(f"toyworld:7/{n}"), "image_id": str(n), "add_instruction": "Add a hat.",
                "absent_object": "hat",
            }
            for n in range(first, first + shard.rows // EDITS) for k in range(EDITS)
        ], pa.schema([("id", pa.string()), *self.schema]))  # fmt: skip


class SlowReader(ImageReader):
    """Decoding takes its time."""

    def __init__(self, decode_ms: float) -> None:
        super().__init__()
        self.decode_ms = decode_ms

    def __reduce__(self) -> tuple[Any, ...]:
        return SlowReader, (self.decode_ms,)

    def read(self, ref: Mapping[str, Any]) -> Image:
        time.sleep(self.decode_ms / 1000)
        return super().read(ref)


class SlowStore(ImageStore):
    """Encoding takes its time, on the store's own threads."""

    encode_ms = 0.0

    def batch(self) -> ImageBatch:
        batch, plain = super().batch(), ImageBatch._encoded

        def slowly(image: Image) -> tuple[bytes, dict[str, Any]]:
            time.sleep(self.encode_ms / 1000)
            return plain(batch, image)

        batch._encoded = slowly  # type: ignore[method-assign]
        return batch


def slow_store(folder: str, encode_ms: float) -> SlowStore:
    """A store in `folder`."""
    store = SlowStore(ImageStoreConfig(), folder)
    store.encode_ms = encode_ms
    return store


class SleepingEditor:
    """A GPU that is busy `edit_ms` an edit, in passes of `PASS`; notes when."""

    id, exact = "bench/sleeping-editor", True

    def __init__(self, edit_ms: float, log: str) -> None:
        self._edit_ms, self._log = edit_ms, log

    def load(self) -> None: ...

    def close(self) -> None: ...

    def edit(self, requests: Sequence[EditRequest]) -> list[Edit | Fault]:
        for at in range(0, len(requests), PASS):
            simulate("edit", len(requests[at : at + PASS]), self._edit_ms, self._log)
        return [Edit(request.image, None, PASS) for request in requests]


class SleepingJudge(Stage):
    """Looks at the edit for `judge_ms`."""

    name = "judge"
    reads = pa.schema([EDITED.field("image_with_object")])
    writes = pa.schema([("seen", pa.bool_())])

    def __init__(self, judge_ms: float, log: str, resources: Resources) -> None:
        self._judge_ms, self._log, self.resources = judge_ms, log, resources

    def process(self, rows: Sequence[Row]) -> Sequence[Outcome]:
        simulate("judge", len(rows), self._judge_ms, self._log)
        return [{"seen": True} for _ in rows]


def edit_graph(images: int, shard_images: int, editors: int, times: Times, log: str, out: str) -> Pipeline:
    """`editors` workers that hold a simulated GPU each, and judges that keep up with them."""
    gpu = {"fakegpu": 1.0}
    editing = EditImage(
        partial(SleepingEditor, times.edit, log), partial(slow_store, out, times.encode), SlowReader(times.decode),
        EditLimits(call_rows=4 * PASS), 0,
        Resources(cpus=0.1, custom=gpu, actors=editors, row_ms=times.edit, batch_rows=1_000_000),
    )  # fmt: skip
    judging = SleepingJudge(
        times.judge, log, Resources(cpus=0.1, custom=gpu, actors=editors, row_ms=times.judge, batch_rows=64)
    )
    return Pipeline("bench/edits", PlannedEdits(images, shard_images), (editing, judging))
