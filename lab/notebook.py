"""How a notebook's editions are made, and how it is executed.

A lab is one notebook and one TOML file: `notebooks/NAME.py` (jupytext's percent format, with solutions), the source
that is edited by hand, and `lab/rubrics/NAME.toml`, which it is judged by. From the source come the student's copy
(`NAME.ipynb`: stubs for solutions, no outputs) and the solved one (`NAME_solved.ipynb`: executed, with outputs).

    python -m lab.notebook build [NAME]     makes both, of every notebook or of one; executes the solved one in full
    python -m lab.notebook check [NAME]     fails where their cells differ from the source (outputs aside)
"""

import json
import os
import re
import sys
import time
from base64 import b64decode
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import nbformat

from lab.errors import LabError
from lab.rules import Rubric, load_rubric

ROOT = Path(__file__).parent.parent
NOTEBOOKS = ROOT / "notebooks"
RESULT_TYPE = "application/vnd.lab994.result+json"
"""The kind of cell output in which a notebook hands over its result (see `hand_over`)."""


class NotebookError(LabError):
    """A notebook that can't be found, made or executed."""


def names() -> list[str]:
    """The notebooks that the repository has. Raises NotebookError outside a clone."""
    found = sorted(path.stem for path in NOTEBOOKS.glob("[!_]*.py"))
    if not found:
        raise NotebookError(f"{NOTEBOOKS} has no notebooks: run this in a clone of the repository.")
    return found


# -- editions ---------------------------------------------------------------------------------------------------------


def solved_edition(name: str) -> nbformat.NotebookNode:
    """The source as a notebook without outputs, the solution marks taken out. Raises NotebookError."""
    notebook = _source(name)
    for cell in notebook.cells:
        cell.source = re.sub(r"(?m)^ *### (BEGIN|END) SOLUTION\n?", "", cell.source).rstrip("\n")
    return notebook


def student_edition(name: str) -> nbformat.NotebookNode:
    """The source with a stub in place of every solution, made by nbgrader's own machinery. Raises NotebookError."""
    from nbgrader.preprocessors import ClearSolutions

    notebook: nbformat.NotebookNode = ClearSolutions(enforce_metadata=True).preprocess(_source(name), {})[0]
    return notebook


def _source(name: str) -> nbformat.NotebookNode:
    import jupytext

    if name not in names():
        raise NotebookError(f"there is no notebook {name!r}: take {', '.join(names())}.")
    notebook: nbformat.NotebookNode = jupytext.read(NOTEBOOKS / f"{name}.py")
    notebook.metadata = nbformat.from_dict(
        {
            "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
            "language_info": {"name": "python"},
        }
    )
    for index, cell in enumerate(notebook.cells):
        cell["id"] = f"cell-{index:03d}"  # random ids would change with every build
    return notebook


def build(name: str) -> None:
    """Write both editions beside the source; the solved one is executed in full. Raises NotebookError."""
    nbformat.write(student_edition(name), NOTEBOOKS / f"{name}.ipynb")
    outcome = run_lab({}, ROOT / "build", name)
    print(f"{name}: {outcome.line()}")
    if not outcome.passed:
        raise NotebookError(f"the solved {name} does not meet its assignment; it was not replaced.")
    executed = nbformat.read(outcome.notebook, as_version=4)
    nbformat.write(_without_traces(executed), NOTEBOOKS / f"{name}_solved.ipynb")
    _write_picture(executed)


def _write_picture(executed: nbformat.NotebookNode) -> None:
    """The README's picture: what the cell with the tag `readme-picture` drew, if there is one."""
    for cell in executed.cells:
        if "readme-picture" in cell.metadata.get("tags", []):
            image = next(o["data"]["image/png"] for o in cell.outputs if "image/png" in o.get("data", {}))
            (NOTEBOOKS / "receptive_field.png").write_bytes(b64decode(image))


def check(name: str) -> None:
    """Raise NotebookError where a committed edition's cells differ from the source's."""
    for path, fresh in (
        (NOTEBOOKS / f"{name}.ipynb", student_edition(name)),
        (NOTEBOOKS / f"{name}_solved.ipynb", solved_edition(name)),
    ):
        committed = nbformat.read(path, as_version=4) if path.is_file() else None
        if committed is None or _cells(committed) != _cells(fresh):
            raise NotebookError(f"{path.name} is not what {name}.py gives: run `make notebooks` and commit it.")


def _cells(notebook: nbformat.NotebookNode) -> list[tuple[str, str, str]]:
    """What an edition is compared by: kind, source and nbgrader's metadata of each cell that the source has."""
    return [
        (cell.cell_type, cell.source, json.dumps(cell.metadata.get("nbgrader"), sort_keys=True))
        for cell in notebook.cells
        if "injected-parameters" not in cell.metadata.get("tags", [])
    ]


def _without_traces(notebook: nbformat.NotebookNode) -> nbformat.NotebookNode:
    """Without what papermill writes down of one execution (times, paths)."""
    notebook.metadata.pop("papermill", None)
    for cell in notebook.cells:
        cell.metadata.pop("papermill", None)
        cell.metadata.pop("execution", None)
    return notebook


