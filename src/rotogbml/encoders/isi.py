"""Invariant self-information: drop what repeats, keep shape (RotoGBML eq. 8–10, after InfoDrop).

The map x that enters a layer decides which neurons of the layer's output z are zeroed. A patch that recurs in
its neighbourhood tells little: q is high, self-information I = −log q is low, and the drop weight
w ∝ exp(−I/T) = q^{1/T} is high. Edges and outlines stay. T → ∞ is uniform (plain dropout without rescaling),
T → 0 drops only the flattest regions.

InfoDrop draws k = int(rate·h′·w′) positions for each channel with replacement. Here every neuron is dropped by
itself with that scheme's exact marginal probability 1 − (1 − w)^k, which has the same expectation everywhere and
needs no sorting or gathering. Nothing is rescaled and no gradient flows through the mask. Training only: at test
it is simply not used.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from rotogbml import seeds
from rotogbml.config import IsiConfig
from rotogbml.encoders.edges import by_edges, edge_magnitude
from rotogbml.encoders.patches import self_information_density
from rotogbml.errors import UsageError
from rotogbml.native import passes


class Isi:
    """The settings of ISI, checked once, and the masks they give.

    Args:
        config: with every field set (see ``presets.fill``), but ``side`` and ``mask`` (both, information).

    Raises:
        UsageError: a field is missing or out of its range.
    """

    def __init__(self, config: IsiConfig) -> None:
        layers = _resolved(config, "layers")
        self.layers: float = math.inf if layers == "all" else int(layers)
        self.rate = float(_resolved(config, "rate"))
        self.temperature = float(_resolved(config, "T"))
        self.radius = int(_resolved(config, "radius"))
        self.bandwidth = float(_resolved(config, "bandwidth"))
        self.patch = int(_resolved(config, "patch"))
        self.normalize = str(_resolved(config, "normalize"))
        self.side = "both" if config.side is None else str(config.side)
        self.mask = "information" if config.mask is None else str(config.mask)
        _check(self.layers >= 0, "layers", layers, "a number of layers ≥ 0, or 'all'")
        _check(0 <= self.rate < math.inf, "rate", self.rate, "a share ≥ 0")
        _check(self.temperature > 0, "T", self.temperature, "a temperature > 0, or 'inf' for plain dropout")
        _check(self.radius >= 0, "radius", self.radius, "a number of pixels ≥ 0")
        _check(0 < self.bandwidth < math.inf, "bandwidth", self.bandwidth, "a width > 0")
        _check(self.patch >= 1 and self.patch % 2 == 1, "patch", self.patch, "an odd number of pixels")
        _check(self.normalize in ("image", "batch"), "normalize", self.normalize, "'image' or 'batch'")
        _check(self.side in ("both", "support", "query"), "side", self.side, "'both', 'support' or 'query'")
        _check(self.mask in ("information", "edges"), "mask", self.mask, "'information' or 'edges'")

    @torch.no_grad()
    def drop_weights(self, x: Tensor, out_hw: tuple[int, int]) -> Tensor:
        """Return w = q^{1/T}, normalised to sum 1 over the positions of each image: [b, h′, w′].

        Args:
            x: map that enters the layer, [b, c, h, w].
            out_hw: (h′, w′) of the layer's output, not larger than x. Where it is smaller, a position takes
                the least weight of its window, so that a region goes only if all of it tells little.

        Raises:
            ValueError: the output is larger than the input.
        """
        if math.isinf(self.temperature):
            return x.new_full((len(x), *out_hw), 1.0 / (out_hw[0] * out_hw[1]))
        q = self_information_density(x.detach(), self.patch, self.radius, self.bandwidth, self.normalize)
        q = min_pool(q, out_hw)
        # In logarithms: q^{1/T} itself leaves the range of float32 at small T.
        return q.log_().div_(self.temperature).flatten(1).softmax(dim=1).reshape(q.shape)

    @torch.no_grad()
    def drop_probability(self, x: Tensor, out_hw: tuple[int, int]) -> Tensor:
        """Return the probability 1 − (1 − w)^k, k = int(rate·h′·w′), that a neuron is zeroed: [b, h′, w′].

        It is the same for every channel. Arguments and errors as for ``drop_weights``. With ``mask="edges"`` the same
        probabilities are handed out by edge magnitude (``edges.py``).
        """
        k = int(self.rate * out_hw[0] * out_hw[1])
        w = self.drop_weights(x, out_hw)
        probability = -torch.expm1(k * torch.log1p(-w)) if k else torch.zeros_like(w)
        if self.mask == "edges":
            # A position that stands for a window is as steep as the steepest of it.
            return by_edges(probability, min_pool(-edge_magnitude(x.detach()), out_hw).neg())
        return probability

    def acts_on(self, side: str) -> bool:
        """Whether neurons are dropped in passes of the support or of the queries (``support``, ``query``).

        Norms that take the support's statistics pass the support along with the queries: that is a pass of the queries.
        """
        return self.side in ("both", side)

    def draw(self, seed: int) -> Masks:
        """Return the masks of one task. Equal seeds and equal calls give equal masks."""
        return Masks(self, seed, {})


class Masks:
    """The mask function of one task: ``masks(layer, x, z) -> z``, each call the next draw of its own stream.

    It leaves layers that ISI does not act on as they are (the same tensor), and zeroes dropped neurons of the others.
    """

    def __init__(self, isi: Isi, seed: int, known: dict[int, tuple[Tensor, Tensor]]) -> None:
        self.isi, self.seed, self.known = isi, seed, known
        self.bits = np.random.SFC64(seeds.derive(seed, "isi"))

    def of(self, *names: str | int) -> Masks:
        """Return the masks of one named pass of the task: a pass that is repeated gets the same masks again."""
        return Masks(self.isi, seeds.derive(self.seed, *names), self.known)

    def __call__(self, layer: int, x: Tensor, z: Tensor) -> Tensor:
        """Return z, partly zeroed: layer counted from 0, x the map that enters it, z what it puts out."""
        if layer >= self.isi.layers:
            return z
        known = self.known.get(layer)
        if known is not None and known[0] is x:
            probability = known[1]
        else:
            probability = self.isi.drop_probability(x, (z.shape[-2], z.shape[-1]))
            if not x.requires_grad:
                # The support's images come again in every inner step: what is known of them is worked out once. Maps
                # inside the network never do, and would keep their pass's graph alive.
                self.known[layer] = (x, probability)
        # A product in z's own type and layout is five times as fast as masked_fill, forward and backward.
        return z * kept(probability, z, self.bits)


def min_pool(q: Tensor, out_hw: tuple[int, int]) -> Tensor:
    """Return the least value of each window, [b, h, w] → [b, h′, w′].

    Windows are those of a layer that halves (or thirds, …) its input, whether it rounds odd sizes down, as
    pooling does, or up, as padded convolutions do; for any other ratio they share the map out evenly.

    Raises:
        ValueError: the output is larger than the input.
    """
    size = (q.shape[-2], q.shape[-1])
    if size == out_hw:
        return q
    if out_hw[0] > size[0] or out_hw[1] > size[1]:
        raise ValueError(f"ISI acts on layers that do not enlarge their input; got {size} → {out_hw}")
    stride = [max(1, round(n / m)) for n, m in zip(size, out_hw, strict=True)]
    if all(n // s <= m <= -(-n // s) for n, m, s in zip(size, out_hw, stride, strict=True)):
        pooled = F.max_pool2d(-q, stride, ceil_mode=True)[..., : out_hw[0], : out_hw[1]]
    else:
        pooled = F.adaptive_max_pool2d(-q, out_hw)
    return pooled.neg()


def kept(probability: Tensor, z: Tensor, bits: np.random.BitGenerator) -> Tensor:
    """Return 0 where a neuron of z [b, c, h, w] is dropped, with ``probability`` [b, h, w], else 1, like z.

    Sixteen random bits a neuron, a quarter of the cost of a random float. The threshold of a position is rounded
    up or down at random so that its expectation is exact: the marginal probability of every neuron is
    ``probability`` to 2⁻³² and no event of probability below 2⁻¹⁶ is lost; 0 and 1 are certain. (The dither's bits are
    the fates' of other neurons, and of a few positions their own: there it is to 2⁻¹⁶.)
    """
    b, channels, h, w = z.shape
    n, positions = b * channels * h * w, b * h * w
    words, first = -(-n // 4), -(-positions // 2)
    raw = bits.random_raw(words + first)
    # Channels last, as the encoders compute: a mask of another layout costs three times its own making.
    fates = raw[:words].view(np.uint16)[:n].reshape(b, h, w, channels)
    dither = raw[min(words, first) :].view(np.uint32)[:positions].reshape(b, h, w) / 2.0**32
    # Drawn on the processor, so that a seed says the same everywhere; compared where z is: nobody waits for a GPU.
    fate, up = torch.from_numpy(fates.view(np.int16)).to(z.device), torch.from_numpy(dither).to(z.device)
    threshold = (probability.double().nan_to_num().mul_(65536.0) + up).floor_().int()
    if passes.takes(z):
        return passes.kept(fate, threshold, z)
    alive = fate.int().bitwise_and_(0xFFFF) >= threshold[..., None]
    return alive.permute(0, 3, 1, 2).to(z.dtype)


def _resolved(config: IsiConfig, name: str) -> Any:
    value = getattr(config, name)
    _check(value is not None, name, value, "a value, or fill the configuration by presets.fill")
    return value


def _check(holds: bool, name: str, value: object, mend: str) -> None:
    if not holds:
        raise UsageError(f"isi.{name}={value} cannot be used: give {mend}")
