"""Support and query rows of a task so that no group (a lesion, a leaf, a patient) stands on both sides."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from rotogbml.sources.packed import PackedSource

TRIES = 64
"""Draws before a task is given up; nearly always the first one serves."""


def fills(source: PackedSource, class_index: int, k: int, n_query: int, *, apart: bool) -> bool:
    """Return whether a class holds the images of a task; ``apart``: with its groups on one side each."""
    rows = source.rows(class_index)
    if source.groups is None or not apart:
        return len(rows) >= k + n_query
    return can_fill(source.groups[np.asarray(rows, dtype=np.int64)], k, n_query)


def filling(source: PackedSource, split: str, k: int, n_query: int, *, apart: bool) -> list[int]:
    """Return the classes of a split that hold the images of a task, in their order."""
    return [c for c in source.classes_of(split) if fills(source, c, k, n_query, apart=apart)]


def can_fill(groups: np.ndarray, k: int, n_query: int) -> bool:
    """Return whether a class has k support and n_query query images of different groups.

    Whole groups must go to one side or the other: some choice of them must hold at least k images and leave at least
    n_query. The sums that choices can have are the set bits of a number.

    Args:
        groups: [images of the class], the group of each.
        k: Support images.
        n_query: Query images.
    """
    n = len(groups)
    if n < k + n_query:
        return False
    sums = 1
    for count in np.unique(groups, return_counts=True)[1]:
        sums |= sums << int(count)
    return bool((sums >> k) & ((1 << (n - n_query - k + 1)) - 1))


def draw_apart(
    rng: np.random.Generator, rows: Sequence[np.ndarray], groups: np.ndarray, k: int, n_query: int
) -> list[tuple[np.ndarray, np.ndarray]] | None:
    """Draw k support and n_query query rows of each class; no group is on both sides, of whichever classes.

    The support is uniform over the images of a class; so are the queries over what then remains. Where too little
    remains, the support is drawn anew, from the middle of the tries on with rows of small groups first.

    Args:
        rng: What draws.
        rows: The rows of each class of the task.
        groups: int64 [rows of the source], the group of each.
        k: Support images a class.
        n_query: Query images a class.

    Returns:
        (support rows, query rows) of each class, or ``None`` where the tries were in vain.
    """
    sizes: np.ndarray | None = None
    for attempt in range(TRIES):
        support = []
        for own in rows:
            order = rng.permutation(own)
            if attempt >= TRIES // 2:
                sizes = np.bincount(groups[np.concatenate(rows)]) if sizes is None else sizes
                order = order[np.argsort(sizes[groups[order]], kind="stable")]
            support.append(order[:k])
        taken = groups[np.concatenate(support)]
        left = [own[~np.isin(groups[own], taken)] for own in rows]
        if all(len(rest) >= n_query for rest in left):
            return [
                (some, rng.choice(rest, size=n_query, replace=False)) for some, rest in zip(support, left, strict=True)
            ]
    return None
