"""Proposes absent objects from co-occurrence statistics: what is often in such a picture, yet left unsaid.

Stands where NegationCLIP (arXiv 2501.10913, section 3) asks Llama-3-8B to "name an object that is not mentioned in
the caption, but is likely to be in the image". The statistics are a *build*: fitted once on captioned or annotated
corpora, without the images of the run. Beyond the authors' code: a candidate that any caption of the image mentions
(synonyms and plurals too) is never proposed.

The model is naive Bayes over the caption's words and mentioned objects, for "the object is in the image though this
caption does not mention it". Evidence of presence is an annotation, or a mention in another caption of the image. An
image with a single caption and no annotations gives no such evidence and is counted as unused.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

import numpy as np

from negscale.backends.corpora import CorpusConfig, CorpusImage, read_bytes, read_corpora
from negscale.core.backend import Proposal, ProposalRequest
from negscale.core.config import Config, Location
from negscale.core.errors import ConfigError
from negscale.core.rng import rng_for
from negscale.core.stage import Fault
from negscale.language.nouns import COCO_80, lemma, mentions, singular

FORMAT = "negscale-cooccurrence-1"
_WORD = re.compile(r"[a-z]+")
_ARTICLES = frozenset({"a", "an", "the", "some", "any", "no"})
_MOST_WORDS = 200  # of one caption; a 10,000-word text must not outweigh or delay the rest


class CooccurrenceConfig(Config):
    """Proposes objects that co-occur with a caption's words."""

    kind: Literal["cooccurrence"] = "cooccurrence"
    corpora: tuple[CorpusConfig, ...] = ()
    """What the statistics are fitted on; needed unless `statistics` names a fitted file."""
    vocabulary: Literal["coco80"] | tuple[str, ...] = "coco80"
    """Objects that may be proposed."""
    top_k: int = 5
    """The request's seed draws among this many likeliest objects, each in proportion to its chance."""
    min_word_images: int = 5
    """Words seen in fewer images are ignored."""
    smoothing: float = 10.0
    """Captions' worth of prior that each word count is pulled towards."""
    context_weight: float = 0.5
    """How much the words move the prior: 1 = naive Bayes, 0 = frequency alone; words are not independent, so < 1."""
    statistics: Location = ""
    """A fitted statistics file (JSON); empty = fitted from `corpora` when the run starts."""

    def content(self) -> dict[str, Any]:
        """The digest of the fitted statistics, where there is a file of them."""
        return {"statistics_digest": load_statistics(self.statistics).digest} if self.statistics else {}

    def objects(self) -> tuple[str, ...]:
        """The vocabulary spelled out. Raises ConfigError when it is empty."""
        names = COCO_80 if self.vocabulary == "coco80" else tuple(dict.fromkeys(self.vocabulary))
        if not names:
            raise ConfigError("proposer.vocabulary is empty; give object names or 'coco80'")
        return names

    def build(self) -> CooccurrenceProposer:
        """The proposer; its statistics must have been fitted."""
        return CooccurrenceProposer(self)


@dataclass(frozen=True)
class CooccurrenceStatistics:
    """Counts over (caption, vocabulary object) pairs.

    For object number o and feature f ("dog" a word, "=person" a mentioned object): `unsaid[f][o]` captions with f
    whose image has o although the caption does not mention it; `said[f][o]` captions with f that mention o.
    """

    vocabulary: tuple[str, ...]
    captions: int
    images: int
    unused_images: int  # one caption and no annotations: no evidence of what is left unsaid
    corpora: tuple[Mapping[str, Any], ...]  # kind and sha256 of each
    excluded_images: int  # ids that the fit was told to leave out
    unsaid_total: tuple[int, ...]
    said_total: tuple[int, ...]
    feature_captions: Mapping[str, int]
    unsaid: Mapping[str, Mapping[int, int]] = field(repr=False)
    said: Mapping[str, Mapping[int, int]] = field(repr=False)

    def to_json(self) -> str:
        """Canonical JSON: equal statistics give equal bytes."""
        return json.dumps({"format": FORMAT, **asdict(self)}, sort_keys=True, separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str) -> CooccurrenceStatistics:
        """Raises ConfigError when the text is not a statistics file."""
        try:
            values = json.loads(text)
            if values.pop("format") != FORMAT:
                raise ValueError("another format")
            for name in ("unsaid", "said"):
                values[name] = {f: {int(o): n for o, n in row.items()} for f, row in values[name].items()}
            for name in ("vocabulary", "corpora", "unsaid_total", "said_total"):
                values[name] = tuple(values[name])
            return cls(**values)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise ConfigError(
                f"not a co-occurrence statistics file of format {FORMAT!r} ({type(error).__name__}: {error}); "
                f"empty proposer.statistics to fit it anew"
            ) from error

    @property
    def digest(self) -> str:
        """sha256 of the canonical JSON."""
        return hashlib.sha256(self.to_json().encode()).hexdigest()


