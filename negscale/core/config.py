"""Configs: YAML fragments merged left to right, dotted overrides, frozen pydantic models, clear refusals.

A `Location` (folder, URI, path of weights) never bears identity: data may move under a run. What lies there does,
through the source's listing or `Config.content`.
"""

from __future__ import annotations

import difflib
import types
from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any, ClassVar, TypeVar, Union, get_args, get_origin

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from pydantic import BaseModel, ConfigDict, ValidationError
from yaml import YAMLError

from negscale.core.errors import ConfigError


class _LocationMark:
    """Marks a field as a place, not a fact."""


Location = Annotated[str, _LocationMark()]
Locations = Annotated[tuple[str, ...], _LocationMark()]


class Config(BaseModel):
    """Base of every config: frozen, unknown keys refused, field docstrings are the help text."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)
    bears_identity: ClassVar[bool] = True

    def identity(self) -> dict[str, Any]:
        """The values that bear on the output, as JSON values: no `Location`, no runtime, plus `content()`."""
        facts: dict[str, Any] = {}
        for name, info in type(self).model_fields.items():
            if any(isinstance(mark, _LocationMark) for mark in info.metadata):
                continue
            value = getattr(self, name)
            if isinstance(value, Config) and not value.bears_identity:
                continue
            facts[name] = _plain(value)
        return {**facts, **self.content()}

    def content(self) -> dict[str, Any]:
        """What lies at this config's locations and bears identity, e.g. ``{"weights_sha256": ...}``."""
        return {}


def _plain(value: Any) -> Any:
    if isinstance(value, Config):
        return value.identity()
    if isinstance(value, Mapping):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(v) for v in value]
    if value is None or isinstance(value, (str, int, float, bool)):
        return value
    raise ConfigError(f"value {value!r} of type {type(value).__name__} cannot bear identity; use str, int, float, bool")


C = TypeVar("C", bound=Config)


def load(model: type[C], fragments: Sequence[tuple[str, str]], overrides: Sequence[str] = ()) -> C:
    """Build `model` from YAML texts and ``dotted.key=value`` overrides; later ones win.

    fragments: (name for messages, YAML text). Raises ConfigError naming the key, the value and the nearest known key.
    """
    merged: Any = OmegaConf.create({})
    for name, text in fragments:
        try:
            part = OmegaConf.create(text) if text.strip() else OmegaConf.create({})
            # a fragment that names another `kind` replaces the block: keys of two kinds never mix
            merged = OmegaConf.merge(_without_replaced_kinds(merged, part), part)
        except (OmegaConfBaseException, YAMLError, ValueError) as error:
            raise ConfigError(f"{name}: not a YAML mapping of config keys: {error}") from error
    for override in overrides:
        key, equals, _ = override.partition("=")
        if not equals or not key:
            raise ConfigError(f"override {override!r} is not of the form dotted.key=value, e.g. seed=7")
        try:
            part = OmegaConf.from_dotlist([override])
            merged = OmegaConf.merge(_without_replaced_kinds(merged, part), part)
        except (OmegaConfBaseException, YAMLError, ValueError) as error:
            raise ConfigError(f"override {override!r} cannot be read: {error}") from error
    values = OmegaConf.to_container(merged, resolve=False)
    try:
        return model.model_validate(values)
    except ValidationError as error:
        raise ConfigError("\n".join(_explain(model, problem) for problem in error.errors())) from None


def _without_replaced_kinds(base: Any, part: Any) -> Any:
    base = OmegaConf.create(OmegaConf.to_container(base, resolve=False))
    _drop_replaced(base, part)
    return base


def _drop_replaced(base: Any, part: Any) -> None:
    for key in list(part.keys()) if OmegaConf.is_dict(part) else []:
        if key not in base or not (OmegaConf.is_dict(base[key]) and OmegaConf.is_dict(part[key])):
            continue
        if part[key].get("kind") not in (None, base[key].get("kind")):
            del base[key]
        else:
            _drop_replaced(base[key], part[key])


def to_yaml(config: Config) -> str:
    """The resolved config as YAML that `load` reads back."""
    return OmegaConf.to_yaml(OmegaConf.create(config.model_dump(mode="json")))


def _explain(model: type[BaseModel], problem: Any) -> str:
    path = [str(part) for part in problem["loc"]]
    shown = ".".join(path) or "(top level)"
    if problem["type"] == "extra_forbidden":
        known = sorted(_known_keys(model, path[:-1]))
        near = difflib.get_close_matches(path[-1], known, n=1, cutoff=0.5)
        hint = f"did you mean {near[0]!r}? " if near else ""
        return f"config key {shown!r} is unknown; {hint}known keys here: {', '.join(known)}"
    if problem["type"] == "union_tag_invalid":
        return (
            f"config key {shown!r}: kind {problem['ctx']['tag']} is unknown; known: {problem['ctx']['expected_tags']}"
        )
    if problem["type"] == "missing":
        return f"config key {shown!r} is required; set it with {shown}=VALUE or in a -c fragment"
    return f"config key {shown!r}: got {problem.get('input')!r}; {problem['msg']}"


def _known_keys(model: type[BaseModel], path: Sequence[str]) -> set[str]:
    """Field names at `path`; parts of the path that are union tags select the member with that `kind`."""
    here: list[type[BaseModel]] = [model]
    for part in path:
        tagged = [m for m in here if "kind" in m.model_fields and m.model_fields["kind"].default == part]
        if tagged:
            here = tagged
            continue
        here = [sub for m in here if part in m.model_fields for sub in _models_in(m.model_fields[part].annotation)]
    return {name for m in here for name in m.model_fields}


def _models_in(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    elif get_origin(annotation) in (Union, types.UnionType, Annotated, list, tuple, dict):
        for argument in get_args(annotation):
            yield from _models_in(argument)
