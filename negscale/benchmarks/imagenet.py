"""ImageNet zero-shot: did training on negation cost what the model knew? (CLIP, arXiv 2103.00020, section 3.1)

NegationCLIP (arXiv 2501.10913) and CoN-CLIP (2403.20312) print it beside their negation scores; their sentences are not
published. Here the sets of sentences are data (`imagenet_templates.yaml`), a benchmark each, and the names of the classes
come from the user's own file, since which names are used moves the score by several points (arXiv 2103.00020, section
3.1.4): `classnames.txt` (a name a line, in the order of the classes), Keras's `imagenet_class_index.json`, or Kaggle's
`LOC_synset_mapping.txt`, beside the labels. Labels are a CSV of file and class (index or WordNet id), Kaggle's
`LOC_val_solution.csv`, or Caffe's `val.txt`.
"""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from functools import cache, partial
from importlib.resources import files
from typing import Any

from omegaconf import OmegaConf

from negscale.benchmarks.released import ReleasedBenchmark, read_text
from negscale.core.errors import ConfigError
from negscale.storage.folder import open_folder

NAME_FILES = ("classnames.txt", "imagenet_class_index.json", "LOC_synset_mapping.txt")
_SYNSET = re.compile(r"n\d{8}")
_BARE = re.compile(r"ILSVRC2012_\w+")  # Kaggle's file names its images without their ending
_FILE_COLUMNS = ("file", "filename", "image", "image_path", "path", "ImageId")
_CLASS_COLUMNS = (
    "imagenet_class_index",
    "class_index",
    "label",
    "class",
    "target",
    "synset",
    "wnid",
    "PredictionString",
)


@cache
def template_sets() -> Mapping[str, tuple[str, ...]]:
    """Name of a set -> its sentences, each with one {} for the class name. Raises ConfigError for others."""
    text = files("negscale.benchmarks").joinpath("imagenet_templates.yaml").read_text("utf-8")
    return parse_templates(text, "imagenet_templates.yaml")


def parse_templates(text: str, name: str) -> Mapping[str, tuple[str, ...]]:
    """The sets of a YAML text ``sets: {NAME: [SENTENCE, ...]}``. Raises ConfigError for sentences without exactly one {}."""
    content: Any = OmegaConf.to_container(OmegaConf.create(text))
    sets = content.get("sets") if isinstance(content, dict) else None
    if not isinstance(sets, dict) or not sets:
        raise ConfigError(f"{name}: expected sets: {{NAME: [sentences with a {{}} each]}}, got {str(content)[:80]!r}")
    for title, sentences in sets.items():
        for sentence in sentences or [""]:
            if not isinstance(sentence, str) or sentence.count("{}") != 1:
                raise ConfigError(f"{name}: set {title}: {sentence!r} should have {{}} once, for the class name")
    return {str(title): tuple(sentences) for title, sentences in sets.items()}


def read(path: str, text: str, templates: str) -> Iterable[Mapping[str, Any]]:
    """Every class, then every image. Raises ConfigError where the names of the classes are not found."""
    folder = path.rpartition("/")[0] or "."
    names, synsets = class_names(folder)
    for name in names:
        yield {"images": [], "texts": [one.replace("{}", name) for one in template_sets()[templates]], "group": name}
    for where, file, label in _labels(path, read_text(path)):
        at = synsets.get(label, -1) if _SYNSET.fullmatch(label) else int(label) if label.isdecimal() else -1
        if not 0 <= at < len(names):
            raise ConfigError(f"{where}: class {label!r} is none of the {len(names)} of {folder}")
        yield {
            "images": [f"{file}.JPEG" if _BARE.fullmatch(file) else file],
            "texts": [],
            "answer": at,
            "group": names[at],
        }


