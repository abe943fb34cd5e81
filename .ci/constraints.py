"""Writes constraints.txt from the environment it runs in: the exact version of everything that is installed.

A version that needs a newer Python than the oldest we promise is held only where that Python is.

    .venv/bin/python .ci/constraints.py > constraints.txt
"""

from importlib.metadata import distributions

from packaging.specifiers import SpecifierSet

OLDEST, NEXT = "3.10", "3.11"
OURSELVES = {"lab994", "pip", "setuptools"}
OLDER_BESIDE_OLD_SPHINX = {
    "docutils",
    "markdown-it-py",
}  # what the last Sphinx for the oldest Python wants

print(f"# The exact versions that CI runs, made by {__file__.rsplit('/', 1)[-1]}; requirements.txt holds the ranges.")
for name, version, python in sorted(
    {(d.name.lower().replace("_", "-"), d.version, d.metadata.get("Requires-Python") or "") for d in distributions()}
):
    if name not in OURSELVES:
        everywhere = SpecifierSet(python).contains(f"{OLDEST}.99") and name not in OLDER_BESIDE_OLD_SPHINX
        newer = "" if everywhere else f' ; python_version >= "{NEXT}"'
        print(f"{name}=={version.split('+')[0]}{newer}")
