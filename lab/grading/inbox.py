"""What did the class hand in? From a folder as a platform gives it to the hand-in that counts of each student.

    inbox = read_inbox(Path("submissions"), Path("roster.csv"), late=rubric.late)
    inbox.deliveries, inbox.missing, inbox.unmatched

Nothing is guessed: what fits no student, or two, is listed with what to do. The latest attempt counts; where nobody
says which that is, none is taken. By data alone: nothing is executed, no link is followed.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

from lab._files import FileError, read_regular
from lab._terminal import printable
from lab.grading._entries import GRADABLE, entries, entries_if_any, files_under, notes_of
from lab.grading._gradescope import METADATA
from lab.grading._moments import Clock
from lab.grading._platforms import PLATFORMS, TIMESTAMP, Found, in_canvas, in_moodle, is_repository, nbgrader_tree
from lab.grading.collect import MAX_FILE, content_digest
from lab.grading.roster import Claim, InboxError, Roster, read_roster
from lab.grading.standing import Delivery, Student
from lab.rules import Late

__all__ = ["Inbox", "InboxError", "is_class", "read_inbox"]

ROSTER = "roster.csv"
_OF_ARCHIVES = ("gradescope", "nbgrader", "moodle", "canvas")
"""What is recognised by names that nobody else gives: also one folder further in, where an archive was unpacked."""


@dataclass(frozen=True)
class Inbox:
    """What a class handed in."""

    platform: str  # "moodle", "canvas", "gradescope", "nbgrader", "repositories", "folders"
    deliveries: tuple[Delivery, ...]  # the one that counts of each student, ordered by student id
    superseded: tuple[Delivery, ...]  # earlier attempts, those that came too late, and the same once more
    missing: tuple[Student, ...]  # of the roster: who handed in nothing, or nothing that counts
    unmatched: tuple[str, ...]  # a line for a person each: what was found, why it belongs to nobody, what to do
    notes: tuple[str, ...]
    unordered: tuple[Student, ...] = ()  # who handed in several times, and nobody says which came last


def read_inbox(
    folder: Path,
    roster: Path | None = None,
    platform: str | None = None,
    assignment: str | None = None,
    late: Late | None = None,
) -> Inbox:
    """The hand-ins of the class in `folder`.

    roster: a table of the students; None: `roster.csv` in the folder or beside it, where there is one. platform: where
    it is not recognised. assignment: which one of an nbgrader tree, or what the names of repositories begin or end
    with. late: the rubric's; after it has closed nothing counts, and its zone is that of times that name none. Raises
    InboxError.
    """
    _check(folder, platform)
    outer = folder.absolute()  # workers may run elsewhere
    folder = _inner(outer) or outer
    platform = platform or _platform_of(folder) or "folders"
    clock = Clock(late.due.tzinfo if late is not None else None)
    layout = PLATFORMS[platform](folder, clock, assignment)
    if not layout.found and not layout.strays:
        raise InboxError(f"{printable(str(folder))} holds nothing that was handed in: is it the right folder?")
    place = roster or _roster_near(outer, folder)
    if place is None and layout.worksheet is not None and layout.worksheet.rows:
        place = layout.worksheet.path
    known = read_roster(place) if place is not None else None
    notes = [*_about_roster(known, asked=roster is not None), *layout.notes, *clock.note()]
    sorting = _Sorting(platform, known, late)
    for found in layout.found:
        sorting.add(found)
    unmatched = [*sorting.unmatched, *layout.strays]
    deliveries, superseded, missing = sorting.counted()
    return Inbox(
        platform,
        deliveries,
        superseded,
        missing,
        tuple(map(printable, [*unmatched, *sorting.unordered.values()])),
        tuple(map(printable, [*notes, *sorting.notes])),
        tuple(sorting.unordered),
    )


def _check(folder: Path, platform: str | None) -> None:
    shown = printable(str(folder))
    if platform is not None and platform not in PLATFORMS:
        raise InboxError(f"no platform {platform!r} is known: one of {', '.join(PLATFORMS)}.")
    if folder.is_file() and folder.suffix.lower() == ".zip":
        raise InboxError(f"{shown} is an archive: unpack it, and name the folder.")
    if folder.is_symlink() or not folder.is_dir():
        raise InboxError(f"{shown} is a link: name the folder itself." if folder.is_symlink()
                         else f"there is no folder {shown}.")  # fmt: skip


def _roster_near(outer: Path, folder: Path) -> Path | None:
    places = [folder / ROSTER, outer / ROSTER, outer.parent / ROSTER]
    return next((place for place in places if place.is_file() and not place.is_symlink()), None)


def _about_roster(roster: Roster | None, asked: bool) -> list[str]:
    if roster is None:
        return ["there is no roster: each hand-in is a student's of its own, and nobody can be missing."]
    found = [] if asked else [f"the roster is {roster.path}, which was found there."]
    return [*found, *roster.notes]


# -- whose is it, and which counts ------------------------------------------------------------------------------------

_ADVICE = {
    "nbgrader": "Correct the roster, or the folder's name.",
    "repositories": "Correct the roster (its column username), rename the folder, or name the assignment.",
    "folders": "Correct the roster, or rename it to the student's id.",
}


class _Sorting:
    """Puts what was found to those whose it is."""

    def __init__(self, platform: str, roster: Roster | None, late: Late | None) -> None:
        self._advice = _ADVICE.get(
            platform, "Add to the roster what the platform calls the student, or grade it alone."
        )
        self._roster, self._late = roster, late
        self._of: dict[str, list[tuple[Delivery, str]]] = {}  # by student id, each with what it is called
        self.unmatched: list[str] = []
        self.unordered: dict[Student, str] = {}  # and what to do about it
        self.notes: list[str] = []

    def add(self, found: Found) -> None:
        """One hand-in: to each of those who handed it in together."""
        shown = found.claims[0].shown
        if not found.files:
            told = "".join(f" {note}" for note in found.notes)
            where = self.unmatched if told else self.notes
            where.append(f"{shown!r} holds no file that can be read: nothing of it is graded.{told}")
            return
        students = {}
        for claim in found.claims:
            student = claim.student if self._roster is None else self._roster.find(claim)
            if not isinstance(student, str):
                students[student.id] = student
            elif self._roster is not None and (members := self._roster.members(claim)):
                students |= {member.id: member for member in members}
            else:
                who = f" by {claim.name or claim.email or claim.id}" if len(found.claims) > 1 else ""
                self.unmatched.append(f"{shown!r}{who}: {student}. {self._advice}")
        for student in students.values():
            others = tuple(sorted(one for one in students.values() if one.id != student.id))
            delivery = Delivery(
                student,
                found.files,
                found.submitted,
                found.attempt,
                found.late,
                found.claimed,
                others,
                (*found.notes, *notes_of(found.files)),
            )
            self._of.setdefault(student.id, []).append((delivery, shown))

    def counted(self) -> tuple[tuple[Delivery, ...], tuple[Delivery, ...], tuple[Student, ...]]:
        """The delivery that counts of each student, the others, and who has none."""
        deliveries, superseded, missing = [], [], []
        for _, attempts in sorted(self._of.items()):
            student = attempts[0][0].student
            attempts = [(replace(one, student=student), shown) for one, shown in attempts]
            in_time = [(one, shown) for one, shown in attempts if not self._is_closed(one)]
            too_late = [one for one, _ in attempts if self._is_closed(one)]
            superseded += too_late
            if too_late:
                what = "what came before counts" if in_time else "nothing counts"
                self.notes.append(f"{student.shown} handed in after it had closed: {what}.")
            if not in_time:
                missing.append(student)
                continue
            ordered = _in_order([one for one, _ in in_time])
            if ordered is None:
                named = ", ".join(repr(shown) for _, shown in in_time)
                self.unordered[student] = (
                    f"{student.shown} ({student.id}) handed in {len(in_time)} times ({named}), and nobody says which "
                    "came last: none is graded. Keep the one that counts, and put the others away."
                )
                continue
            deliveries.append(ordered[-1])
            superseded += ordered[:-1]
        here = self._of.keys()
        if self._roster is not None:
            missing += [student for student in self._roster.students if student.id not in here]
        return tuple(deliveries), tuple(superseded), tuple(sorted(missing))

    def _is_closed(self, one: Delivery) -> bool:
        closes = self._late.closes if self._late is not None else None
        return closes is not None and one.submitted is not None and one.submitted > closes


def _in_order(attempts: list[Delivery]) -> list[Delivery] | None:
    """The attempts, that which counts last; None where nobody says which it is.

    The same once more is no attempt of its own: the first of them counts, as it was there at that time.
    """
    if len(attempts) == 1:
        return attempts
    contents = [_content(one) for one in attempts]
    pairs = list(zip(attempts, contents, strict=True))
    times = [(one.submitted, one.attempt) for one in attempts if one.submitted is not None]
    numbers = [one.attempt for one in attempts]
    if len(set(times)) == len(attempts):
        pairs.sort(key=lambda pair: (_moment(pair[0]), pair[0].attempt))
    elif len(set(numbers)) == len(attempts):
        pairs.sort(key=lambda pair: pair[0].attempt)
    elif len(set(contents)) > 1 or not all(contents):
        return None
    elif len(times) == len(attempts):
        pairs.sort(key=lambda pair: _moment(pair[0]))
    last = len(pairs) - 1
    while last and pairs[last][1] and pairs[last - 1][1] == pairs[last][1]:
        last -= 1
    again = [replace(one, notes=(*one.notes, "the same was handed in before.")) for one, _ in pairs[last + 1 :]]
    return [*(one for one, _ in pairs[:last]), *again, pairs[last][0]]


def _moment(one: Delivery) -> datetime:
    assert one.submitted is not None
    return one.submitted


def _content(one: Delivery) -> str:
    """A digest of all names and contents; empty where it can't be read, which is like no other."""
    try:
        return content_digest((name, read_regular(path, MAX_FILE)) for name, path in sorted(one.files.items()))
    except (OSError, FileError):
        return ""


