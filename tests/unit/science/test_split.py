"""What the tests keep for themselves: found in texts and rows, and absent from what fine-tuning reads."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest

from negscale.datasets.toy_icons import OBJECTS
from negscale.datasets.toy_scenes import captions, scene
from negscale.language.realise import realise
from negscale.language.statements import restate
from negscale.science.sentences import CLASS, DENYING_CAPTION, REFERRING, STATE, exam_frames, say, statement
from negscale.science.split import Split, breaches, frame_of, has_test_cue, names_in, split_objects, why_not

SPLIT = Split((("apple", "ball", "bench", "bird"), ("book", "car", "cat", "chair"),
               ("clock", "cup", "dog", "flower"), ("hat", "kite", "tree", "umbrella")))  # fmt: skip


def test_groups_hold_every_object_once_and_seeds_differ() -> None:
    split = split_objects(0)
    assert sorted(name for group in split.groups for name in group) == sorted(OBJECTS)
    assert sorted(len(group) for group in split.groups) == [5, 5, 6]
    assert split != split_objects(1)
    assert sum(split.is_test_pair(*pair) for pair in combinations(OBJECTS, 2)) == 35


def test_names_and_frames() -> None:
    assert names_in("Benches, umbrellas and a Clock; a catalogue") == {"bench", "umbrella", "clock"}
    assert frame_of("An apple is on the street.") == frame_of("a dog is in the park")
    assert frame_of("There is no dog in the park") != frame_of("There is a dog in the park")
    assert frame_of("a dog and a cat") != frame_of("a dog")


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"caption": "A dog in the park", "negated_caption": "A dog in the park with no car"}, None),
        ({"caption": "A dog in the park", "negated_caption": "A dog, but there isn't a car"}, None),
        ({"caption": "A dog in the park", "negated_caption": "A dog, but it doesn't show a car"}, "test_cue"),
        ({"caption": "A dog in the park", "negated_caption": "A dog where you can't see a car"}, "test_cue"),
        ({"caption": "A dog in the park", "negated_caption": "A dog in the park with no cups"}, "test_pair"),
        ({"caption": "A dog in the park", "absent_object": "cup"}, "test_pair"),
        ({"caption": "A dog in the park", "positive_objects": ["dog", "flower"]}, "test_pair"),
        ({"caption": "a photo of a dog in the park"}, "test_frame"),
        ({"caption": "A dog", "positive_objects": ["cup"], "options": ["A dog", "no car", "a cat"]}, None),
        ({"caption": "A dog", "options": ["A dog but no cup", "no car"]}, "test_pair"),
    ],
)
def test_rows_are_refused_for_their_reason(row: dict, reason: str | None) -> None:
    assert why_not(SPLIT, exam_frames(), row) == reason


def test_every_exam_sentence_is_recognised() -> None:
    for affirmed, denied in STATE:
        for seed in range(6):
            text = statement(["dog", "cup"][:affirmed], ["flower"][:denied], seed)
            assert frame_of(text) in exam_frames(), text
            assert has_test_cue(text) == bool(denied), text
    for forms in (DENYING_CAPTION, REFERRING):
        for form in forms:
            text = say([form], ["umbrella", "apple"], "at the beach")
            assert has_test_cue(text)
            assert frame_of(text) in exam_frames()
    assert frame_of(say(CLASS, ["apple"])) in exam_frames()


def test_the_grammars_of_fine_tuning_have_other_frames() -> None:
    """Cues may come from a grammar, and are then refused; frames may not, or nothing would be left to train on."""
    texts = []
    for index in range(400):
        rng = np.random.default_rng(index)
        what = scene(5, index)
        said = captions(what, 5, index, 2)
        texts += [*said, *(realise(text, "cat", rng).text for text in said)]
        texts += [restate((), ("cat",), rng), restate(("dog",), ("cat",), rng), restate(("dog", "cat"), (), rng)]
    found = breaches(Split(tuple((name,) for name in OBJECTS)), exam_frames(), texts)
    assert set(found) <= {"test_cue"}, found


def test_breaches_name_the_texts() -> None:
    found = breaches(
        SPLIT, exam_frames(), ["no cup and no dog", "You can't see a dog", "a photo of a cup", "no car, a dog"]
    )
    assert found == {
        "test_pair": ["no cup and no dog"], "test_cue": ["You can't see a dog"], "test_frame": ["a photo of a cup"]
    }  # fmt: skip
