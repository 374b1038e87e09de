"""The image decoder: what it accepts, what it refuses and how, and that boxes survive the letterbox."""

import io
import struct
import warnings
import zlib

import numpy as np
import pytest
from PIL import Image, PngImagePlugin

from bigray.errors import BigrayError, InvalidInput, TooLarge, UnsupportedMedia
from bigray.tasks._vision import MAX_FRAMES, decode_image, fitted, header_size, letterbox, sample_image, to_pixels


def encoded(image: Image.Image, kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def png(width: int, height: int, bits: int = 8, colour: int = 2, *, extra: bytes = b"", body: bytes = b"") -> bytes:
    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + extra + chunk(b"IDAT", body) + chunk(b"IEND", b"")


PHOTO = Image.fromarray(np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8))


@pytest.mark.parametrize("kind", ["PNG", "BMP", "PPM"])
def test_lossless_formats_give_the_exact_pixels(kind: str) -> None:
    assert np.array_equal(decode_image(encoded(PHOTO, kind)), np.asarray(PHOTO))


@pytest.mark.parametrize("kind", ["JPEG", "WEBP", "GIF"])
def test_lossy_formats_give_an_image_of_that_size(kind: str) -> None:
    assert decode_image(encoded(PHOTO, kind)).shape == (20, 30, 3)


def test_pgm_is_grey() -> None:
    grey = np.arange(12, dtype=np.uint8).reshape(3, 4)
    assert np.array_equal(decode_image(b"P5 4 3 255\n" + grey.tobytes()), np.repeat(grey[..., None], 3, axis=2))


def test_arrays_pass_and_are_checked() -> None:
    pixels = np.asarray(PHOTO)
    assert decode_image(pixels) is pixels
    for bad in (pixels.astype(np.float32), pixels[..., 0], np.zeros((0, 3, 3), np.uint8)):
        with pytest.raises(InvalidInput):
            decode_image(bad)


