"""How the open questions of a protocol may be answered; what is left out is answered as the protocol's file says."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any, Literal

from rotogbml.errors import UsageError, did_you_mean


@dataclass
class ReadingsConfig:
    """Answers to what papers leave open; ``rotogbml protocol show NAME`` states each question and its evidence."""

    pool: Literal["all8", "natural4", "mini-only"] | None = None
    """strong: training datasets: all the others, the other natural photographs, or miniImageNet alone."""
    draw: Literal["without-replacement", "with-replacement"] | None = None
    """strong: whether two tasks of a minibatch may share a dataset."""
    unsplit: Literal["all", "base"] | None = None
    """strong: training classes of datasets that the literature does not split: all, or the training classes of the
    pack where it splits them."""
    source: Literal["all", "base"] | None = None
    """closer-look: training classes of miniImageNet: all 100, or the 64 base classes."""
    test: Literal["novel", "all"] | None = None
    """strong: test classes of a target that the literature splits; weak tests novel ones always."""
    validation: Literal["mini", "sources", "own", "target", "last"] | None = None
    """Whose validation classes choose the checkpoint: miniImageNet's, those of all training datasets, of the one
    dataset, of the target; last: none."""
    evaluation: Literal["closer-look", "xd", "lrp", "ata"] | None = None
    """Test episodes and queries a class: 600 and 15, 1000 and 15, 2000 and 15, 2000 and 16."""
    size: Literal[224, 84, 42] | None = None
    """Side of the images, in pixels; residual encoders take their small stem below 224."""
    groups: Literal["ignored", "apart"] | None = None
    """closer-look, bscd-fsl, cdfsl: whether images of one lesion, leaf or patient may stand on both sides of a task, as
    in the published code, or not; weak and strong keep them apart."""


class Choices:
    """Takes one reading after another, and knows which of the user's were never asked for.

    Args:
        protocol: whose questions these are.
        given: the user's answers.
    """

    def __init__(self, protocol: str, given: ReadingsConfig) -> None:
        self.protocol, self.given = protocol, given
        self.taken: dict[str, Any] = {}

    def take(self, name: str, *allowed: Any) -> Any:
        """Return the user's answer, or the first of those allowed.

        Raises:
            UsageError: the answer is not among them.
        """
        answer = getattr(self.given, name)
        if answer is not None and answer not in allowed:
            near = did_you_mean(str(answer), map(str, allowed))
            raise UsageError(
                f"readings.{name} cannot be '{answer}' in protocol {self.protocol}{near}: "
                f"there {'are' if len(allowed) > 1 else 'is'} {', '.join(map(str, allowed))}"
            )
        self.taken[name] = allowed[0] if answer is None else answer
        return self.taken[name]

    def check(self) -> None:
        """Raise UsageError where the user answered what the protocol does not ask."""
        for f in fields(self.given):
            if getattr(self.given, f.name) is not None and f.name not in self.taken:
                raise UsageError(
                    f"readings.{f.name} is no question of protocol {self.protocol}: leave it out; "
                    f"there are {', '.join(self.taken)}"
                )
