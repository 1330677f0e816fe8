"""Select results by device, backend, shape, cell, variant, mode and type."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from fnmatch import fnmatchcase

from bench.case.cases import NO_VARIANT, Case
from bench.machine.fields import InputError, printable
from bench.records.schema import Measurement, Outcome, ResultFile, Results

FILTERS: Mapping[str, Callable[[Case], str]] = {
    "device": lambda case: case.device,
    "backend": lambda case: case.backend,
    "shape": lambda case: case.shape,
    "cell": lambda case: case.spec.cell.name,
    "variant": lambda case: case.variant or NO_VARIANT,
    "mode": lambda case: case.workload.mode,
    "dtype": lambda case: case.spec.dtype,
}
"""The filter options of every command that reads results, with the value of a case for each."""

_MOST_KNOWN = 12  # The number of names in an error.


class NothingThereError(InputError):
    """No case matches a filter. The message says in one line which values exist."""


def select(results: Results, wanted: Mapping[str, Sequence[str] | None]) -> Results:
    """Select the results whose cases match every filter.

    A file without a match stays, but empty.

    wanted: the accepted values by the name of their filter in ``FILTERS``. A value may be a pattern
    (``b32-*``). None, or no values, accept everything.

    Raises NothingThereError for a value that no case has, and if nothing is left.
    """
    requested = {name: names for name, names in wanted.items() if names}
    if not requested:
        return results
    items: list[Measurement | Outcome] = [*results.measurements, *results.outcomes]
    for name, names in requested.items():
        known = dict.fromkeys(FILTERS[name](item.case) for item in items)
        for each in names:
            if not any(fnmatchcase(there, each) for there in known):
                described = [printable(there, 60) for there in known][:_MOST_KNOWN]
                more = "" if len(known) <= _MOST_KNOWN else f" and {len(known) - _MOST_KNOWN} more"
                raise NothingThereError(
                    f"--{name} {printable(each, 60)}: no case matches; the results have: "
                    f"{', '.join(described) or 'none'}{more}"
                )

    files = tuple(select_cases(file, lambda case: fits(case, requested)) for file in results.files)
    if not any(file.measurements or file.outcomes for file in files):
        all_of_it = " ".join(f"--{name} {','.join(names)}" for name, names in requested.items())
        raise NothingThereError(f"{printable(all_of_it, 300)}: no case matches all filters")
    return replace(results, files=files)


def select_cases(file: ResultFile, wanted: Callable[[Case], bool]) -> ResultFile:
    """Return a file with only its wanted cases."""
    return replace(
        file,
        measurements=tuple(each for each in file.measurements if wanted(each.case)),
        outcomes=tuple(each for each in file.outcomes if wanted(each.case)),
    )


def fits(case: Case, wanted: Mapping[str, Sequence[str] | None]) -> bool:
    """Return whether a case matches every filter. None, or no values, accept everything."""
    return all(
        any(fnmatchcase(FILTERS[name](case), each) for each in names)
        for name, names in wanted.items()
        if names
    )
