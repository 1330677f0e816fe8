"""Make workers start quickly: Python runs this file as it starts (``tests.quick_pytest.USED``)."""

import os

if "QUICK_WORKERS" in os.environ:
    from tests import quick_worker

    quick_worker.install()
