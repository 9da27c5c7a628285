"""Imports go down only, heavy libraries have one door each, no pickles, no global random numbers."""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
from collections.abc import Iterable, Iterator
from graphlib import CycleError, TopologicalSorter

import pytest

from tests.source import PACKAGES, ROOT, Import, Source, dotted, sources

GROUND = "environments"
CONTRACT = ("marl", "environments.spec", "environments.vector", "environments.replay", "environments.errors")
ALLOWED = {
    "environments": ("environments",),
    "scenarios": ("scenarios", "environments"),
    "viz": ("viz", "scenarios", "environments"),
    "marl": CONTRACT,
    "marl.engine": (
        *CONTRACT,
        "environments.compile",
        "environments.intrinsics",
        "environments.rng",
        "environments.workers",
    ),
    "league": ("league", "marl", "scenarios", "environments"),
    "marl.cli": ("marl", "league", "viz", "scenarios", "environments"),
}
"""What each floor may import of ours. `marl.cli`, the roof, stands in the folder of a lower floor and is its own;
`marl.engine`, the cellar of its floor, also uses the compiler and the threads of the simulators."""

UPWARD = {("environments.facade", "viz.render:render")}
"""The one arrow that points up: a string, looked up at the first `render()`."""

DOORS = {
    "torch": ("marl",),
    "pygame": ("viz.screen",),
    "wandb": ("marl.metrics",),
    "supersuit": ("environments.external",),
}
"""Heavy libraries, and the only modules (with what is inside them) that may import each."""

UNSAFE = ("pickle", "cPickle", "cloudpickle", "dill", "marshal", "shelve", "joblib", "torch.load", "torch.save")
"""What can run foreign code when a file is read."""

SEEDED = ("default_rng", "Generator", "SeedSequence", "BitGenerator", "PCG64", "PCG64DXSM", "Philox", "SFC64")
"""The part of `numpy.random` that holds no state of its own."""

TORCH_GLOBAL = ("manual_seed", "seed", "set_rng_state", "cuda.manual_seed", "cuda.manual_seed_all", "distributions")
TORCH_DRAWS = ("rand", "randn", "randint", "randperm", "normal", "bernoulli", "multinomial", "poisson")
TENSOR_DRAWS = ("normal_", "uniform_", "random_", "exponential_", "bernoulli_", "log_normal_", "cauchy_", "geometric_")
"""Draws that take from torch's global generator unless `generator=` is given."""

UNSEEDED = {"marl.policy"}
"""Where a person who plays by hand, and hands in no generator, gets a fresh one. Nothing else draws unrepeatably."""

MODULE_STRING = re.compile(rf"({'|'.join(PACKAGES)})(\.\w+)+(:\w+)?")


def inside(module: str, owners: Iterable[str]) -> bool:
    """True where `module` is one of `owners` or stands inside one."""
    return any(module == owner or module.startswith(f"{owner}.") for owner in owners)


def floor(module: str) -> str:
    """The floor on which a module of ours stands."""
    return next((own for own in ("marl.cli", "marl.engine") if inside(module, [own])), module.split(".")[0])


