"""Bounded decoding of audio, and the log-mel spectrogram against torchaudio's."""

from __future__ import annotations

import io
import struct
import tracemalloc
from collections.abc import Iterator

import numpy as np
import pytest
import soundfile

from bigray.errors import BigrayError, InvalidInput, TooLarge, UnsupportedMedia
from bigray.tasks import _speech
from bigray.tasks._speech import (
    audio_rate,
    change_voice,
    decode_audio,
    encode_wav,
    log_mel,
    mask_spectrum,
    mel_filters,
    mel_power,
    normalise,
)


def _tone(seconds: float, rate: int, hertz: float = 440.0) -> np.ndarray:
    return (0.5 * np.sin(2 * np.pi * hertz * np.arange(round(seconds * rate)) / rate)).astype(np.float32)


def _file(samples: np.ndarray, rate: int, kind: str, subtype: str | None = None) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, samples, rate, format=kind, subtype=subtype)
    return file.getvalue()


def _wav(channels: int = 1, rate: int = 16_000, code: int = 1, bits: int = 16, data: bytes = b"\0" * 3200) -> bytes:
    """A WAV file with whatever a header may claim."""
    chunk = struct.pack(
        "<HHIIHH", code, channels, rate, rate * channels * bits // 8 & 0xFFFFFFFF, channels * bits // 8 & 0xFFFF, bits
    )
    body = b"WAVEfmt " + struct.pack("<I", len(chunk)) + chunk + b"data" + struct.pack("<I", len(data)) + data
    return b"RIFF" + struct.pack("<I", len(body)) + body


LIBROSA = (1.854457, 2.528036, 3.285416)
"""Mel power as librosa computed it, for the noise below."""

