"""`negscale eval all`: every released benchmark of a root on every model, each thing encoded once, each result kept.

Items -> one embed run a model -> pure scoring -> rows, cells and tests in one folder. Killed at any point, the same command
goes on: embed runs resume as every run does, scoring is taken again in seconds. What differs from running the five released
repositories one after another is in `negscale.benchmarks`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from negscale import __version__, app
from negscale.backends.config import check_access
from negscale.backends.negation_scoring import needed_texts
from negscale.benchmarks import cells
from negscale.benchmarks.answering import Answers, evaluate_answers
from negscale.benchmarks.cells import AbsentBenchmark, NotScored, Suite, SuiteModel
from negscale.benchmarks.controls import Controls, blind_controls
from negscale.benchmarks.embeddings import EmbeddingStore
from negscale.benchmarks.encoding import Things, Vectors, new_things, read_vectors, things_of, wanted
from negscale.benchmarks.released_run import Evaluated, Prepared, Survey, evaluate, prepare
from negscale.benchmarks.scoring import Ranker
from negscale.benchmarks.suite_cells import cell_of, item_rows, pairs_of, to_parquet
from negscale.benchmarks.suite_config import SuiteConfig, is_chat, split_model
from negscale.benchmarks.tuning import tune, tuning_split, with_scoring
from negscale.core.errors import ConfigError, PlanError
from negscale.core.run import Manifest
from negscale.core.runtime import RuntimeConfig
from negscale.datasets.images import ImageReader
from negscale.datasets.ranking import RankingSetConfig, write_ranking_set
from negscale.datasets.things import ThingsConfig
from negscale.executors.drive import Silence, Watcher
from negscale.metrics.ranking import Ranks, rank
from negscale.pipelines.embed import EMBED, EmbedConfig
from negscale.pipelines.ranking import RANKING, RankingConfig
from negscale.storage.folder import Folder, open_folder
from negscale.storage.run_folder import RunFolder
from negscale.suite_answers import ask_all, can_answer


@dataclass(frozen=True, slots=True)
class SuiteResult:
    """A finished evaluation, and the runs in which more things broke than the budget allows."""

    suite: Suite
    over_budget: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Model:
    key: str
    config: Any
    encoder: Any  # config
    scoring: Any  # config, or None
    id: str

    @property
    def scorer(self) -> str:
        if self.encoder is None:
            return "answers"
        if self.scoring is None:
            return "cosine"
        facts = self.scoring.identity()
        return f"{facts.pop('kind')}({', '.join(f'{k}={v}' for k, v in sorted(facts.items()))})"


def run_suite(config: SuiteConfig, names: Sequence[str] = (), watch: Callable[[], Watcher] = Silence) -> SuiteResult:
    """Evaluate all benchmarks of the root, or those named, and write the folder; the same command goes on after a kill.

    watch: makes a watcher for each run that is started. Raises ConfigError before anything starts: no benchmark in the root,
    images of another split for one asked for by name, a model that cannot be had.
    """
    check_access(config)
    models = [_model(key, model) for key, model in config.models.items() if not is_chat(model)]
    chats = [_Model(key, model, None, None, model.build().id) for key, model in config.models.items() if is_chat(model)]
    survey = prepare(config.data_root, config.image_root, names, allow_missing=config.allow_missing_images)
    if not survey.prepared or (names and survey.absent):
        raise ConfigError(_lacking(config, survey))
    scored, held_out = _without_tuning_split(config, survey)
    out = open_folder(out_uri(config, names))
    out.delete(cells.SUITE)  # until the end the folder is no finished evaluation
    if not models and not any(map(can_answer, survey.prepared)):
        raise ConfigError(
            "models: all are multimodal LLMs, which none of these benchmarks can be put to; add an encoder"
        )
    images = things_of(wanted(one.located.items for one in survey.prepared)[0], (), ImageReader(config.image_root))
    files = _file_digests(survey.prepared)
    blind: dict[str, Controls] = {}
    over: list[str] = []
    done: dict[str, _Model] = {}
    for group in _by_encoder(models):
        vectors, lineage = _encoded(config, group[0].encoder, _things(images, survey, group), over, watch)
        for given in group:
            model, tuning = _tuned(given, held_out, vectors)
            done[model.key] = model
            for one in scored.prepared:
                name = one.benchmark.name
                if name not in blind:
                    blind[name] = blind_controls(one.benchmark.task, one.located.items, name, seed=config.seed)
                facts = {**lineage, "files": files[name], "tuning": tuning}
                _score(config, model, one, vectors, blind[name], facts, out, watch)
    for model in chats:
        done[model.key] = model
        answers, lineage = _asked(config, model, scored.prepared, over, watch)
        for one in filter(can_answer, scored.prepared):
            name = one.benchmark.name
            if name not in blind:
                blind[name] = blind_controls(one.benchmark.task, one.located.items, name, seed=config.seed)
            found = evaluate_answers(one, answers, blind=blind[name], seed=config.seed)
            _write(found, model, one, {**lineage, "files": files[name]}, out)
    suite = _suite(config, scored, [done[key] for key in config.models], out.uri)
    _write_pairs(config, scored, suite, out)
    cells.write_suite(out, suite)
    return SuiteResult(cells.read_suite(out.uri), tuple(over))


def out_uri(config: SuiteConfig, names: Sequence[str] = ()) -> str:
    """Where the results go: `out`, or RUN_ROOT/eval/all, RUN_ROOT/eval/negbench-mcq-coco."""
    asked = "+".join(name.replace("/", "-") for name in names) or "all"
    return config.out or f"{config.runtime.run_root.rstrip('/')}/eval/{asked}"


def store_of(encoder: Any, root: str) -> EmbeddingStore:
    """The vectors of an encoder (its config) below a root: of this model, these weights and this precision."""
    return EmbeddingStore(root, encoder.build().id, encoder.identity())


def embed(
    encoder: Any, things: Things, store: EmbeddingStore, image_root: str, config: SuiteConfig,
    watch: Callable[[], Watcher] = Silence,
) -> Manifest | None:  # fmt: skip
    """Carry the run of what the store lacks to its end; None when it has all. encoder: its config."""
    rows = new_things(things, store.known(), config.sizes)
    if rows is None:
        return None
    version, uri = store.put(rows)
    source = ThingsConfig(uri=uri, image_root=image_root)
    runtime = config.runtime.model_copy(update={"run_root": store.uri, "version": version})
    prepared = app.prepare_config(EMBED, EmbedConfig(source=source, encoder=encoder, runtime=runtime))
    return app.generate(prepared, watch())


def sharded_ranker(
    root: str, runtime: RuntimeConfig, block: int, sharded_from: int = 0, watch: Callable[[], Watcher] = Silence
) -> Ranker:
    """Ranks as `negscale.metrics.ranking.rank`, and by a run of blocks of queries from `sharded_from` pairs on."""

    def ranker(queries: np.ndarray, items: np.ndarray, right: Sequence[Sequence[int]]) -> Ranks:
        if len(queries) * len(items) < sharded_from:
            return rank(queries, items, right, query_block=block)
        name, uri = write_ranking_set(f"{root}/sets", queries, items, right, block)
        chosen = runtime.model_copy(update={"run_root": root, "version": name})
        prepared = app.prepare_config(RANKING, RankingConfig(source=RankingSetConfig(uri=uri), runtime=chosen))
        app.generate(prepared, watch())
        names = ("above", "tied", "positives", "before")
        found = np.full((len(queries), len(names)), -1, np.int64)
        for _, table in RunFolder(prepared.spec.uri).tables("data", ["query", *names]):
            found[table["query"].to_numpy()] = np.stack([table[name].to_numpy() for name in names], axis=1)
        return Ranks(*found.T.copy())

    return ranker


def _model(key: str, config: Any) -> _Model:
    encoder, scoring = split_model(config)
    return _Model(key, config, encoder, scoring, encoder.build().id)


def _by_encoder(models: Sequence[_Model]) -> list[list[_Model]]:
    """Models that share their vectors."""
    groups: dict[str, list[_Model]] = {}
    for model in models:
        groups.setdefault(store_of(model.encoder, "").uri, []).append(model)
    return list(groups.values())


def _without_tuning_split(config: SuiteConfig, survey: Survey) -> tuple[Survey, pa.Table | None]:
    """(the benchmarks as they are scored, items that tune and are not scored or None)."""
    if not config.tune_on:
        return survey, None
    one = next((one for one in survey.prepared if one.benchmark.name == config.tune_on), None)
    if one is None or one.benchmark.task != "choose_text":
        there = [found.benchmark.name for found in survey.prepared if found.benchmark.task == "choose_text"]
        raise ConfigError(f"tune_on: {config.tune_on!r} is no benchmark of choices among texts here; there are {there}")
    held_out, rest = tuning_split(one.located.items, config.tune_share, config.seed)
    kept = replace(one, located=replace(one.located, items=rest))
    return replace(survey, prepared=tuple(kept if found is one else found for found in survey.prepared)), held_out


def _tuned(model: _Model, held_out: pa.Table | None, vectors: Vectors) -> tuple[_Model, dict[str, Any] | None]:
    """The model with its scorer's parameter from the split, and what it was tuned on."""
    if model.scoring is None or held_out is None:
        return model, None
    try:
        found = tune(model.scoring, held_out, vectors)
    except PlanError as error:  # no item of the split has its vectors: nor will the benchmark, which shows it
        return model, {"failed": str(error)}
    facts = {"items": found.items, "credit": found.credit, "digest": found.digest}
    return replace(model, scoring=found.scoring), facts


