"""The world that a script finds where it is graded: no graphics card, no Colab, no network, its data somewhere else.

    with World(data).entered():
        ...                                   # the script is executed

Whatever path a script names, it finds MNIST's files in one folder; what it writes to places that are not there lies in
a folder of ours, and is found again; the graphics card is the processor; a library that only shows or reports, and is
not installed, is there and does nothing. Everything is put back at the end.

This runs beside the student's code, inside the sandbox: it makes scripts run that mean no harm, and defends nothing.
"""

import ast
import builtins
import contextlib
import functools
import importlib
import importlib.machinery
import importlib.util
import inspect
import io
import os
import re
import shlex
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

import lab.data
from lab import _torchvision
from lab.errors import LabError
from lab.grading.digits import NAMES, RAW, sums_of

QUIET = {
    *("google.colab", "wandb", "tensorboard", "tensorboardX", "torchsummary", "torchinfo", "torchviz", "torchview"),
    *("pytorch_model_summary", "livelossplot", "seaborn", "plotly", "visdom", "mlflow", "neptune", "comet_ml"),
    *("hiddenlayer", "netron", "graphviz", "prettytable", "tabulate", "colorama", "termcolor", "clearml", "watermark"),
    *("tensorflow.keras.datasets.mnist", "keras.datasets.mnist"),
    *("ipywidgets", "psutil", "thop", "ptflops", "fvcore", "gradio", "aim"),
}
"""Libraries that only show, report or measure: where one is not installed, a script does without what it says."""
NAMES_OF_OTHERS = "this assignment's images are MNIST's, and no others are here"


class NoSuchData(LabError):
    """A data set that is not here."""


