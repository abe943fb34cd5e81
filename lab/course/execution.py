"""How a notebook is executed, and judged by what it hands over.

What happens on the way is an Outcome with its own reason: a cell that fails or takes too long, a kernel that dies, an
output that never arrives, a person who stops it. The run's state is in results.json from its first second to its last,
so that a run that is killed never leaves an earlier one's "passed" beside a half-executed notebook.
"""

import asyncio
import contextlib
import json
import os
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

import nbformat
from filelock import FileLock, Timeout
from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError
from papermill.clientwrap import PapermillNotebookClient
from papermill.engines import NotebookExecutionManager
from papermill.parameterize import parameterize_notebook
from tqdm import tqdm

from lab import _place
from lab._files import FileError, write_whole
from lab.course.kernel import KERNEL_NAME, environment, this_python
from lab.course.page import page_of
from lab.errors import LabError
from lab.notebook import RESULT_TYPE
from lab.rules import Rubric, load_rubric, meets

START_LIMIT = 300
"""Seconds in which the kernel has to answer for the first time."""
CELL_LIMIT = 4 * 3600
"""Seconds that one cell may take."""
OUTPUT_LIMIT = 600
"""Seconds in which a cell's output has to arrive when its work is done: a machine may be busy."""
OUTPUT_BYTES = 20_000_000
"""How much of one cell's output is kept; every figure of the lab's notebooks takes less than a tenth of it."""

_BEGINNING = 100_000  # characters that are kept of the printed text that goes beyond it
_SAVED = 10.0  # the notebook is saved after a cell once so many times the seconds have passed that saving takes
_ENVIRONMENT = {"DataError", "FileError", "NotReady", "MemoryError", "OutOfMemoryError", "PermissionError", "OSError"}
"""Errors of a cell that say nothing about the work: no data, no memory, no room."""


class ExecutionError(LabError):
    """A notebook that can't be executed, or a folder that its run can't be written to."""


@dataclass(frozen=True)
class Outcome:
    """What a run of a notebook came to."""

    passed: bool
    reason: str  # why not; empty where it passed
    accuracy: float | None
    parameters: int | None
    epochs: int | None
    seconds: float
    notebook: str  # path of the executed notebook
    result: dict[str, Any] = field(default_factory=dict)  # everything that the notebook handed over
    state: Literal["running", "done", "interrupted", "broken"] = "done"  # only what is done was judged
    started: str = ""  # date and time, ISO 8601
    pid: int = 0  # the process that executes it

    @property
    def exit_status(self) -> int:
        """0 if it passed, 1 if the work falls short, 2 if it could not be judged, 130 if a person stopped it."""
        return 0 if self.passed else {"done": 1, "interrupted": 130}.get(self.state, 2)

    def to_dict(self) -> dict[str, Any]:
        """The same as plain numbers and strings, for JSON."""
        return asdict(self)

    def line(self) -> str:
        """The run's last line."""
        accuracy = "-" if self.accuracy is None else f"{self.accuracy:.4f}"
        figures = f"accuracy={accuracy} parameters={self.parameters or '-'} epochs={self.epochs or '-'}"
        end = f"{figures} seconds={self.seconds:.0f}"
        if self.passed:
            return f"PASS {end}"
        return f"{'FAIL' if self.state == 'done' else self.state.upper()} {end}: {self.reason}"


@dataclass(frozen=True)
class _Bars:
    """What the handed-over figures are judged by; made before anything is executed."""

    accuracy: float  # at least
    parameters: float  # fewer than
    epochs: float  # fewer than

    @classmethod
    def of(cls, rubric: Rubric, quick: bool) -> "_Bars":
        """Raises RubricError where the rubric sets no such limit."""
        return cls(rubric.accuracy_bar(quick), rubric.limit("parameter_count"), rubric.limit("epochs"))

    def shortfall(self, accuracy: float, parameters: int, epochs: int) -> str:
        """What the figures miss; empty where they miss nothing."""
        if not meets("accuracy", accuracy, self.accuracy):
            return f"accuracy {accuracy:.2%}, expected at least {self.accuracy:.2%}"
        if not meets("parameter_count", parameters, self.parameters):
            return f"{parameters:,} parameters, expected fewer than {self.parameters:,.0f}"
        if not meets("epochs", epochs, self.epochs):
            return f"{epochs} epochs, expected fewer than {self.epochs:.0f}"
        return ""


