"""A machine with a GPU for processes of a test: a driver that answers, and a backend that uses it.

The backend computes with NumPy and records a kernel of cuDNN, and is judged by cuDNN's own rule.
FAKE_GPU in the environment is what goes wrong: ``memory``, ``kernel`` or ``time``; else nothing.
"""

from pathlib import Path

from tests.bench import other_package

NAME = "fake_cudnn"

_BACKEND = """\
import os, time
from lstm_impl.backends.others.numpy_loop import NumPyLoop, NumPyModel
from lstm_impl.backends.tensorflow.cudnn import Cudnn

WRONG = os.environ.get("FAKE_GPU")

class Model(NumPyModel):
    def _infer(self, call):
        if WRONG == "memory":
            raise RuntimeError("CUDA_ERROR_OUT_OF_MEMORY: out of memory")
        time.sleep(600 if WRONG == "time" else 0)
        return super()._infer(call)

    def evidence(self, workload):
        kernel = "gemm" if WRONG == "kernel" else "RNN_blockPersist_fp_LSTM"
        return {"kernels": {kernel: 4}, "cudnn": [kernel] if kernel != "gemm" else []}

class FakeCudnn(NumPyLoop):
    strategy, summary, model = "fake_cudnn", "a stand-in for cuDNN", Model
    devices, elsewhere = ("gpu",), ""
    missing_evidence = Cudnn.missing_evidence
"""

_DRIVER = """\
import sys
from types import SimpleNamespace
from tests.bench.machine.made_machines import FakeNvml

class Driver(FakeNvml):
    def __getattr__(self, name):
        if name == "nvmlDeviceGetMemoryInfo":
            return lambda gpu: SimpleNamespace(total=80 * 2**30, used=500)
        return super().__getattr__(name)

sys.modules[__name__] = Driver()
"""


def install(folder: Path) -> None:
    """Write the driver's library and the backend into a folder of PYTHONPATH."""
    other_package.install(folder, "fake_gpu_package", _BACKEND, {NAME: "FakeCudnn"})
    (folder / "pynvml.py").write_text(_DRIVER)