class World:
    """What is changed around a script.

    data: a folder as `lab.grading.digits` writes it. work: a folder to write to. beside: the script's own.
    """

    def __init__(self, data: Path, work: Path, beside: Path) -> None:
        self.data, self.work, self.beside = data, work, beside
        self.elsewhere = work / ".elsewhere"
        self.read = {"train": 0, "test": 0}
        """How many images torchvision's MNIST has given, one by one."""

    @contextlib.contextmanager
    def entered(self) -> Iterator[None]:
        """Change it, and put everything back."""
        with contextlib.ExitStack() as stack:
            put = functools.partial(_put, stack)
            self._set_variables(stack)
            self._change_files(put)
            self._change_downloads(put)
            self._change_datasets(put)
            self._change_imports(put)
            _change_devices(put)
            _change_schedules(put)
            _change_python(put)
            self._link_data()
            finder = _Quiet(self._keras_digits)
            sys.meta_path.append(finder)
            stack.callback(sys.meta_path.remove, finder)
            stack.callback(_forget_quiet)
            yield

    # -- files --------------------------------------------------------------------------------------------------------

    def place_of(self, path: Any, writing: bool = False) -> Any:
        """Where a path that is not there is to be looked for, or written; the path itself where that will do."""
        if not isinstance(path, str | os.PathLike):
            return path
        text = os.fspath(path)
        if not isinstance(text, str) or os.path.lexists(text):
            return path
        moved = self.elsewhere / re.sub(r"[^\w.-]+", "_", os.path.abspath(text)).strip("_")
        if writing:
            if os.access(os.path.dirname(text) or ".", os.W_OK):
                return path
            self.elsewhere.mkdir(parents=True, exist_ok=True)
            return str(moved)
        for there in (moved, self.beside / text):
            if os.path.lexists(there):
                return str(there)
        return str(found) if (found := self.file_called(os.path.basename(text))) else path

    def file_called(self, name: str) -> Path | None:
        """The file of MNIST's that is called so; None where it is none."""
        plain = name.removesuffix(".gz").replace(".idx", "-idx")
        found = self.data / RAW / (plain + (".gz" if name.endswith(".gz") else ""))
        if plain in NAMES and os.path.lexists(found):
            return found
        return self._archive(name) if name in ("mnist.npz", "mnist.pkl.gz") else None

    def _archive(self, name: str) -> Path:
        """The same images as Keras or the Theano tutorial pack them, written when they are first asked for."""
        made = self.work / ".archives" / name
        if not os.path.lexists(made):
            import gzip
            import pickle

            import numpy as np

            made.parent.mkdir(parents=True, exist_ok=True)
            x, y, x_test, y_test = (lab.data.read_idx(self._content(name)).numpy() for name in NAMES)
            if name == "mnist.npz":
                np.savez(made, x_train=x, y_train=y, x_test=x_test, y_test=y_test)
            else:
                flat = [(part.reshape(len(part), -1) / np.float32(255)).astype("float32") for part in (x, x_test)]
                held_out = len(x) // 6
                parts = [(flat[0][:-held_out], y[:-held_out].astype("int64")), (flat[0][-held_out:], y[-held_out:])]
                with gzip.open(made, "wb", 1) as file:
                    pickle.dump((*parts, (flat[1], y_test)), file)
        return made

    def _keras_digits(self) -> tuple[tuple[Any, Any], tuple[Any, Any]]:
        """As `keras.datasets.mnist.load_data()`, for those who take only the images from there."""
        x, y, x_test, y_test = (lab.data.read_idx(self._content(name)).numpy() for name in NAMES)
        return (x, y), (x_test, y_test)

    def _content(self, name: str) -> bytes:
        return (self.data / RAW / name).read_bytes()

    def _set_variables(self, stack: contextlib.ExitStack) -> None:
        for name, value in {"LAB_DATA": str(self.data), "LAB_CACHE": str(self.data), "MPLBACKEND": "Agg"}.items():
            before = os.environ.get(name)
            os.environ[name] = value
            stack.callback(_set_variable, name, before)

    def _link_data(self) -> None:
        """The files in a folder `data` where the script runs, for those that look around."""
        with contextlib.suppress(OSError):
            (self.work / "data").mkdir()
            os.symlink(self.data / "MNIST", self.work / "data" / "MNIST")
            for file in (self.data / RAW).iterdir():
                os.symlink(file, self.work / "data" / file.name)

    def _change_files(self, put: Callable[[Any, str, Any], None]) -> None:
        opened, stat, makedirs, mkdir, chdir = io.open, os.stat, os.makedirs, os.mkdir, os.chdir
        save, load = torch.save, torch.load

        def open_(file: Any, mode: str = "r", *rest: Any, **options: Any) -> Any:
            return opened(self.place_of(file, writing=mode[:1] in "wax"), mode, *rest, **options)

        def stat_(path: Any, *rest: Any, **options: Any) -> os.stat_result:
            try:
                return stat(path, *rest, **options)
            except FileNotFoundError:
                if (found := self.place_of(path)) is path:
                    raise
                return stat(found)

        def mkdir_(path: Any, *rest: Any, **options: Any) -> None:
            try:
                mkdir(path, *rest, **options)
            except FileNotFoundError:  # whoever makes its parents first waits for this
                if _lies_in_a_writable_folder(path):
                    raise
            except OSError:
                pass

        def save_(what: Any, f: Any, *rest: Any, **options: Any) -> None:
            save(what, self.place_of(f, writing=True), *rest, **options)

        def load_(f: Any, *rest: Any, **options: Any) -> Any:
            return load(self.place_of(f), *rest, **options)

        put(builtins, "open", open_)
        put(io, "open", open_)
        put(os, "stat", stat_)
        put(os, "makedirs", _or_nothing(makedirs))
        put(os, "mkdir", mkdir_)
        put(os, "chdir", _or_nothing(chdir))
        put(torch, "save", save_)
        put(torch, "load", load_)

    def _change_imports(self, put: Callable[[Any, str, Any], None]) -> None:
        """Modules of the script's own are read as it is (`OnCpu`)."""
        loader, places = importlib.machinery.SourceFileLoader, (f"{self.beside}{os.sep}", f"{self.work}{os.sep}")
        compiled = loader.source_to_code

        def compiled_(one: Any, source: Any, path: Any, *rest: Any, **options: Any) -> Any:
            if str(path).startswith(places):
                source = ast.fix_missing_locations(OnCpu().visit(ast.parse(source, str(path))))
            return compiled(one, source, path, *rest, **options)

        put(loader, "source_to_code", compiled_)

    # -- data sets ----------------------------------------------------------------------------------------------------

    def _change_downloads(self, put: Callable[[Any, str, Any], None]) -> None:
        def content(url: Any) -> bytes:
            url = url.full_url if isinstance(url, urllib.request.Request) else str(url)
            if found := self.file_called(url.split("?")[0].rsplit("/", 1)[-1]):
                return found.read_bytes()
            raise urllib.error.URLError(f"there is no network here, and {url} is not at hand")

        def urlretrieve(url: str, filename: Any = None, *rest: Any, **options: Any) -> tuple[Any, None]:
            name = filename or url.rsplit("/", 1)[-1]
            with open(name, "wb") as file:
                file.write(content(url))
            return name, None

        def urlopen(url: Any, *rest: Any, **options: Any) -> io.BytesIO:
            return io.BytesIO(content(url))

        put(urllib.request, "urlretrieve", urlretrieve)
        put(urllib.request, "urlopen", urlopen)
        if importlib.util.find_spec("requests"):
            import requests

            put(requests, "get", lambda url, *rest, **options: _Response(content(url)))

    def _change_datasets(self, put: Callable[[Any, str, Any], None]) -> None:
        datasets = _torchvision.datasets()
        mnist = datasets.MNIST
        init, item, others = (
            mnist.__init__,
            mnist.__getitem__,
            tuple(getattr(datasets, name) for name in ("FashionMNIST", "KMNIST", "EMNIST", "QMNIST")),
        )

        @functools.wraps(init)
        def init_(one: Any, *given: Any, **named: Any) -> None:
            if isinstance(one, others):
                raise NoSuchData(f"{type(one).__name__}: {NAMES_OF_OTHERS}.")
            bound = inspect.signature(init).bind_partial(one, *given, **named)
            bound.arguments |= {"root": str(self.data), "download": False}
            init(*bound.args, **bound.kwargs)

        @functools.wraps(item)
        def item_(one: Any, index: Any) -> Any:
            self.read["train" if one.train else "test"] += 1
            return item(one, index)

        put(mnist, "__init__", init_)
        put(mnist, "__getitem__", item_)
        put(mnist, "raw_folder", property(lambda one: str(self.data / RAW)))
        put(mnist, "download", lambda one: None)
        _workers_at_home(put)
        known = vars(lab.data)["DATASETS"]  # what every file of the four sets is: here MNIST's are others
        if sums := sums_of(self.data):
            files = tuple(
                replace(file, size=(self.data / RAW / file.name).stat().st_size, sha256=sums[file.name])
                for file in known["mnist"].files
            )
            put(lab.data, "DATASETS", {"mnist": replace(known["mnist"], files=files)})


