"""Run a real object store on this machine by moto's server, with faults.

It listens on 127.0.0.1 only, on a free port, and ends with its block. Faults make its answers late,
short, refused or missing.
"""

import importlib
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from bench.machine.remote import ASKING

DENIED = b'<?xml version="1.0"?><Error><Code>AccessDenied</Code><Message>no</Message></Error>'
MISSING = b'<?xml version="1.0"?><Error><Code>NoSuchKey</Code><Message>no</Message></Error>'

Start = Callable[..., Any]


class Faults:
    """A WSGI application in front of another.

    slow, cut, denied, gone: names of objects whose answers are late, half, refused or missing.
    requests: the method and the object's name of each request.
    """

    def __init__(self, application: Any) -> None:
        self._application = application
        self._ended = threading.Event()
        self.slow: set[str] = set()
        self.cut: set[str] = set()
        self.denied: set[str] = set()
        self.gone: set[str] = set()
        self.requests: list[tuple[str, str]] = []

    def __call__(self, environ: dict[str, Any], start: Start) -> Iterable[bytes]:
        method = environ["REQUEST_METHOD"]
        name = environ["PATH_INFO"].rpartition("/")[2]
        self.requests.append((method, name))
        if name in self.slow:
            self._ended.wait(30)
        if name in self.denied:
            return self._refused(start, method, "403 Forbidden", DENIED)
        if name in self.gone and method == "GET":
            return self._refused(start, method, "404 Not Found", MISSING)
        if name in self.cut and method == "GET":
            # Its headers are unchanged and promise all of it.
            body = b"".join(self._application(environ, start))
            return [body[: len(body) // 2]]
        return list(self._application(environ, start))

    def end(self) -> None:
        """End all waiting."""
        self._ended.set()

    def none(self) -> None:
        """Remove all faults."""
        for names in (self.slow, self.cut, self.denied, self.gone):
            names.clear()

    def _refused(self, start: Start, method: str, status: str, body: bytes) -> Iterable[bytes]:
        length = str(len(body))
        start(status, [("Content-Type", "application/xml"), ("Content-Length", length)])
        return [] if method == "HEAD" else [body]


@contextmanager
def object_store(bucket: str) -> Iterator[tuple[Faults, Any]]:
    """Yield the faults and fsspec's file system of a store with this bucket."""
    for name in ("s3fs", "moto", "flask"):
        pytest.importorskip(name)
    server = importlib.import_module("moto.server")
    serving = importlib.import_module("werkzeug.serving")
    faults = Faults(server.DomainDispatcherApplication(server.create_backend_app))
    made = serving.make_server("127.0.0.1", 0, faults, threaded=True)
    thread = threading.Thread(target=made.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{made.server_port}")
        patch.setenv("AWS_ACCESS_KEY_ID", "testing")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "testing")
        patch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        patch.setenv("AWS_EC2_METADATA_DISABLED", "true")
        # Two attempts: five with growing waits take seconds.
        patch.setattr(importlib.import_module("s3fs.core").S3FileSystem, "retries", 2)
        files = importlib.import_module("fsspec").filesystem("s3")
        if files.exists(bucket):  # moto keeps what a block before had in this process
            files.rm(bucket, recursive=True)
        files.mkdir(bucket)
        try:
            yield faults, files
        finally:
            faults.end()
            faults.none()
            # Let unfinished requests end before the next test.
            for each in threading.enumerate():
                if each.name == ASKING:
                    each.join(30)
            # The next block must not find this store by the same name.
            files.clear_instance_cache()
            made.shutdown()
            made.server_close()
            thread.join(10)
