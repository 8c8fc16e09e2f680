"""The papers of a training folder: whose it is (run.json, config.yaml) and that it has ended (manifest.json)."""

from __future__ import annotations

import json
from typing import Any

from negscale.core.config import Config, to_yaml
from negscale.core.errors import PlanError
from negscale.core.run import fingerprint, first_difference
from negscale.storage.folder import Folder


def claim(folder: Folder, name: str, identity: dict[str, Any], config: Config, chief: bool) -> None:
    """Start the folder, or raise PlanError for one of another training. chief: this worker writes."""
    identity = json.loads(json.dumps(identity))
    own = fingerprint(identity)
    if chief and not folder.exists("run.json"):
        record = {"name": f"train/{name}", "kind": "training", "fingerprint": own, "identity": identity}
        folder.put_if_absent("run.json", json.dumps(record, indent=1).encode())
    if folder.exists("run.json"):
        held = json.loads(folder.read("run.json"))
        if held["fingerprint"] != own:
            key, old, new = first_difference(held["identity"], identity) or ("(unknown)", None, None)
            raise PlanError(
                f"{folder.uri} holds another training: its fingerprint is {held['fingerprint']}, this one's is {own}; "
                f"first difference: {key} was {old!r}, is {new!r}. Use another runtime.version"
            )
    if chief:
        folder.write("config.yaml", f"# training: {name}\n{to_yaml(config)}".encode())


def finished(folder: Folder) -> dict[str, Any] | None:
    """The manifest of a training that has ended."""
    try:
        return json.loads(folder.read("manifest.json"))
    except FileNotFoundError:
        return None
