"""The CelebA probe: an attribute affirmed against the same attribute denied (NegationCLIP, arXiv 2501.10913, section 1).

For each of 40 attributes the nearer of two sentences is the answer; the score is balanced accuracy (mean of the two
classes' recalls), the mean over attributes. CLIP L/14 is said to have 60.8 %. The paper's 40 pairs are not published:
those of `celeba_prompts.yaml` are our own, so that the figures stand beside each other but are not the same measurement.
Read is the released `list_attr_celeba.txt`, and of it the test split where `list_eval_partition.txt` lies beside it.
What differs: the recall of the affirmed and of the denied sentences is printed too: a model that never hears the "no"
has their mean near 50 % whatever it sees.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cache
from importlib.resources import files
from typing import Any, Literal

from omegaconf import OmegaConf
from pydantic import ValidationError

from negscale.benchmarks.released import ReleasedBenchmark, read_text
from negscale.core.config import Config
from negscale.core.errors import ConfigError
from negscale.storage.folder import open_folder

PARTITION = "list_eval_partition.txt"
_TEST = "2"
GROUPS = ("affirmed", "negated")


class AttributePrompts(Config):
    """Two sentences on an attribute, of which one holds of every face."""

    affirmed: str
    """Says that the feature is there."""
    negated: str
    """Says that it is not."""
    affirmed_label: Literal[1, -1] = 1
    """The file's label of images of which `affirmed` holds: -1 for No_Beard, whose feature is the beard."""


@cache
def prompts() -> Mapping[str, AttributePrompts]:
    """Attribute as CelebA names it -> its sentences."""
    text = files("negscale.benchmarks").joinpath("celeba_prompts.yaml").read_text("utf-8")
    return parse_prompts(text, "celeba_prompts.yaml")


def parse_prompts(text: str, name: str) -> Mapping[str, AttributePrompts]:
    """The sentences of a YAML text ``ATTRIBUTE: {affirmed: ..., negated: ...}``. Raises ConfigError naming what does not fit."""
    content: Any = OmegaConf.to_container(OmegaConf.create(text))
    if not isinstance(content, dict):
        raise ConfigError(f"{name}: expected ATTRIBUTE: {{affirmed: ..., negated: ...}}, got {str(content)[:80]!r}")
    found: dict[str, AttributePrompts] = {}
    for attribute, pair in content.items():
        try:
            found[str(attribute)] = AttributePrompts.model_validate(pair)
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(map(str, (attribute, *first["loc"])))
            raise ConfigError(f"{name}: {where}: {first['msg']}, got {str(first.get('input'))[:80]!r}") from None
        if found[str(attribute)].affirmed == found[str(attribute)].negated:
            raise ConfigError(f"{name}: {attribute}: both sentences are {pair['affirmed']!r}")
    return found


def read(path: str, text: str) -> Iterable[Mapping[str, Any]]:
    """Of every attribute its two sentences as classes, then every image.

    Raises ConfigError naming the line that does not fit, or an attribute for which there are no sentences.
    """
    lines = read_text(path).splitlines()
    if len(lines) < 3 or not lines[0].strip().isdecimal():
        raise ConfigError(f"{path}: expected a count, the attributes, and a line an image; got {lines[:1]}")
    attributes, known = lines[1].split(), prompts()
    if unknown := [name for name in attributes if name not in known]:
        raise ConfigError(f"{path}: no sentences for {', '.join(unknown)}; there are some for {', '.join(known)}")
    wanted = _test_split(path)
    labels: dict[str, list[int]] = {}
    for number, line in enumerate(lines[2:], 3):
        words = line.split()
        if not words or (wanted is not None and words[0] not in wanted):
            continue
        if len(words) != len(attributes) + 1 or not set(words[1:]) <= {"1", "-1"}:
            raise ConfigError(
                f"{path}, line {number}: expected a file and {len(attributes)} labels 1 or -1: {line[:80]!r}"
            )
        labels[words[0]] = [int(word) for word in words[1:]]
    for at, attribute in enumerate(attributes):
        pair = known[attribute]
        for group, sentence in zip(GROUPS, (pair.affirmed, pair.negated), strict=True):
            yield {"images": [], "texts": [sentence], "type": attribute, "group": group}
        for image, values in labels.items():
            answer = int(values[at] != pair.affirmed_label)
            yield {"images": [image], "texts": [], "answer": answer, "type": attribute, "group": GROUPS[answer]}


def _test_split(path: str) -> frozenset[str] | None:
    """Files of the test split; None where no partition lies beside the attributes."""
    folder = path.rpartition("/")[0] or "."
    if not open_folder(folder).exists(PARTITION):
        return None
    pairs = [line.split() for line in read_text(f"{folder}/{PARTITION}").splitlines() if line.strip()]
    if any(len(pair) != 2 for pair in pairs):
        raise ConfigError(f"{folder}/{PARTITION}: expected a file and 0, 1 or 2 in each line")
    return frozenset(file for file, part in pairs if part == _TEST)


CELEBA = ReleasedBenchmark(
    "celeba/attributes", "40 attributes of faces, affirmed against denied", "probe", ("list_attr_celeba.txt",),
    "CelebA, aligned and cropped",
    "list_attr_celeba.txt, list_eval_partition.txt and img_align_celeba: mmlab.ie.cuhk.edu.hk/projects/CelebA.html, on agreement",
    read, ("the 40 pairs of sentences are our own: the paper's are not published",), binary=True,
    paper="NegationCLIP: Park et al., arXiv 2501.10913, ICCV 2025",
)  # fmt: skip
