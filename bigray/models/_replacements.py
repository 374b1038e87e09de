"""Modules that compression puts in the place of others, and how they are rebuilt from their description.

A compressed network is its builder's network with some modules exchanged. `bigray.models._weights` stores a description
of each exchanged module, ``{"kind": "skip"}``, and `rebuild` makes it again, with no weights yet, from the module that
the builder put there. So artifacts need neither pickles nor the code of the method that did it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import nn
from torch.nn import functional

from bigray.errors import ArtifactError


class Replacement(nn.Module):
    """What all of them can do."""

    kind: ClassVar[str]

    def described(self) -> dict[str, int]:
        """Return the sizes that `bare` needs."""
        return {}

    @classmethod
    def bare(cls, original: Any) -> Replacement:
        """Make one for the place of ``original``, with weights of no meaning."""
        raise NotImplementedError


class Skip(Replacement):
    """In the place of a layer: returns its first argument as it is."""

    kind = "skip"

    @classmethod
    def bare(cls, original: Any) -> Skip:
        """Make one."""
        return cls()

    def forward(self, x: torch.Tensor, *_: Any, **__: Any) -> torch.Tensor:
        """Return ``x``."""
        return x


class TrimmedEmbedding(nn.Embedding, Replacement):
    """An embedding of fewer rows than there are ids: ``table`` says which row an id has.

    ids (...) -> table (ids,) of whole numbers -> weight (rows, width) -> (..., width)
    """

    kind = "trimmed_embedding"
    table: torch.Tensor

    def __init__(self, table: torch.Tensor, weight: torch.Tensor, padding_idx: int | None) -> None:
        super().__init__(weight.shape[0], weight.shape[1], padding_idx=padding_idx, _weight=weight)
        # 2 bytes per id where they suffice
        whole = torch.int16 if len(weight) <= torch.iinfo(torch.int16).max else torch.int32
        self.register_buffer("table", table.to(whole))

    def described(self) -> dict[str, int]:
        """Return the number of rows, and the one of padding."""
        padding = {} if self.padding_idx is None else {"padding": self.padding_idx}
        return {"rows": self.num_embeddings, **padding}

    @classmethod
    def bare(cls, original: Any, rows: int = 0, padding: int | None = None) -> TrimmedEmbedding:
        """Make one of ``rows`` rows for as many ids as ``original`` has rows."""
        weight = torch.zeros(rows, original.embedding_dim)
        return cls(torch.zeros(original.num_embeddings, dtype=torch.int64), weight, padding)

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        """Return the vectors of ids."""
        return super().forward(self.table[input].long())


class LowRank(nn.Sequential, Replacement):
    """A linear layer, or a convolution of one point, as two of them with fewer channels in between.

    x (..., inputs) -> (..., rank) -> (..., outputs)
    """

    kind = "low_rank"

    def described(self) -> dict[str, int]:
        """Return the number of channels in between."""
        return {"rank": len(next(self.parameters()))}

    @classmethod
    def bare(cls, original: Any, rank: int = 1) -> LowRank:
        """Make one for the place of ``original``.

        Raises:
            TypeError: ``original`` is neither linear nor a convolution of one point.
        """
        biased = original.bias is not None
        if isinstance(original, nn.Linear):
            inputs, outputs = original.in_features, original.out_features
            return cls(nn.Linear(inputs, rank, bias=False), nn.Linear(rank, outputs, bias=biased))
        if isinstance(original, nn.Conv1d | nn.Conv2d) and set(original.kernel_size) == {1} and original.groups == 1:
            inputs, outputs, stride = original.in_channels, original.out_channels, original.stride
            first = type(original)(inputs, rank, 1, stride, bias=False)  # type: ignore[arg-type]
            return cls(first, type(original)(rank, outputs, 1, bias=biased))
        raise TypeError(f"{type(original).__name__} has no two factors")


class Float8Linear(Replacement):
    """A linear layer that multiplies 8-bit floats (e4m3).

    x (..., inputs) -> each row over its own scale -> times weight (outputs, inputs) of 8 bits -> (..., outputs), summed up
    in more and given in bfloat16; outside of autocast in the type of ``x``
    """

    kind = "float8_linear"
    weight: torch.Tensor
    scale: torch.Tensor
    bias: torch.Tensor | None

    def __init__(self, outputs: int, inputs: int, biased: bool) -> None:
        super().__init__()
        self.register_buffer("weight", torch.zeros(outputs, inputs).to(torch.float8_e4m3fn))
        self.register_buffer("scale", torch.ones(outputs, 1))
        self.register_buffer("bias", torch.zeros(outputs, dtype=torch.bfloat16) if biased else None)

    @classmethod
    def bare(cls, original: Any) -> Float8Linear:
        """Make one for the place of a linear layer.

        Raises:
            TypeError: ``original`` is no linear layer.
        """
        if not isinstance(original, nn.Linear):
            raise TypeError(f"{type(original).__name__} is no linear layer")
        outputs, inputs = original.weight.shape
        return cls(outputs, inputs, original.bias is not None)

    @classmethod
    def of(cls, original: Any) -> Float8Linear:
        """Make one of a linear layer's weights."""
        made = cls.bare(original)
        with torch.no_grad():
            made.weight, made.scale = _float8(original.weight.detach())
            if made.bias is not None:
                made.bias.copy_(original.bias)
        return made

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return x W' + b."""
        rows, scale = _float8(x.reshape(-1, x.shape[-1]))
        by_row = functional.ScalingType.RowWise
        found = functional.scaled_mm(
            rows, self.weight.t(), scale, by_row, self.scale.t(), by_row, bias=self.bias, output_dtype=torch.bfloat16
        ).reshape(*x.shape[:-1], len(self.weight))
        return found if torch.is_autocast_enabled(x.device.type) else found.to(x.dtype)


def _float8(values: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return (rows, columns) in 8 bits, and the factor of each row, (rows, 1) float32."""
    largest = torch.finfo(torch.float8_e4m3fn).max
    values = values.float()
    scale = values.abs().amax(1, keepdim=True).clamp_min(1e-12) / largest
    return (values / scale).clamp(-largest, largest).to(torch.float8_e4m3fn), scale


KINDS: Mapping[str, type[Replacement]] = {one.kind: one for one in (Float8Linear, LowRank, Skip, TrimmedEmbedding)}


def describe(network: nn.Module) -> dict[str, dict[str, Any]]:
    """Return name -> description of every exchanged module of a network."""
    return {
        name: {"kind": module.kind, **module.described()}
        for name, module in network.named_modules()
        if isinstance(module, Replacement)
    }


def rebuild(network: nn.Module, descriptions: Mapping[str, Mapping[str, Any]]) -> None:
    """Exchange modules of a freshly built network as described.

    Raises:
        ArtifactError: A description of no known kind, or one that does not fit this network.
    """
    for name, description in descriptions.items():
        sizes = dict(description)
        kind = KINDS.get(sizes.pop("kind", ""))
        if kind is None:
            raise ArtifactError(f"Module {name!r} is of kind {description.get('kind')!r}. Known: {', '.join(KINDS)}.")
        try:
            put(network, name, kind.bare(network.get_submodule(name), **sizes))
        except (AttributeError, TypeError, ValueError) as error:
            raise ArtifactError(f"Module {name!r} of this network cannot become a {kind.kind}: {error}.") from None


def put(network: nn.Module, name: str, module: nn.Module) -> None:
    """Put ``module`` in the place called ``name``, in the mode (training or not) of the one that was there."""
    path, _, leaf = name.rpartition(".")
    module.train(network.get_submodule(name).training)
    setattr(network.get_submodule(path), leaf, module)
