"""Find out from the history of a project's own branch when it accepted its shared files.

The dates inside a shared file are claims of its author. A file that the project's branch holds was
accepted on the day of the commit that brought it there. Any other file is judged as of today.
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
"""The time limit for ``git``, in seconds. For ten thousand commits it takes about a second."""


@dataclass(frozen=True)
class ProjectBranch:
    """Name a branch to which only the maintainers can write, such as ``origin/main``.

    ``folder`` is any folder in the clone.
    """

    folder: Path
    name: str

    def acceptance(self, now: datetime) -> Callable[[bytes], datetime | None]:
        """Return a function that says when the branch first held a file with given contents.

        The function returns None for contents that the branch has never held.

        Parameters
        ----------
        now
            The latest possible time of a commit, since a committer's clock may be wrong.

        Raises
        ------
        InputError
            If ``git`` cannot read the whole history.
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
        """Return the text of a file in the branch, or None if the branch has no such file."""
        name = f"./{path.name}"
        place = path.parent
        if not self._git("ls-tree", "--name-only", self._commit(), "--", name, folder=place):
            return None
        return self._git("cat-file", "blob", f"{self._commit()}:{name}", folder=place)

    def _first_seen(self, now: datetime) -> Iterator[tuple[str, datetime]]:
        """Yield the ids of all contents with the date of the first commit that has them.

        Only commits on the branch itself count. Commits of merged branches do not, because their
        authors choose the dates. A commit counts as at least as late as every commit before it, so
        the dates of commits that reached the branch without a merge cannot go back either.
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
            if int(seconds) <= limit:  # Otherwise the committer's clock was wrong.
                latest = max(latest, int(seconds))
            for change in changes:
                # :OLDMODE NEWMODE OLD NEW M<tab>PATH. The path may hold anything and is not read.
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
                f"this clone lacks a part of the history of {printable(self.name)}, which tells "
                "when each file was accepted; run `git fetch --unshallow`"
            )

    def _git(self, *words: str, folder: Path | None = None) -> str:
        place = self.folder if folder is None else folder
        # A replacement object would put another commit in the place of the real one.
        command = ["git", "--no-replace-objects", "-C", str(place), *words]
        try:
            ended = subprocess.run(command, capture_output=True, check=False, timeout=GIT_LIMIT)
        except OSError:
            raise InputError(
                "git is not installed; it is needed to find when a file was accepted"
            ) from None
        except subprocess.TimeoutExpired:
            raise InputError(
                f"git did not answer within {GIT_LIMIT:g} s; run the check again"
            ) from None
        if ended.returncode != 0:
            said = " ".join(ended.stderr.decode("utf-8", "replace").split())
            raise InputError(
                f"the history of {printable(self.name)} cannot be read in "
                f"{printable(str(place))}: {printable(said or 'git did not say why')}"
            )
        return ended.stdout.decode("utf-8", "replace")