class _Response:
    """As much of an answer of `requests` as a download looks at."""

    ok, status_code, headers = True, 200, dict[str, str]()

    def __init__(self, content: bytes) -> None:
        self.content = content

    def raise_for_status(self) -> None:
        pass

    def iter_content(self, chunk_size: int = 1) -> Iterator[bytes]:
        yield self.content


def _workers_at_home(put: Callable[[Any, str, Any], None]) -> None:
    """Images are loaded in this process: what is read is counted, and nothing else has to be started."""
    init = DataLoader.__init__
    home: dict[str, Any] = {"num_workers": 0, "pin_memory": False, "persistent_workers": False, "timeout": 0}
    home |= {"prefetch_factor": None, "multiprocessing_context": None}

    @functools.wraps(init)
    def init_(one: Any, *given: Any, **named: Any) -> None:
        bound = inspect.signature(init).bind(one, *given, **named)
        bound.arguments |= {name: value for name, value in home.items() if name in bound.arguments}
        init(*bound.args, **bound.kwargs)

    put(DataLoader, "__init__", init_)


# -- devices ----------------------------------------------------------------------------------------------------------

_CARD = re.compile(r"(cuda|mps|xpu)(:\d+)?")


class OnCpu(ast.NodeTransformer):
    """A script's own text, with the processor where it names a graphics card: "cuda:0" is "cpu"."""

    def visit_Compare(self, node: ast.Compare) -> ast.AST:
        return node  # `if device.type == "cuda"` asks, and names none

    def visit_Call(self, node: ast.Call) -> ast.AST:
        name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
        return node if name in ("autocast", "GradScaler") else self.generic_visit(node)  # these switch themselves off

    def visit_JoinedStr(self, node: ast.JoinedStr) -> ast.AST:
        first = node.values[0] if node.values else None
        if isinstance(first, ast.Constant) and first.value == "cuda:":
            return ast.copy_location(ast.Constant("cpu"), node)
        return node

    def visit_Constant(self, node: ast.Constant) -> ast.AST:
        is_card = isinstance(node.value, str) and _CARD.fullmatch(node.value)
        return ast.copy_location(ast.Constant("cpu"), node) if is_card else node


