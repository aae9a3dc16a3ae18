"""Rivals of ω through the same interface: other ways to make one gradient of those of N tasks.

    norms.py     clip, unit                                    need only ‖g_i‖
    gramian.py   PCGrad, MGDA, CAGrad, UPGrad, …               weights from ⟨g_i, g_j⟩, by torchjd
    losses.py    FAMO, DWA, uncertainty weighting              weights from L_i, with a memory, by torchjd
    graddrop.py  GradDrop                                      number by number, by torchjd

All but GradDrop come down to one weight a task, which scales its gradient at θ, φ and α alike, as ω does.
"""

from __future__ import annotations

from rotogbml.homogenizer.rivals.rival import NAMES, Rival, create_rival

__all__ = ["NAMES", "Rival", "create_rival"]
