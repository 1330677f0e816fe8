import argparse
import contextlib
import io
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench import compare, history, report
from bench.case import SuiteError
from bench.cli import arguments, command_line
from bench.cli.command_line import UsageError
from bench.machine.fields import ResultError
from bench.machine.reading import FolderError
from bench.records.schema import Measurement, Outcome, ResultFile, Results
from tests.bench.made_nodes import a_case
from tests.bench.made_results import gather, measured, run, save

LINES = (
    "from bench.cli.command_line import run_and_exit\n"
    "run_and_exit(lambda: [print('a line') for _ in range(100_000)] and 1)"
)
RICH = (
    "from bench.cli.command_line import run_and_exit\nfrom rich.console import Console\n"
    "console = Console()\n"
    "run_and_exit(lambda: [console.print('a line') for _ in range(20_000)] and 1)"
)


@pytest.mark.parametrize("program", [LINES, RICH])
def test_end_closed_pipe_gives_code_of_sigpipe(program: str) -> None:
    """It ends silently, with the shell's code for SIGPIPE."""
    with subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.readline()
        process.stdout.close()
        assert process.stderr.read() == ""
    assert process.returncode == 141


def ended(program: str, redirection: str, **environ: str) -> tuple[int, str, str]:
    done = subprocess.run(
        ["sh", "-c", f'"$0" -c "$1" {redirection}', sys.executable, program],
        capture_output=True,
        text=True,
        env=os.environ | environ,
    )
    return done.returncode, done.stdout, done.stderr


@pytest.mark.parametrize("program", [LINES, RICH, LINES.replace("100_000", "1")])
def test_end_full_disk_gives_one_line(program: str) -> None:
    code, _, errors = ended(program, "> /dev/full")
    assert (code, errors) == (2, "error: standard output: No space left on device\n")


ON_ERRORS = (
    "import sys\nfrom bench.cli.command_line import run_and_exit\n"
    "run_and_exit(lambda: sys.stderr.write('half a line') - 8)"
)


@pytest.mark.parametrize(
    ("unbuffered", "code"),
    [
        # The buffer takes the text, so the command ends with the code that it returns.
        ("", 3),
        # Writing fails inside the command.
        ("1", 2),
    ],
)
def test_end_full_disk_of_errors_gives_a_documented_exit_code(unbuffered: str, code: int) -> None:
    assert ended(ON_ERRORS, "2> /dev/full", PYTHONUNBUFFERED=unbuffered)[0] == code


@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_end_full_disk_of_both_outputs_gives_the_code_of_bad_input(unbuffered: str) -> None:
    redirection = "> /dev/full 2> /dev/full"
    assert ended(LINES, redirection, PYTHONUNBUFFERED=unbuffered)[0] == 2


def test_end_interrupted_by_ctrl_c_exits_with_130_and_no_traceback() -> None:
    program = (
        "import os, signal\nfrom bench.cli.command_line import run_and_exit\n"
        "run_and_exit(lambda: print('a line') or os.kill(os.getpid(), signal.SIGINT))"
    )
    assert ended(program, "") == (130, "a line\n", "")


def test_import_interrupted_by_ctrl_c_shows_no_traceback() -> None:
    program = "import sys\nsys.argv[0] = '-m'\nimport bench\nraise "
    code, _, errors = ended(f"{program}KeyboardInterrupt", "")
    assert (code, errors) == (130, "")
    assert "ZeroDivisionError" in ended(f"{program}ZeroDivisionError", "")[2]


def test_end_closed_output_is_reported_first() -> None:
    program = "from bench.cli.command_line import run_and_exit\nrun_and_exit(lambda: 1 / 0)"
    code, _, errors = ended(program, ">&-")
    assert code == 2
    assert errors.startswith("error: standard output is closed; ")
    assert ended(program, ">&- 2>&-")[0] == 2


