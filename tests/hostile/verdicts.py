"""Attacks on the verdict, and on what it is worked out with (lines 1 to 14, 53 and 54 of the list)."""

import pickle
from pathlib import Path

import torch
from attack import WRONG, Attack, answer, as_it_is, beside, changed, earns, judged, network, refused, text, told
from witness import Witness

POINTS = frozenset({"points"})
FAKE = '{"out-size": 1, "grow": 1}'


class _Payload:
    """What a pickle makes of itself when it is read: a file."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple:
        return Path.touch, (self.marker,)


_BESIDE = "os.path.join(os.path.dirname(os.path.abspath(__file__)), 'net.pt')"


def _with_pickle(folder: Path, witness: Witness) -> Path:
    torch.save({"weights": _Payload(witness.marker)}, folder / "net.pt")
    return network(before=f"import os\nKNOWN = torch.load({_BESIDE}, weights_only=False)", init="self.known = KNOWN")(
        folder, witness
    ).parent


def _pickle_as_hand_in(folder: Path, witness: Witness) -> Path:
    return text(pickle.dumps(_Payload(witness.marker)), "hand_in.lab")(folder, witness)


def _link_in_a_folder(folder: Path, witness: Witness) -> Path:
    (folder / "helper.py").symlink_to(witness.labels)
    source = (
        'def out_size(*given):\n    for name in ("helper.py", "/hand-in/helper.py"):\n        try:\n'
        "            found = open(name).read()\n        except OSError:\n            continue\n"
        "        raise ValueError(found)\n"
    )
    return answer(source)(folder, witness).parent


def _pipe_in_a_folder(folder: Path, witness: Witness) -> Path:
    import os

    os.mkfifo(folder / "helper.py")
    return answer(WRONG)(folder, witness).parent


_FORGED = """import os, struct
def out_size(*given):
    header = {header}
    os.write(4, struct.pack(">4sII", b"LAB1", len(header), 0) + header)
    return 0
"""


def _forged(header: str) -> str:
    return _FORGED.format(header=header)


_OVERWRITES = """import os, time
def out_size(*given):
    return 0
if os.fork() == 0:
    os.setsid()
    if os.fork():
        os._exit(0)
    time.sleep(0.1)
    end = time.time() + 20
    while time.time() < end:
        try:
            if open("$RESULT").read() != '{fake}':
                time.sleep(0.2)
                open("$RESULT", "w").write('{fake}')
                break
        except OSError:
            pass
        time.sleep(0.01)
    os._exit(0)
"""

_FRAMES = """import gc, sys
def out_size(*given):
    frame = sys._getframe(1)
    while frame is not None:
        for names in (frame.f_locals, frame.f_globals):
            if "wanted" in names:
                return names["wanted"]
        frame = frame.f_back
    for found in gc.get_objects():
        if isinstance(found, dict) and (28, 3, 1, 0) in found:
            return found[given]
    return 0
"""

_ANYTHING = """class Anything(int):
    __eq__ = __le__ = __ge__ = __lt__ = lambda self, other: True
    __ne__ = __gt__ = lambda self, other: False
    __hash__ = int.__hash__
    __abs__ = __sub__ = __rsub__ = __round__ = lambda self, *other: self
def out_size(*given):
    return Anything(0)
"""

_TENSOR = """class Right(torch.Tensor):
    @classmethod
    def __torch_function__(cls, function, types, args=(), kwargs=None):
        return True
def grow(*given):
    return torch.zeros(2).as_subclass(Right)
"""

_PATCHED_TORCH = """torch.allclose = torch.equal = torch.isclose = lambda *given, **options: True
torch.Tensor.__eq__ = lambda self, other: True
torch.Tensor.__sub__ = lambda self, other: 0 * self
def grow(*given):
    return 0, 0
"""

_PATCHED_PYTHON = """import builtins, sys
builtins.abs = builtins.round = lambda *given: 0
builtins.all = builtins.any = lambda *given: True
builtins.AssertionError = type("AssertionError", (SystemExit,), {})
sys.excepthook = sys.unraisablehook = lambda *given: None
def out_size(*given):
    return 0
"""

_PATCHED_ACCURACY = """import sys
import lab.runs, lab.train, lab.rules
for module in (sys.modules["__main__"], lab.runs, lab.train):
    module.accuracy = lambda *given, **options: 1.0
lab.runs.judge = lambda rubric, graph, *given, **options: [
    lab.rules.Verdict(rule.name, True, "ok", "ok", "", rule.points, rule.points) for rule in rubric.rules
]
F.cross_entropy = lambda *given, **options: torch.zeros((), requires_grad=True)
"""

_SHADOWS = dict.fromkeys(
    ("torch.py", "numpy.py", "lab/__init__.py", "sitecustomize.py", "usercustomize.py", "conftest.py"),
    "from pathlib import Path\nPath('$MARKER').touch()\nraise SystemExit('this is not the module that was meant')\n",
)

_REPLACED_CHECKS = """import lab.checks
for name in dir(lab.checks):
    if not name.startswith("__"):
        try:
            setattr(lab.checks, name, lambda *given, **options: None)
        except Exception:
            lab.checks.__dict__[name] = lambda *given, **options: None
