"""Published times: the table, and steps made of its figures."""

from collections import Counter
from pathlib import Path

import pytest

from bench import case as suites
from bench.case import published
from bench.case.cases import Case
from bench.case.loading import SuiteChoice
from bench.case.published import PublishedShape
from lstm_impl import LSTMSpec, Workload
from lstm_impl.cell import GRU

HEADER = (
    "source,file,device,implementation,dtype,layers,bidirectional,batch,timesteps,input_size,"
    "hidden_size,measured,value,unit\n"
)
BRAUN = "braun,a.png,GTX,TF,float32,4,True,32,1000,123,320,train:batch,528,ms\n"
DEEP = "deepbench,a.xlsx,V100,vendor,float32,1,False,16,25,512,512,train:{},{},ms\n"


def table(folder: Path, text: str) -> Path:
    path = folder / "published.csv"
    path.write_text(text)
    return path


def test_read_packaged_table_has_775_figures() -> None:
    figures = published.read()
    assert len(figures) == 775
    counts = Counter(figure.source.name for figure in figures)
    assert counts == {"deepbench": 705, "braun": 22, "returnn": 38, "flashrnn": 10}
    (one,) = [
        figure
        for figure in figures
        if figure.implementation == "TensorFlow cuDNNLSTM" and figure.shape.bidirectional
    ]
    assert one.shape == PublishedShape(32, 1000, 123, 320, 4, True, "training")
    assert one.seconds == pytest.approx(0.528)
    assert one.device == "NVIDIA GTX 1080"


def test_sources_name_suites_with_every_published_shape() -> None:
    for source in published.SOURCES.values():
        shapes = {
            PublishedShape.of(case)
            for name in source.suites
            for case in suites.load(name, SuiteChoice(["while_loop"], ["cpu"])).cases
        }
        figures = [each for each in published.read() if each.source == source]
        assert figures
        assert {each.shape for each in figures} <= shapes


def test_steps_published_in_parts_are_added_up(tmp_path: Path) -> None:
    text = HEADER + DEEP.format("forward", 1) + DEEP.format("backward_data", 2)
    assert published.steps(published.read(table(tmp_path, text))) == ()  # no complete step
    text += DEEP.format("backward_weights", 4)
    (step,) = published.steps(published.read(table(tmp_path, text)))
    assert step.seconds == pytest.approx(0.007)
    assert step.how == "the sum of forward, backward_data and backward_weights"
    assert step.measured == "train:forward + train:backward_data + train:backward_weights"


def test_steps_epoch_is_divided_by_its_batches() -> None:
    steps = published.steps(published.read())
    (cpu,) = [
        step
        for step in steps
        if step.device == "CPU, 1 thread" and step.implementation == "NativeLSTM"
    ]
    assert cpu.seconds == pytest.approx(955.7625 * 40 / 500)
    assert cpu.how == "an epoch of 500 sequences, times 40/500"


def test_steps_use_every_figure_once() -> None:
    figures = published.read()
    parts = [len(step.measured.split(" + ")) for step in published.steps(figures)]
    assert sum(parts) == len(figures)


def test_shape_of_another_cell_is_none() -> None:
    spec = LSTMSpec(123, 320, cell=GRU())
    assert PublishedShape.of(Case("keras", spec, Workload(32, 1000))) is None


def test_shape_windows_padding_dropout_or_optimizer_is_none() -> None:
    spec = LSTMSpec(123, 320, num_layers=4, bidirectional=True)
    shape = PublishedShape.of(Case("keras", spec, Workload(32, 1000, "training")))
    assert shape == PublishedShape(32, 1000, 123, 320, 4, True, "training")
    for other in (
        Workload(32, 1000, "training", min_length=500),
        Workload(32, 1000, "training", window=10),
        Workload(32, 1000, "training", dropout=0.5),
        Workload(32, 1000, "training", optimizer="sgd"),
    ):
        assert PublishedShape.of(Case("keras", spec, other)) is None
