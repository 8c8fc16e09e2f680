"""Source of questions about drawn scenes: the offline default of question recipes.

There are no files: a row is a function of (seed, image, question). The scenes and captions are those of `toyworld`.
"""

from __future__ import annotations

import math
from collections import Counter
from typing import Literal

import pyarrow as pa
from pydantic import Field

from negscale.core.config import Config
from negscale.core.pipeline import Listing, Shard
from negscale.core.schema import QUESTION
from negscale.datasets import toyworld
from negscale.datasets.captions import image_ref
from negscale.datasets.images import ImageReader
from negscale.datasets.question_rows import QuestionRows
from negscale.datasets.toy_questions import questions, votes
from negscale.datasets.toy_scenes import SCENE_PX, captions, scene

VERSION = 1  # of the questions and votes; bears identity


class ToyworldVqaConfig(Config):
    """Drawn scenes with questions, ten answers to each, and a few captions."""

    kind: Literal["toyworld_vqa"] = "toyworld_vqa"
    images: int = Field(default=256, ge=1)
    """Scenes drawn."""
    questions_per_image: int = Field(default=4, ge=1, le=20)
    """Rows per scene."""
    captions_per_image: int = Field(default=5, ge=1, le=5)
    """Captions that a row carries."""
    seed: int = 0
    """The world: other seeds give other scenes."""
    shard_rows: int = Field(default=512, ge=1)
    """Rows in a unit of work, rounded down to whole images."""

    def build(self) -> ToyworldVqaSource:
        """The source."""
        return ToyworldVqaSource(self)

    def reader(self) -> ImageReader:
        """Draws the pictures."""
        return ImageReader()


class ToyworldVqaSource:
    """Rows "toy-00000042-q3": scene 42, question 3. All rows of a scene lie in one shard."""

    schema = QUESTION

    def __init__(self, config: ToyworldVqaConfig) -> None:
        self.config = config

    def list(self) -> Listing:
        """Shards by arithmetic; nothing is drawn."""
        shards = tuple(
            Shard(
                f"toyworld-vqa-{number:06d}", self.config.questions_per_image * len(self._images(number)), str(number)
            )
            for number in range(math.ceil(self.config.images / self._per_shard()))
        )
        identity = {
            "toyworld": toyworld.VERSION, "toy_questions": VERSION, "images": self.config.images,
            "seed": self.config.seed,
        }  # fmt: skip
        return Listing(shards, identity)

    def _per_shard(self) -> int:
        return max(1, self.config.shard_rows // self.config.questions_per_image)

    def _images(self, number: int) -> range:
        first = number * self._per_shard()
        return range(first, min(first + self._per_shard(), self.config.images))

    def read(self, shard: Shard, index: pa.Table | None) -> pa.Table:
        """The envelope and the question columns of the shard's scenes."""
        config = self.config
        rows = QuestionRows()
        for image in self._images(int(shard.where)):
            what = scene(config.seed, image)
            texts = captions(what, config.seed, image, config.captions_per_image)
            said = tuple(dict.fromkeys(texts))
            ref = image_ref(f"toyworld:{config.seed}/{image}", height_px=SCENE_PX, width_px=SCENE_PX)
            name = f"toy-{image:08d}"
            for k, asked in enumerate(questions(what, config.seed, image, config.questions_per_image)):
                row_id = f"{name}-q{k}"
                answers = votes(asked, config.seed, row_id)
                counts = Counter(answer for answer, _ in answers)
                choice = "yes" if counts["yes"] >= counts["no"] else "no"
                rows.add(
                    row_id, image=ref, image_id=name, captions=said, caption_ids=[str(texts.index(t)) for t in said],
                    question=asked.text, question_id=f"{image}-{k}", question_type=asked.question_type,
                    answer_type="yes/no", multiple_choice_answer=choice, answers=answers,
                )  # fmt: skip
        return rows.table()
