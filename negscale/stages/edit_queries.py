"""What an editor is asked when it is evaluated, and its answers.

NeIn (Bui et al., arXiv 2409.06481, section 4) asks one thing of a row: "There is no clock in the image." An editor that
erases the noun of any sentence passes. Here a row gives up to four instructions, and three of them must not remove the
object: an affirmative sentence, a denial of what is in neither image, and (where the caption's objects are known) a
sentence with two objects and one denial, of which the affirmed one must stay.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, Protocol, TypeAlias, get_args, runtime_checkable

import pyarrow as pa

from negscale.core.backend import Edit, EditRequest, Image, ImageEditor
from negscale.core.rng import seed_for
from negscale.core.schema import CAPTION_OBJECTS, EDIT_QUERY, EVALUATED_EDIT, IMAGE
from negscale.core.stage import Fault, Outcome, Reject, Resources, Row, Stage
from negscale.language.object_heads import HeadStyle, object_heads
from negscale.stages.edits import StoresImages
from negscale.stages.pixels import ReadsImages, read_pixels

QueryKind: TypeAlias = Literal["negative", "affirmative", "keep", "two_objects"]
KINDS: tuple[QueryKind, ...] = get_args(QueryKind)
REMOVING: tuple[QueryKind, ...] = ("negative", "two_objects")  # the object is to go; otherwise the input is to stay
COLUMNS: dict[QueryKind, tuple[str, str]] = {  # kind -> (instruction, the object that it denies or affirms)
    "negative": ("negative_instruction", "absent_object"),
    "affirmative": ("affirmative_instruction", "absent_object"),
    "keep": ("keep_instruction", "kept_absent_object"),
    "two_objects": ("two_objects_instruction", "absent_object"),
}


@runtime_checkable
class KnowsTheAnswer(Protocol):
    """An editor that is a bound rather than a model: it is shown what is wanted."""

    def edit_knowing(
        self, requests: Sequence[EditRequest], truths: Sequence[Image], kinds: Sequence[str]
    ) -> list[Edit | Fault]: ...


def read_column(rows: Sequence[Row], column: str, images: ReadsImages) -> list[Any]:
    """uint8[H, W, 3] of each row's `column`, or the Fault that stands for it; neighbours of one image share a decoding."""
    return read_pixels([{"image": row[column]} for row in rows], images)


class ChooseSplit(Stage):
    """Refuse the rows of the other split."""

    name = "choose_split"
    version = 1
    reads = pa.schema([("split", pa.string())])
    writes = pa.schema([])

    def __init__(self, split: str, resources: Resources) -> None:
        self._split = split
        self.resources = resources

    def identity(self) -> Mapping[str, Any]:
        return {"split": self._split}

    def process(self, rows: Sequence[Row]) -> Sequence[Outcome]:
        return [{} if row["split"] == self._split else Reject("other_split") for row in rows]


class ListCaptionObjects(Stage):
    """The things that the original caption names; those that the input shows must survive the edit."""

    name = "list_caption_objects"
    version = 1
    reads = pa.schema([("caption", pa.string())])
    writes = CAPTION_OBJECTS

    def __init__(self, style: HeadStyle, excluded: Sequence[str], resources: Resources) -> None:
        self._style: HeadStyle = style
        self._excluded = tuple(excluded)
        self.resources = resources

    def identity(self) -> Mapping[str, Any]:
        return {"style": self._style, "excluded": list(self._excluded)}

    def process(self, rows: Sequence[Row]) -> Sequence[Outcome]:
        return [
            {"caption_objects": list(object_heads(row["caption"] or "", style=self._style, excluded=self._excluded))}
            for row in rows
        ]


class PlanEditQueries(Stage):
    """One query for each instruction that the row has."""

    name = "plan_edit_queries"
    version = 1
    writes = pa.schema([("edit_queries", pa.list_(EDIT_QUERY))])

    def __init__(self, kinds: Sequence[QueryKind], resources: Resources) -> None:
        self._kinds = tuple(kinds)
        columns = dict.fromkeys(column for kind in self._kinds for column in COLUMNS[kind])
        self.reads = pa.schema([(column, pa.string()) for column in columns])
        self.resources = resources

    def identity(self) -> Mapping[str, Any]:
        return {"kinds": list(self._kinds)}

    def process(self, rows: Sequence[Row]) -> Sequence[Outcome]:
        return [{"edit_queries": queries_of(row, self._kinds)} for row in rows]


