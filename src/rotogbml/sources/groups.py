"""Which images belong together: those of one lesion, leaf or patient, and copies of one file."""

from __future__ import annotations

from collections.abc import Sequence


def joined(images: Sequence[tuple[str, str]]) -> list[str] | None:
    """Return the name of each image's group, so that images which share a name or a digest share it.

    Args:
        images: (name of the group, digest of the bytes) of each image; the name is empty where nothing is known.

    Returns:
        A name for each image, empty for one that belongs with no other; ``None`` where no group is named and no two
        digests are equal.
    """
    parent = list(range(len(images)))

    def root(i: int) -> int:
        while parent[i] != i:
            parent[i] = parent[parent[i]]
            i = parent[i]
        return i

    first: dict[tuple[str, str], int] = {}
    together = False
    for i, (name, digest) in enumerate(images):
        for key in (("name", name), ("digest", digest)):
            if not key[1]:
                continue
            earlier = first.setdefault(key, i)
            if earlier != i:
                together = True
                a, b = sorted((root(earlier), root(i)))
                parent[b] = a
    if not together and not any(name for name, _ in images):
        return None
    names: dict[int, str] = {}
    shared = [0] * len(images)
    for i in range(len(images)):
        shared[root(i)] += 1
    for i, (name, _) in enumerate(images):
        names[root(i)] = names.get(root(i)) or name
    return [names[root(i)] or (f"copies of row {root(i)}" if shared[root(i)] > 1 else "") for i in range(len(images))]
