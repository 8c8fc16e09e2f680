"""The import rules of the house, read from the source: who may import whom, no cycles, Ray at the edge, small modules."""

from __future__ import annotations

import ast
import graphlib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1] / "negscale"
MAX_LINES = 400

ALLOWED: dict[str, set[str]] = {  # package -> packages of ours that it may import
    "core": set(),
    "prompts": set(),
    "language": set(),
    "metrics": set(),
    "storage": {"core"},
    "datasets": {"core", "storage"},
    "models": {"core", "storage"},
    # prompts and language: a backend that plays a role speaks the paper's words; datasets: toyworld's eyes know its icons
    "backends": {"core", "storage", "prompts", "language", "models", "datasets"},
    "stages": {"core", "prompts", "language"},
    "exports": {"core", "storage", "language"},  # language: questions in plain English, for chat models
    "planning": {"core", "storage", "metrics"},
    # review: its ranks of rows, and the words that differ; benchmarks: the cells of an evaluation
    "report": {"core", "storage", "metrics", "review", "benchmarks"},
    "review": {"core", "storage", "metrics"},
    "pipelines": {"core", "storage", "datasets", "stages", "metrics", "backends", "language"},
    # questions: readers and blind solvers of question files
    "benchmarks": {"core", "storage", "datasets", "stages", "metrics", "backends", "questions"},
    # backends: the encoder that embeds and evaluates, and how models are found; language: the made hard negatives
    "training": {"core", "storage", "datasets", "models", "metrics", "backends", "language"},
    "executors": {"core", "storage"},
    # the tiny models learn P1's conversations from its own roles
    "tiny_models": {"core", "datasets", "prompts", "language", "backends"},
    "builds": {"core", "storage", "datasets", "language", "questions"},
    "questions": {"core", "storage", "language", "metrics"},
    "scan": {"core", "storage", "datasets", "language", "metrics"},
    "guard": {"core", "storage", "datasets", "exports"},
    # the experiment in miniature stands above everything: it runs recipes, trains and scores
    "science": {
        "app",
        "core",
        "storage",
        "datasets",
        "language",
        "metrics",
        "backends",
        "models",
        "pipelines",
        "questions",
        "benchmarks",
        "training",
        "tiny_models",
    },
}
OWNERS = {
    "ray": {"executors"},
    "vllm": {"backends"},
    "torch": {"backends", "models", "training", "tiny_models"},
    "rich": {"report", "top"},
}
DATA_MODULES = {"language/lexicon"}  # word lists: long, and nothing to read between the lines
Module = tuple[str, Path, ast.Module]


def modules() -> Iterator[Module]:
    for path in sorted(ROOT.rglob("*.py")):
        parts = path.relative_to(ROOT).parts
        yield (parts[0] if len(parts) > 1 else "top"), path, ast.parse(path.read_text())


def imports(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            yield node.module or ""
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def test_packages_import_downwards_only() -> None:
    wrong: list[str] = []
    for package, path, tree in modules():
        if package == "top":
            continue
        assert package in ALLOWED, f"package {package!r} has no import rule"
        wrong += [
            f"{path.relative_to(ROOT)}: {name} ({package} may import {sorted(ALLOWED[package])})"
            for name in imports(tree)
            if name.startswith("negscale.") and name.split(".")[1] not in {package, *ALLOWED[package]}
        ]
    assert not wrong, "\n".join(wrong)


def test_libraries_stay_where_they_belong() -> None:
    wrong = [
        f"{path.relative_to(ROOT)}: {name} belongs to {sorted(OWNERS[name.split('.')[0]])}"
        for package, path, tree in modules()
        for name in imports(tree)
        if name.split(".")[0] in OWNERS and package not in OWNERS[name.split(".")[0]]
    ]
    assert not wrong, "\n".join(wrong)


def test_no_import_cycles() -> None:
    names = {".".join(("negscale", *path.relative_to(ROOT).with_suffix("").parts)): tree for _, path, tree in modules()}
    graph = {
        name: {found for found in imports(tree) if found in names and found != name} for name, tree in names.items()
    }
    list(graphlib.TopologicalSorter(graph).static_order())  # raises CycleError with the cycle


@pytest.mark.parametrize("word", ["eval", "exec"])
def test_no_evaluation_of_text(word: str) -> None:
    found = [
        f"{path.relative_to(ROOT)}:{node.lineno}"
        for _, path, tree in modules()
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == word
    ]
    assert not found


def test_no_pickles() -> None:
    found = [
        f"{path.relative_to(ROOT)}" for _, path, tree in modules() if {"pickle", "dill", "joblib"} & set(imports(tree))
    ]
    assert not found


def test_one_blind_except_only() -> None:
    found = [
        f"{path.relative_to(ROOT)}:{node.lineno}"
        for _, path, tree in modules()
        for node in ast.walk(tree)
        if isinstance(node, ast.ExceptHandler)
        and (node.type is None or (isinstance(node.type, ast.Name) and node.type.id in ("Exception", "BaseException")))
        and not (isinstance(node.body[-1], ast.Raise) and node.body[-1].exc is None)  # cleans up and raises on
    ]
    assert [f.partition(":")[0] for f in found] == ["core/stage.py"], found


def test_modules_are_small() -> None:
    long = {
        str(path.relative_to(ROOT)): lines
        for _, path, _ in modules()
        if (lines := len(path.read_text().splitlines())) > MAX_LINES
        and not any(str(path.relative_to(ROOT)).startswith(folder) for folder in DATA_MODULES)
    }
    assert not long