def _things(images: Things, survey: Survey, group: Sequence[_Model]) -> Things:
    """The images, and every text that a scorer of this encoder needs."""
    texts = set(wanted(one.located.items for one in survey.prepared)[1])
    scorings = {model.scoring for model in group if model.scoring is not None}
    needed = texts.union(*(needed_texts(sorted(texts), scoring) for scoring in scorings))
    return replace(images, texts=things_of((), needed, ImageReader()).texts)


def _encoded(
    config: SuiteConfig, encoder: Any, things: Things, over: list[str], watch: Callable[[], Watcher]
) -> tuple[Vectors, dict[str, Any]]:
    store = store_of(encoder, config.store_root)
    embed(encoder, things, store, config.image_root, config, watch)
    vectors = read_vectors(store, things)
    for uri in vectors.runs:
        manifest = RunFolder(uri).manifest()
        if manifest is not None and manifest.status == "over_budget" and uri not in over:
            over.append(uri)
    lineage = {
        "embeddings": store.uri, "runs": list(vectors.runs), "weights": encoder.identity(), "training": _training(encoder),
    }  # fmt: skip
    return vectors, lineage


def _score(
    config: SuiteConfig, model: _Model, one: Prepared, vectors: Vectors, blind: Controls, lineage: dict[str, Any],
    out: Folder, watch: Callable[[], Watcher],
) -> None:  # fmt: skip
    if model.scoring is not None:
        vectors = with_scoring(vectors, one.located.items, model.scoring)
    root = f"{config.runtime.run_root.rstrip('/')}/rankings"
    ranker = sharded_ranker(root, config.runtime, config.ranking_block, config.sharded_from, watch)
    _write(evaluate(one, vectors, blind=blind, seed=config.seed, ranker=ranker), model, one, lineage, out)


