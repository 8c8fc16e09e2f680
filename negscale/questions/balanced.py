"""negmcq_balanced: four-option questions about negation whose texts say nothing about the answer.

NegBench's generator (arXiv 2501.09425, section 3.3) draws an image first and then writes options around it, so that texts
and answers are tied: its questions can be solved blind (see `negscale.questions.blind`). Here the options come first. A
set of four texts is kept when each of them is the only true one for enough images; then, for each of the set's images,
the right option is drawn uniformly and independently of every text, and after that an image to fit. So the texts of
a question tell nothing about its answer, and neither do the answers of other questions on other images, be they of the
same set or not: a solver without images has chance for its expectation, whatever it was trained on.

The obvious alternative, each option right for exactly one of four images, does not do: three answers of a set then give
away the fourth. A classifier trained with folds by image scores 9.7 % on such a set where chance is 25 %, and its opposite
as far above. Balance is exact one level up instead: four sets of one structure have the same order of lengths, and over
them each kind of option, and each place in that order, is right equally often. That leaves a trace, as every exact balance
does (what is right in the training part is a little less often right in the rest), but over a handful of kinds only.
What the luck of the draw ties together, `negscale.questions.leaks` finds, and the whole is drawn again.

A build is a pure function of (table, seed, options); it reads no pixels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from pydantic import Field

from negscale.core.config import Config
from negscale.core.errors import ConfigError, PlanError
from negscale.core.rng import rng_for
from negscale.core.schema import PRESENCE
from negscale.questions.balanced_set import BalancedSet
from negscale.questions.forms import OBJECTS, PATTERNS, STRUCTURES, Form, Option, forms_of
from negscale.questions.leaks import leaks
from negscale.questions.lexicon import Lexicon
from negscale.questions.options import Kind
from negscale.questions.table import Questions
from negscale.questions.trained import FoldsBy
from negscale.questions.wording import Wording, named_twice, sentence

SETS_PER_STRUCTURE = 4  # as many as options: over them each option's role comes up once per draw
BATCH_DRAWS = 8  # of one batch, before the images count as exhausted
WORDINGS = 5  # tried per form, to have its four lengths in the order that is wanted
TYPE_OF_KIND = {"affirm_one": "positive", "affirm_two": "positive", "deny": "negative", "hybrid": "hybrid"}


class BalancedOptions(Config):
    """What a balanced set is to look like."""

    questions: int | None = Field(default=2500, ge=1)
    """At least so many, rounded up to whole batches; null for as many as the images allow."""
    images_per_set: int = Field(default=8, ge=2)
    """Questions asked with the same four texts, each about another image."""
    questions_per_image: int = Field(default=1, ge=1)
    """An image is used at most so often. With more than 1, its questions share what it shows: a solver trained on other
    images then falls somewhat below chance, as the objects of the images held out are right less often in the others."""
    attempts: int = Field(default=3000, ge=1)
    """Draws of objects for one set before the images count as exhausted."""
    draws: int = Field(default=10, ge=0)
    """Whole sets of questions made at most, until one passes `negscale.questions.leaks`; 0 takes the first unchecked."""

    @property
    def batch(self) -> int:
        """Questions are made so many at a time: the smallest number in which kinds can be balanced exactly."""
        return len(STRUCTURES) * SETS_PER_STRUCTURE * self.images_per_set


@dataclass(frozen=True)
class _Set:
    """Four texts, the shortest first: a form in words; `objects` are the columns of the presence matrix that it is about."""

    form: Form
    objects: np.ndarray
    texts: tuple[str, ...]


class _Builder:
    def __init__(self, table: pa.Table, names: list[str], presence: np.ndarray, options: BalancedOptions) -> None:
        self.options, self.names, self.presence = options, names, presence
        self.paths = table["image_path"].to_pylist()
        self.left = np.full(len(self.paths), options.questions_per_image)
        self.mentions = np.zeros(len(self.names))  # how often an object was named, to name all about equally often
        self.surplus = np.zeros((len(self.names), 2))  # true minus false claims, affirming and denying
        self.scarce = False  # objects that few images show make most draws fail: then name what the images have
        self.wording = Wording()
        self.rows: list[tuple[str, int, int, _Set]] = []  # image path, set number, right option, set

    def batch(self, number: int, rng: np.random.Generator) -> bool:
        """Add one batch; False, with nothing added, when the images do not suffice."""
        before = (self.left.copy(), self.mentions.copy(), self.surplus.copy(), len(self.rows))
        for at, structure in enumerate(STRUCTURES):
            roles = draw_roles(self.options.images_per_set, rng)
            order = draw_order(structure, rng)
            for member in range(SETS_PER_STRUCTURE):
                made = self._draw_set(structure, order, rng)
                if made is None:
                    self.left, self.mentions, self.surplus = before[:3]
                    del self.rows[before[3] :]
                    return False
                set_number = (number * len(STRUCTURES) + at) * SETS_PER_STRUCTURE + member
                self._ask(made, set_number, roles[member], rng)
        return True

    def _draw_set(self, structure: tuple[Kind, ...], order: Sequence[Kind], rng: np.random.Generator) -> _Set | None:
        """A set of which each option is alone true for as many unused images as may be asked for; None without one.

        order: kinds of the options from the shortest text to the longest.
        """
        forms = forms_of(structure)
        roles = np.array([form.roles for form in forms])  # bool[forms, 4, PATTERNS]
        usable = np.flatnonzero(self.left)
        there = (self.presence[usable] > 0).sum(axis=0)
        for attempt in range(self.options.attempts):
            self.scarce = self.scarce or attempt >= self.options.attempts // 2
            weights = self._weights(there)
            if np.count_nonzero(weights) < OBJECTS:
                return None
            objects = rng.choice(len(self.names), OBJECTS, replace=False, p=weights / weights.sum())
            patterns = self._patterns(objects)[usable]
            counts = np.bincount(patterns[patterns >= 0], minlength=PATTERNS)
            fitting = np.flatnonzero(((roles @ counts) >= self.options.images_per_set).all(axis=1))
            if len(fitting):
                form = forms[fitting[int(rng.integers(len(fitting)))]]
                made = self._write(form, objects, order, rng)
                if made is not None:
                    self.mentions[objects] += form.claims.sum(axis=1)
                    return made
        return None

    def _weights(self, there: np.ndarray) -> np.ndarray:
        """float[objects]: chances to be named next. Objects named least come first, while images of them abound.

        there: int[objects], the unused images that show each.
        """
        weights = np.where(there >= self.options.images_per_set, there, 0).astype(float)
        return weights if self.scarce else weights / (1 + self.mentions - self.mentions.min()) ** 2

    def _write(self, form: Form, objects: np.ndarray, order: Sequence[Kind], rng: np.random.Generator) -> _Set | None:
        """The form in words, each option longer than the one before it in `order`; None where no wording found is so."""
        kinds = [option.kind for option in form.options]
        left = rng.permutation(len(kinds)).tolist()
        slots = [left.pop(next(at for at, slot in enumerate(left) if kinds[slot] == kind)) for kind in order]
        for _ in range(WORDINGS):
            cues = self.wording.cues(order, rng)
            texts: list[str] = []
            for slot, cue in zip(slots, cues, strict=True):
                option = form.options[slot]
                named = [self.names[objects[number]] for number in _shown(option, rng)]
                text = sentence(option.kind, cue, named, rng, len(texts[-1]) if texts else 0)
                if text is None:
                    break
                texts.append(text)
            else:
                self.wording.count(order, cues)
                return _Set(Form(tuple(form.options[slot] for slot in slots)), objects, tuple(texts))
        return None

    def _patterns(self, objects: np.ndarray) -> np.ndarray:
        """int[images]: which of the objects each image shows, as bits; -1 where one of them is in doubt."""
        known = self.presence[:, objects]
        return np.where((known == 0).any(axis=1), -1, (known > 0) @ (1 << np.arange(OBJECTS)))

    def _ask(self, made: _Set, number: int, right: np.ndarray, rng: np.random.Generator) -> None:
        patterns = np.where(self.left > 0, self._patterns(made.objects), -1)
        free = np.bincount(patterns[patterns >= 0], minlength=PATTERNS)
        pools: dict[int, list[int]] = {}
        for role in right:
            pattern = self._pattern_for(made, int(role), free)
            if pattern not in pools:
                found = np.flatnonzero(patterns == pattern)
                pools[pattern] = rng.choice(found, min(len(found), len(right)), replace=False).tolist()
            image = pools[pattern].pop()
            free[pattern] -= 1
            self.left[image] -= 1
            self.surplus[made.objects] += _truths(made.form, pattern)
            self.rows.append((self.paths[image], number, int(role), made))

    def _pattern_for(self, made: _Set, role: int, free: np.ndarray) -> int:
        """Of the patterns that make the role alone true, the one after which true and false claims are most even."""
        choices = np.flatnonzero(made.form.roles[role] & (free > 0))
        surplus = self.surplus[made.objects]
        cost = [((surplus + _truths(made.form, pattern)) ** 2).sum() for pattern in choices.tolist()]
        return int(choices[int(np.argmin(cost))])

    def finish(self, rng: np.random.Generator) -> Questions:
        """All questions in an order of their own, options shuffled."""
        images, options, answers, types, groups = [], [], [], [], []
        for at in rng.permutation(len(self.rows)):
            path, number, role, made = self.rows[at]
            order = rng.permutation(len(made.texts))
            images.append(path)
            options.append(tuple(made.texts[slot] for slot in order))
            answers.append(int(np.flatnonzero(order == role)[0]))
            types.append(TYPE_OF_KIND[made.form.options[role].kind])
            groups.append(f"set-{number:06d}")
        columns = (tuple(column) for column in (images, options, answers, types, groups))
        return Questions("negmcq_balanced", *columns)


def build_balanced(table: pa.Table, seed: int = 0, options: BalancedOptions | None = None) -> BalancedSet:
    """Balanced questions over a table of `PRESENCE`.

    Raises PlanError, with what to change, for too few images; ConfigError where the check needs scikit-learn and there is
    none.
    """
    chosen = options or BalancedOptions()
    if missing := [name for name in PRESENCE.names if name not in table.column_names]:
        raise ConfigError(f"a table of images needs the column {missing[0]!r}; it has {table.column_names}")
    names = _object_names(table)
    presence, lexicon = _matrix(table, names), Lexicon(tuple(names))
    folds: tuple[FoldsBy, ...] = ("group", "image") if chosen.questions_per_image == 1 else ("group",)
    found: dict[str, float] = {}
    for draw in range(max(1, chosen.draws)):
        questions = _draw(_Builder(table, names, presence, chosen), seed, draw)
        found = leaks(questions, lexicon, folds) if chosen.draws else {}
        if not found:
            return BalancedSet.of(questions, table, names, seed, chosen, draw + 1)
    raise PlanError(f"after {chosen.draws} draws, blind solvers are still off chance ({found}): raise `draws`")


def _draw(builder: _Builder, seed: int, draw: int) -> Questions:
    wanted, done = builder.options.questions, 0
    while wanted is None or len(builder.rows) < wanted:
        # an unlucky order of objects and texts exhausts the images early: others are tried before giving up
        keys = [(draw, done, *((again,) if again else ())) for again in range(BATCH_DRAWS if wanted else 1)]
        if not any(builder.batch(done, rng_for(seed, "negmcq_balanced", *key)) for key in keys):
            break
        done += 1
    if len(builder.rows) < (wanted or 1):
        raise PlanError(
            f"{len(builder.paths):,} images allow {len(builder.rows):,} of {wanted or builder.options.batch:,} balanced "
            "questions: each of a set's four texts must be the only true one for "
            f"{builder.options.images_per_set} unused images. Give more images, or ask for fewer questions, fewer images per set "
            f"(images_per_set) or more questions per image (questions_per_image, now {builder.options.questions_per_image})"
        )
    return builder.finish(rng_for(seed, "negmcq_balanced", draw, "order"))


def draw_roles(images: int, rng: np.random.Generator) -> np.ndarray:
    """int[4, images]: the right option for each image of four sets of one structure.

    Each column is a permutation of the options, so that over the four sets each is right equally often; the columns are
    independent, so that within a set (a row) the draws are independent and uniform.
    """
    return np.array([rng.permutation(SETS_PER_STRUCTURE) for _ in range(images)]).T


def draw_order(structure: Sequence[Kind], rng: np.random.Generator) -> tuple[Kind, ...]:
    """The kinds of a structure from the shortest text to the longest: those that name one object, then those with two."""
    mixed = [structure[at] for at in rng.permutation(len(structure))]
    return tuple(sorted(mixed, key=lambda kind: kind in ("affirm_two", "hybrid")))


def _shown(option: Option, rng: np.random.Generator) -> tuple[int, ...]:
    """The option's objects in the order in which its text names them: affirmed, then denied."""
    return (option.affirmed if rng.random() < 0.5 else option.affirmed[::-1]) + option.denied