def queries_of(row: Row, kinds: Sequence[QueryKind] = KINDS) -> list[dict[str, Any]]:
    """The queries of one row, in the order of `kinds`; kinds whose instruction is null or not there are left out."""
    found = []
    for kind in kinds:
        instruction, named = (row.get(column) for column in COLUMNS[kind])
        if instruction:
            found.append({"kind": kind, "instruction": instruction, "named_object": named})
    return found


class EditForEvaluation(Stage):
    """Let the editor answer each query and store what it made.

    One attempt: an editor that gives a black picture is judged by it. What it could not make (a Fault) is quarantined and
    counts as missing in every score.
    """

    name = "edit_for_evaluation"
    version = 1
    reads = pa.schema([
        ("image", IMAGE), ("image_with_object", IMAGE), ("image_id", pa.string()), ("edit_query", EDIT_QUERY),
    ])  # fmt: skip
    writes = EVALUATED_EDIT

    def __init__(
        self, editor: Callable[[], ImageEditor], store: Callable[[], StoresImages], images: ReadsImages,
        edited_images: ReadsImages, seed: int, call_rows: int, resources: Resources,
    ) -> None:  # fmt: skip
        """images, edited_images: read `image` and `image_with_object`, which may lie in different places.

        call_rows: queries of one call of the editor, which cuts its micro-batches from them.
        """
        self._build, self._build_store, self._seed, self._call_rows = editor, store, seed, call_rows
        self._images, self._edited_images = images, edited_images
        self.resources = resources

    def identity(self) -> Mapping[str, Any]:
        return {"call_rows": self._call_rows}

    def setup(self) -> None:
        self.editor = self._build()
        self.editor.load()
        self.store = self._build_store()
        self.store.load()

    def process(self, rows: Sequence[Row]) -> Sequence[Outcome]:
        outcomes: list[Any] = []
        with self.store.batch() as batch:
            for start in range(0, len(rows), self._call_rows):
                for row, edit in self._edited(rows[start : start + self._call_rows]):
                    if isinstance(edit, Edit):
                        batch.add(edit.image)  # encoded by threads while the next call is edited
                        edit = {"evaluation_seed": self._seed_of(row), "evaluation_batch": edit.batch}
                    outcomes.append(edit)
            references = iter(batch.commit())
        return [o if isinstance(o, Fault) else {**o, "edited_image": next(references)} for o in outcomes]

    def _edited(self, rows: Sequence[Row]) -> list[tuple[Row, Edit | Fault]]:
        """Each row with the editor's answer, or with the Fault of an image that cannot be read."""
        inputs = read_column(rows, "image_with_object", self._edited_images)
        knows = isinstance(self.editor, KnowsTheAnswer)
        truths = read_column(rows, "image", self._images) if knows else inputs
        pairs = list(zip(rows, inputs, truths, strict=True))
        readable = [pair for pair in pairs if not any(isinstance(pixels, Fault) for pixels in pair[1:])]
        requests = [self._request(row, pixels) for row, pixels, _ in readable]
        if isinstance(self.editor, KnowsTheAnswer):
            kinds = [row["edit_query"]["kind"] for row, _, _ in readable]
            edits = iter(self.editor.edit_knowing(requests, [truth for _, _, truth in readable], kinds))
        else:
            edits = iter(self.editor.edit(requests) if requests else [])
        return [
            (row, next((p for p in (pixels, truth) if isinstance(p, Fault)), None) or next(edits))
            for row, pixels, truth in pairs
        ]

    def _request(self, row: Row, pixels: Image) -> EditRequest:
        query = row["edit_query"]
        return EditRequest(
            pixels, query["instruction"], self._seed_of(row), row["image_id"] or "", query["named_object"] or ""
        )

    def _seed_of(self, row: Row) -> int:
        return seed_for(self._seed, row["id"], self.name)

    def close(self) -> None:
        self.editor.close()
        self.store.close()
