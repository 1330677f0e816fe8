"""Attack every command and format with files of hostile texts.

The output, at any width, has no control byte and no active link, and is well-formed for a reader of
its format. A few pages are opened in a browser, where nothing may run.
"""

import contextlib
import importlib
import io
import os
import random
import shutil
import traceback
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from unittest import mock

import pytest
from playwright.sync_api import Browser

from bench.records.files import collect
from bench.render.page import page as explorable
from bench.verdicts.sections import build
from tests.attack import made_results
from tests.attack.commands import COMMANDS, Command, Ended, wrong_end
from tests.attack.outputs import JUDGES, wrong_text
from tests.attack.trials import Attack, Hang, limited
from tests.bench.render.test_page_in_browser import PLOTS, Opened, browser
from tests.payloads import MARK, PAYLOADS, Documents, Texts, free_texts, poisoned

__all__ = ["browser"]  # pytest finds a fixture in the module that has its name

KIND = "payloads"
TRIALS = 800
PAGES = 6
NARROWEST, WIDEST = 40, 200

READING = tuple(each for each in COMMANDS if each.module not in ("bench.run", "bench.doctor"))


def call(arguments: Sequence[str], width: int) -> Ended:
    """Run a command in this process, whose libraries are loaded; return code, output and errors.

    Warnings and tracebacks count as output.
    """
    out, err = (io.TextIOWrapper(io.BytesIO(), encoding="utf-8") for _ in range(2))
    environ = mock.patch.dict(os.environ, {"COLUMNS": str(width)})
    streams = contextlib.redirect_stdout(out), contextlib.redirect_stderr(err)
    with environ, streams[0], streams[1], warnings.catch_warnings():
        warnings.simplefilter("always")
        try:
            name = f"{arguments[0]}{'.__main__' * (arguments[0] == 'bench.echo')}"
            code = importlib.import_module(name).main(list(arguments[1:]))
        except SystemExit as stopped:
            code = stopped.code if isinstance(stopped.code, int) else 1
        except (Exception, Hang):
            traceback.print_exc()
            code = 1
        for stream in (out, err):
            stream.flush()
    assert isinstance(out.buffer, io.BytesIO)
    assert isinstance(err.buffer, io.BytesIO)
    return Ended(int(code), out.buffer.getvalue(), err.buffer.getvalue())


def wrong_with(command: Command, files: Path, out: Path, width: int) -> Iterator[str]:
    with limited():
        ended = call(command.add_paths(files, out), width)
    yield from wrong_end(command.module, ended)
    for wrong in wrong_text(ended.err):
        yield f"in what it says: {wrong}"
    if command.writes_a_file:
        for wrong in wrong_text(ended.out):
            yield f"in what it prints: {wrong}"
        written = sorted(out.parent.glob(f"*{command.suffix}"))
        if ended.code == 0 and not written:
            yield "it ended with 0, and its file is not there"
        for path in written:
            for wrong in JUDGES[command.format](path.read_bytes()):
                yield f"in {path.name}: {wrong}"
    elif ended.out:
        yield from JUDGES[command.format](ended.out)


def hostile_name(draw: random.Random) -> str | None:
    """Return a file's name, or None if this payload cannot be one."""
    name = f"a{draw.choice(PAYLOADS)[:60].replace('/', '_')}.json"
    try:
        return name if b"\0" not in os.fsencode(name) else None
    except UnicodeEncodeError:
        return None


def poison(documents: Documents, free: Texts, folder: Path, draw: random.Random) -> None:
    """Write files with mostly hostile texts, and some hostile names."""
    made_results.save(folder, poisoned(documents, free, draw))
    for path in sorted(folder.glob("*.json")):
        name = hostile_name(draw)
        if draw.random() < 0.3 and name is not None and not (folder / name).exists():
            path.rename(folder / name)


@pytest.fixture(scope="module")
def originals(tmp_path_factory: pytest.TempPathFactory) -> tuple[Documents, Texts]:
    folder = tmp_path_factory.mktemp("originals")
    made_results.make(folder / "made")
    documents = made_results.load(folder / "made")
    return documents, free_texts(
        documents, lambda name, document: made_results.accepts(folder, name, document)
    )


def test_outputs_hostile_text_is_inert(
    attack: Attack, originals: tuple[Documents, Texts], tmp_path: Path
) -> None:
    documents, free = originals
    draw = attack.random(KIND)
    attack.count(KIND, "payloads", len(PAYLOADS))
    attack.count(KIND, "free texts", len(free.values) + len(free.keys))
    commands = list(READING)
    draw.shuffle(commands)

    def attempt(number: int) -> Iterator[str]:
        command, width = commands[number % len(commands)], draw.randint(NARROWEST, WIDEST)
        called = hostile_name(draw) if draw.random() < 0.3 else None
        folder = tmp_path / f"{number}-{called or 'files'}"
        out = tmp_path / "out" / f"out{command.suffix}"
        out.parent.mkdir()
        poison(documents, free, folder, draw)
        kept = False
        for wrong in wrong_with(command, folder, out, width):
            kept = True
            yield f"{command}, {width} columns, {folder}: {wrong}"
        shutil.rmtree(out.parent)
        if not kept:
            shutil.rmtree(folder)

    attack.run(KIND, range(attack.times(TRIALS)), attempt, side_by_side=1)


def test_page_hostile_text_is_inert_in_browser(
    attack: Attack, originals: tuple[Documents, Texts], tmp_path: Path, browser: Browser
) -> None:
    documents, free = originals
    draw = attack.random("pages")

    def attempt(number: int) -> Iterator[str]:
        folder = tmp_path / f"files-{number}"
        poison(documents, free, folder, draw)
        path = tmp_path / f"page-{number}.html"
        path.write_text(explorable(build(collect([folder]))), encoding="utf-8")
        context = browser.new_context()
        try:
            opened = Opened(context, path)
            # Some plots show nothing for some files.
            for view in PLOTS:
                if opened.page.locator(f"#{view} :is(h2, h3)").is_visible():
                    opened.draw(view)
            opened.page.wait_for_load_state("networkidle")
            yield from opened.wrong
            if opened.page.evaluate(f"window.{MARK}") is not None:
                yield "a script of a payload has run"
        finally:
            context.close()

    attack.run("pages", range(attack.times(PAGES)), attempt, side_by_side=1)
