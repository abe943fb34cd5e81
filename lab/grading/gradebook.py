"""The gradebook: who handed in what, every result that was ever worked out, and the points that a person gave.

    with Gradebook(folder) as book:
        book.receive(inbox.deliveries, ...)
        book.record(key, digest, result)

A database: SQLite in a file, or any that SQLAlchemy knows by its URL. One process writes at a time, and a result is
written in one transaction: whatever kills the process, the book holds whole results alone. Nothing is changed or
removed, unless a student is to be forgotten: a later result of the same key, a later mark of the same item, stands in
front of the earlier ones.
"""

import contextlib
import os
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timezone
from functools import lru_cache
from pathlib import Path
from types import TracebackType
from typing import Any

import sqlalchemy as sql
from filelock import FileLock, Timeout
from sqlalchemy.exc import ArgumentError, NoSuchModuleError, SQLAlchemyError

from lab._terminal import harmless
from lab.errors import LabError
from lab.grading.standing import Delivery, Mark, Student

FILE, LOCK = "gradebook.sqlite", "gradebook.lock"
VERSION = 1
"""Of the tables. A book of another version is not touched."""
_ADVISORY = 994_000_013
"""The number of the lock that a PostgreSQL server keeps for whoever writes."""

_tables = sql.MetaData()
_book = sql.Table(
    "book",  # what holds for all of it
    _tables,
    sql.Column("name", sql.String(60), primary_key=True),
    sql.Column("value", sql.JSON, nullable=False),
)
_students = sql.Table(
    "students",
    _tables,
    sql.Column("id", sql.Text, primary_key=True),
    sql.Column("name", sql.Text, nullable=False),
    sql.Column("email", sql.Text, nullable=False),
    sql.Column("listed", sql.Boolean, nullable=False),  # when the class was read the last time
)
_deliveries = sql.Table(
    "deliveries",
    _tables,
    sql.Column("id", sql.Integer, primary_key=True),
    sql.Column("student", sql.ForeignKey("students.id"), nullable=False, index=True),
    sql.Column("digest", sql.String(64), nullable=False),  # of its files
    sql.Column("document", sql.JSON, nullable=False),
    sql.Column("seen", sql.String(40), nullable=False),  # the date when it was found, ISO 8601
    sql.Column("counts", sql.Boolean, nullable=False),  # is it the one that is graded?
    sql.UniqueConstraint("student", "digest"),
)
_results = sql.Table(
    "results",
    _tables,
    sql.Column("id", sql.Integer, primary_key=True),
    sql.Column("key", sql.String(64), nullable=False),  # `lab.grading.job.key_of`
    sql.Column("number", sql.Integer, nullable=False),  # from 1; the last one counts
    sql.Column("digest", sql.String(64), nullable=False, index=True),
    sql.Column("state", sql.String(20), nullable=False),
    sql.Column("document", sql.JSON, nullable=False),
    sql.UniqueConstraint("key", "number"),
)
_marks = sql.Table(
    "marks",
    _tables,
    sql.Column("id", sql.Integer, primary_key=True),
    sql.Column("student", sql.ForeignKey("students.id"), nullable=False, index=True),
    sql.Column("item", sql.Text, nullable=False),
    sql.Column("points", sql.Float, nullable=True),  # None: taken back
    sql.Column("comment", sql.Text, nullable=False),
    sql.Column("by", sql.Text, nullable=False),
    sql.Column("given", sql.String(40), nullable=False),  # ISO 8601
)


class GradebookError(LabError):
    """A gradebook that can't be opened, read or written: which, why, and what to do."""


