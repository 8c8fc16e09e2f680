"""negmcq_balanced: this project's questions, whose texts say nothing about the answer, as choices and as 2 x 2 groups.

The files are those of `negscale build`: questions.csv in NegBench's columns with `group`, and pairs.csv, whose groups of
two images and two captions no preference for a text and none for an image can solve.
"""

from __future__ import annotations

from negscale.benchmarks import mcq_neg, two_by_two
from negscale.benchmarks.released import ReleasedBenchmark

_GET = "make it with `negscale build negmcq_balanced` from annotated images"

BALANCED_MCQ = ReleasedBenchmark(
    "negscale/mcq-balanced", "four captions an image; blind solvers have chance by construction", "choose_text",
    ("*balanced*/questions.csv", "*balanced*mcq*.csv"), "the images it was built on", _GET, mcq_neg.read,
)  # fmt: skip
BALANCED_PAIRS = ReleasedBenchmark(
    "negscale/mcq-balanced-pairs", "two images and two captions of which each fits one", "two_by_two",
    ("*balanced*/pairs.csv",), "the images it was built on", _GET, two_by_two.read,
)  # fmt: skip
