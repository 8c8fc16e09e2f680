"""Balanced questions: what the build promises, checked on tables small enough to search."""

from __future__ import annotations

import csv
import json
from collections import Counter
from itertools import product
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from negscale.core.errors import ConfigError, PlanError
from negscale.core.schema import PRESENCE
from negscale.language.nouns import COCO_80
from negscale.questions.balanced import BalancedOptions, build_balanced, draw_roles
from negscale.questions.balanced_set import BalancedSet, oracle, truths
from negscale.questions.blind import length_rules, type_prior
from negscale.questions.files import read_questions
from negscale.questions.forms import OBJECTS, STRUCTURES, forms_of
from negscale.questions.leaks import leaks
from negscale.questions.lexicon import ANNOTATED, Lexicon
from negscale.questions.options import claim_of, claims_of
from negscale.questions.table import Questions, credits
from negscale.questions.wording import CUE_SHARES, TEMPLATES, Wording, fill, sentence

NAMES = ("apple", "dog", "scissors", "tv", "person", "broccoli")
OPTIONS = BalancedOptions(questions=96, images_per_set=4, draws=0)


def table_of(copies: int, doubts: bool = False) -> pa.Table:
    """`copies` images of every combination of the six objects; with doubts, some objects are neither."""
    rows = []
    for number, bits in enumerate(list(product((True, False), repeat=len(NAMES))) * copies):
        known = [name for at, name in enumerate(NAMES) if not (doubts and number % 7 == at)]
        there = {name for name, bit in zip(NAMES, bits, strict=True) if bit}
        rows.append({
            "image_id": f"i{number}", "image_path": f"val/{number}.jpg",
            "present": [n for n in known if n in there], "absent": [n for n in known if n not in there],
        })  # fmt: skip
    return pa.Table.from_pylist(rows, schema=PRESENCE)


@pytest.fixture(scope="module")
def built() -> BalancedSet:
    return build_balanced(table_of(12), 5, OPTIONS)


def test_every_option_of_a_form_can_be_the_only_true_one() -> None:
    for structure in STRUCTURES:
        assert forms_of(structure)
        for form in forms_of(structure):
            assert sorted(option.kind for option in form.options) == sorted(structure)
            for role, option in enumerate(form.options):
                patterns = np.flatnonzero(form.roles[role])
                assert len(patterns)
                for pattern in patterns.tolist():
                    there = {number for number in range(OBJECTS) if pattern >> number & 1}
                    true = [set(o.affirmed) <= there and not set(o.denied) & there for o in form.options]
                    assert true == [o is option for o in form.options]


def test_kinds_and_answer_types_are_as_frequent_as_planned() -> None:
    kinds = Counter(kind for structure in STRUCTURES for kind in structure)
    assert kinds == {"affirm_one": 3, "affirm_two": 1, "hybrid": 4, "deny": 4}


def test_roles_are_even_over_sets_and_free_within_one() -> None:
    rng = np.random.default_rng(0)
    drawn = np.stack([draw_roles(4, rng) for _ in range(2000)])  # draws, sets, images
    assert (np.sort(drawn, axis=1) == np.arange(4)[:, None]).all()
    repeats = (drawn[:, 0, 0] == drawn[:, 0, 1]).mean()
    assert abs(repeats - 0.25) < 4 * np.sqrt(0.25 * 0.75 / 2000)  # a set's answers do not exclude each other


def test_exactly_one_text_is_true_of_each_image(built: BalancedSet) -> None:
    table = table_of(12)
    scores = oracle(built.questions, table, Lexicon(NAMES))
    assert (scores.sum(axis=1) == 1).all()
    assert credits(built.questions, scores).mean() == 1
    assert len(set(built.questions.images)) == len(built.questions)


def test_objects_in_doubt_are_never_asked_about() -> None:
    table = table_of(12, doubts=True)
    questions = build_balanced(table, 1, OPTIONS).questions
    truth, lexicon = truths(table, Lexicon(NAMES)), Lexicon(NAMES)
    for image, options in zip(questions.images, questions.options, strict=True):
        for option in options:
            claim = claim_of(option, lexicon)
            assert {*claim.affirmed, *claim.denied} <= set(truth[image])


def test_kinds_are_right_equally_often(built: BalancedSet) -> None:
    counts = built.counts
    assert counts["answer_types"] == {"hybrid": 32, "negative": 32, "positive": 32}
    assert {kind: 4 * n for kind, n in counts["right_by_kind"].items()} == counts["options_by_kind"]
    assert counts["groups"] == 24
    assert counts["negated_share"] == pytest.approx(2 / 3)


def test_pairs_are_two_by_two(built: BalancedSet) -> None:
    table = table_of(12)
    truth, lexicon = truths(table, Lexicon(NAMES)), Lexicon(NAMES)
    right = built.questions.answers_text()
    used = [at for pair in built.pairs for at in (pair.first, pair.second)]
    assert len(used) == len(set(used)) > len(built.questions) / 2

    def holds(text: str, image: str) -> bool:
        claim = claim_of(text, lexicon)
        there = truth[image]
        return all(there[n] for n in claim.affirmed) and not any(there[n] for n in claim.denied)

    assert built.questions.groups is not None
    for pair in built.pairs:
        a, b = pair.first, pair.second
        assert built.questions.groups[a] == built.questions.groups[b]
        assert [holds(right[t], built.questions.images[i]) for t in (a, b) for i in (a, b)] == [
            True,
            False,
            False,
            True,
        ]


