from __future__ import annotations

import io
import struct
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import ExifTags, Image

from rotogbml.sources.decode import BadImageError, decode


def saved(image: Image.Image, kind: str = "PNG", **options) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def tiff(width: int, height: int, channels: int, pixels: bytes) -> bytes:
    """Return a TIFF of 16 bits a channel put together by hand."""
    fields = [(256, 1, width), (257, 1, height), (258, channels, 122), (259, 1, 1), (262, 1, 2)]
    fields += [(273, 1, 122 + 2 * channels), (277, 1, channels), (278, 1, height), (279, 1, len(pixels))]
    listed = b"".join(struct.pack("<2H2I", tag, 3, count, value) for tag, count, value in fields)
    head = b"II*\0" + struct.pack("<IH", 8, len(fields)) + listed + bytes(4)
    return head + struct.pack(f"<{channels}H", *[16] * channels) + pixels


def png(width: int, height: int, bits: int, rows: bytes) -> bytes:
    """Return an RGB PNG put together by hand."""

    def chunk(name: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))

    header = chunk(b"IHDR", struct.pack(">2I5B", width, height, bits, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def gradient(width: int, height: int) -> Image.Image:
    x, y = np.meshgrid(np.linspace(0, 255, width), np.linspace(0, 255, height))
    return Image.fromarray(np.stack([x, y, 255 - x], axis=-1).astype(np.uint8))


class TestGeometry:
    @given(width=st.integers(1, 60), height=st.integers(1, 60), side=st.integers(1, 40))
    @settings(max_examples=60, deadline=None)
    def test_any_size_becomes_the_square(self, width, height, side):
        image = decode(saved(gradient(width, height)), side)
        assert image.pixels.shape == (side, side, 3)
        assert image.pixels.dtype == np.uint8
        assert (image.width, image.height) == (width, height)
        assert ("enlarged" in image.notes) == (min(width, height) < side)

    def test_native_size_is_kept_bit_for_bit(self):
        picture = gradient(20, 20)
        assert (decode(saved(picture), 20).pixels == np.asarray(picture)).all()

    @pytest.mark.parametrize(("width", "height"), [(30, 20), (20, 30)])
    def test_the_centre_is_cut_out(self, width, height):
        picture = gradient(width, height)
        left, top = (width - 20) // 2, (height - 20) // 2
        expected = np.asarray(picture)[top : top + 20, left : left + 20]
        assert (decode(saved(picture), 20).pixels == expected).all()

    def test_scaling_is_antialiased(self):
        stripes = np.zeros((200, 200, 3), np.uint8)
        stripes[:, ::2] = 255
        pixels = decode(saved(Image.fromarray(stripes)), 20).pixels
        assert abs(pixels.astype(int) - 128).max() <= 8

    def test_a_large_jpeg_decoded_at_a_fraction_looks_the_same(self):
        picture = Image.fromarray(np.random.default_rng(0).integers(0, 256, (12, 16, 3), dtype=np.uint8))
        data = saved(picture.resize((1600, 1200), Image.Resampling.BICUBIC), "JPEG", quality=95)
        with Image.open(io.BytesIO(data)) as whole:
            reference = whole.crop((200, 0, 1400, 1200)).resize((64, 64), Image.Resampling.LANCZOS)
        difference = np.abs(decode(data, 64).pixels.astype(int) - np.asarray(reference).astype(int))
        assert difference.mean() < 1.0
        assert difference.max() <= 12

    def test_a_very_long_image_takes_no_memory(self):
        image = decode(saved(gradient(20000, 2)), 96)
        assert image.pixels.shape == (96, 96, 3)


class TestModes:
    @pytest.mark.parametrize(
        ("mode", "kind", "note"),
        [
            ("L", "PNG", "grey"),
            ("1", "PNG", "grey"),
            ("L", "JPEG", "grey"),
            ("P", "PNG", "palette"),
            ("P", "GIF", "palette"),
            ("CMYK", "JPEG", "CMYK"),
            ("CMYK", "TIFF", "CMYK"),
            ("LAB", "TIFF", "other colour space"),
        ],
    )
    def test_is_handled_and_said(self, mode, kind, note):
        picture = gradient(40, 40)
        source = picture.convert(mode) if mode != "LAB" else Image.new("LAB", (40, 40), (128, 0, 0))
        image = decode(saved(source, kind), 40)
        assert image.mode == mode
        assert note in image.notes
        if mode != "LAB":
            expected = np.asarray(source.convert("RGB")).astype(int)
            assert np.abs(image.pixels - expected).mean() < 6

    @pytest.mark.parametrize("kind", ["PNG", "WEBP", "BMP", "TIFF"])
    def test_plain_colour_needs_no_note(self, kind):
        options = {"lossless": True} if kind == "WEBP" else {}
        image = decode(saved(gradient(40, 40), kind, **options), 40)
        assert image.notes == ()
        assert (image.pixels == np.asarray(gradient(40, 40))).all()

    @pytest.mark.parametrize("kind", ["PNG", "TIFF"])
    def test_sixteen_bits_keep_the_upper_eight(self, kind):
        values = np.linspace(0, 65535, 32 * 32).reshape(32, 32).astype(np.uint16)
        image = decode(saved(Image.fromarray(values), kind), 32)
        assert "more than 8 bits" in image.notes
        assert np.abs(image.pixels[..., 0] - values / 257.0).max() <= 0.51
        assert (image.pixels[..., 0] == image.pixels[..., 2]).all()

    def test_sixteen_bit_colour(self):
        rows = b"".join(b"\0" + struct.pack(">3H", 65535, 32768, 0) * 16 for _ in range(16))
        image = decode(png(16, 16, 16, rows), 16)
        assert image.notes == ("more than 8 bits",)
        assert (image.pixels == [255, 128, 0]).all()

    def test_sixteen_bit_colour_in_a_tiff(self):
        image = decode(tiff(16, 16, 3, struct.pack("<3H", 65535, 32768, 0) * 256), 16)
        assert image.notes == ("more than 8 bits",)
        assert (image.pixels == [255, 128, 0]).all()

    def test_floats_are_spread(self):
        values = np.linspace(-3.0, 5.0, 400, dtype=np.float32).reshape(20, 20)
        image = decode(saved(Image.fromarray(values), "TIFF"), 20)
        assert image.pixels.min() == 0
        assert image.pixels.max() == 255
        values[3, 3] = np.nan
        with pytest.raises(BadImageError, match="not finite"):
            decode(saved(Image.fromarray(values), "TIFF"), 20)

    @pytest.mark.parametrize("mode", ["RGBA", "LA"])
    def test_alpha_goes_over_white(self, mode):
        picture = Image.new(mode, (20, 20), (0, 0, 0, 0) if mode == "RGBA" else (0, 0))
        image = decode(saved(picture), 20)
        assert "alpha over white" in image.notes
        assert (image.pixels == 255).all()
        half = Image.new(mode, (20, 20), (0, 0, 0, 128) if mode == "RGBA" else (0, 128))
        assert (decode(saved(half), 20).pixels == 127).all()

    def test_a_transparent_palette_entry(self):
        picture = Image.new("P", (20, 20), 0)
        picture.putpalette([255, 0, 0, 0, 0, 255])
        image = decode(saved(picture, transparency=0), 20)
        assert (image.pixels == 255).all()

    def test_the_first_frame_of_a_moving_picture(self):
        frames = [Image.new("RGB", (20, 20), colour) for colour in ("red", "blue", "green")]
        image = decode(saved(frames[0], "GIF", save_all=True, append_images=frames[1:]), 20)
        assert "first of several frames" in image.notes
        assert (image.pixels == [255, 0, 0]).all()

    @pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
    @pytest.mark.parametrize("orientation", range(1, 9))
    def test_exif_orientation(self, kind, orientation):
        upright = gradient(48, 48)
        undo = {
            2: Image.Transpose.FLIP_LEFT_RIGHT,
            3: Image.Transpose.ROTATE_180,
            4: Image.Transpose.FLIP_TOP_BOTTOM,
            5: Image.Transpose.TRANSPOSE,
            6: Image.Transpose.ROTATE_90,
            7: Image.Transpose.TRANSVERSE,
            8: Image.Transpose.ROTATE_270,
        }
        stored = upright.transpose(undo[orientation]) if orientation > 1 else upright
        exif = Image.Exif()
        exif[ExifTags.Base.Orientation] = orientation
        options = {"lossless": True} if kind == "WEBP" else {}
        pixels = decode(saved(stored, kind, exif=exif, **options), 48).pixels
        assert np.abs(pixels.astype(int) - np.asarray(upright)).mean() < 3

    def test_orientation_is_said(self):
        exif = Image.Exif()
        exif[ExifTags.Base.Orientation] = 6
        assert decode(saved(gradient(48, 48), "JPEG", exif=exif), 48).notes == ("turned by its EXIF orientation",)


class TestBadFiles:
    @pytest.mark.parametrize(
        ("data", "reason"),
        [
            (b"", "empty file"),
            (b"this is a text file called .jpg\n", "not an image"),
            (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "not an image"),
            (b"\xff\xd8\xff", "not an image"),
        ],
    )
    def test_has_a_reason(self, data, reason):
        with pytest.raises(BadImageError, match=reason):
            decode(data, 20)

    @pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF"])
    def test_half_a_file(self, kind):
        picture = Image.fromarray(np.random.default_rng(0).integers(0, 256, (90, 90, 3), dtype=np.uint8))
        data = saved(picture, kind)
        with pytest.raises(BadImageError, match=r"truncated|damaged|not an image"):
            decode(data[: len(data) // 2], 20)

    @pytest.mark.parametrize(("width", "height"), [(60000, 60000), (10000, 9000)])
    def test_decompression_bomb(self, width, height):
        with pytest.raises(BadImageError, match="too many pixels"):
            decode(png(width, height, 8, bytes(1000)), 20)

    @given(
        kind=st.sampled_from(["JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF"]),
        cut=st.integers(0, 3000),
        flips=st.lists(st.tuples(st.integers(0, 3000), st.integers(1, 255)), max_size=6),
    )
    @settings(max_examples=150, deadline=None)
    def test_no_damage_is_a_traceback(self, kind, cut, flips):
        data = bytearray(saved(gradient(40, 30), kind))
        for at, value in flips:
            data[at % len(data)] ^= value
        try:
            assert decode(bytes(data[: max(cut, 1)]), 16).pixels.shape == (16, 16, 3)
        except BadImageError as error:
            reason = str(error)
        else:
            reason = "none"
        assert reason
        assert "\n" not in reason
        assert "0x" not in reason
