"""Fixtures that every test file may use: one small local Ray cluster per run, and the folder of real data if there is one."""

from __future__ import annotations

import logging
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

# Set before any library reads them: no test may reach a hub, and no test may start a cluster that others can see.
os.environ.update(
    HF_HUB_OFFLINE="1",
    HF_HUB_DISABLE_TELEMETRY="1",
    HF_DATASETS_OFFLINE="1",
    TOKENIZERS_PARALLELISM="false",
    OMP_NUM_THREADS="1",
    RAY_USAGE_STATS_ENABLED="0",
    RAY_AUTH_MODE="disabled",
    RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER="0",
    RAY_DEDUP_LOGS="0",
    RAY_TRAIN_ENABLE_PRINT_PATCH="0",
    RAY_AIR_NEW_OUTPUT="0",
    RAY_DATA_DISABLE_PROGRESS_BARS="1",
    BIGRAY_STATE=tempfile.mkdtemp(prefix="bigray-state-"),
)

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="session")
def ray_cluster() -> Iterator[None]:
    """One Ray of 4 logical CPUs for the whole run; the machine may have fewer cores, the tests need the slots."""
    import ray
    from ray.data import DataContext

    folder = Path(tempfile.mkdtemp(prefix="r", dir="/tmp"))  # short: a unix socket's path may have 107 bytes
    ray.init(
        address="local",
        num_cpus=4,
        include_dashboard=False,
        log_to_driver=False,
        configure_logging=False,
        _temp_dir=str(folder),
        _node_ip_address="127.0.0.1",
        object_store_memory=512 * 2**20,
    )
    DataContext.get_current().enable_progress_bars = False
    logging.getLogger("ray.data").setLevel(logging.WARNING)
    try:
        yield
    finally:
        if ray.is_initialized():
            ray.shutdown()
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder of real data sets, from ``BIGRAY_DATA`` or beside the checkout; the test is skipped where there is none."""
    folder = Path(os.environ.get("BIGRAY_DATA", ROOT.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip("no folder of real data; set BIGRAY_DATA to have one")
    return folder
