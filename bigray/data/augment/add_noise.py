"""Add noise to a recording, at a random distance below the speech."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

import numpy as np
from pydantic import AfterValidator

from bigray.data.augment.base import Augmentation, Row
from bigray.data.options import Options, Range, within


class AddNoiseOptions(Options):
    """How loud, and what it sounds like."""

    snr_db: Annotated[Range, AfterValidator(within(-10, 80))] = (10.0, 40.0)
    """Lowest and highest signal-to-noise ratio in dB, -10 to 80; at 0 both are equally strong."""
    colour: Literal["white", "pink"] = "white"
    """``white`` hisses; ``pink`` falls by 3 dB per octave, as rooms and machines do."""


class AddNoise(Augmentation):
    """Silence stays silent: there is no speech to measure noise against."""

    field = "audio"
    Options: ClassVar[type[Options]] = AddNoiseOptions

    def apply(self, row: Row, options: Any, rng: np.random.Generator) -> None:
        """Draw the ratio and the noise."""
        samples, rate = row["audio"]
        noise = rng.standard_normal(len(samples), dtype=np.float32)
        if options.colour == "pink" and len(samples) > 1:
            spectrum = np.fft.rfft(noise)
            spectrum /= np.sqrt(np.maximum(1, np.arange(len(spectrum))))
            noise = np.fft.irfft(spectrum, len(samples)).astype(np.float32)
        power = float(np.mean(samples**2)) if len(samples) else 0.0
        noise_power = float(np.mean(noise**2)) if len(samples) else 0.0
        if power == 0 or noise_power == 0:
            return
        gain = np.sqrt(power / noise_power / 10 ** (rng.uniform(*options.snr_db) / 10))
        row["audio"] = (np.clip(samples + np.float32(gain) * noise, -1, 1), rate)


AUGMENTATION = AddNoise()
