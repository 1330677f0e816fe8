"""Decide what a build of the suite contains, and make the README's links absolute.

A clone is installed as one distribution, the suite with the library ``lstm_impl``, so that nothing
else has to be installed before it. A source distribution, and the wheel that is built from it,
contain the suite alone and require the distribution ``lstm-impl`` of the same version, which
``distributions/lstm-impl`` describes.

The environment variable PROJECT_URL is the address where a release is published, such as
https://github.com/OWNER/NAME. Package indexes show the README without the files next to it. With an
address, the README's links lead to the files there.
"""

import os
import re
import sys
import tomllib
from pathlib import Path

from setuptools import find_packages, setup

# The suite needs no framework, so that it reads, reports and compares results on every machine.
REQUIRED = [
    "numpy>=1.26",
    "scipy>=1.11",
    "pandas>=2.1",
    # pandas' to_markdown() needs it, which users call on the frame that bench.load_frame returns.
    "tabulate>=0.9",
    "rich>=13.7",
    "psutil>=5.9",
    "threadpoolctl>=3.1",
    "platformdirs>=4",
    # It checks files against declared types ten times as fast as Python code, and has no
    # dependencies. 0.20 is the first version for Python 3.14.
    "msgspec>=0.20",
    # 8.4 is the first version that loads tests/conftest.py when it is given a folder in tests/.
    "pytest>=8.4",
    # 5.3.1 is the first version that works with pytest 9.2.
    "pytest-benchmark>=5.3.1",
]

project = tomllib.loads(Path("pyproject.toml").read_text(encoding="utf-8"))["project"]
packages = find_packages(include=["bench", "bench.*"])
# A source distribution has the file PKG-INFO, and a clone does not.
if "sdist" in sys.argv or Path("PKG-INFO").is_file():
    requirements = [f"lstm-impl=={project['version']}", *REQUIRED]
else:
    packages += find_packages(include=["lstm_impl", "lstm_impl.*"])
    requirements = REQUIRED

address = os.environ.get("PROJECT_URL", "").rstrip("/")
readme = Path("README.md").read_text(encoding="utf-8")
urls = {}
if address:
    tag = f"v{project['version']}"
    local = r"\]\((?!https?:|#)([^)]+)\)"
    readme = re.sub("!\\[([^\\]]*)" + local, rf"![\1]({address}/raw/{tag}/\2)", readme)
    readme = re.sub(local, rf"]({address}/blob/{tag}/\1)", readme)
    drawn = r'\b(src|srcset)="(?!https?:)([^"]+)"'
    readme = re.sub(drawn, rf'\1="{address}/raw/{tag}/\2"', readme)
    urls = {
        "Source": address,
        "Documentation": f"{address}/tree/{tag}/docs",
        "Changelog": f"{address}/blob/{tag}/CHANGELOG.md",
        "Issues": f"{address}/issues",
    }
setup(
    packages=packages,
    install_requires=requirements,
    long_description=readme,
    long_description_content_type="text/markdown",
    project_urls=urls,
)
