"""Test a real Ray cluster of several nodes on this machine, with made-up accelerators.

It listens on 127.0.0.1 and ends with the tests. The nodes share this machine's processors, so that
measured times mean nothing.
"""

import contextlib
import ipaddress
import json
import os
import re
import signal
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from bench import records
from bench.cli.command_line import INTERRUPTED
from bench.session.exit_codes import MEASURED
from bench.session.session import load_fleet
from tests.bench.made_suites import small_suite
from tests.places import ROOT

# Ray takes seconds to import, and not every process that collects these tests runs them.
pytestmark = pytest.mark.skipif(
    find_spec("ray") is None, reason="the extra `ray` is not installed (it is in `test`)"
)

SUITE = small_suite()

SETTINGS = {
    "RAY_USAGE_STATS_ENABLED": "0",
    # Notice a dead node at once, not after 15 s. The time that a node may take to answer stays.
    "RAY_health_check_initial_delay_ms": "0",
    "RAY_health_check_period_ms": "300",
    "RAY_health_check_failure_threshold": "2",
    # Ray's own metrics and prestarted workers are not needed.
    "RAY_enable_metrics_collection": "0",
    "RAY_enable_worker_prestart": "0",
    "RAY_prestart_worker_first_driver": "0",
}

PATIENCE = 120.0
"""Seconds after which a command is ended; it takes some twenty."""


class Nodes:
    """A cluster, and commands that use it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.suite = folder / "mine.toml"
        self.suite.write_text(SUITE)
        self.by_id: dict[str, Any] = {}
        from ray.cluster_utils import Cluster

        self.cluster = Cluster()
        # A head lends no processors, as on most clusters.
        self._add(num_cpus=0, include_dashboard=False)

    def _add(self, **arguments: Any) -> Any:
        return self.cluster.add_node(
            node_ip_address="127.0.0.1", object_store_memory=80 * 2**20, **arguments
        )

    def lend(self, label: str = "", path: Path | None = None) -> str:
        """Add a node of one processor with a machine's lock of its own; return its number."""
        number = len(self.by_id)
        variables = {"LSTM_LOCK": str(self.folder / f"lock{number}"), "LSTM_ROOFS": "off"}
        if path is not None:
            variables["PYTHONPATH"] = str(path)
        labels = {"ray.io/accelerator-type": label} if label else {}
        node = self._add(num_cpus=1, env_vars=variables, labels=labels)
        self.by_id[node.node_id[:6]] = node
        return str(node.node_id[:6])

    def kill(self, number: str) -> None:
        """Kill a node as a power failure does."""
        self.cluster.remove_node(self.by_id[number], allow_graceful=False)

    def start(self, *words: str, results: Path, suite: bool = True) -> subprocess.Popen[str]:
        given = [str(self.suite)] if suite else []
        where = ["--ray", self.cluster.address, "--results", str(results)]
        return subprocess.Popen(
            [sys.executable, "-m", "bench.run", *given, *words, *where],
            # Ray passes the folder on to the nodes, which import from it.
            cwd=self.folder,
            env=plain_environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )


def plain_environment() -> dict[str, str]:
    return {key: value for key, value in os.environ.items() if "PYTEST" not in key}


@contextlib.contextmanager
def read_lines(process: subprocess.Popen[str]) -> Iterator[Iterator[str]]:
    """Yield the lines of a command as they come; it is ended if it takes too long."""
    timer = threading.Timer(PATIENCE, process.kill)
    timer.start()
    assert process.stdout is not None
    try:
        with process.stdout as lines:
            yield iter(lines)
    finally:
        timer.cancel()
        process.kill()
        process.wait()


@pytest.fixture(scope="module")
def nodes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nodes]:
    with pytest.MonkeyPatch.context() as patch:
        for name, value in SETTINGS.items():
            patch.setenv(name, value)
        made = Nodes(tmp_path_factory.mktemp("cluster"))
        yield made
        made.cluster.shutdown()


def counts(folder: Path) -> dict[str, Counter[str]]:
    fleet = next(iter((folder / ".sessions").glob("*.session.json"))).name.split(".")[0]
    kinds = {each.id: each.kind for each in load_fleet(folder, fleet)}
    found: dict[str, Counter[str]] = {}
    for file in records.collect([folder]).files:
        ids = [each.case.id for each in file.measurements]
        found.setdefault(kinds[file.run.session], Counter()).update(ids)
    return found


