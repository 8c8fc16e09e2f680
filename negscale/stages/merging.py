"""The caption that says "no": merge question and caption, check it (NegationCLIP's P2, section 3.1; the check is ours)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import Any, Literal

import pyarrow as pa

from negscale.core.backend import Merger, MergeRequest
from negscale.core.rng import rng_for
from negscale.core.schema import CAPTION_CHECK, MERGED_CAPTION
from negscale.core.stage import Fault, Outcome, Reject, Resources, Row, Stage, row_seed
from negscale.language.merge_check import MergeCheckOptions, check_merged_caption
from negscale.language.tokens import lemma_keys, tokenise
from negscale.prompts import negationclip_p2 as prompts
from negscale.stages.asking import ask_again

CaptionChoice = Literal["random", "first", "longest", "related"]


class CaptionFromNo(Stage):
    """Merge the question's "no" into one of the image's captions; an unparsable answer is asked again with a new seed.

    Which of the five captions the authors take is not published. `random` draws one; `related` takes the one that shares
    most words with the question, the first of equals.
    """

    name = "caption_from_no"
    version = 1
    reads = pa.schema([
        ("question", pa.string()), ("negation_kind", pa.string()),
        ("image_captions", pa.list_(pa.string())), ("image_caption_ids", pa.list_(pa.string())),
    ])  # fmt: skip
    writes = MERGED_CAPTION

    def __init__(
        self,
        merger: Callable[[], Merger],
        choice: CaptionChoice,
        seed: int,
        max_attempts: int,
        resources: Resources,
    ) -> None:
        self._build, self._seed, self._attempts = merger, seed, max_attempts
        self._choice: CaptionChoice = choice
        self.resources = resources

    def identity(self) -> Mapping[str, Any]:
        return {"choice": self._choice, **prompts.texts()}

    def setup(self) -> None:
        self.merger = self._build()
        self.merger.load()

    def process(self, rows: Sequence[Row]) -> Sequence[Outcome]:
        chosen = [self._caption(row) for row in rows]

        def ask(open_: Sequence[int], attempt: int) -> Sequence[Outcome]:
            answers = self.merger.merge([
                MergeRequest(
                    rows[i]["question"], chosen[i]["caption"], rows[i]["negation_kind"],
                    row_seed(self._seed, rows[i], self.name, attempt),
                )
                for i in open_
            ])  # fmt: skip
            return [_outcome(answer, chosen[i]) for i, answer in zip(open_, answers, strict=True)]

        return ask_again(len(rows), self._attempts, ask)

    def _caption(self, row: Row) -> dict[str, str]:
        """The chosen caption and its id."""
        texts: list[str] = row["image_captions"]
        at = 0
        match self._choice:
            case "random":
                at = int(rng_for(self._seed, row["id"], "caption_choice").random() * len(texts))
            case "longest":
                at = max(range(len(texts)), key=lambda i: (len(texts[i]), -i))
            case "related":
                at = max(range(len(texts)), key=lambda i: (_shared(texts[i], row["question"]), -i))
        return {"caption": texts[at], "caption_id": row["image_caption_ids"][at]}


def _outcome(answer: str | Reject | Fault, chosen: Mapping[str, str]) -> Outcome:
    if isinstance(answer, Reject):
        return Reject(answer.reason, keep=chosen)
    return answer if isinstance(answer, Fault) else {**chosen, "negated_caption": answer}


def _shared(caption: str, question: str) -> int:
    """Content words of the question that the caption has."""
    there = {key for token in tokenise(caption) if token.is_content for key in lemma_keys(token.lower)}
    return sum(bool(lemma_keys(token.lower) & there) for token in tokenise(question) if token.is_content)


class CheckMergedCaption(Stage):
    """Refuse captions that do not deny what was asked, or say more: see `negscale.language.merge_check`."""

    name = "check_merged_caption"
    version = 1
    reads = pa.schema([
        ("caption", pa.string()), ("negated_caption", pa.string()), ("question", pa.string()),
        ("image_captions", pa.list_(pa.string())),
    ])  # fmt: skip
    writes = CAPTION_CHECK

    def __init__(self, options: MergeCheckOptions, resources: Resources) -> None:
        self._options = options
        self.resources = resources

    def identity(self) -> Mapping[str, Any]:
        return {"options": asdict(self._options)}

    def process(self, rows: Sequence[Row]) -> Sequence[Outcome]:
        return [self._check(row) for row in rows]

    def _check(self, row: Row) -> Outcome:
        result = check_merged_caption(
            row["caption"], row["negated_caption"], row["question"], row["image_captions"], options=self._options
        )
        if not result.accepted:
            return Reject(result.reason or "not_accepted")
        return {"negation_form": result.form, "negation_position": result.position}
