"""What the documents say is what the code does."""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import re
import shlex
from pathlib import Path

import pytest

from rotogbml import cli
from rotogbml.errors import UsageError

ROOT = Path(__file__).resolve().parents[2]


def commands(page: str) -> list[str]:
    """Return the rotogbml commands of a page's code blocks; one that goes on in the next line is one."""
    blocks = re.findall(r"^```[a-z]*\n(.*?)^```", (ROOT / page).read_text(encoding="utf-8"), re.M | re.S)
    lines = [line for block in blocks for line in block.replace("\\\n", " ").splitlines()]
    return [line for line in lines if line.startswith("rotogbml ")]


def test_the_presets_page_is_the_code() -> None:
    spec = importlib.util.spec_from_file_location("presets_table", ROOT / "docs/presets_table.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert module.table() in (ROOT / "docs/presets.md").read_text(encoding="utf-8")


PAGES = ["README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "CHANGELOG.md"]
PAGES += [f"docs/{path.name}" for path in sorted((ROOT / "docs").glob("*.md"))]
# The log says what was typed then, and abridges.
COMMANDS = sorted({command for page in PAGES if page != "docs/log.md" for command in commands(page)})


@pytest.mark.parametrize("page", PAGES)
def test_commands_within_a_sentence_name_their_options(page: str) -> None:
    """They abridge (``…``, words for values), but no word of theirs belongs to no option."""
    text = re.sub(r"^```.*?^```", "", (ROOT / page).read_text(encoding="utf-8"), flags=re.M | re.S)
    for command in re.findall(r"`rotogbml ([^`]+)`", text):
        name, rest = cli._verb(shlex.split(command.replace("\n", " "), comments=True))
        said = ""
        try:
            cli.read(name, rest)
        except UsageError as error:  # a value that is a word for one
            said = str(error)
        assert not re.search("unknown option|belongs to no option", said), (page, command)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_can_be_read(command: str) -> None:
    name, rest = cli._verb(shlex.split(command, comments=True)[1:])
    assert list(cli.read(name, rest)) == list(inspect.signature(cli.function(name)).parameters)


def test_the_readme_has_commands_a_picture_and_a_table() -> None:
    page = (ROOT / "README.md").read_text(encoding="utf-8")
    assert len(commands("README.md")) >= 6
    picture = re.search(r"!\[[^\]]+\]\(([^)]+)\)", page)
    assert picture is not None
    assert (ROOT / picture[1]).is_file()
    assert "± 0." in page


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page: str) -> None:
    for link in re.findall(r"\]\(([^)#]+)\)", (ROOT / page).read_text(encoding="utf-8")):
        assert (ROOT / page).parent.joinpath(link).exists(), link


@pytest.mark.parametrize("page", PAGES)
def test_no_table_is_missing(page: str) -> None:
    """What a number or a table was to be put in place of."""
    assert not re.search(r"\bTABLE_[A-Z]+|\b[A-Z]+_(TABLE|TEXT)\b", (ROOT / page).read_text(encoding="utf-8"))
