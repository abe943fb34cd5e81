"""Whatever a text of the project prints as code works: commands, paths, make's targets, code spans, each *To do*.

`prose.py` finds them.
"""

import re
import shlex
from dataclasses import replace
from pathlib import Path

import nbformat
import prose
import pytest
from click.testing import CliRunner
from stand_ins import few_digits

from lab import data
from lab.cli import main
from lab.course.editions import solved_edition
from lab.course.kernel import environment, this_python

NET = """
from torch import nn
from lab.models import StagesNet

class Net(StagesNet):
    def __init__(self):
        super().__init__((6, 6, 7, 7, 8))

MyNet = Net
"""
BY_OTHERS = ("lab run", ".ipynb", "torchvision.models:vgg16")
"""Executed elsewhere: whole notebooks by `make lab` and nbval, a copy in tests/course, vgg16 in test_cli."""
PLACEHOLDER = re.compile(r"\b[A-Z]{3,}\b")
"""TARGET stands for what a reader puts there."""


@pytest.fixture
def desk(tmp_path, monkeypatch):
    """A folder with what the commands name, and few digits."""
    monkeypatch.chdir(tmp_path)
    Path("net.py").write_text(NET, encoding="utf-8")
    Path("DOWNLOADED.csv").touch()
    Path("COURSE").mkdir()
    few = few_digits(200, 100)
    monkeypatch.setattr(data, "load", lambda name="mnist": replace(few, name=name))
    monkeypatch.setattr("lab.runs.load", data.load)
    monkeypatch.setattr("lab.submission.load_data", data.load)
    split = data.Data.split
    monkeypatch.setattr(data.Data, "split", lambda self, seed, held_out=50: split(self, seed, 50))
    return tmp_path


def printed():
    """The commands that are tried here: what the teacher's page executes, test_teacher_page.py executes."""
    for text, command in prose.printed_commands():
        if text != "teacher.md" or PLACEHOLDER.search(command):
            yield text, command


@pytest.mark.parametrize(("text", "command"), list(printed()))
def test_a_printed_command_works(text, command, desk):
    arguments = shlex.split(command.removeprefix("python -m "))[1:]
    if len(arguments) == 1:  # a mention
        assert arguments[0] in main.commands
        return
    if any(each in command for each in BY_OTHERS) or PLACEHOLDER.search(command):
        above = main.context_class(main, **main.context_settings)  # a command keeps what it learns from its first one
        main.commands[arguments[0]].make_context(arguments[0], arguments[1:], above)  # raises for an unknown option
        return
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code in (0, 1), f"{text}: {command}\n{result.output}"


@pytest.mark.parametrize("path", [*prose.TEXTS, *prose.NOTEBOOKS], ids=lambda path: path.name)
def test_a_path_that_a_text_names_is_there(path):
    named = [
        span for text in prose.markdown(path) for span in prose.spans(text) if re.fullmatch(r"[\w.]+/[\w./]*", span)
    ]
    made = (
        "build/",
        "submitted/",
        "release/",
        "tests/out-size.py",
        "lab/rubrics/NAME",
        "notebooks/NAME",
        *("grades/", "GRADES/", "SUBMISSIONS/", "ID/", "feedback/ID"),
    )  # by what the text describes
    gone = [name for name in named if not name.startswith(made) and not (prose.ROOT / name).exists()]
    assert gone == []


