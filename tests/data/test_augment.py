import io

import numpy as np
import pytest
import soundfile
from PIL import Image

from bigray import plugins, recipe
from bigray.data import augment
from bigray.data.augment import base
from bigray.errors import InvalidInput, RecipeError, UnknownPlugin
from bigray.tasks._vision import decode_image

IMAGE_NAMES = ("flip", "rotate", "scale", "crop", "brightness")
RATE = 16_000


def change(row, name, field, *, seed=0, **options):
    item = recipe.Augmentation(name=name, probability=1, options=options)
    return augment.apply([row], [item], np.random.default_rng(seed), field)[0]


def bright_square(box, height=60, width=80):
    image = np.zeros((height, width, 3), np.uint8)
    xmin, ymin, xmax, ymax = box
    image[ymin:ymax, xmin:xmax] = 255
    return {"image": image, "boxes": [list(map(float, box))], "labels": ["a"]}


def found(image):
    rows, columns = np.nonzero(image[..., 0] > 200)
    return [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]


def png(image, **options):
    buffer = io.BytesIO()
    image.save(buffer, "PNG", **options)
    return buffer.getvalue()


def tone(seconds=0.5, level=0.3):
    return (level * np.sin(2 * np.pi * 440 * np.arange(int(seconds * RATE)) / RATE)).astype(np.float32)


def test_every_augmentation_is_known_for_its_field():
    assert augment.known("image") == sorted(IMAGE_NAMES)
    assert augment.known("text") == ["add_typos", "crop_words", "drop_words", "swap_words"]
    assert augment.known("audio") == [
        "add_noise",
        "add_silence",
        "change_speed",
        "change_voice",
        "excerpt",
        "gain",
        "mask_spectrum",
    ]
    assert len(plugins.names(augment.PACKAGE)) == 16


@pytest.mark.parametrize("name", ["flip", "scale", "crop"])
@pytest.mark.parametrize("seed", range(5))
def test_boxes_move_with_the_image(name, seed):
    row = bright_square((30, 20, 50, 44))
    new = change(row, name, "image", seed=seed)
    assert new["image"].shape == row["image"].shape
    np.testing.assert_allclose(new["boxes"][0], found(new["image"]), atol=1.0)
    assert new["labels"] == ["a"]


def test_a_flipped_box_is_exact():
    row = bright_square((10, 5, 30, 25))
    assert change(row, "flip", "image")["boxes"] == [[50.0, 5.0, 70.0, 25.0]]
    assert change(row, "flip", "image", direction="vertical")["boxes"] == [[10.0, 35.0, 30.0, 55.0]]


def test_a_turned_box_encloses_the_turned_object():
    for seed in range(5):
        new = change(bright_square((30, 20, 50, 44)), "rotate", "image", seed=seed, degrees=20)
        seen, box = found(new["image"]), new["boxes"][0]
        assert box[0] <= seen[0] + 1
        assert box[1] <= seen[1] + 1
        assert box[2] >= seen[2] - 1
        assert box[3] >= seen[3] - 1
        assert (box[2] - box[0]) * (box[3] - box[1]) < 2.2 * 20 * 24


def test_boxes_that_leave_the_image_are_dropped_with_their_labels():
    row = bright_square((30, 20, 50, 44))
    row["boxes"].append([0.0, 0.0, 6.0, 6.0])
    row["labels"].append("corner")
    new = change(row, "scale", "image", factor=[2, 2])
    assert new["labels"] == ["a"]
    assert new["boxes"] == [[20.0, 10.0, 60.0, 58.0]]
    assert row["labels"] == ["a", "corner"]


@pytest.mark.parametrize("name", IMAGE_NAMES)
def test_images_are_decoded_once_and_never_written_to(name):
    pixels = np.random.default_rng(0).integers(0, 256, (24, 32, 3), np.uint8)
    data = png(Image.fromarray(pixels))
    new = change({"image": data, "label": "x"}, name, "image")
    assert new["image"].dtype == np.uint8
    assert new["image"].shape == (24, 32, 3)
    assert new["label"] == "x"
    kept = pixels.copy()
    again = change({"image": pixels, "label": "x"}, name, "image")
    assert (pixels == kept).all()
    assert (again["image"] == new["image"]).all()


