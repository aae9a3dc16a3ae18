"""Bytes to a square RGB array: whatever a photo folder holds, either pixels and notes, or a reason why not."""

from __future__ import annotations

import io
import warnings
from dataclasses import dataclass

import numpy as np
from PIL import ExifTags, Image, ImageOps, TiffImagePlugin, UnidentifiedImageError

MAX_PIXELS = 89_478_485
"""A quarter of a GiB as RGB; Pillow warns of a decompression bomb from here on."""
FILTER = "lanczos"
"""How pictures are scaled, antialiased; recorded with every pack."""

_FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "DIB", "GIF", "TIFF")
_GREY = {"1", "L"}
_DEEP = {"I", "I;16", "I;16B", "I;16L", "I;16N", "F"}


class BadImageError(Exception):
    """A file is no image that can be used; the text is the reason."""


@dataclass(frozen=True)
class Decoded:
    """One image as it is packed, and what was done to it.

    Attributes:
        pixels: uint8 [side, side, 3].
        width: Of the file, in pixels, before any change.
        height: Likewise.
        mode: Pillow's name of the file's pixel format.
        notes: What had to be done besides scaling and cropping.
    """

    pixels: np.ndarray
    width: int
    height: int
    mode: str
    notes: tuple[str, ...]


def decode(data: bytes, side: int) -> Decoded:
    """Decode an image, scale its shorter side to ``side`` and cut the central square out.

    The EXIF orientation is applied, alpha is put over white, the first frame stands for a moving picture, and
    more than 8 bits a channel become 8. Colour profiles are not applied.

    Args:
        data: The bytes of a JPEG, PNG, WebP, BMP, GIF or TIFF file, whatever its name.
        side: Side of the square, in pixels.

    Raises:
        BadImageError: It cannot be decoded, or should not be.
    """
    if not data:
        raise BadImageError("empty file")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            with Image.open(io.BytesIO(data), formats=_FORMATS) as image:
                return _square(image, data, side)
        except BadImageError:
            raise
        except Image.DecompressionBombError:
            raise BadImageError("too many pixels, perhaps a decompression bomb") from None
        except UnidentifiedImageError:
            raise BadImageError("not an image") from None
        except MemoryError:
            raise BadImageError("needs more memory than there is") from None
        # A damaged file can fail in every decoder in its own way; each such failure is this file's, not ours.
        except Exception as error:
            raise BadImageError(_reason(error)) from None


def _square(image: Image.Image, data: bytes, side: int) -> Decoded:
    width, height = image.size
    mode = image.mode
    if width * height > MAX_PIXELS:
        raise BadImageError(f"too many pixels, perhaps a decompression bomb: {width} x {height}")
    notes: list[str] = []
    if getattr(image, "is_animated", False) and image.format != "MPO":
        notes.append("first of several frames")
    if mode not in _DEEP and _has_deep_colour(image, data):
        notes.append("more than 8 bits")
    # A JPEG can be decoded at a fraction of its size: never below twice what is kept, so that the filter decides.
    image.draft(None, (2 * side, 2 * side))
    image.load()
    image = _upright(image, notes)
    image = _as_rgb(image, notes)
    w, h = image.size
    short = min(w, h)
    if short < side:
        notes.append("enlarged")
    left, top = (w - short) / 2, (h - short) / 2
    box = (left, top, left + short, top + short)
    square = image.resize((side, side), Image.Resampling.LANCZOS, box=box)
    return Decoded(np.asarray(square), width, height, mode, tuple(notes))


def _has_deep_colour(image: Image.Image, data: bytes) -> bool:
    """Return whether Pillow has no mode for the file's bits, and decodes the upper eight of them."""
    if isinstance(image, TiffImagePlugin.TiffImageFile):
        return max(image.tag_v2.get(TiffImagePlugin.BITSPERSAMPLE, (1,))) > 8
    return image.format == "PNG" and data[24:25] == b"\x10"


def _upright(image: Image.Image, notes: list[str]) -> Image.Image:
    """Apply the EXIF orientation; one that cannot be read counts as none."""
    try:
        if image.getexif().get(ExifTags.Base.Orientation, 1) in range(2, 9):
            image = ImageOps.exif_transpose(image)
            notes.append("turned by its EXIF orientation")
    except Exception:
        notes.append("unreadable EXIF")
    return image


def _as_rgb(image: Image.Image, notes: list[str]) -> Image.Image:
    if image.mode in _DEEP:
        notes += ["grey", "more than 8 bits"]
        return _eight_bits(image).convert("RGB")
    if image.mode in ("P", "PA"):
        notes.append("palette")
    elif image.mode in ("CMYK", "YCbCr", "LAB", "HSV"):
        notes.append("CMYK" if image.mode == "CMYK" else "other colour space")
    elif image.mode in _GREY or image.mode in ("LA", "La"):
        notes.append("grey")
    if image.mode in ("RGBa", "La"):
        image = image.convert("RGBA" if image.mode == "RGBa" else "LA")
    if "A" in image.getbands() or "transparency" in image.info:
        image = image.convert("RGBA")
        if image.getchannel("A").getextrema() != (255, 255):
            notes.append("alpha over white")
            image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return image.convert("RGB")


def _eight_bits(image: Image.Image) -> Image.Image:
    """Return grey of 16 bits as its upper 8; other integers and floats are spread from their least to their largest."""
    values = np.asarray(image).astype(np.float64)
    if not np.isfinite(values).all():
        raise BadImageError("values that are not finite")
    low, high = float(values.min()), float(values.max())
    if image.mode.startswith("I;16") or (image.mode == "I" and low >= 0 and 255 < high <= 65535):
        low, high = 0.0, 65535.0
    elif low >= 0 and high <= 255 and image.mode == "I":
        low, high = 0.0, 255.0
    scaled = (values - low) * (255.0 / (high - low or 1.0))
    return Image.fromarray(np.rint(scaled).astype(np.uint8))


def _reason(error: Exception) -> str:
    """Return Pillow's complaint in one line, without what differs from run to run."""
    text = " ".join(str(error).split())
    if "truncated" in text.lower() or isinstance(error, EOFError):
        return "truncated"
    if "<" in text or not text:
        return "damaged"
    return f"damaged: {text}"
