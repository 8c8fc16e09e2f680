"""The mergers: an LLM's conversation (golden), the tiny model behind it, and the grammar."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from negscale.backends.chat_roles_p2 import ChatMerger, merge_turns
from negscale.backends.merger_config import ChatMergerConfig
from negscale.backends.realiser_merger import RealiserMergerConfig
from negscale.backends.tiny.chat import TinyChat, TinyChatConfig
from negscale.backends.tiny.misbehaviour import Misbehaviour
from negscale.core.backend import ChatRequest, MergeRequest, Reply, Turn
from negscale.core.stage import Fault, Reject
from negscale.language.merge_check import check_merged_caption
from negscale.prompts.negationclip_p2 import MERGE_EXAMPLES, texts

GOLDEN = Path(__file__).parents[2] / "golden" / "merge_prompt.txt"
CAPTION = "A dog sits next to a tree in the park."


def request(question: str = "Is the dog black?", seed: int = 0, kind: str = "attribute") -> MergeRequest:
    return MergeRequest(question, CAPTION, kind, seed)


def test_golden_conversation() -> None:
    asked = MergeRequest("Is the dog's collar red?", 'A "good" dog\nin a park', "attribute")
    shown = "\n".join(f"[{turn.role}] {turn.text}" for turn in merge_turns(asked)) + "\n"
    if os.environ.get("NEGSCALE_WRITE_GOLDEN"):
        GOLDEN.write_text(shown)
    assert GOLDEN.read_text() == shown


def test_examples_pass_the_check_they_teach() -> None:
    for examples in MERGE_EXAMPLES.values():
        for caption, question, merged in examples:
            result = check_merged_caption(caption, merged, question, [caption])
            assert result.accepted, f"{merged}: {result.reason} {result.detail}"
    assert len(texts()) == 2 + sum(map(len, MERGE_EXAMPLES.values()))


def test_examples_of_the_own_kind_come_last() -> None:
    for kind in MERGE_EXAMPLES:
        last = merge_turns(request(kind=kind))[-2].text
        assert last == MERGE_EXAMPLES[kind][-1][2]


def test_the_tiny_model_merges_what_is_asked_last() -> None:
    merger = ChatMergerConfig().build()
    merger.load()
    written = merger.merge([request(seed=seed) for seed in range(40)])
    assert len({str(text) for text in written}) > 4
    for text in written:
        assert isinstance(text, str)
        assert check_merged_caption(CAPTION, text, "Is the dog black?", [CAPTION]).accepted, text
    assert written == merger.merge([request(seed=seed) for seed in range(40)])
    # a question in the prompt is not a question to the model's eyes
    there = merger.merge([request("Is there a cat in the picture?", seed, "object") for seed in range(9)])
    assert all("cat" in str(text) for text in there)


def test_what_a_model_cannot_do_or_cuts_off_is_asked_again() -> None:
    merger = ChatMergerConfig().build()
    refused = merger.merge([request("Are all the dogs black?")])[0]
    assert isinstance(refused, Fault)
    assert (refused.kind, refused.retryable) == ("unparsable", True)
    broken = TinyChatConfig(misbehaviour=Misbehaviour(malformed=1.0))
    answers = ChatMergerConfig(chat=broken).build().merge([request(seed=seed) for seed in range(20)])
    assert all(isinstance(answer, Fault) and answer.kind == "unparsable" for answer in answers)


class CutOff(TinyChat):
    """Stops at the token limit."""

    def generate(self, requests: object) -> list[Reply | Fault]:
        return [Reply("A dog that is not black sits next", "length", 9, 9)]


def test_a_caption_cut_off_at_the_token_limit_is_none() -> None:
    answer = ChatMerger(CutOff()).merge([request()])[0]
    assert isinstance(answer, Fault)
    assert "token limit" in answer.message


def test_grammar_writes_or_rejects_with_a_kind() -> None:
    merger = RealiserMergerConfig().build()
    asked = [request(), request("Are all the dogs black?"), request("Is it black?")]
    first, *refused = merger.merge(asked)
    assert isinstance(first, str)
    assert refused == [Reject("question_quantified"), Reject("no_referent")]
    only_no = RealiserMergerConfig(forms=("no",)).build()
    assert only_no.merge([request()]) == [Reject("no_such_form")]
    with pytest.raises(ValueError, match="forms"):
        RealiserMergerConfig(forms=("never",))  # pyright: ignore[reportArgumentType]


def test_other_prompts_still_reach_the_tiny_model() -> None:
    negate = "Add the absence of the tree to the caption 'A dog in the park.'."
    reply = TinyChat().generate([ChatRequest((Turn("user", negate),))])[0]
    assert isinstance(reply, Reply)
    assert "tree" in reply.text
