"""The build that a recipe with a co-occurrence proposer needs first: statistics fitted without the images of the run."""

from __future__ import annotations

from typing import Any

from negscale.backends.cooccurrence import CooccurrenceConfig, prepare
from negscale.core.pipeline import Listing
from negscale.core.run import fingerprint
from negscale.storage.folder import open_folder


def with_statistics(config: Any, listing: Listing) -> Any:
    """`config` with its proposer's statistics fitted, without the images of the run; kept under the run root.

    config: a recipe's config with `proposer` and `runtime`; returned as it is when the proposer needs no statistics.
    """
    proposer = config.proposer
    if not isinstance(proposer, CooccurrenceConfig) or proposer.statistics:
        return config
    excluded = sorted(set(listing.index["image_id"].to_pylist())) if listing.index is not None else []
    key = fingerprint({"proposer": proposer.identity(), "excluded": excluded})
    builds = open_folder(f"{config.runtime.run_root.rstrip('/')}/builds/cooccurrence")
    if not builds.exists(f"{key}.json"):
        builds.put_if_absent(f"{key}.json", prepare(proposer, excluded).to_json().encode())
    fitted = proposer.model_copy(update={"statistics": f"{builds.uri}/{key}.json"})
    return config.model_copy(update={"proposer": fitted})
