"""MCQ-Neg: which of four captions fits the image (NegBench, Alhamoud et al., arXiv 2501.09425, section 3 and appendix D).

Types are those of the right caption: positive, negative, hybrid. Released for COCO, VOC2007 (test split), MSR-VTT (mean
of four frames) and HardNeg-Syn; the binary questions on radiographs have the same columns. What differs is the scoring: see
`negscale.metrics.multiple_choice`. HardNeg-Syn's file names no types; its slots are fixed, and the right one is always
{A and B} or {A, not B}, hence positive or hybrid.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from negscale.benchmarks.released import ReleasedBenchmark, choice_rows
from negscale.questions.files import parse_mcq_csv

SYNTHETIC_SLOTS = ("positive", "hybrid")
_FIRST = "the right option is the first in every row, and the released scorer gives ties to the first"
_BLIND = "solvable without images: see the blind controls"
_CSV = "CSV files: repository m1k2zoo/negbench, or sepehrkr/SpaceVLM, folder data"


def read(path: str, text: str) -> Iterable[Mapping[str, Any]]:
    """Items of NegBench's MCQ CSV."""
    return choice_rows(parse_mcq_csv(text, path))


def read_synthetic(path: str, text: str) -> Iterable[Mapping[str, Any]]:
    """Items of HardNeg-Syn's CSV: the type follows from the slot where the file names none."""
    questions = parse_mcq_csv(text, path)
    slots = dict(enumerate(SYNTHETIC_SLOTS))
    types = [kind or slots.get(answer, "") for kind, answer in zip(questions.types, questions.answers, strict=True)]
    return choice_rows(questions, types)


def read_binary(path: str, text: str) -> Iterable[Mapping[str, Any]]:
    """Items of a binary CSV: control or negation by its column, else by the file's name."""
    questions = parse_mcq_csv(text, path)
    name = path.rpartition("/")[2].lower()
    kind = "control" if "control" in name or "affirmation" in name else "negation" if "neg" in name else ""
    return choice_rows(questions, [own or kind for own in questions.types])


PAPER = "NegBench: Alhamoud et al., arXiv 2501.09425, CVPR 2025"
MCQ_COCO = ReleasedBenchmark(
    "negbench/mcq-coco", "5,914 questions of four captions on COCO val2017", "choose_text",
    ("*COCO_val_mcq*.csv", "*coco_mcq*.csv"), "COCO val2017", f"{_CSV}; images: cocodataset.org, val2017", read,
    (_FIRST, _BLIND),
    paper=PAPER,
)  # fmt: skip
MCQ_VOC = ReleasedBenchmark(
    "negbench/mcq-voc2007", "5,031 questions of four captions on Pascal VOC2007 test", "choose_text",
    ("*voc2007_mcq*.csv",), "Pascal VOC2007 test", f"{_CSV}; images: VOCtest_06-Nov-2007.tar, the README links trainval",
    read, (_FIRST, _BLIND, "the released README links the trainval images, of which none is asked about"),
    paper=PAPER,
)  # fmt: skip
MCQ_MSRVTT = ReleasedBenchmark(
    "negbench/mcq-msrvtt", "1,000 questions of four captions on MSR-VTT clips", "choose_text",
    ("*msr_vtt_mcq*.csv", "*msrvtt_mcq*.csv"), "MSR-VTT test clips (1k-A)", f"{_CSV}; clips: MSR-VTT's own site", read,
    (_FIRST, _BLIND),
    paper=PAPER,
)  # fmt: skip
MCQ_SYNTHETIC = ReleasedBenchmark(
    "negbench/mcq-hardneg-syn", "9,997 questions of four captions on Stable Diffusion images", "choose_text",
    ("*synthetic_mcq*.csv", "*hardneg*mcq*.csv"), "HardNeg-Syn", f"{_CSV}; the images were never released",
    read_synthetic, ("the right option is always one of the first two: blind ceiling at least 50 %",),
    paper=PAPER,
)  # fmt: skip
MCQ_OWN = ReleasedBenchmark(
    "negscale/mcq-neg", "MCQ-Neg's questions on images of one's own", "choose_text", ("*mcq_neg*/questions.csv",),
    "the images it was made of", "make it: `negscale generate negbench_mcq_neg`, `negscale export RUN --to negbench-csv`", read,
    (_BLIND,),
)  # fmt: skip
BINARY_MEDICAL = ReleasedBenchmark(
    "negbench/mcq-binary-medical", "two captions a radiograph: a finding against another, or against its denial",
    "choose_text", ("*chexpert*binary*.csv", "*binary*mcq*.csv", "*CheXpert*.csv"), "CheXpert",
    "CSV files: repository hhc1997/NEAT, or `negscale generate chexpert_binary`; images: CheXpert, on request", read_binary,
    (_FIRST,), several=True,
    paper=PAPER,
)  # fmt: skip
