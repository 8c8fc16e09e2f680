"""The merger of NegationCLIP's P2 played by a chat model; its prompts are ours, the authors published none.

An answer that cannot be parsed is a retryable `Fault("unparsable")`; the stage asks again with another seed.
"""

from __future__ import annotations

from collections.abc import Sequence

from negscale.backends.chat_roles import ChatRole, unparsable
from negscale.core.backend import ChatRequest, MergeRequest, Reply, Turn
from negscale.core.stage import Fault, Reject
from negscale.prompts import negationclip_p2 as prompts
from negscale.prompts.answers import parse_caption


class ChatMerger(ChatRole):
    """Asks an LLM to merge question, "no" and caption, with examples of the question's kind."""

    def merge(self, requests: Sequence[MergeRequest]) -> list[str | Reject | Fault]:
        replies = self._chat.generate([ChatRequest(merge_turns(r), r.seed) for r in requests])
        answers: list[str | Reject | Fault] = []
        for request, reply in zip(requests, replies, strict=True):
            answers.append(reply if isinstance(reply, Fault) else _merged(request, reply))
        return answers


def _merged(request: MergeRequest, reply: Reply) -> str | Fault:
    whole = reply.finish_reason == "stop"  # a caption cut off at the token limit is none
    text = parse_caption(reply.text, request.caption, prompts.MERGE) if whole else None
    return text or unparsable("a caption of one line", reply)


def merge_turns(request: MergeRequest) -> tuple[Turn, ...]:
    """The conversation: system, examples, the request."""
    turns = [Turn("system", prompts.MERGE_SYSTEM)]
    for caption, question, merged in prompts.examples_for(request.kind):
        turns += [Turn("user", prompts.merge_prompt(caption, question)), Turn("assistant", merged)]
    return (*turns, Turn("user", prompts.merge_prompt(request.caption, request.question)))
