from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from negscale.core.errors import AuditError, ConfigError, PlanError
from negscale.storage.run_folder import RunFolder
from negscale.training.order import Cursor
from negscale.training.reader import HoldoutConfig, RowBatch, RowStream, TrainingRunConfig, World, open_streams
from tests.unit.training.made_runs import caption_run

COLUMNS = ("caption", "image_id")
ROWS = 32


@pytest.fixture
def run(tmp_path: Path) -> str:
    return caption_run(tmp_path / "run")


def stream(*uris: str, window_rows: int = 12, **options: float) -> RowStream:
    runs = [TrainingRunConfig(uri=uri, **options) for uri in uris]
    return open_streams(runs, COLUMNS, 5, HoldoutConfig(), window_rows)[0]


def global_batches(rows: RowStream, cursor: Cursor, size: int, batch: int) -> list[list[str]]:
    workers = [list(rows.epoch(cursor, batch, World(rank, size))) for rank in range(size)]
    assert len({len(batches) for batches in workers}) == 1  # equal step counts
    joined = []
    for parts in zip(*workers, strict=True):
        assert len({(part.slots, part.global_rows, part.after) for part in parts}) == 1
        joined.append([row["id"] for part in parts for row in part.rows])
        assert len(joined[-1]) == parts[0].global_rows
    return joined


@pytest.mark.parametrize("size", [2, 3, 4])
def test_the_global_batches_are_the_same_for_any_number_of_workers(run: str, size: int) -> None:
    alone = global_batches(stream(run), Cursor(), 1, 6)
    assert global_batches(stream(run), Cursor(), size, 6) == alone
    assert Counter(i for batch in alone for i in batch) == Counter({
        f"toy-{n // 2:08d}-{n % 2}": 1 for n in range(ROWS)
    })  # fmt: skip
    assert [len(batch) for batch in alone] == [6, 6, 6, 6, 6, 2]
    assert global_batches(stream(run), Cursor(1, 0), size, 6) != alone


def test_resumes_in_the_middle_of_an_epoch_with_another_number_of_workers(run: str) -> None:
    whole = global_batches(stream(run), Cursor(2, 0), 1, 5)
    first: list[RowBatch] = []
    for batch in stream(run).epoch(Cursor(2, 0), 5, World(0, 4)):
        first.append(batch)
        if len(first) == 3:
            break
    assert first[-1].after == Cursor(2, 15)
    rest = global_batches(stream(run), first[-1].after, 3, 5)
    assert whole[3:] == rest
    last = list(stream(run).epoch(Cursor(2, 30), 5, World(0, 1)))
    assert last[-1].after == Cursor(3, 0)


def test_ids_of_a_batch_are_known_everywhere(run: str) -> None:
    rows = stream(run)
    assert rows.ids(0, 6, 12) == global_batches(rows, Cursor(), 1, 6)[1]


def test_several_runs_with_weights(run: str, tmp_path: Path) -> None:
    other = caption_run(tmp_path / "other", (4, 4), world=9)
    runs = [TrainingRunConfig(uri=run), TrainingRunConfig(uri=other, weight=3)]
    rows, _ = open_streams(runs, COLUMNS, 5, HoldoutConfig(), 8)
    captions = Counter(row["caption"] for batch in rows.epoch(Cursor(), 7) for row in batch.rows)
    assert sum(captions.values()) == ROWS + 3 * 8 == rows.order(0).rows


def test_held_out_images_do_not_train(tmp_path: Path) -> None:
    run = caption_run(tmp_path / "big", (40, 40, 40, 40))
    kept, held = open_streams([TrainingRunConfig(uri=run)], COLUMNS, 5, HoldoutConfig(share=0.25))
    assert held is not None

    def seen(of: RowStream, column: str) -> set[str]:
        return {row[column] for batch in of.epoch(Cursor(), 16) for row in batch.rows}

    assert not seen(kept, "image_id") & seen(held, "image_id")
    assert kept.order(0).rows + held.order(0).rows == 160
    assert 0.1 < held.order(0).rows / 160 < 0.4
    # the released split is by caption: images lie on both sides
    kept, held = open_streams([TrainingRunConfig(uri=run)], COLUMNS, 5, HoldoutConfig(share=0.25, by="row"))
    assert held is not None
    assert seen(kept, "image_id") & seen(held, "image_id")
    assert not seen(kept, "id") & seen(held, "id")


def test_vectors_follow_their_rows(run: str) -> None:
    rows = stream(run)

    class Numbered:
        def read(self, part: int, shard) -> np.ndarray:
            table = rows.sources[part].read(shard, None)
            return np.array([[int(i.split("-")[1]), int(i[-1])] for i in table["id"].to_pylist()], np.float32)

    rows.vectors["image"] = Numbered()
    for batch in rows.epoch(Cursor(), 9, World(1, 2)):
        assert len(batch.rows) == len(batch.vectors["image"])
        for row, vector in zip(batch.rows, batch.vectors["image"], strict=True):
            assert row["id"] == f"toy-{int(vector[0]):08d}-{int(vector[1])}"


def test_reads_an_object_store(s3_uri: str) -> None:
    run = caption_run(f"{s3_uri}/p1")
    assert sum(map(len, global_batches(stream(run), Cursor(), 2, 6))) == ROWS


def test_bad_runs_are_refused(run: str, tmp_path: Path) -> None:
    with pytest.raises(PlanError, match="no column \\['negation_form'\\]"):
        open_streams([TrainingRunConfig(uri=run)], ("negation_form",), 0, HoldoutConfig())
    with pytest.raises(PlanError, match="names no run"):
        open_streams([], COLUMNS, 0, HoldoutConfig())
    with pytest.raises(PlanError, match="twice"):
        stream(run, run)
    with pytest.raises((PlanError, ConfigError)):
        stream(str(tmp_path / "nothing"))
    folder = RunFolder(run)
    part = Path(run) / "data" / "s0001.g0000.parquet"
    whole = part.read_bytes()
    rows = stream(run)
    part.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(AuditError, match=r"damaged|cannot be read"):
        list(rows.epoch(Cursor(), 6))
    part.unlink()
    with pytest.raises((AuditError, PlanError)):
        list(rows.epoch(Cursor(), 6))
    part.write_bytes(whole)
    folder.forget_manifest()
    with pytest.raises(PlanError, match="not finished"):
        stream(run)