class Gradebook:
    """The gradebook of a class, open for one process.

    folder: where the class's grades lie. url: of the database; None: the file gradebook.sqlite there. wait: for another
    process that has it open, instead of raising. Raises GradebookError.
    """

    def __init__(self, folder: Path, url: str | None = None, wait: bool = False) -> None:
        self.folder = folder
        self._open = contextlib.ExitStack()
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._lock(wait)
            self._engine = _engine(url or f"sqlite:///{folder / FILE}")
            self._open.callback(self._engine.dispose)
            with _in_words(self._where):
                self._lock_server(wait)
                self._set_up()
        except OSError as error:
            self._open.close()
            raise GradebookError(f"{folder} can't be written: {error.strerror or error}.") from error
        except BaseException:
            self._open.close()
            raise
        self._document = lru_cache(maxsize=4)(self._read_document)

    def __enter__(self) -> "Gradebook":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._open.close()

    # -- one process at a time ----------------------------------------------------------------------------------------

    def _lock(self, wait: bool) -> None:
        lock = FileLock(self.folder / LOCK, thread_local=False)
        try:
            lock.acquire(timeout=-1 if wait else 0)
        except Timeout as error:
            raise GradebookError(_taken(self.folder)) from error
        self._open.callback(lock.release)

    def _lock_server(self, wait: bool) -> None:
        """The same where the database is a server's, and the other process may be on another machine."""
        if self._engine.dialect.name != "postgresql":
            return
        connection = self._open.enter_context(self._engine.connect())
        while not connection.scalar(sql.select(sql.func.pg_try_advisory_lock(_ADVISORY))):
            if not wait:
                raise GradebookError(_taken(self._where))
            time.sleep(1.0)
        connection.commit()  # the lock is the connection's, no transaction stays open

    def _set_up(self) -> None:
        _tables.create_all(self._engine)
        found = self.noted("version")
        if found is None:
            self.note("version", VERSION)
        elif found != VERSION:
            raise GradebookError(
                f"{self._where} is a gradebook of version {found}; this lab keeps version {VERSION}. Take another "
                "folder, or the lab that wrote it."
            )

    @property
    def _where(self) -> str:
        url = self._engine.url
        return str(url.database) if url.get_backend_name() == "sqlite" else url.render_as_string()

    @contextlib.contextmanager
    def _writing(self) -> Iterator[sql.Connection]:
        with _in_words(self._where), self._engine.begin() as connection:
            yield connection

    @contextlib.contextmanager
    def _reading(self) -> Iterator[sql.Connection]:
        with _in_words(self._where), self._engine.connect() as connection:
            yield connection

    # -- what holds for all of it -------------------------------------------------------------------------------------

    def note(self, name: str, value: Any) -> None:
        """Keep a value of JSON's kinds under a name."""
        with self._writing() as connection:
            connection.execute(_book.delete().where(_book.c.name == name))
            connection.execute(_book.insert().values(name=name, value=value))

    def noted(self, name: str) -> Any:
        """The value that is kept under a name; None where there is none."""
        with self._reading() as connection:
            return connection.scalar(sql.select(_book.c.value).where(_book.c.name == name))

    # -- who handed in what -------------------------------------------------------------------------------------------

    def receive(self, students: Iterable[Student], deliveries: Iterable[tuple[Delivery, str]]) -> None:
        """The class as it was just read: everybody in it, and what counts of each with the digest of its files.

        What was there before stays, and counts no longer.
        """
        seen = _now()
        with self._writing() as connection:
            connection.execute(_students.update().values(listed=False))
            connection.execute(_deliveries.update().values(counts=False))
            here = set(connection.scalars(sql.select(_students.c.id)))
            for student in students:
                fields = {"name": _stored(student.name), "email": _stored(student.email), "listed": True}
                one = _stored(student.id)
                if one in here:
                    connection.execute(_students.update().where(_students.c.id == one).values(**fields))
                else:
                    here.add(one)
                    connection.execute(_students.insert().values(id=one, **fields))
            known = {
                (row.student, row.digest): row.id
                for row in connection.execute(sql.select(_deliveries.c.student, _deliveries.c.digest, _deliveries.c.id))
            }
            for delivery, digest in deliveries:
                one = _stored(delivery.student.id)
                fields = {"document": _delivery_document(delivery), "counts": True}
                if (one, digest) in known:
                    place = _deliveries.c.id == known[one, digest]
                    connection.execute(_deliveries.update().where(place).values(**fields))
                else:
                    row = {"student": one, "digest": digest, "seen": seen} | fields
                    connection.execute(_deliveries.insert().values(**row))

    def students(self) -> list[Student]:
        """Everybody in the class, by id."""
        with self._reading() as connection:
            rows = connection.execute(_students.select().where(_students.c.listed).order_by(_students.c.id))
            return [Student(row.id, row.name, row.email) for row in rows]

    def deliveries(self) -> dict[str, tuple[Delivery, str]]:
        """What counts of each student, and the digest of its files, by the student's id."""
        joined = sql.select(_deliveries, _students.c.name, _students.c.email).join(_students)
        counting = joined.where(_deliveries.c.counts, _students.c.listed).order_by(_students.c.id)
        with self._reading() as connection:
            return {
                row.student: (_delivery(Student(row.student, row.name, row.email), row.document), row.digest)
                for row in connection.execute(counting)
            }

    # -- results ------------------------------------------------------------------------------------------------------

    def record(self, key: str, digest: str, result: Mapping[str, Any]) -> None:
        """Keep a result, whole or not at all; it counts from now on, and the earlier ones of its key stay."""
        state = str(result["grade"]["state"])
        with self._writing() as connection:
            last = connection.scalar(sql.select(sql.func.max(_results.c.number)).where(_results.c.key == key))
            row = {"key": key, "number": (last or 0) + 1, "digest": digest, "state": state}
            connection.execute(_results.insert().values(**row, document=_json_stored(result)))
        self._document.cache_clear()

    def states(self) -> dict[str, tuple[int, str]]:
        """For each key the number of its last result, from 1, and that one's state."""
        with self._reading() as connection:
            ordered = sql.select(_results.c.key, _results.c.number, _results.c.state).order_by(_results.c.number)
            return {row.key: (row.number, row.state) for row in connection.execute(ordered)}

    def result(self, key: str) -> dict[str, Any]:
        """The last result of a key; {} where there is none."""
        return self._document(key)

    def _read_document(self, key: str) -> dict[str, Any]:
        last = sql.select(_results.c.document).where(_results.c.key == key).order_by(_results.c.number.desc()).limit(1)
        with self._reading() as connection:
            found: dict[str, Any] | None = connection.scalar(last)
        return found or {}

    def history(self, digest: str) -> list[dict[str, Any]]:
        """Every result of a hand-in, by whatever it was graded, the first one first."""
        every = sql.select(_results.c.document).where(_results.c.digest == digest).order_by(_results.c.id)
        with self._reading() as connection:
            return list(connection.scalars(every))

    # -- points by hand -----------------------------------------------------------------------------------------------

    def mark(self, student: str, item: str, points: float | None, comment: str, by: str) -> None:
        """Give points by hand for an item, with the reason; None takes them back."""
        row = {"student": student, "item": item, "points": points, "comment": comment, "by": by, "given": _now()}
        with self._writing() as connection:
            connection.execute(_marks.insert().values(**row))

    def marks(self) -> dict[str, dict[str, Mark]]:
        """The points by hand that count, by the student's id and the item."""
        found: dict[str, dict[str, Mark]] = {}
        with self._reading() as connection:
            for row in connection.execute(_marks.select().order_by(_marks.c.id)):
                of_student = found.setdefault(row.student, {})
                of_student.pop(row.item, None)
                if row.points is not None:
                    given = datetime.fromisoformat(row.given)
                    of_student[row.item] = Mark(row.item, row.points, row.comment, row.by, given)
        return found

    # -- forgetting ---------------------------------------------------------------------------------------------------

    def forget(self, student: str) -> None:
        """Remove whatever the book has of a student, for good; a result that somebody else's hand-in shares stays."""
        own = sql.select(_deliveries.c.digest).where(_deliveries.c.student == student)
        others = sql.select(_deliveries.c.digest).where(_deliveries.c.student != student)
        with self._writing() as connection:
            connection.execute(_results.delete().where(_results.c.digest.in_(own), _results.c.digest.not_in(others)))
            connection.execute(_marks.delete().where(_marks.c.student == student))
            connection.execute(_deliveries.delete().where(_deliveries.c.student == student))
            for row in connection.execute(sql.select(_deliveries.c.id, _deliveries.c.document)).all():
                partners = [one for one in row.document["partners"] if one[0] != student]
                if partners != row.document["partners"]:
                    changed = _deliveries.update().where(_deliveries.c.id == row.id)
                    connection.execute(changed.values(document=row.document | {"partners": partners}))
            connection.execute(_students.delete().where(_students.c.id == student))
        self._document.cache_clear()
        self._write_over()

    def _write_over(self) -> None:
        """Leave nothing in SQLite's file, or in the log beside it, of what was removed."""
        if self._engine.dialect.name != "sqlite":
            return
        with _in_words(self._where), self._engine.connect() as connection:
            outside = connection.execution_options(isolation_level="AUTOCOMMIT")
            outside.execute(sql.text("VACUUM"))
            outside.execute(sql.text("PRAGMA wal_checkpoint(TRUNCATE)"))


