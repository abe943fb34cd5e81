"""A class's pages, which need nothing else: `class.html` for the teacher, `feedback/STUDENT.html` for each student.

They show what `report.py` and `feedback.py` worked out. What students wrote stands in them as text: every value is
escaped, nothing is linked from it, and a policy lets in no script and no style but the page's own, by their digests.
"""

import contextlib
import hashlib
import os
import re
import secrets
from base64 import b64encode
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from lab._files import FileError, read_regular, sweep, write_whole
from lab._terminal import legible
from lab.grading import charts
from lab.grading.feedback import Names, feedback_of
from lab.grading.report import Report, code_of, report_of
from lab.grading.sameness import Likeness
from lab.grading.standing import Class, Standing

TEMPLATES = Path(__file__).parent / "templates"
FEEDBACK = "feedback"
"""The folder of the students' pages."""
KEY = ".codes"
"""The file in that the key lies which an anonymous page's codes are made with: for the teacher alone."""
_MARK = b'<meta name="generator" content="lab994 feedback">'
_LARGEST = 2**26  # bytes of a page


def class_page(report: Report) -> str:
    """The class's page."""
    own_name = "" if report.anonymous else "feedback/"
    scripts = [_read(name) for name in ("sortable.js", "table.js")]
    drawn = {
        "spread": charts.distribution(report) if report.spread.counted else None,
        "networks": charts.networks(report) if any(row.accuracy and row.parameters for row in report.rows) else None,
    }
    return _rendered("class.html", scripts, report=report, charts=drawn, folder=own_name)


def feedback_page(found: Class, standing: Standing, alias: str = "", names: Names | None = None) -> str:
    """A student's page, which tells nothing about any other. alias: what an anonymous class page calls them.

    names: those of the class, where there are many pages to be made.
    """
    feedback = feedback_of(found, standing, alias, names)
    drawn = charts.curve(feedback.curve) if feedback.curve else None
    return _rendered("feedback.html", [], feedback=feedback, curve=drawn)


def write_pages(found: Class, folder: Path, anonymous: bool = False, copies: Sequence[Likeness] = ()) -> None:
    """Write class.html and feedback/STUDENT.html, each whole or not at all; a page that is the same already stays.

    anonymous: the class's page tells nobody's name; each student finds in their own page what it calls them. Pages of
    students who are in the class no longer are removed. Raises FileError for what can't be written.
    """
    students = folder / FEEDBACK
    try:
        students.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise FileError(f"{students} cannot be made: {error.strerror or error}") from error
    key = _key(folder) if anonymous else b""
    names, written = Names(found), set()
    for standing in found.standings:
        student = standing.student.id
        alias = code_of(student, key) if anonymous else ""
        _write(students / page_name(student), feedback_page(found, standing, alias, names))
        written.add(page_name(student))
    _remove_others(students, written)
    _write(folder / "class.html", class_page(report_of(found, anonymous, copies, key)))


def page_name(student: str) -> str:
    """The name of the file of a student's page: no two ids have the same, on any system.

    An id of small letters, digits and a few signs is kept; another one is made such, and a digest tells it apart.
    """
    if _SAFE.fullmatch(student) and student.partition(".")[0] not in _RESERVED:
        return f"{student}.html"
    kept = re.sub(r"[^a-z0-9]+", "-", student[:_KEPT].lower()).strip("-") or "student"
    return f"{kept}~{hashlib.sha256(student.encode('utf-8', 'surrogatepass')).hexdigest()[:16]}.html"


_KEPT = 40  # characters of an id
_SAFE = re.compile(
    r"[a-z0-9](?:[a-z0-9._@+-]{0,62}[a-z0-9])?"
)  # without "~", so that no id looks like one with a digest
_RESERVED = {"con", "prn", "aux", "nul", *(f"{name}{number}" for name in ("com", "lpt") for number in range(10))}
"""What Windows keeps for devices, whatever ending follows."""


# -- files ------------------------------------------------------------------------------------------------------------


def _write(path: Path, page: str) -> None:
    content = page.encode("utf-8", "replace")
    with contextlib.suppress(OSError, FileError):
        if path.stat().st_size == len(content) and read_regular(path, _LARGEST) == content:
            return
    write_whole(path, content)


def _remove_others(folder: Path, names: set[str]) -> None:
    """Remove the pages that this module wrote, but for these; other files stay."""
    sweep(folder)
    for path in folder.glob("*.html"):
        if path.name not in names and _is_ours(path):
            try:
                path.unlink()
            except OSError as error:
                raise FileError(f"{path} cannot be removed: {error.strerror or error}") from error


def _is_ours(path: Path) -> bool:
    with contextlib.suppress(OSError, FileError):
        return not path.is_symlink() and _MARK in read_regular(path, _LARGEST)[:2000]
    return False


def _key(folder: Path) -> bytes:
    """What codes are made with: drawn once for a folder, and kept there."""
    path = folder / KEY
    with contextlib.suppress(OSError, FileError, ValueError):
        found = bytes.fromhex(read_regular(path, 200).decode("ascii"))
        if len(found) == _KEY_BYTES:
            return found
    made = secrets.token_bytes(_KEY_BYTES)
    write_whole(path, made.hex())
    with contextlib.suppress(OSError):
        os.chmod(path, 0o600)
    return made


_KEY_BYTES = 32


# -- templates --------------------------------------------------------------------------------------------------------


def _rendered(template: str, scripts: Sequence[str], **values: Any) -> str:
    style = _read("page.css")
    policy = "; ".join(
        [
            "default-src 'none'",
            "img-src data:",
            f"style-src {_digest(style)}",
            f"script-src {' '.join(map(_digest, scripts)) or chr(39) + 'none' + chr(39)}",
            "base-uri 'none'",
            "form-action 'none'",
        ]
    )
    return _environment().get_template(template).render(
        policy=policy, style=Markup(style), scripts=[Markup(script) for script in scripts], **values
    )  # fmt: skip


def _digest(text: str) -> str:
    return f"'sha256-{b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


@cache
def _read(name: str) -> str:
    """A file of the page's own: with line ends of one kind, as the page's digest has them."""
    return "\n".join((TEMPLATES / name).read_text(encoding="utf-8").splitlines()) + "\n"


@cache
def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        finalize=_shown,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "number": _number,
        "comma": "{:,}".format,
        "percent": _percent,
        "short": _short,
        "page": page_name,
    }
    return environment


def _number(value: float, places: int = 2) -> str:
    """Without zeros that say nothing."""
    text = f"{value:.{places}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def _percent(share: float, places: int = 2) -> str:
    return f"{share * 100:.{places}f} %"


def _short(text: str) -> str:
    """A name that leaves room for others."""
    return text if len(text) <= _ROOM else f"{text[: _ROOM - 1]}…"


_ROOM = 48  # characters


def _shown(value: Any) -> Any:
    """What a template puts into the page: of text, the signs that are not seen are written out."""
    return legible(value) if isinstance(value, str) and not isinstance(value, Markup) else value