def _truths(form: Form, pattern: int) -> np.ndarray:
    """int[OBJECTS, 2]: true minus false claims of the form in a pattern, affirming and denying."""
    sign = np.where(pattern >> np.arange(OBJECTS) & 1, 1, -1)
    return form.claims * np.stack([sign, -sign], axis=1)


def _object_names(table: pa.Table) -> list[str]:
    names = sorted({name for column in ("present", "absent") for row in table[column].to_pylist() for name in row})
    if len(names) < OBJECTS:
        raise PlanError(f"{len(names)} objects are named over all images; balanced questions need {OBJECTS} or more")
    if twice := named_twice(names, Lexicon(tuple(names)).forms):
        raise ConfigError(f"objects {twice} are other words for objects of the same table: merge them first")
    return names


def _matrix(table: pa.Table, names: list[str]) -> np.ndarray:
    """int8[images, objects]: 1 present, -1 absent, 0 unknown. Raises ConfigError for contradictions and repeats."""
    ids = table["image_id"].to_pylist()
    if len(set(ids)) < len(ids):
        raise ConfigError(f"image {next(i for i in ids if ids.count(i) > 1)!r} is listed more than once")
    place = {name: at for at, name in enumerate(names)}
    matrix = np.zeros((len(ids), len(names)), np.int8)
    for row, (present, absent) in enumerate(
        zip(table["present"].to_pylist(), table["absent"].to_pylist(), strict=True)
    ):
        if both := set(present) & set(absent):
            raise ConfigError(f"image {ids[row]!r} lists {sorted(both)} as present and as absent")
        matrix[row, [place[name] for name in present]] = 1
        matrix[row, [place[name] for name in absent]] = -1
    return matrix
