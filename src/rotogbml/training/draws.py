"""What draws the minibatches of a step: episodes, pairs of them, or labelled images, as the learner or method takes."""

from __future__ import annotations

from rotogbml import method_presets
from rotogbml.config import RunConfig
from rotogbml.episodes import EpisodeSampler, HardSampler, LabelledSampler, PairSampler
from rotogbml.errors import UsageError
from rotogbml.sources.packed import PackedSource
from rotogbml.training.compared import trains

Sampler = EpisodeSampler | HardSampler | LabelledSampler | PairSampler


def create_sampler(config: RunConfig, training: dict[str, PackedSource]) -> Sampler:
    """Return the sampler of a resolved configuration.

    Raises:
        UsageError: the sources cannot serve it.
    """
    e, name = config.episodes, config.method.name
    assert e.mix is not None
    assert e.augment is not None
    if name in method_presets.ON_IMAGES or not trains(config):
        images, pooled = config.method.batch_size or 2, name != "multi-head"
        return LabelledSampler(training.values(), images, e.tasks_per_batch, config.seed, e.augment, pooled)
    pairs = name in method_presets.ON_PAIRS
    if pairs and len(training) == 1:
        raise UsageError(
            f"{name} learns from what a step on one source does to another, and there is only '{next(iter(training))}' "
            "to train on: add sources, or take --method relationnet-ft"
        )
    sampler = EpisodeSampler(
        training.values(),
        e.n_way,
        e.k_shot,
        e.n_query,
        2 if pairs else e.tasks_per_batch,
        "one-source-per-task" if pairs else e.mix,
        config.seed,
        split="train",
        augment=e.augment,
        respect_groups=e.respect_groups,
        label_noise=e.label_noise,
        weights=None if pairs else e.weights,
    )
    if pairs:
        return PairSampler(sampler, e.tasks_per_batch)
    return HardSampler(sampler, config.method.hard_tasks) if config.method.hard_tasks else sampler


def training_classes(training: dict[str, PackedSource]) -> dict[str, int]:
    """Return how many training classes each source has."""
    return {name: len(source.classes_of("train")) for name, source in training.items()}
