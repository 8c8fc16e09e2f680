"""Writers without a model: NegBench's retrieval template, and other words for a statement by grammar."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from negscale.backends.negbench_roles import drawn_order
from negscale.core.backend import NegationRequest, RephraseRequest
from negscale.core.config import Config
from negscale.core.rng import rng_for
from negscale.core.stage import Fault
from negscale.language.nouns import is_plural
from negscale.language.statements import restate
from negscale.prompts.negbench import retrieval_template


class TemplateNegaterConfig(Config):
    """NegBench's templated retrieval captions: "There is no x in the image. {caption}" or the other way round."""

    kind: Literal["template_negater"] = "template_negater"

    def build(self) -> TemplateNegater:
        return TemplateNegater()


class TemplateNegater:
    """`Negater`; exact."""

    exact = True
    id = "negscale/retrieval_template@1"

    def load(self) -> None: ...

    def close(self) -> None: ...

    def negate(self, requests: Sequence[NegationRequest]) -> list[str | Fault]:
        return [_templated(request) for request in requests]


def _templated(request: NegationRequest) -> str:
    text = retrieval_template(request.caption, request.absent_object, drawn_order(request))
    return text.replace("There is no", "There are no") if is_plural(request.absent_object) else text


class GrammarRephraserConfig(Config):
    """Says a statement in one of several sentence shapes; stands in for the paraphrasing LLM."""

    kind: Literal["grammar_rephraser"] = "grammar_rephraser"

    def build(self) -> GrammarRephraser:
        return GrammarRephraser()


class GrammarRephraser:
    """`Rephraser`; exact. Reads the statement, not the sentence."""

    exact = True
    id = "negscale/grammar_rephraser@1"

    def load(self) -> None: ...

    def close(self) -> None: ...

    def rephrase(self, requests: Sequence[RephraseRequest]) -> list[str | Fault]:
        return [
            restate(r.statement.affirmed, r.statement.denied, rng_for(r.seed, "restate")) for r in requests
        ]  # fmt: skip