def test_images_are_decoded_as_the_tasks_decode_them():
    rng = np.random.default_rng(0)
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by 90 degrees
    colours = Image.fromarray(rng.integers(0, 256, (5, 7, 3), np.uint8))
    files = [
        png(colours, exif=exif),
        png(Image.fromarray(rng.integers(0, 256, (5, 7, 4), np.uint8))),
        png(Image.fromarray(rng.integers(0, 65536, (5, 7), np.uint16))),
        png(Image.fromarray(rng.integers(0, 256, (5, 7), np.uint8))),
        png(colours.convert("P"), transparency=3),
        png(colours.convert("1")),
    ]
    for data in files:
        np.testing.assert_array_equal(base.decode(data, "image"), decode_image(data))


def test_probability_and_seed_decide():
    rows = [bright_square((10, 5, 30, 25)) for _ in range(400)]
    item = recipe.Augmentation(name="flip", probability=0.25)
    flipped = [row["boxes"][0][0] == 50 for row in augment.apply(rows, [item], np.random.default_rng(1), "image")]
    assert 70 < sum(flipped) < 130
    again = [row["boxes"][0][0] == 50 for row in augment.apply(rows, [item], np.random.default_rng(1), "image")]
    assert flipped == again


def test_untouched_rows_keep_their_bytes():
    item = recipe.Augmentation(name="flip", probability=1e-9)
    rows = [{"image": b"never decoded", "label": "a"}]
    assert augment.apply(rows, [item], np.random.default_rng(0), "image") == rows


def test_words_are_dropped_swapped_and_mistyped():
    text = " ".join(f"word{number}" for number in range(50))
    dropped = change({"text": text, "label": "a"}, "drop_words", "text", fraction=0.2)["text"].split()
    assert 30 < len(dropped) < 50
    assert set(dropped) < set(text.split())
    swapped = change({"text": text}, "swap_words", "text")["text"]
    assert swapped != text
    assert sorted(swapped.split()) == sorted(text.split())
    typed = change({"text": text}, "add_typos", "text", rate=0.1)["text"]
    assert typed != text
    assert len(typed.split()) == 50
    assert [c for c in typed if c.isdigit()] == [c for c in text if c.isdigit()]


def test_a_stretch_of_words_stays():
    words = [f"word{number}" for number in range(20)]
    sizes = set()
    for seed in range(60):
        left = change({"text": " ".join(words)}, "crop_words", "text", seed=seed, share=[0.2, 0.6])["text"].split()
        assert left == words[words.index(left[0]) :][: len(left)]
        sizes.add(len(left))
    assert min(sizes) >= 4
    assert max(sizes) <= 12
    assert len(sizes) > 4
    assert change({"text": "three  words stay"}, "crop_words", "text", share=[0.05, 0.1])["text"] == "three  words stay"


@pytest.mark.parametrize("name", ["crop_words", "drop_words", "swap_words", "add_typos"])
@pytest.mark.parametrize("text", ["a", "one two", "日本", "ß 1"])
def test_text_never_vanishes(name, text):
    options = {"add_typos": {"rate": 0.5}, "drop_words": {"fraction": 0.99}, "crop_words": {"words": 1}}.get(name, {})
    for seed in range(30):
        assert change({"text": text}, name, "text", seed=seed, **options)["text"].strip()


@pytest.mark.parametrize("colour", ["white", "pink"])
def test_noise_has_the_ratio_asked_for(colour):
    clean = tone()
    noisy, rate = change({"audio": (clean, RATE)}, "add_noise", "audio", snr_db=[20, 20], colour=colour)["audio"]
    ratio = 10 * np.log10(np.mean(clean**2) / np.mean((noisy - clean) ** 2))
    assert ratio == pytest.approx(20, abs=0.1)
    assert (rate, noisy.dtype) == (RATE, np.float32)


