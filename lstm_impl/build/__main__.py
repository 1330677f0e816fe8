"""Run ``python -m lstm_impl.build``: compile the kernels, and print the paths of the libraries."""

import argparse
import sys
from collections.abc import Sequence

from lstm_impl.availability import UnavailableError
from lstm_impl.build import build
from lstm_impl.spec import UnsupportedError


def main(argv: Sequence[str] | None = None) -> int:
    """Compile the kernels for this machine.

    Returns
    -------
    int
        The exit code: 0, 1 if no library can be made, or 2 for the name of no backend.
    """
    parser = argparse.ArgumentParser(
        "python -m lstm_impl.build",
        description="Compile the kernels for this CPU, and print the paths of the libraries.",
    )
    text = "compile only what this backend needs (default: for every installed framework)"
    parser.add_argument("backends", nargs="*", metavar="BACKEND", help=text)
    names = parser.parse_args(argv).backends
    try:
        for name, path in build(names or None).items():
            print(f"{name}: {path}")
    except UnavailableError as error:
        print(error, file=sys.stderr)
        return 1
    except UnsupportedError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
