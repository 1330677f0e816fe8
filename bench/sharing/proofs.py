"""Check the proofs of a shared result's origin: the seed of its run, and an attestation.

The maintainers publish seeds in ``seeds.csv`` next to the folder of shared results: no older file
has one. An attestation is GitHub's signature of a file that a workflow made.
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
"""How long a seed can be used after it was published."""

GH_LIMIT = 60.0
"""Seconds in which ``gh``, which asks GitHub's servers, must have answered."""

REPOSITORY = r"[A-Za-z0-9][A-Za-z0-9-]{0,38}/[A-Za-z0-9._-]{1,100}"
HERE = "GITHUB_REPOSITORY"
"""The variable in which a workflow has the name of its repository."""


def seeds_path(folder: Path) -> Path:
    """Return where the list of published seeds is, for a folder of shared results."""
    return folder.absolute().parent / "seeds.csv"


def read_seeds(folder: Path, branch: ProjectBranch | None = None) -> Mapping[int, datetime] | None:
    """Return the published seeds with their dates; None if there is no list.

    branch: the project's own branch, whose list counts instead of the one next to the folder. A
    contributor can change the latter. Raises ResultError for an invalid list.
    """
    path = seeds_path(folder)
    if branch is None:
        return seeds.read_seeds(path) if path.exists() else None
    text = branch.read(path)
    return None if text is None else seeds.parse_seeds(path, text)


def seed_error(run: Run, published: Mapping[int, datetime], received: datetime) -> Iterator[str]:
    """Yield why a run's seed will not do: it was not published before the run, or long ago.

    received: when the project got the file. The dates in the file are claims of its author.
    """
    if run.seed in published and received - LASTS <= published[run.seed] <= run.started:
        return
    newest = max(published, key=lambda seed: published[seed], default="of an update")
    yield (
        f"lstm.run.seed is {run.seed}; a seed is needed that was published before the run and "
        f"since {received - LASTS:%Y-%m-%d}, which is {LASTS.days} days before the file was "
        f"received: measure with the newest, --seed {newest}"
    )


def proven_tier(attester: Field) -> str:
    """Return the tier of a shared file. attester: the repository that it says has attested it.

    In a workflow, the workflow's own repository is the maintainers'. Raises ResultError if there is
    no such attestation, no ``gh``, GitHub's command, or no answer from it within ``GH_LIMIT``.
    """
    if not attester.given:
        return FILE
    name, said = attester.text(), "that is no repository"
    if re.fullmatch(REPOSITORY, name):
        command = ["gh", "attestation", "verify", str(attester.path.absolute()), "--repo", name]
        try:
            ended = subprocess.run(command, capture_output=True, check=False, timeout=GH_LIMIT)
        except OSError:
            said = "gh is not installed (https://cli.github.com)"
        except subprocess.TimeoutExpired:
            said = f"GitHub did not answer gh in {GH_LIMIT:g} s; check the network, run again"
        else:
            if ended.returncode == 0:
                return MAINTAINERS if name == os.environ.get(HERE) else WORKFLOW
            said = ended.stderr.decode("utf-8", "replace").strip() or "gh did not say why"
    raise attester.error(f"a repository that has attested the file: {printable(said)}")
