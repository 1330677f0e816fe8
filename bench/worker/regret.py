"""What a choice of backend loses against the best one, on random shapes, timed apart from it.

For each shape the candidates race once, and the fastest is the choice; then they race again, and
only that second race says what the choice, and the rule's pick, lose. This room knows the layers of
``lstm_impl.keras`` and their races.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass

from bench.case.cases import Shape
from lstm_impl.at_rest import Rest
from lstm_impl.tuning.decision import Decision, Raced, of_race
from lstm_impl.tuning.race import race

MOST_WORK = 3_000_000_000
"""Multiplications in the steps of a shape: some tens of milliseconds of one core."""

BATCHES = (1, 2, 4, 8, 16, 32, 64, 128)
TIMESTEPS = (1, 200)
WIDTHS = (1, 512)


@dataclass(frozen=True)
class RandomCase(Shape):
    """Sizes of a layer and its batch, and the mode."""

    mode: str

    @property
    def work(self) -> int:
        """Multiplications of a forward pass."""
        return self.batch * self.timesteps * 4 * self.hidden * (self.inputs + self.hidden)

    @property
    def name(self) -> str:
        """The sizes alone."""
        return super().__str__()

    def __str__(self) -> str:
        return f"{self.name} {self.mode}"


def shapes(count: int, seed: int) -> list[RandomCase]:
    """Random shapes, each size as likely to be small as large; by turns inference and training."""
    drawn = random.Random(seed)

    def size(low: int, high: int) -> int:
        return min(high, max(low, round(low * float((high / low) ** drawn.random()))))

    found: list[RandomCase] = []
    while len(found) < count:
        mode = ("inference", "training")[len(found) % 2]
        sizes = (size(*TIMESTEPS), size(*WIDTHS), size(*WIDTHS))
        shape = RandomCase(drawn.choice(BATCHES), *sizes, mode)
        if shape.work <= MOST_WORK:
            found.append(shape)
    return found


@dataclass(frozen=True)
class Regret:
    """A shape's outcome; a loss is the time over that of the best of the second race, less one."""

    shape: RandomCase
    best: str
    tuned: Raced
    rule: Raced

    @property
    def tuned_loss(self) -> float:
        """What the raced choice loses: 0.03 for 3%."""
        return self.tuned.ratio - 1.0

    @property
    def rule_loss(self) -> float:
        """What the rule's pick loses."""
        return self.rule.ratio - 1.0


def regret(shape: RandomCase, first: Decision, second: Decision) -> Regret:
    """What the choice of a first race loses by a second one.

    Raises ValueError if the second race has no time of what was chosen.
    """
    tuned, rule = second.result_of(first.backend), second.result_of(first.rule)
    if tuned is None or rule is None or tuned.problem or rule.problem:
        raise ValueError(f"{shape}: {first.backend} or {first.rule} has no time in the second race")
    return Regret(shape, second.raced[0].backend, tuned, rule)


def measured(count: int, seconds: float, seed: int) -> Iterator[Regret]:
    """The regret on ``count`` random shapes, ``seconds`` for each of the two races."""
    import keras

    import lstm_impl.keras
    from lstm_impl.keras.decided import Sizes
    from lstm_impl.keras.tuning import asked, enter

    for number, shape in enumerate(shapes(count, seed)):
        layer = lstm_impl.keras.LSTM(shape.hidden, return_sequences=True)
        layer.build((None, None, shape.inputs))
        sizes = Sizes(shape.batch, shape.timesteps)
        field = enter(layer, *asked(layer, shape.mode == "training", sizes))
        decisions = [
            of_race(
                field.question,
                race(field.steps, seconds, 2 * number + second, rest=Rest()),
                field.problems,
                field.rule,
                "",
                "bench.regret",
            )
            for second in (0, 1)
        ]
        yield regret(shape, *decisions)
        keras.backend.clear_session()
