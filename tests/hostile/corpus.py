"""Every attack, in the order of the list.

python tests/hostile/corpus.py      # writes the table in README.md
"""

from pathlib import Path

import artefacts
import machines
import networks
import verdicts
from attack import Attack, Gets

README = Path(__file__).with_name("README.md")
HEAD = (
    "| line | attack | what it tries | without the defence | what it gets | seen in the open |\n"
    "|--:|---|---|---|---|---|"
)
_ALL = [*verdicts.ATTACKS, *networks.ATTACKS, *machines.ATTACKS, *artefacts.ATTACKS]
ATTACKS = sorted(_ALL, key=lambda attack: attack.line)


def table() -> str:
    """All of them, one a line."""
    return "\n".join([HEAD, *map(_row, ATTACKS)])


def _row(attack: Attack) -> str:
    seen = ", ".join(sorted(attack.leaves)) or "–"
    fields = (attack.line, attack.name, attack.tries, attack.without, _gets(attack.gets), seen)
    return "| " + " | ".join(str(field).replace("|", "\\|") for field in fields) + " |"


def _gets(gets: Gets) -> str:
    """The verdict in words."""
    told = f"told: *{gets.words}*" if gets.words else ""
    if gets.points is not None:
        points = ", ".join(f"{name} {value:g}" for name, value in gets.points.items() if name != "by-hand")
        return "; ".join(filter(None, (points, told)))
    if gets.fails is not None:
        fails = ", ".join(sorted(gets.fails))
        return "; ".join(filter(None, (f"fails {fails}" if fails else "judged as the network that it is", told)))
    return "; ".join(filter(None, (gets.state, told)))


if __name__ == "__main__":
    before, _, _ = README.read_text(encoding="utf-8").partition("| line |")
    README.write_text(f"{before}{table()}\n", encoding="utf-8")
