"""Put the texts of an item to a multimodal LLM: which of them is true of the image, or whether each is.

NegBench (arXiv 2501.09425) prints LLaVA beside the dual encoders; how it was asked, and what became of answers that are no
letter, is not released. What differs: the options stand in an order drawn by item, so that a model that likes "A" gains
nothing; an answer that cannot be read is asked again with a new seed, then the item is quarantined and counts as missing;
every answer stays in the row.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import pyarrow as pa

from negscale.core.backend import ChatModel, ChatRequest, Image, Reply, Turn
from negscale.core.rng import rng_for
from negscale.core.schema import IMAGE
from negscale.core.stage import Fault, Outcome, Resources, Row, Stage, row_seed
from negscale.prompts import choices
from negscale.prompts.answers import parse_yes_no
from negscale.stages.pixels import ReadsImages, read_pixels

Protocol = Literal["letter", "yes_no"]
ANSWERS = pa.schema([
    ("text_scores", pa.list_(pa.float64())),  # of each text: 1 = chosen, or "yes"; 0 = not
    ("said", pa.list_(pa.string())),  # the answer, or one to each text
])  # fmt: skip


class AnswerChoices(Stage):
    """Ask, read strictly, ask again."""

    name = "answer_choices"
    version = 1
    reads = pa.schema([("image", IMAGE), ("texts", pa.list_(pa.string()))])
    writes = ANSWERS
    ill_when_all_fail = False  # a model that never answers as asked is a finding of an evaluation, not its end

    def __init__(
        self, chat: Callable[[], ChatModel], protocol: Protocol, images: ReadsImages, seed: int, max_attempts: int,
        resources: Resources,
    ) -> None:  # fmt: skip
        self._build, self._protocol, self._images = chat, protocol, images
        self._seed, self._max_attempts, self.resources = seed, max_attempts, resources

    def identity(self) -> Mapping[str, Any]:
        return {"protocol": self._protocol, **choices.texts()}

    def setup(self) -> None:
        self._chat = self._build()
        self._chat.load()

    def close(self) -> None:
        self._chat.close()

    def process(self, rows: Sequence[Row]) -> Sequence[Outcome]:
        pixels = read_pixels(rows, self._images)
        asked = [i for i, seen in enumerate(pixels) if not isinstance(seen, Fault)]
        questions = [(i, part) for i in asked for part in self._parts(rows[i])]
        answers = self._answers(rows, pixels, questions)
        found: list[Outcome] = list(pixels)
        for i in asked:
            found[i] = self._outcome(rows[i], [answers[key] for key in questions if key[0] == i])
        return found

    def _parts(self, row: Row) -> range:
        """Numbers of the questions that a row asks: one, or one a text."""
        return range(1 if self._protocol == "letter" else len(row["texts"]))

    def _answers(
        self, rows: Sequence[Row], pixels: Sequence[Image], questions: Sequence[tuple[int, int]]
    ) -> dict[tuple[int, int], tuple[int, str] | Fault]:
        """(what was read, what was said) of each question, or why there is nothing."""
        found: dict[tuple[int, int], tuple[int, str] | Fault] = {}
        for attempt in range(self._max_attempts):
            open_ = [
                key
                for key in questions
                if (isinstance(one := found.get(key), Fault) and one.retryable) or key not in found
            ]
            if not open_:
                break
            requests = []
            for i, part in open_:
                seed = row_seed(self._seed, rows[i], self.name, part, attempt)
                requests.append(ChatRequest((Turn("user", self._question(rows[i], part), pixels[i]),), seed))
            for key, reply in zip(open_, self._chat.generate(requests), strict=True):
                found[key] = self._read(rows[key[0]], reply)
        return found

    def _question(self, row: Row, part: int) -> str:
        if self._protocol == "yes_no":
            return choices.fits_question(row["texts"][part])
        return choices.letter_question([row["texts"][at] for at in self._order(row)])

    def _read(self, row: Row, reply: Reply | Fault) -> tuple[int, str] | Fault:
        if isinstance(reply, Fault):
            return reply
        if self._protocol == "yes_no":
            yes = parse_yes_no(reply.text)
            value = None if yes is None else int(yes)
        else:
            order = self._order(row)
            at = choices.parse_letter(reply.text, [row["texts"][place] for place in order])
            value = None if at is None else order[at]
        if value is None:
            wanted = "yes or no" if self._protocol == "yes_no" else "one letter"
            return Fault("unparsable", f"expected {wanted}, got {reply.text[:300]!r}", retryable=True)
        return value, reply.text

    def _order(self, row: Row) -> list[int]:
        """The places of the texts in the order in which they are lettered; the same at every attempt."""
        return rng_for(self._seed, row["id"], self.name, "order").permutation(len(row["texts"])).tolist()

    def _outcome(self, row: Row, answers: Sequence[tuple[int, str] | Fault]) -> Outcome:
        broken = next((one for one in answers if isinstance(one, Fault)), None)
        if broken is not None:
            return broken
        read = [one for one in answers if not isinstance(one, Fault)]
        values = [value for value, _ in read]
        if self._protocol == "letter":
            values = [int(at == values[0]) for at in range(len(row["texts"]))]
        return {"text_scores": [float(value) for value in values], "said": [said for _, said in read]}
