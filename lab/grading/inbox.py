"""Stub until merged."""

from dataclasses import dataclass
from pathlib import Path
from lab.grading.standing import Delivery, Student


@dataclass(frozen=True)
class Inbox:
    platform: str
    deliveries: tuple[Delivery, ...]
    superseded: tuple[Delivery, ...] = ()
    missing: tuple[Student, ...] = ()
    unmatched: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


def is_class(target: Path) -> bool:
    return target.is_dir() and not any(target.glob("*.*"))


def read_inbox(folder: Path, roster=None, platform=None, assignment=None, late=None) -> Inbox:
    ds = []
    for p in sorted(folder.iterdir()):
        if p.is_dir():
            ds.append(
                Delivery(Student(p.name), {q.relative_to(p).as_posix(): q for q in sorted(p.rglob("*")) if q.is_file()})
            )
    return Inbox("folders", tuple(ds))