GOOD = _wav()
BAD = {
    "nothing": (b"", InvalidInput, "empty_audio"),
    "cut in the magic": (b"RIFF\x10\0", InvalidInput, "corrupt_audio"),
    "cut in the header": (GOOD[:30], InvalidInput, "corrupt_audio"),
    "unknown coding": (_wav(code=999), InvalidInput, "corrupt_audio"),
    "no bits": (_wav(bits=0), InvalidInput, "corrupt_audio"),
    "no channels": (_wav(channels=0), InvalidInput, "corrupt_audio"),
    "1024 channels": (_wav(channels=1024), InvalidInput, "bad_channels"),
    "65535 channels": (_wav(channels=65_535), InvalidInput, None),
    "1 Hz": (_wav(rate=1), InvalidInput, "bad_sample_rate"),
    "2 GHz": (_wav(rate=2**31 - 1), InvalidInput, "bad_sample_rate"),
    "0 Hz": (_wav(rate=0), InvalidInput, None),
    "no frames": (_wav(data=b""), InvalidInput, "empty_audio"),
    "not finite": (_file(np.array([0, np.nan, 1], np.float32), 16_000, "WAV", "FLOAT"), InvalidInput, "non_finite"),
    "infinite": (_file(np.array([0, np.inf, 1], np.float32), 8_000, "WAV", "FLOAT"), InvalidInput, "non_finite"),
    "mp3 garbage": (b"\xff\xfb" + bytes(range(256)) * 8, InvalidInput, None),
    "id3 of 256 MB": (b"ID3\x04\0\0\x7f\x7f\x7f\x7f" + b"\0" * 100, InvalidInput, "corrupt_audio"),
    "flac garbage": (b"fLaC" + b"\xff" * 500, InvalidInput, "corrupt_audio"),
    "ogg garbage": (b"OggS" + b"\xff" * 500, InvalidInput, "corrupt_audio"),
    "mp4": (b"\0\0\0\x18ftypmp42" + b"\0" * 100, UnsupportedMedia, "unsupported_media"),
    "mkv": (b"\x1a\x45\xdf\xa3" + b"\0" * 100, UnsupportedMedia, "unsupported_media"),
    "avi": (b"RIFF\x64\0\0\0AVI " + b"\0" * 100, UnsupportedMedia, "unsupported_media"),
    "playlist": (b"#EXTM3U\nfile:///etc/passwd\n", UnsupportedMedia, "unsupported_media"),
    "text": (b"hello", UnsupportedMedia, "unsupported_media"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_audio_is_refused_by_name(case: str) -> None:
    data, kind, code = BAD[case]
    with pytest.raises(BigrayError) as caught:
        decode_audio(data, 16_000)
    assert type(caught.value) is kind
    assert code is None or caught.value.code == code


def test_header_that_claims_too_much_gives_what_is_there() -> None:
    claims = bytearray(GOOD)
    claims[40:44] = struct.pack("<I", 2**32 - 8)
    assert len(decode_audio(bytes(claims), 16_000)) == 1600


def test_odd_byte_count_is_read() -> None:
    assert len(decode_audio(_wav(data=b"\0\0\0"), 16_000)) == 1


@pytest.mark.parametrize(("kind", "subtype"), [("FLAC", None), ("OGG", "OPUS"), ("OGG", "VORBIS")])
def test_a_small_file_of_much_silence_is_refused_without_memory(kind: str, subtype: str | None) -> None:
    def write() -> Iterator[bytes]:
        file = io.BytesIO()
        with soundfile.SoundFile(file, "w", 8_000, 1, format=kind, subtype=subtype) as sound:
            for _ in range(61):
                sound.write(np.zeros(10 * 8_000, np.float32))
        yield file.getvalue()

    data = next(write())
    tracemalloc.start()
    with pytest.raises(TooLarge) as caught:
        decode_audio(data, 16_000)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert caught.value.code == "audio_too_long"
    assert peak < 4 * len(data) + 2**20


def test_the_cap_holds_while_decoding_when_a_header_lies() -> None:
    data = encode_wav(_tone(6, 16_000), 16_000)
    file = soundfile.SoundFile(io.BytesIO(data))
    with pytest.raises(TooLarge):
        list(_speech._blocks(file, 5))


@pytest.mark.parametrize(
    ("kind", "subtype"), [("WAV", "PCM_16"), ("WAV", "FLOAT"), ("FLAC", None), ("OGG", None), ("MP3", None)]
)
@pytest.mark.parametrize("rate", [8_000, 16_000, 44_100])
def test_kinds_and_rates_of_file_agree(kind: str, subtype: str | None, rate: int) -> None:
    sound = np.stack([_tone(1.0, rate), _tone(1.0, rate)], axis=1)
    data = _file(sound, rate, kind, subtype)
    samples = decode_audio(data, 16_000)
    assert audio_rate(data) == rate
    assert samples.dtype == np.float32
    assert abs(len(samples) - 16_000) < 1600  # MP3 pads
    # every one of them hears the same 440 Hz
    spectrum = np.abs(np.fft.rfft(samples[2000:14_000]))
    assert spectrum.argmax() * 16_000 / 12_000 == pytest.approx(440, abs=2)


def test_channels_are_averaged() -> None:
    sound = np.stack([_tone(0.1, 8_000), -_tone(0.1, 8_000)], axis=1)
    assert np.abs(decode_audio(_file(sound, 8_000, "WAV"), 8_000)).max() < 1e-3


def test_decoded_samples_pass_through() -> None:
    tone = _tone(0.5, 8_000)
    assert np.array_equal(decode_audio((tone, 8_000), 8_000), tone)
    assert len(decode_audio((tone, 8_000), 16_000)) == 8_000
    with pytest.raises(InvalidInput, match="no samples"):
        decode_audio((tone[:0], 8_000), 8_000)
    with pytest.raises(InvalidInput, match="not finite"):
        decode_audio((np.array([np.nan], np.float32), 8_000), 8_000)


@pytest.mark.parametrize("rate", [8_000, 16_000, 22_050])
def test_mel_filters_are_those_of_torchaudio(rate: int) -> None:
    torchaudio = pytest.importorskip("torchaudio")
    theirs = torchaudio.functional.melscale_fbanks(257, 0.0, rate / 2, 64, rate, norm="slaney", mel_scale="slaney")
    assert np.allclose(mel_filters(rate, 512, 64), theirs.numpy(), atol=1e-7)


def test_log_mel_is_that_of_torchaudio() -> None:
    torch, torchaudio = pytest.importorskip("torch"), pytest.importorskip("torchaudio")
    sound = np.random.default_rng(0).standard_normal(16_000).astype(np.float32)
    theirs = torchaudio.transforms.MelSpectrogram(
        16_000, n_fft=512, win_length=400, hop_length=160, n_mels=64, norm="slaney", mel_scale="slaney", center=False
    )
    ours = log_mel(sound, 16_000, 64)
    # torchaudio centres a window of 400 in one of 512: move the sound by the difference, and by our first margin
    moved = torch.from_numpy(np.pad(sound / np.abs(sound).max(), (120 + 56, 1000)))
    expected = torch.log10(theirs(moved).clamp(min=1e-10)).T.numpy()[:99] / 2
    assert ours.shape == (100, 64)
    assert np.allclose(ours[:99], expected, atol=1e-3)


def test_mel_power_is_that_of_torchaudio_and_librosa() -> None:
    torch, torchaudio = pytest.importorskip("torch"), pytest.importorskip("torchaudio")
    sound = np.random.default_rng(0).standard_normal(25_600).astype(np.float32)
    theirs = torchaudio.transforms.MelSpectrogram(
        16_000, n_fft=400, hop_length=160, n_mels=40, norm="slaney", mel_scale="slaney", pad_mode="constant"
    )
    ours = mel_power(sound, 16_000, 40)
    assert ours.shape == (160, 40)
    assert np.allclose(ours, theirs(torch.from_numpy(sound)).T.numpy()[:160], rtol=1e-4)
    # librosa 0.11: melspectrogram(y=sound, sr=16000, n_fft=400, hop_length=160, n_mels=40)
    assert np.allclose(ours[[0, 80, 159], [0, 20, 39]], LIBROSA, rtol=1e-5)


@pytest.mark.parametrize("count", [1, 79, 80, 81, 4000])
def test_frames_are_one_per_hop(count: int) -> None:
    assert log_mel(np.ones(count, np.float32), 8_000, 40).shape == (-(-count // 80), 40)


@pytest.mark.parametrize("scale", [0.0, 1e-40, 1e-6, 1.0, 1e38])
def test_loudness_changes_nothing_and_no_level_overflows(scale: float) -> None:
    tone = _tone(0.3, 8_000)
    features = normalise(log_mel(tone * np.float32(scale), 8_000, 64))
    assert np.isfinite(features).all()
    if scale >= 1e-6:
        assert np.allclose(features, normalise(log_mel(tone, 8_000, 64)), atol=1e-3)


def test_a_voice_is_stretched_like_its_frequencies_and_coloured() -> None:
    low, high = (log_mel(_tone(0.5, 8_000, hertz), 8_000, 64).mean(axis=0) for hertz in (1000.0, 1200.0))
    moved = change_voice(low[None], 8_000, {"stretch": 1.2, "colour_db": [0.0] * 4})[0]
    assert abs(int(moved.argmax()) - int(high.argmax())) <= 1
    same = change_voice(low[None], 8_000, {"stretch": 1.0, "colour_db": [0.0] * 4})[0]
    assert np.allclose(same, low, atol=1e-5)
    coloured = change_voice(low[None], 8_000, {"stretch": 1.0, "colour_db": [20.0, 0, 0, 0]})[0]
    assert coloured[0] - low[0] == pytest.approx(1.0, abs=0.01)  # 20 dB is one unit
    assert coloured[-1] - low[-1] == pytest.approx(-1.0, abs=0.01)


def test_mask_spectrum_hides_stretches_and_repeats_under_a_seed() -> None:
    features = np.ones((100, 64), np.float32)
    options = {"seed": 3, "bands": 2, "band_width": 10, "times": 2, "time_width": 0.2}
    masked = mask_spectrum(features, options)
    assert np.array_equal(masked, mask_spectrum(features, options))
    assert 0 < (masked == 0).mean() < 0.7
    assert (features == 1).all()  # the input is left alone
    hidden = (masked == 0).all(axis=0).sum() + (masked == 0).all(axis=1).sum()
    assert hidden > 0
    assert mask_spectrum(features[:1, :8], options).shape == (1, 8)
