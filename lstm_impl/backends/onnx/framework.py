"""Describe ONNX Runtime."""

import ctypes

from lstm_impl.cuda import FrameworkBuild, GpuCheck, parse_version
from lstm_impl.frameworks import Framework

INSTALL_CPU = "pip install onnx onnxruntime"
INSTALL_GPU = "pip install onnx onnxruntime-gpu"


def look() -> FrameworkBuild:
    """Import ONNX Runtime and describe its build."""
    import onnxruntime

    built = "CUDAExecutionProvider" in onnxruntime.get_available_providers()
    version = getattr(onnxruntime, "cuda_version", "") or "12"
    return FrameworkBuild(
        onnxruntime.__version__,
        _gpus_of_the_driver() if built else 0,
        parse_version(version) if built else None,
    )


def _gpus_of_the_driver() -> int:
    """Count the GPUs with the CUDA driver, because ONNX Runtime does not count them."""
    count = ctypes.c_int()
    try:
        driver = ctypes.CDLL("libcuda.so.1")
        if driver.cuInit(0) != 0 or driver.cuDeviceGetCount(ctypes.byref(count)) != 0:
            return 0
    except (OSError, AttributeError):
        return 0
    return count.value


ONNX_RUNTIME = Framework(
    "onnxruntime",
    title="ONNX Runtime",
    install=INSTALL_CPU,
    install_gpu=INSTALL_GPU,
    # The package for GPUs replaces the package for CPUs.
    gpu=GpuCheck("ONNX Runtime", f"pip uninstall onnxruntime && {INSTALL_GPU}", look),
    early_modules=("onnxruntime", "onnx"),
    distributions=("onnx", "onnxruntime", "onnxruntime-gpu"),
    named_distributions=("onnxruntime",),
    variables=r"ORT_\w+",
    looks={"onnxruntime": 7},
)

FRAMEWORKS = (ONNX_RUNTIME,)