def test_same_seed_same_questions(built: BalancedSet) -> None:
    again = build_balanced(table_of(12), 5, OPTIONS)
    assert again.manifest() == built.manifest()
    other = build_balanced(table_of(12), 6, OPTIONS)
    assert other.fingerprint != built.fingerprint
    assert other.questions.options != built.questions.options
    assert build_balanced(table_of(13), 5, OPTIONS).fingerprint != built.fingerprint


def test_written_files_are_read_back(built: BalancedSet, tmp_path: Path) -> None:
    built.write(str(tmp_path))
    back = read_questions(str(tmp_path / "questions.csv"))
    assert (back.options, back.answers, back.groups) == (
        built.questions.options, built.questions.answers, built.questions.groups,
    )  # fmt: skip
    with (tmp_path / "pairs.csv").open(newline="") as file:
        assert len(list(csv.DictReader(file))) == len(built.pairs)
    manifest = json.loads((tmp_path / "manifest.json").read_text())
    assert manifest["fingerprint"] == built.fingerprint
    assert manifest["counts"] == json.loads(json.dumps(built.counts))


def test_too_few_images_are_refused_with_a_way_out() -> None:
    with pytest.raises(
        PlanError, match=r"64 images allow 0 of 96 balanced questions.*images_per_set.*questions_per_image"
    ):
        build_balanced(table_of(1), 0, OPTIONS)
    many = BalancedOptions(questions=100_000, images_per_set=4, draws=0)
    with pytest.raises(PlanError, match=r"allow \d\d\d of 100,000"):
        build_balanced(table_of(12), 0, many)
    rest = build_balanced(table_of(12), 0, BalancedOptions(questions=None, images_per_set=4, draws=0))
    assert len(rest.questions) % 48 == 0
    assert len(rest.questions) >= 96


def test_bad_tables_are_refused() -> None:
    table = table_of(1)
    with pytest.raises(ConfigError, match="needs the column 'absent'"):
        build_balanced(table.drop_columns("absent"))
    rows = table.to_pylist()
    with pytest.raises(ConfigError, match="'i0' is listed more than once"):
        build_balanced(pa.Table.from_pylist([rows[0], *rows], schema=PRESENCE))
    with pytest.raises(ConfigError, match=r"'dog'.*as present and as absent"):
        build_balanced(pa.Table.from_pylist([{**rows[0], "absent": ["dog"]}, *rows[1:]], schema=PRESENCE))
    with pytest.raises(ConfigError, match=r"\['tv'\] are other words"):
        build_balanced(pa.Table.from_pylist([{**rows[0], "absent": ["television"]}, *rows[1:]], schema=PRESENCE))


@pytest.mark.parametrize(("kind", "cue"), sorted(TEMPLATES))
def test_every_sentence_says_what_it_is_for(kind: str, cue: str) -> None:
    for template, first, second in product(TEMPLATES[kind, cue], COCO_80, ("cat", "skis")):  # type: ignore[index]
        text = fill(template, [first, second])
        claim = claim_of(text, ANNOTATED)
        a, b = ANNOTATED.forms[first], ANNOTATED.forms[{"skis": "ski"}.get(second, second)]
        if a == b:
            continue
        wanted = {"affirm_one": ((a,), ()), "affirm_two": ((a, b), ()), "deny": ((), (a,)), "hybrid": ((a,), (b,))}
        assert (claim.affirmed, claim.denied) == wanted[kind], text
        assert claim.cues == ((cue,) if cue else ()), text


def test_number_and_articles() -> None:
    assert fill("There {is_a} {a} in this image.", ["scissors"]) == "There are scissors in this image."
    assert fill("There {is_no_a} no {no_a} in this image.", ["broccoli"]) == "There is no broccoli in this image."
    assert fill("{a} {is_a} absent from this image.", ["umbrella"]) == "An umbrella is absent from this image."
    assert fill("No {no_a} {is_no_a} present in this image.", ["tv"]) == "No TV is present in this image."
    assert fill("This image lacks {a}.", ["person"]) == "This image lacks a person."


def test_cues_follow_their_shares() -> None:
    wording, rng, cues = Wording(), np.random.default_rng(0), Counter()
    for _ in range(500):
        chosen = wording.cues(["deny", "deny"], rng)
        wording.count(["deny", "deny"], chosen)
        texts = [sentence("deny", cue, ["dog"], rng) for cue in chosen]
        cues.update(claim_of(text, ANNOTATED).cues[0] for text in texts if text)
    for cue, share in CUE_SHARES["deny"].items():
        assert abs(cues[cue] - 1000 * share) <= 2


def test_rules_of_kind_and_length_are_right_exactly_as_often_as_chance(built: BalancedSet) -> None:
    questions = built.questions
    claims = claims_of(questions.texts, Lexicon(NAMES))
    rules = {**length_rules(questions), "type prior": type_prior(questions, claims)}
    assert {name: credits(questions, scores).mean() for name, scores in rules.items()} == dict.fromkeys(rules, 0.25)


def test_a_draw_that_ties_words_to_answers_is_drawn_again() -> None:
    pytest.importorskip("sklearn")
    built = build_balanced(table_of(12), 5, OPTIONS.model_copy(update={"draws": 10}))
    assert leaks(built.questions, Lexicon(NAMES), ("group", "image")) == {}
    told = Questions(
        "told", built.questions.images, built.questions.options,
        tuple(int(np.argmax([len(text) for text in options])) for options in built.questions.options),
        built.questions.types, built.questions.groups,
    )  # fmt: skip
    assert leaks(told, Lexicon(NAMES), ("group",)).get("by group", 0) > 0.5
