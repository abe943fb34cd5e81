"""Every attack, in the order of the list."""

import verdicts

ATTACKS = sorted(verdicts.ATTACKS, key=lambda attack: attack.line)
