"""What a stage may ask of a model: small protocols, batches in, one answer per request out.

A `Fault` stands where one request failed. A request carries its own seed, so that an answer does not depend on its
batch mates. A backend says with `exact` whether equal requests always give equal answers on every worker.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol, TypeAlias

import numpy as np

from negscale.core.stage import Fault, Reject

Image: TypeAlias = np.ndarray  # uint8[H, W, 3], RGB
Strategy: TypeAlias = Literal["contextual", "random"]
Order: TypeAlias = Literal["any", "affirmation_first", "negation_first"]  # what the caption says first (NegBench)


@dataclass(frozen=True, slots=True)
class Turn:
    """One message of a conversation."""

    role: Literal["system", "user", "assistant"]
    text: str
    image: Image | None = None  # None for text LLMs


@dataclass(frozen=True, slots=True)
class ChatRequest:
    """A conversation that wants an answer."""

    turns: tuple[Turn, ...]
    seed: int = 0  # from seed_for(run seed, row id, stage, attempt)


@dataclass(frozen=True, slots=True)
class Reply:
    """The answer to a ChatRequest."""

    text: str
    finish_reason: Literal["stop", "length"]
    prompt_tokens: int
    completion_tokens: int


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether a claim (an object's presence, a sentence) holds of an image."""

    accept: bool | None  # None = the judge's answer could not be parsed
    score: float  # 0..1, higher = surer that the claim holds
    raw: str  # what the judge said, kept for audit


@dataclass(frozen=True, slots=True)
class Detection:
    """One box of a detector."""

    label: str
    score: float  # 0..1
    box_xyxy_px: tuple[float, float, float, float]


@dataclass(frozen=True, slots=True)
class ProposalRequest:
    """A caption that wants an object that is likely in its image but not mentioned (or any object: random)."""

    caption: str
    image_captions: tuple[str, ...]
    strategy: Strategy
    seed: int = 0
    present: tuple[str, ...] = ()  # objects known to be there


@dataclass(frozen=True, slots=True)
class Proposal:
    """A candidate for absence. `score` is the proposer's own, 0 where it has none."""

    object: str
    score: float = 0.0


@dataclass(frozen=True, slots=True)
class NegationRequest:
    """A caption that is to state the absence of an object."""

    caption: str
    absent_object: str
    seed: int = 0
    order: Order = "any"


@dataclass(frozen=True, slots=True)
class ExtractRequest:
    """A caption (and its image's name) whose objects are wanted."""

    caption: str
    image_id: str
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Statement:
    """What an option or a caption says: objects that are there and objects that are not."""

    affirmed: tuple[str, ...] = ()
    denied: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class RephraseRequest:
    """A sentence that is to be said in other words with the same truth value."""

    text: str
    statement: Statement
    seed: int = 0


class Backend(Protocol):
    """Lifecycle and name of every model."""

    @property
    def exact(self) -> bool: ...  # equal requests give equal answers on every worker and in every batch
    @property
    def id(self) -> str: ...  # "vllm/meta-llama/Meta-Llama-3-8B-Instruct@<revision>"
    def load(self) -> None: ...  # heavy imports and weights, once per worker
    def close(self) -> None: ...


class ChatModel(Backend, Protocol):
    """A text LLM; a multimodal one when `accepts_images`."""

    @property
    def accepts_images(self) -> bool: ...

    def generate(self, requests: Sequence[ChatRequest]) -> list[Reply | Fault]: ...


@dataclass(frozen=True, slots=True)
class Picture:
    """A decoded image with the id that its source gives it (a judge that knows annotations looks that up)."""

    pixels: Image | None  # None for a judge with `needs_pixels = False`
    image_id: str
    seed: int = 0


class Judge(Backend, Protocol):
    """Says of each image whether the claim beside it holds (an object name = "this object is in the image")."""

    @property
    def needs_pixels(self) -> bool: ...

    def judge(self, pictures: Sequence[Picture], claims: Sequence[str]) -> list[Verdict | Fault]: ...


