"""Choose the inputs of timed calls, and the results that are kept to be judged.

A backend that is wrong in one call of a hundred is right in most calls. Many calls are therefore
judged.
Each block of calls works on inputs that the backend cannot know. Of most blocks the result of one
call, chosen at random, is kept and judged after the clock has stopped. To bound the memory and the
reference's time, only some sequences of a large result are kept.

``docs/equivalence.md`` has the probabilities with which a backend that is seldom wrong is stopped.
"""

import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt

from lstm_impl.call import Results, Step
from lstm_impl.proof import comparison
from lstm_impl.spec import LSTMSpec
from lstm_impl.workload import Inputs, InputSets, Workload


def by_sequence(results: Results) -> Results:
    """Return the results whose second axis is the batch.

    One sequence's part of them is computed only from that sequence's inputs. A loss and the
    gradients of weights are left out.
    """
    return {
        name: array
        for name, array in results.items()
        if not comparison.is_weight_gradient(name) and name != "loss"
    }


SLOTS = 32
"""Most blocks of a process whose results are kept. A backend that is wrong in one call of ten then
passes a process with probability 0.9^32 = 3%, and one that is wrong in one of a hundred passes six
processes with probability 0.99^192 = 15%."""

FEWEST_KEPT = 8
"""Results that are kept of each step, however few blocks there are."""

SLOT_NUMBERS = 100
"""Numbers of sets of inputs that belong to a slot: a stream needs several consecutive ones."""

LAST_NUMBERS = range(SLOT_NUMBERS)
"""Numbers of the sets for the calls after the last block: slots are counted from 1."""

FIRST_OWN_NUMBER = 2**20
"""Sets from this number on are drawn by each process for itself; those below are shared by the
processes of a session, which then share the reference's answers."""


@dataclass(frozen=True)
class JudgedCalls:
    """Results of consecutive calls that are judged, and the numbers of their inputs."""

    inputs: tuple[int, ...]
    results: tuple[Results, ...]


@dataclass(frozen=True)
class Selection:
    """How many results of timed calls are kept, and which part of each.

    slots: most results. complete: how many of the first results are kept completely. batch, rows:
    of the other results this number of sequences of the batch is kept, other ones for each slot.
    seed: chooses them.
    """

    slots: int = SLOTS
    complete: int = SLOTS
    batch: int = 1
    rows: int = 1
    seed: int = 0

    def numbers(self, slot: int) -> tuple[int, ...]:
        """Return the numbers of the sets of inputs of a slot, which are counted from 1."""
        return tuple(range(slot * SLOT_NUMBERS, (slot + 1) * SLOT_NUMBERS))

    def is_complete(self, slot: int) -> bool:
        """Whether a result is kept completely."""
        return slot <= self.complete

    def sequences(self, slot: int) -> npt.NDArray[np.intp]:
        """Return the indices of the sequences that are kept of a slot's result."""
        rng = np.random.default_rng([self.seed, slot])
        return np.sort(rng.choice(self.batch, self.rows, replace=False))

    def part(self, slot: int, results: Results) -> Results:
        """Return what is kept of a result."""
        if self.is_complete(slot):
            return results
        rows = self.sequences(slot)
        named = {name: np.asarray(array) for name, array in by_sequence(results).items()}
        # An array of another shape is kept as it is: the judge refuses it.
        return {
            name: array[:, rows] if array.shape[1:2] == (self.batch,) else array
            for name, array in named.items()
        }


class InputsOverwrittenError(RuntimeError):
    """A backend wrote into the inputs of a call."""


@dataclass
class TimedInputs:
    """The sets of inputs of timed calls, which the backend does not draw itself.

    spec, workload: of the case. judged: seed of the sets whose results are judged.
    """

    spec: LSTMSpec
    workload: Workload
    judged: int
    _placed: Sequence[int] = field(default=(), init=False)

    def __post_init__(self) -> None:
        self._shared = InputSets(self.spec, self.workload, self.judged)
        self._own = InputSets(self.spec, self.workload, secrets.randbits(63))

    def __call__(self, number: int) -> Inputs:
        """Return the set of this number."""
        if number < FIRST_OWN_NUMBER:
            return self._shared(number)
        return self._own(number - FIRST_OWN_NUMBER)

    def bound(self, step: Step) -> Step:
        """Return a step that works on these sets."""
        place, overwritten = step.place, step.overwritten
        if place is None:
            return step

        def use(numbers: Sequence[int]) -> None:
            self._placed = tuple(numbers)
            place(map(self, numbers))

        check: Callable[[int], None] | None = None
        if overwritten is not None:

            def check(number: int) -> None:
                names = overwritten(self(number), self._placed.index(number))
                if names:
                    raise InputsOverwrittenError(
                        f"a call wrote into its inputs: {', '.join(names)} changed while it ran; "
                        "a backend must leave its inputs as they are"
                    )

        return replace(step, use=use, check_inputs=check)
