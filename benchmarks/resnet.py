"""What the fused residual block is worth: processor time over stock's, one thread: ``python -m benchmarks.resnet``.

    block   one or two batch norms, what is added, and ReLU alone: forward and backward; the backward of that too
    task    the meta-gradient of one MAML task: W4 (resnet10-small, 84 px, 1 and 5 inner steps) and other encoders

Rows, ways and rounds as in ``benchmarks.block``. Writes ``benchmarks/results/resnet.json``.
"""

from __future__ import annotations

import os
from collections.abc import Callable

import torch

from benchmarks.block import Ways, run, task
from rotogbml.encoders.norm import Norm
from rotogbml.encoders.residual import norm_sum_relu

SHAPES = [(75, 64, 42, 42), (75, 512, 6, 6), (5, 64, 42, 42), (5, 128, 21, 21), (5, 256, 11, 11), (5, 512, 6, 6)]
SUMS = {"norm": (1, False), "norm + x": (1, True), "norm + norm": (2, False)}
TASKS = {
    "W4: resnet10-small, 84 px, 1 step": ("resnet10-small", 84, 1),
    "W4: resnet10-small, 84 px, 5 steps": ("resnet10-small", 84, 5),
    "resnet10, 84 px, 5 steps": ("resnet10", 84, 5),
    "resnet18-small, 42 px, 3 steps": ("resnet18-small", 42, 3),
    "resnet12, 42 px, 3 steps": ("resnet12", 42, 3),
}


def block(shape: tuple[int, int, int, int], maps: int, plain: bool, twice: bool) -> Ways:
    """Return both ways through ReLU of a sum of norms; ``twice``: on to the second derivative."""
    g = torch.Generator().manual_seed(0)

    def one() -> torch.Tensor:
        return torch.randn(shape, generator=g).to(memory_format=torch.channels_last).requires_grad_()

    terms = [(Norm(shape[1]), one()) for _ in range(maps)]
    x = one() if plain else None
    at = [t for norm, y in terms for t in (y, norm.weight, norm.bias)] + ([] if x is None else [x])

    def through(switch: str) -> None:
        os.environ["ROTOGBML_FUSED"] = switch
        z = norm_sum_relu(terms, None, x)
        back = z.detach().clone(memory_format=torch.preserve_format).requires_grad_()
        first = torch.autograd.grad(z, at, back, create_graph=twice)
        if twice:
            wanted = [*(t for norm, y in terms for t in (y, norm.weight)), back]
            torch.autograd.grad(first, wanted, [p.detach() for p in at])

    return {"stock": lambda: through("0"), "fused": lambda: through("1"), "again": lambda: through("0")}


def main() -> None:
    """Run, print the table, write it."""
    rows: dict[str, Callable[[], Ways]] = {}
    for shape in SHAPES:
        for name, kind in SUMS.items():
            for twice, what in ((False, "backward"), (True, "second derivative")):
                rows[f"block {[*shape]}, {name}, {what}"] = lambda a=(shape, *kind, twice): block(*a)
    for name, (encoder, size, steps) in TASKS.items():
        for first_order, what in ((True, "first order"), (False, "second order")):
            rows[f"task {name}, {what}"] = lambda a=(size, 64, 15, steps, first_order, encoder): task(*a)
    run(rows, (__doc__ or "").split("\n")[0], "resnet.json")


if __name__ == "__main__":
    main()
