"""From a resolved configuration to the parts of Algorithm 1."""

from __future__ import annotations

import logging
import math
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from rotogbml import method_presets
from rotogbml.config import RunConfig
from rotogbml.encoders import MOVING, create_encoder
from rotogbml.encoders.isi import Isi
from rotogbml.episodes import EpisodeSampler, LabelledSampler
from rotogbml.episodes.apart import filling
from rotogbml.errors import UsageError
from rotogbml.homogenizer import Homogenizer, Plain, create_homogenizer
from rotogbml.learners import Learner, Network, Trainable, create_head, create_learner
from rotogbml.methods import Compared, create_method
from rotogbml.sources.packed import PackedSource
from rotogbml.training.compared import trains
from rotogbml.training.draws import Sampler, create_sampler, training_classes
from rotogbml.training.ranks import ALONE, Ranks
from rotogbml.training.run import RunFolder
from rotogbml.training.sources import check_named, open_sources, training_sources, without_held_out
from rotogbml.training.validation import Validation

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Parts:
    """What Algorithm 1 needs."""

    config: RunConfig
    sources: dict[str, PackedSource]
    """Training sources."""
    sampler: Sampler
    learner: Trainable
    homogenizer: Homogenizer
    isi: Isi | None
    validation: Validation
    device: torch.device
    ranks: Ranks = ALONE
    """The processes that share the tasks."""
    size: int = 0
    """Side of the images, pixels."""

    def at(self, progress: float) -> Parts:
        """Return the parts as they are when that share of training, 0 … 1, is done.

        Some learners anneal; outside of its phase the homogenizer rests: it neither acts nor moves.
        """
        learner = self.learner.at(progress)
        h = self.config.homogenizer
        if h is not None and h.phase is not None and not h.phase[0] <= progress < h.phase[1]:
            return replace(self, learner=learner, homogenizer=Plain())
        return self if learner is self.learner else replace(self, learner=learner)


def build(
    config: RunConfig,
    size: int,
    test_steps: int | None = None,
    classes: dict[str, int] | None = None,
    begin: bool = False,
) -> Learner | Compared:
    """Return the learner or compared method with freshly initialised weights, drawn from the run's seed.

    Args:
        config: resolved.
        size: side of the images, pixels.
        test_steps: of a learner, in place of its own, and of mtl, in place of ``method.inner_steps``.
        classes: how many training classes each source has: some methods have a head over them.
        begin: take up the weights that ``method.start`` names.

    Raises:
        UsageError: ``test_steps`` are given of a method that has none.
    """
    if config.method.name is not None:
        if test_steps is not None:
            if config.method.inner_steps is None:
                raise UsageError(f"{config.method.name} has no inner steps: leave --test_steps out")
            config = replace(config, method=replace(config.method, inner_steps=test_steps))
        return create_method(config, size, classes, begin)
    return build_learner(config, size, test_steps)


def build_learner(config: RunConfig, size: int, test_steps: int | None = None) -> Learner:
    """Return the learner with freshly initialised weights, drawn from the run's seed."""
    c = config.learner
    assert c.inner_steps is not None  # resolved
    e, head = config.encoder, config.head
    assert e.norm is not None
    assert head is not None
    # Per-step statistics: one set for each inner step, one for the queries after the last.
    sets = max(0, c.inner_steps) + 1
    encoder = create_encoder(e.name, size, e.width, e.norm, sets, e.precision)
    network = Network(encoder, create_head(head, encoder.feature_dim, config.episodes.n_way))
    network.initialise(config.seed)
    options = {key: value for key, value in vars(c).items() if key != "name"}
    if test_steps is not None:
        options["test_steps"] = test_steps
    return create_learner(c.name, network, **options)


