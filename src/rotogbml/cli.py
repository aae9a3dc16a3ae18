"""The command line: finds the verb, calls its function, says what went wrong.

``rotogbml --help`` imports neither torch nor anything else of weight. Exit codes: 0 done, 1 failed, 2 wrong usage,
130 interrupted.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from rotogbml._version import __version__
from rotogbml.errors import RotogbmlError, UsageError, did_you_mean
from rotogbml.parsing import read
from rotogbml.sources.containers import shown
from rotogbml.verbs import VERBS, function


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    try:
        return _run(arguments)
    except RotogbmlError as error:
        if not error.silent:
            print(f"rotogbml: {shown(' '.join(str(error).split()))}", file=sys.stderr)
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
    function(name)(**read(name, rest))
    return 0


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
    wide = max(map(len, VERBS)) + 2
    lines += [f"  {name:<{wide}}{verb.help}" for name, verb in VERBS.items() if only is None or name in only]
    return "\n".join(
        [*lines, "", "rotogbml VERB --help lists a verb's options; rotogbml --version prints the version."]
    )
