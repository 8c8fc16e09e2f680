"""A multimodal LLM on the benchmarks of a survey: one run that asks every distinct question once, resumed as every run is."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

import pyarrow.parquet as pq

from negscale import app
from negscale.benchmarks.answering import TASKS, Answers, asked_rows, questions_of_items, read_answers
from negscale.benchmarks.released_run import Prepared
from negscale.core.runtime import RuntimeConfig
from negscale.datasets.asked import AskedConfig, digest_of
from negscale.datasets.images import ImageReader
from negscale.executors.drive import Silence, Watcher
from negscale.pipelines.answers import ANSWERS, AnswersConfig
from negscale.stages.answering import Protocol
from negscale.storage.folder import open_folder
from negscale.storage.run_folder import RunFolder


@dataclass(frozen=True, slots=True)
class Asked:
    """Answers, and the run that holds them: its folder, empty where there was nothing to ask, and how it ended."""

    answers: Answers
    uri: str = ""
    status: str = ""


def can_answer(one: Prepared) -> bool:
    """Whether a benchmark can be put to a chat model: choices among texts, and 2 x 2 groups."""
    return one.benchmark.task in TASKS


def ask_all(
    prepared: Sequence[Prepared], chat: Any, protocol: Protocol, image_root: str, runtime: RuntimeConfig, *, seed: int = 0,
    max_attempts: int = 3, watch: Callable[[], Watcher] = Silence,
) -> Asked:  # fmt: skip
    """The answers to all benchmarks that can be asked about; a finished run is only read. chat: its config.

    The run lies in RUN_ROOT/answers, the list of questions in RUN_ROOT/asked. Raises ConfigError for a model without eyes.
    """
    able = [one for one in prepared if can_answer(one)]
    questions = [
        question for one in able for asked in questions_of_items(one.benchmark, one.located.items) for question in asked
    ]
    rows, ids, faults = asked_rows(questions, ImageReader(image_root))
    if not len(rows):
        return Asked(Answers({}, faults))
    root, name = open_folder(f"{runtime.run_root.rstrip('/')}/asked"), f"{digest_of(rows)}.parquet"
    buffer = io.BytesIO()
    pq.write_table(rows, buffer, compression="zstd")
    root.put_if_absent(name, buffer.getvalue())
    source = AskedConfig(uri=f"{root.uri}/{name}", image_root=image_root)
    config = AnswersConfig(
        seed=seed, max_attempts=max_attempts, source=source, chat=chat, protocol=protocol, runtime=runtime
    )  # fmt: skip
    facts = json.dumps({**config.identity(), "asked": name}, sort_keys=True)
    version = sha256(facts.encode()).hexdigest()[:16]
    config = config.model_copy(update={"runtime": runtime.model_copy(update={"version": version})})
    done = app.prepare_config(ANSWERS, config)
    manifest = app.generate(done, watch())
    return Asked(read_answers(RunFolder(done.spec.uri), ids, faults), done.spec.uri, manifest.status)
