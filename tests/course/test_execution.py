"""How a notebook is executed and judged, and what every way of not reaching its end comes to."""

import json
import multiprocessing
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from lab.course import execution, kernel
from lab.course.execution import ExecutionError, Outcome, execute
from lab.course.kernel import NoKernel
from lab.rules import Rubric, RubricError, load_rubric

HAND_OVER = """from lab.notebook import hand_over
hand_over({"accuracy": accuracy, "parameters": parameters, "epochs": epochs})"""


def notebook(*cells: str) -> nbformat.NotebookNode:
    """A tiny notebook: parameters, these cells, and the hand-over."""
    first = new_code_cell(
        "accuracy, parameters, epochs, quick = 0.995, 19_999, 19, False", metadata={"tags": ["parameters"]}
    )
    return new_notebook(
        cells=[new_markdown_cell("# Tiny"), first, *(new_code_cell(cell) for cell in cells), new_code_cell(HAND_OVER)],
        metadata={"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}},
    )


def run(out: Path, *cells: str, **parameters: Any) -> Outcome:
    return execute(notebook(*cells), "mnist_994", parameters, out)


def written(out: Path) -> dict[str, Any]:
    return dict(json.loads((out / "results.json").read_text(encoding="utf-8")))


def outputs(outcome: Outcome) -> str:
    """Everything that the executed notebook's cells printed."""
    cells = nbformat.read(outcome.notebook, as_version=4).cells
    return "".join(output.get("text", "") for cell in cells for output in cell.get("outputs", []))


# -- judged -----------------------------------------------------------------------------------------------------------


def test_a_run_that_meets_the_assignment_passes(tmp_path: Path) -> None:
    outcome = run(tmp_path, "print('é')")
    assert (outcome.passed, outcome.state, outcome.exit_status) == (True, "done", 0)
    assert outcome.line().startswith("PASS accuracy=0.9950 parameters=19999 epochs=19 seconds=")
    results = written(tmp_path)
    assert (results["passed"], results["state"], results["pid"]) == (True, "done", os.getpid())
    assert (results["accuracy"], results["epochs"]) == (0.995, 19)
    assert "hand_over" in (tmp_path / "mnist_994.html").read_text(encoding="utf-8")
    shown = sorted(path.name for path in tmp_path.iterdir() if not path.name.startswith("."))
    assert shown == ["mnist_994.html", "mnist_994.ipynb", "results.json"]


@pytest.mark.parametrize(
    ("cell", "parameters", "reason"),
    [
        ("", {"accuracy": 0.9939}, "accuracy 99.39%, expected at least 99.40%"),
        ("", {"accuracy": 0.96, "quick": True}, "expected at least 97.00%"),
        ("1 / 0", {}, "cell 2 (`1 / 0`) fails with ZeroDivisionError: division by zero"),
        ("hand_over = accuracy", {}, ""),
    ],
)
def test_a_run_that_falls_short_says_why(tmp_path: Path, cell: str, parameters: dict[str, Any], reason: str) -> None:
    cells = [cell] if reason else []
    edition = notebook(*cells)
    if not reason:
        edition.cells.pop()
        reason = "the notebook handed over no result"
    outcome = execute(edition, "mnist_994", parameters, tmp_path)
    assert (outcome.passed, outcome.state, outcome.exit_status) == (False, "done", 1)
    assert reason in outcome.line()
    assert outcome.line().startswith("FAIL accuracy=")
    assert not written(tmp_path)["passed"]
    assert (tmp_path / "mnist_994.html").is_file()


@pytest.mark.parametrize(
    ("figures", "reason"),
    [
        ((float("nan"), 1, 1), "accuracy nan"),
        ((99.4, 1, 1), "accuracy 9940.00%"),  # percent for a share
        ((0.995, 0, 1), "0 parameters"),
        ((0.995, 1, 0), "0 epochs"),
        ((0.995, 20_000, 1), "20,000 parameters, expected fewer than 20,000"),
        ((0.995, 1, 20), "20 epochs, expected fewer than 20"),
        ((0.995, 1, 1), ""),
    ],
)
def test_figures_that_fall_short_or_can_not_be(figures: tuple[float, int, int], reason: str) -> None:
    found = execution._Bars.of(load_rubric(), quick=False).shortfall(*figures)
    assert found.startswith(reason)
    assert bool(found) == bool(reason)


@pytest.mark.parametrize("accuracy", ["0.995", None, True, [0.995]])
def test_what_is_handed_over_and_is_no_number_does_not_pass(accuracy: Any) -> None:
    result = {"accuracy": accuracy, "parameters": 1, "epochs": 1}
    assert "no figures" in execution._judged(execution._Bars.of(load_rubric(), quick=False), result)


def test_each_notebook_is_judged_by_its_own_rubric(tmp_path: Path) -> None:
    assert execute(notebook(), "fashion", {"accuracy": 0.95}, tmp_path).passed
    assert not execute(notebook(), "mnist_994", {"accuracy": 0.95}, tmp_path).passed
    assert (tmp_path / "fashion.html").is_file()


@pytest.mark.parametrize("missing", ["parameter_count", "epochs", "accuracy"])
def test_a_rubric_without_a_limit_is_met_before_anything_is_executed(tmp_path: Path, missing: str) -> None:
    rubric = load_rubric()
    rules = tuple(rule for rule in rubric.rules if rule.name != missing)
    lacking: Rubric = rubric.model_copy(update={"rules": rules})
    with pytest.raises(RubricError, match=missing):
        execute(notebook(), "mnist_994", {}, tmp_path / "out", lacking)
    assert not (tmp_path / "out").exists()


# -- the kernel -------------------------------------------------------------------------------------------------------


def test_the_kernel_is_this_python_whatever_is_registered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A kernel named python3 that would not even start is registered where Jupyter looks first."""
    spec = tmp_path / "jupyter" / "kernels" / "python3" / "kernel.json"
    spec.parent.mkdir(parents=True)
    spec.write_text(json.dumps({"argv": ["/nowhere/python"], "display_name": "other", "language": "python"}))
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path / "jupyter"))
    outcome = run(tmp_path / "out", "import sys; print('kernel', sys.executable)")
    assert outcome.passed, outcome.line()
    assert f"kernel {sys.executable}\n" in outputs(outcome)


def test_without_ipykernel_it_asks_for_jupyter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernel, "find_spec", lambda name: None)
    with pytest.raises(NoKernel, match=r"ipykernel is not installed\. Is jupyter installed"):
        run(tmp_path / "out")


def test_a_kernel_that_does_not_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", str(tmp_path / "no-python"))
    outcome = run(tmp_path / "out")
    assert (outcome.state, outcome.exit_status) == ("broken", 2)
    assert "the kernel did not start" in outcome.reason
    assert written(tmp_path / "out")["state"] == "broken"


def test_a_kernel_that_is_killed_says_in_which_cell_and_keeps_what_was_executed(tmp_path: Path) -> None:
    outcome = run(tmp_path, "print('kept')", "# too much\nimport os; os.kill(os.getpid(), 9)")
    assert (outcome.state, outcome.exit_status, outcome.passed) == ("broken", 2, False)
    assert "the kernel died in cell 3 (`import os; os.kill(os.getpid(), 9)`)" in outcome.reason
    assert "memory was full" in outcome.reason
    assert "jupyter" not in outcome.reason
    assert "kept" in outputs(outcome)
    assert "kept" in (tmp_path / "mnist_994.html").read_text(encoding="utf-8")


def test_a_cell_without_memory_breaks_the_run_and_does_not_fail_the_work(tmp_path: Path) -> None:
    outcome = run(tmp_path, "raise MemoryError('all of it')")
    assert (outcome.state, outcome.exit_status) == ("broken", 2)
    assert "fails with MemoryError: all of it" in outcome.reason


def test_a_cell_that_takes_too_long(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(execution, "CELL_LIMIT", 2)
    outcome = run(tmp_path, "print('kept')", "import time; time.sleep(60)")
    assert outcome.exit_status == 2
    assert outcome.reason == "cell 3 (`import time; time.sleep(60)`) took longer than 2 s"
    assert "kept" in outputs(outcome)


def late(seconds: float) -> str:
    """A cell after which the kernel says only `seconds` after its answer that it is idle, as on a busy machine."""
    return f"""import time
kernel = get_ipython().kernel
publish = kernel._publish_status
def delayed(status, *rest, **more):
    if status == "idle":
        kernel._publish_status = publish
        time.sleep({seconds})
    return publish(status, *rest, **more)
kernel._publish_status = delayed"""


def test_an_output_that_takes_longer_than_four_seconds_is_waited_for(tmp_path: Path) -> None:
    outcome = run(tmp_path, late(5))
    assert outcome.passed, outcome.line()


def test_an_output_that_never_arrives_has_its_own_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(execution, "OUTPUT_LIMIT", 1)
    outcome = run(tmp_path, late(30))
    assert outcome.exit_status == 2
    assert "is done, but its output did not arrive within 1 s" in outcome.reason
    assert outcome.reason.startswith("cell 2 (`import time`)")


def test_a_very_large_output_is_cut_and_the_run_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(execution, "OUTPUT_BYTES", 1_000_000)
    outcome = run(
        tmp_path,
        "for _ in range(20): print('start', 'x' * 500_000, flush=True)",
        "from IPython.display import display\ndisplay({'image/png': 'A' * 2_000_000}, raw=True); print('after')",
        "print('as ever')",
    )
    assert outcome.passed, outcome.line()
    text = outputs(outcome)
    assert text.startswith("start xxx")
    assert text.count("[more than 1,000,000 bytes of output") == 2
    assert text.endswith("as ever\n")
    assert Path(outcome.notebook).stat().st_size < 3_000_000
    assert "as ever" in (tmp_path / "mnist_994.html").read_text(encoding="utf-8")


def test_a_result_after_a_very_large_output_still_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(execution, "OUTPUT_BYTES", 1000)
    edition = notebook()
    edition.cells[-1].source = f"print('x' * 5000, flush=True)\n{HAND_OVER}"
    assert execute(edition, "mnist_994", {}, tmp_path).passed


def test_a_page_that_can_not_be_made_does_not_lose_the_result(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from nbconvert import HTMLExporter

    def fail(*rest: Any, **more: Any) -> None:
        raise RecursionError

    monkeypatch.setattr(HTMLExporter, "from_notebook_node", fail)
    assert run(tmp_path).passed
    assert written(tmp_path)["passed"]
    assert "no page was made" in capsys.readouterr().err


# -- stopped, killed, twice -------------------------------------------------------------------------------------------

STOP = "import os, signal, time; os.kill(os.getppid(), signal.SIGINT); time.sleep(60)"


def test_ctrl_c_keeps_what_was_executed_and_says_so(tmp_path: Path) -> None:
    started = time.monotonic()
    outcome = run(tmp_path, "print('kept')", STOP)
    assert time.monotonic() - started < 30
    assert (outcome.state, outcome.passed, outcome.exit_status) == ("interrupted", False, 130)
    assert outcome.line().startswith("INTERRUPTED accuracy=-")
    assert "interrupted in cell 3" in outcome.reason
    assert written(tmp_path)["state"] == "interrupted"
    assert "kept" in outputs(outcome)
    assert run(tmp_path).passed  # the next run is not troubled by it


PEEK = """import json, pathlib
print(sorted(p.name for p in pathlib.Path({out!r}).iterdir() if p.name[0] != "."))
print({{k: json.load(open({out!r} + "/results.json"))[k] for k in ("state", "passed", "pid")}})"""


def test_while_a_run_goes_on_nothing_of_an_earlier_one_is_there(tmp_path: Path) -> None:
    for name in ("mnist_994.html", "mnist_994.ipynb"):
        (tmp_path / name).write_text("yesterday's")
    (tmp_path / "results.json").write_text('{"passed": true}')
    outcome = run(tmp_path, PEEK.format(out=str(tmp_path)))
    assert "yesterday" not in Path(outcome.notebook).read_text(encoding="utf-8")
    before = outputs(outcome)
    assert "html" not in before
    assert str({"state": "running", "passed": False, "pid": os.getpid()}) in before


def _run_and_wait(out: Path) -> None:
    run(out, "import time; time.sleep(60)")


def test_two_runs_in_one_folder_say_so_and_a_killed_ones_lock_is_no_hindrance(tmp_path: Path) -> None:
    other = multiprocessing.get_context("spawn").Process(target=_run_and_wait, args=(tmp_path,))
    other.start()
    try:
        deadline = time.monotonic() + 60
        while not (tmp_path / "results.json").is_file() and time.monotonic() < deadline:
            time.sleep(0.1)
        with pytest.raises(ExecutionError, match=rf"another run is going on .*process {other.pid}, since 20"):
            run(tmp_path)
    finally:
        other.kill()
        other.join()
    assert (written(tmp_path)["state"], written(tmp_path)["passed"]) == ("running", False)
    assert run(tmp_path).passed


# -- files that can't be written --------------------------------------------------------------------------------------


def test_a_folder_that_cannot_be_made_says_so(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ExecutionError, match="Choose another folder"):
        run(tmp_path / "file" / "out")


FULL = """import resource, sys, pathlib
sys.path.insert(0, {tests!r})
from test_execution import run
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
try:
    run(pathlib.Path({out!r}), "print('x' * 300_000)")
except Exception as error:
    print(type(error).__name__, error)"""


@pytest.mark.skipif(sys.platform == "win32", reason="Windows limits no file's size")
def test_a_full_disk_is_one_message_and_no_result(tmp_path: Path) -> None:
    """A limit on a file's size, as a quota has it, stands for the full disk."""
    program = FULL.format(tests=str(Path(__file__).parent), out=str(tmp_path))
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120)
    assert (done.stderr, done.stdout.count("\n")) == ("", 1)
    path = tmp_path / "mnist_994.ipynb"
    message = (
        f"ExecutionError {path} cannot be written: File too large. Make room, or choose another folder with --out."
    )
    assert done.stdout.strip() == message
    assert (written(tmp_path)["state"], written(tmp_path)["passed"]) == ("broken", False)
    assert "File too large" in written(tmp_path)["reason"]


@pytest.mark.skipif(hasattr(os, "geteuid") and os.geteuid() == 0, reason="root may write anywhere")
def test_a_read_only_folder_says_so(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(ExecutionError, match="Choose another folder"):
        run(tmp_path)
    tmp_path.chmod(0o700)


# -- progress ---------------------------------------------------------------------------------------------------------


def test_without_a_terminal_nothing_is_drawn(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert run(tmp_path, "print('in the notebook')").passed
    assert capfd.readouterr() == ("", "")
