"""What was trained on what, and what came out, in plain sentences."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from rotogbml.evaluation.cells import NOTHING, Row, is_mean, paired_cells
from rotogbml.learner_presets import SPELT
from rotogbml.method_presets import SPELT as METHODS
from rotogbml.reports.record import RunRecord, unique

BASELINES = ("untrained encoder", "nearest prototype on pixels")
MIXES = {
    "one-source-per-task": "each task of a step from another source",
    "single-source": "all tasks of a step from one source",
    "uniform": "each task from a source drawn at random",
    "by-classes": "each task from a source drawn as often as it has classes",
}


def look(tree: Any, path: str) -> Any:
    """Return a value of nested mappings by its dotted path; None where any part is missing."""
    for part in path.split("."):
        tree = tree.get(part) if isinstance(tree, Mapping) else None
    return tree


def method_of(record: RunRecord, rows: Sequence[Row]) -> str:
    """Return the method's name as the results have it; the learner's before an evaluation."""
    for row in rows:
        if row.get("run") == record.name and row.get("method") not in BASELINES:
            return str(row["method"])
    return str(look(record.config, "method.name") or look(record.config, "learner.name") or "learner")


def training_sources(record: RunRecord, rows: Sequence[Row]) -> list[str]:
    """Return the names of the sources that the run trained on."""
    for row in rows:
        if row.get("run") == record.name and row.get("sources"):
            return [str(name) for name in row["sources"]]
    logged = unique(name for line in record.train for name in line.get("sources") or {})
    return sorted(logged) or [name for name, _ in digests(record)]


def digests(record: RunRecord) -> list[tuple[str, str]]:
    """Return (source, digest) as run.json lists them."""
    listed = record.identity.get("sources") or {}
    items = listed.items() if isinstance(listed, Mapping) else [(look(one, "name") or one, one) for one in listed]
    return [(str(name), str(look(one, "digest") or (one if isinstance(one, str) else NOTHING))) for name, one in items]


def trained(record: RunRecord, rows: Sequence[Row]) -> list[str]:
    """Say what the run trained, how, and on what."""
    config = record.config
    first_order = look(config, "learner.first_order")
    annealed = not first_order and look(config, "learner.first_order_share")
    order = {True: "first-order ", False: "second-order "}.get(first_order, "")
    order = "first-, then second-order " if annealed else order
    name = str(look(config, "learner.name") or "an unnamed learner")
    learner = SPELT.get(name, name)
    encoder = look(config, "encoder.name") or "encoder"
    width = look(config, "encoder.width")
    norm = look(config, "encoder.norm")
    own = ":" in str(encoder)  # a module of the user's: what it is inside is not known here
    network = f"{encoder}" + (f" with {width} filters a layer" if width and not own else "")
    network += f", norm policy “{'as given' if own else norm}”" if norm else ""
    head = look(config, "head")
    network += f", with a {head} head" if head not in (None, "linear") else ""
    sentences = [f"{order.capitalize()}{learner} learnt an initialisation of {network}."]
    compared = look(config, "method.name")
    if compared:
        alone = look(config, "method.source")
        sentences = [
            f"{METHODS.get(str(compared), str(compared))} used {network}"
            + (f", trained on {alone} alone (single-source)." if alone else ".")
        ]
    step = record.train[-1].get("step") if record.train else None
    n_way, k_shot, n_query = (look(config, f"episodes.{name}") for name in ("n_way", "k_shot", "n_query"))
    tasks, mix = look(config, "episodes.tasks_per_batch"), look(config, "episodes.mix")
    if step is not None:
        length = f"It trained for {step:,} steps" + (f" of {tasks} tasks" if tasks else "")
        sentences.append(f"{length}{', ' + MIXES[mix] if mix in MIXES else ''}.")
    if n_way is not None:
        shots = f"{k_shot[0]} to {k_shot[1]}" if isinstance(k_shot, list | tuple) else k_shot
        sentences.append(
            f"A task asks to tell {n_way} classes apart from {shots} labelled image{'' if shots == 1 else 's'} of each "
            f"({n_way}-way {shots}-shot), and is marked on {n_query} further images a class."
        )
    return [*sentences, *homogenizing(record)]


def rival_of(record: RunRecord) -> str | None:
    """Return the rule that stood in ω’s place, as tables call it; None where there was none."""
    name = look(record.config, "homogenizer.combine")
    if name is None:
        return None
    from rotogbml.homogenizer.rivals.rival import spelt  # brings torch, which a page of other runs does without

    return spelt(name)


def homogenizing(record: RunRecord) -> list[str]:
    """Say which parts of RotoGBML acted, or that none did, and which rival."""
    omega, gamma = (look(record.config, f"homogenizer.{part}") for part in ("reweight", "rotate"))
    isi = look(record.config, "isi")
    parts = []
    if omega:
        rule = {"closed-form": "set in closed form", "fixed": "held fixed"}.get(str(omega.get("update")), "learnt")
        parts.append(f"ω, one weight on each task’s gradient ({rule}, β = {omega.get('beta')}{_slots(omega)})")
    if gamma:
        space = "where gradients reach the encoder" if gamma.get("align") == "shared" else "in the rotated space"
        parts.append(f"γ, one rotation of each task’s features (aligned {space}{_slots(gamma)})")
    if isi:
        layers = isi.get("layers")
        where = "all layers" if layers == "all" else f"the first {layers} layers" if layers != 1 else "the first layer"
        side = "" if isi.get("side") in (None, "both") else f", in passes of the {isi.get('side')} alone"
        parts.append(f"{_drops(isi)} on {where} (rate {isi.get('rate')}, T = {isi.get('T')}{side})")
    off = [name for name, part in (("ω", omega), ("γ", gamma), ("ISI", isi)) if not part]
    rival = rival_of(record)
    instead = [f"{rival} stood in ω’s place and made one gradient of the tasks’."] if rival else []
    phase = look(record.config, "homogenizer.phase")
    if phase and (omega or gamma or rival):
        instead.append(f"The homogenizer acted in the share {phase[0]:g} to {phase[1]:g} of training alone.")
    if not parts:
        plain = "a compared method" if look(record.config, "method.name") else "the plain learner"
        return [f"No part of RotoGBML acted{'' if rival else f': this is {plain}'}.", *instead]
    missing = f" Off: {' and '.join(off)}." if off else ""
    return [f"RotoGBML acted in training only: {'; '.join(parts)}.{missing}", *instead]


def outcome(rows: Sequence[Row], paired: Sequence[Row], methods: Sequence[str] = ()) -> list[str]:
    """Say each task's mean accuracy over its targets, the runs' methods first, then what their difference shows.

    The 95 % interval of such a mean is that of fixed targets and drawn episodes, √(Σ_t ci_t²) / targets.
    """
    sentences = []
    for n_way, k_shot in unique((row.get("n_way"), row.get("k_shot")) for row in rows):
        here = [row for row in rows if (row.get("n_way"), row.get("k_shot")) == (n_way, k_shot)]
        targets = unique(row["target"] for row in here)
        found = {}
        for method in sorted(unique([*methods, *(row.get("method") for row in here)]), key=BASELINES.__contains__):
            own = [row for row in here if row.get("method") == method]
            means = [row["mean"] for row in own]
            intervals = [row["ci95"] for row in own if row.get("ci95") is not None]
            if means and None not in means:
                # Runs of several seeds met the same episodes: what they say together has another interval.
                known = len(intervals) == len(own) == len({row["target"] for row in own})
                interval = f" ± {100 * math.hypot(*intervals) / len(own):.2f}" if known else ""
                found[method] = f"{100 * sum(means) / len(own):.2f}{interval}"
        if not found:
            continue
        over = f"on {targets[0]}" if len(targets) == 1 else f"on average over {len(targets)} targets"
        scores = "; ".join(f"{method} {mean} %" for method, mean in found.items())
        sentences.append(f"{n_way}-way {k_shot}-shot accuracy {over}: {scores}. Guessing gives {100 / n_way:.0f} %.")
    overall = [pair for pair in paired if is_mean(pair)] or (paired if len(paired) == 1 else [])
    for pair in overall:
        difference, target, points, interval, _, meaning = paired_cells(pair)
        sentences.append(f"{difference}, {target}: {points} points; the 95 % interval {interval} {meaning}.")
    return sentences


def duration(seconds: float) -> str:
    """Return seconds as ``'1 h 02 min'``, ``'3 min 20 s'`` or ``'12.3 s'``."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02d} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"


