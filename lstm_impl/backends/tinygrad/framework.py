"""Describe tinygrad."""

from lstm_impl.frameworks import Framework

TINYGRAD = Framework(
    "tinygrad",
    title="tinygrad",
    install="pip install tinygrad",
    distributions=("tinygrad",),
    named_distributions=("tinygrad",),
    thread_variables=("NUM_CPU_THREADS",),
    # tinygrad's variables have no common prefix. These choose the device and how kernels are made.
    variables="DEV|CC|BEAM|JITBEAM|NOOPT|JIT|JIT_BATCH_SIZE|TRANSCENDENTAL",
    looks={"tinygrad": 31},
)

FRAMEWORKS = (TINYGRAD,)
