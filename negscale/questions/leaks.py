"""Does a finished set tie words to answers? The check that a balanced build passes before it is handed out.

Answers drawn at random tie some words to answers by luck, more so than a single question's chance suggests: in one draw of
five or so, a classifier trained on part of 2,500 questions is right on the rest more, or less, often than the interval
around chance allows. Such a draw is drawn again, as experimenters redraw an unbalanced assignment (rerandomisation, Morgan
and Rubin 2012, doi:10.1214/12-AOS1008). To balance every word exactly would be no cure: see `negscale.questions.balanced`.
"""

from __future__ import annotations

from collections.abc import Sequence

from negscale.metrics.statistics import wilson_interval
from negscale.questions.blind import joint_rule
from negscale.questions.lexicon import Lexicon
from negscale.questions.options import claims_of
from negscale.questions.table import Questions, credits
from negscale.questions.trained import FoldsBy, caption_only_scores


def leaks(questions: Questions, lexicon: Lexicon, folds: Sequence[FoldsBy], seed: int = 0) -> dict[str, float]:
    """Solver -> accuracy, of those whose 95 % interval does not hold chance; empty for a set that gives nothing away.

    folds: what the trained solver's folds keep together, each a check of its own.
    """
    scores = {"joint rule": joint_rule(questions, claims_of(questions.texts, lexicon))}
    scores |= {f"by {by}": caption_only_scores(questions, by=by, seed=seed) for by in folds}
    found: dict[str, float] = {}
    for name, values in scores.items():
        credit = credits(questions, values)
        low, high = wilson_interval(float(credit.sum()), len(credit))
        if not low <= questions.chance <= high:
            found[name] = float(credit.mean())
    return found
