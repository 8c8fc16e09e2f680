"""A paper as one program: data, training, export, evaluation before and after, report.

Each step is what the verb of its name does, and resumes as it does: a mission that was lost goes on where it was when it is
started again with the same arguments, and one that is finished makes nothing anew.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console

from negscale import app, editor_verbs, train_verbs, verbs
from negscale.backends.diffusers_editor import PIPELINE
from negscale.backends.dual_encoders import HfDualEncoderConfig, OpenClipEncoderConfig
from negscale.benchmarks.catalogue import survey
from negscale.benchmarks.registry import find_benchmark
from negscale.benchmarks.suite_config import SuiteConfig
from negscale.build_verbs import BUILDS
from negscale.core import config as configs
from negscale.core.errors import ConfigError, QuarantineBudgetError
from negscale.core.run import Manifest
from negscale.eval_verbs import run_benchmark
from negscale.mission_config import Exam, MissionConfig, Step, resolved
from negscale.report import terminal
from negscale.report.nein import nein_table
from negscale.report.suite import suite_table
from negscale.report_eval import make_eval_report
from negscale.storage.folder import open_folder
from negscale.storage.run_folder import RunFolder
from negscale.suite import run_suite

BEFORE, AFTER = "before", "tuned"
ALL, NEIN = "all", "nein"


@dataclass
class Mission:
    """One mission under way. console: where people read."""

    config: MissionConfig
    console: Console
    facts: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.folders = self.config.places  # of runs, as they are made, and those that the user names

    def run(self) -> dict[str, Any]:
        """Carry it to its end; returns {runs, training, model, evaluation, ...}.

        Raises ConfigError before anything starts for a step that cannot be, QuarantineBudgetError after a run in which too
        much broke.
        """
        self.check()
        for key, step in self.config.generate.items():
            self._generate(key, step)
        for key, exam in self.config.exams.items():
            self._examine(key, exam)
        self.facts["runs"] = {key: self.folders[key] for key in self.config.generate}
        if self._edits:
            self._teach_editor()
        else:
            self._teach_encoder()
        return self.facts

    @property
    def _edits(self) -> bool:
        return self.config.train.recipe.startswith(train_verbs.EDITINGS)

    def check(self) -> None:
        """Raise ConfigError for what can be known to be wrong before anything starts."""
        config = self.config
        wanted = NEIN if self._edits else ALL
        if config.evaluate.recipe != wanted:
            raise ConfigError(
                f"evaluate.recipe={config.evaluate.recipe!r}: {config.train.recipe} is measured by {wanted}"
            )
        known = dict(config.places)
        for key, step in config.generate.items():
            app.load_config(step.recipe, [*step.config, *config.runtime], self._overrides(step, known))
            known[key] = key
        for exam in config.exams.values():
            if exam.build:
                self._build_config(exam)
        self._training(known)
        resolved(config.evaluate, known)

    def _overrides(self, step: Step, runs: Mapping[str, str]) -> list[str]:
        place = (f"runtime.run_root={self.config.run_root}", f"runtime.version={self.config.version}")
        return [*place, *resolved(step, runs)]

    def _say(self, text: str) -> None:
        self.console.print(text, markup=False, soft_wrap=True)

    def _generate(self, key: str, step: Step) -> None:
        prepared = app.prepare(step.recipe, [*step.config, *self.config.runtime], self._overrides(step, self.folders))
        self._say(f"\n== {key}: {step.recipe}, {prepared.listing.rows:,} rows")
        manifest = app.generate(prepared, terminal.Progress(self.console))
        self.console.print(terminal.counts_table(manifest))
        check_budget(manifest, prepared.spec.uri)
        self.folders[key] = prepared.spec.uri

    def _build_config(self, exam: Exam) -> Any:
        if exam.build not in BUILDS:
            raise ConfigError(f"no build is called {exam.build!r}; known: {', '.join(BUILDS)}")
        return configs.load(BUILDS[exam.build][0], app.read_fragments([f"builds/{exam.build}", *exam.config]), exam.set)

    def _examine(self, key: str, exam: Exam) -> None:
        place = f"{self.config.exam_root}/{key}"
        self._say(f"\n== benchmark {key}")
        if exam.build:
            BUILDS[exam.build][1](self._build_config(exam), place)
        elif not open_folder(place).exists("README.md"):  # an export is whole or not there
            verbs.export(RunFolder(self.folders[exam.run]), "negbench-csv", place)
        self._say(place)

    def _training(self, folders: Mapping[str, str]) -> Any:
        """The training's config."""
        from negscale.training.config import TrainConfig
        from negscale.training.editor_config import EditTrainConfig

        step = self.config.train
        model: type[TrainConfig | EditTrainConfig] = EditTrainConfig if self._edits else TrainConfig
        texts = app.read_fragments([f"recipes/{step.recipe}", *step.config])
        return configs.load(model, texts, self._overrides(step, folders))

    def _train(self, work: Callable[..., Mapping[str, Any]]) -> tuple[Any, Mapping[str, Any]]:
        chosen = self._training(self.folders)
        self._say(f"\n== {self.config.train.recipe}")
        with self.console.status("training") as line:

            def told(figures: Mapping[str, Any]) -> None:
                line.update(f"step {figures['step']:,}, epoch {figures['epoch'] + 1}, loss {figures['loss']:.4f}")

            return chosen, work(self.config.train.recipe, chosen, told if self.console.is_terminal else None)

    def _teach_encoder(self) -> None:
        from negscale.training.export import export_checkpoint
        from negscale.training.run import training_uri

        chosen, facts = self._train(train_verbs.run_training)
        self.console.print(train_verbs.facts_table(self.config.train.recipe, facts))
        uri = training_uri(self.config.train.recipe, chosen)
        open_clip = isinstance(chosen.model, OpenClipEncoderConfig)
        to = "open-clip" if open_clip else "clip"
        place = self._exported(uri, to, facts["steps"], lambda out: export_checkpoint(uri, to, out))
        name = f"{self.config.train.recipe}/{self.config.version}"
        if open_clip:
            tuned: Any = OpenClipEncoderConfig(
                model=chosen.model.model, path=f"{place}/open_clip_model.safetensors", dtype=chosen.model.dtype,
                run=chosen.model.run,
            )  # fmt: skip
        else:
            tuned = HfDualEncoderConfig(model=name, path=place, dtype=chosen.model.dtype, run=chosen.model.run)
        self.facts |= {"training": uri, "model": place}
        self._evaluate_encoders({BEFORE: chosen.model, AFTER: tuned})

    def _evaluate_encoders(self, models: Mapping[str, Any]) -> None:
        step = self.config.evaluate
        texts = app.read_fragments(["recipes/eval_all", *step.config, *self.config.runtime])
        overrides = [f"runtime.run_root={self.config.run_root}", *resolved(step, self.folders)]
        texts.append(("the models before and after", configs.to_yaml(_Models(models=models))))
        config = configs.load(SuiteConfig, texts, overrides)
        config = config.model_copy(update={"out": config.out or f"{self.config.run_root}/eval/{self.config.version}"})
        self._say("\n== evaluation")
        # of benchmarks that the mission made, those that others released are not said to be absent
        names = [one.benchmark.name for one in survey(config.data_root)[0]] if self.config.exams else ()
        result = run_suite(config, names, lambda: terminal.Progress(self.console))
        self.console.print(suite_table(result.suite))
        _, page = make_eval_report(result.suite.uri)
        self._say(f"report: {page}")
        self.facts |= {"evaluation": result.suite.uri, "report": page}
        if result.over_budget:
            raise QuarantineBudgetError(f"{result.over_budget[0]}: too much could not be encoded; see negscale status")

    def _teach_editor(self) -> None:
        from negscale.training.editor_export import TARGET, export_editor
        from negscale.training.editor_run import edit_training_uri

        chosen, facts = self._train(editor_verbs.run_training)
        self.console.print(editor_verbs.facts_table(self.config.train.recipe, facts))
        uri = edit_training_uri(self.config.train.recipe, chosen)
        place = self._exported(uri, TARGET, facts["steps"], lambda out: export_editor(uri, out))
        self.facts |= {"training": uri, "model": place}
        editors = {AFTER: {"model": f"negscale/{TARGET}", "path": place}}
        if chosen.model.class_name() == PIPELINE:  # a text-to-image pipeline edits nothing before it has learnt to
            model = chosen.model
            editors = {BEFORE: {"model": model.model, "revision": model.revision, "path": model.path}, **editors}
        self._evaluate_editors(editors)

    def _evaluate_editors(self, editors: Mapping[str, Mapping[str, str]]) -> None:
        step, found = self.config.evaluate, {}
        benchmark = find_benchmark(step.recipe)
        for key, editor in editors.items():
            given = [
                f"runtime.run_root={self.config.run_root}", f"runtime.version={self.config.version}-{key}",
                "editor.kind=diffusers_editor", *(f"editor.{name}={value}" for name, value in editor.items()),
                *resolved(step, self.folders),
            ]  # fmt: skip
            self._say(f"\n== evaluation: {key}")
            prepared = app.prepare(benchmark.recipe, [*step.config, *self.config.runtime], given)
            result = run_benchmark(benchmark, prepared, terminal.Progress(self.console))
            check_budget(result.manifest, prepared.spec.uri)
            found[key] = result.facts
        self.console.print(nein_table(found))
        self.facts["evaluation"] = {key: facts["run"] for key, facts in found.items()}

    def _exported(self, uri: str, to: str, step: int, write: Callable[[str], Mapping[str, Any]]) -> str:
        """Where the checkpoint of the last step is exported to; an export is whole or not there."""
        root = "." if "://" in uri else uri.rstrip("/")
        place = Path(root, "export", f"{to}-{step:09d}")
        if not place.exists():
            write(str(place))
        return str(place)


class _Models(configs.Config):
    models: Mapping[str, Any]


def check_budget(manifest: Manifest, uri: str) -> None:
    """Raise QuarantineBudgetError for a run in which more broke than its budget allows."""
    if manifest.status == "over_budget":
        raise QuarantineBudgetError(
            f"{manifest.rows_quarantined:,} rows of {uri} are quarantined: see negscale status {uri}, mend the cause, run negscale "
            f"retry, then the same command again"
        )


def load_mission(name: str, fragments: Sequence[str], overrides: Sequence[str]) -> MissionConfig:
    """configs/missions/NAME.yaml, or the file NAME where it ends in .yaml; then each fragment, then the overrides."""
    first = name if name.endswith((".yaml", ".yml")) else f"missions/{name}"
    return configs.load(MissionConfig, app.read_fragments([first, *fragments]), overrides)
