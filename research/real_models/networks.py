"""List the models that are measured, and what is known of them without a framework."""

from __future__ import annotations

from dataclasses import dataclass

OWN = "the package's own class"
"""Says that a model is made by the code of its package."""

REBUILT = "rebuilt from the weights"
"""Says that a model is made of the framework's layers, in the shapes of the package's weights."""


@dataclass(frozen=True)
class Case:
    """Describe one call of a model.

    Attributes
    ----------
    mode
        ``inference`` or ``training``.
    call
        What a user computes in this call.
    batch, steps
        The number of sequences, and the timesteps of each.
    """

    mode: str
    call: str
    batch: int
    steps: int

    @property
    def key(self) -> str:
        """The name of the case in the results: mode, batch and timesteps."""
        return f"{self.mode} {self.batch}×{self.steps}"


@dataclass(frozen=True)
class Network:
    """Describe a model with its weights.

    Attributes
    ----------
    name
        The name of the model in commands and tables.
    package
        The package on PyPI that contains the weights.
    framework
        The framework that computes the model: PyTorch, Keras or NumPy.
    purpose
        What people use the model for.
    layers
        The recurrent layers and the rest of the model.
    origin
        Where the code of the model comes from, as a complete phrase.
    program
        The function that makes the model callable, as ``module:function`` in this package.
    cases
        The calls that are measured.
    """

    name: str
    package: str
    framework: str
    purpose: str
    layers: str
    origin: str
    program: str
    cases: tuple[Case, ...]

    def find_case(self, key: str) -> Case | None:
        """Return the case with this key, or None."""
        return next((each for each in self.cases if each.key == key), None)


NETWORKS = {
    each.name: each
    for each in (
        Network(
            "resemblyzer",
            "resemblyzer",
            "PyTorch",
            "recognize speakers",
            "3 LSTM layers, 40→256; linear",
            f"{OWN}; the modules that read audio files are left out",
            "torch_programs:make_resemblyzer",
            (
                Case("inference", "1.6 seconds of speech", 1, 160),
                Case("inference", "7 seconds of speech, in 8 parts", 8, 160),
                Case("training", "8 utterances", 8, 160),
            ),
        ),
        Network(
            "beatnet",
            "BeatNet",
            "PyTorch",
            "track beats in music",
            "convolution; 2 LSTM layers, 150→150; linear",
            OWN,
            "torch_programs:make_beatnet",
            (
                Case("inference", "one frame of a live stream", 1, 1),
                Case("inference", "half a minute of music", 1, 1500),
                Case("training", "4 excerpts of 8 seconds", 4, 400),
            ),
        ),
        Network(
            "arabic-diacritizer",
            "arabic-diacritizer",
            "PyTorch",
            "add vowel signs to Arabic text",
            "embedding; 3 bidirectional LSTM layers, 128→256; attention; linear",
            OWN,
            "torch_programs:make_diacritizer",
            (
                Case("inference", "one sentence", 1, 80),
                Case("training", "8 sentences", 8, 80),
            ),
        ),
        Network(
            "medaka-hac",
            "medaka",
            "PyTorch",
            "correct errors of DNA sequencing (r1041_e82_400bps_hac_v6.0.0)",
            "2 bidirectional GRU layers, 10→256; linear",
            f"{OWN}; its base class, which needs other packages, is torch.nn.Module",
            "torch_programs:make_medaka_hac",
            (
                Case("inference", "one chunk of 500 positions", 1, 500),
                Case("training", "4 chunks of 50 positions", 4, 50),
            ),
        ),
        Network(
            "medaka-sup",
            "medaka",
            "PyTorch",
            "the same (r1041_e82_400bps_sup_v5.2.0)",
            "2 bidirectional GRU layers, 10→128; linear",
            f"{OWN}; its base class, which needs other packages, is torch.nn.Module",
            "torch_programs:make_medaka_sup",
            (
                Case("inference", "one chunk of 500 positions", 1, 500),
                Case("training", "4 chunks of 50 positions", 4, 50),
            ),
        ),
        Network(
            "silero-vad",
            "silero-vad",
            "PyTorch",
            "find speech in audio",
            "5 convolutions; 1 LSTM layer, 128→128; convolution",
            f"{REBUILT}, with torch.nn.LSTM over all frames of a recording",
            "torch_programs:make_silero",
            (Case("inference", "16 seconds of audio", 1, 512),),
        ),
        Network(
            "chars2vec-50",
            "chars2vec",
            "Keras",
            "embed words by their letters (eng_50)",
            "2 LSTM layers, 59→50",
            OWN,
            "keras_programs:make_chars2vec_50",
            (
                Case("inference", "predict with 256 words", 256, 12),
                Case("training", "32 words", 32, 12),
            ),
        ),
        Network(
            "chars2vec-300",
            "chars2vec",
            "Keras",
            "the same (eng_300)",
            "2 LSTM layers, 59→300",
            OWN,
            "keras_programs:make_chars2vec_300",
            (
                Case("inference", "predict with 256 words", 256, 12),
                Case("training", "32 words", 32, 12),
            ),
        ),
        Network(
            "textgenrnn",
            "textgenrnn",
            "Keras",
            "generate text, one character in each call",
            "embedding; 2 LSTM layers, 100→128; attention; dense",
            f"{REBUILT}, because the package needs Keras 2",
            "keras_programs:make_textgenrnn",
            (
                Case("inference", "the next character", 1, 40),
                Case("training", "128 texts", 128, 40),
            ),
        ),
        Network(
            "deepac",
            "deepac",
            "Keras",
            "tell whether DNA is of a pathogen (sensitive LSTM)",
            "1 bidirectional LSTM layer, 4→384, on both strands; dense",
            f"{REBUILT}, without dropout, because the package needs Keras 2",
            "keras_programs:make_deepac",
            (
                Case("inference", "4 reads", 4, 250),
                Case("training", "4 reads", 4, 250),
            ),
        ),
        Network(
            "g2pm",
            "g2pM",
            "NumPy",
            "find the pronunciation of Chinese characters",
            "embedding; 1 bidirectional LSTM layer, 64→32; 2 linear layers",
            f"{OWN}, whose loop over time is replaced",
            "numpy_programs:make_g2pm",
            (Case("inference", "one sentence", 1, 30),),
        ),
    )
}
"""The models by name."""

PARTS = ("recurrent", "whole")
"""What is timed of a model: its recurrent layers alone, or a complete call."""