# -- is it a class? ---------------------------------------------------------------------------------------------------


def is_class(target: Path) -> bool:
    """Is this folder a class's, and not one student's?

    A class's has what a platform gives a class, or a `roster.csv` that names a file or folder in it; several clones;
    several .lab files and nothing else to grade; or several folders with hand-ins. One student's is what `collect`
    takes: a .lab, .ipynb or .py file at its top, one notebook further in, or a repository. Raises InboxError for a
    folder that can't be read.
    """
    target = target.absolute()  # whose name may say it
    if target.is_symlink() or not target.is_dir() or is_repository(target):
        return False
    if _platform_of(target, surely=True) is not None or _inner(target) is not None:
        return True
    folders, files, _ = entries(target)
    if any(one.name == ROSTER for one in files):
        try:
            roster = read_roster(target / ROSTER)
        except InboxError:
            return True  # and `read_inbox` says what is wrong with it
        stems = [one.name for one in folders] + [Path(one.name).stem for one in files]
        if any(isinstance(roster.find(Claim("", texts=(stem,))), Student) for stem in stems):
            return True
    gradable = [one.name for one in files if one.name.lower().endswith(GRADABLE)]
    if gradable:
        return len(gradable) > 1 and all(name.lower().endswith(".lab") for name in gradable)
    return _is_class_of_folders([Path(one.path) for one in folders])


