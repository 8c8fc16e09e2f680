"""How good the tiny models are, on scenes that none of them learnt from, through plain transformers.

Chat models are asked through P1's own roles, so that a figure counts what a pipeline would get.
"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from negscale.backends.chat_roles import ChatJudge, ChatNegater, ChatProposer
from negscale.core.backend import NegationRequest, Picture, Proposal, ProposalRequest, Verdict
from negscale.datasets.toy_icons import OBJECTS
from negscale.datasets.toy_scenes import PLACES, Scene, captions, scene
from negscale.language.check import check_negated_caption
from negscale.language.polarity import polarity
from negscale.tiny_models.answering import TransformersChat
from negscale.tiny_models.editor_figures import editor_figures
from negscale.tiny_models.encoder import embed, pairs
from negscale.tiny_models.files import Name
from negscale.tiny_models.lessons import TEST_WORLD, exams, objects_in

Figures = dict[str, float]


def measure(name: Name, folder: Path) -> Figures:
    """The figures of one model; see the function of its name."""
    figures = {"text": text_figures, "vision": vision_figures, "encoder": encoder_figures, "editor": editor_figures}
    return figures[name](folder)


def text_figures(folder: Path, scenes: int = 64) -> Figures:
    """Shares of good answers: objects of toyworld that the caption does not mention, captions that pass the check."""
    chat = TransformersChat(folder, temperature=0.7, batch=64)
    chat.load()
    said = [captions(scene(TEST_WORLD, index), TEST_WORLD, index, 1)[0] for index in range(scenes)]
    answers = ChatProposer(chat).propose([ProposalRequest(text, (text,), "contextual") for text in said])
    named = [answer[0].object if isinstance(answer, list) and answer else "" for answer in answers]
    good = [name in set(OBJECTS) - objects_in(text) for name, text in zip(named, said, strict=True)]
    present = [name in scene(TEST_WORLD, index).names for index, name in enumerate(named) if good[index]]
    random = ChatProposer(chat).propose([ProposalRequest("", (), "random")] * scenes)
    any_object = [isinstance(answer, list) and answer[0].object in OBJECTS for answer in random]
    different = {answer[0].object for answer in random if isinstance(answer, list) and isinstance(answer[0], Proposal)}
    absent = [
        next(name for name in OBJECTS[index % 16 :] + OBJECTS if name not in objects_in(text))
        for index, text in enumerate(said)
    ]
    written = ChatNegater(chat).negate([NegationRequest(*both) for both in zip(said, absent, strict=True)])
    passed = [
        isinstance(text, str) and check_negated_caption(caption, text, name).accepted
        for caption, text, name in zip(said, written, absent, strict=True)
    ]
    return {
        "proposals_good": _share(good), "proposals_present": _share(present), "random_proposals_good": _share(any_object),
        "random_objects": float(len(different)), "negations_pass_check": _share(passed), "scenes": float(scenes),
    }  # fmt: skip


def vision_figures(folder: Path, scenes: int = 128) -> Figures:
    """Answers to as many questions about present as about absent objects."""
    chat = TransformersChat(folder, accepts_images=True, batch=64, max_new_tokens=4)
    chat.load()
    asked = [
        (index, exam.pixels, *question)
        for index, exam in enumerate(exams(TEST_WORLD, range(scenes), 4))
        for question in exam.asked
    ]
    verdicts = ChatJudge(chat).judge(
        [Picture(pixels, str(index)) for index, pixels, _, _ in asked], [name for _, _, name, _ in asked]
    )
    said = [verdict.accept if isinstance(verdict, Verdict) else None for verdict in verdicts]
    truth = [there for *_, there in asked]
    called_absent = [not there for answer, there in zip(said, truth, strict=True) if answer is False]
    return {
        "accuracy": _share([answer == there for answer, there in zip(said, truth, strict=True)]),
        "absent_precision": _share(called_absent), "unparsable": _share([answer is None for answer in said]),
        "questions": float(len(asked)),
    }  # fmt: skip


def encoder_figures(folder: Path, batches: int = 8, among: int = 64) -> Figures:
    """Recall at 1 among 64, what one reaches who takes the fullest caption that is true of the scene, and negation.

    `negation_accuracy` is the share of pictures that lie nearer to the true one of "CAPTION with a X" and "CAPTION with no
    X", half of the weight on things that are there and are not in the caption, half on things that are not: 0.5 = negation
    is not understood, also where one of the two is always preferred ("no" is in one of some hundreds of captions seen).
    """
    right: dict[str, list[float]] = {
        "image_to_text": [],
        "text_to_image": [],
        "by_rule": [],
        "absent": [],
        "present": [],
    }
    for batch in range(batches):
        scenes = range(batch * among, (batch + 1) * among)
        drawn = [scene(TEST_WORLD, index) for index in scenes]
        images, texts = pairs(TEST_WORLD, scenes)
        asked = [
            pair for i, (what, text) in enumerate(zip(drawn, texts, strict=True)) for pair in _to_deny(i, what, text)
        ]
        denied = [f"{texts[i].rstrip('.')} with no {name}" for i, name, _ in asked]
        stated = [f"{texts[i].rstrip('.')} with a {name}" for i, name, _ in asked]
        seen, written = embed(folder, images, [*texts, *denied, *stated])
        written, no, yes = np.split(written, [among, among + len(asked)])
        scores = seen @ written.T
        right["image_to_text"] += (scores.argmax(1) == np.arange(among)).tolist()
        right["text_to_image"] += (scores.argmax(0) == np.arange(among)).tolist()
        fits = np.array([[_fits(text, what) for text in texts] for what in drawn])
        fullest = fits == fits.max(axis=1, keepdims=True)
        right["by_rule"] += (fullest.diagonal() / fullest.sum(axis=1)).tolist()
        own = seen[[i for i, _, _ in asked]]
        denies = (own * no).sum(1) > (own * yes).sum(1)
        for (_, _, there), chosen in zip(asked, denies.tolist(), strict=True):
            right["present" if there else "absent"].append(chosen != there)
    return {
        "image_to_text_r1": _share(right["image_to_text"]), "text_to_image_r1": _share(right["text_to_image"]),
        "image_to_text_r1_by_rule": _share(right["by_rule"]),
        "negation_accuracy": (_share(right["absent"]) + _share(right["present"])) / 2,
        "pairs": float(batches * among), "among": float(among),
    }  # fmt: skip


def _to_deny(number: int, what: Scene, text: str) -> list[tuple[int, str, bool]]:
    """(number of the scene, thing, whether it is there): one that is not there, and one that is and goes unsaid, if any."""
    names = OBJECTS[number % 16 :] + OBJECTS[: number % 16]
    unsaid = [name for name in names if name not in text.lower()]
    absent = [name for name in unsaid if name not in what.names][:1]
    present = [name for name in unsaid if name in what.names][:1]
    return [(number, name, name in what.names) for name in (*absent, *present)]


def _fits(text: str, what: Scene) -> int:
    """How much a caption says, in things and places named; 0 where it is false of a scene. Positions are not read."""
    places = [place.phrase for place in PLACES if place.phrase in text]
    said = {name: polarity(text, name) for name in objects_in(re.sub(r"[^\w]", " ", text))}
    true = all(phrase == what.place.phrase for phrase in places) and all(
        (name in what.names) == (found != "denied") for name, found in said.items()
    )
    return len(said) + len(places) if true else 0


def _share(values: list[bool] | list[float]) -> float:
    return round(float(np.mean(values)), 4) if values else float("nan")
