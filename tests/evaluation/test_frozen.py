"""Features of an encoder that stands still are those that the learner would compute, and are computed once."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from rotogbml.encoders import NORMS, NormPass, Seen, create_encoder, update_running
from rotogbml.episodes import Episode, Examples
from rotogbml.evaluation import frozen
from rotogbml.evaluation.frozen import Frozen, stands_still
from rotogbml.learners import Learner, Network, create_head, create_learner

SIZE, WAY, IMAGES = 20, 3, 40
BY_IMAGE = ("running", "group", "layer", "none")


def source(dtype: torch.dtype) -> Tensor:
    return torch.randn(IMAGES, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(1)).to(dtype)


def episode(seed: int, dtype: torch.dtype = torch.float32, name: str = "made") -> Episode:
    """Return 3 support images and 9 queries of the same forty."""
    rows = np.random.default_rng(seed).permutation(IMAGES)[: 4 * WAY]
    x, y = source(dtype)[rows], torch.arange(4 * WAY) % WAY
    sides = (Examples(x[:WAY], y[:WAY]), Examples(x[WAY:], y[WAY:]))
    return Episode(*sides, name, ("a", "b", "c"), (rows[:WAY], rows[WAY:]))


def learner(name: str, norm: str, dtype: torch.dtype, head: str = "linear", **o: Any) -> Learner:
    encoder = create_encoder("conv4", size=SIZE, width=6, norm=norm)
    network = Network(encoder, create_head(head, encoder.feature_dim, WAY))
    network.initialise(0)
    seen: Seen = {}
    encoder(source(torch.float32), None, NormPass(seen=seen))
    update_running(encoder, [seen], momentum=0.5)
    for room in (encoder, network.head):
        room.to(dtype)
    return create_learner(name, network, inner_lr=0.1, **{"inner_steps": 2, "test_steps": 5} | o)


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize(("name", "o"), [("anil", {}), ("maml", {"test_steps": 0}), ("reptile", {"test_steps": 0})])
def test_the_scores_are_those_of_the_learner(norm: str, name: str, o: dict[str, Any]) -> None:
    made = learner(name, norm, torch.float64, **o)
    assert stands_still(made)
    still = Frozen(made, made.network.psi())
    for seed in (0, 1, 0):
        one = episode(seed, torch.float64)
        torch.testing.assert_close(still.predict(one), made.predict(made.network.psi(), one), rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize("head", ["linear-tied", "zero", "prototype", "cosine"])
def test_with_every_head(head: str) -> None:
    made = learner("anil", "group", torch.float64, head)
    one = episode(0, torch.float64)
    still = Frozen(made, made.network.psi())
    torch.testing.assert_close(still.predict(one), made.predict(made.network.psi(), one), rtol=1e-9, atol=1e-10)


def test_what_moves_or_is_judged_alone_does_not_stand_still() -> None:
    assert not stands_still(learner("maml", "group", torch.float32))
    assert not stands_still(learner("boil", "none", torch.float32))
    judged_alone = learner("reptile", "batch", torch.float32, test_steps=0, transductive=False)
    assert not stands_still(judged_alone)
    assert stands_still(replace(judged_alone, alone=False))


@pytest.mark.parametrize("norm", BY_IMAGE)
def test_every_image_goes_through_once(norm: str, monkeypatch: pytest.MonkeyPatch) -> None:
    made = learner("anil", norm, torch.float32)
    still = Frozen(made, made.network.psi())
    still.predict(episode(0))
    passed: list[int] = []
    features = made.network.features
    monkeypatch.setattr(made.network, "features", lambda theta, x, *a, **k: passed.append(len(x)) or features(theta, x))
    for seed in range(1, 30):
        still.predict(episode(seed))
    assert set(passed) <= {1, frozen.PASS}
    assert len(still._kept) == IMAGES
    done = len(passed)
    for seed in range(60):
        still.predict(episode(seed))
    assert len(passed) == done
    still.predict(episode(0, name="another source"))
    assert len(passed) > done


@pytest.mark.parametrize("norm", BY_IMAGE)
@pytest.mark.parametrize("steady", [True, False])
def test_a_feature_does_not_depend_on_who_asked_first(norm: str, steady: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if not steady:
        monkeypatch.setattr(Frozen, "_images_in_a_pass", lambda *_: 1)
    made = learner("anil", norm, torch.float32)
    forth, back = (Frozen(made, made.network.psi()) for _ in range(2))
    one = {seed: forth.features(episode(seed)) for seed in range(6)}
    other = {seed: back.features(episode(seed)) for seed in reversed(range(6))}
    for seed, sides in one.items():
        for z, again in zip(sides, other[seed], strict=True):
            assert torch.equal(z, again)


def test_passes_where_neighbours_matter_are_of_one_image(monkeypatch: pytest.MonkeyPatch) -> None:
    made = learner("anil", "group", torch.float32)
    still = Frozen(made, made.network.psi())
    assert still._images_in_a_pass(source(torch.float32)) == frozen.PASS
    features = made.network.features

    def uneven(theta: dict[str, Tensor], x: Tensor) -> Tensor:
        z = features(theta, x)
        return z * (1 + 1e-7 * torch.arange(len(z)).view(-1, 1))

    monkeypatch.setattr(made.network, "features", uneven)
    assert still._images_in_a_pass(source(torch.float32)) == 1


def test_what_does_not_fit_is_computed_again(monkeypatch: pytest.MonkeyPatch) -> None:
    made = learner("anil", "group", torch.float32)
    whole, little = (Frozen(made, made.network.psi()) for _ in range(2))
    expected = [whole.predict(episode(seed)) for seed in range(4)]
    monkeypatch.setattr(frozen, "_BYTES", 5 * 4 * made.network.feature_dim)
    for seed in range(4):
        assert torch.equal(little.predict(episode(seed)), expected[seed])
    assert len(little._kept) == 5
