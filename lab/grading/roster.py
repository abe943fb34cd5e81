"""Who is in the class, and whose is this? From a roster as schools and platforms write them; nothing is guessed.

    id,name,email,username
    0042,"Müller, Anna",anna@uni.example,amueller

What a platform says of somebody (`Claim`) is compared with what the roster has of that kind: a number with numbers, an
address with addresses. Texts are the same if they are so as Unicode has them (NFC), whatever their case and spaces. Two
students that the same text fits are none.
"""

import codecs
import csv
import io
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from lab._files import FileError, read_regular
from lab._terminal import printable
from lab.errors import LabError
from lab.grading.standing import Student

MAX_TABLE = 16 * 2**20
"""Bytes of a roster or a worksheet."""
MAX_ROWS = 50_000

_HEADERS = {
    "id": "id; student id; studentid; student no; student number; sid; id number; idnumber; sis id; sis user id; "
    "matriculation number; matrikelnummer; id nummer; numero d identification; numero de id; numero id; "
    "codice identificativo",
    "number": "identifier; canvas id; canvas user id; user id; lms user id; teilnehmer; identifiant; identificador",
    "login": "login; login id; sis login id; username; user name; user; netid; github; github username; gitlab; "
    "gitlab username; benutzername; anmeldename; nom d utilisateur; nombre de usuario",
    "email": "email; e mail; mail; email address; e mail address; e mail adresse; adresse de courriel; "
    "direccion de correo; indirizzo email; endereco de email; e mailadres",
    "name": "name; full name; fullname; student; student name; vollstandiger name; nom complet; nombre completo; "
    "nombre apellido s; nome completo; volledige naam",
    "first": "first name; firstname; given name; vorname; prenom; nombre; nome; voornaam",
    "last": "last name; lastname; surname; family name; nachname; nom; apellido s; apellidos; cognome; sobrenome; "
    "achternaam",
    "group": "group; groups; group name; team; gruppe; gruppen; groupe; groupes; grupo; grupos; gruppo; groep",
    "role": "role; rolle; roles",
}
_KIND_OF = {header: kind for kind, headers in _HEADERS.items() for header in headers.split("; ")}
_STAFF = {"instructor", "ta", "teaching assistant", "reader", "teacher", "non editing teacher", "observer", "designer"}
_NUMBERED = re.compile(r"(?P<word>\D+)\s(?P<number>\d+)")


class InboxError(LabError):
    """A class's hand-ins, or its roster, can't be read: which, why, and what to do."""


@dataclass(frozen=True)
class Claim:
    """Who handed something in, as the platform has it or as a name says. What is not known is empty."""

    shown: str  # for a person: what was found
    texts: tuple[str, ...] = ()  # ids, logins, addresses or names: which of them, nobody says
    number: str = ""  # the platform's own
    id: str = ""  # the school's
    email: str = ""
    name: str = ""  # in words
    squeezed: str = ""  # as Canvas writes a name: "muelleranna", surname first

    @property
    def student(self) -> Student:
        """Where there is no roster."""
        id_ = self.id or next(iter(self.texts), "") or self.email or self.number or self.name or self.squeezed
        return Student(written(id_), written(self.name or self.squeezed), written(self.email))


def written(text: str) -> str:
    """A text as it can be stored and shown: as Unicode has it (NFC), on one line, nothing in it that is not seen."""
    return printable(unicodedata.normalize("NFC", text)).strip()


def same(text: str) -> str:
    """What two texts have in common that are the same to us."""
    text = unicodedata.normalize("NFC", text).casefold()
    return " ".join(unicodedata.normalize("NFC", text).split())


def same_name(text: str) -> str:
    """The same of a person's name, as it may stand in a file's name: Moodle leaves these characters out."""
    return same(re.sub(r"[\x00-\x1f&<>\"`|':\\/]", "", text).replace("_", " "))


def squeezed(text: str) -> str:
    """The same of a name as Canvas writes it into a file's: letters and digits alone."""
    return re.sub(r"[\W_]", "", same(text))


