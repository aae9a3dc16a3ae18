"""One dataclass for each stage; the text under a field is its help on the command line.

A field that is ``None`` is chosen by the preset and the shift (``presets.py``), so that an option the user
gives always wins over the preset. The resolved tree is what a run folder keeps as ``config.yaml``.
This module imports nothing heavy: the command line reads it before torch is loaded.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from rotogbml.protocols.readings import ReadingsConfig


def names(given: str | os.PathLike[str] | Iterable[str | os.PathLike[str]]) -> list[str]:
    """Return names or paths as strings; a single one is a list of one."""
    return [os.fspath(given)] if isinstance(given, str | os.PathLike) else [os.fspath(name) for name in given]


def changed(config: Any, name: str, value: Any) -> Any:
    """Return a configuration with one option changed, by its dotted name."""
    first, _, rest = name.partition(".")
    return replace(config, **{first: changed(getattr(config, first), rest, value) if rest else value})


Slots = Literal["source", "position", "minibatch"]
Combine = Literal[
    "mean",
    "sum",
    "unit",
    "clip",
    "pcgrad",
    "mgda",
    "cagrad",
    "upgrad",
    "dualproj",
    "aligned-mtl",
    "imtl-g",
    "gradvac",
    "graddrop",
    "config",
    "nash-mtl",
    "famo",
    "dwa",
    "uncertainty",
]
"""Rivals of omega: other ways to make one gradient of those of N tasks."""
Compare = Literal["mean", "class-mean", "class", "prototype"]


@dataclass
class EpisodeConfig:
    """What one task is, and how the tasks of a minibatch are drawn."""

    n_way: int = 5
    """Classes in a task."""
    k_shot: int | tuple[int, int] = 1
    """Support images a class; a pair [low, high] draws it anew for each task."""
    n_query: int = 15
    """Query images a class."""
    tasks_per_batch: int = 4
    """N: tasks in one meta-training step."""
    mix: Literal["one-source-per-task", "single-source", "uniform", "by-classes"] | None = None
    """From where the N tasks come (strong: by-classes, a source as often as it has classes; under the paper's preset
    one-source-per-task; weak: single-source)."""
    augment: Literal["closer-look", "shape-safe", "none"] | None = None
    """Training augmentation; shape-safe never flips (for characters)."""
    respect_groups: bool = True
    """Never put images of one lesion, leaf or patient into support and query both, where a source names them."""
    label_noise: dict[str, float] | None = None
    """For experiments: share of wrong labels in the training tasks of a source, such as {"isic": 0.3}."""
    weights: dict[str, float] | None = None
    """For experiments: how often a source is drawn as against one without a weight; needs mix=uniform."""


@dataclass
class EncoderConfig:
    """f_theta: image to feature vector."""

    name: str = "conv4"
    """One of conv4, conv4-np, resnet10, resnet10-small, resnet12, resnet18, resnet18-small, or
    package.module:factory."""
    width: int = 64
    """Filters in a layer."""
    norm: (
        Literal["batch", "support", "running", "per-step", "group", "layer", "none", "moving", "as-published"] | None
    ) = None
    """Norm policy: whose statistics normalise; 'batch' takes those of the batch at hand (transductive at test).
    Of compared methods also 'moving' (the batch's in training, moving averages at test) and 'as-published'."""
    precision: Literal["32", "bf16-mixed"] = "32"
    """Of its convolutions, in training and at test; bf16-mixed needs a processor or GPU with bfloat16."""


@dataclass
class LearnerConfig:
    """How psi = (theta, phi) adapts to a support set, and how the meta-gradient is taken."""

    name: str = "maml"
    """One of anil, boil, imaml, maml, maml++, meta-sgd, protomaml, reptile."""
    inner_lr: float | None = None
    """Step size of the inner loop (eta_base)."""
    inner_steps: int | None = None
    """Inner gradient steps in training (tau)."""
    test_steps: int | None = None
    """Inner gradient steps at test; as in training where not given."""
    first_order: bool | None = None
    """Drop the second derivatives of the inner loop."""
    checkpoint: bool | None = None
    """Keep the graph of one inner step at a time: memory does not grow with the steps, time does."""
    learn_rates: bool | None = None
    """maml++: learn a rate for each layer and inner step."""
    multi_step_loss: float | None = None
    """maml++: take the query loss after every inner step for this share of training; 0 is off."""
    first_order_share: float | None = None
    """maml++: first order for this share of training, then second; 0 is off."""
    lam: float | None = None
    """imaml: lambda, how strongly the inner problem is held near psi."""
    cg_steps: int | None = None
    """imaml: Hessian-vector products of conjugate gradient at the most."""
    cg_damping: float | None = None
    """imaml: added to the system's diagonal."""
    cg_tolerance: float | None = None
    """imaml: relative residual at which conjugate gradient stops."""
    inner_optimizer: Literal["sgd", "adam"] | None = None
    """reptile: how the inner loop steps."""
    inner_batch: int | None = None
    """reptile: images in an inner minibatch."""
    transductive: bool | None = None
    """reptile: judge all queries of a test episode together; false: each beside the support alone."""


@dataclass
class ReweightConfig:
    """omega: one weight a task on its gradient (eq. 5-6)."""

    beta: float | None = None
    """Exponent of the relative loss: 0 pins all norms equal, larger lets hard tasks pull more."""
    relative_loss: Literal["mean", "sum"] | None = None
    """Divide the loss by the mean (GradNorm) or the sum (the paper) over tasks."""
    update: Literal["gradient", "closed-form", "fixed"] | None = None
    """How omega moves: the L1 sub-gradient, the minimiser itself, or never."""
    lr: float | None = None
    """Step size of the sub-gradient (eta_omega)."""
    slots: Slots | None = None
    """What omega belongs to: a training source, a position in the minibatch, or this minibatch alone."""
    fixed: list[float] | None = None
    """With update=fixed: one positive weight for each slot, scaled to mean 1."""
    optimizer: Literal["proximal", "sgd", "adam"] | None = None
    """With update=gradient: a step that stops at the target, the plain one, or Adam's."""
    smoothing: float | None = None
    """Share of the past in the losses and norms that omega is moved by, 0 (none) to below 1."""


@dataclass
class RotateConfig:
    """gamma: one rotation of feature space a task, in SO(m) (eq. 7)."""

    align: Literal["rotated", "shared"] | None = None
    """Make gradients agree in the rotated space (the paper) or where they reach the encoder (RotoGrad)."""
    lr: float | None = None
    """eta_gamma: with update=plane the largest turn of one step, radians; with gradient Adam's rate, some hundred times
    as far."""
    decay: float | None = None
    """gamma's step is multiplied by this after every step: the leader slows down."""
    slots: Slots | None = None
    """What gamma belongs to: a training source, a position in the minibatch, or this minibatch alone."""
    rotate_support: bool | None = None
    """Rotate support features too, not only the queries; false where not given with slots=minibatch."""
    rotation_dim: int | None = None
    """Rotate only the first so many features; all where not given."""
    update: Literal["plane", "gradient"] | None = None
    """How gamma moves: a turn in the plane of the two directions, or Adam on Cayley's parametrisation (O(m^3))."""
    compare: Compare | None = None
    """What gamma makes agree: mean feature gradients, those of each class averaged or label by label, or prototypes."""


@dataclass
class HomogenizerConfig:
    """RotoGBML's two halves; null turns one off."""

    reweight: ReweightConfig | None = field(default_factory=ReweightConfig)
    """omega, or null."""
    rotate: RotateConfig | None = field(default_factory=RotateConfig)
    """gamma, or null."""
    combine: Combine | None = None
    """A rival in omega's place; turns omega off, and gamma too where no option of gamma is given."""
    clip: float | None = None
    """With combine=clip: largest norm of a task's gradient; the median of the minibatch's where not given."""
    slots: Literal["source", "position"] | None = None
    """What a rival with a memory (famo, dwa, uncertainty, gradvac) keeps it for."""
    phase: tuple[float, float] | None = None
    """Share of training in which it acts, such as [0, 0.5]; outside of it the learner is plain."""


@dataclass
class IsiConfig:
    """Invariant self-information: drop what repeats, keep shape (eq. 8-10)."""

    layers: int | Literal["all"] | None = None
    """How many of the first layers it acts on."""
    rate: float | None = None
    """Draws for each channel, as a share of the layer's positions."""
    T: float | Literal["inf"] | None = None
    """Temperature: small drops only the flattest regions, inf is plain dropout."""
    radius: int | None = None
    """C: neighbours are shifted by up to so many pixels."""
    bandwidth: float | None = None
    """h: width of the kernel on patch distances (in units of their mean)."""
    patch: int | None = None
    """Side of the square patch, in pixels; odd."""
    normalize: Literal["image", "batch"] | None = None
    """Patch distances are divided by their mean over one image or over the batch."""
    side: Literal["both", "support", "query"] | None = None
    """Passes in which neurons are dropped: those of the support, of the queries, or both."""
    mask: Literal["information", "edges"] | None = None
    """What a region's drop probability goes by; edges is a control: the same probabilities by gradient magnitude."""


@dataclass
class OuterConfig:
    """The outer loop."""

    meta_lr: float | None = None
    """Step size on psi (eta_meta)."""
    optimizer: Literal["adam", "sgd"] | None = None
    """What moves psi."""
    schedule: Literal["constant", "cosine", "linear"] | None = None
    """How the step size falls over training: not, to a hundredth, or to 0."""
    clamp: float | None = None
    """Each number of the meta-gradient is clamped to plus or minus this; 0 is off."""
    keep_best: int | None = None
    """So many of the best checkpoints by validation are kept, for an ensemble at test."""
    average: float | None = None
    """Decay of the running mean of the weights, which validation judges beside them; 0 is off."""
    sam: float | None = None
    """Radius of sharpness-aware steps: the gradient is taken so far uphill, at twice the cost; 0 is off."""
    log_every: int = 50
    """Steps between two lines of metrics."""
    validate_every: int = 500
    """Steps between two validations."""
    validation_episodes: int = 100
    """Episodes in a validation, shared out over the training sources."""
    checkpoint_seconds: float = 30.0
    """A checkpoint is written at each validation, and when so many seconds have passed."""


@dataclass
class MethodConfig:
    """A compared method in place of the learner, its head, and RotoGBML (docs/methods.md)."""

    name: str | None = None
    """Which; a learner where not given."""
    source: str | None = None
    """Train on this source alone (single-source), as its paper does; all training sources where not given."""
    start: str | None = None
    """Weights to begin with: a run folder, a file (.pt, .safetensors), or hub:OWNER/NAME/FILE."""
    batch_size: int | None = None
    """Images in a minibatch of labelled images."""
    loss: Literal["mse", "softmax"] | None = None
    """Of the relation module's scores: mse of their sigmoid, or cross-entropy."""
    solver: Literal["ridge", "svm"] | None = None
    """The convex head: ridge regression, or a support vector machine."""
    inner_lr: float | None = None
    """Step size of the head's descent."""
    inner_steps: int | None = None
    """Steps of the head's descent."""
    hard_tasks: int | None = None
    """Every so many minibatches one is drawn from classes that others failed at; 0 is off."""
    test_epochs: int | None = None
    """Passes over a test task's support to fit to it."""
    test_batch: int | None = None
    """Support images in a step of that."""
    test_lr: float | None = None
    """Its step size."""


@dataclass
class RunConfig:
    """Everything that decides a run: the tree in its ``config.yaml``."""

    sources: list[str]
    holdout: list[str] = field(default_factory=list)
    steps: int | None = None
    minutes: float | None = None
    seed: int = 0
    preset: Literal["default", "paper"] = "default"
    shift: Literal["weak", "strong"] = "strong"
    episodes: EpisodeConfig = field(default_factory=EpisodeConfig)
    encoder: EncoderConfig = field(default_factory=EncoderConfig)
    learner: LearnerConfig = field(default_factory=LearnerConfig)
    homogenizer: HomogenizerConfig | None = field(default_factory=HomogenizerConfig)
    isi: IsiConfig | None = field(default_factory=IsiConfig)
    outer: OuterConfig = field(default_factory=OuterConfig)
    head: Literal["linear", "linear-tied", "zero", "prototype", "cosine"] | None = None
    drop_overlap: bool = False
    protocol: str | None = None
    target: str | None = None
    """The protocol's, as its paper calls the dataset."""
    suite: Literal["paper", "core"] = "paper"
    readings: ReadingsConfig = field(default_factory=ReadingsConfig)
    allow_missing: bool = False
    whole: list[str] = field(default_factory=list)
    """Sources of which every class is trained on, however they are split."""
    validate_on: list[str] | None = None
    """Sources whose validation classes choose the checkpoint; the training sources where None."""
    method: MethodConfig = field(default_factory=MethodConfig)
