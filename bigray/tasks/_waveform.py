"""What a CTC checkpoint of transformers (Wav2Vec2, HuBERT, WavLM and their kin) says of itself, and how it hears samples.

Such a network begins with convolutions over the samples; a step of its output lasts the product of their strides.
Sizes: S samples, T steps, C classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from bigray.errors import ModelNotFound, RecipeError
from bigray.recipe import Model


def learned(model: Model) -> dict[str, Any]:
    """Return the state of the task for a checkpoint: characters, blank, sizes of the convolutions, form of the samples.

    Raises:
        ModelNotFound: The checkpoint cannot be had, or has no vocabulary.
        RecipeError: It hears no samples.
    """
    from bigray.models import pretrained

    config = pretrained.configuration(model.name)
    if "conv_kernel" not in config or "conv_stride" not in config:
        raise RecipeError(
            f"model.name: {model.name!r} is a {config.get('model_type')!r}, which is no network for speech recognition "
            "known here. Known: Whisper, and CTC networks over samples such as Wav2Vec2, HuBERT and WavLM.",
            pointer="model.name",
        )
    vocabulary: dict[str, int] = pretrained.companion(model.name, "vocab.json")
    if not vocabulary:
        raise ModelNotFound(
            f"{model.name!r} has no vocab.json, the characters of its classes: it was not trained to recognise speech. "
            "Choose a checkpoint that was (Wav2Vec2ForCTC), or bigray's own network."
        )
    words = pretrained.companion(model.name, "tokenizer_config.json")
    sound = pretrained.companion(model.name, "preprocessor_config.json")
    blank = int(config.get("pad_token_id") or 0)
    delimiter = words.get("word_delimiter_token", "|")
    named = dict(zip(vocabulary.values(), vocabulary, strict=True))
    tokens = [named.get(number, "") for number in range(int(config["vocab_size"])) if number != blank]
    # markers such as <s> and [UNK] are no text; a class of one character is
    characters = tuple(" " if token == delimiter else token if len(token) == 1 else "" for token in tokens)
    letters = [character for character in characters if character.isalpha()]
    return {
        "characters": characters,
        "blank": blank,
        "sample_rate": int(sound.get("sampling_rate", 16_000)),
        "kernels": tuple(config["conv_kernel"]),
        "strides": tuple(config["conv_stride"]),
        "normalised": bool(sound.get("do_normalize", True)),
        "masked": config.get("feat_extract_norm") == "layer",
        "uppercase": bool(letters) and all(letter == letter.upper() for letter in letters),
        "punctuation": any(not character.isalnum() and character not in " '" for character in characters if character),
    }


def steps(lengths: Any, kernels: Sequence[int], strides: Sequence[int]) -> Any:
    """Return the number of steps for numbers of samples, arrays of numpy or torch."""
    for kernel, stride in zip(kernels, strides, strict=True):
        lengths = (lengths - kernel) // stride + 1
    return lengths


def prepared(samples: np.ndarray, kernels: Sequence[int], strides: Sequence[int], *, normalised: bool) -> np.ndarray:
    """Return samples (S,) of mean 0 and deviation 1, as Wav2Vec2FeatureExtractor does, and at least enough for one step."""
    if normalised:
        samples = (samples - samples.mean()) / np.sqrt(samples.var() + 1e-7)
    least = 1
    for kernel, stride in zip(reversed(kernels), reversed(strides), strict=True):
        least = (least - 1) * stride + kernel
    return np.pad(samples, (0, max(0, least - len(samples)))).astype(np.float32)


def blank_first(logits: Any, blank: int) -> Any:
    """Return logits (N, T, C), tensors, with the class of the blank before the others."""
    import torch

    if blank == 0:
        return logits
    return torch.cat([logits[..., blank : blank + 1], logits[..., :blank], logits[..., blank + 1 :]], dim=-1)
