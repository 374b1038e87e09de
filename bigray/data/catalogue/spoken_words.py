"""Twelve English command words, each spoken by 100 generated voices: rows ``audio``, ``text``, ``speaker``.

WAV, 16 kHz mono, made with eSpeak NG (`bigray.data.generate`), each word with a speed and pitch drawn once for it. Use
``data.group_by: speaker`` so that test measures new voices. The first use takes some seconds; the recordings are then
kept in the cache. No licence conditions rest on the recordings.
"""

from bigray.data.catalogue._voices import SpokenWords

WORDS = ("yes", "no", "up", "down", "left", "right", "on", "off", "stop", "go", "start", "wait")

ENTRY = SpokenWords("spoken_words", WORDS)
