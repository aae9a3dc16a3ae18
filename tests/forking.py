"""Fork a process for each command that is asked for on standard input; see the fixture ``start``."""

from __future__ import annotations

import json
import os
import sys

import kornia.enhance
import kornia.geometry.transform  # noqa: F401

import rotogbml.evaluation.verb
import rotogbml.reports.report
import rotogbml.sources.verbs
import rotogbml.training.verb  # noqa: F401
from rotogbml.cli import main


def be(wanted: dict) -> int:
    """Run the command as if this process had been started for it."""
    os.environ.update(wanted["variables"])
    for number, path in ((1, wanted["out"]), (2, wanted["err"])):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT, 0o644), number)
    code = main(wanted["arguments"])
    sys.stdout.flush()
    sys.stderr.flush()
    return code


print("ready", flush=True)
for line in sys.stdin:
    pid = os.fork()
    if pid == 0:
        os._exit(be(json.loads(line)))
    print(pid, flush=True)
    _, status = os.waitpid(pid, 0)
    print(os.waitstatus_to_exitcode(status), flush=True)
