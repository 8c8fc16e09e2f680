"""The verbs as functions: what the command line and the programs in jobs/ call."""

from __future__ import annotations

import functools
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from negscale import __version__
from negscale.backends.config import check_access
from negscale.core import config as configs
from negscale.core.config import Config
from negscale.core.errors import ConfigError
from negscale.core.pipeline import Listing, Pipeline
from negscale.core.run import Manifest, fingerprint, identity_of
from negscale.core.runtime import RuntimeConfig
from negscale.core.stage import Stage
from negscale.datasets.images import ImageReader
from negscale.executors import drive
from negscale.executors.drive import RunSpec, Watcher
from negscale.executors.job import Executor, Retry
from negscale.executors.local import LocalExecutor
from negscale.pipelines.recipe import Recipe
from negscale.pipelines.registry import find_recipe
from negscale.storage.folder import open_folder
from negscale.storage.run_folder import RunFolder

_PACKAGE = Path(__file__).parent
CONFIG_FOLDERS = (Path("configs"), _PACKAGE / "_configs", _PACKAGE.parent / "configs")


@dataclass(frozen=True, slots=True)
class Prepared:
    """A recipe with its config loaded, its source listed and its builds made; nothing has started."""

    recipe: Recipe
    config: Any
    listing: Listing
    spec: RunSpec

    @property
    def fingerprint(self) -> str:
        """Of the run that this would be."""
        return fingerprint(identity_of(self.spec.pipeline, self.spec.recipe, self.listing))


def load_config(name: str, fragments: Sequence[str] = (), overrides: Sequence[str] = ()) -> tuple[Recipe, Any]:
    """The recipe called `name` and its config: the recipe's YAML, then each fragment, then the overrides."""
    recipe = find_recipe(name)
    return recipe, configs.load(recipe.config, [_fragment(f"recipes/{name}"), *read_fragments(fragments)], overrides)


def read_fragments(names: Sequence[str]) -> list[tuple[str, str]]:
    """(name, YAML text) of each -c fragment. Raises ConfigError for names that are no file."""
    return [_fragment(name) for name in names]


def prepare(name: str, fragments: Sequence[str] = (), overrides: Sequence[str] = (), fork: bool = False) -> Prepared:
    """Load, list, build and check everything that can be checked before a worker starts.

    fork: take the first free version NAME-2, NAME-3, ... when the run folder holds another recipe.
    """
    recipe, config = load_config(name, fragments, overrides)
    return prepare_config(recipe, config, fork)


def prepare_config(recipe: Recipe, config: Any, fork: bool = False) -> Prepared:
    """As `prepare`, from a config object."""
    check_access(config)
    listing = recipe.source(config).list()
    config = recipe.prepare(config, listing)
    facts = {role: backend.id for role, backend in recipe.backends(config).items()}
    pipeline = recipe.build(config)
    pipeline = type(pipeline)(pipeline.name, pipeline.source, pipeline.steps, facts)
    pipeline.plan()
    runtime = config.runtime
    spec = RunSpec(
        name=pipeline.name, version=runtime.version, recipe=config.identity(), config_yaml=_yaml(recipe, config),
        pipeline=pipeline, factory=functools.partial(recipe.build, config), runtime=runtime, code=code_version(),
    )  # fmt: skip
    prepared = Prepared(recipe, config, listing, spec)
    return _forked(prepared) if fork else prepared


def _forked(prepared: Prepared) -> Prepared:
    runtime, base = prepared.config.runtime, prepared.config.runtime.version
    for number in range(1, 1000):
        version = base if number == 1 else f"{base}-{number}"
        config = prepared.config.model_copy(update={"runtime": runtime.model_copy(update={"version": version})})
        candidate = prepare_config(prepared.recipe, config)
        run = RunFolder(candidate.spec.uri)
        if not run.exists() or run.record()["fingerprint"] == candidate.fingerprint:
            return candidate
    raise ConfigError(f"versions {base} to {base}-999 are all taken by other recipes; set runtime.version")


def executor_for(config: Any) -> Executor:
    """The executor that `runtime.executor` names."""
    if config.runtime.executor == "local":
        return LocalExecutor()
    from negscale.executors.ray_data import RayDataExecutor  # Ray takes seconds to import; plan and status need none

    return RayDataExecutor()


def generate(prepared: Prepared, watcher: Watcher | None = None) -> Manifest:
    """Start or resume the run; see `negscale.executors.drive.generate`."""
    return drive.generate(prepared.spec, executor_for(prepared.config), prepared.listing, watcher)


