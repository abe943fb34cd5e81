"""The exercises of a whole copy, those that train among them, as `lab grade` works them out; without the assignment.

python -m benchmarks.exercises COPY.ipynb      # prints their points
"""

import sys
from pathlib import Path

from lab import _process
from lab.grading.sandbox import for_session

if __name__ == "__main__":
    _process.set_up()
    place = Path(sys.argv[1])
    early = [for_session(place)]  # it imports torch while this process does, as in `lab grade`
    from lab.course.copies import read_copy
    from lab.course.plan import edition_of
    from lab.grading.answers import Session
    from lab.grading.exercises import try_copy
    from lab.graph import prepare_capture

    prepare_capture()
    copy = read_copy(place)
    print(try_copy(copy, edition_of(copy), lambda: Session(early.pop() if early else for_session(place))).report.points)