def facts(record: RunRecord) -> list[tuple[str, str]]:
    """Return (label, value) of what a reader needs to repeat the run; what is not known is left out."""
    identity = record.identity
    parameters, seed = identity.get("parameters"), look(record.config, "seed")
    versions = [f"{name} {identity[name]}" for name in ("rotogbml", "python", "torch", "numpy") if name in identity]
    seconds = record.timing[-1].get("seconds") if record.timing else None
    known = {
        "versions": ", ".join(versions) or None,
        "machine": identity.get("machine"),
        "training seed": seed,
        "steps": f"{record.train[-1].get('step'):,}" if record.train else None,
        "wall time": duration(float(seconds)) if seconds is not None else None,
        "speed": _speed(record),
        "parameters": f"{parameters:,}" if isinstance(parameters, int) else None,
        "folder": record.path.as_posix(),
    }
    return [(label, str(value)) for label, value in known.items() if value is not None]


def _drops(isi: Mapping[str, Any]) -> str:
    """Return what dropped neurons: ISI, or a control in its place."""
    if str(isi.get("T")) in ("inf", ".inf"):
        return "plain dropout in ISI’s place"
    return "a mask of edges in ISI’s place" if isi.get("mask") == "edges" else "ISI"


def _speed(record: RunRecord) -> str | None:
    speeds = sorted(float(line["tasks_per_second"]) for line in record.timing if line.get("tasks_per_second"))
    return f"{speeds[len(speeds) // 2]:.1f} tasks/s (median)" if speeds else None


def _slots(part: Mapping[str, Any]) -> str:
    return {
        "source": ", one for each source",
        "position": ", one for each place in the minibatch",
        "minibatch": ", anew for each minibatch",
    }.get(str(part.get("slots")), "")
