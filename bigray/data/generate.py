"""Speech made by a synthesiser, for data sets with many voices and known words.

eSpeak NG (https://github.com/espeak-ng/espeak-ng) is called through its C interface; the optional package
``espeakng-loader`` brings the library and its voices. The library is GPL-3.0: it is used where it is installed and is
never part of an artifact; the sound it makes is not covered by that licence.
"""

from __future__ import annotations

import ctypes
import threading
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from bigray.errors import DataError, MissingPackage

SYNCHRONOUS = 2  # AUDIO_OUTPUT_SYNCHRONOUS: samples come through the callback, nothing is played
DONT_EXIT = 0x8000  # espeakINITIALIZE_DONT_EXIT: return an error where the library would end the process
RATE, PITCH = 1, 3  # espeak_PARAMETER
BY_CHARACTER, UTF8 = 1, 1
Callback = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.c_void_p)

_lock = threading.Lock()  # the library keeps one state per process


def speak(text: str, voice: str = "en-us", rate_wpm: int = 160, pitch: int = 50) -> tuple[np.ndarray, int]:
    """Return the text spoken, as float32 samples in -1..1 (mono), and their rate in Hz.

    Args:
        text: What to say, in the language of the voice.
        voice: Name of a voice, with a variant after a plus: ``en-us``, ``en`` (British), ``en-gb-scotland+f3``.
        rate_wpm: Speed in words per minute, 80 to 450.
        pitch: Base pitch, 0 to 99.

    Raises:
        MissingPackage: ``espeakng-loader`` is not installed.
        DataError: There is no such voice, or the text cannot be said.
    """
    library, sample_rate = _engine()
    heard: list[np.ndarray] = []

    def collect(samples: Any, count: int, _events: Any) -> int:
        if samples and count > 0:
            heard.append(np.ctypeslib.as_array(samples, (count,)).copy())
        return 0  # go on

    callback = Callback(collect)
    encoded = text.encode("utf-8") + b"\0"
    with _lock:
        if not _has_variant(voice) or library.espeak_SetVoiceByName(voice.encode()) != 0:
            raise DataError(
                f"eSpeak NG has no voice {voice!r}. Examples: en (British), en-us, en-gb-scotland, en-us+f2."
            )
        library.espeak_SetParameter(RATE, int(np.clip(rate_wpm, 80, 450)), 0)
        library.espeak_SetParameter(PITCH, int(np.clip(pitch, 0, 99)), 0)
        library.espeak_ng_SetRandSeed(ctypes.c_long(1))  # else breath and flutter depend on the clock
        library.espeak_SetSynthCallback(callback)
        library.espeak_Synth(encoded, len(encoded), 0, BY_CHARACTER, 0, UTF8, None, None)
        library.espeak_Synchronize()
    if not heard:
        raise DataError(f"eSpeak NG said nothing for {text!r} with the voice {voice!r}.")
    return np.concatenate(heard).astype(np.float32) / 32768.0, sample_rate


def _has_variant(voice: str) -> bool:
    """Say whether the part after the plus exists; the library itself would silently speak without it."""
    import espeakng_loader

    variant = voice.partition("+")[2]
    return not variant or Path(espeakng_loader.get_data_path(), "voices", "!v", variant).is_file()


@lru_cache(maxsize=1)
def _engine() -> tuple[ctypes.CDLL, int]:
    try:
        import espeakng_loader
    except ImportError:
        raise MissingPackage("Generated speech needs eSpeak NG: pip install espeakng-loader.") from None
    library = ctypes.CDLL(espeakng_loader.get_library_path())
    library.espeak_Synth.argtypes = [
        ctypes.c_char_p, ctypes.c_size_t, ctypes.c_uint, ctypes.c_int,
        ctypes.c_uint, ctypes.c_uint, ctypes.c_void_p, ctypes.c_void_p,
    ]  # fmt: skip
    library.espeak_SetSynthCallback.argtypes = [Callback]
    library.espeak_SetSynthCallback.restype = None
    library.espeak_SetVoiceByName.argtypes = [ctypes.c_char_p]
    rate = library.espeak_Initialize(SYNCHRONOUS, 0, espeakng_loader.get_data_path().encode(), DONT_EXIT)
    if rate <= 0:
        raise DataError("eSpeak NG could not read its voices. Reinstall espeakng-loader.")
    return library, int(rate)
