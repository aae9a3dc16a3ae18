"""Run folders → one self-contained page: no script, no outside reference, opens by double click."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rotogbml.errors import UsageError
from rotogbml.files import write_atomic

if TYPE_CHECKING:
    import numpy as np

    from rotogbml.reports.pictures import DropMap
    from rotogbml.reports.record import RunRecord


def report(runs: list[str], out: str | None = None) -> Path:
    """Write one self-contained report.html about one or several runs.

    It says what was trained on what, and shows the table of results with paired differences, learning curves, ω,
    gradient norms and cosines, test episodes as pictures, what ISI drops, and how to make all of it again. What a
    run folder does not hold yet is said in a sentence.

    Args:
        runs: Run folders that train wrote; the first one's results and pictures come first.
        out: The page to write; report.html in the first run folder where not given.

    Returns:
        The page's path.

    Raises:
        UsageError: no run is given, a folder is no run, or out cannot be a file.
        RotogbmlError: the page could not be written; one that stood there still stands.
    """
    from rotogbml.config import names
    from rotogbml.reports.record import read_run

    runs = names(runs)
    if not runs:
        raise UsageError("no run folder given; name at least one that `rotogbml train` wrote")
    records = [read_run(run) for run in runs]
    path = Path(out) if out is not None else records[0].path / "report.html"
    if path.is_dir():
        path = path / "report.html"
    command = shlex.join(["rotogbml", "report", *runs, *(["--out", str(out)] if out is not None else [])])
    if path.parent.exists() and not path.parent.is_dir():
        raise UsageError(f"cannot write '{path}': '{path.parent}' is no folder; give another --out")
    write_atomic(path, page(records, command))
    print(f"report: {path}")
    return path


def page(records: Sequence[RunRecord], command: str) -> str:
    """Return the page as HTML; equal run folders and an equal command give an equal page."""
    from importlib import resources

    from jinja2 import Environment, StrictUndefined
    from markupsafe import Markup

    from rotogbml.reports import pictures, svg

    here = resources.files("rotogbml.reports")
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters["svg"] = Markup
    heat = ", ".join("rgb({} {} {})".format(*stop) for stop in pictures.HEAT)
    template = environment.from_string(here.joinpath("report.html.j2").read_text(encoding="utf-8"))
    style = Markup(here.joinpath("report.css").read_text(encoding="utf-8"))
    return template.render(style=style, heat=heat, hues=svg.HUES, command=command, **_content(records)) + "\n"


def _content(records: Sequence[RunRecord]) -> dict[str, Any]:
    """Collect what the template shows, section by section."""
    from rotogbml.evaluation import cells, further
    from rotogbml.reports import course, words

    rows = cells.by_target(_rows(records))
    methods = {record.name: words.method_of(record, rows) for record in records}
    return {
        "title": " and ".join(record.name for record in records),
        "runs": [_run(record, rows) for record in records],
        "outcome": words.outcome(rows, _paired(records), list(methods.values())),
        "held_out": words.unique(str(row["target"]) for row in rows if row.get("target") is not None),
        "columns": cells.COLUMNS,
        "accuracy": cells.ACCURACY,
        "rows": [cells.cells(row, names=1) for row in rows],
        "protocols": cells.protocols(rows),
        "firsts": cells.firsts(rows),
        "further": further.further(_with_seconds(rows, records)),
        "further_title": further.TITLE,
        "further_words": further.WORDS,
        "best": cells.best(rows),
        "glance": _glance(rows),
        "paired": cells.paired_table(_paired(records)),
        "curves": course.curves(records),
        **_episodes(records, methods),
        "evaluations": words.unique(
            record.results["command"] for record in records if isinstance(record.results.get("command"), str)
        ),
        "notes": [f"{record.name}: {note}" for record in records for note in record.notes],
    }


def _run(record: RunRecord, rows: Sequence[Any]) -> dict[str, Any]:
    from rotogbml.reports import course, leader, words

    masks, why_no_masks = _masks(record)
    rival = words.rival_of(record)
    omega_off = not words.look(record.config, "homogenizer.reweight")
    trained_by = record.identity.get("command")
    return {
        "name": record.name,
        "trained": words.trained(record, rows),
        "sources": words.training_sources(record, rows),
        "digests": words.digests(record),
        "omega": course.omega(record) if rival or not omega_off else None,
        "rival": rival,
        "omega_off": omega_off,
        "gamma_off": not words.look(record.config, "homogenizer.rotate"),
        "norms": course.norms(record),
        "cosines": course.cosines(record),
        "shares": course.shares(record),
        "rooms": course.rooms(record),
        "pairs": course.pairs(record),
        "leader": leader.sentences(record),
        "per_source": (sources := course.per_source(record)),
        "source_rooms": [room for room in course.BESIDE_ENCODER if any(room in one.rooms for one in sources)],
        "masks": masks,
        "why_no_masks": why_no_masks,
        "config": record.config_text,
        "facts": words.facts(record),
        "command": trained_by
        if isinstance(trained_by, str)
        else shlex.join(["rotogbml", "train", "--config", (record.path / "config.yaml").as_posix()]),
    }


def _rows(records: Sequence[RunRecord]) -> list[dict[str, Any]]:
    """All result rows; a baseline that two evaluations measured alike stands once."""
    from rotogbml.reports.words import BASELINES, unique

    rows: list[dict[str, Any]] = []
    seen: list[dict[str, Any]] = []
    for row in unique(row for record in records for row in record.results.get("rows") or []):
        same = row
        if row.get("method") in BASELINES:
            same = {k: v for k, v in row.items() if k not in ("run", "key", "command")}
        if same not in seen:
            seen.append(same)
            rows.append(row)
    return rows


def _with_seconds(rows: Sequence[dict[str, Any]], records: Sequence[RunRecord]) -> list[dict[str, Any]]:
    """Put to each row what the clock said of it, in the first evaluation that measured it."""
    said: dict[str, Any] = {}
    for record in records:
        said = {key: each for key, each in record.seconds.items() if isinstance(each, dict)} | said
    return [row | said.get(str(row.get("key")), {}) for row in rows]


def _paired(records: Sequence[RunRecord]) -> list[dict[str, Any]]:
    from rotogbml.reports.words import unique

    return unique(pair for record in records for pair in record.results.get("paired") or [])


def _glance(rows: Sequence[dict[str, Any]]) -> list[Any]:
    """One figure of all methods and targets for each task; a method of several seeds is a mark for each."""
    from rotogbml.reports.figures import dots
    from rotogbml.reports.words import unique

    plots = []
    for n_way, k_shot in unique((row.get("n_way"), row.get("k_shot")) for row in rows):
        here = [row for row in rows if (row.get("n_way"), row.get("k_shot")) == (n_way, k_shot)]
        names = [_label(row, here) for row in here]
        results: dict[str, dict[str, tuple[float, float | None]]] = {name: {} for name in names}
        for name, row in zip(names, here, strict=True):
            if row.get("mean") is not None:
                results[name][str(row.get("target"))] = (row["mean"], row.get("ci95"))
        drawn = {name: by_target for name, by_target in results.items() if by_target}
        if drawn:
            plots.append(dots(f"{n_way}-way {k_shot}-shot", drawn))
    return plots


def _label(row: dict[str, Any], rows: Sequence[dict[str, Any]]) -> str:
    """Name the method, and its run where another run's rows bear the same name."""
    method = str(row.get("method"))
    same = {(other.get("run"), other.get("training_seed")) for other in rows if str(other.get("method")) == method}
    return method if len(same) == 1 else f"{method} ({row.get('run')}, seed {row.get('training_seed')})"


