"""Every compared method by name: its network and its parts."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from torch import nn

from rotogbml import method_presets
from rotogbml.config import RunConfig
from rotogbml.encoders import MOVING, Encoder, create_encoder
from rotogbml.errors import UsageError
from rotogbml.learners import Learner, LinearHead
from rotogbml.learners.heads import CosineHead
from rotogbml.methods.adversarial import Adversarial
from rotogbml.methods.beside import Beside
from rotogbml.methods.compared import Compared, Options
from rotogbml.methods.finetune import FineTuned
from rotogbml.methods.frozen import FrozenPrototype, Probe
from rotogbml.methods.maps import of_maps
from rotogbml.methods.matching import SCALE, MatchingNet, Scale
from rotogbml.methods.mtl import mtl
from rotogbml.methods.multihead import MultiHead
from rotogbml.methods.prototypes import ProtoNet
from rotogbml.methods.relation import Relation, norm_of_pairs
from rotogbml.methods.relationnet import RelationNet
from rotogbml.methods.relevance import Relevant
from rotogbml.methods.ridge import R2D2, MetaOptRidge, RidgeHead, ScaleHead
from rotogbml.methods.skd import Gen0, Gen1, Rotations, Taught
from rotogbml.methods.start import load_start
from rotogbml.methods.supervised import Baseline, BaselinePP
from rotogbml.methods.svm import MetaOptSvm
from rotogbml.methods.transform import LearnedTransform, Transformed


class Setting(NamedTuple):
    """What a method is built from."""

    name: str
    options: Options
    encoder: Encoder
    size: int
    """Side of the images, pixels."""
    n_way: int
    classes: dict[str, int]
    """How many training classes each source has; empty where nothing is trained."""
    published: bool
    """Whether norms are those of the original code."""

    @property
    def outputs(self) -> int:
        """Rows of a head over all training classes."""
        return max(1, sum(self.classes.values()))


Recipe = Callable[[Setting], Compared | Learner]


def _plain(kind: type[Compared], head: Callable[[], nn.Module] = nn.Module) -> Recipe:
    """Return the recipe of a method that learns the encoder and a few numbers."""
    return lambda s: kind(s.name, Beside(s.encoder, head()), s.options)


def _supervised(kind: type[Compared], head: type[LinearHead]) -> Recipe:
    """Return the recipe of a method with a head over all training classes."""
    return lambda s: kind(s.name, Beside(s.encoder, head(s.encoder.feature_dim, s.outputs)), s.options)


def _relation(kind: type[RelationNet]) -> Recipe:
    """Return the recipe of a method with a relation module."""

    def build(s: Setting) -> Compared:
        channels, side = of_maps(s.encoder, s.size)
        module = Relation(channels, side, norm_of_pairs(s.encoder.norm, s.published))
        return kind(s.name, Beside(s.encoder, module), s.options, module)

    return build


def _metaoptnet(s: Setting) -> Compared:
    kind = MetaOptSvm if s.options["solver"] == "svm" else MetaOptRidge
    return kind(s.name, Beside(s.encoder, ScaleHead()), s.options)


def _multi_head(s: Setting) -> Compared:
    return MultiHead(s.name, Beside(s.encoder, LinearHead(s.encoder.feature_dim, s.outputs)), s.options, s.classes)


def _gen1(s: Setting) -> Compared:
    return Gen1(s.name, Taught(s.encoder, Rotations(s.encoder.feature_dim, s.outputs)), s.options)


RECIPES: dict[str, Recipe] = {
    "baseline": _supervised(Baseline, LinearHead),
    "baseline++": _supervised(BaselinePP, CosineHead),
    "finetune": _plain(FineTuned),
    "frozen-prototype": _plain(FrozenPrototype),
    "linear-probe": _plain(Probe),
    "matchingnet": _plain(MatchingNet, lambda: Scale(SCALE)),
    "metaoptnet": _metaoptnet,
    "mtl": lambda s: mtl(s.encoder, s.n_way, s.options),
    "multi-head": _multi_head,
    "protonet": _plain(ProtoNet),
    "r2d2": _plain(R2D2, RidgeHead),
    "random-finetuned": _plain(FineTuned),
    "random-frozen": _plain(Probe),
    "relationnet": _relation(RelationNet),
    "relationnet-ata": _relation(Adversarial),
    "relationnet-ft": _relation(Transformed),
    "relationnet-lft": _relation(LearnedTransform),
    "relationnet-lrp": _relation(Relevant),
    "skd-gen0": _supervised(Gen0, Rotations),
    "skd-gen1": _gen1,
}


def list_methods() -> list[str]:
    """Return the names that ``create_method`` knows."""
    return sorted(RECIPES)


def create_method(
    config: RunConfig, size: int, classes: dict[str, int] | None = None, begin: bool = False
) -> Compared | Learner:
    """Return a compared method with freshly initialised weights, drawn from the run's seed.

    Args:
        config: resolved.
        size: side of the images, pixels.
        classes: how many training classes each source has.
        begin: take up the weights that ``method.start`` names.

    Raises:
        UsageError: an unknown name, or weights that cannot be taken.
    """
    name, e = config.method.name, config.encoder
    assert name is not None
    method_presets.check_name(name)
    published = e.norm == method_presets.AS_PUBLISHED
    encoder = create_encoder(e.name, size, e.width, MOVING if published else e.norm or "batch", 1, e.precision)
    options = {key: value for key, value in vars(config.method).items() if key != "name"}
    made = RECIPES[name](Setting(name, options, encoder, size, config.episodes.n_way, classes or {}, published))
    network = made.network
    network.initialise(config.seed)
    start = config.method.start
    if begin and start is not None:
        if isinstance(network, Taught):
            _teach(network, start)
        else:
            load_start(encoder, start)
    return made


def _teach(network: Taught, start: str) -> None:
    """Begin as a copy of a run of skd-gen0.

    Raises:
        UsageError: it is none.
    """
    try:
        load_start(network.encoder, start, network.head)
    except UsageError as error:
        raise UsageError(f"skd-gen1 learns from a run of skd-gen0 on the same sources: {error}") from error
    network.begin()