def execute(
    edition: nbformat.NotebookNode, name: str, parameters: dict[str, Any], out: Path, rubric: Rubric | None = None
) -> Outcome:
    """Execute a notebook with these parameters and judge what it hands over by the rubric (if None: that of its name).

    Writes NAME.ipynb (executed, as far as it came), NAME.html and results.json into `out`, from where an earlier run's
    are removed first. Ctrl-C ends it with the state "interrupted". Raises RubricError for a rubric without the limits
    that are asked for, NoKernel, LabError where the working folder hides the lab, and ExecutionError where another run
    is going on in `out`, or it can't be written to.
    """
    bars = _Bars.of(load_rubric(name) if rubric is None else rubric, bool(parameters.get("quick")))
    kernel = this_python()
    _place.check_free(Path.cwd())
    with _writing_to(out), _alone_in(out):
        run = _Run(edition, name, parameters, out)
        run.begin()
        try:
            state, reason = run.execute(kernel)
            result = _handed_over(run.notebook)
            if state == "done" and not reason:
                reason = _judged(bars, result)
            return run.end(state, reason, result)
        except BaseException as error:
            run.broke_off(f"the run broke off: {error}")
            raise


_State = Literal["running", "done", "interrupted", "broken"]


class _Run:
    """One execution: the notebook that grows, and the files that tell of it."""

    def __init__(self, edition: nbformat.NotebookNode, name: str, parameters: dict[str, Any], out: Path) -> None:
        self.notebook = _with_parameters(edition, parameters)
        self.switches = {"LAB_QUICK": "1"} if parameters.get("quick") else {}  # the checks' bars are lower, too
        self.path, self.page, self.results = out / f"{name}.ipynb", out / f"{name}.html", out / "results.json"
        started = datetime.now().astimezone().isoformat(timespec="seconds")
        self.outcome = Outcome(False, "", None, None, None, 0.0, str(self.path), {}, "running", started, os.getpid())
        self.clock = time.perf_counter()
        self.cell = 0  # the number of the code cell that is executed, from 1

    def begin(self) -> None:
        """An earlier run's files are gone before this one starts; the first thing to be there says that it runs."""
        for path in (self.results, self.page, self.path):
            path.unlink(missing_ok=True)
        running = replace(self.outcome, reason="still running, or killed: this process wrote no end")
        write_whole(self.results, json.dumps(running.to_dict(), indent=1) + "\n")

    def execute(self, kernel: dict[str, Any]) -> tuple[_State, str]:
        """Execute all cells, or as many as can be: the state, and a reason where that is not all."""
        client = _Client(
            self.notebook,
            timeout=CELL_LIMIT,
            iopub_timeout=OUTPUT_LIMIT,
            startup_timeout=START_LIMIT,
            raise_on_iopub_timeout=True,
            record_timing=False,
            **kernel,
        )
        manager = client.create_kernel_manager()
        client.log.setLevel("CRITICAL")  # what goes wrong is told once, as the outcome's reason
        try:
            with client.setup_kernel(env=environment(**self.switches), cleanup_kc=False):
                self._execute_cells(client)
        except KeyboardInterrupt:
            _cancel_what_waits(client.loop)
            return "interrupted", f"interrupted in {self._where()}"
        except CellExecutionError as error:
            text = " ".join(error.evalue.split()) if len(error.evalue) < 500 else error.evalue[:500] + " …"
            state: _State = "broken" if error.ename in _ENVIRONMENT else "done"
            return state, f"{self._where()} fails with {error.ename}: {text}"
        except DeadKernelError:
            return "broken", f"the kernel died in {self._where()}{_cause_of_death(manager)}"
        except CellTimeoutError as error:
            if "IOPub" in str(error):
                return "broken", f"{self._where()} is done, but its output did not arrive within {OUTPUT_LIMIT} s"
            return "broken", f"{self._where()} took longer than {CELL_LIMIT:,} s"
        except (RuntimeError, OSError) as error:  # of jupyter_client; what can't be written is a FileError
            if self.cell:
                return "broken", f"the kernel is out of reach in {self._where()}: {error}"
            return "broken", f"the kernel did not start{_cause_of_death(manager)}: {error}"
        finally:
            if client.km is not None:
                client._cleanup_kernel()
        return "done", ""

    def _execute_cells(self, client: "_Client") -> None:
        client.reset_execution_trackers()
        saved, cost = time.perf_counter(), 0.0
        for index, cell in enumerate(tqdm(self.notebook.cells, unit="cell", disable=None, leave=False)):  # None: on a
            if cell.cell_type != "code" or not cell.source.strip():  # terminal only
                continue
            self.cell += 1
            client.execute_cell(cell, index)
            now = time.perf_counter()
            if now - saved > _SAVED * cost:
                self._save()
                saved = time.perf_counter()
                cost = saved - now
        client.set_widgets_metadata()

    def end(self, state: _State, reason: str, result: dict[str, Any]) -> Outcome:
        """Write the notebook and its page, and then, last of all, how the run ended."""
        self._save()
        if not _write_page(self.notebook, self.page):
            print(f"no page was made of {self.path}: it can't be shown as HTML.", file=sys.stderr)
        self.outcome = replace(
            self.outcome,
            passed=state == "done" and not reason,
            reason=reason,
            seconds=time.perf_counter() - self.clock,
            accuracy=_number(result, "accuracy"),
            parameters=_whole(result, "parameters"),
            epochs=_whole(result, "epochs"),
            result=result,
            state=state,
        )
        write_whole(self.results, json.dumps(self.outcome.to_dict(), indent=1) + "\n")
        return self.outcome

    def broke_off(self, reason: str) -> None:
        """Write, if that much can be written, that there is no result."""
        outcome = replace(self.outcome, state="broken", reason=reason, seconds=time.perf_counter() - self.clock)
        with contextlib.suppress(FileError):
            write_whole(self.results, json.dumps(outcome.to_dict(), indent=1) + "\n")

    def _save(self) -> None:
        write_whole(self.path, nbformat.writes(self.notebook) + "\n")

    def _where(self) -> str:
        """'cell 3 (`net = MyNet()`)': by its number among the code cells, as a notebook counts them."""
        code = [cell for cell in self.notebook.cells if cell.cell_type == "code" and cell.source.strip()]
        if not self.cell:
            return "no cell yet"
        lines = [line.strip() for line in code[self.cell - 1].source.splitlines()]
        line = next((line for line in lines if line and not line.startswith("#")), lines[0])
        return f"cell {self.cell} (`{line[:60]}{'…' if len(line) > 60 else ''}`)"


