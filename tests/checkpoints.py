"""Tiny checkpoints with random weights, written as transformers writes them, so that no test needs a hub."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

TEXTS = ("press one for sales", "press two for help", "your call is number three", "agent logged off")


def save(network: Any, folder: Path) -> Path:
    """Write a network's weights and configuration."""
    folder.mkdir(parents=True, exist_ok=True)
    network.save_pretrained(folder)
    return folder


def byte_pairs(special: Iterable[str], texts: Iterable[str] = TEXTS) -> Tokenizer:
    """A tokenizer of bytes and pairs of them, markers last."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    tokenizer.train_from_iterator(
        texts, trainers.BpeTrainer(vocab_size=300, initial_alphabet=sorted(alphabet), show_progress=False)
    )
    tokenizer.add_special_tokens(list(special))
    return tokenizer


def bert(folder: Path, *, layers: int = 2) -> Path:
    """A text classifier of 3 labels with heads of 8 and 64 hidden units; layers that do differ."""
    from tokenizers import processors
    from transformers import BertConfig, BertForSequenceClassification, PreTrainedTokenizerFast

    from bigray.tasks._text import train_tokenizer

    tokenizer = train_tokenizer(TEXTS * 2, 200, ("[CLS]", "[SEP]"))
    ends = [(name, tokenizer.token_to_id(name)) for name in ("[CLS]", "[SEP]")]
    tokenizer.post_processor = processors.TemplateProcessing(single="[CLS] $A [SEP]", special_tokens=ends)
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=tokenizer.get_vocab_size(),
        hidden_size=32,
        num_hidden_layers=layers,
        num_attention_heads=4,
        intermediate_size=64,
        max_position_embeddings=40,
        num_labels=3,
    )
    network = BertForSequenceClassification(config)
    for name, parameter in network.named_parameters():
        if parameter.dim() > 1 and (".layer." in name or "classifier" in name):
            parameter.data *= 5  # as built, layers hardly change the stream
    save(network, folder)
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="[PAD]").save_pretrained(folder)
    return folder


def whisper(folder: Path, *, languages: tuple[str, ...] = ()) -> Path:
    """A Whisper of windows of 2 s; with languages a multilingual one."""
    from transformers import PreTrainedTokenizerFast, WhisperConfig, WhisperForConditionalGeneration

    marks = ["<|endoftext|>", "<|startoftranscript|>", *(f"<|{one}|>" for one in languages)]
    marks += ["<|transcribe|>", "<|notimestamps|>", "<|0.00|>", "<|0.02|>"]
    tokenizer = byte_pairs(marks)
    end = tokenizer.token_to_id("<|endoftext|>")
    torch.manual_seed(0)
    config = WhisperConfig(
        vocab_size=tokenizer.get_vocab_size(),
        num_mel_bins=16,
        d_model=16,
        encoder_layers=1,
        decoder_layers=2,
        encoder_attention_heads=2,
        decoder_attention_heads=2,
        encoder_ffn_dim=32,
        decoder_ffn_dim=32,
        max_source_positions=100,
        max_target_positions=24,
        eos_token_id=end,
        bos_token_id=end,
        pad_token_id=end,
        decoder_start_token_id=end + 1,
        begin_suppress_tokens=[],
        suppress_tokens=[],
    )
    network = WhisperForConditionalGeneration(config)
    # weights of the usual size answer the end at once
    for parameter in network.model.decoder.parameters():
        parameter.data = torch.randn_like(parameter) * 0.3
    network.generation_config.is_multilingual = bool(languages)
    network.generation_config.suppress_tokens = [5, 6]
    network.generation_config.begin_suppress_tokens = [end]
    save(network, folder)
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="<|endoftext|>").save_pretrained(folder)
    return folder


def wav2vec2(folder: Path, *, blank: int = 0, norm: str = "group") -> Path:
    """A Wav2Vec2ForCTC over capital letters."""
    from transformers import Wav2Vec2Config, Wav2Vec2ForCTC

    tokens = ["<s>", "</s>", "<unk>", "|", *"'ABCDEFGHIJKLMNOPQRSTUVWXYZ"]
    tokens.insert(blank, "<pad>")
    torch.manual_seed(0)
    config = Wav2Vec2Config(
        vocab_size=len(tokens),
        pad_token_id=blank,
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=32,
        conv_dim=(8, 8),
        conv_kernel=(10, 3),
        conv_stride=(80, 4),
        num_feat_extract_layers=2,
        num_conv_pos_embeddings=16,
        num_conv_pos_embedding_groups=2,
        feat_extract_norm=norm,
        mask_time_prob=0.0,
        layerdrop=0.0,
    )
    save(Wav2Vec2ForCTC(config), folder)
    (folder / "vocab.json").write_text(json.dumps({token: number for number, token in enumerate(tokens)}))
    (folder / "preprocessor_config.json").write_text(json.dumps({"sampling_rate": 16_000, "do_normalize": True}))
    return folder


def detector(folder: Path, kind: str) -> Path:
    """A DETR, YOLOS or RT-DETR that knows three colours."""
    import transformers
    from transformers import AutoModelForObjectDetection

    trunk = {"embedding_size": 8, "hidden_sizes": [8, 8, 16, 16], "depths": [1, 1, 1, 1], "layer_type": "basic"}
    stages = ["stage2", "stage3", "stage4"]
    heads = {"encoder_attention_heads": 2, "decoder_attention_heads": 2, "num_queries": 10, "d_model": 16}
    configs: dict[str, Callable[..., Any]] = {
        "detr": lambda **labels: transformers.DetrConfig(
            use_timm_backbone=False, use_pretrained_backbone=False, backbone=None, encoder_layers=1, decoder_layers=1,
            backbone_config=transformers.ResNetConfig(**trunk, out_features=stages[-1:]),
            encoder_ffn_dim=16, decoder_ffn_dim=16, **heads, **labels,
        ),
        "yolos": lambda **labels: transformers.YolosConfig(
            hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16, image_size=[64, 96],
            num_detection_tokens=10, **labels,
        ),
        "rt_detr": lambda **labels: transformers.RTDetrConfig(
            backbone_config=transformers.RTDetrResNetConfig(**trunk, out_features=stages), encoder_hidden_dim=16,
            encoder_in_channels=[8, 16, 16], feat_strides=[8, 16, 32], encoder_ffn_dim=16, decoder_layers=1,
            decoder_in_channels=[16, 16, 16], decoder_ffn_dim=16, num_denoising=0, **heads, **labels,
        ),
    }  # fmt: skip
    names = {"id2label": {0: "green", 1: "red", 2: "blue"}, "label2id": {"green": 0, "red": 1, "blue": 2}}
    torch.manual_seed(0)
    network = AutoModelForObjectDetection.from_config(configs[kind](**names))
    for name, parameter in network.named_parameters():
        if parameter.dim() > 1 and "norm" not in name:
            torch.nn.init.kaiming_normal_(parameter)  # as they come all queries say about the same
    save(network, folder)
    reader = {"do_normalize": kind != "rt_detr"}
    size = {"height": 64, "width": 64} if kind == "rt_detr" else {"shortest_edge": 64, "longest_edge": 96}
    (folder / "preprocessor_config.json").write_text(json.dumps(reader | {"size": size}))
    return folder