@pytest.mark.parametrize("path", prose.TEXTS, ids=lambda path: path.name)
def test_a_target_of_make_is_there(path):
    targets = set(re.findall(r"^([a-z-]+):", (prose.ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    asked = set(
        re.findall(r"`?\bmake ([a-z-]+)(?=[`\s]*(?:#|$|`| [A-Z]+=))", path.read_text(encoding="utf-8"), re.MULTILINE)
    )
    assert asked <= targets


# -- to do ------------------------------------------------------------------------------------------------------------


def _answers(source: Path) -> list[tuple[nbformat.NotebookNode, list[str]]]:
    """Each empty to-do cell, and the code of the answer that is folded below it."""
    found, waiting = [], None
    for cell in prose.cells(source):
        if "to-do" in cell.metadata.get("tags", []):
            waiting = cell
        elif waiting is not None and cell.cell_type == "markdown":
            folded = re.match(r"<details><summary>An answer</summary>\n(.*?)\n</details>", cell.source, re.DOTALL)
            found.append((waiting, prose.fenced(folded[1], "python") if folded else []))
            waiting = None
    return found


@pytest.mark.parametrize("source", prose.NOTEBOOKS, ids=lambda path: path.stem)
def test_each_to_do_has_a_cell_and_an_answer(source):
    asked = sum(text.count("*To do:*") for text in prose.markdown(source))
    answers = _answers(source)
    assert asked == len(answers) > 0
    for cell, code in answers:
        assert all(line.startswith("#") for line in cell.source.splitlines()), "it is for the student to fill in"
        assert code, f"no answer below {cell.source!r}"


# -- every code span and every answer, where it stands ----------------------------------------------------------------

NO_CODE = re.compile(r"lab [a-z]|make |[\w.]+/|\w+\.(py|ipynb|toml)$|\*$|# EXERCISE|x\b")
"""Spans that other tests look at, or that are no Python: commands, paths, files, a star."""
SPAN = "_spans({!r})"
HELPER = """
def _spans(texts):
    import builtins, torch, lab.data, lab.models
    known = {**vars(builtins), **vars(lab.models), **vars(torch.nn.Module), **lab.data.DATASETS, **globals()}
    failed = {}
    for text in texts:
        try:
            eval(text, known)
        except Exception as error:
            failed[text] = f"{type(error).__name__}: {error}"
    print("SPANS", failed)
"""


def _code_near(cells: list[nbformat.NotebookNode], place: int) -> str:
    """The code around a text, which runs: what it speaks of may stand there word for word."""
    near = cells[max(0, place - 3) : place + 4]
    folded = [block for cell in near if cell.cell_type == "markdown" for block in prose.fenced(cell.source, "python")]
    return "\n".join([*folded, *(cell.source for cell in near if cell.cell_type == "code")])


def _with_spans_and_answers(source: Path) -> nbformat.NotebookNode:
    """The solved notebook, every *To do* done, and behind each text a cell that evaluates its code spans."""
    notebook = solved_edition(source.stem)
    answers = iter(_answers(source))
    cells = []
    for place, cell in enumerate(notebook.cells):
        if "to-do" in cell.metadata.get("tags", []):
            cell.source = "\n".join(next(answers)[1])
        cells.append(cell)
        if cell.cell_type == "markdown":
            runs = _code_near(notebook.cells, place)
            texts = [t for t in prose.spans(cell.source) if not NO_CODE.match(t) and t not in runs]
            if texts:
                cells.append(nbformat.v4.new_code_cell(SPAN.format(texts)))
    first = next(place for place, cell in enumerate(cells) if cell.cell_type == "code")
    notebook.cells = [*cells[:first], nbformat.v4.new_code_cell(HELPER), *cells[first:]]
    return notebook


@pytest.mark.slow
@pytest.mark.parametrize("source", prose.NOTEBOOKS, ids=lambda path: path.stem)
def test_every_code_span_and_every_answer_runs_where_it_stands(source, tmp_path):
    from nbclient import NotebookClient

    notebook = _with_spans_and_answers(source)
    client = NotebookClient(
        notebook, timeout=300, allow_errors=True, resources={"metadata": {"path": str(tmp_path)}}, **this_python()
    )
    client.execute(env=environment(LAB_QUICK="1"))
    failures = []
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            if output.output_type == "error":
                failures.append(f"{cell.source[:200]}\n{output.ename}: {output.evalue}")
            elif output.get("name") == "stdout" and output.text.startswith("SPANS") and output.text != "SPANS {}\n":
                failures.append(output.text)
    assert failures == [], "\n\n".join(failures)
