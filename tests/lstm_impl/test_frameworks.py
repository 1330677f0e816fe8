"""Test the descriptors of frameworks: ours, those of other packages, and a missing one."""

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from lstm_impl import Framework, frameworks, get_backend, list_backends
from lstm_impl.frameworks import broken_frameworks, get_framework, list_frameworks
from lstm_impl.names import BUILT_IN
from tests.loaded import FRAMEWORKS, list_loaded


def test_frameworks_of_this_package_have_descriptors() -> None:
    described = {each.name: each for each in list_frameworks()}
    assert {each.framework for each in BUILT_IN.values()} <= set(described)
    for each in described.values():
        assert each.title
        assert set(each.named_distributions) <= set(each.distributions)


def test_backend_needs_the_package_of_its_framework() -> None:
    for name in list_backends():
        backend = get_backend(name)
        described = get_framework(backend.framework)
        if described.package in backend.packages:
            assert backend.gpu in (None, described.gpu)


def test_looks_are_of_backends() -> None:
    for each in list_frameworks():
        for name in each.looks:
            assert get_backend(name).name == name


def test_descriptors_load_no_framework_and_no_backend() -> None:
    loaded = list_loaded("from lstm_impl.frameworks import list_frameworks\nlist_frameworks()")
    assert sorted(loaded & {*FRAMEWORKS}) == []
    backends = {name for name in loaded if name.startswith("lstm_impl.backends.")}
    folders = {name for name in backends if name.count(".") == 2}
    assert backends - folders == {f"{folder}.framework" for folder in folders}


def test_framework_without_a_descriptor_has_the_defaults() -> None:
    found = get_framework("made-up")
    assert found == Framework("made-up")
    assert (found.title, found.module, found.early_modules) == ("made-up", "made_up", ("made_up",))
    assert found.distributions == ()


@pytest.fixture
def register(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], None]]:
    """Return a function that installs a package whose module has the given text."""

    def install(text: str) -> None:
        (tmp_path / "made_up_descriptor.py").write_text(text)
        folder = tmp_path / "made_up-1.0.dist-info"
        folder.mkdir()
        (folder / "METADATA").write_text("Metadata-Version: 2.1\nName: made_up\nVersion: 1.0\n")
        (folder / "entry_points.txt").write_text(
            "[lstm_impl.frameworks]\nabacus = made_up_descriptor:ABACUS\n"
        )
        monkeypatch.syspath_prepend(str(tmp_path))
        frameworks._registered.cache_clear()

    yield install
    sys.modules.pop("made_up_descriptor", None)
    frameworks._registered.cache_clear()


def test_package_brings_a_descriptor_by_an_entry_point(register: Callable[[str], None]) -> None:
    before = list_frameworks()
    register(
        "from lstm_impl import Framework\n"
        "ABACUS = Framework('abacus', title='Abacus', module='beads', distributions=('beads',),\n"
        "    thread_variables=('BEADS_HANDS',), looks={'abacus_loop': 40})\n"
    )
    found = get_framework("abacus")
    assert (found.title, found.module, found.distributions) == ("Abacus", "beads", ("beads",))
    assert list_frameworks() == (*before, found)
    assert broken_frameworks() == ()


def test_package_cannot_replace_a_built_in_descriptor(register: Callable[[str], None]) -> None:
    register("from lstm_impl import Framework\nABACUS = Framework('torch', title='Not PyTorch')\n")
    assert get_framework("torch").title == "PyTorch"
    assert [each.title for each in list_frameworks() if each.name == "torch"] == ["PyTorch"]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("raise SystemExit('no')", "which cannot be imported: SystemExit: no"),
        ("ABACUS = 3", "which is not a lstm_impl.Framework"),
        (
            "from lstm_impl import Framework\nABACUS = Framework('abacus', variables='(')",
            "Framework.variables is '('; expected a regular expression",
        ),
        (
            "from lstm_impl import Framework\nABACUS = Framework('abacus', looks={'x': 64})",
            "Framework.looks['x'] is 64; expected a number below 64",
        ),
    ],
)
def test_broken_descriptor_is_named_and_hides_no_other(
    text: str, says: str, register: Callable[[str], None]
) -> None:
    before = list_frameworks()
    register(text)
    assert list_frameworks() == before
    (problem,) = broken_frameworks()
    assert "framework 'abacus' is registered as made_up_descriptor:ABACUS" in problem
    assert says in problem
    assert get_framework("abacus") == Framework("abacus")