class Detector(Backend, Protocol):
    """Boxes with scores. `vocabulary` is None for open-vocabulary detectors."""

    @property
    def vocabulary(self) -> tuple[str, ...] | None: ...

    def detect(self, images: Sequence[Image], labels: Sequence[Sequence[str]]) -> list[list[Detection] | Fault]: ...


class Proposer(Backend, Protocol):
    """Names, for each caption, the absent-object candidates, best first; an unparsable answer is a Fault."""

    def propose(self, requests: Sequence[ProposalRequest]) -> list[list[Proposal] | Fault]: ...


class Negater(Backend, Protocol):
    """Rewrites each caption so that it states the absence of the object."""

    def negate(self, requests: Sequence[NegationRequest]) -> list[str | Fault]: ...


class Extractor(Backend, Protocol):
    """Lists the objects that each caption (or annotation of its image) states; [] where there is none."""

    def extract(self, requests: Sequence[ExtractRequest]) -> list[list[str] | Fault]: ...


class ListValidator(Backend, Protocol):
    """Whether each list holds names of objects and nothing else; None = the answer could not be parsed."""

    def validate(self, lists: Sequence[Sequence[str]], seeds: Sequence[int]) -> list[bool | Fault | None]: ...


class Rephraser(Backend, Protocol):
    """Says each sentence in other words."""

    def rephrase(self, requests: Sequence[RephraseRequest]) -> list[str | Fault]: ...


@dataclass(frozen=True, slots=True)
class MergeRequest:
    """A question answered "no" and a caption of its image that is to state so. `kind`: object, attribute or action."""

    question: str
    caption: str
    kind: str
    seed: int = 0


class Merger(Backend, Protocol):
    """Writes what each question's "no" denies into the caption; a Reject where the question does not lend itself."""

    def merge(self, requests: Sequence[MergeRequest]) -> list[str | Reject | Fault]: ...


class DualEncoder(Backend, Protocol):
    """Pictures and texts as vectors of one space; rows have unit L2 norm, so that a dot product is the cosine."""

    def encode_images(self, images: Sequence[Image]) -> np.ndarray: ...  # float32[N, D]

    def encode_texts(self, texts: Sequence[str]) -> np.ndarray: ...  # float32[N, D]


@dataclass(frozen=True, slots=True)
class EditRequest:
    """An image and what is to be done to it in words."""

    image: Image
    instruction: str
    seed: int = 0  # from seed_for(run seed, row id, stage, attempt)
    image_id: str = ""  # edits of one image share what depends on the image alone
    subject: str = ""  # the object that the instruction names; editors that read words do without


@dataclass(frozen=True, slots=True)
class Edit:
    """An edited image uint8[H, W, 3], of the size of the input unless the editor works at a fixed one."""

    image: Image
    box_xyxy_px: tuple[float, float, float, float] | None = None  # where the editor put the subject, if it knows
    batch: int = 1  # edits in the model call that made this one: less than configured when memory ran out


class ImageEditor(Backend, Protocol):
    """Edits each image as its instruction says.

    An editor cuts what it is given into micro-batches of equal size, the last one padded: given the same requests, it
    gives the same edits, and `exact` holds on one kind of device.
    """

    def edit(self, requests: Sequence[EditRequest]) -> list[Edit | Fault]: ...


@dataclass(frozen=True, slots=True)
class ImageRequest:
    """A picture that is wanted, in words, and what must not be in it."""

    prompt: str
    negative_prompt: str = ""
    seed: int = 0  # from seed_for(run seed, row id, stage, attempt)


class ImageMaker(Backend, Protocol):
    """Makes each picture from its words; a picture depends on its request alone."""

    def make(self, requests: Sequence[ImageRequest]) -> list[Image | Fault]: ...


@dataclass(frozen=True, slots=True)
class SceneRequest:
    """An object that wants a setting, and another object that is often next to it there."""

    label: str
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Scene:
    """Where an object is, and beside what."""

    background: str  # "a park"
    companion: str  # "bench"


class SceneWriter(Backend, Protocol):
    """Invents a scene for each object."""

    def write(self, requests: Sequence[SceneRequest]) -> list[Scene | Fault]: ...
