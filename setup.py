"""Name a wheel after its platform where it has libraries, and its links after its address.

PROJECT_URL is where a release is published, as https://github.com/OWNER/NAME. Package indexes show
the README without the files beside it: with an address, its links lead there.
"""

import os
import re
import tomllib
from pathlib import Path
from sysconfig import get_platform

from setuptools import setup

libraries = any(Path("lstm_impl/native/prebuilt").glob("*.so"))
address = os.environ.get("PROJECT_URL", "").rstrip("/")
readme = Path("README.md").read_text(encoding="utf-8")
urls = {}
if address:
    project = tomllib.loads(Path("pyproject.toml").read_text(encoding="utf-8"))["project"]
    tag = f"v{project['version']}"
    local = r"\]\((?!https?:|#)([^)]+)\)"
    readme = re.sub("!\\[([^\\]]*)" + local, rf"![\1]({address}/raw/{tag}/\2)", readme)
    readme = re.sub(local, rf"]({address}/blob/{tag}/\1)", readme)
    urls = {
        "Source": address,
        "Documentation": f"{address}/tree/{tag}/docs",
        "Changelog": f"{address}/blob/{tag}/CHANGELOG.md",
        "Issues": f"{address}/issues",
    }
setup(
    long_description=readme,
    long_description_content_type="text/markdown",
    project_urls=urls,
    options={"bdist_wheel": {"plat_name": get_platform()}} if libraries else {},
)
