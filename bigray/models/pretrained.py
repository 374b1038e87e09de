"""Networks of transformers and torchvision: found by hub name, local folder or installed package, described as data.

``trust_remote_code`` is never on. A network is rebuilt from its stored configuration, so an artifact needs neither the
hub nor the folder its weights came from. Weight files are safetensors, or torch state dicts read with ``weights_only``.
"""

from __future__ import annotations

import importlib.util
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bigray.errors import ModelNotFound, RecipeError
from bigray.models.base import Architecture
from bigray.recipe import Model

if TYPE_CHECKING:
    from tokenizers import Tokenizer
    from torch import nn


def locate(name: str) -> str:
    """Return a local folder for ``package:module/sub/folder`` or an existing path, else the hub name unchanged.

    Raises:
        ModelNotFound: The package is not installed, or a path that does not exist.
    """
    if name.startswith("package:"):
        module, _, inner = name.removeprefix("package:").partition("/")
        spec = importlib.util.find_spec(module)
        if spec is None or spec.origin is None:
            raise ModelNotFound(f"{name!r}: no package {module!r} is installed. Install it, or give a local folder.")
        folder = Path(spec.origin).parent / inner
        if not folder.exists():
            raise ModelNotFound(f"{name!r}: the package has no folder {inner!r}.")
        return str(folder)
    if name.startswith(("/", "./", "../", "~")) and not Path(name).expanduser().exists():
        raise ModelNotFound(f"There is no folder {name!r}.")
    return str(Path(name).expanduser()) if Path(name).expanduser().exists() else name


def configuration(name: str) -> dict[str, Any]:
    """Return the configuration of a transformers checkpoint as plain data."""
    from transformers import AutoConfig

    return _reach(name, lambda place: AutoConfig.from_pretrained(place, trust_remote_code=False).to_dict())  # type: ignore[no-any-return]


def companion(name: str, file: str) -> dict[str, Any]:
    """Return the JSON of a file that stands beside a checkpoint, ``{}`` when there is none."""
    from transformers.utils import cached_file

    def read(place: str) -> dict[str, Any]:
        path = cached_file(place, file, _raise_exceptions_for_missing_entries=False)
        found = json.loads(Path(path).read_text(encoding="utf-8")) if path else {}
        return found if isinstance(found, dict) else {}

    return _reach(name, read)  # type: ignore[no-any-return]


def longest_input(name: str) -> int | None:
    """Return how many tokens a checkpoint can take, None when its positions have no end."""
    config = configuration(name)
    limit = config.get("max_position_embeddings")
    # RoBERTa's kin number positions from the padding token's id + 1, which takes as many from the end
    shifted = config.get("model_type") in {"roberta", "xlm-roberta", "camembert", "mpnet", "xlm-roberta-xl"}
    return int(limit) - (int(config.get("pad_token_id") or 0) + 1 if shifted else 0) if limit else None


def tokenizer(name: str) -> tuple[Tokenizer, int]:
    """Return the fast tokenizer of a transformers checkpoint and the id of its padding token."""
    from transformers import AutoTokenizer

    loaded = _reach(name, lambda place: AutoTokenizer.from_pretrained(place, use_fast=True, trust_remote_code=False))
    if not getattr(loaded, "is_fast", False):
        raise ModelNotFound(f"{name!r} has no fast tokenizer (tokenizer.json). Convert it with transformers first.")
    return loaded.backend_tokenizer, int(loaded.pad_token_id or 0)


def describe(auto_class: str, model: Model) -> Architecture:
    """Describe a network of transformers with a checkpoint's sizes and weights.

    Args:
        auto_class: Such as ``AutoModelForQuestionAnswering``.

    Raises:
        RecipeError: The recipe names no checkpoint.
        ModelNotFound: The checkpoint cannot be had.
    """
    require_name(model)
    config = {**configuration(model.name), **model.options}
    return Architecture(source="transformers", name=auto_class, options=config, weights=model.weights or model.name)