def _asked(
    config: SuiteConfig, model: _Model, prepared: Sequence[Prepared], over: list[str], watch: Callable[[], Watcher]
) -> tuple[Answers, dict[str, Any]]:
    """What a multimodal LLM answers, and where that lies."""
    chat = config.chat
    asked = ask_all(
        prepared, model.config, chat.protocol, config.image_root, config.runtime, seed=config.seed,
        max_attempts=chat.max_attempts, watch=watch,
    )  # fmt: skip
    if asked.status == "over_budget":
        over.append(asked.uri)
    return asked.answers, {"runs": [asked.uri], "weights": model.config.identity(), "asked": chat.identity()}


def _write(found: Evaluated, model: _Model, one: Prepared, lineage: dict[str, Any], out: Folder) -> None:
    name = one.benchmark.name
    out.write(cells.items_path(name, model.key), to_parquet(item_rows(found, one)))
    cells.write_cell(out, cell_of(found, model.key, model.id, model.scorer, lineage))


def _write_pairs(config: SuiteConfig, survey: Survey, suite: Suite, out: Folder) -> None:
    without = {(one.benchmark, one.model) for one in suite.not_scored}
    for one in survey.prepared:
        name = one.benchmark.name
        keys = [model.key for model in suite.models if (name, model.key) not in without]
        if keys:
            rows = {key: _rows(out, name, key) for key in keys}
            cells.write_paired(out, name, pairs_of(one.benchmark.task, rows, config.seed))


def _rows(out: Folder, benchmark: str, model: str) -> pa.Table:
    return pq.read_table(pa.BufferReader(out.read(cells.items_path(benchmark, model))))


def _suite(config: SuiteConfig, survey: Survey, models: Sequence[_Model], uri: str) -> Suite:
    unable = [one.benchmark for one in survey.prepared if not can_answer(one)]
    without = tuple(
        NotScored(benchmark.name, model.key, f"a multimodal LLM is not put to the task {benchmark.task!r}")
        for model in models if model.encoder is None for benchmark in unable
    )  # fmt: skip
    silent = {benchmark.name for benchmark in unable} if all(model.encoder is None for model in models) else set()
    return Suite(
        uri=uri, data_root=config.data_root, image_root=config.image_root,
        models=tuple(SuiteModel(m.key, m.id, m.scorer, m.config.model_dump(mode="json")) for m in models),
        benchmarks=tuple(one.benchmark.name for one in survey.prepared if one.benchmark.name not in silent),
        not_scored=without,
        absent=tuple(AbsentBenchmark(a.benchmark.name, a.advice) for a in survey.absent), refused=survey.refused,
        negscale=__version__, seed=config.seed,
    )  # fmt: skip


def _file_digests(prepared: Sequence[Prepared]) -> dict[str, dict[str, str]]:
    """benchmark -> path -> SHA-256 of each file that was read."""
    found: dict[str, dict[str, str]] = {}
    for one in prepared:
        found[one.benchmark.name] = {}
        for path in one.paths:
            folder, _, name = path.rpartition("/")
            found[one.benchmark.name][path] = sha256(open_folder(folder or ".").read(name)).hexdigest()
    return found


def _training(encoder: Any) -> dict[str, Any] | None:
    """What `negscale export` wrote beside the weights of one of our trainings."""
    place = getattr(encoder, "path", "")
    for folder in (place, place.rpartition("/")[0]) if place else ():
        try:
            return json.loads(open_folder(folder).read("negscale.json"))
        except (FileNotFoundError, NotADirectoryError, ValueError):
            continue
    return None


def _lacking(config: SuiteConfig, survey: Survey) -> str:
    what = "does not hold all that was asked for" if survey.prepared else "holds no benchmark that can be scored"
    lines = [f"data root {config.data_root!r} {what}"]
    lines += [f"  {name}: {why}" for name, why in survey.refused.items()]
    lines += [f"  {absent.advice}" for absent in survey.absent]
    return "\n".join(lines)
