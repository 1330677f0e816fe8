"""Download the packages that contain the weights, and unpack them.

Each file has a fixed version and a digest. pip downloads the file without its dependencies and
refuses another digest. Nothing is installed.
"""

from __future__ import annotations

import hashlib
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from platformdirs import user_cache_path

from bench.machine.fields import InputError


@dataclass(frozen=True)
class Package:
    """Describe one file of a package on PyPI.

    Attributes
    ----------
    name, version
        The package and the version that is downloaded.
    file
        The name of the wheel or of the source archive.
    sha256
        The digest of the file.
    """

    name: str
    version: str
    file: str
    sha256: str

    @property
    def requirement(self) -> str:
        """The line of a requirements file that accepts this file only."""
        return f"{self.name}=={self.version} --hash=sha256:{self.sha256}"


PACKAGES = {
    each.name: each
    for each in (
        Package(
            "resemblyzer",
            "0.1.4",
            "Resemblyzer-0.1.4-py3-none-any.whl",
            "8f12eb2f1a9982d32e8db7856de754709b59c93a77bcf0ff536584b619a9dd1f",
        ),
        Package(
            "BeatNet",
            "1.1.3",
            "BeatNet-1.1.3-py3-none-any.whl",
            "1ecfa17bdcbe899975a88bdb6efebd6970d846a4f3b6cfd5c6f320647c641c7e",
        ),
        Package(
            "arabic-diacritizer",
            "1.0.0",
            "arabic_diacritizer-1.0.0-py3-none-any.whl",
            "c4a62e8563baec1a206b3594710880557220f9b67287b102043531dd670dd45f",
        ),
        Package(
            "medaka",
            "2.2.2",
            "medaka-2.2.2-cp311-cp311-manylinux_2_27_x86_64.manylinux_2_28_x86_64.whl",
            "5aa260be53097964fd9fb41d27037005168ed6c70da54b5d631532ed5bb8f886",
        ),
        Package(
            "silero-vad",
            "6.2.3",
            "silero_vad-6.2.3-py3-none-any.whl",
            "7b7f5436cfcb02fae583a05b512ea96467fd449fe54cb49a5e4f06c51a1e43b8",
        ),
        Package(
            "chars2vec",
            "0.1.7",
            "chars2vec-0.1.7.tar.gz",
            "df05b0765e406e1bdb9f9537adf7fccb24db4a81956aea5c25a707a03a6a8094",
        ),
        Package(
            "textgenrnn",
            "2.0.0",
            "textgenrnn-2.0.0.tar.gz",
            "c2b6f1c201c76d5a6021079e95a8db499bbe15d9f3448d33cb51c0cd496c86f8",
        ),
        Package(
            "deepac",
            "0.14.1",
            "deepac-0.14.1-py3-none-any.whl",
            "ad7b613ba181aeb91b2233ef90157f3970d5585f218243a3a17f9a87d1806584",
        ),
        Package(
            "g2pM",
            "0.1.2.5",
            "g2pM-0.1.2.5-py3-none-any.whl",
            "9e920b82df4002f96d8679720c7a858d10816d438dbd61b8b6b621a80a976361",
        ),
    )
}
"""The packages whose weights are measured, by name."""

ANY_PYTHON = (
    *("--only-binary", ":all:", "--implementation", "cp", "--python-version", "3.11"),
    *("--platform", "manylinux_2_28_x86_64", "--platform", "manylinux_2_27_x86_64"),
)
"""pip's options for wheels. The file is then the same on every machine. Only its weights and its
Python files are read."""

DEADLINE = 300.0
"""The seconds after which pip is stopped."""


class UnavailableError(InputError):
    """Report that a package cannot be downloaded. The message gives the reason."""


def default_folder() -> Path:
    """Return the folder that keeps the downloaded files."""
    return user_cache_path("lstm-benchmark-suite") / "real-models"


Run = Callable[[list[str]], "subprocess.CompletedProcess[str]"]


def _run(command: list[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, capture_output=True, text=True, timeout=DEADLINE, check=False)


def fetch(package: Package, folder: Path, run: Run = _run) -> Path:
    """Return the file of a package in a folder, and download the file if it is not there.

    Parameters
    ----------
    package
        The package.
    folder
        The folder that keeps downloaded files. It is made if it does not exist.
    run
        A function that runs a command and returns its result.

    Raises
    ------
    UnavailableError
        If the file is not there and pip cannot download it, or if it has another digest.
    """
    path = folder / package.file
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        _download(package, path, run)
    found = hashlib.sha256(path.read_bytes()).hexdigest()
    if found != package.sha256:
        raise UnavailableError(
            f"{path} has the SHA-256 digest {found}; expected {package.sha256}. Delete the file "
            "and run the command again"
        )
    return path


def _download(package: Package, path: Path, run: Run) -> None:
    with tempfile.TemporaryDirectory(dir=path.parent) as made:
        requirements = Path(made) / "requirements.txt"
        requirements.write_text(package.requirement + "\n", encoding="utf-8")
        options = ["--quiet", "--no-deps", "--require-hashes", "--dest", made]
        if path.suffix == ".whl":
            options += ANY_PYTHON
        try:
            command = [sys.executable, "-m", "pip", "download", *options, "-r", str(requirements)]
            answer = run(command)
        except subprocess.TimeoutExpired:
            raise UnavailableError(
                f"{package.name} {package.version}: pip did not finish in {DEADLINE:g} s"
            ) from None
        got = Path(made) / package.file
        if answer.returncode or not got.exists():
            lines = [line for line in answer.stderr.splitlines() if "ERROR" in line]
            reason = lines[-1] if lines else f"exit code {answer.returncode}"
            raise UnavailableError(
                f"{package.name} {package.version} cannot be downloaded: {reason}"
            )
        got.replace(path)


def unpack(path: Path, folder: Path) -> Path:
    """Unpack a wheel or a source archive into a folder, and return the folder with its packages."""
    if path.suffix == ".whl":
        with zipfile.ZipFile(path) as wheel:
            wheel.extractall(folder)
        return folder
    with tarfile.open(path) as archive:
        archive.extractall(folder, filter="data")
    return folder / path.name.removesuffix(".tar.gz")
