"""Provide fixtures of the library's tests."""

from tests.lstm_impl.fake_compiler import make_compiler  # noqa: F401
