"""Classes that do not exist, for tests of what is made of them: varied, with hostile names and texts, and as large as
asked for; the same for the same number."""

import math
import random
from datetime import datetime, timedelta, timezone
from pathlib import Path

from lab.grading.sameness import Likeness
from lab.grading.standing import Class, Delivery, Item, Mark, Standing, Student

HOSTILE = (
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(2)>',
    "\u202ereversed\u202c name",
    'O\'Brien "the & <b>bold</b>"',
    "👩🏽‍💻 Emoji 🦔",
    "x" * 200,
    "{{ 7 * 7 }}{% raw %}",
    "javascript:alert(3)",
    "</style></title><svg onload=alert(4)>",
    "نام\u200cها",
)
HOSTILE_TEXT = '</script><script>alert(5)</script><img src="https://example.org/x.png" onerror=alert(6)>\x1b[31m\u202e'
FIRST = ("Ada", "Björn", "Chloé", "Dmitri", "Elif", "Farid", "Grace", "Hiro", "Ines", "Jonas", "Kaya", "Lena", "Mehmet")
LAST = ("Abebe", "Brandt", "Costa", "Dvořák", "Eriksen", "Fischer", "García", "Haddad", "Ivanova", "Jansen", "Moreau")
RULES = {
    "parameter_count": ("parameters", 20.0),
    "epochs": ("epochs", 10.0),
    "batch_norm": ("batch norm", 10.0),
    "dropout": ("dropout", 10.0),
    "fully_connected": ("fully connected", 10.0),
    "output_shape": ("output shape", 10.0),
    "accuracy": ("accuracy", 30.0),
}
EXERCISES = ("out_size", "receptive_field", "parameters_of", "batch_norm", "one_cycle", "my_net")
LIMITS = {"parameter_count": 20_000, "accuracy": 0.994, "epochs": 20}
START = datetime(2026, 11, 20, 18, 0, tzinfo=timezone.utc)
ADVICE = {
    "parameter_count": "The largest: linear 1176→10 (head.fc{n}) with {n:,}. Pool before the linear layer, or squeeze "
    "channels with a 1x1 convolution.",
    "accuracy": "Try a learning rate that decays to zero, no ReLU on the logits and, for digits, random shifts.",
    "batch_norm": "Call a batch norm between a convolution and its activation, and pass its output on.",
    "dropout": "Call a dropout with p from 0.01 to 0.5 in forward, pass its output on, and pass its output on.",
}
CHECKS = (
    "out_size(n={n}, kernel=3) gave {n}, expected 26",
    "Its own cell fails with NameError: name 'kernel_{n}' is not defined",
    "It was stopped: it takes too long. Is there a loop without an end?",
)


def a_class(students: int = 60, seed: int = 0) -> Class:
    """A class of so many students: one of each state at least, the first ones with hostile names."""
    draw = random.Random(seed)
    standings = [_standing(number, draw) for number in range(students)]
    return Class(
        "MNIST at 99.4 %, fewer than 20,000 parameters, fewer than 20 epochs",
        sorted(standings, key=lambda standing: standing.student),
        ("12345_late_somebody_net.py: nobody in the roster is called so", f"<b>{HOSTILE_TEXT}</b>.zip: is empty"),
        ("roster.csv: line 7 has no id",),
        LIMITS,
        {"lab": "0.9.0", "judge": "7f3a91c2", "mode": "retrain", "seed": 0, "date": "2026-11-26T06:12:00+00:00"},
    )


def student(number: int, draw: random.Random) -> Student:
    """Of the class: hostile where there is a hostile name left."""
    if number < len(HOSTILE):
        name = HOSTILE[number]
        return Student(f"h{number}/../{name}", name, f"h{number}@example.org")
    name = f"{draw.choice(FIRST)} {draw.choice(LAST)}"
    return Student(f"s{1000 + number}", name, f"{name.split()[0].lower()}.{number}@uni.example")


def _standing(number: int, draw: random.Random) -> Standing:
    who = student(number, draw)
    kind = number % 20
    if kind == 11:
        return Standing(who, "missing")
    delivery = Delivery(
        who,
        {f"{who.name.replace('/', ' ')}_net.py": Path("net.py")},
        START + timedelta(hours=draw.uniform(-90, 30)),
        attempt=draw.choice((1, 1, 1, 2, 3)),
        notes=("submitted twice within a minute",) if kind == 4 else (),
    )
    if kind == 12:
        return Standing(who, "waiting", delivery=delivery)
    if kind == 13:
        message = "the training was stopped: this machine is out of memory" + (HOSTILE_TEXT if number > 40 else "")
        return Standing(who, "grader error", message, delivery, _items(None, draw, 0.99, 15_000, judged=False))
    if kind in (14, 15):
        message = f"net.py, line {number}: SyntaxError: invalid syntax {HOSTILE_TEXT if kind == 15 else ''}"
        return Standing(who, "student error", message, delivery, _items(None, draw, 0.99, 15_000, judged=False))
    return _graded(who, delivery, number, draw)


def _graded(who: Student, delivery: Delivery, number: int, draw: random.Random) -> Standing:
    parameters = int(10 ** draw.gauss(4.15, 0.16)) if number % 17 else 1_199_882
    accuracy = 1 - 10 ** -draw.gauss(2.2 + 0.25 * math.log10(parameters / 15_000), 0.13)
    items = _items(who, draw, accuracy, parameters)
    late = number % 9 == 4
    flags = [HOSTILE_TEXT, "a check was edited: the lab's own was taken"] if number % 15 == 1 else []
    off = 0.1 * sum(item.points for item in items) if late else 0.0
    result = {
        "grade": _grade(who, delivery, accuracy, flags, draw),
        "evidence": _evidence(parameters, draw),
        "provenance": {
            "lab": "0.9.0", "judge": "7f3a91c2", "torch": "2.13.0", "python": "3.11.7", "machine": "x86_64, 2 cores",
            "seed": 0, "mode": "retrain", "date": "2026-11-26T05:40:11+00:00", "seconds": 81.3,
        },
    }  # fmt: skip
    told = "1 day 3 hours late, 10 % off" if late else ""
    return Standing(who, "graded", "", delivery, items, off, told, result, earlier=number % 6 == 5)