def load_statistics(location: str) -> CooccurrenceStatistics:
    """Read a fitted file. Raises ConfigError when it is absent or of another format."""
    return CooccurrenceStatistics.from_json(read_bytes(location, "proposer.statistics").decode("utf-8", "replace"))


def prepare(config: CooccurrenceConfig, exclude_image_ids: Collection[str | int]) -> CooccurrenceStatistics:
    """The statistics that `config` asks for, fitted without the images of the run (or read, where fitted before)."""
    if config.statistics:
        return load_statistics(config.statistics)
    if not config.corpora:
        raise ConfigError(
            "proposer.corpora is empty; name at least one corpus, e.g. "
            "proposer.corpora='[{kind: coco_captions, path: captions_train2017.json}]', or a fitted proposer.statistics"
        )
    return fit_cooccurrence(config.corpora, config.objects(), exclude_image_ids, config.min_word_images)


def fit_cooccurrence(
    corpora: Sequence[CorpusConfig],
    vocabulary: Sequence[str],
    exclude_image_ids: Collection[str | int],
    min_word_images: int = 5,
) -> CooccurrenceStatistics:
    """Count over `corpora`; deterministic. Raises ConfigError when no image is usable."""
    images = read_corpora(corpora, exclude_image_ids)
    usable = {key: image for key, image in images.items() if _has_evidence(image)}
    if not usable:
        raise ConfigError(
            f"none of the {len(images)} corpus images has captions and evidence of unmentioned objects: give corpora "
            f"with several captions an image, or captions and instances of the same images"
        )
    counts = _Counts(tuple(vocabulary))
    for image in usable.values():
        counts.add(image)
    return counts.statistics(
        min_word_images,
        images=len(usable),
        unused_images=len(images) - len(usable),
        corpora=tuple({"kind": c.kind, **c.content()} for c in corpora),
        excluded_images=len({str(name) for name in exclude_image_ids}),
    )


def _has_evidence(image: CorpusImage) -> bool:
    return bool(image.captions) and (image.objects is not None or len(image.captions) > 1)


def words_of(text: str) -> set[str]:
    """Lemmas of a text's words, without articles."""
    return {singular(word) for word in _WORD.findall(text.lower())[:_MOST_WORDS] if word not in _ARTICLES}


class _Counts:
    def __init__(self, vocabulary: tuple[str, ...]) -> None:
        self.vocabulary = vocabulary
        self.lemmas = {lemma(name): number for number, name in enumerate(vocabulary)}
        self.captions = 0
        self.totals = (Counter[int](), Counter[int]())
        self.feature_captions = Counter[str]()
        self.feature_images = Counter[str]()
        self.pairs: tuple[dict[str, Counter[int]], dict[str, Counter[int]]] = ({}, {})

    def add(self, image: CorpusImage) -> None:
        said = [{o for o, name in enumerate(self.vocabulary) if mentions(text, name)} for text in image.captions]
        everywhere = set().union(*said)
        present = {self.lemmas[lemma(name)] for name in image.objects or () if lemma(name) in self.lemmas}.union(*said)
        of_image: set[str] = set()
        for text, mentioned in zip(image.captions, said, strict=True):
            features = words_of(text) | {f"={self.vocabulary[o]}" for o in mentioned}
            of_image |= features
            self.captions += 1
            self.feature_captions.update(features)
            settled = everywhere if image.objects is not None else mentioned
            for total, pairs, objects in zip(self.totals, self.pairs, (present - settled, settled), strict=True):
                total.update(objects)
                for feature in features:
                    pairs.setdefault(feature, Counter()).update(objects)
        self.feature_images.update(of_image)

    def statistics(self, min_word_images: int, **facts: Any) -> CooccurrenceStatistics:
        kept = sorted(f for f, n in self.feature_images.items() if n >= min_word_images)
        unsaid, said = ({f: dict(sorted(rows[f].items())) for f in kept if rows.get(f)} for rows in self.pairs)
        numbers = range(len(self.vocabulary))
        return CooccurrenceStatistics(
            vocabulary=self.vocabulary,
            captions=self.captions,
            unsaid_total=tuple(self.totals[0][o] for o in numbers),
            said_total=tuple(self.totals[1][o] for o in numbers),
            feature_captions={f: self.feature_captions[f] for f in kept},
            unsaid=unsaid,
            said=said,
            **facts,
        )


