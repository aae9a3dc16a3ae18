"""What a training cost, as its run folder tells it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from rotogbml.studies.cost import peak_memory, seconds_at


def test_seconds_are_between_two_times_of_the_clock(tmp_path: Path) -> None:
    """A step that was taken again after a kill counts as it was taken last; a line that was cut off does not."""
    lines = [
        '{"step": 10, "seconds": 5.0}',
        '{"step": 20, "seconds": 7.0}',
        '{"step": 20, "seconds": 9.0}',
        '{"step": 3',
    ]
    (tmp_path / "timing.jsonl").write_text("\n".join(lines))
    assert seconds_at(tmp_path, [5, 10, 15, 20]) == [2.5, 5.0, 7.0, 9.0]
    assert seconds_at(tmp_path / "none", [5]) == []


def test_the_peak_of_memory_never_falls() -> None:
    before = peak_memory()
    if before is None:
        pytest.skip("this system does not say what a process held at most")
    block = np.ones(2**24)  # 128 MB
    grown = peak_memory()
    assert grown is not None
    assert grown >= max(before, block.nbytes)
    del block
    after = peak_memory()
    assert after is not None
    assert after >= grown - 2**22  # the system counts pages in batches
