"""Vocabulary trimming: rows of the word embedding that no training row uses are left out.

Abdaoui et al. 2020, "Load What You Need" (arXiv 2010.05609). A pretrained encoder knows tens of thousands of tokens and a
task uses some of them; in a small encoder the embedding is half of the weights (11.7 of 22.7 million in MiniLM).

1. count the ids in the training rows; keep those seen ``min_count`` times and all markers;
2. exchange the embedding for one of the kept rows, with a table (2 bytes per id) that maps each id to a row: the tokenizer
   stays as it is;
3. an id whose row is gone gets the row of the unknown token, or of the kept token with the nearest vector (cosine).

Answers for texts whose tokens are all kept do not change (checked). It makes files and memory smaller, and nothing faster.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np

from bigray.compress.base import ConversionError, Method, MethodConfig, Samples, knob
from bigray.compress.methods import _networks
from bigray.engines.base import Program
from bigray.tasks.base import Task, Vocabulary

if TYPE_CHECKING:
    import torch
    from torch import nn

CHUNK = 512
"""Rows encoded at once while counting, and rows of the embedding compared at once."""
WORTHWHILE = 0.95
"""More than this share of the rows kept is no gain."""


class Config(MethodConfig):
    """Knobs of `TrimVocabulary`."""

    min_count: int = knob(1, low=1, high=100, search=[])
    """Times a token must be seen in the training rows to keep its vector."""
    unseen: Literal["unknown", "nearest"] = knob("unknown", choices=["unknown", "nearest"])
    """Which vector a token gets that lost its own: the unknown token's, or that of the nearest kept one."""


class TrimVocabulary(Method):
    """See the module's text."""

    name = "trim_vocabulary"
    stage = "network"
    rank = 1
    Config: ClassVar[type[MethodConfig]] = Config

    def suits(self, task: Task, engine: str) -> str | None:
        """Return a reason for tasks without token ids, and for tokenizers that know no unknown."""
        vocabulary = task.vocabulary()
        if vocabulary is None:
            return "its inputs are no token ids, so it has no vocabulary"
        if vocabulary.unknown is None:
            return "its tokenizer has no token for the unknown, which tokens without a vector of their own would become"
        return None

    def prune(self, program: Program, config: Any, keep: Sequence[str], samples: Samples) -> None:
        """Exchange the embedding for a smaller one.

        Raises:
            ConversionError: No embedding takes the ids, its weights are shared, or hardly a token is unused.
        """
        import torch

        from bigray.models import _replacements

        settings = Config.model_validate(config.model_dump())
        vocabulary = samples.task.vocabulary()
        if vocabulary is None or vocabulary.unknown is None:
            raise ConversionError(f"trim_vocabulary: {self.suits(samples.task, '')}.")
        network = program.network.cpu().eval()
        name, old = _embedding(program, vocabulary)
        counts = _counts(samples, vocabulary, old.num_embeddings)
        used = counts >= settings.min_count
        used[list(vocabulary.special)] = True
        kept = np.flatnonzero(used)
        if len(kept) > WORTHWHILE * old.num_embeddings:
            raise ConversionError(
                f"trim_vocabulary would keep {len(kept):,} of {old.num_embeddings:,} vectors: nearly all tokens occur in "
                "the training rows. Raise min_count, or leave the method out."
            )
        table = np.zeros(old.num_embeddings, dtype=np.int64)
        table[kept] = np.arange(len(kept))
        weight = old.weight.detach()
        gone = np.flatnonzero(~used)
        if settings.unseen == "nearest":
            table[gone] = table[_nearest(weight, gone, np.setdiff1d(kept, vocabulary.special))]
        else:
            table[gone] = table[vocabulary.unknown]
        padding = None if old.padding_idx is None or not used[old.padding_idx] else int(table[old.padding_idx])
        new = _replacements.TrimmedEmbedding(torch.from_numpy(table), weight[torch.from_numpy(kept)].clone(), padding)
        new.weight.requires_grad_(old.weight.requires_grad)
        batch = _all_kept(samples, vocabulary, used)
        before = _answers(program, batch)
        _replacements.put(network, name, new)
        for key, value in _answers(program, batch).items():
            if not torch.equal(value, before[key]):
                raise ConversionError(
                    f"trim_vocabulary changed {key} of rows whose tokens were all kept: the network uses the embedding "
                    f"{name!r} for more than looking up ids. Leave the method out for it."
                )


