"""Test that the user's folders are those that platformdirs finds."""

import os
from pathlib import Path

import platformdirs.macos
import platformdirs.unix
import platformdirs.windows
import pytest

import lstm_impl.user_folders as user_folders


@pytest.mark.skipif(os.name == "nt", reason="it compares folders of Linux and macOS")
@pytest.mark.parametrize("variable", [None, "", "/absolute"])
@pytest.mark.parametrize("home", [None, "/home/somebody"])
def test_folders_are_those_of_platformdirs(
    variable: str | None, home: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    values = {"XDG_CACHE_HOME": variable, "XDG_DATA_HOME": variable, "HOME": home}
    for name, value in values.items():
        if value is None:
            monkeypatch.delenv(name, raising=False)
        else:
            monkeypatch.setenv(name, value)
    linux = platformdirs.unix.Unix(user_folders.NAME)
    monkeypatch.setattr("sys.platform", "linux")
    assert user_folders.find_cache_folder() == Path(linux.user_cache_dir)
    assert user_folders.find_data_folder() == Path(linux.user_data_dir)
    if not variable:  # Old versions of platformdirs ignore the variable on macOS.
        monkeypatch.setattr("sys.platform", "darwin")
        macos = platformdirs.macos.MacOS(user_folders.NAME)
        assert user_folders.find_data_folder() == Path(macos.user_data_dir)


def test_relative_folder_in_a_variable_is_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    monkeypatch.setenv("HOME", "/home/somebody")
    found = user_folders.find_cache_folder()
    assert found == Path("/home/somebody/.cache") / user_folders.NAME


def test_data_folder_on_windows_is_that_of_platformdirs(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("LOCALAPPDATA", str(tmp_path))
    monkeypatch.setattr(
        "platformdirs.windows.get_win_folder", lambda name: os.environ[name.removeprefix("CSIDL_")]
    )
    monkeypatch.setenv("LOCAL_APPDATA", str(tmp_path))
    monkeypatch.setattr("sys.platform", "win32")
    windows = platformdirs.windows.Windows(user_folders.NAME)
    assert user_folders.find_data_folder() == Path(windows.user_data_dir)
