"""What is installed is what stands here: every package, its data, the command, and versions that go together."""

from __future__ import annotations

import importlib
import re
import subprocess
import sys
import tomllib
import zipfile
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from tests.source import PACKAGES, ROOT, sources

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    """The wheel that `pip install .` would install."""
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "setup.py", "-q", "build", "--build-base", str(folder / "build")]
    command += ["egg_info", "--egg-base", str(folder)]
    command += ["bdist_wheel", "--dist-dir", str(folder), "--bdist-dir", str(folder / "bdist")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    (path,) = folder.glob("*.whl")
    return zipfile.ZipFile(path)


def _files(wheel: zipfile.ZipFile) -> set[str]:
    return {name for name in wheel.namelist() if ".dist-info/" not in name}


def _requirements() -> list[Requirement]:
    extras = PROJECT["optional-dependencies"].values()
    listed = [*PROJECT["dependencies"], *(text for extra in extras for text in extra)]
    return [found for found in map(Requirement, listed) if found.name != PROJECT["name"]]


def _pins() -> dict[str, str]:
    lines = [line.split("#")[0].strip() for line in (ROOT / "constraints.txt").read_text().splitlines()]
    pairs = [line.split("==") for line in lines if line]
    assert all(len(pair) == 2 for pair in pairs), "constraints.txt holds exact versions only"
    return {str(canonicalize_name(name)): version for name, version in pairs}


def test_the_wheel_holds_every_module_and_nothing_else(wheel: zipfile.ZipFile) -> None:
    modules = {
        source.module.replace(".", "/") + ("/__init__.py" if source.is_package else ".py") for source in sources()
    }
    found = {name for name in _files(wheel) if name.endswith(".py")}
    assert found == modules  # one that is missing stands in a folder without __init__.py
    assert {name.split("/")[0] for name in _files(wheel)} == set(PACKAGES)


def test_the_wheel_holds_every_data_file(wheel: zipfile.ZipFile) -> None:
    listed = subprocess.run(["git", "ls-files", *PACKAGES], cwd=ROOT, capture_output=True, text=True, check=False)
    if listed.returncode != 0:
        pytest.skip("not a git checkout")
    data = {name for name in listed.stdout.splitlines() if not name.endswith(".py") and (ROOT / name).exists()}
    assert data <= _files(wheel), "name the missing ones in package_data of setup.py"


def test_the_wheel_has_a_command_that_exists(wheel: zipfile.ZipFile) -> None:
    (name,) = [name for name in wheel.namelist() if name.endswith("/entry_points.txt")]
    (line,) = [line for line in wheel.read(name).decode().splitlines() if "=" in line]
    command, target = (part.strip() for part in line.split("="))
    assert command == "marl"
    module, function = target.split(":")
    assert callable(getattr(importlib.import_module(module), function))


def test_modules_are_ours() -> None:
    """The packages have general names: another distribution may own them too."""
    for name in PACKAGES:
        origin = importlib.import_module(name).__file__
        assert origin is not None
        assert Path(origin).parent.name == name
        assert Path(origin).parent.parent == ROOT


def test_every_requirement_is_a_lower_bound_with_a_pin() -> None:
    pins = _pins()
    for requirement in _requirements():
        assert re.fullmatch(r">=[\d.]+", str(requirement.specifier)), f"{requirement} is no plain lower bound"
        pin = pins.get(canonicalize_name(requirement.name))
        assert pin is not None, f"{requirement.name} has no pin in constraints.txt"
        assert requirement.specifier.contains(pin), (
            f"{requirement.name}: the pin {pin} is below {requirement.specifier}"
        )
    assert "pygame" not in pins  # pygame-ce owns the module `pygame`; both together break one another


def test_what_is_installed_is_what_is_pinned() -> None:
    """Figures and hashes hold for these versions; a build tag such as `+cpu` does not matter."""
    if metadata.version("torch").split("+")[0] != _pins()["torch"]:
        pytest.skip("not installed from constraints.txt")
    others = {
        name: (version, metadata.version(name))
        for name, version in _pins().items()
        if _installed(name) and Version(metadata.version(name)).public != version
    }
    assert not others, "pinned and installed versions differ; run `make install`"


def _installed(name: str) -> bool:
    try:
        metadata.version(name)
    except metadata.PackageNotFoundError:
        return False
    return True