# -- execution --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Outcome:
    """What a run of the notebook came to."""

    passed: bool
    reason: str  # why not; empty where it passed
    accuracy: float | None
    parameters: int | None
    epochs: int | None
    seconds: float
    notebook: str  # path of the executed notebook
    result: dict[str, Any] = field(default_factory=dict)  # everything that the notebook handed over

    def to_dict(self) -> dict[str, Any]:
        """The same as plain numbers and strings, for JSON."""
        return asdict(self)

    def line(self) -> str:
        """The run's last line."""
        accuracy = "-" if self.accuracy is None else f"{self.accuracy:.4f}"
        figures = f"accuracy={accuracy} parameters={self.parameters or '-'} epochs={self.epochs or '-'}"
        end = f"{figures} seconds={self.seconds:.0f}"
        return f"PASS {end}" if self.passed else f"FAIL {end}: {self.reason}"


def hand_over(result: dict[str, Any]) -> None:
    """Called in the notebook's last cell: hands its figures to whoever executes it."""
    from IPython.display import display

    text = ", ".join(f"{name}={value}" for name, value in result.items())
    display({RESULT_TYPE: result, "text/plain": text}, raw=True)


def run_lab(parameters: dict[str, Any], out: Path, name: str = "mnist_994") -> Outcome:
    """Execute the solved notebook with these parameters and judge what it hands over by the rubric of its name.

    Writes NAME.ipynb (executed), NAME.html and results.json into `out`. Raises NotebookError where it can't be
    executed at all, RubricError for its rubric; a cell that fails is an Outcome.
    """
    import papermill
    from papermill.exceptions import PapermillExecutionError

    started = time.perf_counter()
    edition, rubric = solved_edition(name), load_rubric(name)
    notebook = _prepared(out) / f"{name}.ipynb"
    fresh = out / f"{name}_unexecuted.ipynb"
    nbformat.write(edition, fresh)
    os.environ["LAB_PROGRESS"] = "0"  # the bar over cells is enough; the kernel inherits this
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    reason = ""
    try:
        papermill.execute_notebook(
            str(fresh),
            str(notebook),
            parameters,
            kernel_name="python3",
            progress_bar=sys.stderr.isatty() or {"mininterval": 10},
        )
    except PapermillExecutionError as error:
        reason = f"cell {error.exec_count} fails with {error.ename}: {error.evalue}"
    except (OSError, RuntimeError) as error:
        raise NotebookError(f"the notebook can't be executed: {error}. Is jupyter installed in this Python?") from error
    finally:
        fresh.unlink(missing_ok=True)
    executed = nbformat.read(notebook, as_version=4)
    _write_page(executed, out / f"{name}.html")
    bar = rubric.accuracy_bar(bool(parameters.get("quick")))
    outcome = _judge(reason, _handed_over(executed), rubric, bar, started, notebook)
    (out / "results.json").write_text(json.dumps(outcome.to_dict(), indent=1) + "\n", encoding="utf-8")
    return outcome


def _prepared(out: Path) -> Path:
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise NotebookError(f"cannot write to {out}: {error.strerror}. Choose another folder with --out.") from error
    return out


def _handed_over(notebook: nbformat.NotebookNode) -> dict[str, Any]:
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    results = [output["data"][RESULT_TYPE] for output in outputs if RESULT_TYPE in output.get("data", {})]
    return dict(results[-1]) if results else {}


def _judge(reason: str, result: dict[str, Any], rubric: Rubric, bar: float, started: float, notebook: Path) -> Outcome:
    """Parameters and epochs against the rubric's limits, accuracy against `bar`."""
    accuracy, parameters, epochs = (result.get(name) for name in ("accuracy", "parameters", "epochs"))
    if not reason and (accuracy is None or parameters is None or epochs is None):
        reason = "the notebook handed over no result"
    elif not reason:
        reason = _shortfall(rubric, bar, accuracy, parameters, epochs)  # type: ignore[arg-type]  # none is None
    seconds = time.perf_counter() - started
    return Outcome(not reason, reason, accuracy, parameters, epochs, seconds, str(notebook), result)


def _shortfall(rubric: Rubric, bar: float, accuracy: float, parameters: int, epochs: int) -> str:
    """What the figures miss; empty where they miss nothing."""
    if not accuracy >= bar:
        return f"accuracy {accuracy:.2%}, wants at least {bar:.2%}"
    if not parameters < rubric.limit("parameter_count"):
        return f"{parameters:,} parameters, wants fewer than {rubric.limit('parameter_count'):,.0f}"
    if not epochs < rubric.limit("epochs"):
        return f"{epochs} epochs, wants fewer than {rubric.limit('epochs'):.0f}"
    return ""


def _write_page(notebook: nbformat.NotebookNode, path: Path) -> None:
    from nbconvert import HTMLExporter

    page, _ = HTMLExporter(embed_images=True).from_notebook_node(notebook)
    path.write_text(page, encoding="utf-8")


if __name__ == "__main__":
    try:
        action = {"build": build, "check": check}[sys.argv[1]]
        for chosen in sys.argv[2:] or names():
            action(chosen)
    except (LabError, KeyError, IndexError) as problem:
        sys.exit(f"error: {problem}" if isinstance(problem, LabError) else __doc__)