class Roster:
    """A class, and who of it is meant."""

    def __init__(self, path: Path, students: Iterable[tuple[Student, Mapping[str, str]]], notes: Iterable[str] = ()):
        """students: each with what the roster has of it, by kind: id, number, login, email, name, first, last."""
        self.path = path
        self.notes = tuple(notes)
        pairs = list(students)
        self.students = tuple(student for student, _ in pairs)
        self._known: dict[str, dict[str, list[Student]]] = {}
        self._has_numbers = any(row.get("number") for _, row in pairs)
        self._named = {student.id for student, row in pairs if _names(row)}
        for student, row in pairs:
            for kind in ("id", "number", "login", "email"):
                self._note(kind, same(row.get(kind, "")), student)
            for name in {same_name(one) for one in _names(row)}:
                self._note("name", name, student)
            for name in _squeezed_names(row):
                self._note("squeezed", name, student)
            self._note("group", same_name(row.get("group", "")), student)
            self._note("squeezed group", squeezed(row.get("group", "")), student)

    def _note(self, kind: str, key: str, student: Student) -> None:
        if key:
            self._known.setdefault(kind, {}).setdefault(key, []).append(student)

    def _with(self, kind: str, key: str) -> list[Student]:
        return self._known.get(kind, {}).get(key, []) if key else []

    def _called(self, name: str) -> list[Student]:
        """By a name, which may have the surname first: "Müller, Anna"."""
        last, _, first = name.partition(",")
        found = [*self._with("name", same_name(name)), *self._with("name", same_name(f"{first} {last}"))]
        return _once(found)

    def find(self, claim: Claim) -> Student | str:
        """The student; or why nobody is meant, for a person."""
        names = [*self._called(claim.name), *self._with("squeezed", squeezed(claim.squeezed))]
        sure = [*self._with("id", same(claim.id)), *self._with("email", same(claim.email))]
        for text in claim.texts:
            names += self._called(text)
            sure += [one for kind in ("id", "login", "email", "number") for one in self._with(kind, same(text))]
        by_name = _once(names)
        sure = _once([*sure, *self._numbered(claim, by_name)])
        if len(sure) > 1:
            return f"it fits {_all(sure)}, by different columns of {self.path.name}"
        if sure and by_name and sure[0] not in by_name:
            return f"its number or address is that of {_all(sure)}, its name that of {_all(by_name)}"
        if sure or len(by_name) == 1:
            return (sure or by_name)[0]
        if by_name:
            return f"{_all(by_name)} have the same name"
        return f"nobody in {self.path.name} has that id, address, login or name"

    def members(self, claim: Claim) -> list[Student]:
        """The group's, where its name is that of a group in the roster; [] otherwise."""
        found = [*self._with("group", same_name(claim.name)), *self._with("squeezed group", squeezed(claim.squeezed))]
        return _once([*found, *(one for text in claim.texts for one in self._with("group", same_name(text)))])

    def _numbered(self, claim: Claim, by_name: list[Student]) -> list[Student]:
        """By the platform's number; it may be of another course, or a school's that is the same by chance.

        So the name has to fit where both sides have one.
        """
        named = bool(claim.name or claim.squeezed)
        if self._has_numbers:
            found = self._with("number", same(claim.number))
        else:
            found = self._with("id", same(claim.number)) if named else []
        return [one for one in found if not named or one.id not in self._named or one in by_name]


def _once(students: Iterable[Student]) -> list[Student]:
    return list(dict.fromkeys(students))


def _all(students: Iterable[Student]) -> str:
    return " and ".join(sorted(f"{one.shown} ({one.id})" if one.name else one.id for one in _once(students)))


def _parts(row: Mapping[str, str]) -> tuple[str, str]:
    """First and last name, where the roster tells them apart."""
    first, last, name = row.get("first", ""), row.get("last", ""), row.get("name", "")
    if first and last:
        return first, last
    if name.count(",") == 1:
        last, first = (part.strip() for part in name.split(","))
        return first, last
    return "", ""


def _names(row: Mapping[str, str]) -> set[str]:
    """Every way to write the name."""
    first, last = _parts(row)
    found = {row.get("name", ""), row.get("first", "") if not row.get("last") else "", row.get("last", "")}
    if first and last:
        found = {row.get("name", ""), f"{first} {last}", f"{last}, {first}", f"{last} {first}"}
    return {one for one in found if one.strip()}


