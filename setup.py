"""What is installed: these packages and their data, never `tests`. All other metadata stands in pyproject.toml."""

from setuptools import find_packages, setup

PACKAGES = ["environments", "league", "marl", "scenarios", "viz"]
"""Top-level packages. Their names are general words: nothing beside them may be picked up by accident."""

setup(
    packages=sorted(
        find_packages(include=[pattern for name in PACKAGES for pattern in (name, f"{name}.*")]),
    ),
    package_data={"marl": ["policies/*.safetensors", "policies/*.replay"], "scenarios": ["measured.json"]},
    include_package_data=False,
    zip_safe=False,
)
