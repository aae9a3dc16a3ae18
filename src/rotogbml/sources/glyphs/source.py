"""One script as a packed source: its classes, their split, their images."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rotogbml.seeds import numpy_generator
from rotogbml.sources.glyphs.render import images
from rotogbml.sources.glyphs.shapes import choose
from rotogbml.sources.writer import write_source

VAL_SHARE = 0.2


def class_name(character: str) -> str:
    """Return the code point and the character itself, as in ``U+0E81 ກ``."""
    return f"U+{ord(character):04X} {character}"


def split(classes: Sequence[str], script: str, seed: int) -> dict[str, list[str]]:
    """Share the class names out at random: 80 % train, 20 % val. There is no test: whole scripts are held out."""
    order = numpy_generator(seed, "glyphs", script, "split").permutation(len(classes))
    n_val = round(VAL_SHARE * len(classes))
    return {
        "train": [classes[i] for i in sorted(order[n_val:])],
        "val": [classes[i] for i in sorted(order[:n_val])],
    }


def draw_source(pack: Path, script: str, made: dict[str, Any]) -> None:
    """Draw a script by a recipe (``build.recipe``) and write it to ``pack/<script>``."""
    size, per_class, seed = made["size"], made["images_per_class"], made["seed"]
    chosen = choose(script, seed)
    named = {class_name(character): character for character in chosen}
    classes = sorted(named)
    in_order = {named[name]: chosen[named[name]] for name in classes}
    write_source(
        pack / script,
        name=script,
        size=size,
        images=images(in_order, script, size, per_class, seed),
        classes=classes,
        offsets=[per_class * c for c in range(len(classes) + 1)],
        splits=split(classes, script, seed),
        split_rule="80 % of the classes for training and 20 % for validation, at random; whole scripts are held out.",
        inputs=[],
        made=made,
    )
