"""Passwords and signatures in URLs reach no result file, no page and no error."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NoReturn

import pytest

from bench import compare, plot, records, report
from bench.machine import environment, remote
from bench.machine.fields import printable, without_secrets
from bench.machine.remote import PlaceError
from bench.records.journal import Journal
from tests.bench.mutations import saved
from tests.places import GOLDEN

# aiobotocore is loud; what this project does is not what it warns of.
pytestmark = pytest.mark.filterwarnings("ignore")

SECRETS = ("hunter2", "al1ce", "T0ken")
URLS = (
    "sftp://al1ce:hunter2@host.invalid/lstm?token=T0ken",
    "s3://al1ce:hunter2/with+slash@team/lstm",
    "nowhere://al1ce:hunter2@team/lstm",
    "https://al1ce:hunter2@127.0.0.1:1/lstm/a.json?X-Amz-Signature=T0ken#hunter2",
)

Command = Callable[[str], int]
READERS: tuple[Command, ...] = (
    lambda url: report.main([url]),
    lambda url: plot.main([url, "--output", "a.svg"]),
    lambda url: compare.main(["runs", url, url]),
)


def assert_clean(text: str) -> None:
    assert not [secret for secret in SECRETS if secret in text], text


@pytest.fixture(autouse=True)
def _of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("LSTM_REMOTE_LIMIT", "3")
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "testing")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "testing")
    monkeypatch.chdir(tmp_path)
    yield
    # No other test may meet a file system that was made for this endpoint.
    pytest.importorskip("s3fs").S3FileSystem.clear_instance_cache()


@pytest.mark.parametrize(
    ("text", "clean"),
    [
        (URLS[0], "sftp://host.invalid/lstm"),
        (URLS[1], "s3://team/lstm"),
        (str(Path(URLS[1])), "s3:/team/lstm"),
        (
            "at 'https://a.b/c?X=hunter2' and s3://team/a@b.",
            "at 'https://a.b/c' and s3://team/a@b.",
        ),
        ("C:/Users/x and a.json: y?", "C:/Users/x and a.json: y?"),
    ],
)
def test_without_secrets_leaves_scheme_host_and_path(text: str, clean: str) -> None:
    assert without_secrets(text) == printable(text) == clean


@pytest.mark.parametrize("url", URLS)
@pytest.mark.parametrize("command", READERS, ids=range(len(READERS)))
def test_a_command_that_cannot_read_a_url_says_nothing_of_its_credentials(
    url: str, command: Command, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("fsspec")
    assert command(url) == 2
    out, err = capsys.readouterr()
    assert "error: " in err
    assert_clean(out + err)


@pytest.mark.parametrize(
    "told",
    ["Invalid bucket name 'al1ce:hunter2@team'", "401 for al1ce", "password hunter2 is wrong"],
)
def test_the_error_of_another_library_is_reported_without_the_credentials(
    told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    core = pytest.importorskip("fsspec.core")

    def refuse(url: str) -> NoReturn:
        raise ValueError(told)

    monkeypatch.setattr(core, "url_to_fs", refuse)
    with pytest.raises(PlaceError) as caught:
        remote.opened("s3://al1ce:hunter2@team/lstm?token=T0ken")
    assert_clean(str(caught.value))
    assert "ValueError: " in str(caught.value)


def test_variables_leave_out_where_results_are_and_clean_other_urls() -> None:
    environ = {
        "LSTM_RESULTS": URLS[0],
        "LSTM_REMOTE": URLS[0],
        "TF_PROXY": f"via {URLS[1]}",
        "OMP_NUM_THREADS": "2",
    }
    assert environment.variables(environ) == {
        "LSTM_REMOTE": "sftp://host.invalid/lstm",
        "OMP_NUM_THREADS": "2",
        "TF_PROXY": "via s3://team/lstm",
    }


def test_credentials_in_an_older_file_are_not_read_from_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    document = json.loads((GOLDEN / "replicate-1.json").read_text())
    environment = document["lstm"]["run"]["environment"]
    for state in environment.values():
        state.setdefault("variables", {})["LSTM_RESULTS"] = URLS[0]
    path = saved(tmp_path / "a.json", document)
    assert_clean(repr(records.read(path).run))
    assert report.main([str(path), "--format", "html", "--output", "page.html"]) == 0
    assert_clean(Path("page.html").read_text() + "".join(capsys.readouterr()))
    with Journal(tmp_path / "b.journal.jsonl") as journal:
        journal.start({**document["lstm"]["run"], "environment": {}})
        journal.finish(environment_after=environment["before"])
    assert_clean(records.journal_to_json(tmp_path / "b.journal.jsonl").read_text())
