"""When was it handed in? A moment as platforms write it, in the languages that they write it in.

    2015-02-02 15:58:23.948203 America/Los_Angeles      nbgrader
    2023-09-21 05:59:00.123456000 Z                     Gradescope
    Wednesday, 10 June 2026, 2:14 PM                    Moodle, and in seven languages

What names no zone is taken to be in that of the rubric's `due`.
"""

import re
import unicodedata
from datetime import datetime, timedelta, timezone, tzinfo
from zoneinfo import ZoneInfo

_MONTHS = (
    "january jan januar janvier enero gennaio janeiro januari",
    "february feb februar fevrier febrero febbraio fevereiro februari",
    "march mar marz mars marzo marco maart",
    "april apr avril abril aprile",
    "may mai mayo maggio maio mei",
    "june jun juni juin junio giugno junho",
    "july jul juli juillet julio luglio julho",
    "august aug aout agosto augustus",
    "september sep sept septembre septiembre settembre setembro",
    "october oct oktober octobre octubre ottobre outubro",
    "november nov novembre noviembre novembro",
    "december dec dezember decembre diciembre dicembre dezembro",
)
_MONTH_OF = {name: number for number, names in enumerate(_MONTHS, 1) for name in names.split()}
_ISO = re.compile(r"(\d{4})-(\d\d)-(\d\d)[ T](\d\d):(\d\d)(?::(\d\d)(?:\.\d*)?)?\s*(?P<zone>\S*)")
_TIME = re.compile(r"\b(\d{1,2})[:.h](\d\d)(?:[:.]\d\d)?\s*(?:([ap])\.?\s?m\b\.?)?")
_OFFSET = re.compile(r"([+-])(\d\d):?(\d\d)")


class Clock:
    """Reads moments, and knows whether it had to take a zone for one."""

    def __init__(self, zone: tzinfo | None) -> None:
        """zone: of what names none; None: this machine's."""
        self._zone = zone
        self.assumed = False

    def read(self, text: str) -> datetime | None:
        """The moment, aware; None where it can't be read."""
        moment = moment_in(text)
        if moment is None or moment.tzinfo is not None:
            return moment
        self.assumed = True
        try:
            return moment.replace(tzinfo=self._zone) if self._zone is not None else moment.astimezone()
        except (OverflowError, OSError, ValueError):  # a year that this machine's zone does not reach
            return None

    def note(self) -> tuple[str, ...]:
        """What to say of it."""
        zone = "this machine's" if self._zone is None else f"that of the rubric's due date, {self._zone}"
        return (f"times without a zone are taken to be in {zone}.",) if self.assumed else ()


def moment_in(text: str) -> datetime | None:
    """The moment that a text names, without a zone where it names none; None where it names no moment."""
    text = " ".join(text[:200].split())
    try:
        if match := _ISO.fullmatch(text):
            parts = [int(part) for part in match.groups()[:6] if part]
            zone = _zone(match["zone"])
            return datetime(*parts, tzinfo=zone) if zone or not match["zone"] else None  # type: ignore[arg-type, misc]
        return _in_words(text)
    except ValueError:
        return None


def _zone(name: str) -> tzinfo | None:
    if match := _OFFSET.fullmatch(name):
        away = timedelta(hours=int(match[2]), minutes=int(match[3]))
        return timezone(-away if match[1] == "-" else away)
    if name in ("Z", "UTC", "GMT"):
        return timezone.utc
    try:
        return ZoneInfo(name) if name else None
    except (OSError, LookupError):  # no such zone, or no data of zones on this machine
        return None


def _in_words(text: str) -> datetime | None:
    plain = "".join(c for c in unicodedata.normalize("NFKD", text).casefold() if not unicodedata.combining(c))
    times, years = list(_TIME.finditer(plain)), re.findall(r"\b20\d\d\b", plain)
    months = [_MONTH_OF[word] for word in re.findall(r"[a-z]+", plain) if word in _MONTH_OF]
    if len(times) != 1 or len(set(years)) != 1 or len(months) != 1:
        return None
    hour, minute, half = int(times[0][1]), int(times[0][2]), times[0][3]
    if half and not 1 <= hour <= 12:
        return None
    days = re.findall(r"\b\d{1,2}\b", plain[: times[0].start()] + " " + plain[times[0].end() :])
    if len(days) != 1:
        return None
    hour = hour % 12 + (12 if half == "p" else 0) if half else hour
    return datetime(int(years[0]), months[0], int(days[0]), hour, minute)
