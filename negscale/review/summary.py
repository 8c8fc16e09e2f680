"""What the answers say: precision with its 95 % Wilson interval, overall and per negation form, and agreement.

A row is right when more reviewers said yes than no, wrong when more said no. A tie is disputed and counts as not right.
Skipped rows ("cannot tell") are left out of the precision and reported beside it.
"""

from __future__ import annotations

import contextlib
import json
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace
from itertools import combinations
from typing import Any

from negscale.core.errors import FatalError, RunLockedError
from negscale.metrics.statistics import wilson_interval
from negscale.review.answers import Answer, AnswerLog, standing
from negscale.storage.folder import Folder
from negscale.storage.lock import RunLock
from negscale.storage.run_folder import RunFolder

SUMMARY = "review/summary.json"


def summarize(answers: Sequence[Answer]) -> dict[str, Any]:
    """Figures of all answers, as JSON values. ``{}`` when nobody answered."""
    if not answers:
        return {}
    held = standing(answers)
    rows: dict[str, list[Answer]] = {}
    for answer in held:
        rows.setdefault(answer.row, []).append(answer)
    fates = {row: _fate(given) for row, given in rows.items()}
    forms: dict[str, Counter[str]] = {}
    for row, given in rows.items():
        if given[0].form:
            forms.setdefault(given[0].form, Counter())[fates[row]] += 1
    return {
        "answers": len(answers),  # undone ones and undos included: tells whether a stored summary is current
        "population_rows": min(answer.population for answer in answers),
        "seeds": sorted({answer.seed for answer in answers}),
        **_precision(Counter(fates.values())),
        "forms": {form: _precision(counts) for form, counts in sorted(forms.items())},
        "reviewers": {name: _precision(counts) for name, counts in _by_reviewer(held).items()},
        "agreement": _agreement(rows.values()),
    }


def _fate(given: Iterable[Answer]) -> str:
    votes = Counter(answer.act for answer in given)
    if not votes["yes"] and not votes["no"]:
        return "skipped"
    if votes["yes"] == votes["no"]:
        return "disputed"
    return "right" if votes["yes"] > votes["no"] else "wrong"


def _precision(fates: Counter[str]) -> dict[str, Any]:
    judged = fates["right"] + fates["wrong"] + fates["disputed"]
    low, high = wilson_interval(fates["right"], judged)
    return {
        "judged": judged, **{name: fates[name] for name in ("right", "wrong", "disputed", "skipped")},
        "precision": fates["right"] / judged if judged else None, "low": low, "high": high,
    }  # fmt: skip


def _by_reviewer(held: Sequence[Answer]) -> dict[str, Counter[str]]:
    counts: dict[str, Counter[str]] = {}
    for answer in held:
        fate = {"yes": "right", "no": "wrong"}.get(answer.act, "skipped")
        counts.setdefault(answer.reviewer, Counter())[fate] += 1
    return dict(sorted(counts.items()))


def _agreement(rows: Iterable[Sequence[Answer]]) -> list[dict[str, Any]]:
    """Of each two reviewers: rows that both judged, share of equal verdicts, Cohen's kappa (None without variation)."""
    tables: dict[tuple[str, str], Counter[tuple[str, str]]] = {}
    for given in rows:
        judged = sorted((a.reviewer, a.act) for a in given if a.act in ("yes", "no"))
        for (one, first), (other, second) in combinations(judged, 2):
            tables.setdefault((one, other), Counter())[first, second] += 1
    found = []
    for pair, counts in sorted(tables.items()):
        rows_both = sum(counts.values())
        same = (counts["yes", "yes"] + counts["no", "no"]) / rows_both
        yes = [sum(n for said, n in counts.items() if said[i] == "yes") / rows_both for i in (0, 1)]
        chance = yes[0] * yes[1] + (1 - yes[0]) * (1 - yes[1])
        kappa = (same - chance) / (1 - chance) if chance < 1 else None
        found.append({"reviewers": list(pair), "rows": rows_both, "agreed": same, "kappa": kappa})
    return found


def current_summary(run: RunFolder) -> dict[str, Any]:
    """The figures of the answers as they are now; writes nothing. ``{}`` when nobody answered."""
    log = AnswerLog(run.folder)
    names = log.names()
    if not names:
        return {}
    stored = stored_summary(run.folder)
    return stored if stored.get("answers") == len(names) else summarize(log.read())


def stored_summary(folder: Folder) -> dict[str, Any]:
    """``review/summary.json``; ``{}`` when there is none or it is damaged (it can be made again from the answers)."""
    try:
        found = json.loads(folder.read(SUMMARY))
    except (FileNotFoundError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def record(run: RunFolder) -> dict[str, Any]:
    """Write the figures to ``review/summary.json`` and, where the run is finished, into its manifest; returns them.

    The manifest is rewritten under the run's lock, with the key `reviews` alone changed: a retry deletes the manifest when
    it begins, and a copy of the old one must not come back while it works. While a driver holds the folder the manifest
    stays as it is, and the next call sees to it.
    """
    figures = summarize(AnswerLog(run.folder).read())
    if not figures:
        return {}
    run.folder.write(SUMMARY, json.dumps(figures, indent=1).encode())
    manifest = run.manifest()
    if manifest is not None and manifest.reviews != figures:
        with contextlib.suppress(RunLockedError), RunLock(run.folder):
            manifest = run.manifest()
            if manifest is not None:
                run.write_manifest(replace(manifest, reviews=figures))
    return figures


def record_if_new(run: RunFolder) -> None:
    """`record`, when there are answers that the manifest does not count; a folder that cannot be written stays as it is."""
    manifest, figures = run.manifest(), current_summary(run)
    if manifest is not None and figures and manifest.reviews != figures:
        with contextlib.suppress(FatalError):
            record(run)
