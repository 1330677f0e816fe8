"""Describe PyTorch."""

from lstm_impl.cuda import FrameworkBuild, GpuCheck, parse_version
from lstm_impl.frameworks import Framework

INSTALL_CPU = "pip install torch --index-url https://download.pytorch.org/whl/cpu"
INSTALL_GPU = "pip install torch"


def look() -> FrameworkBuild:
    """Import PyTorch and describe its build."""
    import torch

    return FrameworkBuild(
        torch.__version__,
        torch.cuda.device_count(),
        parse_version(torch.version.cuda) if torch.version.cuda else None,
    )


TORCH = Framework(
    "torch",
    title="PyTorch",
    install=INSTALL_CPU,
    install_gpu=INSTALL_GPU,
    gpu=GpuCheck("PyTorch", INSTALL_GPU, look),
    distributions=("torch", "triton"),
    named_distributions=("torch",),
    variables=r"(TORCH|TORCHINDUCTOR|PYTORCH|ATEN)_\w+",
    looks={"torch": 5, "torch_compile": 13},
)

FRAMEWORKS = (TORCH,)
