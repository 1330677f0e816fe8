import importlib.metadata
import json
from dataclasses import asdict
from pathlib import Path
from types import SimpleNamespace

import pytest

from bench.machine import survey
from bench.machine.packages import has_framework
from bench.machine.survey import SurveyAnswer, SurveyRequest
from lstm_impl import Availability, Refusal

NOTHING: SurveyAnswer = {"version": None, "error": "", "available": {}}


@pytest.fixture
def framework(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A module that the processes can import, to be filled by a test."""
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    return tmp_path / "imaginary.py"


def request_for(*backends: str) -> SurveyRequest:
    return SurveyRequest("imaginary", backends, ("cpu", "gpu:0"))


def test_ask_process_working_framework_gives_version_and_backends(framework: Path) -> None:
    framework.write_text("__version__ = '4.2'\nprint('greetings nobody asked for')\n")
    answer = survey.ask_process(request_for("numpy"))
    assert (answer["version"], answer["error"]) == ("4.2", "")
    found = {device: Availability(**on) for device, on in answer["available"]["numpy"].items()}
    assert found["cpu"] == Availability(True)
    assert not found["gpu:0"]
    assert "CPU only" in found["gpu:0"].reason


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (
            "raise ImportError('libcudart.so.12: cannot open\\nsecond line')",
            "cannot be imported (ImportError: libcudart.so.12: cannot open); reinstall",
        ),
        ("import os, signal; os.kill(os.getpid(), signal.SIGILL)", "newer processor"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", "was ended by SIGKILL"),
        ("import os, sys; print('out of luck', file=sys.stderr); os._exit(7)", "out of luck"),
    ],
)
def test_ask_process_crashing_framework_is_reported(framework: Path, code: str, words: str) -> None:
    framework.write_text(code + "\n")
    assert words in survey.ask_process(request_for("numpy"))["error"]


def test_ask_process_hanging_framework_is_ended(framework: Path) -> None:
    framework.write_text("import time; time.sleep(60)\n")
    error = survey.ask_process(request_for("numpy"), seconds=1.0)["error"]
    assert "did not start within 1 s" in error


def test_survey_missing_framework_is_not_started(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(survey, "has_framework", lambda framework: framework == "numpy")
    requests: list[str] = []

    def ask(request: SurveyRequest) -> SurveyAnswer:
        requests.append(request.framework)
        return survey.answer_here(request)

    survey.survey(["gpu:0"], ask=ask)
    assert requests == ["numpy"]


def test_survey_backend_with_variables_gets_own_process() -> None:
    requests: list[SurveyRequest] = []

    def ask(request: SurveyRequest) -> SurveyAnswer:
        requests.append(request)
        yes = {name: {"cpu": asdict(Availability(True))} for name in request.backends}
        return {"version": "1", "error": "", "available": yes}

    if not has_framework("torch"):
        pytest.skip("torch is not installed")
    found = survey.survey(["cpu"], ["torch", "keras_torch"], ask=ask)
    assert [each.environment for each in requests] == [{}, {"KERAS_BACKEND": "torch"}]
    assert found.choices("cpu") == ["torch", "keras_torch"]
    assert found.frameworks == {"torch": "1"}


def test_survey_broken_strategy_is_reported_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    point = SimpleNamespace(name="alien", value="no_such_module:Alien")
    monkeypatch.setattr(importlib.metadata, "entry_points", lambda group: [point])
    found = survey.survey(["cpu"], ask=lambda request: NOTHING)
    assert found.entries[0].name == "numpy"
    assert len(found.problems) == 1
    assert "no_such_module:Alien" in found.problems[0]


def test_availability_of_another_process_keeps_its_code() -> None:
    found = Availability(False, "it is not installed", "pip install it", Refusal.NOT_INSTALLED)
    again = survey._read_availability(json.loads(json.dumps(asdict(found))))
    assert again == found
    assert again.refusal is Refusal.NOT_INSTALLED
