"""Writes constraints.txt from the environment it runs in: the exact version of everything that is installed.

A pin holds only where its package admits the Python, to the patch release: soupsieve 4.1.2 wants 3.11.5, and Debian 12
has 3.11.2. Elsewhere there is no pin, and pip takes what requirements.txt allows.

    .venv/bin/python .ci/constraints.py > constraints.txt
"""

from importlib.metadata import distributions

from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

PROMISED = tuple(f"3.{minor}" for minor in range(10, 15))
"""The minor versions of Python that a pin may meet, the newest that people try included."""
OURSELVES = {"lab994", "pip", "setuptools"}
BESIDE_OLD_SPHINX = {"docutils": ">=3.11", "markdown-it-py": ">=3.11"}
"""What the last Sphinx for 3.10 wants older, though the newest admits 3.10 too: no pin there."""

_PATCHES = range(40)  # of one minor version; Python has never reached it


def pin(name: str, version: str, requires_python: str = "") -> str:
    """One line: `soupsieve==4.1.2 ; python_full_version >= "3.11.5"`; without a marker where every Python may have it.

    requires_python: what the package's metadata says, such as `>=3.11.5` or `!=3.9.7,>=3.8`.
    """
    conditions = [
        f'python_full_version {clause.operator} "{clause.version}"'
        for clause in sorted(SpecifierSet(requires_python), key=str)
        if not _admits_all(str(clause))
    ]
    line = f"{name}=={version.split('+')[0]}"  # torch 2.13.0+cpu is 2.13.0
    return f"{line} ; {' and '.join(conditions)}" if conditions else line


def _admits_all(clause: str) -> bool:
    """Whether every patch release of every promised Python is admitted."""
    admitted = SpecifierSet(clause)
    return all(admitted.contains(f"{minor}.{patch}") for minor in PROMISED for patch in _PATCHES)


def lines() -> list[str]:
    """A pin for each installed package but ourselves, by name."""
    pins = {}
    for package in distributions():
        name = canonicalize_name(package.name)
        wanted = [package.metadata.get("Requires-Python") or "", BESIDE_OLD_SPHINX.get(name, "")]
        pins[name] = pin(name, package.version, ",".join(filter(None, wanted)))
    return [line for name, line in sorted(pins.items()) if name not in OURSELVES]


if __name__ == "__main__":
    print("# The exact versions that CI runs, made by constraints.py; requirements.txt holds the ranges.")
    print("\n".join(lines()))