def class_names(folder: str) -> tuple[list[str], dict[str, int]]:
    """(names of the classes in their order, WordNet id -> number where the file tells), from the first of `NAME_FILES`.

    Raises ConfigError when the folder has none of them, or one of another shape.
    """
    there = open_folder(folder)
    found = next((file for file in NAME_FILES if there.exists(file)), "")
    if not found:
        raise ConfigError(f"{folder} has labels but no names of the classes; put {' or '.join(NAME_FILES)} beside them")
    where, text = f"{folder}/{found}", read_text(f"{folder}/{found}")
    if found.endswith(".json"):
        pairs = _of_json(where, text)
    else:
        pairs = [_of_line(line, found == "classnames.txt") for line in text.splitlines() if line.strip()]
    names = [name for _, name in pairs]
    if len(names) < 2 or not all(names):
        raise ConfigError(f"{where}: expected two or more classes, each with a name; got {names[:3]}")
    return names, {synset: at for at, (synset, _) in enumerate(pairs) if synset}


def _of_json(where: str, text: str) -> list[tuple[str, str]]:
    try:
        content = json.loads(text)
        return [(str(content[str(at)][0]), str(content[str(at)][1]).replace("_", " ")) for at in range(len(content))]
    except (json.JSONDecodeError, KeyError, IndexError, TypeError) as error:
        raise ConfigError(f'{where}: expected {{"0": ["n01440764", "tench"], ...}}: {error!r}') from None


def _of_line(line: str, whole: bool) -> tuple[str, str]:
    """(WordNet id or "", name) of a line. whole: a comma is a part of the name; else the first of several names is taken."""
    head, _, rest = line.strip().partition(" ")
    synset, name = (head, rest) if _SYNSET.fullmatch(head) else ("", line.strip())
    return synset, name.strip() if whole else name.partition(",")[0].strip()


def _labels(path: str, text: str) -> Iterable[tuple[str, str, str]]:
    """(where it stands, file, class) of every labelled image."""
    if not path.lower().endswith(".csv"):
        for number, line in enumerate(text.splitlines(), 1):
            if line.strip():
                file, _, label = line.strip().rpartition(" ")
                if not file:
                    raise ConfigError(f"{path}, line {number}: expected a file and a class, got {line[:80]!r}")
                yield f"{path}, line {number}", file.strip(), label
        return
    rows = csv.DictReader(io.StringIO(text, newline=""))
    file_column, class_column = (
        _column(path, rows.fieldnames or (), known) for known in (_FILE_COLUMNS, _CLASS_COLUMNS)
    )
    for row in rows:
        words = (row[class_column] or "").split()
        if not row[file_column] or not words:
            raise ConfigError(f"{path}, line {rows.line_num}: {file_column} or {class_column} is empty")
        yield f"{path}, line {rows.line_num}", row[file_column].strip(), words[0]


def _column(path: str, held: Sequence[str], known: Sequence[str]) -> str:
    found = next((name for name in known if name in held), "")
    if not found:
        raise ConfigError(
            f"{path}: expected one of the columns {', '.join(known)}; it holds {', '.join(held) or 'nothing'}"
        )
    return found


def _benchmark(name: str, templates: str, said: str) -> ReleasedBenchmark:
    return ReleasedBenchmark(
        name, f"1,000 classes of ImageNet, {said}", "classify",
        ("LOC_val_solution.csv", "*imagenet*/labels.csv", "*imagenet*/val.txt", "*imagenet*labels*.csv"),
        "ILSVRC2012 validation",
        f"labels and images: image-net.org or Kaggle (ILSVRC); beside them one of {', '.join(NAME_FILES)}",
        partial(read, templates=templates), ("names of classes move the score by points: compare runs with the same file",),
        binary=True, paper="CLIP: Radford et al., arXiv 2103.00020, section 3.1",
    )  # fmt: skip


ZERO_SHOT_80 = _benchmark("imagenet/zero-shot-80", "openai-80", "mean of CLIP's 80 sentences")
ZERO_SHOT_7 = _benchmark(
    "imagenet/zero-shot-7", "openai-7", "mean of the 7 sentences that CLIP's authors chose from them"
)
ZERO_SHOT_1 = _benchmark("imagenet/zero-shot-1", "single", 'one sentence, "a photo of a {}."')
