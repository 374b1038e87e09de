"""The ten English digits, spoken by 100 generated voices, two takes each: rows ``audio``, ``text``, ``speaker``.

Made as `bigray.data.catalogue.spoken_words`. Joined to recordings of a few people it teaches a recogniser what differs
between speakers: ``train: [recordings, "catalogue:spoken_digits"]``.
"""

from bigray.data.catalogue._voices import SpokenWords

DIGITS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")

ENTRY = SpokenWords("spoken_digits", DIGITS, takes=2)
