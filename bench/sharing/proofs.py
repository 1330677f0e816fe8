"""Check the proofs of a shared result's origin: the seed of its run, and an attestation.

The maintainers publish seeds in ``seeds.csv`` next to the folder of shared results. A file that is
older than a seed cannot contain it. An attestation is GitHub's signature of a file that a workflow
made.
"""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from pathlib import Path

from bench.machine.fields import Field, printable
from bench.records import seeds
from bench.records.schema import FILE, MAINTAINERS, WORKFLOW, Run
from bench.sharing.acceptance import ProjectBranch

LASTS = timedelta(days=60)
"""How long a seed can be used after its publication."""

GH_LIMIT = 60.0
"""The time limit for ``gh``, which asks GitHub's servers, in seconds."""

REPOSITORY = r"[A-Za-z0-9][A-Za-z0-9-]{0,38}/[A-Za-z0-9._-]{1,100}"
HERE = "GITHUB_REPOSITORY"
"""The variable that holds the name of a workflow's own repository."""


def seeds_path(folder: Path) -> Path:
    """Return the path of the list of published seeds for a folder of shared results."""
    return folder.absolute().parent / "seeds.csv"


def read_seeds(folder: Path, branch: ProjectBranch | None = None) -> Mapping[int, datetime] | None:
    """Return the published seeds with their dates, or None if there is no list.

    Parameters
    ----------
    folder
        The folder of shared results.
    branch
        The project's own branch. Its list is read instead of the one next to the folder, which a
        contributor can change.

    Raises
    ------
    ResultError
        If the list is invalid.
    """
    path = seeds_path(folder)
    if branch is None:
        return seeds.read_seeds(path) if path.exists() else None
    text = branch.read(path)
    return None if text is None else seeds.parse_seeds(path, text)


def seed_error(run: Run, published: Mapping[int, datetime], received: datetime) -> Iterator[str]:
    """Yield why the seed of a run is refused.

    It was published after the run began, or too long ago.

    ``received`` is when the project got the file. The dates in the file are only claims of its
    author.
    """
    if run.seed in published and received - LASTS <= published[run.seed] <= run.started:
        return
    newest = max(published, key=lambda seed: published[seed], default="of an update")
    yield (
        f"lstm.run.seed is {run.seed}; expected a seed that was published before the run and "
        f"since {received - LASTS:%Y-%m-%d}, {LASTS.days} days before the file was received. "
        f"Measure again with the newest one, --seed {newest}"
    )


def prove_tier(attester: Field) -> str:
    """Return the tier of a shared file. ``attester`` names the repository that has attested it.

    In a workflow, the workflow's own repository counts as the maintainers'.

    Raises
    ------
    ResultError
        If there is no such attestation, if GitHub's command ``gh`` is missing, or if it does not
        answer within ``GH_LIMIT``.
    """
    if not attester.given:
        return FILE
    name, said = attester.text(), "it is not the name of a repository"
    if re.fullmatch(REPOSITORY, name):
        command = ["gh", "attestation", "verify", str(attester.path.absolute()), "--repo", name]
        try:
            ended = subprocess.run(command, capture_output=True, check=False, timeout=GH_LIMIT)
        except OSError:
            said = "gh is not installed (https://cli.github.com)"
        except subprocess.TimeoutExpired:
            said = (
                f"GitHub did not answer gh within {GH_LIMIT:g} s; check the network and try again"
            )
        else:
            if ended.returncode == 0:
                return MAINTAINERS if name == os.environ.get(HERE) else WORKFLOW
            said = ended.stderr.decode("utf-8", "replace").strip() or "gh did not say why"
    raise attester.error(f"a repository that has attested the file: {printable(said)}")
