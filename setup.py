"""Name a wheel with libraries after its platform, and make the README's links absolute.

The environment variable PROJECT_URL is the address where a release is published, such as
https://github.com/OWNER/NAME. Package indexes show the README without the files next to it. With an
address, the README's links lead to the files there.
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