SVG = b"<svg xmlns='http://www.w3.org/2000/svg'/>"
BAD: dict[str, tuple[object, type[BigrayError], str]] = {
    "empty": (b"", InvalidInput, "empty_media"),
    "no bytes": ("text", InvalidInput, "wrong_type"),
    "svg": (SVG, UnsupportedMedia, "unsupported_media"),
    "eps": (b"%!PS-Adobe-3.0 EPSF-3.0\n", UnsupportedMedia, "unsupported_media"),
    "tiff": (encoded(PHOTO, "TIFF"), UnsupportedMedia, "unsupported_media"),
    "wave": (b"RIFF\x24\x00\x00\x00WAVEfmt ", UnsupportedMedia, "unsupported_media"),
    "truncated png": (encoded(PHOTO, "PNG")[:300], InvalidInput, "corrupt_image"),
    "truncated jpeg": (encoded(PHOTO, "JPEG")[:400], InvalidInput, "corrupt_image"),
    "truncated webp": (encoded(PHOTO, "WEBP")[:100], InvalidInput, "corrupt_image"),
    "truncated gif": (encoded(PHOTO, "GIF")[:100], InvalidInput, "corrupt_image"),
    "only a signature": (b"\x89PNG\r\n\x1a\n", InvalidInput, "corrupt_image"),
    "65535 x 65535": (png(65535, 65535), TooLarge, "image_too_large"),
    "13000 x 13000, 1 bit": (png(13000, 13000, 1, 0), TooLarge, "image_too_large"),
    "1 x 60,000,000": (png(1, 60_000_000, 1, 0), TooLarge, "image_too_large"),
    "0 x 0": (png(0, 0), InvalidInput, "corrupt_image"),
    "pfm": (b"Pf\n2 2\n-1.0\n" + b"\x00" * 16, UnsupportedMedia, "unsupported_media"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_images_are_refused_by_name(name: str) -> None:
    value, kind, code = BAD[name]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with pytest.raises(kind) as caught:
            decode_image(value, "/inputs/0")
    assert caught.value.code == code
    assert caught.value.pointer == "/inputs/0"


def test_a_flipped_bit_in_the_header_is_found() -> None:
    data = bytearray(encoded(PHOTO, "PNG"))
    data[29] ^= 1  # the checksum of IHDR
    with pytest.raises(InvalidInput):
        decode_image(bytes(data))


def test_a_text_chunk_that_inflates_without_end_is_refused() -> None:
    content = b"Comment\x00\x00" + zlib.compress(b"\x00" * 70_000_000, 9)
    bomb = struct.pack(">I", len(content)) + b"zTXt" + content + struct.pack(">I", zlib.crc32(b"zTXt" + content))
    with pytest.raises(InvalidInput):
        decode_image(png(1, 1, extra=bomb, body=zlib.compress(b"\x00" * 4)))


def test_long_animations_are_refused_and_short_ones_give_their_first_frame() -> None:
    frames = [Image.new("RGB", (4, 4), (10 * number, 0, 0)) for number in range(MAX_FRAMES + 1)]
    with pytest.raises(InvalidInput, match="17 frames") as caught:
        decode_image(encoded(frames[0], "GIF", save_all=True, append_images=frames[1:]))
    assert caught.value.code == "too_many_frames"
    red, blue = Image.new("RGB", (4, 4), (255, 0, 0)), Image.new("RGB", (4, 4), (0, 0, 255))
    assert decode_image(encoded(red, "GIF", save_all=True, append_images=[blue]))[0, 0].tolist() == [255, 0, 0]


def test_exif_orientation_is_applied() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees
    assert decode_image(encoded(PHOTO, "PNG", exif=exif)).shape == (30, 20, 3)


def test_transparency_is_shown_on_white() -> None:
    clear = Image.new("RGBA", (2, 2), (200, 0, 0, 0))
    assert decode_image(encoded(clear, "PNG")).min() == 255
    palette = PHOTO.convert("P")
    assert decode_image(encoded(palette, "PNG", transparency=palette.getpixel((0, 0))))[0, 0].tolist() == [255] * 3


def test_sixteen_bits_are_scaled_and_not_cut_off() -> None:
    deep = Image.fromarray(np.array([[0, 32768, 65535]], dtype=np.uint16))
    assert decode_image(encoded(deep, "PNG"))[0, :, 0].tolist() == [0, 128, 255]
    assert decode_image(b"P5 2 1 65535\n\x00\x00\xff\xff")[0, :, 0].tolist() == [0, 255]


def test_cmyk_looks_like_its_rgb() -> None:
    ink = Image.new("RGB", (8, 8), (200, 50, 50)).convert("CMYK")
    assert np.abs(decode_image(encoded(ink, "JPEG", quality=95)).astype(int) - [200, 50, 50]).max() < 12


def test_text_chunks_and_trailing_data_do_no_harm() -> None:
    info = PngImagePlugin.PngInfo()
    info.add_text("Comment", "hello", zip=True)
    assert np.array_equal(decode_image(encoded(PHOTO, "PNG", pnginfo=info) + b"PK\x03\x04"), np.asarray(PHOTO))


def test_letterbox_keeps_the_aspect_and_the_place() -> None:
    image = np.zeros((100, 200, 3), np.uint8)
    image[40:60, 100:140] = 255
    height, width = fitted(100, 200, (96, 96))
    assert (height, width) == (48, 96)
    framed = letterbox(image, (96, 96))
    rows, columns = np.nonzero(framed[:height, :, 0] > 127)
    scale = width / 200
    assert np.allclose([columns.min(), columns.max() + 1], [100 * scale, 140 * scale], atol=1)
    assert np.allclose([rows.min(), rows.max() + 1], [40 * scale, 60 * scale], atol=1)
    assert (framed[height:] == 114).all()


def test_pixels_are_normalised_per_colour() -> None:
    image = np.full((2, 2, 3), [0, 51, 255], np.uint8)
    pixels = to_pixels([image], mean=(0.5, 0.2, 0.0), std=(0.5, 1.0, 2.0))
    assert pixels.shape == (1, 3, 2, 2)
    assert pixels.dtype == np.float32
    assert np.allclose(pixels[0, :, 0, 0], [-1.0, 0.0, 0.5], atol=1e-6)


def test_sample_images_are_the_same_each_time() -> None:
    assert sample_image(20, 30, 1) == sample_image(20, 30, 1) != sample_image(20, 30, 2)
    assert header_size(sample_image(20, 30, 1)) == (20, 30)
    assert header_size(b"nothing") is header_size(None) is None
