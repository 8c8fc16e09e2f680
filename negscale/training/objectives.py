"""What a training minimises: the papers' losses and ours, each as texts of a row and terms over a batch.

NegationCLIP: InfoNCE on (image, negated caption). NegBench: alpha * InfoNCE + (1 - alpha) * MCQ. NegCLIP and CoN-CLIP:
baselines on captions and their false versions. `negscale`: original captions and true absences as positives, per-row hard
negatives, MCQ, true statements against false ones in the same words, and affirmative captions held at their old embedding;
each term has a weight, 0 switches it off.

What differs. NegBench trains all towers and forgets to normalise the MCQ features; here the image tower is frozen. NegCLIP
swaps words of the caption; here its false texts assert an absent object, so that all baselines see the same data.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
from pydantic import Field, model_validator

from negscale.core.config import Config
from negscale.core.rng import rng_for
from negscale.training import made_statements
from negscale.training.hard_negatives import OBJECT_COLUMNS, asserted_absent, denied_present

if TYPE_CHECKING:
    from torch import Tensor

Maker = Callable[[Mapping[str, Any], np.random.Generator], str | None]


MAKERS: dict[str, Maker] = {
    "denied_present": denied_present, "asserted_absent": asserted_absent, **made_statements.MAKERS,
}  # fmt: skip
_READS = {
    "caption": ("caption",), "negated_caption": ("negated_caption",),
    "denied_present": ("caption",), "asserted_absent": ("caption", "absent_object"),
    **dict.fromkeys(made_statements.MAKERS, ("caption",)),
}  # fmt: skip
QUESTION_COLUMNS = ("options", "answer")


def made_text(name: str, row: Mapping[str, Any], seed: int, epoch: int) -> str | None:
    """The text of `MAKERS` for a row, a function of (seed, epoch, row id); None where the row has none."""
    stream = made_statements.STREAM if name in made_statements.MAKERS else name
    return MAKERS[name](row, rng_for(seed, "text", stream, epoch, row["id"]))


@dataclass(frozen=True, slots=True)
class Scene:
    """What the terms of one step see. Local rows B, rows of all workers N, questions Q of M options; unit vectors."""

    image_BD: Tensor
    image_ND: Tensor
    valid_N: Tensor  # bool
    same_BN: Tensor  # bool: pairs of one image
    key_N: Tensor  # int64: hash of the image's name
    first: int  # column of this worker's row 0
    texts_BD: Mapping[str, Tensor]
    texts_ND: Mapping[str, Tensor]
    has_B: Mapping[str, Tensor]  # bool: rows that have the text
    has_N: Mapping[str, Tensor]
    before_BD: Tensor | None  # captions before training
    question_image_QD: Tensor | None
    options_QMD: Tensor | None
    answer_Q: Tensor | None
    scale: Tensor


class Objective(Config, ABC):
    """Base of the objectives."""

    mask_same_image: bool = True
    """Pairs of one image are no negatives, on whatever workers they are."""

    @property
    @abstractmethod
    def texts(self) -> tuple[str, ...]:
        """Texts that a row needs: columns, or names in `MAKERS`. Rows without the first of them weigh nothing."""

    @property
    def positive(self) -> str:
        """The text that is true of its image, for the figure `top1`."""
        return self.texts[0]

    @property
    def uses_questions(self) -> bool:
        """Whether there is an MCQ term."""
        return False

    @property
    def uses_before(self) -> bool:
        """Whether captions are held at their old embedding."""
        return False

    @property
    def columns(self) -> tuple[str, ...]:
        """Columns of the run that the texts are made of."""
        return tuple(dict.fromkeys(column for text in self.texts for column in _READS[text]))

    @property
    def optional_columns(self) -> tuple[str, ...]:
        """Columns that are read where a run has them."""
        made = MAKERS.keys() & set(self.texts)
        more = (*OBJECT_COLUMNS, "negated_caption", "absent_object") if made else ()
        stated = ("negative_objects",) if made_statements.MAKERS.keys() & set(self.texts) else ()
        return tuple(name for name in (*more, *stated) if name not in self.columns)

    @abstractmethod
    def terms(self, s: Scene) -> dict[str, tuple[float, Tensor]]:
        """name -> (weight, loss of each local row [B]; of each local question [Q] for `question`)."""

    def _info_nce(self, s: Scene, text: str, **more: Any) -> Tensor:
        import torch

        from negscale.models import losses

        loss = losses.info_nce(
            s.image_BD, s.texts_BD[text], s.image_ND, s.texts_ND[text], s.scale, first=s.first,
            valid_N=s.valid_N & s.has_N[text], same_BN=s.same_BN if self.mask_same_image else None, **more,
        )  # fmt: skip
        return torch.where(
            s.has_B[text], loss, torch.zeros_like(loss)
        )  # a row without this text learns nothing from it

    def _mcq(self, s: Scene) -> Tensor:
        from negscale.models import losses

        assert s.question_image_QD is not None
        assert s.options_QMD is not None
        assert s.answer_Q is not None
        return losses.mcq(s.question_image_QD, s.options_QMD, s.answer_Q, s.scale)


class NegationClipObjective(Objective):
    """NegationCLIP: InfoNCE on images and negated captions."""

    kind: Literal["negationclip"] = "negationclip"

    @property
    def texts(self) -> tuple[str, ...]:
        return ("negated_caption",)

    def terms(self, s: Scene) -> dict[str, tuple[float, Tensor]]:
        return {"contrastive": (1.0, self._info_nce(s, "negated_caption"))}


class NegBenchObjective(Objective):
    """NegBench: alpha * InfoNCE on NegCap + (1 - alpha) * MCQ on NegMCQ."""

    kind: Literal["negbench"] = "negbench"
    mask_same_image: bool = False
    alpha: float = Field(default=0.99, ge=0, le=1)
    """Weight of the contrastive term. The released checkpoints say .99, with unnormalised features in the MCQ term."""

    @property
    def texts(self) -> tuple[str, ...]:
        return ("negated_caption",)

    @property
    def uses_questions(self) -> bool:
        return self.alpha < 1

    def terms(self, s: Scene) -> dict[str, tuple[float, Tensor]]:
        found = {"contrastive": (self.alpha, self._info_nce(s, "negated_caption"))}
        return {**found, "question": (1 - self.alpha, self._mcq(s))} if self.uses_questions else found


class NegClipObjective(Objective):
    """NegCLIP: InfoNCE on captions, with a false text of every row as one more candidate of every image."""

    kind: Literal["negclip"] = "negclip"
    mask_same_image: bool = False

    @property
    def texts(self) -> tuple[str, ...]:
        return ("caption", "asserted_absent")

    def terms(self, s: Scene) -> dict[str, tuple[float, Tensor]]:
        shared = {"shared_ND": s.texts_ND["asserted_absent"], "shared_valid_N": s.has_N["asserted_absent"]}
        return {"contrastive": (1.0, self._info_nce(s, "caption", **shared))}


class ConClipObjective(Objective):
    """CoN-CLIP: captions, captions that deny what is there, and the batch's most similar other image as distractor."""

    kind: Literal["con_clip"] = "con_clip"

    @property
    def texts(self) -> tuple[str, ...]:
        return ("denied_present", "caption")  # a row in which nothing can be denied weighs nothing

    @property
    def positive(self) -> str:
        return "caption"

    def terms(self, s: Scene) -> dict[str, tuple[float, Tensor]]:
        from negscale.models import losses

        valid_N = s.valid_N & s.has_N["denied_present"]
        others = losses.nearest_other(
            s.image_ND, s.image_ND, valid_N=valid_N, same_BN=losses.same_image(s.key_N, s.key_N)
        )
        other_ND = s.image_ND[others]
        rows = slice(s.first, s.first + len(s.image_BD))
        loss = losses.con_clip(
            s.image_BD, other_ND[rows], s.texts_BD["caption"], s.texts_BD["denied_present"],
            s.image_ND, other_ND, s.texts_ND["caption"], s.texts_ND["denied_present"], s.scale,
            first=s.first, valid_N=valid_N, same_BN=s.same_BN if self.mask_same_image else None,
        )  # fmt: skip
        return {"contrastive": (1.0, loss)}