@pytest.mark.parametrize("width", ["0", "-3", "", "wide", "5"])
def test_end_invalid_columns_are_ignored(width: str) -> None:
    program = (
        "from bench.cli.command_line import run_and_exit\nfrom rich.console import Console\n"
        "run_and_exit(lambda: Console().print('some words') or 7)"
    )
    assert ended(program, "", COLUMNS=width) == (7, "some words\n", "")


# Arguments and errors


def parser() -> arguments.Parser:
    made = arguments.make_parser("nothing", "Nothing at all.", "exit codes:\n  0  always")
    arguments.add_values(made, ("many", "N", int, "so many"))
    return made


def raising(error: BaseException) -> Callable[[argparse.Namespace], int]:
    def work(options: argparse.Namespace) -> int:
        raise error

    return work


@pytest.mark.parametrize("words", [["--many2", "3"], ["--many2=3"], ["--man", "3", "--many2"]])
def test_parser_unknown_option_is_named_before_a_missing_one(
    words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    made = parser()
    made.add_argument("--needed", required=True)
    with pytest.raises(SystemExit):
        made.parse_args(words)
    line = "error: there is no option --many2 (did you mean --many?); see --help\n"
    assert capsys.readouterr().err == line


@pytest.mark.parametrize(
    "error",
    [UsageError("no"), FolderError("no"), ResultError("no"), SuiteError("no"), OSError("no")],
)
def test_run_input_error_gives_one_line_and_code(
    error: Exception, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command_line.run(parser(), raising(error), [], OSError) == command_line.BAD_INPUT
    assert capsys.readouterr() == ("", "error: no\n")


@pytest.mark.parametrize(("message", "line"), [("stopped", "stopped\n"), ("", "")])
def test_run_interruption_gives_code_and_line(
    message: str, line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    work = raising(KeyboardInterrupt())
    assert command_line.run(parser(), work, [], interrupted=message) == command_line.INTERRUPTED
    assert capsys.readouterr() == ("", line)


@given(st.text(max_size=300))
def test_print_errors_any_text_gives_one_safe_line(text: str) -> None:
    written = io.StringIO()
    with contextlib.redirect_stderr(written):
        command_line.print_errors([UsageError(text)])
    assert written.getvalue().startswith("error: ")
    assert written.getvalue().count("\n") == 1
    assert written.getvalue()[:-1].isprintable()


KERAS, SCAN = (measured(a_case(name), 1.0, run("a")) for name in ("keras", "scan"))
EMPTY = Results((ResultFile(Path("a.json"), KERAS.run, (), (), ()),), (), ())


@pytest.mark.parametrize(
    ("items", "command", "sentence"),
    [
        (
            [KERAS, SCAN],
            "report {folder} --baseline torch",
            "--baseline torch: the results hold no backend of that name; choose one of keras, scan",
        ),
        (
            [],
            "report {folder}",
            "the files hold no case: nothing was measured or left out. Measure first, for example "
            "with `python -m bench.run quick`, or name other files",
        ),
        (
            [KERAS],
            "compare runs {folder} {folder}",
            "a.json of NEW holds the same run as a.json of BASE; they must be different runs",
        ),
        (
            [KERAS],
            "history {folder} --since 2099-01-31",
            "--since 2099-01-31 00:00 (UTC): no session began then or later; the last one began at "
            f"{KERAS.run.started:%Y-%m-%d %H:%M}; give that time or an earlier one",
        ),
    ],
)
def test_commands_missing_results_give_one_sentence(
    items: list[Measurement | Outcome],
    command: str,
    sentence: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    folder = save(tmp_path, gather(*items) if items else EMPTY)
    name, *words = command.format(folder=folder).split()
    main = {"report": report.main, "compare": compare.main, "history": history.main}[name]
    assert main(words) == command_line.BAD_INPUT
    assert capsys.readouterr().err.splitlines()[-1] == f"error: {sentence.format(folder=folder)}"