def _squeezed_names(row: Mapping[str, str]) -> set[str]:
    """Surname first; where nobody says which words are the surname, each place to part the name at."""
    first, last = _parts(row)
    if first and last:
        return {squeezed(last + first)}
    words = row.get("name", "").split()
    return {squeezed("".join(words[place:] + words[:place])) for place in range(max(len(words), 1))} - {""}


# -- tables -----------------------------------------------------------------------------------------------------------


def read_roster(path: Path) -> Roster:
    """The class that stands in the table at `path`. Raises InboxError."""
    table = Table(path)
    rows = table.known()
    if not table.kinds.keys() & {"id", "login", "email", "number", "name", "first", "last"}:
        raise InboxError(
            f"{path}: no column says who the students are. Name one id, and others name, email or username as you like."
        )
    notes, students, lines = [], [], dict[str, int]()
    staff = [row for _, row in rows if same(row.get("role", "")).replace("-", " ") in _STAFF]
    if staff:
        notes.append(f"{path.name}: {len(staff)} of the staff are left out.")
    for line, row in rows:
        if row in staff or not (student := _student(row)).id:
            continue
        if (key := same(student.id)) in lines:
            raise InboxError(
                f"{path}: lines {lines[key]} and {line} have the same id {student.id!r}. Give each student one of "
                "their own."
            )
        lines[key] = line
        students.append((student, row))
    if not students:
        raise InboxError(f"{path}: there is no student in it, only {len(rows)} rows without an id or a name.")
    return Roster(path, students, notes)


def _student(row: Mapping[str, str]) -> Student:
    first, last = _parts(row)
    name = f"{first} {last}" if first and last else row.get("name") or row.get("last") or row.get("first", "")
    id_ = next((row[kind] for kind in ("id", "login", "email", "number") if row.get(kind)), name)
    return Student(written(id_), written(name), written(row.get("email", "")))


@dataclass(frozen=True)
class Dialect:
    """How a CSV file is written, so that another one can be written alike."""

    encoding: str  # with its mark at the beginning, where there is one: "utf-8-sig"
    delimiter: str
    line_end: str
    first: str = ""  # a line before the table, for Excel: "sep=;"

    def encoded(self, rows: Iterable[Sequence[str]]) -> bytes:
        """A file of these rows; every field is quoted. A lone surrogate becomes a "?"."""
        text = io.StringIO()
        text.write(f"{self.first}{self.line_end}" if self.first else "")
        csv.writer(text, delimiter=self.delimiter, lineterminator=self.line_end, quoting=csv.QUOTE_ALL).writerows(rows)
        return text.getvalue().encode("utf-8", "replace").decode().encode(self.encoding)


