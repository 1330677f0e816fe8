"""Describe JAX, and Flax, which computes with JAX."""

import importlib.util
from typing import Any

from lstm_impl.cuda import FrameworkBuild, GpuCheck
from lstm_impl.frameworks import Framework

INSTALL_CPU = "pip install jax"
INSTALL_GPU = "pip install 'jax[cuda12]'"


def look() -> FrameworkBuild:
    """Import JAX and describe its build."""
    import jax

    return FrameworkBuild(jax.__version__, len(gpus()), _cuda_version())


def gpus() -> list[Any]:
    """Return the GPUs that JAX can use."""
    import jax

    try:
        return list(jax.devices("gpu"))
    except RuntimeError:  # JAX raises this if there is no GPU, or if its CUDA plugin cannot start.
        return []


def _cuda_version() -> tuple[int, int] | None:
    """Return the CUDA version of JAX's plugin. The plugin's name has only the major version."""
    for major in (13, 12):
        if importlib.util.find_spec(f"jax_cuda{major}_plugin") is not None:
            return major, 0
    return None


JAX = Framework(
    "jax",
    title="JAX",
    install=INSTALL_CPU,
    install_gpu=INSTALL_GPU,
    gpu=GpuCheck("JAX", INSTALL_GPU, look),
    early_modules=("jax", "jax.numpy"),
    distributions=("jax", "jaxlib", "jax-cuda12-plugin", "jax-cuda13-plugin"),
    named_distributions=("jax",),
    thread_variables=("NPROC",),  # XLA's CPU client takes the size of its thread pool from it.
    variables=r"(JAX|XLA)_\w+",
    looks={"jax_scan": 6, "jax_cudnn": 12, "keras_jax": 19},
)

FLAX = Framework(
    "flax",
    title="Flax",
    install=f"{INSTALL_CPU} flax",
    install_gpu=f"{INSTALL_GPU} flax",
    gpu=JAX.gpu,
    early_modules=("jax", "jax.numpy", "flax.nnx"),
    distributions=("flax",),
    named_distributions=("flax",),
    looks={"flax": 14},
)

FRAMEWORKS = (JAX, FLAX)
