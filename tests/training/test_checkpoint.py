"""Checkpoints: atomic, damaged ones recognised, the newest sound one taken."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest
import torch

from rotogbml.errors import RotogbmlError
from rotogbml.training import checkpoint


def state(step: int) -> dict[str, Any]:
    return {"step": step, "theta": {"w": torch.full((50, 2), float(step))}, "list": [1.5, {"name": "x"}]}


def test_what_was_saved_is_loaded(tmp_path: Path) -> None:
    checkpoint.save(tmp_path / "last.pt", state(3))
    loaded = checkpoint.load(tmp_path / "last.pt")
    assert loaded.pop("format") == checkpoint.FORMAT
    assert checkpoint.digest(loaded) == checkpoint.digest(state(3))
    assert [p.name for p in tmp_path.iterdir()] == ["last.pt"]


def test_the_one_before_stays_as_previous(tmp_path: Path) -> None:
    for step in (1, 2, 3):
        checkpoint.save(tmp_path / "last.pt", state(step), keep_previous=True)
    assert checkpoint.load(tmp_path / "last.pt")["step"] == 3
    assert checkpoint.load(tmp_path / "previous.pt")["step"] == 2
    assert sorted(p.name for p in tmp_path.iterdir()) == ["last.pt", "previous.pt"]


def test_a_flipped_bit_anywhere_is_named_or_harmless(tmp_path: Path) -> None:
    path = tmp_path / "last.pt"
    checkpoint.save(path, state(3))
    whole = path.read_bytes()
    expected = checkpoint.digest(checkpoint.load(path))
    rng, named = random.Random(0), 0
    for _ in range(300):
        damaged = bytearray(whole)
        damaged[rng.randrange(len(whole))] ^= 1 << rng.randrange(8)
        path.write_bytes(damaged)
        try:
            assert checkpoint.digest(checkpoint.load(path)) == expected
        except RotogbmlError as error:
            assert f"{path} is damaged" in str(error)  # noqa: PT017
            named += 1
    assert named > 100


@pytest.mark.parametrize("share", [0, 0.1, 0.5, 0.9, 0.999])
def test_a_truncated_file_is_named(tmp_path: Path, share: float) -> None:
    path = tmp_path / "last.pt"
    checkpoint.save(path, state(3))
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    with pytest.raises(RotogbmlError, match="is damaged"):
        checkpoint.load(path)


def test_the_newest_sound_one_is_taken_and_the_damaged_one_named(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    assert checkpoint.newest(tmp_path / "nothing") is None
    for step in (1, 2):
        checkpoint.save(tmp_path / "last.pt", state(step), keep_previous=True)
    found = checkpoint.newest(tmp_path)
    assert found is not None
    assert found["step"] == 2
    (tmp_path / "last.pt").write_bytes(b"not a checkpoint")
    found = checkpoint.newest(tmp_path)
    assert found is not None
    assert found["step"] == 1
    assert [r.getMessage() for r in caplog.records] == [
        f"checkpoint {tmp_path / 'last.pt'} is damaged (File is not a zip file): the one before is used"
    ]
    (tmp_path / "previous.pt").write_bytes(b"")
    with pytest.raises(
        RotogbmlError, match=r"last\.pt is damaged .* no older one is left: start again in another --out"
    ):
        checkpoint.newest(tmp_path)


def test_a_kill_between_the_two_renames_loses_nothing(tmp_path: Path) -> None:
    for step in (1, 2):
        checkpoint.save(tmp_path / "last.pt", state(step), keep_previous=True)
    (tmp_path / "last.pt").rename(tmp_path / "last.new.pt")  # last → previous has happened, new → last has not
    found = checkpoint.newest(tmp_path)
    assert found is not None
    assert found["step"] == 2


def test_an_absent_file_and_a_later_format_are_named(tmp_path: Path) -> None:
    with pytest.raises(RotogbmlError, match=r"no checkpoint .*best\.pt: train first, or name another"):
        checkpoint.load(tmp_path / "best.pt")
    torch.save({"format": checkpoint.FORMAT + 1}, tmp_path / "best.pt")
    with pytest.raises(RotogbmlError, match=r"best\.pt is of a later format than 2: update rotogbml"):
        checkpoint.load(tmp_path / "best.pt")


def test_a_checkpoint_cannot_run_code(tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self) -> tuple[Any, ...]:
            return (Path.touch, (tmp_path / "owned",))

    torch.save({"format": 1, "step": Evil()}, tmp_path / "last.pt")
    with pytest.raises(RotogbmlError, match=r"last\.pt is no checkpoint of rotogbml: it holds more than tensors"):
        checkpoint.load(tmp_path / "last.pt")
    assert not (tmp_path / "owned").exists()


def test_the_digest_tells_states_apart() -> None:
    base = checkpoint.digest(state(1))
    assert base == checkpoint.digest(state(1))
    others = [state(2), {**state(1), "more": None}, {**state(1), "list": [1.5]}]
    bits = state(1)
    bits["theta"]["w"][3, 1] = torch.nextafter(torch.tensor(1.0), torch.tensor(2.0))
    shaped = state(1)
    shaped["theta"]["w"] = shaped["theta"]["w"].reshape(100)
    digests = {checkpoint.digest(other) for other in [*others, bits, shaped]}
    assert len(digests | {base}) == 6
