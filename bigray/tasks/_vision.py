"""What the image tasks share: a decoder that bounds what a file may cost, resizing, and pixels as network input.

Limits are checked on the header, before any pixel is decoded: a 70-byte PNG may claim gigabytes. No torch.
"""

from __future__ import annotations

import io
import statistics
from collections.abc import Mapping, Sequence
from typing import NoReturn

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from bigray.errors import InvalidInput, TooLarge, UnsupportedMedia

MAX_PIXELS = 25_000_000
"""Width times height of an image at most."""
MAX_SIDE = 16_384
"""Width or height of an image in pixels at most."""
MAX_FRAMES = 16
"""Frames of an animation at most; the first one is used."""

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
"""Mean and deviation of red, green and blue over ImageNet, for pixels from 0 to 1; what torchvision's weights expect."""

_SIGNATURES: dict[str, tuple[bytes, ...]] = {
    "PNG": (b"\x89PNG\r\n\x1a\n",),
    "JPEG": (b"\xff\xd8\xff",),
    "WEBP": (b"RIFF",),
    "GIF": (b"GIF87a", b"GIF89a"),
    "BMP": (b"BM",),
    "PPM": (b"P1", b"P2", b"P3", b"P4", b"P5", b"P6"),
}
"""Formats read, by Pillow's name, and how their files begin."""


def decode_image(value: object, pointer: str = "/inputs") -> np.ndarray:
    """Return an image as RGB, (H, W, 3) uint8, turned upright by its EXIF orientation.

    Transparent pixels are shown on white; 16-bit grey is scaled to 8 bits; colour profiles are not applied. An array
    of that shape and type is returned as it is.

    Args:
        value: Bytes of a PNG, JPEG, WebP, GIF, BMP or PPM/PGM file, or an array.
        pointer: Where the value came from, for the error.

    Raises:
        InvalidInput: Empty, broken, or an animation of more than `MAX_FRAMES`.
        TooLarge: Over `MAX_PIXELS` or `MAX_SIDE`.
        UnsupportedMedia: Not one of the formats above.
    """
    if isinstance(value, np.ndarray):
        return _check_array(value, pointer)
    if not isinstance(value, bytes | bytearray | memoryview):
        raise InvalidInput(f"{pointer} must be the bytes of an image.", code="wrong_type", pointer=pointer)
    data = bytes(value)
    if not data:
        raise InvalidInput("The image is empty (0 bytes).", code="empty_media", pointer=pointer)
    kind = next((kind for kind, starts in _SIGNATURES.items() if data.startswith(starts)), None)
    if kind is None or (kind == "WEBP" and data[8:12] != b"WEBP"):
        _refuse(pointer)
    try:
        with Image.open(io.BytesIO(data), formats=[kind]) as image:
            _check_size(*image.size, pointer)
            _check_frames(image, pointer)
            return np.asarray(_upright_rgb(image, pointer))
    except (InvalidInput, TooLarge, UnsupportedMedia):
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise TooLarge(_too_large("it"), code="image_too_large", pointer=pointer) from None
    except Exception as error:  # Pillow's readers raise OSError, SyntaxError, ValueError, EOFError, zlib.error, ...
        what = "is not complete or not valid" if isinstance(error, UnidentifiedImageError | OSError) else "is not valid"
        raise InvalidInput(f"The {kind} image {what}.", code="corrupt_image", pointer=pointer) from None


def resize(image: np.ndarray, height: int, width: int) -> np.ndarray:
    """Return the image (H, W, 3) at another size; bilinear, and averaging where it shrinks."""
    if image.shape[:2] == (height, width):
        return image
    return np.asarray(Image.fromarray(image).resize((width, height), Image.Resampling.BILINEAR))


def fitted(height: int, width: int, frame: tuple[int, int]) -> tuple[int, int]:
    """Return the (height, width) of an image once it is made to fit into a (height, width) frame, aspect kept."""
    scale = min(frame[0] / height, frame[1] / width)
    return max(1, min(frame[0], round(height * scale))), max(1, min(frame[1], round(width * scale)))


def letterbox(image: np.ndarray, frame: tuple[int, int]) -> np.ndarray:
    """Return the image fitted into the top left corner of a (height, width) frame; the rest is mid-grey.

    A point (x, y) of the image is at (x * w' / w, y * h' / h) in the frame, with (h', w') from `fitted`.
    """
    height, width = fitted(image.shape[0], image.shape[1], frame)
    canvas = np.full((*frame, 3), 114, dtype=np.uint8)
    canvas[:height, :width] = resize(image, height, width)
    return canvas