# -- the database -----------------------------------------------------------------------------------------------------


def _engine(url: str) -> sql.Engine:
    """Raises GradebookError for a URL that is none, or that needs a package which is not there."""
    try:
        engine = sql.create_engine(url)
    except (NoSuchModuleError, ModuleNotFoundError) as error:
        raise GradebookError(
            f"a package is missing for this gradebook: {error}. For PostgreSQL: pip install 'psycopg[binary]', and a "
            "URL that begins with postgresql+psycopg://."
        ) from error
    except (ArgumentError, ValueError) as error:
        raise GradebookError(
            "the gradebook's URL is none: expected one like postgresql+psycopg://user@host/database."
        ) from error
    if engine.dialect.name == "sqlite":
        sql.event.listen(engine, "connect", _prepare_sqlite)
    return engine


def _prepare_sqlite(connection: Any, record: Any) -> None:
    """A log ahead of the file: readers never wait, and what was written survives a cut of the power."""
    for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON", "busy_timeout=30000"):
        connection.execute(f"PRAGMA {pragma}")


@contextlib.contextmanager
def _in_words(where: str) -> Iterator[None]:
    """Raise whatever the database says as a GradebookError."""
    try:
        yield
    except SQLAlchemyError as error:
        lines = str(getattr(error, "orig", None) or error).strip().splitlines()
        told = harmless(lines[0] if lines else type(error).__name__)
        raise GradebookError(
            f"the gradebook {harmless(where)} can't be used: {told}. What was graded before is kept. Is the disk full, "
            "or the server gone? Mend that, and give the same command again."
        ) from error


