"""Run ``python -m lstm_impl.build``: compile the kernels, and print the paths of the libraries."""

import sys

from lstm_impl.availability import UnavailableError
from lstm_impl.build import build


def main() -> int:
    """Compile the kernels for this machine, and return 0, or 1 if no library can be made."""
    try:
        for name, path in build().items():
            print(f"{name}: {path}")
    except UnavailableError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
