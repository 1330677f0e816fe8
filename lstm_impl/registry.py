"""Get backends by name: the built-in ones and those that other packages register."""

import importlib
import traceback

import lstm_impl.names as names
from lstm_impl.availability import UnavailableError
from lstm_impl.backend import Backend
from lstm_impl.spec import UnsupportedError


def list_backends() -> list[str]:
    """Return the ids of all known backends, whether or not their frameworks are installed."""
    found = []
    for strategy in names.strategies():
        try:
            found += variants(strategy)
        except UnsupportedError:
            found.append(strategy)
    return found


def variants(strategy: str) -> list[str]:
    """Return the ids of one strategy that ``list_backends`` shows."""
    kind = _load(strategy)
    try:
        return [str(each) for each in kind.variants()]
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        reason = _describe(error)
        problem = f"backend {strategy!r} cannot list its variants: {reason}"
        raise UnavailableError(problem) from error


def get_backend(name: str) -> Backend:
    """Return the backend with this id.

    Parameters
    ----------
    name
        The id, such as ``while_loop+xla``, ``partial_unroll@10`` or ``torch:int8``.

    Raises
    ------
    UnsupportedError
        If there is no backend, option or variant of this name, or if its options exclude each
        other. The message names similar backends.
    UnavailableError
        If the backend of another package cannot be imported or constructed.
    """
    plain, colon, variant = name.rpartition(":")
    if colon:
        backend = get_backend(plain).name
        names.check_variant(backend, variant)
        module, _, function = names.VARIANTS[variant].partition(":")
        made: Backend = getattr(importlib.import_module(module), function)(backend)
        return made
    strategy, options, number = names.parse(name)
    try:
        return _load(strategy)(options, number)
    except (UnsupportedError, KeyboardInterrupt):
        raise
    except BaseException as error:
        reason = _describe(error)
        raise UnavailableError(f"backend {name!r} cannot be made: {reason}") from error


def _describe(error: BaseException) -> str:
    """Return the type and the message of another package's error, even if formatting it raises."""
    return traceback.format_exception_only(error)[-1].strip()


def _load(strategy: str) -> type[Backend]:
    """Import the class of a strategy."""
    place = names.place(strategy) or ""
    module, _, attribute = place.partition(":")
    registered = f"backend {strategy!r} is registered as {place}, which"
    try:
        loaded = getattr(importlib.import_module(module), attribute)
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        # The import runs another package's code, which may raise anything, even SystemExit.
        raise UnavailableError(f"{registered} cannot be imported: {_describe(error)}") from error
    if not (isinstance(loaded, type) and issubclass(loaded, Backend)):
        raise UnsupportedError(f"{registered} is not a Backend")
    return loaded
