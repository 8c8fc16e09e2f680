"""The co-occurrence build and the proposer on a small corpus whose regularities are known."""

from __future__ import annotations

import csv
import json
from collections import Counter
from pathlib import Path

import pytest

from negscale.backends.cooccurrence import (
    CooccurrenceConfig,
    CooccurrenceProposer,
    CooccurrenceStatistics,
    fit_cooccurrence,
    prepare,
)
from negscale.backends.corpora import CorpusConfig, image_key, read_corpora
from negscale.core.backend import Proposal, ProposalRequest
from negscale.core.errors import ConfigError
from negscale.core.stage import Fault
from negscale.language.nouns import mentions

VOCABULARY = ("person", "surfboard", "fork", "knife", "boat", "clock")


def write_corpus(folder: Path) -> tuple[CorpusConfig, CorpusConfig]:
    """200 beaches with an unmentioned boat in 3 of 4, 200 kitchens with an unmentioned fork in 1 of 2."""
    notes, boxes = [], []
    for number in range(400):
        beach = number < 200
        text = f"waves on a sunny beach {number}" if beach else f"a pizza on a wooden plate {number}"
        notes.append({"image_id": number, "caption": text})
        notes.append({"image_id": number, "caption": "a beach" if beach else "dinner with a knife"})
        if beach and number % 4:
            boxes.append({"image_id": number, "category_id": 5})
        if not beach and number % 2:
            boxes.append({"image_id": number, "category_id": 3})
    categories = [{"id": i + 1, "name": name} for i, name in enumerate(VOCABULARY)]
    captions, instances = folder / "captions.json", folder / "instances.json"
    captions.write_text(json.dumps({"annotations": notes}))
    instances.write_text(
        json.dumps({"images": [{"id": i} for i in range(400)], "categories": categories, "annotations": boxes})
    )
    return CorpusConfig(kind="coco_captions", path=str(captions)), CorpusConfig(
        kind="coco_instances", path=str(instances)
    )


@pytest.fixture
def config(tmp_path: Path) -> CooccurrenceConfig:
    return CooccurrenceConfig(corpora=write_corpus(tmp_path), vocabulary=VOCABULARY, top_k=2)


@pytest.fixture
def proposer(config: CooccurrenceConfig) -> CooccurrenceProposer:
    built = CooccurrenceProposer(config, prepare(config, ()))
    built.load()
    return built


def ask(caption: str, *others: str, strategy: str = "contextual", seed: int = 0) -> ProposalRequest:
    return ProposalRequest(caption, (caption, *others), strategy, seed)  # type: ignore[arg-type]


def objects(answer: list[Proposal] | Fault) -> list[str]:
    assert isinstance(answer, list)
    return [proposal.object for proposal in answer]


def test_context_decides(proposer: CooccurrenceProposer) -> None:
    beach, kitchen = proposer.chances("a sunny beach"), proposer.chances("a pizza on a plate")
    boat, fork = VOCABULARY.index("boat"), VOCABULARY.index("fork")
    assert beach.argmax() == boat
    assert beach[boat] > 0.5
    assert beach[fork] < 0.2
    assert kitchen.argmax() == fork
    assert kitchen[boat] < 0.2


def test_mentioned_objects_are_never_proposed(proposer: CooccurrenceProposer) -> None:
    for seed in range(20):
        (answer,) = proposer.propose([ask("a sunny beach", "some ships far away", seed=seed)])
        assert "boat" not in objects(answer)
    for strategy in ("contextual", "random"):
        (answer,) = proposer.propose([ask("a surfer waves", "a watch and a sailboat", strategy=strategy)])
        for name in objects(answer):
            assert not mentions("a surfer waves", name)
            assert not mentions("a watch and a sailboat", name)


def test_nothing_left_to_propose_is_a_fault(proposer: CooccurrenceProposer) -> None:
    (answer,) = proposer.propose([ask("a person, a surfboard, a fork, a knife, a boat and a clock")])
    assert isinstance(answer, Fault)
    assert answer.kind == "no_candidate"


def test_the_seed_varies_the_first_candidate_in_proportion(proposer: CooccurrenceProposer) -> None:
    firsts = Counter(objects(a)[0] for a in proposer.propose([ask("a sunny beach", seed=s) for s in range(300)]))
    chances = sorted(proposer.chances("a sunny beach"))[::-1][:2]
    assert len(firsts) == 2
    assert firsts["boat"] / 300 == pytest.approx(chances[0] / sum(chances), abs=0.08)


def test_random_is_uniform_over_the_rest(proposer: CooccurrenceProposer) -> None:
    answers = proposer.propose([ask("a sunny beach with a boat", strategy="random", seed=s) for s in range(1000)])
    firsts = Counter(objects(a)[0] for a in answers)
    assert set(firsts) == set(VOCABULARY) - {"boat"}
    assert all(150 < count < 250 for count in firsts.values())


