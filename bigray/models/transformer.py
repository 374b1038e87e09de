"""Encoder and decoder of attention, for sequences into sequences (Vaswani et al. 2017, arXiv 1706.03762).

    x_t = sqrt(D) E[token_t] + P[t]                        (N, T, D), P: sines and cosines
    attend(x, y) = softmax(Q x (K y)^T / sqrt(D / H)) V y  per head, H of them
    encoder:  x + attend(x, x), then x + W2 ReLU(W1 x)     per layer, each on LayerNorm(x) (arXiv 2002.04745)
    decoder:  the same, attending to earlier steps only, and between the two to the encoder's result
    logits = x E^T                                         (N, T, C), the embedding is shared by all three places

`begin` and `step` give the same logits one step at a time: what earlier steps attend with is kept as arrays, so a step
costs the same whatever came before, but for the attention itself.

Sizes: N rows, S steps of the source, T of the target, D width, H heads, L layers of the decoder, C vocabulary.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import nn
from torch.nn import functional

OPTIONS: dict[str, dict[str, Any]] = {
    "sequences": {"width": 256, "heads": 4, "depth": 3, "feedforward": 1024, "dropout": 0.1}
}
MAX_POSITIONS = 1024
Cache = tuple[torch.Tensor, torch.Tensor]
"""Keys and values, each (L, N, H, T, D / H), or without L for one layer."""


class Attention(nn.Module):
    """One attention with projections of its own."""

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads, self.dropout = heads, dropout
        self.query, self.key, self.value, self.out = (nn.Linear(width, width) for _ in range(4))

    def remember(self, x: torch.Tensor) -> Cache:
        """Return keys and values (N, H, T, D / H) of what may be attended to."""
        return self._split(self.key(x)), self._split(self.value(x))

    def forward(self, x: torch.Tensor, memory: Cache, mask: torch.Tensor | None, causal: bool = False) -> torch.Tensor:
        """Attend from (N, T, D) to a memory; ``mask`` is True where it may be looked at."""
        found = functional.scaled_dot_product_attention(
            self._split(self.query(x)),
            *memory,
            attn_mask=mask,
            dropout_p=self.dropout if self.training else 0.0,
            is_causal=causal,
        )
        return self.out(found.transpose(1, 2).flatten(2))  # type: ignore[no-any-return]

    def _split(self, x: torch.Tensor) -> torch.Tensor:
        return x.reshape(x.shape[0], x.shape[1], self.heads, -1).transpose(1, 2)


class Layer(nn.Module):
    """Attention to itself, in a decoder also to the encoder's result, and a network of two layers at every step."""

    def __init__(self, width: int, heads: int, feedforward: int, dropout: float, decoder: bool) -> None:
        super().__init__()
        self.own = Attention(width, heads, dropout)
        self.cross = Attention(width, heads, dropout) if decoder else None
        self.wide, self.narrow = nn.Linear(width, feedforward), nn.Linear(feedforward, width)
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(3 if decoder else 2))
        self.dropout = nn.Dropout(dropout)

    def forward(
        self,
        x: torch.Tensor,
        mask: torch.Tensor | None,
        *,
        causal: bool = False,
        past: Cache | None = None,
        cross: Cache | None = None,
        cross_mask: torch.Tensor | None = None,
    ) -> tuple[torch.Tensor, Cache]:
        """Return the next state and what later steps attend to."""
        normed = self.norms[0](x)
        memory = self.own.remember(normed)
        if past is not None:
            memory = (torch.cat([past[0], memory[0]], 2), torch.cat([past[1], memory[1]], 2))
        x = x + self.dropout(self.own(normed, memory, mask, causal))
        if self.cross is not None and cross is not None:
            x = x + self.dropout(self.cross(self.norms[1](x), cross, cross_mask))
        return x + self.dropout(self.narrow(torch.relu(self.wide(self.norms[-1](x))))), memory


