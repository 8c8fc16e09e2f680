"""The few exceptions that leave negscale, each with the exit code that the command line gives it."""

from __future__ import annotations


class NegscaleError(Exception):
    """Base of all errors that a user should read; ``exit_code`` is what the command line returns."""

    exit_code = 4


class ConfigError(NegscaleError, ValueError):
    """A config value is wrong, unknown or missing. Raised before anything starts."""

    exit_code = 2


class PlanError(NegscaleError, ValueError):
    """The pipeline cannot run as configured: a column, a model, a resource or the run folder does not fit."""

    exit_code = 2


class RunLockedError(PlanError):
    """Another driver holds the run folder."""


class QuarantineBudgetError(NegscaleError):
    """More rows broke than the budget allows; the run is complete but marked ``over_budget``."""

    exit_code = 3


class FatalError(NegscaleError):
    """The worker is unusable (dead engine, lost device): the executor replaces it; no row is to blame."""


class IllModelError(NegscaleError):
    """Every row of a shard broke alike, or a model kills each worker: the model is ill, the run stops."""


class AuditError(NegscaleError):
    """A run folder does not hold what its commits say."""
