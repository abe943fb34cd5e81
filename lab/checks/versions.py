"""The student's own design: predicted, trained, analysed, and as accurate as it has to be."""

from collections.abc import Callable, Sequence
from typing import Any

from lab.checks.networks import graph_of_answer, keeps_the_rules
from lab.checks.trying import CheckFailed, call, passed, short
from lab.design import FEWEST_WORDS, Entry, Log, Version, graph_of
from lab.graph import Graph
from lab.likeness import known_copy, same_design
from lab.rules import Rubric, load_rubric, meets
from lab.shelter import sheltered
from lab.switches import is_on
from lab.train import Recipe

LEAST_LEARNT = 0.95
"""Validation accuracy of a version that has learnt something, where the rubric's bar is not lower. A linear classifier
ends near 92 % (LeCun, Bottou, Bengio and Haffner, "Gradient-Based Learning Applied to Document Recognition", Proc. IEEE
1998, section III.C.1)."""


def version(
    log: Log,
    answer: Callable[[], Version],
    unlike: Sequence[Callable[[], Version]] = (),
    recipe: Recipe | None = None,
    rubric: str = "mnist_994",
) -> None:
    """Exercise: a version of a design of one's own, predicted, trained and analysed.

    It is trained here where the log has not seen it yet: with the log's short recipe, or in one long run with `recipe`.
    One with a recipe is the last version, and has to keep the rubric's rules as well.

    unlike: the versions before it, which have to be other designs.
    """
    name = _name_of(answer)
    with sheltered():
        words = _version(name, log, answer, unlike, recipe, load_rubric(rubric))
    passed(name, words)


def _version(
    name: str,
    log: Log,
    answer: Callable[[], Version],
    unlike: Sequence[Callable[[], Version]],
    recipe: Recipe | None,
    assignment: Rubric,
) -> str:
    made, graph = _own_design(name, answer)
    for other in unlike:
        before = _graph_or_none(other)
        if before is not None and same_design(before, graph):
            raise CheckFailed(
                f"{name} is the same design as {_name_of(other)}, whatever it is called: change something."
            )
    for what, text in (("target", made.target), ("analysis", made.analysis)):
        if len(text.split()) < FEWEST_WORDS:
            todo = "what it is to achieve" if what == "target" else "what its result says, once it is trained"
            raise CheckFailed(f"{name}: its {what} is {text!r}. Say in a sentence {todo}.")
    if recipe is not None:
        keeps_the_rules(graph, assignment)
    entry = log.entry(made) if recipe is None else _long_run(log, made, recipe)
    if made.predicted != entry.version.predicted:
        said = ", ".join(f"{what}={value}" for what, value in entry.version.predicted.items())
        raise CheckFailed(
            f"{name}: the prediction was changed after the training. A wrong one costs nothing, and teaches more: "
            f"put back {said}."
        )
    least = min(LEAST_LEARNT, assignment.learnt or LEAST_LEARNT)
    if entry.accuracy < least and not is_on("LAB_QUICK"):
        raise CheckFailed(
            f"{name} is right on {entry.accuracy:.2%} of the validation images; expected at least {least:.0%}. "
            "That is more than a linear network can learn."
        )
    return f"{entry.version.name}, predicted, trained and analysed."


def reaches(log: Log, answer: Callable[[], Version], recipe: Recipe, bar: float, rubric: str = "mnist_994") -> None:
    """Exercise: a version's long run ends at a validation accuracy of at least `bar` (0..1).

    Where LAB_QUICK is on, the bar is no higher than what the rubric asks of a quick run.
    """
    name = _name_of(answer)
    with sheltered():
        asked = _reaches(name, log, answer, recipe, bar, load_rubric(rubric))
    low = f" A quick run: {bar:.1%} was not asked for." if asked < bar else ""
    passed(name, f"right on at least {asked:.1%} of the validation images.{low}")


def _reaches(
    name: str, log: Log, answer: Callable[[], Version], recipe: Recipe, bar: float, assignment: Rubric
) -> float:
    """What was asked and reached."""
    made, graph = _own_design(name, answer)
    keeps_the_rules(graph, assignment)
    limit = assignment.limit("epochs")
    if not meets("epochs", recipe.epochs, limit):
        raise CheckFailed(f"the recipe has {recipe.epochs} epochs; expected fewer than {limit:g}.")
    found = _long_run(log, made, recipe).accuracy
    asked = min(bar, assignment.accuracy_bar(quick=True)) if is_on("LAB_QUICK") else bar
    if not meets("accuracy", found, asked):
        raise CheckFailed(f"{name} ends at {found:.2%} of the validation images; expected at least {asked:.2%}.")
    return asked


def _long_run(log: Log, made: Version, recipe: Recipe) -> Entry:
    trained = log.train(made, recipe)
    if trained.history.interrupted:
        raise CheckFailed(f"the training of {made.name} was interrupted: half a run is not judged. Run the cell again.")
    return trained.entry


def _name_of(answer: Any) -> str:
    return str(getattr(answer, "__name__", "your version"))


def _own_design(name: str, answer: Any) -> tuple[Version, Graph]:
    """A version of a network of one's own, which is none of the lab's, and its graph."""
    made = call(name, answer, ())
    if not isinstance(made, Version):
        raise CheckFailed(f"{name}() gives {short(made)}; expected a Version(...).")
    graph = graph_of_answer(name, made.name, made.build)
    if len(graph.output_shape) != 1:
        raise CheckFailed(f"{made.name} gives {graph.output_shape} for an image; expected one logit for each class.")
    copied = known_copy(graph)
    if copied is not None:
        raise CheckFailed(f"{made.name} is the lab's own {copied}, whatever it is called: change its design.")
    return made, graph


def _graph_or_none(answer: Any) -> Graph | None:
    """What the network of another exercise executes; None where it is open or wrong, which is told there."""
    try:
        return graph_of(answer())
    except Exception:
        return None