checks = type("Checks", (), {"__getattr__": lambda self, name: lambda *given: None})()
def out_size(*given):
    return 0
"""


ATTACKS = [
    Attack(
        1,
        "fake-score",
        "prints a score as JSON, and PASS",
        "who reads the last line of stdout believes it",
        answer(f"import atexit\natexit.register(print, '{FAKE}')\nprint('PASS out_size: right in 5 cases')\n" + WRONG),
        earns(),
        POINTS,
        quick=True,
    ),
    Attack(
        2,
        "result-first",
        "writes the file with the result, and ends Python",
        "the file is there, and the grader never comes to write its own",
        answer(f"import os\nopen('$RESULT', 'w').write('{FAKE}')\nos._exit(0)\n"),
        earns(),
        POINTS,
    ),
    Attack(
        3,
        "result-at-exit",
        "overwrites the result when Python ends",
        "the grader's own result is replaced after it was written",
        answer(f"import atexit\natexit.register(lambda: open('$RESULT', 'w').write('{FAKE}'))\n" + WRONG),
        earns(),
        POINTS,
    ),
    Attack(
        3,
        "result-by-a-child",
        "overwrites the result from a child of a child, later",
        "the result is replaced after the grader has ended",
        answer(_OVERWRITES.replace("{fake}", FAKE)),
        earns(),
        POINTS,
    ),
    Attack(
        4,
        "frames",
        "looks for the expected value in the frames of its callers, and among all objects",
        "every answer is right",
        answer(_FRAMES),
        earns(),
        POINTS,
        quick=True,
    ),
    Attack(
        5,
        "every-descriptor",
        "writes a score to every open file descriptor",
        "the pipe to the grader's parent says what the student wrote",
        answer(
            "import os\ndef out_size(*given):\n    for number in range(3, 300):\n        try:\n"
            f"            os.write(number, b'{FAKE}\\n')\n        except OSError:\n            pass\n    return 0\n"
        ),
        earns(),
        POINTS,
    ),
    Attack(
        5,
        "forged-answer",
        "sends the answer to a call before it is asked, as a message that is right in form",
        "the descriptor of answers is open to all code inside: a forged one is data in the place of its next one",
        answer(_forged("""b'{"value": 26}'""")),
        earns(grow=0, words="must be something to call"),
    ),
    Attack(
        6,
        "link-for-result",
        "leaves a link where the result will be written",
        "the grader writes through it, over any file of the teacher's",
        answer("import os\nos.symlink('$MARKER', '$RESULT')\n" + WRONG),
        earns(),
        frozenset({"file"}),
    ),
    Attack(
        6,
        "link-in-the-folder",
        "hands in a folder with a link to a file of the teacher's, and reads it",
        "a folder that is copied or shown with its links followed gives the file",
        _link_in_a_folder,
        earns(),
        frozenset({"leak"}),
    ),
    Attack(
        6,
        "pipe-in-the-folder",
        "hands in a folder with a named pipe in it",
        "who reads every file of it waits without end",
        _pipe_in_a_folder,
        earns(),
    ),
    Attack(
        7,
        "pickle",
        "loads a pickle that executes something",
        "it is executed with the teacher's rights",
        _with_pickle,
        told("No such file or directory"),
        frozenset({"file"}),
    ),
    Attack(
        7,
        "pickle-as-hand-in",
        "hands in a pickle in the place of data",
        "who unpickles it executes it; a grader that expects an archive stops with a traceback",
        _pickle_as_hand_in,
        refused("hand_in.lab"),
        frozenset({"traceback"}),
    ),
    Attack(
        8,
        "not-a-number",
        "answers NaN: no difference to it is larger than anything",
        "a comparison by `abs(got - wanted) > tolerance` is passed",
        answer("def out_size(*given):\n    return float('nan')\n"),
        earns(),
        POINTS,
    ),
    Attack(
        8,
        "huge-number",
        "answers a number of a million digits",
        "working with it, or writing it down, takes minutes",
        answer("def out_size(*given):\n    return 10 ** 1_000_000\n"),
        earns(),
    ),
    Attack(
        8,
        "infinite",
        "answers infinity, as JSON has no number for it",
        "a reader that takes `Infinity` goes on with it",
        answer(_forged("""b'{"value": Infinity}'""")),
        earns(),
    ),
    Attack(
        8,
        "duplicate-keys",
        "sends a table that gives one key twice",
        "two readers of it see two different answers",
        answer(_forged("""b'{"value": 0, "value": 26}'""")),
        earns("session's own answers"),
    ),
    Attack(
        8,
        "deep-json",
        "sends JSON of a hundred thousand levels",
        "a reader that recurses ends with RecursionError, or crashes",
        answer(_forged("b'[' * 100_000")),
        earns("session's own answers"),
    ),
    Attack(
        8,
        "deep-value",
        "answers a list in a list in a list, a hundred thousand levels deep",
        "writing or comparing it ends with RecursionError, or crashes",
        answer(
            "def out_size(*given):\n    made = []\n"
            "    for _ in range(100_000):\n        made = [made]\n    return made\n"
        ),
        earns(),
    ),
    Attack(
        8,
        "a-long-message",
        "announces a message of four gigabytes",
        "a reader that believes it asks for the memory",
        answer(
            "import os, struct\ndef out_size(*given):\n    os.write(4, struct.pack('>4sII', b'LAB1', 2**32 - 1, 9))\n"
        ),
        earns("session's own answers"),
    ),
    Attack(
        9,
        "patched-torch",
        "replaces torch's comparisons and the operators of tensors",
        "the grader compares with them",
        answer(_PATCHED_TORCH, "grow"),
        earns(out_size=1, grow=0),
        POINTS,
        quick=True,
    ),
    Attack(
        10,
        "patched-accuracy",
        "replaces the functions for accuracy, loss and verdicts by its own",
        "the network has 100 % without any training",
        network(before=_PATCHED_ACCURACY),
        judged(),
        frozenset({"rules", "accuracy"}),
    ),
    Attack(
        11,
        "patched-python",
        "replaces abs, all, any, AssertionError and the hooks for errors",
        "no comparison fails any more",
        answer(_PATCHED_PYTHON),
        earns(),
        POINTS,
    ),
    Attack(
        12,
        "tensor-that-agrees",
        "answers a subclass of Tensor that answers every question with True",
        "torch asks it whether it is close to what is wanted",
        answer(_TENSOR, "grow"),
        earns(out_size=1, grow=0),
        POINTS,
    ),
    Attack(
        13,
        "own-modules",
        "hands in its own torch.py, numpy.py, lab/, sitecustomize.py and conftest.py",
        "Python finds them first, and executes them with the grader's rights",
        beside(changed(as_it_is), _SHADOWS),
        earns(out_size=1),
        frozenset({"file"}),
    ),
    Attack(
        14,
        "payload-in-a-checkpoint",
        "its network loads a checkpoint with a `__reduce__` in it when it is built",
        "building the network executes the payload",
        lambda folder, witness: (
            torch.save(_Payload(witness.marker), folder / "net.pt"),
            network(before="import os", init=f"torch.load({_BESIDE}, weights_only=False)")(folder, witness).parent,
        )[1],
        told("No such file or directory"),
        frozenset({"file"}),
    ),
    Attack(
        14,
        "corrupt-checkpoint",
        "its network loads a checkpoint of broken bytes",
        "nothing but an error: it must name the file",
        beside(network(before="import os", init=f"torch.load({_BESIDE})"), {"net.pt": "PK\x03\x04" + "broken" * 100}),
        told("net.pt"),
    ),
    Attack(
        53,
        "replaced-checks",
        "replaces every function of lab.checks, and puts an object of its own in the place of `checks`",
        "each check passes whatever was answered (16 of 16 points under nbgrader)",
        answer(_REPLACED_CHECKS),
        earns(),
        POINTS,
        quick=True,
    ),
    Attack(
        53,
        "number-that-agrees",
        "answers an int that equals every number",
        "every comparison with it holds",
        answer(_ANYTHING),
        earns(),
        POINTS,
    ),
    Attack(
        53,
        "patched-comparison",
        "replaces the comparison inside the checks",
        "the check goes on, and finds nothing wrong",
        answer(
            "import lab.checks, sys\nfor name, module in list(sys.modules.items()):\n"
            "    if name.startswith('lab.checks'):\n        for one in list(vars(module)):\n"
            "            if callable(getattr(module, one)) and not isinstance(getattr(module, one), type):\n"
            "                setattr(module, one, lambda *given, **options: None)\n" + WRONG
        ),
        earns(),
        POINTS,
    ),
    Attack(
        54,
        "exit-after-pass",
        "prints a score and ends Python with status 0",
        "who looks at the status, or at the last line, sees a PASS",
        answer(f"import os\nprint('{FAKE}', flush=True)\nos._exit(0)\n"),
        earns("ends the session"),
        POINTS,
    ),
    Attack(
        54,
        "sys-exit-when-called",
        "calls sys.exit(0) in the answer",
        "SystemExit passes every `except Exception`: the batch's process ends with status 0",
        answer("import sys\ndef out_size(*given):\n    sys.exit(0)\n"),
        earns(),
    ),
]
