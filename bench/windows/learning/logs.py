"""A training's loss for TensorBoard."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Protocol

from bench.telling.command_line import UsageError

# -- TensorBoard


class Logs(Protocol):
    """A TensorBoard log."""

    def scalar(self, name: str, value: float, step: int) -> None:
        """Add one point of a curve."""

    def close(self) -> None:
        """Write what is still held back."""


class _TensorFlowLogs:
    """Through TensorFlow, which can write them without the tensorboard package."""

    def __init__(self, folder: Path) -> None:
        import tensorflow as tf

        self._tf = tf
        self._writer = tf.summary.create_file_writer(str(folder))
        self._metadata = tf.compat.v1.SummaryMetadata(
            plugin_data=tf.compat.v1.SummaryMetadata.PluginData(plugin_name="scalars"),
            data_class=1,  # DATA_CLASS_SCALAR of TensorBoard's summary.proto
        )

    def scalar(self, name: str, value: float, step: int) -> None:
        with self._writer.as_default():
            self._tf.summary.write(
                name, self._tf.constant(value, self._tf.float32), step, metadata=self._metadata
            )

    def close(self) -> None:
        self._writer.close()


class _TensorBoardLogs:
    """Through the tensorboard package alone."""

    def __init__(self, folder: Path) -> None:
        # By name, since the types are checked where it is not installed.
        self._writer = importlib.import_module("tensorboard.summary").Writer(str(folder))

    def scalar(self, name: str, value: float, step: int) -> None:
        self._writer.add_scalar(name, value, step)

    def close(self) -> None:
        self._writer.close()


def open_logs(folder: Path) -> Logs:
    """A log in ``folder``. Raises UsageError if nothing here can write one."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"--logdir {folder}: {error.strerror}") from error
    # tensorboard first: it is quick to load where TensorFlow is not there or not needed.
    if importlib.util.find_spec("tensorboard") is not None:
        return _TensorBoardLogs(folder)
    if importlib.util.find_spec("tensorflow") is not None:
        return _TensorFlowLogs(folder)
    raise UsageError(
        "--logdir needs the package tensorboard or tensorflow: pip install tensorboard"
    )