def reopen(uri: str, overrides: Sequence[str] = ()) -> Prepared:
    """The run in folder `uri` as it was configured, with runtime overrides (and corrected locations)."""
    run = RunFolder(uri)
    record = run.record()
    recipe, config = _config_of(run, overrides)
    root = run.uri.removesuffix(f"/{record['name']}/{record['version']}")
    runtime = config.runtime.model_copy(update={"run_root": root, "version": record["version"]})
    return prepare_config(recipe, config.model_copy(update={"runtime": runtime}))


def load_runtime(run: RunFolder) -> RuntimeConfig:
    """The runtime config that a run was last started with."""
    return _config_of(run)[1].runtime


def pipeline_of(run: RunFolder) -> Pipeline:
    """The pipeline of a run, to ask for its stages and columns; lists and loads nothing."""
    recipe, config = _config_of(run)
    return recipe.build(config)


def reader_of(run: RunFolder, overrides: Sequence[str] = (), column: str = "image") -> Any:
    """Reads the images that a run's rows refer to; lists nothing. overrides: corrected locations (``source.root=...``).

    column: an image column that a stage made lies in the folder of the run that made it.
    """
    recipe, config = _config_of(run, overrides)
    if any(column in step.writes.names for step in recipe.build(config).steps if isinstance(step, Stage)):
        return ImageReader(run.uri)
    return config.source.reader() if column == "image" else reader_of(RunFolder(config.source.uri), (), column)


def _config_of(run: RunFolder, overrides: Sequence[str] = ()) -> tuple[Recipe, Any]:
    text = run.config_yaml()
    recipe = find_recipe(_recipe_of(text))
    body = "\n".join(line for line in text.splitlines() if not line.startswith("# recipe:"))
    return recipe, configs.load(recipe.config, [(f"{run.uri}/config.yaml", body)], overrides)


def retry(
    uri: str, where: Sequence[str] = (), overrides: Sequence[str] = (), watcher: Watcher | None = None
) -> tuple[Manifest, int]:
    """Run the quarantined rows of a finished run again; returns (manifest, rows tried).

    where: ``kind=...``, ``stage=...``, ``id=...``; without any, the rows marked retryable. Locations and runtime may be
    overridden (a mended image root); a changed recipe is refused.
    """
    conditions = []
    for text in where:
        name, equals, value = text.partition("=")
        if not equals or name not in ("kind", "stage", "id"):
            raise ConfigError(f"--where {text!r} is not kind=..., stage=... or id=...")
        conditions.append((name, value))
    prepared = reopen(uri, overrides)
    RunFolder(uri).check_same(identity_of(prepared.spec.pipeline, prepared.spec.recipe, prepared.listing))
    return drive.retry(prepared.spec, executor_for(prepared.config), Retry(tuple(conditions)), watcher)


def _yaml(recipe: Recipe, config: Config) -> str:
    return f"# recipe: {recipe.name}\n{configs.to_yaml(config)}"


def _recipe_of(text: str) -> str:
    first = text.partition("\n")[0]
    if not first.startswith("# recipe: "):
        raise ConfigError("config.yaml does not begin with '# recipe: NAME'; it was changed by hand")
    return first.removeprefix("# recipe: ").strip()


def _fragment(name: str) -> tuple[str, str]:
    """(name, text) of a YAML fragment: a path, a URI, or a name below a configs folder."""
    if "://" in name:
        parent, _, leaf = name.rpartition("/")
        return name, open_folder(parent).read(leaf).decode()
    candidates = [Path(name)] if name.endswith((".yaml", ".yml")) else []
    candidates += [folder / f"{name}.yaml" for folder in CONFIG_FOLDERS]
    for path in candidates:
        if path.is_file():
            return name, path.read_text()
    known = sorted({
        str(found.relative_to(folder).with_suffix("")) for folder in CONFIG_FOLDERS if folder.is_dir()
        for found in folder.glob("*/*.yaml")
    })  # fmt: skip
    raise ConfigError(f"no config fragment {name!r}; known: {', '.join(known)}, or give a path that ends in .yaml")


@functools.cache
def code_version() -> str:
    """Version and, in a git checkout, commit; "+dirty" when files differ from it."""
    try:
        commit = subprocess.run(
            ["git", "describe", "--always", "--dirty=+dirty", "--exclude=*"], cwd=_PACKAGE, capture_output=True, text=True,
            timeout=10, check=True,
        ).stdout.strip()  # fmt: skip
    except (OSError, subprocess.SubprocessError):
        return __version__
    return f"{__version__} {commit}"