class _Client(PapermillNotebookClient):  # type: ignore[misc]  # papermill has no types
    """Papermill's client, which keeps of each cell's output only so many bytes, and says so there."""

    def __init__(self, notebook: nbformat.NotebookNode, **options: Any) -> None:
        self._kept: dict[int, int] = {}  # cell -> bytes; negative once some were left out
        self.loop: asyncio.AbstractEventLoop | None = None  # in which its tasks run
        super().__init__(NotebookExecutionManager(notebook, progress_bar=False), **options)

    def process_message(
        self, msg: dict[str, Any], cell: nbformat.NotebookNode, cell_index: int
    ) -> nbformat.NotebookNode | None:
        """Everything but outputs beyond the limit is nbclient's."""
        self.loop = asyncio.get_running_loop()
        if msg["msg_type"] not in {"stream", "display_data", "execute_result", "update_display_data"}:
            return self._messaged(msg, cell, cell_index)
        kept = self._kept.get(cell_index, 0)
        size = _size(msg["content"])
        if RESULT_TYPE not in msg["content"].get("data", {}):
            if kept < 0:
                return None
            if kept + size > OUTPUT_BYTES:
                self._kept[cell_index] = -1
                if msg["msg_type"] == "stream":
                    beginning = msg["content"]["text"][:_BEGINNING]
                    cell.outputs.append(nbformat.v4.new_output("stream", name=msg["content"]["name"], text=beginning))
                note = f"\n[more than {OUTPUT_BYTES:,} bytes of output: the rest of this cell's is left out]\n"
                cell.outputs.append(nbformat.v4.new_output("stream", name="stdout", text=note))
                return None
            self._kept[cell_index] = kept + size
        return self._messaged(msg, cell, cell_index)

    def _messaged(self, msg: Any, cell: nbformat.NotebookNode, cell_index: int) -> nbformat.NotebookNode | None:
        output: nbformat.NotebookNode | None = super().process_message(msg, cell, cell_index)
        return output


def _size(content: dict[str, Any]) -> int:
    """Bytes of an output, roughly: a character is one, and a message at least a hundred."""
    return 100 + len(content.get("text", "")) + sum(len(str(value)) for value in content.get("data", {}).values())