def _embedding(program: Program, vocabulary: Vocabulary) -> tuple[str, nn.Embedding]:
    """Find the one embedding that takes the task's token ids."""
    import torch
    from torch import nn

    batch = _networks.example(program)
    ids, found = batch[vocabulary.input], []
    handles = []

    def watch(name: str) -> Any:
        def hook(_: nn.Module, args: Any, __: Any) -> None:
            if args and torch.equal(args[0], ids):
                found.append(name)

        return hook

    layers = {name: module for name, module in program.network.named_modules() if isinstance(module, nn.Embedding)}
    for name, layer in layers.items():
        handles.append(layer.register_forward_hook(watch(name)))
    try:
        with torch.no_grad():
            program.forward(program.network, batch)
    finally:
        for handle in handles:
            handle.remove()
    names = sorted(set(found))
    if (
        len(names) != 1
        or type(layers[names[0]]) is not nn.Embedding
        or layers[names[0]].num_embeddings < vocabulary.size
    ):
        raise ConversionError(
            f"trim_vocabulary needs one embedding that takes {vocabulary.input} with a vector for each of "
            f"{vocabulary.size:,} tokens, and found {len(names)}: {', '.join(names) or 'none'}."
        )
    weight = layers[names[0]].weight
    owners = [name for name, other in program.network.named_parameters(remove_duplicate=False) if other is weight]
    if len(owners) > 1:
        raise ConversionError(f"trim_vocabulary cannot cut weights that are shared: {' and '.join(owners)} are one.")
    return names[0], layers[names[0]]


def _counts(samples: Samples, vocabulary: Vocabulary, size: int) -> np.ndarray:
    """Return how often each id occurs in the training rows, (size,)."""
    if not samples.training:
        raise ConversionError("trim_vocabulary needs training rows and got none.")
    counts = np.zeros(size, dtype=np.int64)
    for start in range(0, len(samples.training), CHUNK):
        ids = samples.task.encode(samples.training[start : start + CHUNK])[vocabulary.input]
        counts += np.bincount(ids.ravel(), minlength=size)
    return counts


def _nearest(weight: torch.Tensor, gone: np.ndarray, kept: np.ndarray) -> np.ndarray:
    """Return, for each id in ``gone``, the id in ``kept`` whose vector has the largest cosine to its own."""
    import torch
    from torch.nn import functional

    unit = functional.normalize(weight, dim=1)
    candidates = unit[torch.from_numpy(kept)].T
    parts = [torch.from_numpy(gone[start : start + CHUNK]) for start in range(0, len(gone), CHUNK)]
    best = torch.cat([(unit[part] @ candidates).argmax(1) for part in parts])
    return np.asarray(kept[best.numpy()])


def _all_kept(samples: Samples, vocabulary: Vocabulary, used: np.ndarray) -> dict[str, np.ndarray]:
    """Return training rows whose tokens are all kept, encoded; no rows at all when there are none near the start."""
    for start in range(0, min(len(samples.training), CHUNK), 4):
        batch = samples.task.encode(samples.training[start : start + 4])
        if used[batch[vocabulary.input]].all():
            return batch
    return {}


def _answers(program: Program, batch: dict[str, np.ndarray]) -> dict[str, torch.Tensor]:
    import torch

    if not batch:
        return {}
    with torch.no_grad():
        tensors = {name: torch.from_numpy(batch[name].copy()) for name in program.inputs}
        return program.forward(program.network, tensors)


METHOD = TrimVocabulary()
