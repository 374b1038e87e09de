"""Recurrent networks: one per kind of input, each in a file of its own, ``_rnn_<kind>.py``."""

from __future__ import annotations

from typing import Any

from torch import nn

from bigray.models import _rnn_text, _rnn_voice

_KINDS = {"text": _rnn_text, "voice": _rnn_voice}

OPTIONS = {kind: module.OPTIONS for kind, module in _KINDS.items()}


def build(options: dict[str, Any]) -> nn.Module:
    """Build the network of ``options["kind"]``; the rest of the options are its own."""
    network: nn.Module = _KINDS[options["kind"]].build(options)
    return network