def _with_parameters(edition: nbformat.NotebookNode, parameters: dict[str, Any]) -> nbformat.NotebookNode:
    """A copy without outputs; a cell that sets the parameters follows the one with the tag `parameters`."""
    notebook: nbformat.NotebookNode = nbformat.from_dict(json.loads(json.dumps(edition)))
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    if parameters:
        notebook.metadata.setdefault("papermill", nbformat.NotebookNode())
        bare = [cell.metadata for cell in notebook.cells if "tags" not in cell.metadata]
        for metadata in bare:
            metadata["tags"] = []  # papermill reads them of every cell
        notebook = parameterize_notebook(notebook, parameters, kernel_name=KERNEL_NAME, language="python")
        injected = next(cell for cell in notebook.cells if "injected-parameters" in cell.metadata.get("tags", []))
        injected["id"] = "parameters"  # a random one would change with every run
        del notebook.metadata["papermill"]
        for metadata in bare:
            del metadata["tags"]
    return notebook


def _cause_of_death(manager: Any) -> str:
    """How the kernel's process ended, where the system still knows."""
    process = getattr(getattr(manager, "provisioner", None), "process", None)
    status = process and process.poll()
    if status is None:
        return ""
    if status == -9:
        return ": it was killed, most likely because the memory was full"
    return f" (exit status {status})" if status >= 0 else f" (signal {-status})"


def _cancel_what_waits(loop: asyncio.AbstractEventLoop | None) -> None:
    """Ctrl-C leaves nbclient's tasks waiting for a kernel that nobody asks any more."""
    if loop is None or loop.is_running():
        return
    waiting = asyncio.all_tasks(loop)
    for task in waiting:
        task.cancel()
    if waiting:
        loop.run_until_complete(asyncio.gather(*waiting, return_exceptions=True))


@contextlib.contextmanager
def _writing_to(out: Path) -> Iterator[None]:
    """Make the folder; what can't be written to it, then or later, is an ExecutionError."""
    try:
        out.mkdir(parents=True, exist_ok=True)
        yield
    except OSError as error:
        raise ExecutionError(
            f"cannot write to {out}: {error.strerror or error}. Choose another folder with --out."
        ) from error
    except FileError as error:
        raise ExecutionError(f"{error}. Make room, or choose another folder with --out.") from error


@contextlib.contextmanager
def _alone_in(out: Path) -> Iterator[None]:
    """Hold the folder's lock; the system takes it from a process that ends, however it ends."""
    lock = FileLock(out / ".lab-run.lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise ExecutionError(
            f"another run is going on in {out}{_its_start(out)}: wait, or choose another --out."
        ) from None
    try:
        yield
    finally:
        lock.release()


def _its_start(out: Path) -> str:
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
        running = json.loads((out / "results.json").read_text(encoding="utf-8"))
        return f" (process {running['pid']}, since {running['started']})"
    return ""


def _handed_over(notebook: nbformat.NotebookNode) -> dict[str, Any]:
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    results = [output["data"][RESULT_TYPE] for output in outputs if RESULT_TYPE in output.get("data", {})]
    return dict(results[-1]) if results and isinstance(results[-1], dict) else {}


def _judged(bars: _Bars, result: dict[str, Any]) -> str:
    """Why the figures do not meet the assignment; empty where they do."""
    if not {"accuracy", "parameters", "epochs"} <= result.keys():
        return "the notebook handed over no result"
    accuracy, parameters, epochs = _number(result, "accuracy"), _whole(result, "parameters"), _whole(result, "epochs")
    if accuracy is None or parameters is None or epochs is None:
        return f"the notebook handed over what are no figures: {str(result)[:200]}"
    return bars.shortfall(accuracy, parameters, epochs)


def _number(result: dict[str, Any], name: str) -> float | None:
    value = result.get(name)
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def _whole(result: dict[str, Any], name: str) -> int | None:
    value = _number(result, name)
    return int(value) if value is not None and value.is_integer() else None


def _write_page(notebook: nbformat.NotebookNode, path: Path) -> bool:
    """The notebook as one HTML file; False where nbconvert can't make one of it."""
    try:
        page = page_of(notebook, path.stem)
    except (Exception, KeyboardInterrupt):  # of any of its templates and filters: the result does not hang on the page
        return False
    write_whole(path, page)
    return True