class NegscaleObjective(Objective):
    """Ours. A weight of 0 switches a term off."""

    kind: Literal["negscale"] = "negscale"
    caption: float = Field(default=1.0, ge=0)
    """Weight of InfoNCE on the original captions."""
    absence: float = Field(default=1.0, ge=0)
    """Weight of InfoNCE on the captions that state a true absence."""
    hard_negatives: tuple[Literal["denied_present", "asserted_absent"], ...] = ("denied_present", "asserted_absent")
    """False texts of the row's own image, candidates in both contrastive terms."""
    question: float = Field(default=0.1, ge=0)
    """Weight of the MCQ term; needs `questions`."""
    statement: float = Field(default=0.0, ge=0)
    """Weight of true statements against false ones in the same words, made anew each epoch of the objects that a row names;
    seven more texts a row."""
    keep: float = Field(default=1.0, ge=0)
    """Weight of 1 - cosine between captions now and before training."""

    @model_validator(mode="after")
    def _contrasts(self) -> NegscaleObjective:
        if not (self.caption or self.absence or self.statement):
            raise ValueError(
                "caption, absence and statement are all 0: nothing would be learnt; set one of them above 0"
            )
        if self.hard_negatives and not (self.caption or self.absence):
            raise ValueError(
                "hard_negatives are candidates in the terms caption and absence, which are 0; set hard_negatives=[]"
            )
        return self

    @property
    def texts(self) -> tuple[str, ...]:
        wanted = ["caption"] if self.caption or self.keep else []
        stated = (*made_statements.TRUE, *made_statements.FALSE) if self.statement else ()
        return (*wanted, *(["negated_caption"] if self.absence else []), *self.hard_negatives, *stated)

    @property
    def uses_questions(self) -> bool:
        return self.question > 0

    @property
    def uses_before(self) -> bool:
        return self.keep > 0

    def terms(self, s: Scene) -> dict[str, tuple[float, Tensor]]:
        import torch

        from negscale.models import losses

        hard = {}
        if self.hard_negatives:
            hard = {
                "hard_BKD": torch.stack([s.texts_BD[name] for name in self.hard_negatives], 1),
                "hard_valid_BK": torch.stack([s.has_B[name] for name in self.hard_negatives], 1),
            }
        found: dict[str, tuple[float, Tensor]] = {}
        if self.caption:
            found["caption"] = (self.caption, self._info_nce(s, "caption", **hard))
        if self.absence:
            found["absence"] = (self.absence, self._info_nce(s, "negated_caption", **hard))
        if self.question:
            found["question"] = (self.question, self._mcq(s))
        if self.statement:
            true, false = (
                [s.texts_BD[name] for name in names] for names in (made_statements.TRUE, made_statements.FALSE)
            )
            there_BK = torch.stack([s.has_B[name] for name in made_statements.FALSE], 1)
            loss = losses.statements(s.image_BD, torch.stack(true, 1), torch.stack(false, 1), s.scale, there_BK)
            has_B = s.has_B[made_statements.TRUE[0]]
            found["statement"] = (self.statement, torch.where(has_B, loss, torch.zeros_like(loss)))
        if self.keep:
            assert s.before_BD is not None
            found["keep"] = (self.keep, losses.kept_in_place(s.texts_BD["caption"], s.before_BD))
        return found


ObjectiveConfig = Annotated[
    NegationClipObjective | NegBenchObjective | NegClipObjective | ConClipObjective | NegscaleObjective,
    Field(discriminator="kind"),
]
