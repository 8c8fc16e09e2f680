"""What a video clip shows and what it does not, from its captions and, where there are frames, from those.

NegBench's video tasks (arXiv 2501.09425, section 2.2): one LLM call names two positives and a negative of all captions, and
nothing is verified. What differs: objects count as present only when several captions state them, and the negatives can be
looked for in frames. Their positives may also be actions; these here are objects.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, Protocol

import pyarrow as pa

from negscale.core.backend import Extractor, ExtractRequest, Image, Judge, Picture
from negscale.core.image import ImageError
from negscale.core.schema import EXTRACTED, OBJECT_LISTS
from negscale.core.stage import Fault, Outcome, Reject, Resources, Row, Stage, row_seed
from negscale.prompts import negbench as prompts
from negscale.stages.asking import ask_again
from negscale.stages.object_lists import distinct, same_thing

FramesRule = Literal["any", "mean"]
SEEN_SHARE = pa.schema([("frames", pa.int16())])  # looked at; 0 = the captions alone were believed


class ReadsFrames(Protocol):
    """Frames of a clip; raises ImageError."""

    def read(self, video_id: str) -> list[Image]: ...


class ExtractFromCaptions(Stage):
    """List the objects that at least `least_mentions` of the clip's captions state, the most stated first.

    Captions of one clip contradict each other: what one of twenty annotators saw is often wrong. A clip with fewer captions
    needs all of them.
    """

    name = "extract_from_captions"
    version = 1
    reads = pa.schema([("image_captions", pa.list_(pa.string())), ("image_id", pa.string())])
    writes = pa.schema([*EXTRACTED, ("object_mentions", pa.list_(pa.int16()))])

    def __init__(
        self, extractor: Callable[[], Extractor], least: int, least_mentions: int, seed: int, max_attempts: int,
        resources: Resources,
    ) -> None:  # fmt: skip
        self._build, self._least, self._mentions = extractor, least, least_mentions
        self._seed, self._attempts = seed, max_attempts
        self.resources = resources

    def identity(self) -> Mapping[str, Any]:
        return {"prompt": prompts.texts()["extract"], "least": self._least, "least_mentions": self._mentions}

    def setup(self) -> None:
        self.extractor = self._build()
        self.extractor.load()

    def close(self) -> None:
        self.extractor.close()

    def process(self, rows: Sequence[Row]) -> Sequence[Outcome]:
        asked = [(i, k) for i, row in enumerate(rows) for k in range(len(row["image_captions"]))]

        def ask(open_: Sequence[int], attempt: int) -> Sequence[Outcome]:
            requests = []
            for n in open_:
                i, k = asked[n]
                seed = row_seed(self._seed, rows[i], self.name, k, attempt)
                requests.append(ExtractRequest(rows[i]["image_captions"][k], rows[i]["image_id"], seed))
            return [
                answer if isinstance(answer, Fault) else {"names": distinct(answer)}
                for answer in self.extractor.extract(requests)
            ]

        said: list[list[Outcome]] = [[] for _ in rows]
        for (i, _), outcome in zip(asked, ask_again(len(asked), self._attempts, ask), strict=True):
            said[i].append(outcome)
        return [self._outcome(answers) for answers in said]

    def _outcome(self, answers: Sequence[Outcome]) -> Outcome:
        heard = [answer["names"] for answer in answers if isinstance(answer, dict)]
        faults = [answer for answer in answers if isinstance(answer, Fault)]
        if 2 * len(faults) > len(answers):  # a few unreadable answers of twenty do not matter
            return faults[0]
        counts = counted(heard)
        wanted = min(self._mentions, len(heard))
        names = [name for name, count in counts if count >= wanted]
        if len(names) < self._least:
            return Reject("too_few_objects")
        return {"extracted_objects": names, "object_mentions": [count for _, count in counts if count >= wanted]}


def counted(lists: Sequence[Sequence[str]]) -> list[tuple[str, int]]:
    """(name, number of lists that hold it under some name), the most frequent first, else in the order met.

    >>> counted([["dog", "car"], ["dogs"], ["car", "dog"]])
    [('dog', 3), ('car', 2)]
    """
    counts: Counter[str] = Counter()
    for names in lists:
        of_list = set()
        for name in names:
            of_list.add(next((known for known in counts if same_thing(name, known)), name))
            counts.setdefault(next((known for known in counts if same_thing(name, known)), name), 0)
        counts.update(of_list)
    return sorted(counts.items(), key=lambda item: -item[1])  # stable: the order met


class BelieveCaptions(Stage):
    """No pixels: what several captions state is there, and of what was proposed nothing that any caption mentions is left."""

    name = "believe_captions"
    version = 1
    reads = pa.schema([("extracted_objects", pa.list_(pa.string())), ("proposed_objects", pa.list_(pa.string()))])
    writes = pa.schema([*OBJECT_LISTS, *SEEN_SHARE])

    def __init__(self, resources: Resources) -> None:
        self.resources = resources

    def process(self, rows: Sequence[Row]) -> Sequence[Outcome]:
        return [
            {
                "positive_objects": row["extracted_objects"], "negative_objects": row["proposed_objects"], "frames": 0,
            }
            for row in rows
        ]  # fmt: skip


class VerifyInFrames(Stage):
    """Look for every object in the clip's frames: positives must be seen, negatives must not.

    rule: `any`, seen in one frame at least, so that a negative is absent from all of them; `mean`, the mean of the frames'
    scores is 0.5 or more. An object of which the judge cannot tell is dropped from its list.
    """

    name = "verify_in_frames"
    version = 1
    reads = pa.schema([
        ("image_id", pa.string()), ("extracted_objects", pa.list_(pa.string())), ("proposed_objects", pa.list_(pa.string())),
    ])  # fmt: skip
    writes = pa.schema([*OBJECT_LISTS, *SEEN_SHARE])

    def __init__(
        self, judge: Callable[[], Judge], frames: ReadsFrames, rule: FramesRule, least_positives: int,
        verify_positives: bool, seed: int, max_attempts: int, resources: Resources,
    ) -> None:  # fmt: skip
        self._build, self._frames, self._rule = judge, frames, rule
        self._least, self._positives_too = least_positives, verify_positives
        self._seed, self._attempts = seed, max_attempts
        self.resources = resources

    def identity(self) -> Mapping[str, Any]:
        return {"rule": self._rule, "least_positives": self._least, "verify_positives": self._positives_too}

    def setup(self) -> None:
        self.judge = self._build()
        self.judge.load()

    def close(self) -> None:
        self.judge.close()

    def process(self, rows: Sequence[Row]) -> Sequence[Outcome]:
        return [self._one(row) for row in rows]  # a row has frames times objects to look at: a batch of its own

    def _one(self, row: Row) -> Outcome:
        try:
            frames = self._frames.read(row["image_id"])
        except ImageError as error:
            return Fault(error.kind, str(error), retryable=error.kind in ("missing_image", "storage_error"))
        names = [*(row["extracted_objects"] if self._positives_too else ()), *row["proposed_objects"]]
        asked = [(name, k) for name in dict.fromkeys(names) for k in range(len(frames))]

        def ask(open_: Sequence[int], attempt: int) -> Sequence[Outcome]:
            pictures, claims = [], []
            for n in open_:
                name, k = asked[n]
                seed = row_seed(self._seed, row, self.name, name, k, attempt)
                pictures.append(Picture(frames[k], f"{row['image_id']}-{k}", seed))
                claims.append(name)
            return [
                verdict if isinstance(verdict, Fault)
                else Fault("unparsable", f"expected yes or no, got {verdict.raw[:300]!r}", retryable=True)
                if verdict.accept is None else {"seen": verdict.accept, "score": verdict.score}
                for verdict in self.judge.judge(pictures, claims)
            ]  # fmt: skip

        by_name: dict[str, list[Outcome]] = {}
        for (name, _), outcome in zip(asked, ask_again(len(asked), self._attempts, ask), strict=True):
            by_name.setdefault(name, []).append(outcome)
        return self._outcome(row, {name: self._seen(said) for name, said in by_name.items()}, len(frames))

    def _seen(self, said: Sequence[Outcome]) -> bool | Fault:
        answers = [answer for answer in said if isinstance(answer, dict)]
        broken = next((answer for answer in said if isinstance(answer, Fault)), None)
        if self._rule == "any" and any(answer["seen"] for answer in answers):
            return True
        if broken is not None:
            return broken  # a frame that nobody could judge may show it
        if self._rule == "any":
            return False
        return sum(answer["score"] for answer in answers) >= 0.5 * len(answers)

    def _outcome(self, row: Row, seen: Mapping[str, bool | Fault], frames: int) -> Outcome:
        positives = [n for n in row["extracted_objects"] if not self._positives_too or seen[n] is True]
        negatives = [n for n in row["proposed_objects"] if seen[n] is False]
        found = {"positive_objects": positives, "negative_objects": negatives, "frames": frames}
        faults = [seen[n] for n in row["proposed_objects"] if isinstance(seen[n], Fault)]
        if not negatives and len(faults) == len(row["proposed_objects"]):
            fault = faults[0]
            assert isinstance(fault, Fault)
            return fault
        if not negatives:
            return Reject("objects_present", keep=found)
        return Reject("positives_not_seen", keep=found) if len(positives) < self._least else found
