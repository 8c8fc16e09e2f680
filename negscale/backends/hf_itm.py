"""Image-text matching with BLIP as a judge of presence.

NeIn proposes as absent the objects whose BLIP cosine with the picture is lowest and below 0.4: text = the bare name, ITC head
of Salesforce/blip-itm-large-coco (arXiv 2409.06481; generation_phase/clause_generation.py). What differs: equal pictures
are encoded once a call, and the threshold is a config value. A cosine is a weak witness: small objects hardly move it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import cached_property
from typing import Any, Literal

from pydantic import Field, field_validator

from negscale.backends.hf_weights import HfModelConfig, check_library, device_of
from negscale.backends.pixels import in_batches, pixel_fault
from negscale.core.backend import Image, Picture, Verdict
from negscale.core.errors import FatalError
from negscale.core.stage import Fault


class HfItmConfig(HfModelConfig):
    """BLIP asked how well a text fits a picture."""

    kind: Literal["hf_itm"] = "hf_itm"
    head: Literal["itc", "itm"] = "itc"
    """itc: cosine of picture and text; itm: the matching head's probability, which lets text tokens look at the picture."""
    prompt: str = "{object}"
    """The text of a claim."""
    threshold: float = Field(default=0.4, ge=0, le=1)
    """Present when the score reaches this; NeIn's value is for the cosine."""

    @field_validator("prompt")
    @classmethod
    def _has_a_place(cls, prompt: str) -> str:
        if "{object}" not in prompt:
            raise ValueError("expected a text with {object} in it, e.g. 'a photo of {object}'")
        return prompt

    def build(self) -> HfItmJudge:
        """The judge, not loaded yet."""
        return HfItmJudge(self)


class HfItmJudge:
    """Judge: image-text matching score against a threshold."""

    exact = False  # a batch mate may change the last bits of a score
    needs_pixels = True

    def __init__(self, config: HfItmConfig) -> None:
        self._config = config
        self._model: Any = None

    @property
    def id(self) -> str:
        """hf/MODEL@REVISION; head, prompt and threshold are in the config's identity."""
        return self._id

    @cached_property
    def _id(self) -> str:
        return self._config.backend_id()

    def load(self) -> None:
        """Load processor and weights. Raises ConfigError when the model cannot be had or is no BLIP."""
        check_library("torch")
        check_library("transformers")
        self._config.need_type(("blip",), "hf_itm")
        import torch
        import transformers

        self._device = device_of(self._config.run.device)
        self._dtype = getattr(torch, self._config.dtype)
        self._processor: Any = self._config.load_with(transformers.AutoProcessor.from_pretrained)
        model: Any = self._config.load_with(transformers.BlipForImageTextRetrieval.from_pretrained, dtype=self._dtype)
        self._model = model.to(self._device).eval()

    def close(self) -> None:
        """Drop the model."""
        self._model = None

    def judge(self, pictures: Sequence[Picture], claims: Sequence[str]) -> list[Verdict | Fault]:
        """Whether each picture shows the object (or fits the sentence) beside it; `score` is cosine (cut at 0) or probability."""
        if self._model is None:
            raise FatalError(f"{self.id}: judge() on a model that is not loaded; call load() first")
        faults = [pixel_fault(picture.pixels, picture.image_id) for picture in pictures]
        asked = [i for i, fault in enumerate(faults) if fault is None]
        scores = iter(self.scores([_pixels(pictures[i]) for i in asked], [claims[i] for i in asked]))
        return [fault or self._verdict(next(scores)) for fault in faults]

    def _verdict(self, score: float) -> Verdict | Fault:
        if score != score:
            return Fault("not_a_number", "the model's score is NaN; set dtype=float32")
        return Verdict(score >= self._config.threshold, min(max(score, 0.0), 1.0), f"{self._config.head}={score:.4f}")

    def scores(self, images: Sequence[Image], claims: Sequence[str]) -> list[float]:
        """Score of each (image, claim): a cosine of -1..1, or a probability."""
        seen: dict[bytes, int] = {}
        at = [seen.setdefault(_digest(image), len(seen)) for image in images]
        different = [images[at.index(number)] for number in range(len(seen))]
        size = self._config.run.batch_size
        states = in_batches(different, size, self._see)
        pairs = [(states[number], claim) for number, claim in zip(at, claims, strict=True)]
        return in_batches(pairs, size, self._match)

    def _see(self, images: Sequence[Image]) -> list[Any]:
        import torch

        pixels = self._processor.image_processor(list(images), return_tensors="pt")["pixel_values"]
        with torch.inference_mode():
            return list(self._model.vision_model(pixel_values=pixels.to(self._device, self._dtype)).last_hidden_state)

    def _match(self, pairs: Sequence[tuple[Any, str]]) -> list[float]:
        import torch
        from torch.nn.functional import normalize

        model = self._model
        texts = [self._config.prompt.replace("{object}", claim) for _, claim in pairs]
        tokens = self._processor.tokenizer(
            texts, return_tensors="pt", padding=True, truncation=True,
            max_length=model.config.text_config.max_position_embeddings,
        ).to(self._device)  # fmt: skip
        text = {"input_ids": tokens["input_ids"], "attention_mask": tokens["attention_mask"]}
        image = torch.stack([state for state, _ in pairs])
        with torch.inference_mode():
            if self._config.head == "itm":
                # the mask is made here: transformers makes it on the CPU, wherever the model is
                mask = torch.ones(image.shape[:-1], dtype=torch.long, device=image.device)
                fused = model.text_encoder(**text, encoder_hidden_states=image, encoder_attention_mask=mask)
                return model.itm_head(fused.last_hidden_state[:, 0]).float().softmax(-1)[:, 1].tolist()
            said = model.text_encoder(**text).last_hidden_state[:, 0]
            cosine = normalize(model.vision_proj(image[:, 0]), dim=-1) * normalize(model.text_proj(said), dim=-1)
            return cosine.float().sum(-1).tolist()


def _pixels(picture: Picture) -> Image:
    assert picture.pixels is not None
    return picture.pixels


def _digest(image: Image) -> bytes:
    return hashlib.blake2b(repr(image.shape).encode() + image.tobytes(), digest_size=16).digest()
