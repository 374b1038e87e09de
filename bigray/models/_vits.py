"""VITS of transformers (Kim et al. 2021, arXiv 2106.06103) as two graphs that can be exported, a length regulator between.

`encode` gives for each character the Gaussian that its frames are drawn from and how long it lasts; `decode` turns drawn
frames into sound by the inverse flow and HiFi-GAN. What the original draws within the network is drawn by the caller, and
durations are the likeliest ones (no noise). Of a checkpoint with several voices the first one speaks.

Sizes: N rows, T characters, F frames, D latent width, S samples.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import nn


def encode(network: nn.Module, tokens: torch.Tensor, lengths: torch.Tensor) -> dict[str, torch.Tensor]:
    """Return ``hidden`` (N, T, 2 D), means and log deviations, and ``log_durations`` (N, T)."""
    model: Any = network
    mask = (torch.arange(tokens.shape[1], device=tokens.device)[None] < lengths[:, None]).to(torch.int64)
    inside = mask.unsqueeze(-1).to(model.text_encoder.embed_tokens.weight.dtype)
    with _of_any_length():
        said = model.text_encoder(input_ids=tokens, padding_mask=inside, attention_mask=mask)
        state, inside = said.last_hidden_state.transpose(1, 2), inside.transpose(1, 2)
        predictor, voice = model.duration_predictor, _voice(model)
        if model.config.use_stochastic_duration_prediction:
            logs = _likeliest(predictor, state, inside, voice)
        else:
            logs = predictor(state, inside, voice)
    return {"hidden": torch.cat([said.prior_means, said.prior_log_variances], -1), "log_durations": logs[:, 0]}


def decode(network: nn.Module, frames: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
    """Return samples (N, S), S = F x the frame's samples, of drawn frames (N, F, D) for rows of ``lengths`` (N,)."""
    model: Any = network
    inside = (torch.arange(frames.shape[1], device=frames.device)[None, None] < lengths[:, None, None]).to(frames.dtype)
    latents = model.flow(frames.transpose(1, 2), inside, _voice(model), reverse=True)
    return model.decoder(latents * inside, _voice(model))[:, 0]  # type: ignore[no-any-return]


def _voice(model: Any) -> torch.Tensor | None:
    return model.embed_speaker.weight[:1].unsqueeze(-1) if model.config.num_speakers > 1 else None


def _likeliest(predictor: Any, state: torch.Tensor, inside: torch.Tensor, voice: torch.Tensor | None) -> torch.Tensor:
    """Run the stochastic predictor backwards from the middle of its noise; its flows as `VitsStochasticDurationPredictor`."""
    given = predictor.conv_pre(state) if voice is None else predictor.conv_pre(state) + predictor.cond(voice)
    given = predictor.conv_proj(predictor.conv_dds(given, inside)) * inside
    flows = list(reversed(predictor.flows))
    latents = torch.zeros_like(given[:, :2])
    for flow in [*flows[:-2], flows[-1]]:
        latents, _ = flow(latents.flip([1]), inside, global_conditioning=given, reverse=True)
    return latents[:, :1]


@contextmanager
def _of_any_length() -> Iterator[None]:
    """Exchange what no exported graph can hold: entries picked out of an array, and choices that hang on a length."""
    from transformers.models.vits import modeling_vits

    attention = modeling_vits.VitsAttention
    kept = [
        (modeling_vits, "_unconstrained_rational_quadratic_spline", _spline),
        (modeling_vits, "torch_compilable_check", lambda *_: None),  # of the range that `_spline` clamps to
        (attention, "_get_relative_embeddings", _relative_embeddings),
    ]
    originals = [(owner, name, getattr(owner, name)) for owner, name, _ in kept]
    for owner, name, ours in kept:
        setattr(owner, name, ours)
    try:
        yield
    finally:
        for owner, name, original in originals:
            setattr(owner, name, original)


def _spline(
    inputs: torch.Tensor,
    unnormalized_widths: torch.Tensor,
    unnormalized_heights: torch.Tensor,
    unnormalized_derivatives: torch.Tensor,
    reverse: bool = False,
    tail_bound: float = 5.0,
    min_bin_width: float = 1e-3,
    min_bin_height: float = 1e-3,
    min_derivative: float = 1e-3,
) -> tuple[torch.Tensor, torch.Tensor]:
    """The flows' spline, computed everywhere and kept where it holds; their determinant is for training only."""
    from transformers.models.vits import modeling_vits

    edge = float(np.log(np.exp(1 - min_derivative) - 1))
    outputs, _ = modeling_vits._rational_quadratic_spline(
        inputs=inputs.clamp(-tail_bound, tail_bound),
        unnormalized_widths=unnormalized_widths,
        unnormalized_heights=unnormalized_heights,
        unnormalized_derivatives=nn.functional.pad(unnormalized_derivatives, (1, 1), value=edge),
        reverse=reverse,
        tail_bound=tail_bound,
        min_bin_width=min_bin_width,
        min_bin_height=min_bin_height,
        min_derivative=min_derivative,
    )
    return torch.where(inputs.abs() <= tail_bound, outputs, inputs), torch.zeros_like(inputs)


def _relative_embeddings(attention: Any, relative_embeddings: torch.Tensor, length: int) -> torch.Tensor:
    """The embeddings of distances -(length - 1) to length - 1; zero beyond the window."""
    first = attention.window_size + 1
    return nn.functional.pad(relative_embeddings, (0, 0, length, length))[:, first : first + 2 * length - 1]