def _change_devices(put: Callable[[Any, str, Any], None]) -> None:
    for kind in (nn.Module, Tensor):
        put(kind, "cuda", lambda one, *rest, **options: one)
    answers = {"current_device": 0, "get_device_name": "no graphics card", "memory_allocated": 0, "synchronize": None}
    answers |= dict.fromkeys(("set_device", "reset_peak_memory_stats", "empty_cache", "memory_summary"))
    answers |= dict.fromkeys(("max_memory_allocated", "memory_reserved", "max_memory_reserved"), 0)
    for name, answer in answers.items():
        put(torch.cuda, name, functools.partial(_answer, answer))
    put(torch, "compile", _as_it_is)
    put(torch.jit, "script", _as_it_is)
    put(torch.jit, "trace", _as_it_is)


def _change_schedules(put: Callable[[Any, str, Any], None]) -> None:
    """`verbose=True`, which earlier versions of PyTorch took, does nothing."""
    schedules = torch.optim.lr_scheduler
    for kind in vars(schedules).values():
        if isinstance(kind, type) and issubclass(kind, schedules.LRScheduler) and "__init__" in vars(kind):
            put(kind, "__init__", _without_verbose(kind.__init__))


def _without_verbose(init: Callable[..., None]) -> Callable[..., None]:
    @functools.wraps(init)
    def init_(one: Any, *given: Any, verbose: Any = None, **named: Any) -> None:
        init(one, *given, **named)

    return init_


def _answer(answer: Any, *rest: Any, **options: Any) -> Any:
    return answer


def _as_it_is(model: Any = None, *rest: Any, **options: Any) -> Any:
    """In a compiler's place: the network itself, or what decorates a function without changing it."""
    return model if model is not None else lambda function: function


# -- Python and notebooks ---------------------------------------------------------------------------------------------


class Shell:
    """In IPython's place: magic and shell commands do nothing, but for making folders and writing a cell to a file."""

    def system(self, command: str) -> None:
        """`!mkdir folder` is the one that what follows may need."""
        with contextlib.suppress(ValueError):
            words = shlex.split(command)
            for folder in words[1:] if words[:1] == ["mkdir"] else ():
                if not folder.startswith("-"):
                    os.makedirs(folder, exist_ok=True)

    def getoutput(self, command: str, *rest: Any, **options: Any) -> list[str]:
        """Nothing."""
        return []

    def run_cell_magic(self, name: str, line: str, cell: str) -> None:
        """`%%writefile FILE` writes it."""
        if name in ("writefile", "file"):
            words = [word for word in line.split() if word not in ("-a", "--append")]
            with open(words[-1], "a" if len(words) < len(line.split()) else "w", encoding="utf-8") as file:
                file.write(cell)

    def __getattr__(self, name: str) -> "Nothing":
        return Nothing()


def _change_python(put: Callable[[Any, str, Any], None]) -> None:
    put(builtins, "input", lambda *prompt: "")
    shell = Shell()
    put(builtins, "get_ipython", lambda: shell)
    put(builtins, "display", lambda *shown, **options: None)
    if importlib.util.find_spec("IPython"):
        import IPython.display

        put(IPython.display, "display", lambda *shown, **options: None)
    if importlib.util.find_spec("tqdm"):
        import tqdm

        bar = ModuleType("tqdm.notebook")
        bar.__dict__.update(tqdm=tqdm.tqdm, trange=tqdm.trange, tqdm_notebook=tqdm.tqdm, tnrange=tqdm.trange)
        for name in ("notebook", "autonotebook", "auto"):
            put(tqdm, name, bar)
            put(sys.modules, f"tqdm.{name}", bar)
        put(tqdm, "tqdm_notebook", tqdm.tqdm)
        put(tqdm, "tnrange", tqdm.trange)
    if not importlib.util.find_spec("tensorboard"):
        put(sys.modules, "torch.utils.tensorboard", QuietModule("torch.utils.tensorboard"))


