"""The roles of P1 played by chat models: proposer, judge, negater. Prompts are NegationCLIP's.

An answer that cannot be parsed is a retryable `Fault("unparsable")`; the stage asks again with another seed.
"""

from __future__ import annotations

from collections.abc import Sequence

from negscale.core.backend import (
    ChatModel,
    ChatRequest,
    NegationRequest,
    Picture,
    Proposal,
    ProposalRequest,
    Reply,
    Turn,
    Verdict,
)
from negscale.core.stage import Fault
from negscale.prompts import negationclip as prompts
from negscale.prompts.answers import parse_caption, parse_object, parse_yes_no


class ChatRole:
    """A role that a chat model plays."""

    def __init__(self, chat: ChatModel) -> None:
        self._chat = chat

    @property
    def id(self) -> str:
        return self._chat.id

    @property
    def exact(self) -> bool:
        return self._chat.exact

    def load(self) -> None:
        self._chat.load()

    def close(self) -> None:
        self._chat.close()


class ChatProposer(ChatRole):
    """Asks an LLM for one object a caption (`ProposalRequest.strategy`: contextual or random)."""

    def propose(self, requests: Sequence[ProposalRequest]) -> list[list[Proposal] | Fault]:
        replies = self._chat.generate([
            ChatRequest(
                (Turn("system", prompts.PROPOSE_SYSTEM), Turn("user", prompts.propose_prompt(r.caption, r.strategy))), r.seed
            )
            for r in requests
        ])  # fmt: skip
        return [reply if isinstance(reply, Fault) else _proposal(reply) for reply in replies]


def _proposal(reply: Reply) -> list[Proposal] | Fault:
    # "hot" may be the beginning of "hot dog"
    name = parse_object(reply.text) if reply.finish_reason == "stop" else None
    return [Proposal(name)] if name else unparsable("one object name", reply)


class ChatJudge(ChatRole):
    """Asks a multimodal LLM a yes/no question about each image; strict parsing, no default."""

    needs_pixels = True

    def __init__(self, chat: ChatModel, question: str = prompts.VERIFY) -> None:
        super().__init__(chat)
        self._question = question

    def judge(self, pictures: Sequence[Picture], claims: Sequence[str]) -> list[Verdict | Fault]:
        replies = self._chat.generate([
            ChatRequest((Turn("user", prompts.verify_prompt(claim, self._question), picture.pixels),), picture.seed)
            for picture, claim in zip(pictures, claims, strict=True)
        ])  # fmt: skip
        return [reply if isinstance(reply, Fault) else _verdict(reply) for reply in replies]


def _verdict(reply: Reply) -> Verdict:
    said = parse_yes_no(reply.text)
    return Verdict(said, {True: 1.0, False: 0.0, None: 0.5}[said], reply.text)


class ChatNegater(ChatRole):
    """Asks an LLM to add the absence of the object to the caption, with the paper's two examples."""

    def negate(self, requests: Sequence[NegationRequest]) -> list[str | Fault]:
        replies = self._chat.generate([ChatRequest(_negate_turns(r), r.seed) for r in requests])
        answers: list[str | Fault] = []
        for request, reply in zip(requests, replies, strict=True):
            answers.append(reply if isinstance(reply, Fault) else _caption(request, reply))
        return answers


def _caption(request: NegationRequest, reply: Reply) -> str | Fault:
    whole = reply.finish_reason == "stop"
    text = parse_caption(reply.text, request.caption, prompts.NEGATE) if whole else None
    return text or unparsable("a caption of one line", reply)


def _negate_turns(request: NegationRequest) -> tuple[Turn, ...]:
    turns = [Turn("system", prompts.NEGATE_SYSTEM)]
    for caption, absent_object, negated in prompts.NEGATE_EXAMPLES:
        turns += [Turn("user", prompts.negate_prompt(caption, absent_object)), Turn("assistant", negated)]
    return (*turns, Turn("user", prompts.negate_prompt(request.caption, request.absent_object)))


def unparsable(expected: str, reply: Reply) -> Fault:
    """What stands for an answer that is not what was asked for; asked again with another seed."""
    cut = " (cut off at the token limit)" if reply.finish_reason == "length" else ""
    return Fault("unparsable", f"expected {expected}, got {reply.text[:300]!r}{cut}", retryable=True)
