"""The bar that follows a run: on a terminal, on a notebook's page, and what is left of it in a saved one."""

import json
import os

import nbformat
import pytest
from nbclient import NotebookClient

from lab._bar import progress_bar
from lab.course.kernel import environment, this_python

RUNS = """
import torch
from torch import nn
from lab.data import Data, Labelled
from lab.train import Recipe, fit

images = torch.randint(0, 256, (200, 28, 28), dtype=torch.uint8)
some = Labelled(images, torch.arange(200) % 10)
data = Data("mnist", some, None, tuple("0123456789"), "a test", lambda: some)

def run(seed):
    net = nn.Sequential(nn.Flatten(), nn.Linear(784, 10))
    return fit(net, data, Recipe(epochs=2, batch_size=20, seed=seed), watchers=[lambda history, net: None])
"""


def saved(*cells: str) -> list[list[dict]]:
    """The outputs of each cell of a notebook that was executed with somebody watching, as a file keeps them."""
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source) for source in cells])
    client = NotebookClient(notebook, timeout=120, **this_python())
    manager = client.create_kernel_manager()
    assert manager is not None
    with client.setup_kernel(env=environment() | {"LAB_PROGRESS": "1"}):
        for index, cell in enumerate(notebook.cells):
            client.execute_cell(cell, index)
    return [cell.outputs for cell in nbformat.reads(nbformat.writes(notebook), as_version=4).cells]


SEEN = """
from IPython import get_ipython
shown = []
publisher = get_ipython().display_pub
publish = publisher.publish
def spy(data, *arguments, **options):
    shown.append(data["text/plain"])
    return publish(data, *arguments, **options)
publisher.publish = spy
"""


def test_nothing_is_left_of_many_bars_in_a_saved_notebook() -> None:
    _, _, three, printed, seen = saved(
        RUNS,
        SEEN,
        "for seed in range(3):\n    run(seed)",
        "print('before')\nrun(3)\nprint('after')",
        "print(sum('step/s' in text or '20 [' in text for text in shown), len(shown))",
    )
    drawn, displayed = map(int, seen[0].text.split())
    assert drawn >= 8  # each of the four bars, at its beginning and after each epoch
    assert displayed >= drawn + 4  # and nothing at the end of each
    for outputs in (three, printed):
        said = [output for output in outputs if output.output_type == "stream"]
        assert [output.name for output in said] == ["stdout"] * len(said)  # and no stderr
        (left,) = [output for output in outputs if output.output_type != "stream"]  # one for all bars of the cell
        assert left.data == {"text/html": "", "text/plain": ""}
    assert [output.text for output in printed if output.output_type == "stream"] == ["before\n", "after\n"]
    assert "widget" not in json.dumps([three, printed])


def test_a_run_that_fails_leaves_no_bar_either() -> None:
    notebook = saved(
        RUNS,
        "try:\n    fit(nn.Sequential(nn.Flatten(), nn.Linear(784, 10)), data, Recipe(learning_rate=1e30))\n"
        "except Exception as error:\n    print(type(error).__name__)",
    )
    outputs = notebook[1]
    assert [output.text for output in outputs if output.output_type == "stream"] == ["TrainingError\n"]
    assert [output.data for output in outputs if output.output_type != "stream"] == [
        {"text/html": "", "text/plain": ""}
    ]


def test_no_output_at_all_where_nobody_watches() -> None:
    assert saved(RUNS, "import os; os.environ['LAB_PROGRESS'] = '0'", "run(0);")[2] == []


def test_a_terminal_has_tqdm_s_own(capsys: pytest.CaptureFixture[str]) -> None:
    with progress_bar(3, shown=True) as bar:
        bar.update()
    drawn = capsys.readouterr().err
    assert "0/3" in drawn
    assert drawn.endswith("\r")  # and is wiped off
    with progress_bar(3, shown=False) as bar:
        bar.update()
    assert capsys.readouterr().err == ""
    assert os.environ["LAB_PROGRESS"] == "0"