def _episodes(records: Sequence[RunRecord], methods: dict[str, str]) -> dict[str, Any]:
    """Pictures of the first run's test episodes that there are, marked for that run's method."""
    from rotogbml.reports.pictures import episode_picture

    for record in records:
        pictures = []
        for example in record.examples[:3]:
            known = [methods[record.name], *example.predictions]
            method = next((name for name in known if name in example.predictions), None)
            if method is not None:
                pictures.append(episode_picture(example, method))
        if pictures:
            return {"episodes": pictures}
    return {"episodes": []}


def _masks(record: RunRecord) -> tuple[list[Any], str]:
    """Return pictures of what ISI drops, or the reason why there are none."""
    from rotogbml.reports.pictures import mask_pictures

    if not record.config.get("isi"):
        return [], "ISI was off in this run: no neuron was dropped."
    if not record.examples:
        return [], "ISI was on, but there are no example images yet: run rotogbml evaluate."
    try:
        return mask_pictures(record.examples, _drop_map(record.config["isi"])), ""
    except (TypeError, UsageError) as error:
        return [], f"The settings of ISI in config.yaml could not be used ({error})."


def _drop_map(settings: dict[str, Any]) -> DropMap:
    """Return layer 1's drop probability; the layer halves its input, as those of conv4 do."""
    import torch

    from rotogbml.config import IsiConfig
    from rotogbml.encoders.isi import Isi

    isi = Isi(IsiConfig(**settings))

    def drop(images: np.ndarray) -> np.ndarray:
        height, width = images.shape[-2:]
        return isi.drop_probability(torch.from_numpy(images), (height // 2, width // 2)).numpy()

    return drop
