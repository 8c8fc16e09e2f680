"""The roles of NegBench's data played by chat models (arXiv 2501.09425, sections 3 and D). Prompts: `prompts.negbench`.

An answer that cannot be parsed is a retryable `Fault("unparsable")`; the stage asks again with another seed. The authors
drop a whole batch on an exception and keep the first line of whatever came.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from negscale.backends.chat_roles import ChatRole, unparsable
from negscale.core.backend import (
    ChatModel,
    ChatRequest,
    ExtractRequest,
    NegationRequest,
    Proposal,
    ProposalRequest,
    RephraseRequest,
    Reply,
    Turn,
)
from negscale.core.rng import rng_for
from negscale.core.stage import Fault
from negscale.prompts import negbench as prompts
from negscale.prompts.answers import parse_caption, parse_yes_no

_SHOTS = 3  # examples in a NegCap prompt, drawn from the list, as in the paper


class ChatExtractor(ChatRole):
    """Asks an LLM for the objects of a caption."""

    def extract(self, requests: Sequence[ExtractRequest]) -> list[list[str] | Fault]:
        examples = [(prompts.extract_prompt(caption), answer) for caption, answer in prompts.EXTRACT_EXAMPLES]
        replies = self._chat.generate([
            ChatRequest(conversation(prompts.EXTRACT_SYSTEM, examples, prompts.extract_prompt(r.caption)), r.seed)
            for r in requests
        ])  # fmt: skip
        return [_object_list(reply) for reply in replies]


class ChatListProposer(ChatRole):
    """Asks an LLM for five objects that go with those of the caption."""

    def propose(self, requests: Sequence[ProposalRequest]) -> list[list[Proposal] | Fault]:
        examples = [(prompts.propose_prompt(caption, known), said) for caption, known, said in prompts.PROPOSE_EXAMPLES]
        replies = self._chat.generate([
            ChatRequest(conversation(prompts.PROPOSE_SYSTEM, examples, prompts.propose_prompt(r.caption, r.present)), r.seed)
            for r in requests
        ])  # fmt: skip
        found = [_object_list(reply) for reply in replies]
        return [names if isinstance(names, Fault) else [Proposal(name) for name in names] for names in found]


class ChatListValidator(ChatRole):
    """Asks an LLM whether a list is one of objects."""

    def validate(self, lists: Sequence[Sequence[str]], seeds: Sequence[int]) -> list[bool | Fault | None]:
        examples = [(prompts.VALIDATE.format(objects=names), said) for names, said in prompts.VALIDATE_EXAMPLES]
        replies = self._chat.generate([
            ChatRequest(conversation(prompts.VALIDATE_SYSTEM, examples, prompts.validate_prompt(names)), seed)
            for names, seed in zip(lists, seeds, strict=True)
        ])  # fmt: skip
        return [reply if isinstance(reply, Fault) else parse_yes_no(reply.text) for reply in replies]


class ChatNegcapNegater(ChatRole):
    """Writes NegBench's captions: `negcap` from few-shots, `retrieval` by rephrasing the template."""

    def __init__(self, chat: ChatModel, style: Literal["negcap", "retrieval"]) -> None:
        super().__init__(chat)
        self._style = style

    def negate(self, requests: Sequence[NegationRequest]) -> list[str | Fault]:
        replies = self._chat.generate([ChatRequest(self._turns(request), request.seed) for request in requests])
        return [
            _caption(reply, request.caption, self._instruction(request))
            for reply, request in zip(replies, requests, strict=True)
        ]

    def _instruction(self, request: NegationRequest) -> str:
        return prompts.REPHRASE if self._style == "retrieval" else prompts.NEGCAP[drawn_order(request)]

    def _turns(self, request: NegationRequest) -> tuple[Turn, ...]:
        order = drawn_order(request)
        if self._style == "retrieval":
            text = prompts.retrieval_template(request.caption, request.absent_object, order)
            return rephrasing(text)
        drawn = rng_for(request.seed, "negcap_examples").permutation(len(prompts.NEGCAP_EXAMPLES[order]))[:_SHOTS]
        shots = [prompts.NEGCAP_EXAMPLES[order][int(k)] for k in drawn]
        examples = [(prompts.negcap_prompt(caption, name, order), said) for caption, name, said in shots]
        asked = prompts.negcap_prompt(request.caption, request.absent_object, order)
        return conversation(prompts.NEGCAP_SYSTEM, examples, asked)


class ChatRephraser(ChatRole):
    """Asks an LLM for other words."""

    def rephrase(self, requests: Sequence[RephraseRequest]) -> list[str | Fault]:
        replies = self._chat.generate([ChatRequest(rephrasing(r.text), r.seed) for r in requests])
        return [_caption(reply, r.text, prompts.REPHRASE) for reply, r in zip(replies, requests, strict=True)]


def drawn_order(request: NegationRequest) -> Literal["affirmation_first", "negation_first"]:
    """The order asked for; drawn where the request leaves it open."""
    if request.order == "any":
        return "affirmation_first" if rng_for(request.seed, "order").random() < 0.5 else "negation_first"
    return request.order


def rephrasing(text: str) -> tuple[Turn, ...]:
    """The conversation that asks for other words."""
    examples = [(prompts.rephrase_prompt(said), other) for said, other in prompts.REPHRASE_EXAMPLES]
    return conversation(prompts.REPHRASE_SYSTEM, examples, prompts.rephrase_prompt(text))


def conversation(system: str, examples: Sequence[tuple[str, str]], asked: str) -> tuple[Turn, ...]:
    """System turn, example turns, question."""
    turns = [Turn("system", system)]
    for user, assistant in examples:
        turns += [Turn("user", user), Turn("assistant", assistant)]
    return (*turns, Turn("user", asked))


def _object_list(reply: Reply | Fault) -> list[str] | Fault:
    if isinstance(reply, Fault):
        return reply
    names = prompts.parse_object_list(reply.text) if reply.finish_reason == "stop" else None
    return names if names is not None else unparsable("object names with commas between them", reply)


def _caption(reply: Reply | Fault, caption: str, instruction: str) -> str | Fault:
    if isinstance(reply, Fault):
        return reply
    said = parse_caption(reply.text, caption, instruction) if reply.finish_reason == "stop" else None
    return said or unparsable("a caption of one line", reply)
