"""What every Proposer promises; each implementation that can load here is tried."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from negscale.backends.cooccurrence import CooccurrenceConfig, CooccurrenceProposer, prepare
from negscale.core.backend import ProposalRequest, Proposer
from negscale.core.stage import Fault
from negscale.language.nouns import mentions
from tests.unit.backends.test_cooccurrence import VOCABULARY, write_corpus


def cooccurrence(folder: Path) -> Proposer:
    config = CooccurrenceConfig(corpora=write_corpus(folder), vocabulary=VOCABULARY, top_k=3)
    return CooccurrenceProposer(config, prepare(config, ()))


PROPOSERS: dict[str, Callable[[Path], Proposer]] = {"cooccurrence": cooccurrence}


@pytest.fixture(params=sorted(PROPOSERS))
def proposer(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Proposer]:
    built = PROPOSERS[request.param](tmp_path)
    built.load()
    yield built
    built.close()


def requests() -> list[ProposalRequest]:
    texts = ["a sunny beach", "a pizza on a plate", "a man with a knife", ""]
    return [
        ProposalRequest(text, (text, "a clock"), strategy, seed)
        for seed, text in enumerate(texts)
        for strategy in ("contextual", "random")
    ]  # fmt: skip


def test_one_answer_per_request_in_order(proposer: Proposer) -> None:
    answers = proposer.propose(requests())
    assert len(answers) == len(requests())
    assert proposer.propose([]) == []
    for answer in answers:
        assert isinstance(answer, Fault) or (answer and all(p.object for p in answer))


def test_exact_proposers_do_not_depend_on_batch_mates(proposer: Proposer) -> None:
    if not proposer.exact:
        pytest.skip("declares itself batch-dependent")
    whole = proposer.propose(requests())
    assert whole == [proposer.propose([request])[0] for request in requests()]
    assert whole == proposer.propose(requests()[::-1])[::-1]


def test_no_caption_of_the_image_mentions_a_candidate(proposer: Proposer) -> None:
    for request, answer in zip(requests(), proposer.propose(requests()), strict=True):
        assert isinstance(answer, list)
        for candidate in answer:
            assert not any(mentions(text, candidate.object) for text in request.image_captions if text)
        assert len({candidate.object for candidate in answer}) == len(answer)


def test_the_seed_matters(proposer: Proposer) -> None:
    asked = [ProposalRequest("a sunny beach", ("a sunny beach",), "random", seed) for seed in range(30)]
    firsts = {answer[0].object for answer in proposer.propose(asked) if isinstance(answer, list)}
    assert len(firsts) > 1


def test_the_id_names_a_revision(proposer: Proposer) -> None:
    name, _, revision = proposer.id.rpartition("@")
    assert name
    assert len(revision) >= 7