class CooccurrenceProposer:
    """Proposer over fitted statistics; exact, and independent of batch mates."""

    exact = True

    def __init__(self, config: CooccurrenceConfig, statistics: CooccurrenceStatistics | None = None) -> None:
        self._config = config
        self._vocabulary = config.objects()
        self._statistics = statistics
        self._prior: np.ndarray = np.zeros(0)  # float[O], log-odds
        self._weights: dict[str, np.ndarray] = {}  # feature -> float[O], log ratio

    @property
    def id(self) -> str:
        """Kind, vocabulary size and digest of the statistics: "cooccurrence/80@1f0c..."."""
        return f"cooccurrence/{len(self._vocabulary)}@{self._need().digest[:12]}"

    def load(self) -> None:
        """Turn counts into log ratios. Raises ConfigError when the statistics are of another vocabulary."""
        facts = self._need()
        if facts.vocabulary != self._vocabulary:
            raise ConfigError(
                f"proposer.statistics was fitted for {len(facts.vocabulary)} objects, proposer.vocabulary has "
                f"{len(self._vocabulary)} (or other names); fit it anew"
            )
        self._prior, self._weights = _log_ratios(facts, self._config.smoothing)

    def close(self) -> None:
        """Forget the tables."""
        self._weights = {}

    def propose(self, requests: Sequence[ProposalRequest]) -> list[list[Proposal] | Fault]:
        """`top_k` objects a caption, the one that the seed drew first, then likeliest first.

        Random strategy (Rand-P1): uniform over the vocabulary. A request whose captions mention the whole vocabulary
        is a Fault.
        """
        return [self._one(request) for request in requests]

    def _one(self, request: ProposalRequest) -> list[Proposal] | Fault:
        texts = (request.caption, *request.image_captions)
        free = [o for o, name in enumerate(self._vocabulary) if not any(mentions(text, name) for text in texts)]
        if not free:
            return Fault("no_candidate", f"the captions mention all {len(self._vocabulary)} objects of the vocabulary")
        rng = rng_for(request.seed, "cooccurrence", request.strategy)
        if request.strategy == "random":
            drawn = rng.permutation(free)[: self._config.top_k]
            return [Proposal(self._vocabulary[o]) for o in drawn]
        chances = self.chances(request.caption)
        best = sorted(free, key=lambda o: (-chances[o], o))[: self._config.top_k]
        weights = chances[best] / chances[best].sum()
        best.insert(0, best.pop(int(rng.choice(len(best), p=weights))))
        return [Proposal(self._vocabulary[o], float(chances[o])) for o in best]

    def chances(self, caption: str) -> np.ndarray:
        """float[O]: the model's P(object is in the image | the caption does not mention it)."""
        rows = [self._weights[f] for f in sorted(self._features(caption)) if f in self._weights]
        log_odds = self._prior + self._config.context_weight * np.sum(rows, axis=0) if rows else self._prior
        return 1.0 / (1.0 + np.exp(-log_odds))

    def _features(self, caption: str) -> Iterable[str]:
        return words_of(caption) | {f"={name}" for name in self._vocabulary if mentions(caption, name)}

    def _need(self) -> CooccurrenceStatistics:
        if self._statistics is None:
            if not self._config.statistics:
                raise ConfigError("proposer.statistics is empty: fit it with prepare() before the proposer is loaded")
            self._statistics = load_statistics(self._config.statistics)
        return self._statistics


def _log_ratios(facts: CooccurrenceStatistics, smoothing: float) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """(float[O] prior log-odds, feature -> float[O] log P(f | unsaid present) / P(f | unsaid)), pulled towards 0."""
    size = len(facts.vocabulary)
    present = np.array(facts.unsaid_total, float)
    asked = facts.captions - np.array(facts.said_total, float)
    prior = np.log((present + 0.5) / (asked - present + 0.5))
    weights: dict[str, np.ndarray] = {}
    for feature, captions in facts.feature_captions.items():
        both, said = np.zeros(size), np.zeros(size)
        for row, table in ((both, facts.unsaid), (said, facts.said)):
            for number, count in table.get(feature, {}).items():
                row[number] = count
        share = (captions - said + 0.5) / (asked + 1.0)
        weights[feature] = np.log((both + smoothing * share) / (present + smoothing) / share)
    return prior, weights
