"""From words on the command line to the keyword arguments of a verb's function."""

from __future__ import annotations

import inspect
import shutil
from argparse import HelpFormatter
from collections.abc import Callable, Sequence
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from rotogbml.complaints import plain
from rotogbml.errors import UsageError
from rotogbml.verbs import VERBS, function

if TYPE_CHECKING:
    from jsonargparse import ArgumentParser

_SWITCHES = ("--homogenizer", "--homogenizer.reweight", "--homogenizer.rotate", "--isi")
_NAMED = ("--learner", "--encoder", "--method")
_OF_GROUP = {"--pool": "--readings.pool"}
_OF_CONFIG = _OF_GROUP | {"--respect_groups": "--episodes.respect_groups"}
"""Options that are typed without their group; the latter where there is no other of that name."""


def read(name: str, arguments: list[str]) -> dict[str, Any]:
    """Return the keyword arguments that words on the command line give a verb's function.

    Args:
        name: the verb's.
        arguments: what follows it.

    Raises:
        UsageError: an option is unknown or its value cannot be read.
    """
    from rotogbml import options

    verb, call = VERBS[name], function(name)
    parser = _parser(name, call)
    typed = _sugar(arguments, _NAMED if verb.config else ())
    files = _values(typed, "--config") if verb.config else []
    try:
        parsed = parser.instantiate(parser.parse_args(typed))
    except UsageError as error:
        known = [action.dest for action in parser._actions] + (options.names() if verb.config else [])
        raise UsageError(plain(str(error), parser.prog, known, files)) from None
    except (OSError, UnicodeDecodeError) as error:
        said = f"{' '.join(files)} " if files else ""
        raise UsageError(f"option 'config': {said}cannot be read ({error}): give a run's config.yaml") from error
    given = {name: _values(typed, f"--{name}") for name in ("preset", "shift", "learner.name")}
    options.refuse_another_preset(list(map(Path, files)), {name: last[-1] for name, last in given.items() if last})
    given = {name: _values(typed, f"--{name}") for name in options.OF_PROTOCOL}
    options.refuse_another_protocol(list(map(Path, files)), {name: last[-1] for name, last in given.items() if last})
    parameters = inspect.signature(call).parameters
    if "insist" in parameters:
        parsed["insist"] = options.typed_names(typed, list(map(Path, files)))
    for key in set(verb.several) & parameters.keys():
        if "list[int]" in str(parameters[key].annotation) and parsed[key] is not None:
            parsed[key] = _numbers(key, parsed[key])
    return {key: parsed[key] for key in parameters}


@cache
def _parser(name: str, call: Callable[..., Any]) -> ArgumentParser:
    """Return the parser of a verb's options; a study reads with it again and again."""
    from jsonargparse import ArgumentParser, set_parsing_settings

    from rotogbml import options

    verb = VERBS[name]
    set_parsing_settings(docstring_parse_attribute_docstrings=True)

    class Parser(ArgumentParser):
        def error(self, message: str | BaseException, ex: BaseException | None = None) -> NoReturn:  # type: ignore[override]
            # Raw: the parsers of nested groups are of this class too, and what they say is quoted by the outer one.
            raise UsageError(str(message))

        def format_help(self, formatter: HelpFormatter | None = None) -> str:
            width = max(shutil.get_terminal_size().columns - 2, 60)
            return super().format_help(formatter) + (options.help_of_parts(width) if verb.config else "")

    parser = Parser(prog=f"rotogbml {name}", description=(inspect.getdoc(call) or "").split("\n")[0])
    if verb.config:
        parser.add_argument(
            "--config", action="config", help="a config.yaml, such as a run folder keeps; options win over it"
        )
    described = _descriptions(call)
    by_hand = []
    for key, parameter in inspect.signature(call).parameters.items():
        if key == "insist":  # what was typed
            by_hand.append(key)
            continue
        flag = key if key in verb.positional else f"--{key}"
        required = parameter.default is inspect.Parameter.empty
        default = None if required else parameter.default
        if key in verb.several:
            several: dict[str, Any] = {"nargs": "+", "type": str, "help": described.get(key, "")}
            if key not in verb.positional:
                several |= {"required": True} if required else {"default": default}
            parser.add_argument(flag, **several)
            by_hand.append(key)
        elif isinstance(default, bool):
            parser.add_argument(flag, nargs="?", const=True, default=default, type=bool, help=described.get(key, ""))
            by_hand.append(key)
        elif key in verb.positional:
            parser.add_argument(flag, type=str, help=described.get(key, ""))
            by_hand.append(key)
    parser.add_function_arguments(call, as_positional=False, skip=set(by_hand), fail_untyped=True)
    for action in parser._actions:
        chosen = options.chosen_by_preset(action.dest)
        action.help = f"{action.help} ({chosen})" if chosen else action.help
    return parser


def _numbers(key: str, given: Sequence[str]) -> list[int]:
    """Return whole numbers given apart, with commas or in brackets: ``1 5``, ``1,5``, ``[1, 5]``."""
    try:
        return [int(word) for each in given for word in each.strip("[] ").replace(",", " ").split()]
    except ValueError:
        raise UsageError(f"option '{key}' cannot be '{' '.join(given)}': give whole numbers, such as 1 5") from None


def _sugar(arguments: list[str], named: Sequence[str] = _NAMED) -> list[str]:
    """Rewrite what people type into what the parser reads.

    ``--dry-run`` → ``--dry_run``; ``--isi off`` (none, false, null) → null; ``--isi on`` → an empty group, which keeps
    what is set in it, and ``--homogenizer on`` both its halves; ``--learner anil`` → ``--learner.name anil``.
    """
    out: list[str] = []
    i = 0
    while i < len(arguments):
        flag, equals, given = arguments[i].partition("=")
        if flag.startswith("--"):
            flag = "--" + flag[2:].replace("-", "_")
            flag = (_OF_CONFIG if named else _OF_GROUP).get(flag, flag)
        following = given if equals else (arguments[i + 1] if i + 1 < len(arguments) else "")
        width = 1 if equals else 2
        if flag in _SWITCHES and following.lower() in ("off", "none", "false", "null"):
            out += [flag, "null"]
            i += width
        elif flag in _SWITCHES and following.lower() in ("on", "true"):
            halves = ("", ".reweight", ".rotate") if flag == "--homogenizer" else ("",)
            out += [word for half in halves for word in (flag + half, "{}")]
            i += width
        elif flag in named and following and not following.startswith(("-", "{")):
            out += [f"{flag}.name", following]
            i += width
        else:
            out.append(f"{flag}{equals}{given}")
            i += 1
    return out


def _values(arguments: list[str], flag: str) -> list[str]:
    """Return what stands behind a flag, each time it is given."""
    joined = [argument.partition("=")[2] for argument in arguments if argument.startswith(f"{flag}=")]
    return [after for before, after in pairwise(arguments) if before == flag] + joined


def _descriptions(call: Callable[..., Any]) -> dict[str, str]:
    """Return the help of each parameter from the function's docstring."""
    from docstring_parser import parse

    return {p.arg_name: (p.description or "").replace("\n", " ") for p in parse(inspect.getdoc(call) or "").params}