def assemble(config: RunConfig, device: torch.device, ranks: Ranks = ALONE, begin: bool = True) -> Parts:
    """Open the sources and build every part; the network stands on ``device``, ω and γ on the CPU.

    Args:
        config: resolved.
        device: of the network.
        ranks: the processes that share the tasks.
        begin: take up the weights that ``method.start`` names; a run that goes on has its own, whole.

    Raises:
        UsageError: a part cannot be built from what the configuration asks for.
    """
    found = open_sources(config.sources)
    training, size = training_sources(config, found), next(iter(found.values())).size
    check_named(config, found)
    if config.drop_overlap and training:
        training = without_held_out(training, [found[name] for name in config.holdout])
    e = config.episodes
    assert e.mix is not None
    sampler = create_sampler(config, training)
    # Slots, digests and the table know only of sources that can serve.
    training = {source.name: source for source in sampler.serving()}
    _tell_idle_slots(config, sorted(training))
    if isinstance(sampler, LabelledSampler) and trains(config):
        _tell_few_images(sampler)
    learner: Trainable = build(config, size, classes=training_classes(training), begin=begin)
    if begin:
        _tell_norm_of_start(config)
    learner.to(device)
    if isinstance(learner, Learner) and config.homogenizer is not None and config.homogenizer.rotate is not None:
        learner = replace(learner, compare=config.homogenizer.rotate.compare or "mean")
    homogenizer = create_homogenizer(
        config.homogenizer,
        sources=sorted(training),
        tasks_per_batch=e.tasks_per_batch,
        feature_dim=learner.network.feature_dim,
        n_way=e.n_way,
        seed=config.seed,
    )
    if ranks.world > 1 and config.homogenizer is not None and config.homogenizer.combine == "graddrop":
        raise UsageError("graddrop draws number by number along whole gradients: take --devices 1")
    _check_norm(config)
    _check_type(learner)
    isi = None if config.isi is None else Isi(config.isi)
    if isi is not None and isi.layers and not learner.network.encoder.layers:
        raise UsageError(
            f"ISI cannot act on {config.encoder.name}, which names no layers: give the module an attribute isi_layers, "
            "a tuple of names of submodules, or turn ISI off (--isi off)"
        )
    if isi is not None and isi.layers > learner.network.encoder.layers and math.isfinite(isi.layers):
        raise UsageError(
            f"isi.layers is {isi.layers}, but {config.encoder.name} has {learner.network.encoder.layers}: "
            "give fewer, or 'all'"
        )
    judges = training if config.validate_on is None else {n: (found | training)[n] for n in config.validate_on}
    validation = _validation(config, judges if trains(config) else {})
    return Parts(config, training, sampler, learner, homogenizer, isi, validation, device, ranks, size)


def _check_norm(config: RunConfig) -> None:
    """Refuse or tell where scales of their own for each inner step would not be trained."""
    name = config.learner.name
    if config.encoder.norm != "per-step":
        return
    if name in ("anil", "imaml", "reptile"):
        raise UsageError(
            f"norm per-step has a scale for each inner step of the encoder, which {name} does not train: take "
            "--encoder.norm support, or another learner"
        )
    if config.learner.first_order:
        log.warning("norm per-step in first order: scales of steps whose query loss does not count get no gradient")


def _tell_norm_of_start(config: RunConfig) -> None:
    """Say where weights of a run go by other statistics than those that it was trained with."""
    start = config.method.start
    if start is None or not Path(start).is_dir() or ":" in config.encoder.name:
        return
    theirs, ours = RunFolder(Path(start)).read_config().encoder.norm, config.encoder.norm
    as_published = {method_presets.AS_PUBLISHED: MOVING}
    if as_published.get(theirs or "", theirs) != as_published.get(ours or "", ours):
        log.warning(
            "%s was trained with norm %s, and here norm is %s: features will not be those that it was trained to give; "
            "--encoder.norm %s takes them as they are",
            *(start, theirs, ours, theirs),
        )


def _tell_few_images(sampler: LabelledSampler) -> None:
    """Say which sources have fewer training images than a minibatch takes of them: these repeat in it."""
    shares = sampler.shares()
    few = [f"{name} ({n} training images)" for name, (n, wanted) in shares.items() if n < wanted]
    if few:
        log.warning(
            "a minibatch takes about %d images of a source, so that those of %s%s repeat in it: take a smaller "
            "--method.batch_size, or leave such a source out with --holdout",
            *(next(iter(shares.values()))[1], ", ".join(few[:3]), f" and {len(few) - 3} more" if few[3:] else ""),
        )


def _check_type(learner: Trainable) -> None:
    """Refuse an encoder of the user's that does not compute in the images' type."""
    for name, p in learner.network.psi().theta.items():
        if p.dtype != torch.float32:
            raise UsageError(f"the encoder's {name} is {p.dtype}, images are torch.float32: give module.float()")


def _tell_idle_slots(config: RunConfig, sources: list[str]) -> None:
    """Say where slots by source cannot do anything: all tasks of a minibatch share one slot, so ω = 1 and γ = I."""
    h = config.homogenizer
    parts = {} if h is None else {"reweight": h.reweight, "rotate": h.rotate}
    idle = [name for name, part in parts.items() if part is not None and part.slots == "source"]
    why = f"the one source '{sources[0]}'" if len(sources) == 1 else "mix single-source"
    alike = len(sources) == 1 or config.episodes.mix == "single-source"
    if idle and alike and config.episodes.tasks_per_batch > 1:
        log.warning(
            "with %s all tasks of a minibatch share one slot, so slots by source leave everything as it is: "
            "take --homogenizer.%s.slots position or minibatch",
            *(why, idle[0]),
        )


def _validation(config: RunConfig, judges: dict[str, PackedSource]) -> Validation:
    e = config.episodes
    # Of a range the low end, as in evaluation.
    k = e.k_shot if isinstance(e.k_shot, int) else e.k_shot[0]
    samplers = {}
    for name, source in judges.items():
        classes = filling(source, "val", k, e.n_query, apart=e.respect_groups)
        if len(classes) >= e.n_way:
            samplers[name] = EpisodeSampler(
                [source],
                e.n_way,
                k,
                e.n_query,
                1,
                "single-source",
                config.seed,
                split="val",
                augment="none",
                respect_groups=e.respect_groups,
            )
    return Validation(samplers, config.outer.validation_episodes)