def _items(
    who: Student | None, draw: random.Random, accuracy: float, parameters: int, judged: bool = True
) -> tuple[Item, ...]:
    items = []
    for place, name in enumerate(EXERCISES, 1):
        luck = draw.random()
        passed = True if luck < 0.75 else False if luck < 0.9 else None
        n = draw.randrange(3, 60)
        message = {True: "PASS", False: draw.choice(CHECKS).format(n=n), None: "Still open: write your answer."}[passed]
        if passed is False and draw.random() < 0.15:
            message += f"\nexpected {HOSTILE_TEXT}"
        if not judged:
            passed, message = None, ""
        mark = None
        if judged and place == 3 and draw.random() < 0.1:
            mark = Mark(name, 3.0, f"The idea is right. {HOSTILE_TEXT}", "T. Eacher", START)
        points = mark.points if mark else 5.0 if passed else 0.0
        items.append(Item("exercise", name, f"exercise {place}", passed, points, 5.0, "", message, mark))
    for name, (title, most) in RULES.items():
        passed, figure = _kept(name, draw, accuracy, parameters)
        message = "" if passed else ADVICE.get(name, "Mend it.").format(n=draw.randrange(900, 12_000))
        if not judged:
            passed, figure, message = None, "", ""
        items.append(Item("rule", name, title, passed, most if passed else 0.0, most, figure, message))
    return tuple(items)


def _kept(name: str, draw: random.Random, accuracy: float, parameters: int) -> tuple[bool, str]:
    if name == "parameter_count":
        return parameters < 20_000, f"{parameters:,}, limit 19,999"
    if name == "accuracy":
        return accuracy >= 0.994, f"{accuracy:.2%}, at least 99.40%"
    passed = draw.random() < 0.94
    return passed, {"epochs": f"{15 if passed else 30}, limit 19"}.get(name, "1 executed, at least 1")


def _grade(who: Student, delivery: Delivery, accuracy: float, flags: list[str], draw: random.Random) -> dict:
    seeds = 3 if abs(accuracy - 0.994) < 0.0004 else 1
    return {
        "name": next(iter(delivery.files)),
        "flags": flags,
        "assignment": {
            "mode": "retrain",
            "facts": ["parameters", "epochs", "accuracy", "a clean test"],
            "claims": [],
            "verdicts": [],
            "seeds": list(range(seeds)),
            "accuracies": [accuracy] * seeds,
            "notes": ["97.80% ± 0.13% on 50,000 fresh images of qmnist."] if flags else [],
            "suspicions": [f"declared are 99.90%, and its weights reach {accuracy:.2%}."] * bool(flags),
            "odds": None,
            "provenance": {
                "processor": "x86_64 AVX512", "threads": 2, "network": "ab" * 32, "weights": None, "rubric": "cd" * 32,
                "recipe": {"epochs": 15, "batch_size": 256, "learning_rate": 0.01, "augment": {"shift": 1.5}},
                "data": {"name": "mnist", "files": {}}, "repeat": "lab grade HAND-IN --mode retrain --seed 0 --seeds 1",
            },
        },
    }  # fmt: skip


def _evidence(parameters: int, draw: random.Random) -> dict:
    start = draw.uniform(0.3, 0.6)
    curve = [
        {"epoch": epoch, "loss": 0.02 + start * math.exp(-epoch / 3) + draw.uniform(0, 0.004),
         "train_accuracy": 0.996 - 0.09 * math.exp(-epoch / 2.5) - draw.uniform(0, 0.0007), "learning_rate": 0.01}
        for epoch in range(1, 16)
    ]  # fmt: skip
    layers = []
    sees, jump, side = 1, 1, 28
    for number in range(1, 8):
        name = f"features.{number}" if number != 3 else f"<b>{HOSTILE_TEXT}</b>"
        sees += 2 * jump
        field = {"size": [sees, sees], "clipped": [min(28, sees)] * 2, "jump": [float(jump)] * 2, "start": [0, 0]}
        layers.append({"name": name, "title": f"conv {8 * number}→{8 * number + 8}, {side}x{side}", "kind": "conv",
                       "shape": [8 * number + 8, side, side], "parameters": parameters // 8,
                       "multiply_adds": 72 * side * side * number, "receptive_field": field})  # fmt: skip
        if number % 3 == 0:
            jump, side = jump * 2, side // 2
    mistaken = draw.randrange(30, 90)
    mistakes = [
        {"image": draw.randrange(10_000), "label": draw.randrange(10), "predicted": draw.randrange(10)}
        for _ in range(min(24, mistaken))
    ]
    return {
        "layers": layers, "parameters": parameters, "multiply_adds": 1_234_567, "curve": curve, "mistakes": mistakes,
        "mistaken": mistaken, "dataset": "mnist", "sameness": {},
    }  # fmt: skip


def some_copies(found: Class) -> tuple[Likeness, ...]:
    """Two kinds of likeness among the graded."""
    graded = [standing.student.id for standing in found.standings if standing.state == "graded"]
    return (
        Likeness(
            (graded[3], graded[7]), ("the same weights", "the same network and recipe", "source: 100 % the same"), True
        ),
        Likeness((graded[5], graded[9], graded[0]), ("source: 92 % the same",), False),
    )