class Transformer(nn.Module):
    """Source ids and mask (N, S), target ids (N, T) -> logits (N, T, C)."""

    positions: torch.Tensor

    def __init__(
        self, vocabulary: int, start: int, width: int, heads: int, depth: int, feedforward: int, dropout: float
    ) -> None:
        super().__init__()
        self.start, self.scale = start, math.sqrt(width)
        self.embedding = nn.Embedding(vocabulary, width, padding_idx=0)
        nn.init.normal_(self.embedding.weight, std=width**-0.5)
        self.register_buffer("positions", _waves(width), persistent=False)
        sizes = (width, heads, feedforward, dropout)
        self.encoder = nn.ModuleList(Layer(*sizes, decoder=False) for _ in range(depth))
        self.decoder = nn.ModuleList(Layer(*sizes, decoder=True) for _ in range(depth))
        self.encoder_norm, self.decoder_norm = nn.LayerNorm(width), nn.LayerNorm(width)
        self.dropout = nn.Dropout(dropout)

    def forward(
        self, input_ids: torch.Tensor, attention_mask: torch.Tensor, decoder_input_ids: torch.Tensor
    ) -> torch.Tensor:
        """Return the logits of every step, each given the true steps before it."""
        crosses = self._crosses(self._encode(input_ids, attention_mask))
        x = self._embed(decoder_input_ids, self.positions[: decoder_input_ids.shape[1]])
        cross_mask = _mask(attention_mask)
        for layer, cross in zip(self.decoder, crosses, strict=True):
            x, _ = layer(x, None, causal=True, cross=cross, cross_mask=cross_mask)
        return self._logits(x)

    def begin(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> dict[str, torch.Tensor]:
        """Read the source and take the first step; return ``logits`` (N, C) and the caches for `step`."""
        crosses = self._crosses(self._encode(input_ids, attention_mask))
        first = torch.zeros_like(input_ids[:, :1]) + self.start
        x, cross_mask, memories = self._embed(first, self.positions[:1]), _mask(attention_mask), []
        for layer, cross in zip(self.decoder, crosses, strict=True):
            x, memory = layer(x, None, cross=cross, cross_mask=cross_mask)
            memories.append(memory)
        found = {"logits": self._logits(x)[:, 0], "keys": _stack(memories, 0), "values": _stack(memories, 1)}
        return found | {"cross_keys": _stack(crosses, 0), "cross_values": _stack(crosses, 1)}

    def step(self, batch: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """Take a further step: ``token`` and ``position`` (N, 1), ``attention_mask`` (N, S) and the caches.

        What was written so far comes back as ``new_keys`` and ``new_values``: in an exported graph no output may have an
        input's name.
        """
        x = self._embed(batch["token"], self.positions[batch["position"]])
        cross_mask, memories = _mask(batch["attention_mask"]), []
        for number, layer in enumerate(self.decoder):
            past = (batch["keys"][number], batch["values"][number])
            cross = (batch["cross_keys"][number], batch["cross_values"][number])
            x, memory = layer(x, None, past=past, cross=cross, cross_mask=cross_mask)
            memories.append(memory)
        return {"logits": self._logits(x)[:, 0], "new_keys": _stack(memories, 0), "new_values": _stack(memories, 1)}

    def _encode(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        x, mask = self._embed(input_ids, self.positions[: input_ids.shape[1]]), _mask(attention_mask)
        for layer in self.encoder:
            x, _ = layer(x, mask)
        return self.encoder_norm(x)  # type: ignore[no-any-return]

    def _crosses(self, memory: torch.Tensor) -> list[Cache]:
        return [layer.cross.remember(memory) for layer in self.decoder]  # type: ignore[union-attr, operator]

    def _embed(self, ids: torch.Tensor, positions: torch.Tensor) -> torch.Tensor:
        return self.dropout(self.embedding(ids) * self.scale + positions)  # type: ignore[no-any-return]

    def _logits(self, x: torch.Tensor) -> torch.Tensor:
        return functional.linear(self.decoder_norm(x), self.embedding.weight)


def _waves(width: int) -> torch.Tensor:
    """Return sines and cosines of falling frequency, (MAX_POSITIONS, width)."""
    angle = torch.arange(MAX_POSITIONS).unsqueeze(1) * torch.exp(torch.arange(0, width, 2) * (-math.log(1e4) / width))
    return torch.stack([angle.sin(), angle.cos()], -1).flatten(1)[:, :width]


def _mask(attention_mask: torch.Tensor) -> torch.Tensor:
    return attention_mask[:, None, None, :] > 0


def _stack(caches: list[Cache], which: int) -> torch.Tensor:
    return torch.stack([cache[which] for cache in caches])


def build(options: dict[str, Any]) -> nn.Module:
    """Build from `OPTIONS` and the dimensions a task adds (kind, vocabulary, start)."""
    return Transformer(**{key: value for key, value in options.items() if key != "kind"})