def _taken(where: object) -> str:
    return (
        f"another process is grading into {where}. Wait until it has ended (with --wait this command does), or choose "
        "another folder."
    )


def _now() -> str:
    return datetime.now(timezone.utc).isoformat(timespec="seconds")


def _stored(text: str) -> str:
    """Text as every database takes it: a name that is no Unicode, or holds a null, is written out."""
    return text.encode("utf-8", "backslashreplace").decode().replace("\0", "\\0")


def _json_stored(value: Any) -> Any:
    """The same in all of a document."""
    if isinstance(value, str):
        return _stored(value)
    if isinstance(value, Mapping):
        return {_stored(str(name)): _json_stored(one) for name, one in value.items()}
    if isinstance(value, Sequence):
        return [_json_stored(one) for one in value]
    return value


# -- a delivery as JSON -----------------------------------------------------------------------------------------------


def _delivery_document(delivery: Delivery) -> dict[str, Any]:
    return {
        "files": [[_stored(name), os.fsencode(path).hex()] for name, path in delivery.files.items()],
        "submitted": delivery.submitted.isoformat() if delivery.submitted is not None else None,
        "attempt": delivery.attempt,
        "late": delivery.late,
        "claimed": delivery.claimed,
        "partners": [[_stored(field) for field in (one.id, one.name, one.email)] for one in delivery.partners],
        "notes": [_stored(note) for note in delivery.notes],
    }


def _delivery(student: Student, document: Mapping[str, Any]) -> Delivery:
    submitted = document["submitted"]
    return Delivery(
        student,
        {name: Path(os.fsdecode(bytes.fromhex(path))) for name, path in document["files"]},
        datetime.fromisoformat(submitted) if submitted is not None else None,
        document["attempt"],
        document["late"],
        document["claimed"],
        tuple(Student(*one) for one in document["partners"]),
        tuple(document["notes"]),
    )