def upward_imports(source: Source) -> Iterator[str]:
    """Imports of ours, also those written as a string, that this file's floor does not allow."""
    own = floor(source.module)
    for found in source.imports():
        if inside(found.module, PACKAGES) and not any(_may_import(own, target) for target in found.targets):
            yield f"{source.module}:{found.line} imports {found.targets[-1]}"
        elif found.targets[-1] == "marl.cli" and own != "marl.cli":
            yield f"{source.module}:{found.line} imports marl.cli"
    for node in ast.walk(source.tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and MODULE_STRING.fullmatch(node.value):
            target = node.value.split(":")[0]
            if not _may_import(own, target) and (source.module, node.value) not in UPWARD:
                yield f"{source.module}:{node.lineno} names {node.value!r}"


def _may_import(own: str, target: str) -> bool:
    if own != "marl.cli" and inside(target, ["marl.cli"]):
        return False
    return inside(target, ALLOWED[own])


def wrong_doors(source: Source) -> Iterator[str]:
    """Heavy libraries imported elsewhere than through their door."""
    for found in source.imports():
        for library, owners in DOORS.items():
            if inside(found.module, [library]) and not inside(source.module, owners):
                yield f"{source.module}:{found.line} imports {library}"


def unsafe_reading(source: Source) -> Iterator[str]:
    """Imports and uses of what runs foreign code when it reads a file."""
    for found in source.imports():
        if any(inside(target, UNSAFE) for target in found.targets):
            yield f"{source.module}:{found.line} imports {found.targets[-1]}"
    names = source.names()
    for node in ast.walk(source.tree):
        if isinstance(node, ast.Attribute) and dotted(node, names) in UNSAFE:
            yield f"{source.module}:{node.lineno} uses {dotted(node, names)}"
        if isinstance(node, ast.keyword) and node.arg == "allow_pickle" and ast.unparse(node.value) != "False":
            yield f"{source.module}:{node.value.lineno} allows pickles"


def global_randomness(source: Source) -> Iterator[str]:
    """Draws from a generator that nobody handed in, and seeds set for everybody."""
    names = source.names()
    for found in source.imports():
        taken = found.targets[-1]
        if taken == "random" or inside(taken, ["torch.distributions"]) or _is_global(taken):
            yield f"{source.module}:{found.line} imports {taken}"
    for node in ast.walk(source.tree):
        if isinstance(node, ast.Attribute):
            full = dotted(node, names)
            if full is not None and _is_global(full):
                yield f"{source.module}:{node.lineno} uses {full}"
        elif isinstance(node, ast.Call) and _is_unseeded(node, names) and source.module not in UNSEEDED:
            yield f"{source.module}:{node.lineno} draws without a generator: {ast.unparse(node.func)}"


def _is_global(full: str) -> bool:
    if full.startswith("numpy.random."):
        return full.split(".")[2] not in SEEDED
    return full.startswith("random.") or full in {f"torch.{name}" for name in TORCH_GLOBAL}


def _is_unseeded(call: ast.Call, names: dict[str, str]) -> bool:
    given = {keyword.arg for keyword in call.keywords}
    full = dotted(call.func, names)
    if full in ("numpy.random.default_rng", "numpy.random.SeedSequence"):
        return not call.args and not given
    if full in {f"torch.{name}" for name in TORCH_DRAWS}:
        return "generator" not in given
    return isinstance(call.func, ast.Attribute) and call.func.attr in TENSOR_DRAWS and "generator" not in given


RULES = (upward_imports, wrong_doors, unsafe_reading, global_randomness)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_rule(rule) -> None:  # type: ignore[no-untyped-def]
    found = [line for source in sources() for line in rule(source)]
    assert not found, "\n" + "\n".join(found)


def test_no_two_files_need_one_another() -> None:
    """A cycle of imports works or fails by the order in which files happen to be loaded."""
    known = {source.module for source in sources()}
    graph = {source.module: set(_loaded(source.imports(), known)) - {source.module} for source in sources()}
    assert sum(map(len, graph.values())) > len(graph) / 2  # the graph is really there
    TopologicalSorter(graph).prepare()


def test_a_cycle_is_found() -> None:
    one, two = Source.of("from marl import two", "marl.one"), Source.of("import marl.one", "marl.two")
    known = {"marl.one", "marl.two"}
    with pytest.raises(CycleError):
        TopologicalSorter({source.module: set(_loaded(source.imports(), known)) for source in (one, two)}).prepare()
    lazy = Source.of("def later():\n    import marl.one", "marl.two")
    assert not list(_loaded(lazy.imports(), known))


def _loaded(imports: Iterable[Import], known: set[str]) -> Iterator[str]:
    """Files of ours that are loaded at once: a module out of a package rather than the package."""
    for found in imports:
        if found.at_load:
            yield from [target for target in reversed(found.targets) if target in known][:1]


PLANTED = [
    (upward_imports, "environments.planted", "import marl.policy"),
    (upward_imports, "environments.planted", "from viz import scene"),
    (upward_imports, "environments.planted", "def late():\n    from scenarios import catalog"),
    (upward_imports, "environments.planted", "from ..marl import policy"),
    (upward_imports, "environments.planted", 'DRAW = "viz.render:render"'),
    (upward_imports, "environments.facade", 'DRAW = "viz.render:other"'),
    (upward_imports, "scenarios.planted", "from viz.scene import Scene"),
    (upward_imports, "viz.planted", "from marl.config import PPOConfig"),
    (upward_imports, "marl.planted", "import scenarios"),
    (upward_imports, "marl.planted", "from league.player import Player"),
    (upward_imports, "marl.planted", "from environments import native"),
    (upward_imports, "marl.planted", "import environments"),
    (upward_imports, "marl.planted", "from environments.registry import make"),
    (upward_imports, "marl.planted", "from marl.cli import main"),
    (upward_imports, "marl.planted", "from marl import cli"),
    (upward_imports, "marl.planted", "from . import cli"),
    (upward_imports, "league.planted", "from marl.cli.main import main"),
    (upward_imports, "league.planted", "import viz.scene"),
    (wrong_doors, "environments.planted", "import torch"),
    (wrong_doors, "viz.planted", "def late():\n    from torch import nn"),
    (wrong_doors, "league.planted", "import torch.nn.functional as F"),
    (wrong_doors, "viz.viewer", "import pygame"),
    (wrong_doors, "marl.trainer", "import wandb"),
    (wrong_doors, "environments.facade", "from supersuit import frame_stack_v1"),
    (unsafe_reading, "marl.planted", "import pickle"),
    (unsafe_reading, "marl.planted", "from cloudpickle import dumps"),
    (unsafe_reading, "environments.planted", "import marshal as m"),
    (unsafe_reading, "league.planted", "import dill"),
    (unsafe_reading, "marl.planted", "import torch as t\nt.load('weights')"),
    (unsafe_reading, "marl.planted", "from torch import load"),
    (unsafe_reading, "marl.planted", "import numpy\nnumpy.load('x.npy', allow_pickle=True)"),
    (global_randomness, "marl.planted", "import random"),
    (global_randomness, "marl.planted", "from random import shuffle"),
    (global_randomness, "environments.planted", "import numpy as np\nnp.random.seed(0)"),
    (global_randomness, "environments.planted", "from numpy import random as r\nr.uniform()"),
    (global_randomness, "viz.planted", "from numpy.random import normal"),
    (global_randomness, "viz.planted", "import numpy as np\nnp.random.default_rng()"),
    (global_randomness, "marl.planted", "import torch\ntorch.manual_seed(0)"),
    (global_randomness, "marl.planted", "import torch\ntorch.randn(3)"),
    (global_randomness, "marl.planted", "def f(weights):\n    weights.normal_(0, 1)"),
    (global_randomness, "marl.planted", "from torch.distributions import Normal"),
]
FINE = [
    (upward_imports, "environments.facade", 'DRAW = "viz.render:render"'),
    (upward_imports, "environments.planted", "from environments.vector import VectorEnv\nfrom . import rng"),
    (upward_imports, "marl.planted", "from environments import spec\nfrom environments.replay import Replay"),
    (upward_imports, "marl.algorithms.planted", "from marl import losses\nfrom ..returns import lambda_advantages"),
    (upward_imports, "marl.cli.planted", "import league\nimport viz.scene\nfrom marl.cli import parse"),
    (wrong_doors, "marl.planted", "import torch"),
    (wrong_doors, "viz.screen.planted", "import pygame"),
    (unsafe_reading, "marl.planted", "import json, torch\ntorch.zeros(3)\njson.loads('{}')"),
    (unsafe_reading, "marl.planted", "import numpy as np\nnp.load('x.npy', allow_pickle=False)"),
    (global_randomness, "marl.planted", "import numpy as np\nnp.random.default_rng(3).normal()"),
    (global_randomness, "marl.planted", "import torch\ng = torch.Generator()\ntorch.randn(3, generator=g)"),
    (global_randomness, "marl.planted", "def f(weights, g):\n    weights.normal_(0, 1, generator=g)"),
]


@pytest.mark.parametrize(("rule", "module", "text"), PLANTED)
def test_each_rule_finds_what_is_planted(rule, module: str, text: str) -> None:  # type: ignore[no-untyped-def]
    assert list(rule(Source.of(text, module)))


@pytest.mark.parametrize(("rule", "module", "text"), FINE)
def test_no_rule_finds_what_is_fine(rule, module: str, text: str) -> None:  # type: ignore[no-untyped-def]
    assert not list(rule(Source.of(text, module)))


BRINGS_NONE = [
    ("environments", ("torch", "numpy", "numba", "gymnasium", "pettingzoo", "pygame", "wandb", "matplotlib")),
    ("environments.replay", ("torch", "numba", "pygame")),
    ("marl.config", ("torch", "numba", "pygame", "wandb")),
    ("marl.cli.main", ("torch", "numba", "pygame", "wandb", "matplotlib", "pettingzoo")),
    ("viz.scene", ("torch", "pygame")),
]
"""A module, and libraries that importing it must not load."""


def _loads(statement: str, libraries: Iterable[str]) -> list[str]:
    """Which of `libraries` are loaded in a fresh process after `statement`."""
    code = f"{statement}\nimport json, sys\nprint(json.dumps([n for n in {tuple(libraries)} if n in sys.modules]))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found: list[str] = json.loads(done.stdout.splitlines()[-1])
    return found


@pytest.mark.parametrize(("module", "libraries"), BRINGS_NONE, ids=[module for module, _ in BRINGS_NONE])
def test_importing_brings_none_of(module: str, libraries: tuple[str, ...]) -> None:
    assert not _loads(f"import {module}", libraries)


def test_what_an_import_brings_is_seen() -> None:
    assert _loads("import json, colorsys", ("colorsys", "torch")) == ["colorsys"]


def test_no_drawing_or_viewer_brings_torch() -> None:
    modules = [source.module for source in sources() if source.module.startswith("viz")]
    assert not _loads("\n".join(f"import {module}" for module in modules), ["torch"])
