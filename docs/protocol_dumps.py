"""The page of protocol dumps: what ``rotogbml protocol show`` prints, word for word.

python docs/protocol_dumps.py > docs/protocol-dumps.md
"""

from __future__ import annotations

from rotogbml.protocols import create_protocol
from rotogbml.protocols.show import render

SHOWN = (("strong", "cars"), ("weak", "cub"))


def page() -> str:
    """Return the page."""
    parts = [
        "# The two protocols of the paper, as `rotogbml protocol show` prints them\n",
        "`python docs/protocol_dumps.py > docs/protocol-dumps.md` writes this page. What the words mean: "
        "[protocols.md](protocols.md).\n",
    ]
    for name, target in SHOWN:
        command = f"rotogbml protocol show {name} --target {target}"
        parts.append(
            f"## `{command}`\n\n```\n{command}\n```\n\n```text\n{render(create_protocol(name, target), 'text')}```\n"
        )
    return "\n".join(parts)


if __name__ == "__main__":
    print(page(), end="")
