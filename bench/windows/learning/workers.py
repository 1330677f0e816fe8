"""Trainings side by side, in processes of their own that end with the one that began them.

Nothing here is timed, so cells may train at the same time. This room knows plans, cells and
processes; it writes and prints nothing.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from multiprocessing.synchronize import Event

from bench.results.maps import Cell
from bench.windows.learning.plan import Item, Plan, StoppedError, train

THREADS = (
    *("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"),
    *("TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS"),
)
"""Variables that keep a worker to one thread: the networks are too small for two."""

_stop: Event | None = None


def _begin_worker(stop: Event) -> None:
    global _stop
    _stop = stop
    # Ctrl-C reaches every process of a terminal; the parent decides what becomes of it.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()

    def end_with_parent() -> None:
        assert parent is not None
        parent.join()
        os._exit(1)

    threading.Thread(target=end_with_parent, daemon=True).start()


def _work(plan: Plan, item: Item) -> Cell | None:
    try:
        return train(plan, item, _stop.is_set if _stop is not None else lambda: False)
    except StoppedError:
        return None


@contextlib.contextmanager
def _one_thread() -> Iterator[None]:
    """Processes that start in here keep to one thread, unless the user said otherwise."""
    ours = [name for name in THREADS if name not in os.environ]
    os.environ.update(dict.fromkeys(ours, "1"))
    try:
        yield
    finally:
        for name in ours:
            del os.environ[name]


def train_all(
    plan: Plan,
    items: Sequence[Item],
    jobs: int,
    done: Callable[[Cell], None],
    wanted: Callable[[], bool],
    in_time: Callable[[], bool] = lambda: True,
) -> bool:
    """Train cells, ``jobs`` side by side, and hand each to ``done``; whether all were.

    wanted: asked often; once it says no, what is in flight is dropped. in_time: asked before a cell
    is begun; once it says no, none is begun any more.
    """
    if jobs == 1:
        for item in items:
            if not wanted() or not in_time():
                return False
            try:
                done(train(plan, item, lambda: not wanted()))
            except StoppedError:
                return False
        return True
    context = multiprocessing.get_context("spawn")
    stop = context.Event()
    waiting = list(reversed(items))
    flying: set[Future[Cell | None]] = set()
    with (
        _one_thread(),
        ProcessPoolExecutor(
            jobs, mp_context=context, initializer=_begin_worker, initargs=(stop,)
        ) as pool,
    ):
        try:
            while waiting or flying:
                if not wanted():
                    return False
                # A few wait in the pool's own queue, so that no worker is idle meanwhile.
                while waiting and len(flying) < jobs and in_time():
                    flying.add(pool.submit(_work, plan, waiting.pop()))
                if not flying:
                    return False  # out of time
                ready, flying = wait(flying, timeout=0.2, return_when=FIRST_COMPLETED)
                for future in ready:
                    try:
                        cell = future.result()
                    except BrokenProcessPool:
                        if wanted():
                            raise
                        return False  # the signal that ends this process has ended the workers
                    if cell is not None:
                        done(cell)
        finally:
            stop.set()
    return True
