"""Compile the kernels before a measurement begins, so that compiling takes none of its time.

Without this, the first case that needs the kernels would compile them. On a busy machine, that
takes longer than the limit of a case, or than the whole budget of a short run.
"""

import contextlib
import subprocess
import sys
from collections.abc import Callable, Iterable

from lstm_impl.build import must_compile, uses_kernels
from lstm_impl.spec import UnsupportedError

LIMIT = 900.0
"""How long compiling may take, in seconds. It takes one to three minutes on two processors."""

TOLD = "compiling the kernels of fused_cpu for this processor, once; measuring begins afterwards"
"""What is printed before the kernels are compiled."""


def compile_kernels(
    backends: Iterable[str], tell: Callable[[str], None], python: str = sys.executable
) -> None:
    """Compile the kernels if one of these backends needs them and they are not compiled yet.

    A failure is not reported here. The process that measures a backend finds the same failure, and
    records it as the reason of its case.

    Parameters
    ----------
    backends
        The ids of the backends to measure. Unknown names are ignored.
    tell
        What prints a line before compiling begins.
    python
        The interpreter that will measure. In the environment of another one, only a process of its
        own can find out whether there is anything to compile.
    """
    names = [name for name in dict.fromkeys(backends) if _needs_kernels(name)]
    if not names:
        return
    if python == sys.executable:
        if not must_compile():
            return
        tell(TOLD)
    # Compiling for TensorFlow and JAX imports them, which this process must not do.
    command = [python, "-m", "lstm_impl.build", *names]
    with contextlib.suppress(OSError, subprocess.TimeoutExpired):
        subprocess.run(command, check=False, capture_output=True, timeout=LIMIT)


def _needs_kernels(backend: str) -> bool:
    try:
        return uses_kernels(backend)
    except UnsupportedError:
        return False
