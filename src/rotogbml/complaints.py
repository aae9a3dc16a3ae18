"""What the parser of the command line complains about, said in one line for people.

The parser describes a nested option by nested, indented blocks: a ``Parser key "..."`` for each level, the innermost
reason, then a ``Given value`` for each level from the inside out.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from rotogbml.errors import did_you_mean

_KEY = re.compile(r'Parser key "([^"]+)"')
_UNKNOWN = re.compile(
    r"unrecognized arguments: (?P<argument>\S+)"
    r"|Group '(?P<group>[^']+)' does not accept option '(?P<member>[^']+)'"
    r"|Option '(?P<option>[^']+)' is not accepted"
)
_GIVEN = re.compile(r"(?:Given value|Got value): (.*)")
_EXPECTED = re.compile(r"Expected (?:an? )?(.*?)(?:\. Got value|$)")
_WORDS = {
    "<class 'int'>": "a whole number",
    "<class 'float'>": "a number",
    "<class 'bool'>": "true or false",
    "<class 'str'>": "a text",
    "<class 'tuple'>": "a pair such as [1, 5]",
    "<class 'dict'>": """names and values in braces, such as '{"encoder.width": 4}'""",
}

_OFTEN = ("sources", "target")
"""Options whose value is often given without the option's name."""


def plain(message: str, verb: str, known: Sequence[str], files: Sequence[str] = ()) -> str:
    """Return the complaint in one line: the option, the value, what it may be, and the nearest name where misspelt.

    Args:
        message: what the parser says.
        verb: the command whose ``--help`` lists the options, such as ``rotogbml train``.
        known: dotted names of all options.
        files: what ``--config`` names.
    """
    # The parser quotes a whole file that holds no options, and names none that is no YAML.
    if message.startswith("Unexpected config"):
        return f"option 'config': {' '.join(files)} holds no options: give a run's config.yaml"
    if message.startswith("Problems parsing config"):
        why = " ".join(message.partition(":")[2].replace('in "<unicode string>", line', "at line").split())
        return f"option 'config': {' '.join(files)} is no YAML ({why}): give a run's config.yaml"
    keys = _KEY.findall(message)
    unknown = _UNKNOWN.search(message)
    if unknown:
        return _unknown(unknown, keys, verb, known)
    where = ".".join(keys)
    given = _GIVEN.search(message)
    if where and given:
        return f"option '{where}' cannot be '{given[1]}'{_mend(message, given[1])}"
    lacking = re.search(r"argument (\S+): expected", message)
    if lacking:
        return f"option '{lacking[1].lstrip('-')}' needs a value: see {verb} --help"
    required = re.search(r"arguments? (?:is|are) required: (.*)", message)
    if required:
        return f"nothing was given for {required[1]}: see {verb} --help"
    said = " ".join(_KEY.sub("", message).split()).lstrip(": ")
    return f"option '{where}': {said}" if where else said


def _unknown(found: re.Match[str], keys: list[str], verb: str, known: Sequence[str]) -> str:
    argument = found["argument"]
    if argument and not argument.startswith("-"):
        meant = next((f" (--{option} {argument}?)" for option in _OFTEN if option in known), "")
        return f"'{argument}' belongs to no option{meant}: see {verb} --help"
    name = argument or found["option"] or f"{found['group']}.{found['member']}"
    full = ".".join([*keys, name.lstrip("-").split("=")[0]])
    return f"unknown option '{full}'{did_you_mean(full, known)}: see {verb} --help"


def _mend(message: str, given: str) -> str:
    """Return what the innermost level accepts."""
    innermost = message[message.rindex("Parser key") :].split("Given value")[0]
    accepted: list[str] = []
    choices: list[str] = []
    for line in innermost.splitlines():
        expected = _EXPECTED.search(line.strip(" -"))
        if expected is None:
            continue
        kind = expected[1]
        if kind.startswith("typing.Literal"):
            choices += re.findall(r"'([^']*)'", kind)
        elif kind.startswith("dot import path"):
            accepted.append("none, or leave it out and give single options of it")
        elif kind != "<class 'NoneType'>":
            accepted.append(_WORDS.get(kind, kind))
    if not accepted and not choices:
        return ""
    if given in choices:  # YAML reads it as a number
        return f": in a file write it in quotes, '{given}'"
    *all_but_last, last = [*accepted, *choices]
    return f"{did_you_mean(given, choices)}: give {', '.join(all_but_last)}{' or ' if all_but_last else ''}{last}"