# -- libraries that only report ---------------------------------------------------------------------------------------


class Nothing:
    """What a library that is not there gives: it can be called, entered, gone through, and gives no more of it."""

    def __call__(self, *arguments: Any, **options: Any) -> "Nothing":
        return self

    def __getattr__(self, name: str) -> "Nothing":
        if name.startswith("__"):
            raise AttributeError(name)
        return self

    def __getitem__(self, key: Any) -> "Nothing":
        return self

    def __enter__(self) -> "Nothing":
        return self

    def __exit__(self, *raised: Any) -> None:
        return None

    def __iter__(self) -> Iterator[Any]:
        return iter(())

    def __bool__(self) -> bool:
        return False

    def __str__(self) -> str:
        return ""


class QuietModule(ModuleType):
    """A library of nothing."""

    __version__ = "0"

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.__path__ = []  # a package: it has modules of nothing, too

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return Nothing()


class _Quiet(MetaPathFinder, Loader):
    """Asked last: gives a library of nothing for one that only reports, and Keras's data set without Keras."""

    def __init__(self, keras_digits: Callable[[], Any]) -> None:
        self._keras_digits = keras_digits

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        known = any(fullname == name or fullname.startswith(f"{name}.") for name in (*QUIET, "torch.utils.tensorboard"))
        parent = any(name.startswith(f"{fullname}.") for name in QUIET)
        return ModuleSpec(fullname, self, is_package=True) if known or parent else None

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        return QuietModule(spec.name)

    def exec_module(self, module: ModuleType) -> None:
        if module.__name__ == "wandb":  # its settings are read back, as numbers
            settings = _Settings()
            module.__dict__.update(config=settings, init=settings.init)
        if module.__name__.endswith("keras.datasets.mnist"):
            module.__dict__["load_data"] = self._keras_digits
        elif module.__name__.endswith("keras.datasets"):
            module.__dict__["mnist"] = importlib.import_module(f"{module.__name__}.mnist")


class _Settings(dict[str, Any]):
    """As `wandb.config`: what was given to `wandb.init`, by key or as attributes."""

    def init(self, *rest: Any, config: Any = None, **options: Any) -> Nothing:
        self.update(config if isinstance(config, dict) else vars(config) if hasattr(config, "__dict__") else {})
        return _Started(self)

    def __getattr__(self, name: str) -> Any:
        try:
            return self[name]
        except KeyError:
            raise AttributeError(name) from None

    def __setattr__(self, name: str, value: Any) -> None:
        self[name] = value


class _Started(Nothing):
    def __init__(self, config: _Settings) -> None:
        self.config = config

    def __enter__(self) -> "_Started":
        return self


def _forget_quiet() -> None:
    for name in [name for name, module in sys.modules.items() if type(module) is QuietModule]:
        del sys.modules[name]


# ---------------------------------------------------------------------------------------------------------------------

_ABSENT = object()


def _put(stack: contextlib.ExitStack, place: Any, name: str, value: Any) -> None:
    """Set an attribute, or an entry of a table, until the stack ends."""
    if isinstance(place, dict):
        before = place.get(name, _ABSENT)
        place[name] = value
        stack.callback(place.pop, name, None) if before is _ABSENT else stack.callback(place.__setitem__, name, before)
    else:
        before = vars(place).get(name, _ABSENT) if isinstance(place, type) else getattr(place, name, _ABSENT)
        setattr(place, name, value)
        stack.callback(delattr, place, name) if before is _ABSENT else stack.callback(setattr, place, name, before)


def _set_variable(name: str, value: str | None) -> None:
    if value is None:
        os.environ.pop(name, None)
    else:
        os.environ[name] = value


def _or_nothing(function: Callable[..., Any]) -> Callable[..., Any]:
    """The same where it can be done, and nothing where the system refuses."""

    @functools.wraps(function)
    def done(*arguments: Any, **options: Any) -> Any:
        with contextlib.suppress(OSError):
            return function(*arguments, **options)
        return None

    return done


def _lies_in_a_writable_folder(path: Any) -> bool:
    """May the nearest folder above, of those that are there, be written to?"""
    there = next(folder for folder in Path(os.path.abspath(path)).parents if os.path.lexists(folder))
    return os.access(there, os.W_OK)
