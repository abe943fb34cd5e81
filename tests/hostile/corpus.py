"""Every attack, in the order of the list."""

import artefacts
import machines
import networks
import verdicts

_ALL = [*verdicts.ATTACKS, *networks.ATTACKS, *machines.ATTACKS, *artefacts.ATTACKS]
ATTACKS = sorted(_ALL, key=lambda attack: attack.line)
