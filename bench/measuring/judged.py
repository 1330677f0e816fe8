"""What the judge has said, on disk for as long as a session is measured.

The reference's answer depends on the network, its weights and its inputs, which are the same in
every process of a session: one computes it, the others read it. This room knows arrays by name and
a folder; what they mean and what they depend on is ``equivalence``'s, which makes the keys.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
import tempfile
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lstm_impl.spec import FloatArray

LARGEST = 2**29
"""Bytes of a folder's answers together. They lie where temporary files do, which on some machines
is memory; a training step of 64 x 25 x 512 has 30 MB."""

_DIGEST = hashlib.sha256().digest_size


@dataclass(frozen=True)
class Judged:
    """A folder of answers, each a file whose name is its key and whose head is its digest."""

    folder: Path

    def find(self, key: str) -> dict[str, FloatArray] | None:
        """The answer with this key, whole and unchanged, or None."""
        try:
            data = (self.folder / key).read_bytes()
            if hashlib.sha256(data[_DIGEST:]).digest() != data[:_DIGEST]:
                return None
            with np.load(io.BytesIO(data[_DIGEST:]), allow_pickle=False) as arrays:
                return {name: arrays[name] for name in arrays.files}
        except (OSError, ValueError, zipfile.BadZipFile):
            return None

    def keep(self, key: str, answer: Mapping[str, FloatArray]) -> None:
        """Keep an answer, if there is room. What cannot be written is computed again, no more."""
        size = sum(array.nbytes for array in answer.values())
        with contextlib.suppress(OSError):
            held = sum(path.stat().st_size for path in self.folder.iterdir())
            if held + size > LARGEST:
                return
            body = io.BytesIO()
            np.savez(body, **answer)  # type: ignore[arg-type]
            data = body.getvalue()
            # A process that is killed here must leave no half of an answer under its name.
            handle, name = tempfile.mkstemp(dir=self.folder)
            try:
                with os.fdopen(handle, "wb") as file:
                    file.write(hashlib.sha256(data).digest() + data)
                Path(name).replace(self.folder / key)
            except BaseException:
                Path(name).unlink(missing_ok=True)
                raise
