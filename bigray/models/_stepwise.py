"""The encoder-decoders of transformers one step at a time, with their caches as plain tensors that can be exported.

The same two functions as `bigray.models.transformer.Transformer`'s methods, with the same names of tensors.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn


def begin(
    network: nn.Module, input_ids: torch.Tensor, attention_mask: torch.Tensor, start: int
) -> dict[str, torch.Tensor]:
    """Read the source and take the first step."""
    model: Any = network
    memory = model.get_encoder()(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
    first = torch.zeros_like(input_ids[:, :1]) + start
    output = model(encoder_outputs=(memory,), attention_mask=attention_mask, decoder_input_ids=first, use_cache=True)
    own, cross = output.past_key_values.self_attention_cache, output.past_key_values.cross_attention_cache
    return {
        "logits": output.logits[:, 0],
        "keys": torch.stack([layer.keys for layer in own.layers]),
        "values": torch.stack([layer.values for layer in own.layers]),
        "cross_keys": torch.stack([layer.keys for layer in cross.layers]),
        "cross_values": torch.stack([layer.values for layer in cross.layers]),
    }


def step(network: nn.Module, batch: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Take a further step; what the source says is in the caches, so the encoder is not run again."""
    from transformers.cache_utils import EncoderDecoderCache

    model: Any = network
    names = ("keys", "values", "cross_keys", "cross_values")
    count = len(batch["keys"])
    cache = EncoderDecoderCache([tuple(batch[name][layer] for name in names) for layer in range(count)])
    mask = batch["attention_mask"]
    # only the length of this is looked at
    memory = torch.zeros(*mask.shape, model.config.hidden_size)
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