def measure_with_a_dead_node(nodes: Nodes, mortal: list[str], folder: Path) -> str:
    """Measure each case twice, and kill the first of these nodes that begins; return it."""
    dead, lines = "", []
    process = nodes.start("--processes", "2", results=folder)
    with read_lines(process) as printed:
        for line in printed:
            lines.append(line)
            begun = re.search(r"process \d+ on \S*#(\w{6})", line)
            if begun and not dead and begun[1] in mortal:
                dead = begun[1]
                nodes.kill(dead)
        assert process.wait() == MEASURED, "".join(lines)
    text = "".join(lines)
    assert re.search(rf"#{dead} is lost: ", text), text
    assert "raylet" not in text
    assert {path.suffix for path in folder.glob("mine-*")} == {".json"}
    return dead


LISTENING = """
import json, time
import psutil
from bench.session.cluster import HERE, ClusterMachines
from bench.session.cluster import NodeRequest
from bench.case.loading import SuiteChoice

with ClusterMachines(HERE, NodeRequest("smoke", None, SuiteChoice()), print) as cluster:
    while not cluster.arrived():
        time.sleep(0.1)
    own = psutil.Process()
    started = own.children(recursive=True)
    found = [
        (each.name(), *at.laddr)
        for each in (own, *started)
        for at in each.net_connections("inet")
        if at.status in (psutil.CONN_LISTEN, psutil.CONN_NONE)
    ]
left = psutil.wait_procs(started, 60)[1]
print(json.dumps([found, len(started), [each.name() for each in left]]))
"""
"""Starts Ray, gets its one node ready, and ends it; prints listening addresses and what is left."""


def is_of_this_machine(text: str) -> bool:
    """Return whether only this machine reaches an address, IPv4 or IPv6."""
    address = ipaddress.ip_address(text)
    return bool((getattr(address, "ipv4_mapped", None) or address).is_loopback)


def test_local_ray_listens_on_this_machine_only_and_ends() -> None:
    done = subprocess.run(
        [sys.executable, "-c", LISTENING],
        cwd=ROOT,
        env=plain_environment() | SETTINGS,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=True,
    )
    found, started, left = json.loads(done.stdout.splitlines()[-1])
    assert started
    assert found
    assert [each for each in found if not is_of_this_machine(each[1])] == []
    assert left == []


@pytest.mark.slow
def test_run_on_cluster_with_a_node_that_dies_repeats_its_work_only(
    nodes: Nodes, tmp_path: Path
) -> None:
    first = [nodes.lend("A100"), nodes.lend("A100")]
    nodes.lend("H100")
    measure_with_a_dead_node(nodes, first, tmp_path / "results")
    found = counts(tmp_path / "results")
    assert {kind.rpartition("-")[2] for kind in found} == {"a100", "h100"}
    for measured in found.values():
        assert len(measured) == 2
        assert set(measured.values()) == {2}


@pytest.mark.slow
def test_resume_on_cluster_continues_and_names_nodes_with_another_suite(
    nodes: Nodes, tmp_path: Path
) -> None:
    other = tmp_path / "other" / "bench"
    other.mkdir(parents=True)
    (other / "__init__.py").write_text("another = True\n")
    stranger = nodes.lend("L4", other.parent)
    nodes.lend("L4")
    folder = tmp_path / "results"
    process = nodes.start("--processes", "3", results=folder)
    with read_lines(process) as printed:
        lines = []
        for line in printed:
            lines.append(line)
            if re.search(r"process 2 on ", line):
                process.send_signal(signal.SIGINT)
        assert process.wait() == INTERRUPTED, "".join(lines)
    again = re.search(r"resume with: .* --ray (\S+) --resume (\S+)", lines[-1])
    assert again is not None, lines
    assert again[1] == nodes.cluster.address
    process = nodes.start("--resume", again[2], results=folder, suite=False)
    with read_lines(process) as printed:
        text = "".join(printed)
        assert process.wait() == MEASURED, text
    assert re.search(rf"#{stranger} is left out: another version of the suite", text), text
    assert all(set(measured.values()) == {3} for measured in counts(folder).values())
