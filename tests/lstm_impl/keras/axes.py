"""Define how Keras's layer is made and called in tests on all backends of Keras."""

from typing import Any

ARGUMENTS: dict[str, list[Any]] = {
    "return_sequences": [True, False],
    "go_backwards": [False, True],
    "initial_state": [False, True],
    "return_state": [True, False],
    "stateful": [False, True],
    "use_bias": [True, False],
    "dropout": [0.0, 0.4],
    "zero_output_for_mask": [False, True],
}
