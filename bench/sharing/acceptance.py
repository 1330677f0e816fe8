"""Find out when a project accepted its shared files, from the history of its own branch.

The dates inside a shared file are its author's claims. A file that the project's branch already
holds was accepted on the day of the commit that brought it there. Every other file is judged today.
"""

from __future__ import annotations

import hashlib
import math
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from bench.machine.fields import InputError, printable

GIT_LIMIT = 120.0
"""Seconds in which ``git`` must have answered. Ten thousand commits take it a second."""


@dataclass(frozen=True)
class ProjectBranch:
    """A branch to which only the maintainers can write.

    folder: a folder in the clone. name: of the branch, such as ``origin/main``.
    """

    folder: Path
    name: str

    def acceptance(self, now: datetime) -> Callable[[bytes], datetime | None]:
        """Return a function that says when the branch first held a file with these contents.

        The function answers None for contents that the branch has never held. now: an upper limit,
        since a clock may be wrong. Raises InputError if ``git`` cannot read the whole history.
        """
        self._require_whole_history()
        form = self._git("rev-parse", "--show-object-format").strip()
        accepted = dict(self._first_seen(now))

        def first_seen(contents: bytes) -> datetime | None:
            named = hashlib.new(form, b"blob %d\0" % len(contents), usedforsecurity=False)
            named.update(contents)
            return accepted.get(named.hexdigest())

        return first_seen

    def read(self, path: Path) -> str | None:
        """Return a file's text in the branch, None if the branch has no such file."""
        name = f"./{path.name}"
        place = path.parent
        if not self._git("ls-tree", "--name-only", self._commit(), "--", name, folder=place):
            return None
        return self._git("cat-file", "blob", f"{self._commit()}:{name}", folder=place)

    def _first_seen(self, now: datetime) -> Iterator[tuple[str, datetime]]:
        """Yield the ids of all contents with the date of the first commit that has them.

        Only commits on the branch itself count, without those of merged branches, whose dates their
        authors choose. A commit is at least as late as every commit before it. Hence the
        dates of commits that reached the branch without a merge cannot go back either.
        """
        log = self._git(
            *("log", "--first-parent", "--diff-merges=first-parent", "--reverse", "--raw"),
            *("--no-abbrev", "--no-renames", "--root", "--no-show-signature", "--no-color"),
            *("--format=%x00%ct", "--end-of-options", self._commit()),
        )
        seen: set[str] = set()
        latest, limit = 0, math.floor(now.timestamp())
        for commit in log.split("\0")[1:]:
            seconds, *changes = commit.split("\n")
            if int(seconds) <= limit:  # else the committer's clock was wrong
                latest = max(latest, int(seconds))
            for change in changes:
                # :OLDMODE NEWMODE OLD NEW M<tab>PATH; the path may hold anything and is not read.
                parts = change.split("\t")[0].split()
                if len(parts) == 5 and parts[0].startswith(":") and parts[3] not in seen:
                    seen.add(parts[3])
                    yield parts[3], datetime.fromtimestamp(latest, UTC)

    def _commit(self) -> str:
        """Return the id of the newest commit of the branch."""
        return self._git(
            "rev-parse", "--verify", "--end-of-options", f"{self.name}^{{commit}}"
        ).strip()

    def _require_whole_history(self) -> None:
        if self._git("rev-parse", "--is-shallow-repository").strip() != "false":
            raise InputError(
                f"this clone lacks a part of the history of {printable(self.name)}, which says "
                "when each file was accepted: run `git fetch --unshallow`"
            )

    def _git(self, *words: str, folder: Path | None = None) -> str:
        place = self.folder if folder is None else folder
        # A replacement object would put another commit in the place of the real one.
        command = ["git", "--no-replace-objects", "-C", str(place), *words]
        try:
            ended = subprocess.run(command, capture_output=True, check=False, timeout=GIT_LIMIT)
        except OSError:
            raise InputError("git is not installed, which reads when a file was accepted") from None
        except subprocess.TimeoutExpired:
            raise InputError(
                f"git did not answer in {GIT_LIMIT:g} s; run the check again"
            ) from None
        if ended.returncode != 0:
            said = " ".join(ended.stderr.decode("utf-8", "replace").split())
            raise InputError(
                f"the history of {printable(self.name)} cannot be read in "
                f"{printable(str(place))}: {printable(said or 'git did not say why')}"
            )
        return ended.stdout.decode("utf-8", "replace")
