"""What others wrote, made harmless before it reaches a terminal or a page."""

import unicodedata

_KEPT = "\n\t"
_JOINERS = "\u200c\u200d"
_UNSEEN = ("Cc", "Cf", "Cs", "Zl", "Zp")  # controls, directions and other marks, lone surrogates, line separators


def harmless(text: str) -> str:
    """`text` with every control character written out: no escape sequence, bell or change of direction is left."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(_written_out(c) if unicodedata.category(c) in _UNSEEN and c not in _KEPT else c for c in text)


def legible(text: str) -> str:
    """The same for a page, which shapes text: the joiners stay that emoji and some scripts' names are written with."""
    if text.isprintable():
        return text
    return "".join(c if c in _JOINERS else harmless(c) for c in text)


def printable(text: str) -> str:
    """`text` on one line, with everything that can't be printed written out: `\\x1b` for an escape."""
    return text if text.isprintable() else "".join(c if c.isprintable() else _written_out(c) for c in text)


def shortened(text: str, longest: int) -> str:
    """`text`, or so many characters of it and a mark that there is more."""
    return text if len(text) <= longest else f"{text[:longest]}…"


def _written_out(character: str) -> str:
    return character.encode("unicode_escape").decode()