def test_fit_is_deterministic_and_round_trips(config: CooccurrenceConfig) -> None:
    one, two = prepare(config, ()), prepare(config, ())
    assert one.to_json() == two.to_json()
    assert one.digest == two.digest
    assert CooccurrenceStatistics.from_json(one.to_json()) == one
    assert (one.images, one.captions, one.unused_images) == (400, 800, 0)


def test_excluded_images_leave_no_trace(config: CooccurrenceConfig) -> None:
    everything = prepare(config, ())
    without = prepare(config, [f"COCO_val2014_{number:012d}.jpg" for number in range(200)])
    assert without.images == 200
    assert "beach" in everything.feature_captions
    assert "beach" not in without.feature_captions
    assert without.unsaid_total[VOCABULARY.index("boat")] == 0
    with pytest.raises(ConfigError, match="none of the 0 corpus images"):
        prepare(config, range(400))


def test_captions_alone_give_evidence_by_what_others_say(tmp_path: Path) -> None:
    path = tmp_path / "captions.csv"
    with path.open("w", newline="") as handle:
        rows = csv.writer(handle)
        rows.writerow(["image", "caption"])
        for number in range(40):
            rows.writerows([[f"{number}_a1b2.jpg", "a sunny beach"], [f"{number}_a1b2.jpg", "a boat"]])
        rows.writerow(["lonely.jpg", "a sunny beach with a boat"])
    facts = fit_cooccurrence([CorpusConfig(kind="captions_csv", path=str(path))], VOCABULARY, ["7_a1b2.jpg"])
    boat = VOCABULARY.index("boat")
    assert (facts.images, facts.unused_images) == (39, 1)
    assert facts.unsaid["beach"][boat] == 39
    assert facts.said["=boat"][boat] == 39


def test_lists_in_cells_and_annotated_objects(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    with path.open("w", newline="") as handle:
        rows = csv.writer(handle)
        rows.writerow(["image_id", "captions", "positive_objects"])
        rows.writerow([139, "['it''s a room', 'a room']", "['person', 'clock']"])
        rows.writerow([285, "['a bear']", "['']"])
        rows.writerow([632, "[a caption in brackets]", "[]"])
    corpus = CorpusConfig(
        kind="captions_csv", path=str(path), image_column="image_id", caption_column="captions",
        objects_column="positive_objects",
    )  # fmt: skip
    images = read_corpora([corpus])
    assert images["000000000139"].objects == {"person", "clock"}
    assert images["000000000139"].captions[1] == "a room"
    assert images["000000000285"].objects == set()
    assert images["000000000632"].captions == ["[a caption in brackets]"]
    with pytest.raises(ConfigError, match="no column 'caption'"):
        read_corpora([CorpusConfig(kind="captions_csv", path=str(path), image_column="image_id")])


@pytest.mark.parametrize(
    ("name", "key"),
    [
        (139, "000000000139"), ("000000000139.jpg", "000000000139"), ("COCO_train2014_000000000139.jpg", "000000000139"),
        ("val2017/000000000139.jpg", "000000000139"), ("1000268201_693b08cb0e.jpg", "1000268201_693b08cb0e"),
        ("https://example.org/a/b.png?x", "b.png?x"),
    ],
)  # fmt: skip
def test_image_keys(name: str | int, key: str) -> None:
    assert image_key(name) == key


def test_errors_say_what_to_do(config: CooccurrenceConfig, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"proposer\.corpora is empty"):
        prepare(CooccurrenceConfig(), ())
    with pytest.raises(ConfigError, match="fit it with prepare"):
        CooccurrenceProposer(config).load()
    with pytest.raises(ConfigError, match="fit it anew"):
        CooccurrenceProposer(CooccurrenceConfig(vocabulary=("cat",)), prepare(config, ())).load()
    rubbish = tmp_path / "rubbish.json"
    rubbish.write_text('{"format": "something else"}')
    with pytest.raises(ConfigError, match="not a co-occurrence statistics file"):
        CooccurrenceConfig(statistics=str(rubbish)).build().load()
    with pytest.raises(ConfigError, match="is not a corpus of kind 'coco_captions'"):
        read_corpora([CorpusConfig(kind="coco_captions", path=str(rubbish))])


def test_a_fitted_file_is_the_same_proposer(
    config: CooccurrenceConfig, proposer: CooccurrenceProposer, tmp_path: Path
) -> None:
    path = tmp_path / "fitted.json"
    path.write_text(prepare(config, ()).to_json())
    fitted = config.model_copy(update={"statistics": str(path)}).build()
    fitted.load()
    requests = [ask("a sunny beach", seed=s) for s in range(5)]
    assert fitted.id == proposer.id
    assert fitted.propose(requests) == proposer.propose(requests)


def test_identity_follows_contents_not_places(config: CooccurrenceConfig, tmp_path: Path) -> None:
    (tmp_path / "moved").mkdir()
    moved = CooccurrenceConfig(corpora=write_corpus(tmp_path / "moved"), vocabulary=VOCABULARY, top_k=2)
    assert moved.identity() == config.identity()
    Path(moved.corpora[0].path).write_text(json.dumps({"annotations": []}))
    assert moved.identity() != config.identity()
