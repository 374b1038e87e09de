"""Convolutional networks: one per kind of input, each in a file of its own, ``_cnn_<kind>.py``."""

from __future__ import annotations

from typing import Any

from torch import nn

from bigray.models import _cnn_face, _cnn_image, _cnn_spans, _cnn_speech, _cnn_text, _cnn_voice

_KINDS = {
    "face": _cnn_face,
    "image": _cnn_image,
    "spans": _cnn_spans,
    "speech": _cnn_speech,
    "text": _cnn_text,
    "voice": _cnn_voice,
}

OPTIONS = {kind: module.OPTIONS for kind, module in _KINDS.items()}


def build(options: dict[str, Any]) -> nn.Module:
    """Build the network of ``options["kind"]``; the rest of the options are its own."""
    network: nn.Module = _KINDS[options["kind"]].build(options)
    return network
