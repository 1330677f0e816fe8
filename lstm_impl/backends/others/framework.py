"""Describe NumPy, LiteRT and OpenVINO."""

import sys

from lstm_impl.distribution import compose_install
from lstm_impl.frameworks import Framework


def without_telemetry() -> None:
    """Prevent OpenVINO from importing its telemetry, unless that is imported already."""
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]


NUMPY = Framework(
    "numpy",
    title="NumPy",
    distributions=("numpy",),
    variables=r"NPY_\w+",
    looks={"numpy": 18},
)

LITERT = Framework(
    "litert",
    title="LiteRT",
    module="ai_edge_litert",
    install=compose_install("litert"),
    early_modules=("tensorflow", "ai_edge_litert.interpreter"),  # TensorFlow has the converter.
    distributions=("ai-edge-litert",),
    looks={"litert": 15},
)

OPENVINO = Framework(
    "openvino",
    title="OpenVINO",
    install="pip install openvino",
    before_import=without_telemetry,
    distributions=("openvino",),
    named_distributions=("openvino",),
)

FRAMEWORKS = (NUMPY, LITERT, OPENVINO)