def vits(model: Model) -> dict[str, Any]:
    """Return ``config``, ``characters`` (in order of their numbers), ``normalize`` and ``add_blank`` of a VITS checkpoint.

    Raises:
        RecipeError: Another kind of checkpoint, or one that reads phonemes.
        ModelNotFound: The checkpoint cannot be had.
    """
    from transformers import AutoTokenizer

    require_name(model)
    config = configuration(model.name)
    if config.get("model_type") != "vits":
        raise RecipeError(
            f"model.name: {model.name!r} is a checkpoint of kind {config.get('model_type')!r}; text_to_speech takes VITS.",
            pointer="model.name",
        )
    loaded = _reach(model.name, lambda place: AutoTokenizer.from_pretrained(place, trust_remote_code=False))
    if loaded.phonemize or loaded.is_uroman:
        raise RecipeError(
            f"model.name: {model.name!r} reads {'phonemes' if loaded.phonemize else 'romanised text'}, which needs a "
            "program that bigray does not have. Choose a checkpoint that reads letters, e.g. facebook/mms-tts-eng.",
            pointer="model.name",
        )
    special = {loaded.unk_token}
    names = sorted(loaded.encoder, key=loaded.encoder.get)
    return {
        "config": config,
        "characters": tuple("" if name in special or len(name) != 1 else name for name in names),
        "normalize": bool(loaded.normalize),
        "add_blank": bool(loaded.add_blank),
    }


def require_name(model: Model) -> None:
    """Raise `RecipeError` when the recipe names no checkpoint."""
    if model.name == "auto":
        raise RecipeError(
            "model.name: is required with source transformers: a hub name, a folder or package:NAME/FOLDER.",
            pointer="model.name",
        )


def classifier(auto_class: str, model: Model, labels: Sequence[str]) -> Architecture:
    """Describe a classifier head for ``labels`` on a transformers checkpoint; raises as `describe`.

    Args:
        auto_class: Such as ``AutoModelForSequenceClassification``.
    """
    found = describe(auto_class, model)
    classes = {
        "id2label": {str(number): label for number, label in enumerate(labels)},
        "label2id": {label: number for number, label in enumerate(labels)},
        "num_labels": len(labels),
    }
    return found.model_copy(update={"options": {**found.options, **classes}})


def build(architecture: Architecture, *, pretrained: bool) -> nn.Module:
    """Build a network of transformers or torchvision."""
    if architecture.source == "transformers":
        return _transformers(architecture, pretrained)
    if architecture.source == "torchvision":
        return _torchvision(architecture, pretrained)
    raise RecipeError(f"model.source {architecture.source!r} has no network {architecture.name!r}.")


def hub_weights(name: str, weights: str) -> Mapping[str, Any]:
    """Return the weights that torchvision publishes for a network, by their name there, e.g. ``DEFAULT``."""
    from torchvision import models

    source = models.get_model_weights(name)
    return _reach(weights, lambda place: source[place].get_state_dict(progress=False))  # type: ignore[no-any-return]


def load_weights(network: nn.Module, place: str) -> None:
    """Load a local weight file into a network; weights whose shape differs (another head) are left as they are.

    Raises:
        ModelNotFound: No such file, or one that fits in no tensor.
    """
    state = read_weights(place)
    own = network.state_dict()
    fitting = {key: value for key, value in state.items() if key in own and own[key].shape == value.shape}
    if not fitting:
        raise ModelNotFound(f"No weight in {place!r} fits this network: it holds {sorted(state)[:3]} and more.")
    network.load_state_dict(fitting, strict=False)


def read_weights(place: str) -> Mapping[str, Any]:
    """Return the tensors of a local weight file by name; raises `ModelNotFound` when there is no such file."""
    import torch
    from safetensors.torch import load_file

    path = Path(locate(place))
    if not path.is_file():
        raise ModelNotFound(f"There is no weight file {place!r}. Give a .safetensors file or a torch state dict.")
    state: Mapping[str, Any] = (
        load_file(path) if path.suffix == ".safetensors" else torch.load(path, map_location="cpu", weights_only=True)
    )
    for key in ("state_dict", "model_state"):  # what training scripts wrap around it
        state = state.get(key, state)
    return state


