"""Add the attack's options, and print its counts at the end."""

import secrets

import pytest

from tests.attack.trials import Attack

_KEY = pytest.StashKey[Attack]()


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("attack")
    group.addoption(
        "--attack-seed",
        type=int,
        metavar="N",
        help="draw the trials of seed N again (default: new)",
    )
    group.addoption(
        "--attack-size",
        type=float,
        metavar="X",
        default=1.0,
        help="X times as many trials as a release makes",
    )


def pytest_configure(config: pytest.Config) -> None:
    seed = config.getoption("attack_seed", None)
    size = config.getoption("attack_size", 1.0)
    config.stash[_KEY] = Attack(secrets.randbelow(10**9) if seed is None else seed, size)


@pytest.fixture(scope="session")
def attack(pytestconfig: pytest.Config) -> Attack:
    return pytestconfig.stash[_KEY]


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    attack = config.stash[_KEY]
    if not attack.counts:
        return
    terminalreporter.section(f"attack, seed {attack.seed}")
    for kind, counts in attack.counts.items():
        words = ", ".join(f"{number:,} {what}" for what, number in counts.items())
        terminalreporter.write_line(f"{kind}: {words}")