def to_pixels(images: Sequence[np.ndarray], mean: Sequence[float], std: Sequence[float]) -> np.ndarray:
    """Return images of one size (H, W, 3) uint8 as (N, 3, H, W) float32, normalised per colour.

    Args:
        mean: Of red, green and blue, for pixels from 0 to 1.
        std: Likewise.
    """
    deviation = np.asarray(std, dtype=np.float32)
    scale = np.float32(1 / 255) / deviation
    shift = np.asarray(mean, dtype=np.float32) / deviation
    pixels = np.stack(images).astype(np.float32) * scale - shift
    return np.ascontiguousarray(pixels.transpose(0, 3, 1, 2))


def sample_image(height: int, width: int, number: int) -> bytes:
    """Return a JPEG of smooth random colours, always the same for the same number; for warm-up and timing."""
    coarse = np.random.default_rng(number).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(resize(coarse, height, width)).save(buffer, "JPEG", quality=90)
    return buffer.getvalue()


def header_size(value: object) -> tuple[int, int] | None:
    """Return (height, width) from an image's header or array; None when there is none to read."""
    if isinstance(value, np.ndarray) and value.ndim == 3:
        return int(value.shape[0]), int(value.shape[1])
    try:
        with Image.open(io.BytesIO(value), formats=list(_SIGNATURES)) as image:  # type: ignore[arg-type]
            return image.height, image.width
    except Exception:  # a broken row is reported by the reader of the data, which knows its file and line
        return None


def usual_side(rows: Sequence[Mapping[str, object]], large: int, tiny: int) -> int:
    """Return the side in pixels that suits images.

    Their own shorter one, to a multiple of 8, when its median is at most ``tiny``; else, and without images, ``large``.
    """
    sizes = [size for row in rows[:256] if (size := header_size(row.get("image")))]
    if not sizes:
        return large
    side = statistics.median(min(size) for size in sizes)
    return max(8, round(side / 8) * 8) if side <= tiny else large


def _check_array(value: np.ndarray, pointer: str) -> np.ndarray:
    if value.dtype != np.uint8 or value.ndim != 3 or value.shape[2] != 3 or 0 in value.shape:
        raise InvalidInput(
            f"{pointer}: an image array must be (height, width, 3) uint8, not {value.shape} {value.dtype}.",
            code="wrong_type",
            pointer=pointer,
        )
    _check_size(value.shape[1], value.shape[0], pointer)
    return value


def _check_size(width: int, height: int, pointer: str) -> None:
    if width < 1 or height < 1:
        raise InvalidInput(f"The image is {width} x {height} pixels.", code="corrupt_image", pointer=pointer)
    if width * height > MAX_PIXELS or max(width, height) > MAX_SIDE:
        raise TooLarge(_too_large(f"{width} x {height}"), code="image_too_large", pointer=pointer)


def _check_frames(image: Image.Image, pointer: str) -> None:
    frames = getattr(image, "n_frames", 1)
    if frames > MAX_FRAMES:
        raise InvalidInput(
            f"The image has {frames} frames; at most {MAX_FRAMES} are accepted. Send a still image.",
            code="too_many_frames",
            pointer=pointer,
        )
    if frames > 1:
        image.seek(0)


def _upright_rgb(image: Image.Image, pointer: str) -> Image.Image:
    image.load()
    turned = ImageOps.exif_transpose(image)
    if turned.mode == "RGB" and "transparency" not in turned.info:
        return turned
    if turned.mode.startswith("I"):
        grey = np.asarray(turned).astype(np.float32) / 257.0
        return Image.fromarray(np.rint(grey).clip(0, 255).astype(np.uint8)).convert("RGB")
    if turned.mode in {"RGBA", "LA", "PA", "La", "RGBa"} or "transparency" in turned.info:
        white = Image.new("RGBA", turned.size, (255, 255, 255, 255))
        return Image.alpha_composite(white, turned.convert("RGBA")).convert("RGB")
    if turned.mode in {"1", "L", "P", "CMYK", "YCbCr", "RGBX"}:
        return turned.convert("RGB")
    raise UnsupportedMedia(
        f"Images with pixels of kind {turned.mode!r} are not accepted. Send 8-bit RGB.", pointer=pointer
    )


def _too_large(size: str) -> str:
    return (
        f"The image is too large ({size} pixels): at most {MAX_PIXELS // 1_000_000} million pixels and {MAX_SIDE} on a "
        "side are accepted. Scale it down."
    )


def _refuse(pointer: str) -> NoReturn:
    raise UnsupportedMedia(
        "The data is no image of a kind accepted here. Allowed: PNG, JPEG, WebP, GIF, BMP, PPM/PGM.", pointer=pointer
    )