def _transformers(architecture: Architecture, pretrained: bool) -> nn.Module:
    import transformers

    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    auto = getattr(transformers, architecture.name)
    options = dict(architecture.options)
    config = transformers.AutoConfig.for_model(options.pop("model_type"), **_plain(options))
    kind = auto._model_mapping.get(type(config), None)
    # WavLM, for one, has only its own; and what is set here holds for a backbone too, which has no attention
    if getattr(kind, "_supports_sdpa", False) and getattr(config, "backbone_config", None) is None:
        config._attn_implementation = "sdpa"
    if not (pretrained and architecture.weights):
        return _exportable(auto.from_config(config))
    network = _reach(
        architecture.weights,
        lambda place: auto.from_pretrained(
            place, config=config, trust_remote_code=False, dtype="float32", ignore_mismatched_sizes=True
        ),
    )
    return _exportable(network)


def _exportable(network: nn.Module) -> nn.Module:
    """Mend what exporters refuse.

    EfficientNet pools over the whole picture by a window larger than any. RT-DETR asks for a batch's size by ``len``, which
    fixes it when traced, so its module gets one that does not.
    """
    from torch import nn

    if type(network).__module__.endswith((".modeling_rt_detr", ".modeling_rt_detr_v2", ".modeling_d_fine")):
        sys.modules[type(network).__module__].len = _count  # type: ignore[attr-defined]
    trunk = getattr(network, "efficientnet", None)
    if trunk is not None and isinstance(trunk.pooler, nn.AvgPool2d):
        trunk.pooler = nn.AdaptiveAvgPool2d(1)
    return network


def _count(value: Any) -> Any:
    """As ``len``, but for a traced tensor a size that may vary."""
    return value.shape[0] if hasattr(value, "shape") else len(value)


def _torchvision(architecture: Architecture, pretrained: bool) -> nn.Module:
    from torchvision import models

    if architecture.name in models.list_models(module=models.detection):
        from bigray.models import _anchors

        return _anchors.build(architecture, pretrained)
    known = models.list_models(module=models)
    if architecture.name not in known:
        raise RecipeError(
            f"model.name: torchvision has no classifier {architecture.name!r}. Known: {', '.join(known)}."
        )
    options = dict(architecture.options)
    identities = options.pop("identities", None)
    network: nn.Module = models.get_model(architecture.name, weights=None, **options)
    if identities:  # one vector for each, which only a loss over embeddings looks at
        from torch import nn

        network.classes = nn.Linear(options["num_classes"], identities, bias=False)
    if pretrained and architecture.weights:
        weights = architecture.weights
        if Path(locate(weights)).is_file():
            load_weights(network, weights)
        else:
            state = hub_weights(architecture.name, weights)
            own = network.state_dict()
            network.load_state_dict({k: v for k, v in state.items() if own[k].shape == v.shape}, strict=False)
    return network


def _reach(name: str, load: Any) -> Any:
    place = locate(name)
    try:
        return load(place)
    except (OSError, KeyError, ValueError) as error:
        local = Path(place).exists()
        what = "is there but cannot be read" if local else "is no local folder, and no hub answered for it"
        raise ModelNotFound(
            f"Model {name!r} {what} ({type(error).__name__}). Download it where there is a network, for example with "
            f"`hf download {name} --local-dir ./model`, and set model.name to that folder."
        ) from None


def _plain(options: Mapping[str, Any]) -> dict[str, Any]:
    # keys that to_dict writes and that a constructor does not take back
    dropped = {"transformers_version", "_name_or_path", "architectures", "num_labels", "torch_dtype", "dtype"}
    config = {key: value for key, value in options.items() if key not in dropped}
    if "id2label" in config:
        config["id2label"] = {int(key): value for key, value in config["id2label"].items()}
    return config
