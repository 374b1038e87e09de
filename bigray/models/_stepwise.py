"""The encoder-decoders of transformers one step at a time, with their caches as plain tensors that can be exported.

The same two functions as `bigray.models.transformer.Transformer`'s methods, with the same names of tensors.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn


def begin(network: nn.Module, source: Mapping[str, torch.Tensor], first: torch.Tensor) -> dict[str, torch.Tensor]:
    """Read the source, the encoder's arguments by name, and take the first steps, tokens (N, L) that are given."""
    model: Any = network
    memory = model.get_encoder()(**source).last_hidden_state
    output = model(
        encoder_outputs=(memory,),
        attention_mask=source.get("attention_mask"),
        decoder_input_ids=first,
        past_key_values=_cache(),
        use_cache=True,
    )
    own, cross = output.past_key_values.self_attention_cache, output.past_key_values.cross_attention_cache
    return {
        "logits": output.logits[:, -1],
        "keys": torch.stack([layer.keys for layer in own.layers]),
        "values": torch.stack([layer.values for layer in own.layers]),
        "cross_keys": torch.stack([layer.keys for layer in cross.layers]),
        "cross_values": torch.stack([layer.values for layer in cross.layers]),
    }


def step(network: nn.Module, batch: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Take a further step; what the source says is in the caches, so the encoder is not run again."""
    model: Any = network
    cache = _cache(batch)
    mask = batch.get("attention_mask")
    # only the length of this is looked at, where there is a mask
    memory = torch.zeros(*(batch["token"] if mask is None else mask).shape, model.config.hidden_size)
    output = model(
        encoder_outputs=(memory,),
        attention_mask=mask,
        decoder_input_ids=batch["token"],
        past_key_values=cache,
        use_cache=True,
    )
    own = output.past_key_values.self_attention_cache
    return {
        "logits": output.logits[:, 0],
        "new_keys": torch.stack([layer.keys for layer in own.layers]),
        "new_values": torch.stack([layer.values for layer in own.layers]),
    }


def _cache(batch: Mapping[str, torch.Tensor] | None = None) -> Any:
    """Return an empty cache, or one that holds the tensors of a batch."""
    from transformers.cache_utils import Cache, DynamicLayer, EncoderDecoderCache

    class Layer(DynamicLayer):  # type: ignore[misc]
        """Starts with what it is given: the original joins it to a tensor of no dimension, which no converter takes."""

        is_initialized: bool

        def update(self, key_states: torch.Tensor, value_states: torch.Tensor, *args: Any, **kwargs: Any) -> Any:
            if self.is_initialized:
                return super().update(key_states, value_states, *args, **kwargs)
            self.dtype, self.device = key_states.dtype, key_states.device
            self.keys, self.values = key_states, value_states
            self.is_initialized = True
            return self.keys, self.values

    own, cross = Cache(layer_class_to_replicate=Layer), Cache(layer_class_to_replicate=Layer)
    if batch is None:
        return EncoderDecoderCache(own, cross)
    for number in range(len(batch["keys"])):
        own.update(batch["keys"][number], batch["values"][number], number)
        cross.update(batch["cross_keys"][number], batch["cross_values"][number], number)
    return EncoderDecoderCache(own, cross)
