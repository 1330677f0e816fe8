"""Describe TensorFlow, with the Keras that computes on it."""

from lstm_impl.cuda import FrameworkBuild, GpuCheck, parse_version
from lstm_impl.distribution import compose_install
from lstm_impl.frameworks import Framework

INSTALL_CPU = compose_install("cpu")
INSTALL_GPU = "pip install 'tensorflow[and-cuda]'"


def look() -> FrameworkBuild:
    """Import TensorFlow and describe its build."""
    import tensorflow as tf

    build = tf.sysconfig.get_build_info()
    built_with = str(build.get("cuda_version", "")) if build["is_cuda_build"] else ""
    return FrameworkBuild(
        tf.__version__,
        len(tf.config.list_physical_devices("GPU")),
        parse_version(built_with) if built_with else None,
    )


TENSORFLOW = Framework(
    "tensorflow",
    title="TensorFlow",
    install=INSTALL_CPU,
    install_gpu=INSTALL_GPU,
    gpu=GpuCheck("TensorFlow", INSTALL_GPU, look),
    early_modules=("tensorflow", "keras", "tf_keras"),
    distributions=(
        *("tensorflow", "tensorflow-cpu", "tf-nightly", "tf-nightly-cpu"),
        *("keras", "keras-nightly", "tf-keras"),
    ),
    named_distributions=("tensorflow", "tensorflow-cpu", "tf-nightly", "keras", "tf-keras"),
    thread_variables=("TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS"),
    variables=r"(TF|TF2|XLA|KERAS)_\w+",
    looks={
        "keras": 0,
        "while_loop": 1,
        "while_loop+hoisted": 2,
        "while_loop+hoisted+xla": 3,
        "cudnn": 4,
        "keras+xla": 8,
        "while_loop+xla": 9,
        "while_loop+preproject": 10,
        "while_loop+preproject+xla": 11,
        "block_lstm": 16,
        "scan": 17,
        "static_unroll": 20,
        "static_rnn": 21,
        "dynamic_rnn": 22,
        "partial_unroll@10": 23,
    },
)

FRAMEWORKS = (TENSORFLOW,)
