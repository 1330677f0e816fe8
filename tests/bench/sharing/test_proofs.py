"""Attack the proofs of where a shared result is from: attestations and published seeds."""

from __future__ import annotations

import hashlib
import json
import time
from datetime import datetime, timedelta
from pathlib import Path

import pytest

import bench
from bench import submit
from bench.records import files
from bench.sharing import proofs, submission
from bench.sharing.proofs import HERE, LASTS
from bench.sharing.submission import FOLDER
from tests.bench.mutations import signed
from tests.places import REFERENCE, ROOT

SESSION = sorted(REFERENCE.glob("fused-*.json"))[:2]
STARTED = datetime.fromisoformat(json.loads(SESSION[0].read_text())["lstm"]["run"]["started"])
MINUTE, DAY = timedelta(minutes=1), timedelta(days=1)
GH = """#!/bin/sh
[ "$1 $2 $4" = "attestation verify --repo" ] || exit 2
grep -qx "$5 $(sha256sum "$3" | cut -d' ' -f1)" attested && exit 0
printf 'none \\033[31m found' >&2; exit 1
"""
"""A ``gh`` that knows the attestations in a file: repository and SHA-256."""


@pytest.fixture(autouse=True)
def gh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(submission, "user_cache_path", lambda name: tmp_path / "home" / name)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(files, "TIER_REGISTRY", tmp_path / FOLDER / files.TIER_LIST)
    monkeypatch.setenv(HERE, "ana/lstm")
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    (tmp_path / "gh").write_text(GH)
    (tmp_path / "gh").chmod(0o755)
    return tmp_path / "gh"


def main(*words: object) -> int:
    return submit.main([str(each) for each in words])


def attested() -> Path:
    assert main(SESSION[0]) == 0
    (path,) = Path(FOLDER).rglob("*.json")
    Path("attested").write_text(f"ana/lstm {hashlib.sha256(path.read_bytes()).hexdigest()}\n")
    return path


def tiers() -> set[str]:
    return set(bench.load_frame(Path(FOLDER).rglob("*.json")).tier)


