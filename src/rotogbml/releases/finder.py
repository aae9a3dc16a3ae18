"""From what a label file calls an image to the file: by as much of its path as is given, whatever its case."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from rotogbml.releases.files import is_image
from rotogbml.sources.tree import IMAGE_SUFFIXES


class Finder:
    """Finds the file that a label names, by as much of its path as the label gives."""

    def __init__(self, paths: Iterable[str], keep: Callable[[str], bool] = lambda path: True) -> None:
        self._short: dict[str, list[str]] = {}
        self._long: dict[str, list[str]] = {}
        self.other_case = 0
        """Files found only by ignoring the case of letters."""
        for path in paths:
            if keep(path):
                parts = path.casefold().rsplit("/", 2)
                self._short.setdefault(parts[-1], []).append(path)
                if len(parts) > 1:
                    self._long.setdefault("/".join(parts[-2:]), []).append(path)

    def find(self, name: str) -> str | None:
        """Return the path of a file, the least deep of several; ``None`` where there is none.

        Args:
            name: What a label file says: ``a.jpg``, ``class/a.jpg``, ``./images/class/a.jpg``.
        """
        name = name.strip().replace("\\", "/").removeprefix("./").lstrip("/")
        parts = name.rsplit("/", 2)
        folded = name.casefold()
        if len(parts) == 1:
            candidates = self._short.get(folded, [])
        else:
            candidates = [
                path for path in self._long.get("/".join(parts[-2:]).casefold(), []) if _ends(path.casefold(), folded)
            ]
        if not candidates:
            return None
        exact = [path for path in candidates if _ends(path, name)]
        self.other_case += not exact
        return min(exact or candidates, key=lambda path: (path.count("/"), path))

    def find_stem(self, name: str) -> str | None:
        """Return the path of an image whose name is given without its ending, or with another one."""
        if is_image(name):
            found = self.find(name)
            if found is not None:
                return found
            name = name.rpartition(".")[0]
        for suffix in IMAGE_SUFFIXES:
            found = self.find(name + suffix)
            if found is not None:
                return found
        return None


def _ends(path: str, name: str) -> bool:
    """Return whether one of the two is the end of the other, by whole parts."""
    return f"/{path}".endswith(f"/{name}") or f"/{name}".endswith(f"/{path}")
