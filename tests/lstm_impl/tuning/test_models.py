"""Test ``lstm_impl.tune`` on models that need no framework."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

import lstm_impl
from lstm_impl import LSTMSpec, LSTMWeights, Model, UnsupportedError, Workload, get_backend
from lstm_impl.backends.others.numpy_loop import NumPyLoop, NumPyModel
from lstm_impl.call import Call, Outputs, RawGradients, Upstream
from lstm_impl.tuning import load, models
from lstm_impl.tuning.models import gpu_name

SPEC, WORK = LSTMSpec(2, 3), Workload(2, 4, "training")


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("LSTM_DECISIONS", str(tmp_path / "decisions"))
    return tmp_path / "decisions"


def test_tune_excludes_unable_backends_with_reasons() -> None:
    found = lstm_impl.tune(SPEC, WORK, candidates=["numpy", "cudnn"], seconds=0.2)
    assert found.backend == "numpy"
    cudnn = found.result_of("cudnn")
    assert cudnn is not None
    assert "GPU" in cudnn.problem
    assert load() == [found]


def test_tune_known_decision_is_returned() -> None:
    first = lstm_impl.tune(SPEC, WORK, candidates=["numpy"], seconds=0.1)
    assert lstm_impl.tune(SPEC, WORK, candidates=["numpy"]) == first
    again = lstm_impl.tune(SPEC, WORK, candidates=["numpy"], seconds=0.1, again=True)
    assert again.raced != first.raced
    # one more candidate is another race
    more = lstm_impl.tune(SPEC, WORK, candidates=["numpy", "cudnn"], seconds=0.1)
    assert {each.backend for each in more.raced} == {"numpy", "cudnn"}


def test_tune_with_other_versions_races_again() -> None:
    found = lstm_impl.tune(SPEC, WORK, candidates=["numpy"], seconds=0.1)
    requested = found.question
    assert models.answered(requested, ["numpy"]) == found
    newer = replace(requested.machine, versions={**requested.machine.versions, "torch": "99.0"})
    # It holds for others with the same versions of TensorFlow.
    assert newer.alike == requested.machine.alike
    assert models.answered(replace(requested, machine=newer), ["numpy"]) is None


def test_tune_bad_input_is_refused_first(folder: Path) -> None:
    with pytest.raises(ValueError, match="seconds is 0"):
        lstm_impl.tune(SPEC, WORK, seconds=0)
    with pytest.raises(UnsupportedError, match="did you mean numpy"):
        lstm_impl.tune(SPEC, WORK, candidates=["nunpy"])
    with pytest.raises(UnsupportedError, match=r"none of the candidates can run: cudnn: .*GPU"):
        lstm_impl.tune(SPEC, WORK, candidates=["cudnn"])
    assert not folder.exists()


# -- lengths and dropout


class Forgetful(NumPyLoop):
    """A backend that ignores lengths, or dropout."""

    strategy = "forgetful"
    forgotten = "lengths"

    def _build(self, spec: LSTMSpec, weights: LSTMWeights, device: str, batch_major: bool) -> Model:
        return ForgetfulModel(self, spec, device, batch_major, weights)


class ForgetfulModel(NumPyModel):
    backend: Forgetful

    def _seen(self, call: Call) -> Call:
        if self.backend.forgotten == "lengths":
            return call._replace(lengths=None)
        return call._replace(masks=None)

    def _infer(self, call: Call) -> Outputs:
        return super()._infer(self._seen(call))

    def _train(self, gradients: str, call: Call, upstream: Upstream) -> RawGradients:
        return super()._train(gradients, self._seen(call), upstream)


DEEP = replace(SPEC, num_layers=2)


@pytest.mark.parametrize(
    ("forgotten", "work"),
    [
        ("lengths", Workload(2, 4, min_length=1)),
        ("lengths", Workload(2, 4, "training", min_length=1)),
        ("masks", Workload(2, 4, "training", dropout=0.5)),
    ],
)
def test_tune_excludes_backends_that_ignore_lengths_or_masks(
    monkeypatch: pytest.MonkeyPatch, forgotten: str, work: Workload
) -> None:
    wrong = Forgetful()
    wrong.forgotten = forgotten
    monkeypatch.setattr(
        models, "get_backend", lambda name: wrong if name == "forgetful" else get_backend(name)
    )
    names = ["numpy", "forgetful"]
    plain = replace(work, min_length=None, dropout=0.0)
    found = lstm_impl.tune(DEEP, plain, candidates=names, seconds=0.1)
    assert not any("something else" in each.problem for each in found.raced)
    found = lstm_impl.tune(DEEP, work, candidates=names, seconds=0.1)
    assert found.backend == "numpy"
    result = found.result_of("forgetful")
    assert result is not None
    assert "it computes something else" in result.problem


# -- streams


@pytest.mark.parametrize(("mode", "each"), [("streaming", True), ("inference", False)])
def test_tune_stream_waits_for_each_call(
    mode: str, each: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    counts = {"run": 0, "wait": 0}
    infer = NumPyModel._infer

    def run(self: NumPyModel, call: object) -> object:
        counts["run"] += 1
        return infer(self, call)  # type: ignore[arg-type]

    def wait(self: NumPyModel) -> None:
        counts["wait"] += 1

    monkeypatch.setattr(NumPyModel, "_infer", run)
    monkeypatch.setattr(NumPyModel, "synchronize", wait)
    found = lstm_impl.tune(SPEC, Workload(1, 1, mode), candidates=["numpy"], seconds=0.2)
    assert found.backend == "numpy"
    # The gate makes some calls; a block of a race has hundreds.
    assert (counts["wait"] >= counts["run"] - 20) is each


# -- the GPU's name


def test_gpu_name_comes_from_tensorflow_if_known(monkeypatch: pytest.MonkeyPatch) -> None:
    details = [{"device_name": "An accelerator"}, {}]
    config = SimpleNamespace(
        list_physical_devices=lambda kind: [0, 1],
        experimental=SimpleNamespace(get_device_details=details.__getitem__),
    )
    monkeypatch.setitem(sys.modules, "tensorflow", SimpleNamespace(config=config))
    assert gpu_name("gpu:0") == gpu_name("gpu") == "An accelerator"
    assert [gpu_name(each) for each in ("cpu", "gpu:1", "gpu:2")] == [""] * 3
    monkeypatch.setitem(sys.modules, "tensorflow", None)
    assert gpu_name("gpu:0") == ""  # which is not needed to race other frameworks' backends