def _is_class_of_folders(folders: list[Path]) -> bool:
    if any((one / TIMESTAMP).is_file() for one in folders):
        return False  # a student's folder of an nbgrader tree: its folders are assignments
    networks = scripts = 0
    for one in folders:
        names = [name.lower() for name in files_under(one, hidden=False)[0]]
        has_network = any(name.endswith((".lab", ".ipynb")) for name in names)
        networks += has_network
        scripts += not has_network and any(name.endswith(".py") and "/" not in name for name in names)
    if sum(map(is_repository, folders)) > 1:
        return networks + scripts > 0
    return networks > 1 or (networks == 0 and scripts > 1)


def _inner(folder: Path) -> Path | None:
    """The one folder that an archive was unpacked into, where that is a platform's."""
    folders, files, _ = entries(folder)
    if len(folders) != 1 or any(not one.name.endswith(".csv") for one in files) or is_repository(folder):
        return None
    inside = Path(folders[0].path)
    return inside if inside.name != "submitted" and _platform_of(inside, surely=True) in _OF_ARCHIVES else None


def _platform_of(folder: Path, surely: bool = False) -> str | None:
    """Whose layout it is; None where it is nobody's.

    surely: it may be a student's own folder, and is nobody's where it looks like one.
    """
    folders, files, _ = entries(folder)
    names = [one.name for one in files if not one.name.endswith(".csv")]
    if METADATA in names:
        return "gradescope"
    gradable = [name for name in names if name.lower().endswith(GRADABLE)]
    alone = not set(gradable) - {"nbgrader_config.py"}
    if (alone or not surely) and _is_nbgrader(folder):
        return "nbgrader"
    for platform, recognised in (("moodle", in_moodle), ("canvas", in_canvas)):
        fits = any(map(recognised, names)) and all(map(recognised, gradable))
        if fits and (not surely or platform == "moodle" or _are_surely_canvas(names)):
            return platform
    if any(in_moodle(one.name) for one in folders):
        return "moodle"
    if not surely and any(is_repository(Path(one.path)) for one in folders):
        return "repositories"
    return None


def _are_surely_canvas(names: Iterable[str]) -> bool:
    """Several users, each with one name, and no number twice: `conv_3_16_block.py` would be a name of Canvas's, too."""
    matches = [in_canvas(name) for name in names]
    found = [match for match in matches if match is not None]
    users = {match["user"]: match.groupdict().get("name") for match in found}
    numbers = [match["number"] for match in found if match["number"]]
    pairs = {(match["user"], match.groupdict().get("name")) for match in found}
    alone = len(pairs) == len(users) and len(set(numbers)) == len(numbers)
    return len(found) == len(matches) and len(users) > 1 and alone and all(len(number) > 2 for number in numbers)


def _is_nbgrader(folder: Path) -> bool:
    """Do students' folders hold assignments' folders, with something to grade?"""
    tree = nbgrader_tree(folder)
    for student in entries(tree)[0]:
        for assignment in entries_if_any(Path(student.path))[0]:
            names = {one.name for one in entries_if_any(Path(assignment.path))[1]}
            if TIMESTAMP in names or (tree.name == "submitted" and any(name.endswith(GRADABLE) for name in names)):
                return True
    return False
