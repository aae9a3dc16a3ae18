"""Print the table of docs/presets.md from the code: ``python docs/presets_table.py``."""

from __future__ import annotations

from rotogbml import method_presets
from rotogbml.learner_presets import OPTIONS, OWN, Option
from rotogbml.presets import PRESETS, SWITCHES, ByShift


def shown(value: object) -> str:
    """Return a value as the table writes it."""
    if isinstance(value, ByShift):
        return f"weak `{value.weak}`, strong `{value.strong}`"
    return f"`{str(value).lower() if isinstance(value, bool) else value}`"


def of(option: Option) -> str:
    """Return an option's value, and the paper's where that is another."""
    return shown(option.value) + ("" if option.paper is None else f"; paper {shown(option.paper)}")


def table() -> str:
    """Return the Markdown table."""
    lines = ["| field | default | paper | reason | measured: points above plain |", "|---|---|---|---|---|"]
    lines += [
        f"| `{name}` | {shown(c.default)} | {shown(c.paper)} | {c.reason} | {'; '.join(c.measured) or '–'} |"
        for name, c in (SWITCHES | PRESETS).items()
    ]
    return "\n".join(lines)


def learners_table() -> str:
    """Return the Markdown table of what only some learners have, and of a learner's own values."""
    lines = ["| field | of | value | reason |", "|---|---|---|---|"]
    lines += [f"| `{name}` | {', '.join(o.owners)} | {of(o)} | {o.reason} |" for name, o in OPTIONS.items()]
    lines += [
        f"| `{name}` | {learner} | {shown(own.value)} | {own.reason} |"
        for learner, values in OWN.items()
        for name, own in values.items()
    ]
    return "\n".join(lines)


def methods_table() -> str:
    """Return the Markdown table of what only some compared methods have, and of a method's own values."""
    lines = ["| field | of | value | reason |", "|---|---|---|---|"]
    lines += [
        f"| `{name}` | {', '.join(o.owners)} | {'–' if o.value is None else shown(o.value)} | {o.reason} |"
        for name, o in method_presets.OPTIONS.items()
    ]
    lines.append(f"| `encoder.norm` | all | {shown(method_presets.NORM.value)} | {method_presets.NORM.reason} |")
    return "\n".join(lines)


if __name__ == "__main__":
    print(table(), learners_table(), methods_table(), sep="\n\n")
