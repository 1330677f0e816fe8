"""Name a wheel after its platform where it has libraries; pyproject.toml says all else."""

from pathlib import Path
from sysconfig import get_platform

from setuptools import setup

libraries = any(Path("lstm_impl/native/prebuilt").glob("*.so"))
setup(options={"bdist_wheel": {"plat_name": get_platform()}} if libraries else {})
