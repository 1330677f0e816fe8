"""Files of a study of data-parallel training."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from bench.records import study
from bench.studies.data_parallel import SCALINGS, DataParallelRequest, sides

QUESTION = DataParallelRequest(
    *(8, 3, 2, 4), ("keras",), 2, "workers", "cpu", SCALINGS, threads=1, seconds=0.1, seed=0
)


SECONDS = {"one": 1.0, "team": 1.2, "cores": 1.6}


def records(seed: int, **more: Any) -> list[dict[str, Any]]:
    rng = np.random.default_rng(seed)
    return [
        {
            "backend": "keras",
            "replicas": 2,
            "side": side.name,
            "batch": side.batch,
            "failed": "",
            "samples": list(SECONDS[side.world] * side.batch / 8 * rng.uniform(0.99, 1.01, 15)),
            "rounds": list(range(15)),
            "calls": 1,
            "shares": [0.1, 0.2] if side.world == "team" and side.reduced else [],
            "errors": {},
            "bounds": {},
            **more,
        }
        for side in sides(QUESTION, cores=True)
    ]


def written(tmp_path: Path, answers: Sequence[Any], **question: Any) -> Path:
    asked = {**asdict(QUESTION), "replicas": [2], "threads": [1], "machines": 1, **question}
    return study.save(study.document("scaling", datetime.now(UTC), asked, answers), tmp_path)
