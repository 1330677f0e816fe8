# The proof on a GPU, in TensorFlow's own image, which has TensorFlow and the CUDA libraries:
#   docker build -t lstm-gpu-proof .
#   docker run --rm --gpus all -v "$PWD/results:/suite/results" lstm-gpu-proof
# Another release of TensorFlow: --build-arg TAG=2.20.0-gpu
ARG TAG=latest-gpu
FROM tensorflow/tensorflow:${TAG}

# Where the image's Python belongs to its system, pip would refuse; nothing else lives here.
ENV PIP_BREAK_SYSTEM_PACKAGES=1

WORKDIR /suite
COPY . .

# Not the extra `gpu`: it would bring TensorFlow and CUDA a second time. nvidia-ml-py reads the
# GPU's clocks and heat; `test` is what the tests that need a GPU need.
RUN python3 -m pip install --no-cache-dir -e ".[test]" nvidia-ml-py

ENTRYPOINT ["python3", "-m", "bench.gpu_proof"]
