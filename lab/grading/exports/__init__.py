"""The forms in which a platform takes grades: each is made of a `Standing` or a `Class`, and computes nothing."""

from lab.errors import LabError


class ExportError(LabError):
    """Grades that can't be written as a platform takes them: which, why, and what to do."""
