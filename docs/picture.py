"""Draw docs/glyphs.png, the README's picture: ``python docs/picture.py``.

Each column is a source with its own look, each row of it one character; the right block is held out for test.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from rotogbml.seeds import numpy_generator
from rotogbml.sources.glyphs import HOLDOUT, glyphs
from rotogbml.sources.packed import PackedSource, open_pack

SIDE, ZOOM, ROWS, GAP = 32, 2, 3, 4
SHOWN = ("latin", "greek", "cyrillic", "hebrew", "arabic", "braille", "arrows", "math-operators")


def column(source: PackedSource) -> np.ndarray:
    """Return three classes of a source, two images of each: [rows, side, 2 · side, 3]."""
    rng = numpy_generator(7, "picture", source.name)
    classes = rng.choice(len(source.classes), ROWS, replace=False)
    rows = [rng.choice(np.asarray(source.rows(int(c))), 2, replace=False) for c in classes]
    return np.stack([np.concatenate(list(source.images[pair]), axis=1) for pair in rows])


def main() -> None:
    """Write the picture beside this file."""
    pack = open_pack(glyphs())
    names = [*SHOWN, *HOLDOUT]
    width, height = 2 * SIDE * ZOOM + GAP, SIDE * ZOOM + GAP
    label, split = 18, 16
    sheet = Image.new("RGB", (len(names) * width + split, ROWS * height + 2 * label), "white")
    draw = ImageDraw.Draw(sheet)
    draw.text((2, 2), "trained on, and 16 more", fill="black")
    draw.text((len(SHOWN) * width + split, 2), "never seen in training", fill="black")
    for i, name in enumerate(names):
        x = i * width + (split if i >= len(SHOWN) else 0)
        draw.text((x + 2, label + 2), name, fill="black")
        for row, pixels in enumerate(column(pack[name])):
            tile = Image.fromarray(pixels).resize((2 * SIDE * ZOOM, SIDE * ZOOM), Image.Resampling.NEAREST)
            sheet.paste(tile, (x, 2 * label + row * height))
    sheet.save(Path(__file__).parent / "glyphs.png", optimize=True)


if __name__ == "__main__":
    main()
