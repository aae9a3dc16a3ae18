"""Rounds: processes that take turns, ways that are missing or break, ratios within a round."""

from __future__ import annotations

from dataclasses import replace

import pytest
from benchmarks.tables import work_table
from benchmarks.work import WORKS
from benchmarks.worker import Worker, WorkerError

from benchmarks import growth, rounds, speed, targets, ways

TINY = replace(WORKS["W1"], width=3, size=24, n_query=2, tasks=2, steps=1)


def test_every_way_is_measured_and_a_missing_one_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    known = {name: row for name, row in ways.rows(TINY).items() if name in (ways.OURS, ways.PAIR, ways.PLAIN)}
    absent = ways.Row(known[ways.PLAIN].make, package="no_such_package")
    monkeypatch.setattr(rounds, "rows", lambda _: {**known, "absent": absent})
    told: list[str] = []
    found = rounds.measure(TINY, 2, told.append, threads=1)
    assert set(found["rows"]) == {ways.OURS, ways.PAIR, ways.PLAIN}
    assert found["skipped"] == {"absent": "no_such_package is not installed: pip install 'rotogbml[bench]'"}
    assert found["rows"][ways.OURS]["ratio"] == found["rows"][ways.OURS]["ratio_high"] == 1
    for row in found["rows"].values():
        assert 0 < row["low"] <= row["seconds"] <= row["high"]
        assert row["peak_mb"] >= row["base_mb"] > 0
    assert sum("round" in line for line in told) == 2
    record = {"works": {"tiny": found | {"flops": 1e9, "said": ""}}}
    assert "| absent | not measured: no_such_package is not installed" in work_table(record, "tiny")


def test_a_way_that_breaks_is_named_with_what_it_said() -> None:
    with Worker(replace(TINY, size=24), "no such way") as worker, pytest.raises(WorkerError, match="no such way"):
        worker.ready()


def test_the_exponent_is_that_of_a_power_law() -> None:
    assert growth.slope({str(x): 3 * x**1.7 for x in (1, 2, 5, 10)}) == pytest.approx(1.7)


def test_targets_are_met_or_missed_by_what_was_measured() -> None:
    row = {"ratio": 4.0, "ratio_low": 3.0, "ratio_high": 5.0, "seconds": 1.0, "low": 0.9, "high": 1.2, "cores": 2}
    rows = {way: {**row, "peak_mb": 100.0} for way in (ways.OURS, ways.PAIR, *targets.PEERS)}
    record = {"works": {"W1": {"rows": rows, "flops": 2e11}}, "peak": {"2": {"peak": 400.0}}}
    others = {"step": {"table": {"ISI, 2 layers": {"ratio": 1.2, "low": 1.18, "high": 1.3}}}}
    table = targets.table(record, others)
    assert "| W1 | higher | ≥ 3.5 × | 4.00 × | 3.00–5.00 | met, the bar lies in the range |" in table
    assert "| W1 | peak of f32 convolution | ≥ 60 % | 50.00 % | 41.67–55.56 | **missed** |" in table
    assert "| W1, memory | plain loop | ≤ 1 × | 1.00 × |  | met |" in table
    assert "| ISI, 2 layers | step without | ≤ 15 % | 20.00 % | 18.00–30.00 | **missed** |" in table
    assert "| W2 | plain loop | ≥ 3 × | | | not measured |" in table
    assert "not measured by `python -m benchmarks.step`" in table


def test_a_gpu_that_is_not_there_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    monkeypatch.setattr("sys.argv", ["speed", "--accelerator", "cuda"])
    with pytest.raises(SystemExit, match="accelerator is cuda, but torch sees no such GPU"):
        speed.main()


def test_ways_of_several_processes_do_not_share_a_gpu() -> None:
    said: list[str] = []
    found = rounds.measure(TINY, 1, said.append, [ways.PAIR], device="cuda")
    assert found["rows"] == {}
    assert found["skipped"] == {ways.PAIR: "its processes would share one GPU"}
