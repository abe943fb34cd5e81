"""One hand-in, graded where no class is: in a platform's container, or in a student's own repository.

What comes out is a class of one, so that its page, its table and every export are made as a class's are.
"""

from dataclasses import replace
from datetime import datetime
from pathlib import Path

from lab.grading.collect import CollectError, files_in
from lab.grading.crowd import content_of
from lab.grading.grade import Options
from lab.grading.job import Job, judge_version, key_of, name_of, not_graded, run
from lab.grading.standing import Class, Delivery, Student, items_of, limits_of, open_rules, standing_of
from lab.rules import Rubric


def grade_alone(
    target: Path, rubric: Rubric, options: Options, student: Student, submitted: datetime | None = None
) -> Class:
    """Grade what lies at `target`, a file or one student's folder, in this process. Raises CollectError, SandboxError.

    submitted: aware; None where nobody says when. The hand-in's own faults are in the standing's state and message.
    """
    delivery = Delivery(student, _files(target), submitted)
    files, digest, unread = content_of(delivery)
    version = judge_version()
    if unread is not None:
        result = not_graded(name_of(delivery.files), digest, options, unread.state, unread.message)
    else:
        asked = replace(options, rubric=rubric)
        result = run(Job(key_of(digest, rubric, options, version), digest, files, asked, version))
    found = items_of(result["grade"])
    known = {item.id for item in found}
    still_open = [] if options.quick else [rule for rule in open_rules(rubric) if rule.id not in known]
    standing = standing_of(student, delivery, result, [*found, *still_open], {}, rubric)
    made_by = {"judge": version, "mode": options.mode, "seed": options.seed, "date": result["provenance"]["date"]}
    return Class(rubric.title, (standing,), limits=limits_of(rubric), provenance=made_by)


def _files(target: Path) -> dict[str, Path]:
    """What was handed in, by the names that the student gave: a file by itself, or a folder's."""
    if target.is_dir() and not target.is_symlink():
        return {path.relative_to(target).as_posix(): path for path in sorted(files_in(target))}
    if target.is_symlink() or not target.is_file():
        raise CollectError(f"{target} is no ordinary file and no folder.")
    return {target.name: target}
