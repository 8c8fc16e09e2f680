"""Where and how a run executes. Nothing here bears identity: a run can be resumed with any of it changed."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field

from negscale.core.config import Config, Location


class RuntimeConfig(Config):
    """Executor, pools and places of a run."""

    bears_identity: ClassVar[bool] = False

    executor: Literal["local", "ray"] = "ray"
    """`local` is a loop in this process; `ray` uses the cluster at `ray_address`, or starts a local one."""
    run_root: Location = "runs"
    """Folder or URI under which runs lie as NAME/VERSION; on a cluster, one that every node can write."""
    version: str = Field(default="dev", pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")
    """Second half of the run's address."""
    ray_address: str = ""
    """`auto`, a `ray://` or `host:port` address; empty: RAY_ADDRESS when set, else a local cluster."""
    ray_cpus: int | None = Field(default=None, ge=1)
    """Logical CPUs of a local Ray cluster; default: the machine's."""
    actors: dict[str, int | tuple[int, int]] = Field(default_factory=dict)
    """Workers by stage name: a fixed number, or [min, max]. Stages not named are sized automatically."""
    gpus: dict[str, float] = Field(default_factory=dict)
    """GPUs of one worker, by stage name; overrides what the backend asks for."""
    custom_resources: dict[str, dict[str, float]] = Field(default_factory=dict)
    """Ray custom resources of one worker, by stage name, e.g. {verify_absent: {spot: 1}}."""
    batch_rows: dict[str, int] = Field(default_factory=dict)
    """Rows of one model call, by stage name."""
    shard_timeout_s: float = Field(default=1800.0, gt=0)
    """A worker that needs longer for one shard of one stage counts as hung and is replaced."""
    shards_per_block: int | None = Field(default=None, ge=1)
    """Shards that travel, die and retry together; default: 1, and more when shards are tiny."""
    quarantine_budget: float = Field(default=0.05, ge=0, le=1)
    """Share of rows that may break before the run is marked `over_budget` (from 1,000 rows on)."""
    trace_dir: Location = ""
    """Folder in which each worker notes the rows that it starts; measures rework."""
    object_store_memory_mb: int | None = Field(default=None, ge=80)
    """Shared memory of a local Ray cluster."""
