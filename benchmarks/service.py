"""bigray's own endpoint as the endpoint measures start it: `bigray up`, and some artifacts.

    python -m benchmarks.service PORT NAME=ARTIFACT ... [--set max_replicas=1 ...] [--no-haproxy]

Ends with SIGTERM or SIGINT, and everything it started with it.
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import tempfile

from bigray import background

if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m benchmarks.service")
    parser.add_argument("port", type=int)
    parser.add_argument("models", nargs="+")
    parser.add_argument("--set", action="append", default=[])
    parser.add_argument("--no-haproxy", action="store_true")
    given = parser.parse_args()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with tempfile.TemporaryDirectory(prefix="bigray-state-") as state:
        os.environ["XDG_STATE_HOME"] = state  # another `bigray up` of this user goes on undisturbed
        words = [sys.executable, "-m", "bigray.cli.main", "up", "--port", str(given.port)]
        try:
            subprocess.run(words + ["--no-haproxy"] * given.no_haproxy, check=True)
            background.join()  # before Ray is imported
            import yaml

            from bigray.recipe import Serve
            from bigray.serve import config

            settings = Serve.model_validate(
                {"max_replicas": 1} | {k: yaml.safe_load(v) for k, v in (s.split("=") for s in given.set)}
            )
            print(config.deploy_all(dict(one.split("=", 1) for one in given.models), settings=settings), flush=True)
            signal.pause()
        except KeyboardInterrupt:
            pass
        finally:
            if "ray" in sys.modules:
                sys.modules["ray"].shutdown()
            if background.running() is not None:
                background.stop()
