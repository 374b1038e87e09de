"""Join a running Ray cluster, or start a private one on this machine, with nothing left to defaults.

A private cluster answers only to a fresh token that never touches the disk, unless ``RAY_AUTH_MODE`` says otherwise;
for a cluster that is joined, the environment's mode and token hold.
"""

from __future__ import annotations

import logging
import os
import secrets
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import ray
import ray.data

MIN_LOGICAL_CPUS = 4
"""Ray Train reserves cores for its workers; reading data and search actors need some beside them."""


@contextmanager
def cluster(*, dashboard: bool = False, quiet: bool = True) -> Iterator[str | None]:
    """Yield the dashboard's address (or None) of the cluster in use; one that was started here is shut down after.

    A cluster is joined when Ray is initialised already or ``RAY_ADDRESS`` is set (a submitted job has it).
    """
    if ray.is_initialized():
        yield ray.get_runtime_context().gcs_address
        return
    _tame_logs(quiet)
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    if os.environ.get("RAY_ADDRESS"):
        context = ray.init(log_to_driver=not quiet, logging_level=logging.ERROR)
    else:
        if "RAY_AUTH_MODE" not in os.environ:
            # ray.init turns token mode on for a new cluster (the mode cannot be set from here any more: Ray read it
            # when it was imported); given a token, it neither makes one up nor writes one to the home folder
            os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))
        context = ray.init(
            address="local",
            num_cpus=max(MIN_LOGICAL_CPUS, os.cpu_count() or 1),
            include_dashboard=dashboard,
            dashboard_host="127.0.0.1",
            log_to_driver=not quiet,
            logging_level=logging.ERROR,
        )
    try:
        yield context.dashboard_url or None
    finally:
        ray.shutdown()


def _tame_logs(quiet: bool) -> None:
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    # a killed search goes on from its own files; Tune's snapshots are for its own restore
    os.environ.setdefault("TUNE_DISABLE_AUTO_CALLBACK_LOGGERS", "1")
    if quiet:
        os.environ.setdefault("RAY_AIR_NEW_OUTPUT", "0")
        for name in ("ray", "ray.data", "ray.train", "ray.tune", "ray.serve", "nncf", "torch.onnx"):
            logging.getLogger(name).setLevel(logging.ERROR)
        warnings.filterwarnings("ignore", module="ray")
        context = ray.data.DataContext.get_current()
        context.enable_progress_bars = False
        context.print_on_execution_start = False
    ray.data.DataContext.get_current().execution_options.preserve_order = True
