"""Name a wheel with libraries after its platform, and give it the address of the project.

The environment variable PROJECT_URL is the address where a release is published, such as
https://github.com/OWNER/NAME.
"""

import os
from pathlib import Path
from sysconfig import get_platform

from setuptools import setup

address = os.environ.get("PROJECT_URL", "").rstrip("/")
libraries = any(Path("lstm_impl/native/prebuilt").glob("*.so"))
setup(
    project_urls={"Source": address, "Documentation": f"{address}/tree/main/docs"}
    if address
    else {},
    options={"bdist_wheel": {"plat_name": get_platform()}} if libraries else {},
)