class Table:
    """A CSV file as somebody's spreadsheet or platform wrote it.

    raw: each row that is not empty with its line, the header first, to the letter; `rows` the same without the header,
    and without the spaces around a cell.
    """

    def __init__(self, path: Path) -> None:
        """Raises InboxError for what is no table."""
        self.path = path
        self.dialect, self.raw = _read(path)
        lines = [(line, [cell.strip() for cell in cells]) for line, cells in self.raw]
        if not lines:
            raise InboxError(f"{path} is empty: the first line should name the columns (id, name, email).")
        self.header = lines[0][1]
        self.rows = lines[1:]
        self.kinds = self._kinds()

    def _kinds(self) -> dict[str, int]:
        """The columns, by what stands in them."""
        headers = [plain(header) for header in self.header]
        kinds: dict[str, int] = {}
        for place, header in enumerate(headers):
            if kind := _KIND_OF.get(header):
                kinds.setdefault(kind, place)
        if (
            any(header.startswith("sis ") for header in headers) and "id" in headers
        ):  # a gradebook of Canvas: ID is its own
            kinds["number"] = headers.index("id")
            kinds.pop("id")
            if "sis user id" in headers:
                kinds["id"] = headers.index("sis user id")
        if "number" in kinds and "login" in kinds and headers[kinds["number"]] == "identifier":
            kinds.setdefault("id", kinds.pop("number"))  # GitHub Classroom's identifier is the school's
        if "email" not in kinds:
            addresses = [place for place in range(len(self.header)) if self._all(place, r"[^@\s]+@[^@\s]+")]
            if len(addresses) == 1:
                kinds["email"] = addresses[0]
        if "number" not in kinds and len(headers) > 5 and self._all(0, _NUMBERED.pattern):
            kinds = {kind: place for kind, place in kinds.items() if place != 0}
            kinds["number"] = 0  # "Teilnehmer/in 123" in a worksheet whose headers are in another language
            for place, header in enumerate(headers[1:], 1):
                if (kind := _KIND_OF.get(header)) not in (None, "number"):
                    kinds.setdefault(kind, place)
        return kinds

    def column(self, place: int) -> list[str]:
        """Its cells that are not empty."""
        return [cells[place] for _, cells in self.rows if place < len(cells) and cells[place] not in ("", "-")]

    def _all(self, place: int, pattern: str) -> bool:
        cells = self.column(place)
        return bool(cells) and all(re.fullmatch(pattern, cell) for cell in cells)

    def known(self) -> list[tuple[int, dict[str, str]]]:
        """Of each row its line, and what stands in it by kind; without the rows of Canvas that are no student."""
        found = []
        for line, cells in self.rows:
            first = same(cells[0])
            row = {kind: cells[place] for kind, place in self.kinds.items() if place < len(cells) and cells[place]}
            if "points possible" in first or (first == "student, test" and not row.get("id")):
                continue
            if "number" in row and (match := _NUMBERED.fullmatch(row["number"])):
                row["number"] = match["number"]
            found.append((line, row))
        return found

    @property
    def word(self) -> str:
        """What the platform calls somebody whose name is hidden: "Participant"; empty where it hides none."""
        found = (
            [_NUMBERED.fullmatch(cell) for cell in self.column(self.kinds["number"])] if "number" in self.kinds else []
        )
        words = Counter(match["word"].strip() for match in found if match)
        return words.most_common(1)[0][0] if words else ""


def plain(header: str) -> str:
    """A header without accents, signs and case."""
    text = unicodedata.normalize("NFKD", header).casefold()
    text = "".join(c for c in text if not unicodedata.combining(c))
    return " ".join(re.sub(r"[\W_]", " ", text).split())


def _read(path: Path) -> tuple[Dialect, list[tuple[int, list[str]]]]:
    """How the file is written; and each row that is not empty, with its line."""
    text, encoding = _decoded(path)
    lines = text.splitlines()
    delimiter, first = ",", ""
    if lines and (match := re.fullmatch(r"\s*sep=(.)\s*", lines[0])):  # a line for Excel
        delimiter, first, text = match[1], lines[0], "\n" + text.partition("\n")[2]
    elif lines:
        bare = re.sub(r'"[^"]*"', "", next(filter(str.strip, lines), ""))
        delimiter = max(",;\t", key=bare.count)
    line_end = "\r\n" if "\r\n" in text else "\n" if "\n" in text else "\r" if "\r" in text else "\n"
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
    found = []
    try:
        for number, cells in enumerate(reader):
            if number > MAX_ROWS:
                raise InboxError(f"{path} has more than {MAX_ROWS:,} rows: that is no class.")
            if any(cell.strip() for cell in cells):
                found.append((reader.line_num, cells))
    except csv.Error as error:
        raise InboxError(f"{path} is no table, in line {reader.line_num}: {error}. Save it as CSV.") from error
    return Dialect(encoding, delimiter, line_end, first), found


def _decoded(path: Path) -> tuple[str, str]:
    """The file's text, and how it is encoded."""
    if path.is_symlink():
        raise InboxError(f"{path} is a link: name the file itself.")
    try:
        content = read_regular(path, MAX_TABLE)
    except (OSError, FileError) as error:
        raise InboxError(f"cannot read {path}: {getattr(error, 'strerror', None) or error}.") from error
    encoding = "utf-16" if content.startswith((b"\xff\xfe", b"\xfe\xff")) else "utf-8-sig"
    marked = encoding == "utf-16" or content.startswith(codecs.BOM_UTF8)
    try:
        return content.decode(encoding), encoding if marked else "utf-8"
    except UnicodeDecodeError as error:
        raise InboxError(f"{path} is neither UTF-8 nor UTF-16: save it as CSV UTF-8.") from error
