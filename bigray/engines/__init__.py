"""The runtimes, one file each; see base.py for the contract."""

from bigray.engines import _telemetry

_telemetry.switch_off()