def test_silence_is_put_at_both_ends():
    clean = tone()
    longer, rate = change({"audio": (clean, RATE)}, "add_silence", "audio", seconds=[0.1, 0.1])["audio"]
    ends = RATE // 10
    assert (rate, longer.dtype, len(longer)) == (RATE, np.float32, len(clean) + 2 * ends)
    np.testing.assert_array_equal(longer[ends:-ends], clean)
    assert not longer[:ends].any()
    assert not longer[-ends:].any()


def test_gain_speed_and_masks():
    clean = tone()
    buffer = io.BytesIO()
    soundfile.write(buffer, np.column_stack([clean, clean]), RATE, format="WAV", subtype="FLOAT")
    row = {"audio": buffer.getvalue(), "text": "a"}
    louder, rate = change(row, "gain", "audio", gain_db=[6, 6])["audio"]
    np.testing.assert_allclose(louder, clean * 10 ** (6 / 20), rtol=1e-5)
    assert rate == RATE
    fast, rate = change(row, "change_speed", "audio", factor=[1.25, 1.25])["audio"]
    assert len(fast) == pytest.approx(len(clean) / 1.25, abs=2)
    assert (rate, fast.dtype) == (RATE, np.float32)
    peak = np.argmax(np.abs(np.fft.rfft(fast))) * RATE / len(fast)
    assert peak == pytest.approx(440 * 1.25, abs=3)
    masks = change(row, "mask_spectrum", "audio", bands=3)["mask_spectrum"]
    assert masks["bands"] == 3
    assert masks.keys() == {"bands", "band_width", "times", "time_width", "seed"}
    voice = change(row, "change_voice", "audio", stretch=[0.9, 1.1], colour_db=0)["change_voice"]
    assert 0.9 <= voice["stretch"] <= 1.1
    assert voice["colour_db"] == [0, 0, 0, 0]


def test_an_excerpt_is_a_stretch_of_the_recording():
    clean = np.arange(RATE, dtype=np.float32)
    starts = set()
    for seed in range(5):
        piece, rate = change({"audio": (clean, RATE)}, "excerpt", "audio", seed=seed, seconds=[0.25, 0.5])["audio"]
        assert RATE // 4 <= len(piece) <= RATE // 2
        assert (np.diff(piece) == 1).all()
        assert rate == RATE
        starts.add(float(piece[0]))
    assert len(starts) > 1
    assert len(change({"audio": (clean, RATE)}, "excerpt", "audio", seconds=[5, 6])["audio"][0]) == RATE


def test_silence_and_short_sounds_pass():
    for length in (1, 100):
        for name in ("add_noise", "gain", "change_speed"):
            samples, _ = change({"audio": (np.zeros(length, np.float32), RATE)}, name, "audio")["audio"]
            assert len(samples)
            assert not samples.any()


@pytest.mark.parametrize(
    ("item", "task", "error", "message"),
    [
        ({"name": "flop"}, "image_classification", UnknownPlugin, "Did you mean 'flip'"),
        ({"name": "flip"}, "text_classification", RecipeError, "For text there are: add_typos, crop_words, drop_words"),
        ({"name": "flip", "options": {"axis": 1}}, "object_detection", RecipeError, "options.axis: unknown setting"),
        ({"name": "rotate", "options": {"degrees": 500}}, "object_detection", RecipeError, r"options\.degrees"),
        ({"name": "scale", "options": {"factor": [2, 1]}}, "object_detection", RecipeError, "low <= high"),
        ({"name": "gain", "options": {"gain_db": [0, 99]}}, "automatic_speech_recognition", RecipeError, "-60 to 40"),
    ],
)
def test_mistakes_are_explained(item, task, error, message):
    with pytest.raises(error, match=message):
        augment.check([recipe.Augmentation(**item)], task)


def test_a_mistake_is_found_where_it_stands():
    with pytest.raises(RecipeError, match=r"compress\.augment\.0: 'flip' changes image"):
        augment.check([recipe.Augmentation(name="flip")], "text_classification", "compress")


def test_broken_media_is_no_traceback_of_a_decoder():
    with pytest.raises(InvalidInput, match="training row's image cannot be decoded"):
        change({"image": b"broken"}, "flip", "image")
