"""Where is this lab: in a clone of its repository, or installed? And does something else take its name?

Decided once, by what lies beside the package: a `requirements.txt` or a folder `notebooks/` beside an installed lab is
somebody else's.
"""

import re
from importlib import metadata
from pathlib import Path

from lab.errors import LabError

PACKAGE = Path(__file__).resolve().parent
_OURS = re.compile(r"""^name\s*=\s*["']lab994["']""", re.MULTILINE)


def root() -> Path | None:
    """The root of the repository that this lab is part of, also where it is an editable install; None elsewhere."""
    beside = PACKAGE.parent
    try:
        project = (beside / "pyproject.toml").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    return beside if _OURS.search(project) else None


def shipped(folder: str, pattern: str) -> list[Path]:
    """What comes with the lab besides its package: files of a `folder` of the repository that match a glob `pattern`.

    In a clone they lie there; pip puts those that pyproject.toml lists as data files into share/lab994/`folder`.
    None of them where neither has any.
    """
    beside = root()
    if beside is not None:
        return sorted((beside / folder).glob(pattern))
    try:
        files = metadata.files("lab994") or []
    except metadata.PackageNotFoundError:
        return []
    place = ("share", "lab994", *folder.split("/"))
    found = [Path(str(file.locate())) for file in files if file.match(pattern)]
    return sorted(path for path in found if path.is_file() and path.parent.parts[-len(place) :] == place)


def in_the_way(folder: Path) -> Path | None:
    """What in `folder` Python would import as `lab` in place of this one where it starts there; None if nothing is.

    A kernel and `python -m` look first into the folder they start in. A folder `lab` without an `__init__.py` is in
    nobody's way.
    """
    candidates = [folder / "lab" / "__init__.py", folder / "lab.py"]
    return next((path for path in candidates if path.is_file() and not path.resolve().is_relative_to(PACKAGE)), None)


def check_free(folder: Path) -> None:
    """Raise LabError where what is `in_the_way` would be imported as `lab`: before a kernel is started in `folder`."""
    other = in_the_way(folder)
    if other is not None:
        raise LabError(
            f"{other} takes the lab's name: Python would import it in place of the lab. "
            f"Rename {'the file' if other.name == 'lab.py' else 'its folder'}, or work in another folder."
        )
