"""Test that passwords and signatures in URLs reach no result file, page or error."""

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

# Warnings of aiobotocore are about its own code.
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
def _isolated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("LSTM_REMOTE_LIMIT", "3")
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "testing")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "testing")
    monkeypatch.chdir(tmp_path)
    yield
    # Other tests must not get a file system of this endpoint.
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
def test_commands_unreadable_url_prints_no_credentials(
    url: str, command: Command, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("fsspec")
    assert command(url) == 2
    out, err = capsys.readouterr()
    assert "error: " in err
    assert_clean(out + err)


@pytest.mark.parametrize(
    "message",
    ["Invalid bucket name 'al1ce:hunter2@team'", "401 for al1ce", "password hunter2 is wrong"],
)
def test_opened_foreign_error_is_reported_without_credentials(
    message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    core = pytest.importorskip("fsspec.core")

    def refuse(url: str) -> NoReturn:
        raise ValueError(message)

    monkeypatch.setattr(core, "url_to_fs", refuse)
    with pytest.raises(PlaceError) as caught:
        remote.open_place("s3://al1ce:hunter2@team/lstm?token=T0ken")
    assert_clean(str(caught.value))
    assert "ValueError: " in str(caught.value)


def test_variables_leave_out_results_and_clean_other_urls() -> None:
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


def test_read_older_file_skips_its_credentials(
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
