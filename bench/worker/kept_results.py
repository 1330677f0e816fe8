"""Choose the inputs of timed calls, and the results that are kept to be judged.

A backend that is wrong in one call of a hundred is right in most calls. Many calls are therefore
judged. Each block of calls works on inputs that the backend cannot know. In most blocks, the result
of one random call is kept and judged after the clock has stopped. Only some sequences of a large
result are kept, which bounds the memory and the time of the reference.

``docs/equivalence.md`` gives the probabilities that a backend which is rarely wrong is caught.
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

    The part of a sequence depends only on the inputs of that sequence. A loss and the gradients of
    weights are left out, because they depend on all sequences.
    """
    return {
        name: array
        for name, array in results.items()
        if not comparison.is_weight_gradient(name) and name != "loss"
    }


SLOTS = 32
"""The largest number of blocks in a process whose results are kept. A backend that is wrong in one
call of ten then passes a process with a probability of 0.9^32 = 3%. One that is wrong in one of a
hundred passes six processes with a probability of 0.99^192 = 15%.
"""

FEWEST_KEPT = 8
"""The number of results that are kept of each step, however few blocks there are."""

SLOT_NUMBERS = 100
"""How many sets of inputs belong to a slot. A stream needs several consecutive ones."""

LAST_NUMBERS = range(SLOT_NUMBERS)
"""The numbers of the sets for the calls after the last block. Slots are counted from 1."""

FIRST_OWN_NUMBER = 2**20
"""Each process draws the sets from this number on for itself. The sets below are shared by the
processes of a session, which can then share the reference's answers.
"""


@dataclass(frozen=True)
class JudgedCalls:
    """The results of consecutive calls that are judged, and the numbers of their inputs."""

    inputs: tuple[int, ...]
    results: tuple[Results, ...]


@dataclass(frozen=True)
class Selection:
    """How many results of timed calls are kept, and which part of each.

    slots: the largest number of results. complete: how many of the first results are kept
    completely. batch, rows: of every other result, this number of sequences of the batch is kept;
    each slot keeps different ones. seed: determines which.
    """

    slots: int = SLOTS
    complete: int = SLOTS
    batch: int = 1
    rows: int = 1
    seed: int = 0

    def numbers(self, slot: int) -> tuple[int, ...]:
        """Return the numbers of the sets of inputs of a slot. Slots are counted from 1."""
        return tuple(range(slot * SLOT_NUMBERS, (slot + 1) * SLOT_NUMBERS))

    def is_complete(self, slot: int) -> bool:
        """Return whether the result of a slot is kept completely."""
        return slot <= self.complete

    def sequences(self, slot: int) -> npt.NDArray[np.intp]:
        """Return the indices of the sequences that are kept of a slot's result."""
        rng = np.random.default_rng([self.seed, slot])
        return np.sort(rng.choice(self.batch, self.rows, replace=False))

    def part(self, slot: int, results: Results) -> Results:
        """Return the part of a result that is kept."""
        if self.is_complete(slot):
            return results
        rows = self.sequences(slot)
        named = {name: np.asarray(array) for name, array in by_sequence(results).items()}
        # An array of another shape is kept as it is, and the judge refuses it.
        return {
            name: array[:, rows] if array.shape[1:2] == (self.batch,) else array
            for name, array in named.items()
        }


class InputsOverwrittenError(RuntimeError):
    """A backend wrote into the inputs of a call."""


@dataclass
class TimedInputs:
    """The sets of inputs of timed calls. The backend does not draw them itself.

    spec, workload: those of the case. judged: the seed of the sets whose results are judged.
    """

    spec: LSTMSpec
    workload: Workload
    judged: int
    _placed: Sequence[int] = field(default=(), init=False)

    def __post_init__(self) -> None:
        self._shared = InputSets(self.spec, self.workload, self.judged)
        self._own = InputSets(self.spec, self.workload, secrets.randbits(63))

    def __call__(self, number: int) -> Inputs:
        """Return the set with this number."""
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
                        "a backend must not change its inputs"
                    )

        return replace(step, use=use, check_inputs=check)