def test_tier_is_that_of_the_attesting_repository(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = attested()
    assert tiers() == {"file"}
    for own, tier in (("ana/lstm", "maintainers"), ("us/lstm", "workflow")):
        monkeypatch.setenv(HERE, own)
        capsys.readouterr()
        assert main("--check", FOLDER) == 0
        assert capsys.readouterr().out == f"{path}: {tier}\n"
        assert tiers() == {tier}


@pytest.mark.parametrize("change", ["the tier", "the contents", "the repository", "no repository"])
def test_tier_cannot_be_had_by_editing_a_file(
    change: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = attested()
    assert main("--check", FOLDER) == 0
    document = json.loads(path.read_text())
    if change == "the tier":
        document["lstm"]["run"]["tier"] = document["lstm"]["submitted"]["tier"] = "maintainers"
    elif change == "the contents":  # under the digest of the attested file
        document["lstm"]["run"]["suite"] = "other"
        path.write_text(json.dumps(document))
    else:
        named = {"the repository": "us/lstm", "no repository": "--help/\033[31m"}[change]
        document["lstm"]["submitted"]["workflow"] = named
    if change != "the contents":
        signed(path, document)
    assert tiers() == {"file"}
    capsys.readouterr()
    assert main("--check", FOLDER) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert "expected a repository that has attested the file: " in err
    assert "\033" not in err


def test_tier_is_not_taken_from_a_list_next_to_the_file(tmp_path: Path) -> None:
    path = attested()
    digest = json.loads(path.read_text())["digest"]
    forged = f"digest,tier\n{digest},maintainers\n"
    downloads = tmp_path / "downloads"
    copy = downloads / path.parent.name / path.name
    copy.parent.mkdir(parents=True)
    copy.write_bytes(path.read_bytes())
    for place in (downloads, copy.parent, tmp_path):
        (place / files.TIER_LIST).write_text(forged)
    assert set(bench.load_frame([copy]).tier) == {"file"}
    assert main("--check", FOLDER) == 0  # what the project's own list says holds for any copy
    assert set(bench.load_frame([copy]).tier) == {"maintainers"}


def test_tier_registry_is_that_of_this_project(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    assert files.TIER_REGISTRY == ROOT / FOLDER / files.TIER_LIST


def test_check_file_in_the_folder_of_another_machine_is_refused(
    capsys: pytest.CaptureFixture[str],
) -> None:
    path = attested()
    kind = path.parent.name
    path.parent.rename(path.parents[1] / "amd-epyc-64-cores")
    assert main("--check", FOLDER) == 1
    moved = path.parents[1] / "amd-epyc-64-cores" / path.name
    refused = capsys.readouterr().err.splitlines()[-1]
    assert refused.endswith(f" was measured on {kind}; move it to the folder of that name")
    assert refused.startswith(f"refused: {moved}")
    document = json.loads(moved.read_text())  # with the new machine as its host
    document["lstm"]["run"]["host"] = "amd-epyc-64-cores-abcdef"
    signed(moved, document)
    assert main("--check", FOLDER) == 1
    assert (
        "lstm.run.host is amd-epyc-64-cores-abcdef; for its machine it must be "
        in capsys.readouterr().err
    )
    assert not Path(FOLDER, files.TIER_LIST).exists()


@pytest.mark.parametrize(
    "place",
    ["{}", "deeper/{kind}/{}", "{kind}/{}l", "{kind}/{kind}/{}", "{kind}/LINK.json", "link"],
)
def test_check_result_outside_of_a_machines_folder_is_refused(
    place: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = attested()
    assert main("--check", FOLDER) == 0
    other = Path(FOLDER, place.format("other.json", kind=path.parent.name))
    other.parent.mkdir(parents=True, exist_ok=True)
    if "link" in place.lower():
        other.symlink_to(path.absolute() if place != "link" else path.parent.absolute())
    else:
        other.write_text("{}")
    capsys.readouterr()
    assert main("--check", FOLDER) == 1
    assert f"refused: {other} is " in capsys.readouterr().err


@pytest.mark.parametrize("repository", [None, "ana/lstm"])
def test_check_needs_gh_only_for_a_file_of_a_workflow(
    repository: str | None, gh: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(gh.parent))
    gh.unlink()
    monkeypatch.setenv(HERE, repository or "")
    attested()
    assert main("--check", FOLDER) == (1 if repository else 0)
    assert Path(FOLDER, "tiers.csv").exists() == (repository is None)


def test_check_ends_gh_that_does_not_answer(
    gh: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    attested()
    gh.write_text("#!/bin/sh\nexec sleep 30\n")
    monkeypatch.setattr(proofs, "GH_LIMIT", 0.2)
    began = time.monotonic()
    assert main("--check", FOLDER) == 1
    assert time.monotonic() - began < 20
    said = "GitHub did not answer gh within 0.2 s; check the network and try again"
    assert said in capsys.readouterr().err
    assert not Path(FOLDER, "tiers.csv").exists()


@pytest.mark.parametrize(
    ("published", "now", "accepted"),
    [
        (STARTED - MINUTE, STARTED + DAY, True),
        (STARTED + MINUTE, STARTED + DAY, False),  # the file is older than its seed
        (STARTED - MINUTE, STARTED + LASTS, False),  # it was kept too long
        (STARTED - LASTS, STARTED + MINUTE, False),  # the seed had expired
        (STARTED + 9 * DAY, STARTED + DAY, False),  # it is from the future
    ],
)
def test_seed_is_published_before_the_run_and_lately(
    published: datetime, now: datetime, accepted: bool, tmp_path: Path
) -> None:
    document = json.loads(SESSION[0].read_text())
    document["lstm"]["run"]["seed"] = 7
    path = signed(tmp_path / "a.json", document)
    Path("results").mkdir()
    Path("results/seeds.csv").write_text(f"published,seed\n{published.isoformat()},7\n")
    found = submission.submit([path], Path(FOLDER), now)
    assert bool(found.written) == accepted == (not found.problems)
    assert accepted or found.problems[0].endswith("Measure again with the newest one, --seed 7")
    document["lstm"]["run"]["id"] = "another"  # a copy with a good seed
    again = submission.submit([path, signed(tmp_path / "b.json", document)], Path(FOLDER), now)
    assert "b.json: " in again.problems[0]
    assert "has the samples of" in again.problems[0]


def test_seeds_of_another_form_are_named(capsys: pytest.CaptureFixture[str]) -> None:
    Path("results").mkdir()
    assert main("--check", "results") == 2
    assert "results contains no shared results" in capsys.readouterr().err
    Path("results/seeds.csv").write_text("published,seed\nyesterday,\033[31m\n")
    assert main(SESSION[0]) == 2
    err = capsys.readouterr().err
    assert "results/seeds.csv needs a time and a seed in each line" in err
    assert "\033" not in err
