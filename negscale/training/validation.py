"""Validation during training on rows that were held out: retrieval, Retrieval-Neg and a balanced choice.

Retrieval is by captions, Retrieval-Neg by the captions that also deny something (NegBench, arXiv 2501.09425, section 3);
both among the held-out images. The choice is two sentences that affirm and deny one object, asked of one image without it
and of one with it, so that each sentence is as often right as wrong: a model that looks at texts alone, or that ignores the
negation, gets 1/2. What differs from the released trainers: NegationCLIP logs the accuracy within a batch, and NegBench
evaluates after the training.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cached_property
from typing import Any

import numpy as np
import torch

from negscale.core.rng import rng_for, seed_for
from negscale.language.nouns import mentions
from negscale.language.statements import restate
from negscale.metrics.multiple_choice import group_scores, shared_credits
from negscale.metrics.ranking import rank
from negscale.metrics.retrieval import recall_at_k
from negscale.models.towers import Tokenizer
from negscale.storage.folder import Folder
from negscale.training.engine import Engine
from negscale.training.order import Cursor, share
from negscale.training.reader import RowStream

Encode = Callable[[Sequence[str]], np.ndarray]  # texts -> float32[T, D], unit length
_COLUMNS = ("caption", "negated_caption", "absent_object")
_PAIRS_OF_OBJECT = 20
_TEXTS_A_PASS = 256


class Probe:
    """A fixed set of held-out rows and what is asked of them. Read once, when the first figures are wanted."""

    def __init__(self, held_out: RowStream, most_rows: int, seed: int) -> None:
        """held_out: with the vectors of its images."""
        names = [
            set(source.config.model_copy(update={"columns": ()}).build().schema.names) for source in held_out.sources
        ]
        columns = [name for name in _COLUMNS if all(name in there for there in names)]
        self.kinds = columns
        wanted = ("image_id", *columns)
        sources = [source.config.model_copy(update={"columns": wanted}).build() for source in held_out.sources]
        images = {"image": held_out.vectors["image"]} if "image" in held_out.vectors else {}
        self._stream = replace(held_out, sources=sources, columns=["id", *wanted], vectors=images)
        self._most, self._seed = most_rows, seed

    def figures(self, encode: Encode) -> dict[str, float]:
        """Shares in 0..1 by name; what the rows do not allow to be asked is left out. A collective where `encode` is one."""
        rows, image_ID = self._read
        sets = self._texts
        texts = sorted(
            {text for found in sets.values() for text, _ in found} | {t for *_, pair in self._pairs for t in pair}
        )
        if not len(image_ID) or not texts:
            return {}
        place = {text: at for at, text in enumerate(texts)}
        text_TD = np.asarray(encode(texts), np.float32)
        found: dict[str, float] = {"validation_rows": float(len(rows)), "validation_images": float(len(image_ID))}
        for name, pairs in sets.items():
            if pairs:
                found |= _retrieval(name, text_TD[[place[text] for text, _ in pairs]], [i for _, i in pairs], image_ID)
        if self._pairs:
            images = np.array([(a, b) for a, b, _ in self._pairs])
            said = np.array([[place[denied], place[affirmed]] for *_, (denied, affirmed) in self._pairs])
            scores = np.einsum("nid,ntd->nit", image_ID[images], text_TD[said], dtype=np.float64)
            answers = np.tile([0, 1], len(scores))
            found["validation_choice"] = float(shared_credits(scores.reshape(-1, 2), answers).mean())
            found["validation_choice_both"] = float(group_scores(scores).group.mean())
            found["validation_questions"] = float(2 * len(scores))
        return found

    @cached_property
    def _read(self) -> tuple[list[dict[str, Any]], np.ndarray]:
        """Rows whose image has a vector, each with the number of its image, and the images' vectors float32[I, D]."""
        batch = next(iter(self._stream.epoch(Cursor(), self._most)))
        rows, vectors, number = [], [], {}
        for row, vector in zip(batch.rows, batch.vectors["image"], strict=True):
            if not np.isfinite(vector).all():
                continue
            image = row["image_id"] or row["id"]
            if image not in number:
                number[image] = len(vectors)
                vectors.append(vector)
            rows.append({**row, "number": number[image]})
        return rows, np.stack(vectors) if vectors else np.zeros((0, 0), np.float32)

    @cached_property
    def _texts(self) -> dict[str, list[tuple[str, int]]]:
        """Queries of the two retrievals, each with the number of its image."""
        rows, _ = self._read
        found = {}
        for name, column in (("retrieval", "caption"), ("retrieval_neg", "negated_caption")):
            found[name] = list(dict.fromkeys((row[column], row["number"]) for row in rows if row.get(column)))
        return found

    @cached_property
    def _pairs(self) -> list[tuple[int, int, tuple[str, str]]]:
        """(image without the object, image with it, (sentence that denies it, sentence that affirms it))."""
        if not {"caption", "absent_object"} <= set(self.kinds):
            return []
        rows, _ = self._read
        without: dict[str, set[int]] = {}
        for row in rows:
            if row["absent_object"]:
                without.setdefault(row["absent_object"], set()).add(row["number"])
        found = []
        for name, lacking in sorted(without.items()):
            showing = {row["number"] for row in rows if row["caption"] and mentions(row["caption"], name)} - lacking
            # each image's place in the draw depends on it and the object alone
            lists = [sorted(side, key=lambda image: seed_for(self._seed, name, image)) for side in (lacking, showing)]
            for k, (a, b) in enumerate(zip(*lists, strict=False)):
                if k == _PAIRS_OF_OBJECT:
                    break
                rng = rng_for(self._seed, "choice", name, k)
                found.append((a, b, (restate((), (name,), rng), restate((name,), (), rng))))
        return found


def encode_texts(engine: Engine, tokenizer: Tokenizer, texts: Sequence[str]) -> np.ndarray:
    """float32[T, D] of texts by the text encoder as it stands, each worker a share of them; a collective."""
    mine, slots = share(0, len(texts), engine.world.rank, engine.world.size)
    local = [texts[i] for i in mine] + [""] * (slots - len(mine))
    found = []
    with torch.no_grad():
        for start in range(0, slots, _TEXTS_A_PASS):
            ids_TL = tokenizer(local[start : start + _TEXTS_A_PASS]).ids_TL
            found.append(engine.encode(ids_TL.to(engine.device))[0].float())
        return engine.gather(torch.cat(found))[: len(texts)].cpu().numpy()


def note_validation(folder: Folder, step: int, figures: dict[str, float]) -> None:
    """Leave the figures of a step in the training's folder."""
    folder.write(f"validation/step_{step:09d}.json", json.dumps({"step": step, **figures}, indent=1).encode())


def validations(folder: Folder) -> dict[int, dict[str, float]]:
    """step -> figures, in the order of the steps."""
    found = {}
    for entry in sorted(folder.list("validation"), key=lambda entry: entry.path):
        record = json.loads(folder.read(entry.path))
        found[int(record.pop("step"))] = record
    return found


def _retrieval(name: str, text_QD: np.ndarray, images: Sequence[int], image_ID: np.ndarray) -> dict[str, float]:
    by_text = rank(text_QD, image_ID, [[i] for i in images])
    found = {f"validation_{name}_r{k}": recall_at_k(by_text, k) for k in (1, 5)}
    if name == "retrieval":
        positives: list[list[int]] = [[] for _ in image_ID]
        for at, image in enumerate(images):
            positives[image].append(at)
        found["validation_retrieval_of_texts_r1"] = recall_at_k(rank(image_ID, text_QD, positives), 1)
    return found
