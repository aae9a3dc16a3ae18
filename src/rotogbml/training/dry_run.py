"""``rotogbml train --dry-run``: what a run would take, without one."""

from __future__ import annotations

import sys
import time
from dataclasses import replace

import torch
from rich.console import Console
from rich.table import Table

from rotogbml.training.assemble import Parts
from rotogbml.training.naming import method_name
from rotogbml.training.outer import create_optimizer
from rotogbml.training.progress import clock
from rotogbml.training.step import meta_step


def dry_run(parts: Parts) -> float:
    """Try three steps, say what a run would take, write nothing; return the seconds spent."""
    c = parts.config
    # Of learners that anneal the dearest part: where second order begins, with every step's loss if that still counts.
    parts = parts.at(c.learner.first_order_share or 0.0)
    psi = parts.learner.network.psi()
    optimizer = create_optimizer(replace(c.outer, meta_lr=0.0), parts.learner, psi)
    seconds = []
    for step in range(3):  # the first one also loads libraries and reserves memory
        began = time.perf_counter()
        mine = parts.ranks.share(c.episodes.tasks_per_batch)
        meta_step(parts, psi, optimizer, tuple(e.to(parts.device) for e in parts.sampler.batch(step, mine)), step)
        seconds.append(time.perf_counter() - began)
    if not parts.ranks.first:
        return sum(seconds)
    each = min(seconds[1:])
    steps = c.steps if c.steps is not None else max(1, int(60 * (c.minutes or 0) / each))
    table = Table(title="dry run: nothing was written", title_justify="left")
    table.add_column("what")
    table.add_column("value", justify="right")
    rows = {
        "method": method_name(c),
        "parameters (encoder)": f"{sum(p.numel() for p in psi.theta.values()):,}",
        "parameters (head)": f"{sum(p.numel() for p in psi.phi.values()):,}",
        "parameters (of the adaptation)": f"{sum(p.numel() for p in parts.learner.alpha.values()):,}",
        "features m": f"{parts.learner.network.feature_dim:,}",
        "processes": f"{parts.ranks.world}",
        "peak memory of a process so far": _peak_memory(parts.device),
        "one step": f"{each:.3f} s",
        "steps": f"{steps:,}",
        "estimated time, without validation": clock(steps * each),
    }
    for name, shown in rows.items():
        table.add_row(name, shown)
    Console().print(table)
    return sum(seconds)


def _peak_memory(device: torch.device) -> str:
    if device.type == "cuda":
        return f"{torch.cuda.max_memory_allocated(device) / 2**20:,.0f} MB on the GPU"
    try:
        import resource
    except ImportError:  # Windows
        return "not known on this system"
    unit = 2**20 if sys.platform == "darwin" else 2**10
    return f"{resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit:,.0f} MB"
