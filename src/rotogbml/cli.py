"""The command line: a table of verbs, each a typed function that is imported only when it is called for.

``rotogbml --help`` therefore imports neither torch nor anything else of weight. Exit codes: 0 done, 1 failed,
2 wrong usage, 130 interrupted.
"""

from __future__ import annotations

import importlib
import inspect
import shutil
import sys
from argparse import HelpFormatter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from rotogbml._version import __version__
from rotogbml.complaints import plain
from rotogbml.errors import RotogbmlError, UsageError, did_you_mean

if TYPE_CHECKING:
    from jsonargparse import ArgumentParser


@dataclass(frozen=True)
class Verb:
    """Where a verb's function lives and which of its parameters stand without a name."""

    where: str
    """``module:function``."""
    help: str
    positional: tuple[str, ...] = ()
    several: tuple[str, ...] = ()
    """Parameters that take several values."""
    config: bool = False
    """Whether ``--config FILE`` gives options."""


VERBS: dict[str, Verb] = {
    "data scan": Verb("rotogbml.sources.verbs:scan", "look at image folders or archives, write nothing", ("root",)),
    "data pack": Verb(
        "rotogbml.sources.verbs:pack",
        "decode image folders or archives once, into a pack",
        ("root", "out"),
        ("drop_overlap",),
    ),
    "data import": Verb(
        "rotogbml.releases.verbs:import_",
        "pack a published data set as it is released, with its class split",
        ("name", "path", "out"),
        ("drop_overlap",),
    ),
    "data check": Verb(
        "rotogbml.releases.verbs:check", "what of a release is there, what is missing", ("name", "path")
    ),
    "data list": Verb(
        "rotogbml.releases.verbs:list_", "releases that can be imported, and their terms", (), ("packs",)
    ),
    "data overlap": Verb(
        "rotogbml.releases.verbs:overlap", "images that stand in several packs", ("packs",), ("packs",)
    ),
    "data hub": Verb("rotogbml.releases.verbs:hub", "pack a data set of the Hugging Face hub", ("id", "out")),
    "train": Verb(
        "rotogbml.training.verb:train",
        "learn an initialisation from several sources",
        (),
        ("sources", "holdout", "whole", "validate_on"),
        True,
    ),
    "evaluate": Verb(
        "rotogbml.evaluation.verb:evaluate", "test runs on sources never seen", ("runs",), ("runs", "target", "sources")
    ),
    "shape": Verb(
        "rotogbml.cues.verb:shape", "do runs decide by shape or by texture?", ("runs",), ("runs", "target", "sources")
    ),
    "gradients": Verb(
        "rotogbml.agreement.verb:gradients",
        "do a run's sources pull one way?",
        ("runs",),
        ("runs", "target", "sources"),
    ),
    "explain": Verb(
        "rotogbml.cues.explain:explain",
        "write a page of where runs look (saliency)",
        ("runs",),
        ("runs", "target", "sources"),
    ),
    "study": Verb(
        "rotogbml.studies.verb:study",
        "carry out a grid of trainings and tests",
        ("plan",),
        ("sources", "targets", "learner", "k_shot"),
    ),
    "study status": Verb("rotogbml.studies.verb:status", "how far a study is", ("plan",)),
    "study table": Verb("rotogbml.studies.verb:table", "what a study has found", ("plan",)),
    "compare": Verb(
        "rotogbml.comparison.verb:compare",
        "train many methods alike and put them into one table",
        (),
        ("sources", "targets", "methods", "without", "k_shot"),
    ),
    "compare status": Verb("rotogbml.comparison.verb:status", "how far a comparison is"),
    "compare table": Verb("rotogbml.comparison.verb:table", "a comparison's table again"),
    "protocol list": Verb("rotogbml.protocols.verb:list_", "which published settings there are"),
    "protocol show": Verb(
        "rotogbml.protocols.verb:show", "what a setting trains and tests on, says and leaves open", ("name",)
    ),
    "report": Verb("rotogbml.reports.report:report", "write one self-contained page about runs", ("runs",), ("runs",)),
    "demo": Verb("rotogbml.demonstration:demo", "see the whole idea work on the embedded data"),
}

_SWITCHES = ("--homogenizer", "--homogenizer.reweight", "--homogenizer.rotate", "--isi")
_NAMED = ("--learner", "--encoder", "--method")
_OF_GROUP = {"--pool": "--readings.pool"}
"""Options that are typed without their group."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    try:
        return _run(arguments)
    except RotogbmlError as error:
        if not error.silent:
            print(f"rotogbml: {' '.join(str(error).split())}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt as stop:
        if not getattr(stop, "silent", False):
            print(f"rotogbml: {str(stop) or 'interrupted'}", file=sys.stderr)
        return 130
    except BrokenPipeError:
        sys.stderr.close()
        return 1
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        print(f"rotogbml: {where}{error.strerror or error}", file=sys.stderr)
        return 1


def _run(arguments: list[str]) -> int:
    if not arguments or arguments[0] in ("-h", "--help"):
        print(_overview())
        return 0
    if arguments[0] == "--version":
        print(f"rotogbml {__version__}")
        return 0
    name, rest = _verb(arguments)
    _function(name)(**read(name, rest))
    return 0


def _function(name: str) -> Callable[..., Any]:
    module, function = VERBS[name].where.split(":")
    return getattr(importlib.import_module(module), function)


def _verb(arguments: list[str]) -> tuple[str, list[str]]:
    """Return the verb's name and what follows it."""
    two = " ".join(arguments[:2])
    if two in VERBS:
        return two, arguments[2:]
    if arguments[0] in VERBS:
        return arguments[0], arguments[1:]
    group = {name for name in VERBS if name.startswith(f"{arguments[0]} ")}
    if group:
        said = arguments[1] if len(arguments) > 1 else ""
        if said in ("", "-h", "--help"):
            print(_overview(group))
            raise SystemExit(0 if said else 2)
        known = [name.split()[1] for name in group]
        raise UsageError(f"no verb '{two}'{did_you_mean(said, known)}: there are {', '.join(sorted(group))}")
    known = [*VERBS, *{name.split()[0] for name in VERBS}]
    raise UsageError(f"no verb '{arguments[0]}'{did_you_mean(arguments[0], known)}: see rotogbml --help")


def _overview(only: set[str] | None = None) -> str:
    about = "Meta-learning from a few photos a class and several unlike sources."
    lines = ["usage: rotogbml VERB [options]", "", about, "", "verbs:"]
    lines += [f"  {name:<14}{verb.help}" for name, verb in VERBS.items() if only is None or name in only]
    return "\n".join(
        [*lines, "", "rotogbml VERB --help lists a verb's options; rotogbml --version prints the version."]
    )


def read(name: str, arguments: list[str]) -> dict[str, Any]:
    """Return the keyword arguments that words on the command line give a verb's function.

    Args:
        name: the verb's.
        arguments: what follows it.

    Raises:
        UsageError: an option is unknown or its value cannot be read.
    """
    from rotogbml import options

    verb, call = VERBS[name], _function(name)
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
            flag = _OF_GROUP.get(flag, flag)
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
