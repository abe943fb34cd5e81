"""Of a file or a notebook, the statements that some names are made from, and no others.

    selection = select(cells("lab.ipynb"), {"Net"})
    for statement in selection.statements:
        exec(statement.code, namespace)

A statement is needed if it gives a needed name its value (import, function, class, assignment), or if it changes what a
needed name stands for: `layers.append(...)`, `model.fc = ...`, `for m in model.modules(): m.p = 0`, `prune(model)`.
Whether it changes something is read from its text, and from the functions of the file that it calls:

    structure   attributes and items assigned or deleted; methods that change a container or a module (append, update,
                add_module, register_..., set_...); setattr, delattr; torch.nn.utils; seeds of random numbers; sys.path
    values      torch.nn.init, methods that end in _ (zero_, requires_grad_), apply
    mode        eval, train, zero_grad
    unknown     a function or method of a library that is neither in these lists nor reads or reports by its name

Such a statement is executed if it is harmless: all that it calls is torch, Python's own mathematics and containers,
modules' and tensors' own methods, and functions of the file that are harmless themselves. What is not harmless (it
trains, downloads, plots) is never executed: it is refused where it changes structure, named in a note where what it
does is unknown, and left out in silence where it only changes values or mode: a training. What gives a needed name its
value is executed as long as it does not train.
"""

from __future__ import annotations
import __future__ as future

import ast
import builtins
import contextlib
import copy
import dis
import json
import linecache
import re
import sys
import warnings
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from enum import IntEnum
from functools import cache
from pathlib import Path
from types import CodeType

from lab.errors import LabError


class DefinitionsError(LabError):
    """A file or notebook that can't be read, or is not valid Python."""


class Effect(IntEnum):
    """What a statement may do to something, the least first."""

    NONE = 0
    MODE = 1
    VALUES = 2
    UNKNOWN = 3
    STRUCTURE = 4


@dataclass(frozen=True)
class Cell:
    """One file, or one code cell of a notebook."""

    name: str  # for messages: "net.py" or "lab.ipynb, code cell 3"
    source: str


@dataclass(frozen=True)
class Statement:
    """One statement at the top level of a cell."""

    node: ast.stmt
    cell: str
    code: CodeType  # of this statement alone
    binds: frozenset[str]  # the top-level names that it gives a value
    reads: frozenset[str]  # the top-level names that it looks up, itself or in a function that it defines

    @property
    def where(self) -> str:
        """ "net.py, line 12"."""
        return f"{self.cell}, line {self.node.lineno}"

    @property
    def source(self) -> str:
        """Its text, written anew: comments are gone, magic has become calls."""
        return ast.unparse(self.node)

    @property
    def text(self) -> str:
        """Its first line, shortened."""
        line = ast.unparse(self.node).splitlines()[0]
        return line if len(line) <= 80 else f"{line[:77]}..."


@dataclass(frozen=True)
class Broken:
    """A cell that is not valid Python."""

    cell: Cell
    message: str

    def mentions(self, name: str) -> bool:
        """Does its text seem to define or to change `name`?"""
        word = re.escape(name)
        return bool(re.search(rf"(?m)^\s*((class|def)\s+{word}\b|{word}\s*([.\[=]|[-+*/|]=))", self.cell.source))


@dataclass(frozen=True)
class Selection:
    """What to execute, in order; what to tell the person; and what keeps the result from being what it should be."""

    statements: tuple[Statement, ...]
    notes: tuple[str, ...] = ()
    refused: tuple[str, ...] = ()


@dataclass
class Source:
    """The parsed cells of a file or notebook."""

    statements: list[Statement]
    broken: list[Broken]
    guarded: dict[str, str]  # name -> where, of what is only defined under `if __name__ == "__main__"`
    folder: Path | None = None  # modules beside it are looked into
    scope: Module = field(init=False)

    def __post_init__(self) -> None:
        self.scope = Module([s.node for s in self.statements], self.folder)
        self.effects = [
            {} if isinstance(s.node, (ast.Import, ast.ImportFrom)) else self.scope.effects(s.node)
            for s in self.statements
        ]
        self.fixed = _fixed(self.statements)

    def select(self, wanted: Iterable[str]) -> Selection:
        """The statements that the names in `wanted` are made from, with notes."""
        return _Search(self, set(wanted)).selection()


def select(cells: Iterable[tuple[str, str] | Cell], wanted: Iterable[str], folder: Path | None = None) -> Selection:
    """The statements to execute, in order, to have the names in `wanted`; `cells` are (name for messages, source).

    Cells that are not valid Python are left out, with a note, or refused where they seem to define what is needed.
    """
    return parse(cells, folder).select(wanted)


# -- reading ----------------------------------------------------------------------------------------------------------


def cells(path: Path) -> list[Cell]:
    """The text of a file, or of each code cell of a notebook, as it stands. Raises DefinitionsError."""
    try:
        text = path.read_text(encoding="utf-8-sig")
        if path.suffix != ".ipynb":
            return [Cell(str(path), text)]
        known = json.loads(text)["cells"]
        sources = [_text(cell.get("source")) for cell in known if cell["cell_type"] == "code"]
    except OSError as error:
        raise DefinitionsError(f"cannot read {path}: {error.strerror}.") from error
    except UnicodeDecodeError as error:
        raise DefinitionsError(f"{path} is not text in UTF-8: {error.reason}.") from error
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise DefinitionsError(f"{path} is not a notebook: {error!r}.") from error
    return [Cell(f"{path.name}, code cell {n}", source) for n, source in enumerate(sources, 1)]


def _text(source: object) -> str:
    """A cell's source, which is a text or a list of lines; a broken one (null, a number) holds no code."""
    if isinstance(source, list):
        return "".join(line for line in source if isinstance(line, str))
    return source if isinstance(source, str) else ""


def parse(cells: Iterable[tuple[str, str] | Cell], folder: Path | None = None) -> Source:
    """The statements of the cells; those that are not valid Python stand in `broken`."""
    parsed: list[tuple[ast.stmt, Cell]] = []
    broken: list[Broken] = []
    for given in cells:
        cell = given if isinstance(given, Cell) else Cell(*given)
        try:
            parsed += [(node, cell) for node in _parse(cell)]
        except _INVALID as error:
            broken.append(Broken(cell, _invalid(cell, error)))
    flags = ast.PyCF_ALLOW_TOP_LEVEL_AWAIT  # a notebook may; here such a cell is read and not run
    if any(isinstance(node, ast.ImportFrom) and node.module == "__future__" for node, _ in parsed):
        flags |= future.annotations.compiler_flag  # the one that a supported Python does not have anyway
    statements: list[Statement] = []
    guarded: dict[str, str] = {}
    for node, cell in parsed:
        if any(cell is one.cell for one in broken):
            continue
        if _is_main_guard(node):
            guarded |= dict.fromkeys(_binds(node), f"{cell.name}, line {node.lineno}")
            continue
        try:
            statements.append(_statement(node, cell, flags))
        except _INVALID as error:
            broken.append(Broken(cell, _invalid(cell, error)))
            statements = [s for s in statements if s.cell != cell.name]
    return Source(statements, broken, guarded, folder)


_INVALID = (SyntaxError, ValueError, RuntimeError, MemoryError)
"""MemoryError: too deep for the parser. RuntimeError: for whoever walks the tree, or more magic than IPython takes."""
_PYTHON_CELLS = re.compile(r"\s*%%(time|capture|prun|memit|debug|wandb|python3?|script python3?)\b.*")


def compiled(cell: Cell) -> CodeType:
    """A notebook's cell, magic taken out; messages can quote its lines. Raises DefinitionsError."""
    try:
        with _without_warnings():
            return compile(ast.Module(body(cell), type_ignores=[]), cell.name, "exec", dont_inherit=True)
    except _INVALID as error:
        raise DefinitionsError(_invalid(cell, error)) from error


def body(cell: Cell) -> list[ast.stmt]:
    """A file's or a cell's statements, magic taken out. Raises DefinitionsError where it is not valid Python."""
    try:
        return _parse(cell)
    except _INVALID as error:
        raise DefinitionsError(_invalid(cell, error)) from error


@contextlib.contextmanager
def _without_warnings() -> Iterator[None]:
    """Python's warning of odd syntax quotes its line as it is: escapes in it would reach the terminal of who grades."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SyntaxWarning)
        yield


def _parse(cell: Cell) -> list[ast.stmt]:
    text = cell.source
    if ", code cell " in cell.name or not cell.name.endswith(".py"):
        text = _without_magic(text)
    with _without_warnings():
        tree = ast.parse(text, cell.name)
    linecache.cache[cell.name] = (len(text), None, text.splitlines(keepends=True), cell.name)  # messages can quote it
    return tree.body


_MAGIC_LINE = re.compile(r"(?m)^[ \t]*[%!?,;/]|=[ \t]*[%!]|\?[ \t]*$|^[ \t]*(?:>>>|\.\.\.|In \[)")
_MOST_MAGIC = 30
_LONGEST_WITH_MAGIC = 20_000  # characters


def _is_python(text: str) -> bool:
    try:
        with _without_warnings():
            ast.parse(text)
    except _INVALID:
        return False
    return True


def _without_magic(text: str) -> str:
    """Python for a notebook's cell: `%%time` is taken away, other magic becomes a call.

    Raises ValueError for more magic than anybody writes: IPython reads all of the cell again for each.
    """
    from IPython.core.inputtransformer2 import TransformerManager

    if _is_python(text):
        return text
    if len(text) > _LONGEST_WITH_MAGIC or len(_MAGIC_LINE.findall(text)) > _MOST_MAGIC:
        raise ValueError("it is too long, or holds too much magic, for what is no Python")
    lines = text.splitlines(keepends=True)
    first = next((n for n, line in enumerate(lines) if line.strip()), 0)
    if lines and _PYTHON_CELLS.match(lines[first]):
        lines[first] = "\n"
        return "\n" * (first + 1) + _without_magic("".join(lines[first + 1 :]))
    lines = [re.sub(r"^(\s*)%time\s+(?=\S)", r"\1", line) for line in lines]
    blank = "\n" * first  # IPython takes these away, and the numbers of the lines with them
    return blank + TransformerManager().transform_cell("".join(lines[first:])) if lines else ""


def _invalid(cell: Cell, error: BaseException) -> str:
    line = getattr(error, "lineno", None) or "?"
    text = getattr(error, "msg", None) or str(error) or "it is nested too deeply"
    return f"{cell.name}, line {line}: not valid Python: {text}"


def _statement(node: ast.stmt, cell: Cell, flags: int) -> Statement:
    with _without_warnings():
        return _compiled_statement(node, cell, flags)


def _compiled_statement(node: ast.stmt, cell: Cell, flags: int) -> Statement:
    code = compile(ast.Module([node], type_ignores=[]), cell.name, "exec", flags, dont_inherit=True)
    without = code
    if any(_is_old_super(child) for child in ast.walk(node)):
        plain = ast.fix_missing_locations(_NoOldSuper().visit(copy.deepcopy(node)))
        without = compile(ast.Module([plain], type_ignores=[]), cell.name, "exec", flags, dont_inherit=True)
    return Statement(node, cell.name, code, frozenset(_binds(node)), frozenset(_reads(without)))


def _is_old_super(node: ast.AST) -> bool:
    """`super(Net, self)`: the name is that of the class itself, or a mistake; nothing is made from it."""
    return (
        isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "super" and bool(node.args)
    )


class _NoOldSuper(ast.NodeTransformer):
    def visit_Call(self, node: ast.Call) -> ast.AST:
        self.generic_visit(node)
        return ast.Call(node.func, [], []) if _is_old_super(node) else node


def _reads(code: CodeType) -> set[str]:
    names = {i.argval for i in dis.get_instructions(code) if i.opname in ("LOAD_NAME", "LOAD_GLOBAL")}
    return names.union(*(_reads(inner) for inner in code.co_consts if isinstance(inner, CodeType)))


def _binds(node: ast.stmt) -> set[str]:
    """The top-level names that a statement gives a value."""
    names: set[str] = set()
    for child in executed(node):
        if isinstance(child, ast.Name) and isinstance(child.ctx, ast.Store):
            names.add(child.id)
        elif isinstance(child, (ast.Import, ast.ImportFrom)):
            names |= {(alias.asname or alias.name).split(".")[0] for alias in child.names}
        elif isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            names.add(child.name)
        elif isinstance(child, ast.Subscript) and ast.unparse(child.value) in ("globals()", "vars()", "locals()"):
            if isinstance(child.slice, ast.Constant) and isinstance(child.ctx, ast.Store):
                names.add(str(child.slice.value))
        elif isinstance(child, ast.Call) and ast.unparse(child.func) in ("globals().update", "vars().update"):
            names |= {keyword.arg for keyword in child.keywords if keyword.arg}
        elif isinstance(child, ast.ExceptHandler):
            names |= {child.name} if child.name else set()
    return names


def executed(node: ast.AST, classes: bool = False) -> Iterator[ast.AST]:
    """`node` and all in it that is executed with it: not the bodies of functions; those of classes with `classes`."""
    waiting = [node]
    while waiting:
        child = waiting.pop()
        yield child
        if isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef)):
            waiting += [*child.decorator_list, *child.args.defaults, *filter(None, child.args.kw_defaults)]
        elif isinstance(child, ast.Lambda):
            waiting += [*child.args.defaults, *filter(None, child.args.kw_defaults)]
        elif isinstance(child, ast.ClassDef) and not classes:
            waiting += [*child.decorator_list, *child.bases, *child.keywords]
        else:
            waiting += ast.iter_child_nodes(child)


def _is_main_guard(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and not node.orelse and ast.unparse(node.test) in (
        "__name__ == '__main__'",
        "'__main__' == __name__",
    )  # fmt: skip


def is_star(node: ast.AST) -> bool:
    """Is it `from x import *`?"""
    return isinstance(node, ast.ImportFrom) and node.names[0].name == "*"


# -- what a piece of code changes -------------------------------------------------------------------------------------

Function = ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda

_CONTAINER = {
    *("append", "appendleft", "extend", "extendleft", "insert", "update", "add", "remove", "pop", "popleft", "popitem"),
    *("clear", "sort", "reverse", "setdefault", "discard", "rotate", "difference_update", "intersection_update"),
    *("__setitem__", "__setattr__", "__delitem__", "__delattr__", "parse_known_args"),
}
_STRUCTURE = re.compile(r"(add|register|set|remove|replace|insert|delete|del|append|put)_\w*")
_MODE = {"eval", "train", "zero_grad"}
_VALUES = {"apply", "half", "double", "float", "bfloat16", "type", "reset_parameters"}
_DRAWS = {
    *("random", "randint", "randrange", "choice", "choices", "sample", "shuffle", "uniform", "gauss", "seed", "normal"),
    *("integers", "permutation", "rand", "randn", "getrandbits", "manual_seed", "betavariate", "standard_normal"),
}
_ELSEWHERE = {"to", "cpu", "cuda", "xpu", "mps", "share_memory", "compile", "state_dict", "ipu"}
_PARTS = {
    *("modules", "children", "named_modules", "named_children", "parameters", "named_parameters", "buffers", "items"),
    *(
        "values",
        "keys",
        "get",
        "pop",
        "popitem",
        "setdefault",
        "get_submodule",
        "get_parameter",
        "get_buffer",
        "to",
        "cpu",
    ),
    *("cuda", "eval", "train", "requires_grad_", "apply", "float", "half", "double", "append", "extend", "insert"),
    *("add_argument_group", "add_subparsers", "add_parser", "add_mutually_exclusive_group", "view", "flatten", "t"),
}
_LAYER_ATTRIBUTES = {
    *("p", "inplace", "eps", "momentum", "kernel_size", "stride", "padding", "dilation", "groups", "weight", "bias"),
    *("in_features", "out_features", "num_features", "affine", "track_running_stats", "running_mean", "running_var"),
    *("negative_slope", "alpha", "dim", "start_dim", "end_dim", "output_size", "size", "scale_factor", "mode"),
    *("forward", "_modules", "_parameters", "_buffers", "num_batches_tracked", "padding_mode", "__class__"),
}
_DATA_WORDS = {
    "history",
    "losses",
    "loss",
    "acc",
    "accuracy",
    "accuracies",
    "best",
    "optimizer",
    "epoch",
    "log",
    "logs",
}
_TRAINING_WORDS = {"train", "training", "trainer", "fit", "finetune", "trials"}
_REPORTING_WORDS = {
    *_TRAINING_WORDS,
    *("test", "testing", "eval", "evaluate", "evaluation", "valid", "validate", "validation", "score", "accuracy"),
    *(
        "loss",
        "losses",
        "plot",
        "plots",
        "show",
        "print",
        "display",
        "draw",
        "visualize",
        "visualise",
        "view",
        "summary",
    ),
    *(
        "summarize",
        "summarise",
        "count",
        "profile",
        "benchmark",
        "save",
        "export",
        "dump",
        "log",
        "info",
        "debug",
        "warn",
    ),
    *("warning", "error", "predict", "prediction", "predictions", "forward", "infer", "inference", "step", "backward"),
    *(
        "measure",
        "check",
        "inspect",
        "report",
        "table",
        "stats",
        "flops",
        "flop",
        "macs",
        "confusion",
        "matrix",
        "judge",
    ),
    *(
        "capture",
        "run",
        "watch",
        "write",
        "describe",
        "info",
        "imshow",
        "savefig",
        "make",
        "graph",
        "scalar",
        "dataset",
    ),
    *(
        "loader",
        "optimizer",
        "scheduler",
        "describe",
        "dot",
        "to",
        "compare",
        "get",
        "is",
        "has",
        "analysis",
        "complexity",
    ),
}
_SILENT_PACKAGES = {
    *("torch", "torchvision", "numpy", "matplotlib", "seaborn", "pandas", "sklearn", "scipy", "tqdm", "torchinfo"),
    *("torchsummary", "torchviz", "torchmetrics", "thop", "fvcore", "ptflops", "wandb", "tensorboard", "tensorboardX"),
    *(
        "PIL",
        "IPython",
        "lab",
        "rich",
        "mlflow",
        "onnx",
        "netron",
        "plotly",
        "cv2",
        "hiddenlayer",
        "torchview",
        "pprint",
    ),
}
_SAFE_MODULES = (
    *("torch", "math", "cmath", "random", "numpy", "copy", "itertools", "functools", "collections", "operator"),
    *(
        "time",
        "tqdm",
        "time.strftime",
        "time.perf_counter",
        "datetime",
        "platform",
        "logging",
        "os.cpu_count",
        "os.getcwd",
    ),
    *("yaml.safe_load", "yaml.load", "tomllib", "toml", "sys.path", "configparser", "ast.literal_eval", "uuid"),
    *("typing", "dataclasses", "argparse", "types", "json", "os.path", "os.environ", "os.getenv", "pathlib", "enum"),
    *("re", "string", "fractions", "statistics", "heapq", "bisect", "warnings", "contextlib", "inspect", "sys.argv"),
    *("torchvision.models", "torchvision.ops", "torchvision.transforms", "lab.models", "omegaconf", "numbers", "abc"),
)
_UNSAFE = re.compile(
    r"torch\.(save|load|hub|onnx|jit|distributed|multiprocessing|autograd|optim|utils\.data|utils\.cpp|func|backends)\b"
    r"|torch\.utils\.tensorboard|numpy\.(save|load|fromfile|lib)"
)
_SAFE_BUILTINS = {
    name for name in dir(builtins) if name not in ("exec", "eval", "compile", "input", "exit", "quit", "breakpoint")
}
_TRAINS = {"backward", "step", "fit", "fit_transform", "fit_generator", "train_on_batch"}


@cache
def _known_methods() -> frozenset[str]:
    """What lists, dicts, strings, tensors and modules can do by themselves; none of it trains."""
    import argparse
    import collections

    import torch
    from torch import nn

    kinds: list[type] = [list, dict, set, str, tuple, int, float, torch.Tensor, nn.Module, Path, argparse.Namespace]
    kinds += [nn.Sequential, nn.ModuleList, nn.ModuleDict, nn.ParameterList, nn.ParameterDict, collections.deque]
    kinds += [collections.Counter, argparse.ArgumentParser, argparse._ArgumentGroup, torch.Generator, torch.device]
    names = {name for kind in kinds for name in dir(kind)}
    outside = {"backward", "write_text", "write_bytes", "unlink", "rmdir", "mkdir", "rename", "touch", "chmod"}
    return frozenset(names - _TRAINS - outside)


def words(name: str) -> set[str]:
    """train_one_epoch, TrainOneEpoch -> train, one, epoch."""
    return {word.lower() for word in re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+", name)}


_SETTERS = {"__setattr__", "__setitem__", "__delattr__", "__delitem__", "__iadd__"}


class Module:
    """What is known from the text of a module: its functions, classes and imports, and what they do to what."""

    def __init__(self, body: list[ast.stmt], folder: Path | None = None) -> None:
        self.folder = folder
        self.functions: dict[str, list[Function]] = {}
        self.classes: dict[str, list[ast.ClassDef]] = {}
        self.methods: dict[str, list[Function]] = {}
        self.imports: dict[str, str] = {}  # name -> dotted path
        self.aliases: dict[str, set[str]] = {}
        self.values: dict[str, list[ast.AST]] = {}  # name -> what it is given: add = model.append; for f in (prune,)
        self.attributes: set[str] = set()  # that something is given in this file: self.conv = ...
        self.attributes_read: set[str] = set()  # by methods of its classes that neither train nor report
        self._summaries: dict[ast.AST, dict[str, Effect]] = {}
        self._flags: dict[tuple[bool, ast.AST], bool] = {}  # (harmless or training?, function)
        self._beside: dict[str, Module | None] = {}
        for statement in body:
            self._collect(statement)
        self.aliases = self.aliases_in(body, {})
        for name, methods in self.methods.items():
            for method in methods:
                nodes = [node for node in ast.walk(method) if isinstance(node, ast.Attribute)]
                self.attributes |= {node.attr for node in nodes if isinstance(node.ctx, ast.Store)}
                if name == "forward" or not (words(name) & _REPORTING_WORDS or self._trains_when_called(method)):
                    self.attributes_read |= {node.attr for node in nodes if isinstance(node.ctx, ast.Load)}

    def _collect(self, statement: ast.stmt) -> None:
        for node in executed(statement):
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
                self.functions.setdefault(node.name, []).append(node)
            elif isinstance(node, ast.ClassDef):
                self.classes.setdefault(node.name, []).append(node)
                for inner in node.body:
                    if isinstance(inner, (ast.FunctionDef, ast.AsyncFunctionDef)):
                        self.methods.setdefault(inner.name, []).append(inner)
            elif isinstance(node, ast.Assign) and isinstance(node.value, ast.Lambda):
                for target in node.targets:
                    if isinstance(target, ast.Name):
                        self.functions.setdefault(target.id, []).append(node.value)
        for node in executed(statement):
            if isinstance(node, (ast.Assign, ast.AnnAssign, ast.NamedExpr)) and node.value is not None:
                for target in node.targets if isinstance(node, ast.Assign) else [node.target]:
                    if isinstance(target, ast.Name):
                        self.values.setdefault(target.id, []).append(node.value)
            elif isinstance(node, ast.For) and isinstance(node.target, ast.Name):
                self.values.setdefault(node.target.id, []).append(node.iter)
        for node in ast.walk(statement):  # those in functions, too: a name means one thing in a file
            if isinstance(node, ast.Import):
                for alias in node.names:
                    first = alias.name.split(".")[0]
                    self.imports[alias.asname or first] = alias.name if alias.asname else first
            elif isinstance(node, ast.ImportFrom):
                for alias in node.names:
                    self.imports[alias.asname or alias.name] = f"{node.module or ''}.{alias.name}"

    def dotted(self, node: ast.AST) -> str:
        """ "torch.nn.init.zeros_" where the expression leads to something imported; empty otherwise."""
        if isinstance(node, ast.Name):
            return self.imports.get(node.id, "")
        if isinstance(node, ast.Attribute) and (before := self.dotted(node.value)):
            return f"{before}.{node.attr}"
        return ""

    def _is_module_path(self, node: ast.AST) -> bool:
        return bool(self.dotted(node))

    def beside(self, dotted: str) -> tuple[Module, str] | None:
        """The module beside the file that a dotted path leads to, and the name in it."""
        module, _, name = dotted.lstrip(".").rpartition(".")
        if self.folder is None or not module:
            return None
        if module not in self._beside:
            self._beside[module] = None  # while it is read: two may import each other
            file = self.folder.joinpath(*module.split(".")).with_suffix(".py")
            with contextlib.suppress(OSError, *_INVALID):
                self._beside[module] = Module(ast.parse(file.read_text(encoding="utf-8-sig")).body, self.folder)
        found = self._beside[module]
        return (found, name) if found else None

    # aliases

    def roots(self, node: ast.AST | None, local: dict[str, set[str]]) -> set[str]:
        """The names whose object the value of an expression may be, contain, or be a part of."""
        if isinstance(node, ast.Name):
            return self._resolved(node.id, local)
        if isinstance(node, (ast.Attribute, ast.Subscript, ast.Starred, ast.Await)):
            return self.roots(node.value, local)
        if isinstance(node, ast.NamedExpr):
            return self.roots(node.value, local) | self.roots(node.target, local)
        if isinstance(node, ast.Call):
            of_arguments = self._of_all([*node.args, *(k.value for k in node.keywords)], local)
            if isinstance(node.func, ast.Attribute) and not self._is_module_path(node.func):
                return self.roots(node.func.value, local) if _gives_a_part(node.func.attr) else set()
            dotted = self.dotted(node.func)
            if dotted and dotted.split(".")[0] not in ("torch", "copy", "itertools", "functools", "collections"):
                return set()
            return set() if dotted.startswith(("torch.optim", "torch.utils", "copy.deepcopy")) else of_arguments
        if isinstance(node, (ast.Tuple, ast.List, ast.Set)):
            return self._of_all(node.elts, local)
        if isinstance(node, ast.Dict):
            return self._of_all(node.values, local)
        if isinstance(node, (ast.ListComp, ast.SetComp, ast.GeneratorExp)):
            return self.roots(node.elt, local)
        if isinstance(node, ast.DictComp):
            return self.roots(node.value, local)
        if isinstance(node, ast.IfExp):
            return self.roots(node.body, local) | self.roots(node.orelse, local)
        if isinstance(node, ast.BoolOp):
            return self._of_all(node.values, local)
        if isinstance(node, ast.BinOp):
            return self.roots(node.left, local) | self.roots(node.right, local)
        return set()

    def _of_all(self, nodes: Iterable[ast.AST], local: dict[str, set[str]]) -> set[str]:
        return set().union(*(self.roots(node, local) for node in nodes))

    def _resolved(self, name: str, local: dict[str, set[str]]) -> set[str]:
        seen: set[str] = set()
        waiting = [name]
        while waiting:
            one = waiting.pop()
            if one not in seen:
                seen.add(one)
                waiting += local.get(one, self.aliases.get(one, set()) if one not in local else ())
        return seen

    def aliases_in(self, body: Iterable[ast.AST], local: dict[str, set[str]]) -> dict[str, set[str]]:
        """name -> the names that it may stand for, from the assignments, loops and `with` in `body`."""
        found: dict[str, set[str]] = {name: set(values) for name, values in local.items()}

        def note(target: ast.AST, values: set[str]) -> None:
            if isinstance(target, ast.Name):
                found.setdefault(target.id, set()).update(values - {target.id})
            elif isinstance(target, (ast.Tuple, ast.List)):
                for part in target.elts:
                    note(part, values)
            elif isinstance(target, ast.Starred):
                note(target.value, values)
            elif isinstance(target, (ast.Attribute, ast.Subscript)):  # what is put in becomes a part
                for root in self.roots(target.value, {}):
                    for value in values:
                        found.setdefault(value, set()).update({root} - {value})

        for statement in body:
            for node in executed(statement, classes=True):
                if isinstance(node, ast.Assign):
                    values = self._direct(node.value)
                    for target in node.targets:
                        others = {t.id for t in node.targets if isinstance(t, ast.Name) and t is not target}
                        note(target, values | others)
                elif isinstance(node, (ast.AnnAssign, ast.NamedExpr, ast.AugAssign)) and node.value is not None:
                    note(node.target, self._direct(node.value))
                elif isinstance(node, (ast.For, ast.AsyncFor, ast.comprehension)):
                    note(node.target, self._direct(node.iter))
                elif isinstance(node, ast.withitem) and node.optional_vars is not None:
                    note(node.optional_vars, self._direct(node.context_expr))
        return found

    def _direct(self, node: ast.AST) -> set[str]:
        known, self.aliases = self.aliases, {}
        try:
            return {name for name in self.roots(node, {}) if name not in self.imports}
        finally:
            self.aliases = known

    # effects

    def effects(self, node: ast.AST, local: dict[str, set[str]] | None = None) -> dict[str, Effect]:
        """What executing `node` may do to which names: top-level ones, and those that `local`, of a call, knows."""
        inside = local is not None
        found: dict[str, Effect] = {}
        light: dict[ast.AST, Effect] = {}  # attributes whose value is known to be no layer
        local = local or {}

        def note(names: Iterable[str], effect: Effect) -> None:
            for name in names:
                found[name] = max(effect, found.get(name, Effect.NONE))

        for child in ast.walk(node) if inside else executed(node, classes=True):
            if isinstance(child, ast.Assign):
                for target in child.targets:
                    if isinstance(target, ast.Attribute) and not self._makes_module(child.value, local):
                        light[target] = self._attribute(target.attr)
            if isinstance(child, (ast.Attribute, ast.Subscript)) and isinstance(child.ctx, (ast.Store, ast.Del)):
                effect = light.get(child, Effect.STRUCTURE)
                if isinstance(child, ast.Subscript) and any(
                    isinstance(part, ast.Attribute) and part.attr in ("data", "grad", "weight", "bias")
                    for part in ast.walk(child.value)
                ):
                    effect = Effect.VALUES
                note(self.roots(child.value, local), effect)
            elif isinstance(child, ast.AugAssign) and isinstance(child.target, ast.Name):  # in place, for a list
                note([child.target.id], Effect.STRUCTURE)
            elif isinstance(child, ast.Global):
                note(child.names, Effect.STRUCTURE)
            elif isinstance(child, ast.Attribute) and child.attr in _CONTAINER and not self._is_module_path(child):
                inner = child.value
                effect = self._attribute(inner.attr) if isinstance(inner, ast.Attribute) else Effect.STRUCTURE
                note(self.roots(inner, local), effect)  # called here, or handed on: map(a.append, b)
            elif isinstance(child, ast.Call):
                for names, effect in self._call(child, local):
                    note(names, effect)
            elif isinstance(child, (ast.FunctionDef, ast.ClassDef)):
                for decorator in child.decorator_list:  # a registry, or one that calls what it decorates
                    if isinstance(decorator, ast.Name):
                        own = [child] if isinstance(child, ast.FunctionDef) else []
                        for function in [*self.functions.get(decorator.id, ()), *own]:
                            if self.functions.get(decorator.id):
                                for name, effect in self._globals(function).items():
                                    note([name], effect)
            elif isinstance(child, ast.withitem) and isinstance(child.context_expr, ast.Call):
                for name, effect in self._on_entering(child.context_expr.func):
                    note([name], effect)
        return found

    def _attribute(self, name: str) -> Effect:
        """What it means to give the attribute `name` a value that is no layer: does a network read it?"""
        if name in ("grad", "data", "training", "requires_grad"):
            return Effect.VALUES
        matters = name in _LAYER_ATTRIBUTES or name in self.attributes_read or not self.attributes_read
        return Effect.STRUCTURE if matters and not (words(name) & _DATA_WORDS) else Effect.VALUES

    def _makes_module(self, value: ast.AST, local: dict[str, set[str]]) -> bool:
        if isinstance(value, ast.Name):
            return value.id in local and not local[value.id]  # a parameter: who knows
        calls = [node.func for node in ast.walk(value) if isinstance(node, ast.Call)]
        return any(
            self.dotted(call).startswith("torch.nn.") or (isinstance(call, ast.Name) and call.id in self.classes)
            for call in calls
        )

    def _call(self, call: ast.Call, local: dict[str, set[str]]) -> Iterator[tuple[set[str], Effect]]:
        arguments = [*call.args, *(keyword.value for keyword in call.keywords)]
        for argument in arguments:  # model.apply(init), list(map(init, model.children()))
            for function in self._functions_of(argument):
                others = [other for other in arguments if other is not argument]
                receiver = [call.func.value] if isinstance(call.func, ast.Attribute) else []
                effect = max(self.summary(function).values(), default=Effect.NONE)
                yield self._of_all([*others, *receiver], local) - set(self.imports), effect
                for changed, effect in self._globals(function).items():
                    yield {changed}, effect
        yield from self._called(call, call.func, local, depth=0)

    def _called(
        self, call: ast.Call, callee: ast.AST, local: dict[str, set[str]], depth: int
    ) -> Iterator[tuple[set[str], Effect]]:
        """What the call does if it is `callee` that is called; a variable may stand for a function or a method."""
        if depth > 5:
            return
        if dotted := self.dotted(callee):
            yield from self._library_call(call, dotted, local)
        elif isinstance(callee, ast.Name) and callee.id in self.functions.keys() | self.classes.keys():
            yield from self._name_call(call, callee.id, local)
        elif isinstance(callee, ast.Name) and callee.id in self.values and callee.id not in local:
            for value in self.values[callee.id]:
                yield from self._called(call, value, local, depth + 1)
        elif isinstance(callee, ast.Name):
            yield from self._name_call(call, callee.id, local)
        elif isinstance(callee, ast.Attribute):
            if depth and callee.attr in _CONTAINER:
                yield self.roots(callee.value, local), Effect.STRUCTURE
            yield from self._method_call(call, callee, local)
        elif isinstance(callee, (ast.Tuple, ast.List)):  # for f in (prune, widen)
            for part in callee.elts:
                yield from self._called(call, part, local, depth + 1)
        elif isinstance(callee, ast.Subscript) and isinstance(callee.value, ast.Name):  # OPERATIONS["prune"](model)
            for value in self.values.get(callee.value.id, ()):
                parts = value.values if isinstance(value, ast.Dict) else getattr(value, "elts", [])
                for part in parts:
                    yield from self._called(call, part, local, depth + 1)
        elif isinstance(callee, ast.Lambda):
            yield from self._into(call, self.summary(callee), callee, local, skip=0)
        elif isinstance(callee, ast.Call):
            yield from self._made_and_called(call, callee, local, depth)

    def _made_and_called(
        self, call: ast.Call, maker: ast.Call, local: dict[str, set[str]], depth: int
    ) -> Iterator[tuple[set[str], Effect]]:
        """What a call does to what is made by another: partial(f, x)(y), getattr(x, "append")(y), Class()(x)."""
        made = self.dotted(maker.func).split(".")[-1] or getattr(maker.func, "id", "")
        if made == "partial" and maker.args:
            keywords = [*maker.keywords, *call.keywords]
            whole = ast.Call(maker.args[0], [*maker.args[1:], *call.args], keywords)
            yield from self._called(whole, maker.args[0], local, depth + 1)
        elif made == "getattr" and len(maker.args) > 1:
            name = maker.args[1].value if isinstance(maker.args[1], ast.Constant) else "append"  # who knows: the worst
            method = ast.Attribute(maker.args[0], str(name), ast.Load())
            yield from self._called(call, method, local, depth + 1)
        elif made == "methodcaller":
            yield self._of_all(call.args, local), Effect.STRUCTURE
        for node in self.classes.get(made, ()):
            for function in node.body:
                if isinstance(function, ast.FunctionDef) and function.name == "__call__":
                    yield from self._into(call, self.summary(function), function, local, skip=1)
                    for changed, effect in self._globals(function).items():
                        yield {changed}, effect
        for outer in self.functions.get(made, ()):  # a function that makes functions
            for inner in ast.walk(outer):
                if isinstance(inner, (ast.FunctionDef, ast.Lambda)) and inner is not outer:
                    yield from self._into(call, self.summary(inner), inner, local, skip=0)

    def _on_entering(self, callee: ast.AST) -> Iterator[tuple[str, Effect]]:
        """What `with Class():` does to the module's own names."""
        for node in self.classes.get(getattr(callee, "id", ""), ()):
            for function in node.body:
                if isinstance(function, ast.FunctionDef) and function.name in ("__enter__", "__exit__"):
                    yield from self._globals(function).items()

    def _library_call(
        self, call: ast.Call, dotted: str, local: dict[str, set[str]]
    ) -> Iterator[tuple[set[str], Effect]]:
        of_arguments = self._of_all([*call.args, *(k.value for k in call.keywords)], local)
        name = dotted.split(".")[-1]
        root = next(n.id for n in ast.walk(call.func) if isinstance(n, ast.Name))
        if (found := self.beside(dotted)) and (found[0].functions.get(found[1]) or found[0].classes.get(found[1])):
            yield from self._functions_call(call, found[0], found[1], local, own=False)
            theirs = [e for f in found[0]._functions_named(found[1]) for e in found[0]._globals(f).values()]
            yield {root}, max(theirs, default=Effect.NONE)
        elif dotted.startswith("torch.nn.") and (name in _CONTAINER or name in _SETTERS or _STRUCTURE.fullmatch(name)):
            yield self._of_all(call.args[:1], local), Effect.STRUCTURE  # nn.Sequential.append(model, layer)
        elif name in ("seed", "manual_seed", "manual_seed_all") or dotted.startswith("sys.path."):
            yield {root}, Effect.VALUES
        elif dotted.startswith(("random.", "numpy.random.")):  # the next draw is another one
            yield {root}, Effect.VALUES
            yield of_arguments, Effect.STRUCTURE if name == "shuffle" else Effect.NONE
        elif dotted in ("operator.setitem", "operator.delitem") or dotted.startswith(("heapq.", "bisect.insort")):
            yield of_arguments, Effect.STRUCTURE
        elif dotted.startswith("torch.nn.init."):
            yield of_arguments, Effect.VALUES
        elif dotted.startswith(("torch.nn.utils.", "torch.ao.")) and not name.startswith(
            ("clip_grad", "parameters_to")
        ):
            yield of_arguments, Effect.VALUES if name.startswith("vector_to") else Effect.STRUCTURE
        elif dotted.split(".")[0] not in _SILENT_PACKAGES | sys.stdlib_module_names and not (
            words(name) & _REPORTING_WORDS
        ):
            yield of_arguments, Effect.UNKNOWN

    def _name_call(self, call: ast.Call, name: str, local: dict[str, set[str]]) -> Iterator[tuple[set[str], Effect]]:
        if name in self.functions or name in self.classes:
            yield from self._functions_call(call, self, name, local, own=True)
        elif name in ("setattr", "delattr") and call.args:
            yield self.roots(call.args[0], local), Effect.STRUCTURE
        elif name == "next":
            yield self._of_all(call.args, local), Effect.VALUES
        elif name in ("exec", "eval"):
            texts = [a.value for a in call.args if isinstance(a, ast.Constant) and isinstance(a.value, str)]
            mentioned = {word for text in texts for word in re.findall(r"[^\W\d]\w*", text)}
            yield self._of_all(call.args, local) | mentioned, Effect.STRUCTURE

    def _functions_call(
        self, call: ast.Call, module: Module, name: str, local: dict[str, set[str]], own: bool
    ) -> Iterator[tuple[set[str], Effect]]:
        functions = module._functions_named(name)
        for function in functions:
            method = not isinstance(function, ast.Lambda) and name in module.classes
            yield from self._into(call, module.summary(function), function, local, skip=int(method))
            if own:
                for changed, effect in module._globals(function).items():
                    yield {changed}, effect

    def _functions_named(self, name: str) -> list[Function]:
        made = [f for node in self.classes.get(name, ()) for f in node.body if getattr(f, "name", "") == "__init__"]
        return [*self.functions.get(name, ()), *(f for f in made if isinstance(f, ast.FunctionDef))]

    def _functions_of(self, argument: ast.AST) -> list[Function]:
        if isinstance(argument, ast.Lambda):
            return [argument]
        return self.functions.get(argument.id, []) if isinstance(argument, ast.Name) else []

    def _into(
        self, call: ast.Call, summary: dict[str, Effect], function: Function, local: dict[str, set[str]], skip: int
    ) -> Iterator[tuple[set[str], Effect]]:
        """What a function does to its parameters, told of the arguments of this call."""
        arguments = function.args
        names = [a.arg for a in [*arguments.posonlyargs, *arguments.args]][skip:]
        for index, value in enumerate(call.args):
            if isinstance(value, ast.Starred) or index >= len(names):
                rest = names[index:] + ([arguments.vararg.arg] if arguments.vararg else [])
                effect = max((summary.get(n, Effect.NONE) for n in rest), default=Effect.NONE)
            else:
                effect = summary.get(names[index], Effect.NONE)
            yield self.roots(value, local), effect
        for keyword in call.keywords:
            known = keyword.arg in [*names, *(a.arg for a in arguments.kwonlyargs)]
            name = keyword.arg if known else arguments.kwarg.arg if arguments.kwarg else ""
            yield self.roots(keyword.value, local), summary.get(name or "", Effect.NONE)

    def _method_call(
        self, call: ast.Call, method: ast.Attribute, local: dict[str, set[str]]
    ) -> Iterator[tuple[set[str], Effect]]:
        name, receiver = method.attr, self.roots(method.value, local)
        if isinstance(method.value, ast.Name) and method.value.id in ("list", "dict", "set", "object"):
            yield self._of_all(call.args[:1], local), Effect.STRUCTURE  # list.append(layers, layer)
        if name in _SETTERS:
            yield receiver, Effect.STRUCTURE
        if name in self.methods:
            for function in self.methods[name]:
                summary = self.summary(function)
                own = [a.arg for a in [*function.args.posonlyargs, *function.args.args]][:1]
                yield receiver, summary.get(own[0], Effect.NONE) if own else Effect.NONE
                yield from self._into(call, summary, function, local, skip=1)
                for changed, effect in self._globals(function).items():
                    yield {changed}, effect
        elif name == "train" and not _is_mode(call):
            yield receiver, Effect.NONE  # somebody's own training
        elif name in _MODE:
            yield receiver, Effect.MODE
        elif name in _ELSEWHERE or name in _CONTAINER:  # the latter are seen as attributes
            return
        elif name == "load_state_dict":
            yield receiver, Effect.UNKNOWN
        elif _STRUCTURE.fullmatch(name) and not words(name) & {"scalar", "graph", "figure"}:
            yield receiver, Effect.STRUCTURE
        elif name in _VALUES or name in _DRAWS or (name.endswith("_") and not name.endswith("__")):
            yield receiver, Effect.VALUES
        elif name in self.attributes or (isinstance(method.value, ast.Name) and method.value.id == "self"):
            return  # a layer is called
        elif name not in _known_methods() and not words(name) & _REPORTING_WORDS:
            arguments = self._of_all([*call.args, *(k.value for k in call.keywords)], local)
            yield receiver | arguments, Effect.UNKNOWN

    def summary(self, function: Function) -> dict[str, Effect]:
        """What a function does to what its parameters get."""
        return {name: e for name, e in self._effects_of(function).items() if name in _parameters(function)}

    def _globals(self, function: Function) -> dict[str, Effect]:
        """What a function does to the module's own names, unless one of its own hides them."""
        own = _parameters(function) | {
            n.id for n in ast.walk(function) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)
        }
        declared = {name for n in ast.walk(function) if isinstance(n, ast.Global) for name in n.names}
        return {name: e for name, e in self._effects_of(function).items() if name in declared or name not in own}

    def _effects_of(self, function: Function) -> dict[str, Effect]:
        if function not in self._summaries:
            self._summaries[function] = {}  # of itself, while it is looked into: functions may call each other
            local: dict[str, set[str]] = {name: set() for name in _parameters(function)}
            body = [function.body] if isinstance(function, ast.Lambda) else function.body
            self._summaries[function] = self.effects(function, self.aliases_in(body, local))
        return self._summaries[function]

    # harm

    def is_harmless(self, statement: ast.AST) -> bool:
        """Is all that it calls known to be quick and to leave the world outside alone?"""
        return self._all_harmless(executed(statement, classes=True))

    def _harmless_to_call(self, function: Function) -> bool:
        if (True, function) not in self._flags:
            self._flags[True, function] = True  # of itself, while it is looked into
            self._flags[True, function] = self._all_harmless(ast.walk(function))
        return self._flags[True, function]

    def _all_harmless(self, nodes: Iterable[ast.AST]) -> bool:
        for child in nodes:
            if isinstance(child, (ast.Await, ast.AsyncFor, ast.AsyncWith)):
                return False
            if isinstance(child, ast.While) and isinstance(child.test, ast.Constant):
                return False
            if isinstance(child, ast.Call) and not self._is_harmless_call(child):
                return False
        return True

    def _is_harmless_call(self, call: ast.Call) -> bool:
        is_kept = isinstance(call.func, ast.Name) and call.func.id == "setattr"
        handed_on = [] if is_kept else [f for argument in call.args for f in self._functions_of(argument)]
        if not all(self._harmless_to_call(function) for function in handed_on):
            return False
        if dotted := self.dotted(call.func):
            if found := self.beside(dotted):
                return all(found[0]._harmless_to_call(f) for f in found[0]._functions_named(found[1]))
            return not _UNSAFE.match(dotted) and any(dotted == m or dotted.startswith(f"{m}.") for m in _SAFE_MODULES)
        if isinstance(call.func, ast.Name):
            name = call.func.id
            if name in self.functions or name in self.classes:
                return all(self._harmless_to_call(function) for function in self._functions_named(name))
            if name == "open":
                return len(call.args) < 2 and not any(k.arg == "mode" for k in call.keywords)
            return name in _SAFE_BUILTINS or not hasattr(builtins, name)
        if isinstance(call.func, ast.Attribute):
            name = call.func.attr
            if name in self.methods:
                return all(self._harmless_to_call(function) for function in self.methods[name])
            if name == "train":
                return _is_mode(call)
            if name in self.attributes or (isinstance(call.func.value, ast.Name) and call.func.value.id == "self"):
                return name not in _TRAINS and not words(name) & _TRAINING_WORDS
            return name in _known_methods() | _CONTAINER | _DRAWS or bool(_STRUCTURE.fullmatch(name))
        return True

    def trains(self, statement: ast.AST) -> bool:
        """Does it, or a function of the file that it calls, train something?"""
        return self._any_trains(executed(statement, classes=True))

    def _trains_when_called(self, function: Function) -> bool:
        if (False, function) not in self._flags:
            self._flags[False, function] = False
            self._flags[False, function] = self._any_trains(ast.walk(function))
        return self._flags[False, function]

    def _any_trains(self, nodes: Iterable[ast.AST]) -> bool:
        return any(self._trains_call(node) for node in nodes if isinstance(node, ast.Call))

    def _trains_call(self, call: ast.Call) -> bool:
        if dotted := self.dotted(call.func):
            if found := self.beside(dotted):
                return any(found[0]._trains_when_called(f) for f in found[0]._functions_named(found[1]))
            name = dotted.split(".")[-1]
            return name.islower() and bool(words(name) & _TRAINING_WORDS)
        if isinstance(call.func, ast.Name):
            return any(self._trains_when_called(function) for function in self._functions_named(call.func.id))
        if isinstance(call.func, ast.Attribute):
            name = call.func.attr
            if name in self.methods:
                return any(self._trains_when_called(function) for function in self.methods[name])
            return name in _TRAINS or (name == "train" and not _is_mode(call))
        return False


def _gives_a_part(method: str) -> bool:
    """May the result of the method be its object, or a part of it?"""
    return method in _PARTS or not (method in _known_methods() or words(method) & (_REPORTING_WORDS - {"get"}))


def _parameters(function: Function) -> set[str]:
    a = function.args
    return {one.arg for one in [*a.posonlyargs, *a.args, *a.kwonlyargs, *filter(None, [a.vararg, a.kwarg])]}


def _is_mode(call: ast.Call) -> bool:
    """Is `x.train(...)` nn.Module's own: no argument, or True or False?"""
    values = [*call.args, *(keyword.value for keyword in call.keywords)]
    return not values or (len(values) == 1 and isinstance(values[0], (ast.Constant, ast.UnaryOp, ast.Compare)))


# -- the search -------------------------------------------------------------------------------------------------------


class _Search:
    """Goes from the wanted names back to all that makes and changes them."""

    def __init__(self, source: Source, wanted: set[str]) -> None:
        self.source, self.scope = source, source.scope
        self.names = set(wanted) | {name for name, path in self.scope.imports.items() if path == "sys"}  # sys.path
        self.taken = {n for n, s in enumerate(source.statements) if is_star(s.node)}
        self.notes: dict[int, str] = {}
        self.refused: dict[int, str] = {}
        self.effects = source.effects
        self.fixed = source.fixed

    def selection(self) -> Selection:
        before = -1
        while before != (before := len(self.taken) + len(self.names)):
            for index, statement in enumerate(self.source.statements):
                if index not in self.taken and index not in self.refused and index not in self.notes:
                    self._look_at(index, statement)
        statements = [self.source.statements[n] for n in sorted(self.taken)]
        return Selection(tuple(statements), (*self._twice(statements), *self._sorted(self.notes), *self._skipped()),
                         (*self._sorted(self.refused), *self._broken()))  # fmt: skip

    def _look_at(self, index: int, statement: Statement) -> None:
        binds = statement.binds & self.names
        changes = {n: e for n, e in self.effects[index].items() if n in self.names}
        changes = {n: e for n, e in changes.items() if e == Effect.STRUCTURE or n not in self.fixed}  # global n
        effect = max(changes.values(), default=Effect.NONE)
        if binds and not self.scope.trains(statement.node):
            self._take(index, statement)
        elif binds and effect < Effect.STRUCTURE and self._made_before(index, binds):
            self.notes[index] = f"{statement.where}: `{statement.text}` trains and was not run."
        elif binds:
            name = sorted(binds)[0]
            self.refused[index] = (
                f"{statement.where}: `{statement.text}` trains, so it was not run; {name} comes from it."
            )
        elif effect == Effect.MODE and not _is_plain_call(statement.node):  # an evaluation
            return
        elif effect and self.scope.is_harmless(statement.node):
            self._take(index, statement)
        elif effect == Effect.STRUCTURE:
            self.refused[index] = f"{statement.where}: `{statement.text}` may change the network and was not run"
        elif effect == Effect.UNKNOWN:
            self.notes[index] = (
                f"{statement.where}: `{statement.text}` was not run. If it changes the network, that is not seen."
            )

    def _take(self, index: int, statement: Statement) -> None:
        self.taken.add(index)
        self.names |= statement.reads

    def _made_before(self, index: int, names: frozenset[str]) -> bool:
        before = self.source.statements[:index]
        return all(any(name in s.binds and not self.scope.trains(s.node) for s in before) for name in names)

    def _sorted(self, messages: dict[int, str]) -> list[str]:
        return [messages[n] for n in sorted(messages)]

    def _twice(self, statements: list[Statement]) -> list[str]:
        """A class or function that is defined more than once: the last one counts, as in a kernel."""
        last: dict[str, list[Statement]] = {}
        for s in statements:
            if isinstance(s.node, (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
                last.setdefault(s.node.name, []).append(s)
        return [
            f"{found[-1].where}: {name} is defined {len(found)} times; the last one counts."
            for name, found in last.items()
            if len(found) > 1
        ]

    def _skipped(self) -> list[str]:
        return [f"{b.message}: this cell was skipped." for b in self.source.broken if not self._needs(b)]

    def _broken(self) -> list[str]:
        return [b.message for b in self.source.broken if self._needs(b)]

    def _needs(self, broken: Broken) -> bool:
        return any(broken.mentions(name) for name in self.names)


def _is_plain_call(node: ast.stmt) -> bool:
    """Is it `model.eval()`, and nothing else?"""
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Call) and not isinstance(node.value.func, ast.Name)


def _fixed(statements: list[Statement]) -> set[str]:
    """Names that stand for plain values only: no call changes a number or a text."""
    values: dict[str, list[ast.AST | None]] = {}
    for s in statements:
        for node in executed(s.node):
            if isinstance(node, ast.Assign):
                for target in node.targets:
                    for part in ast.walk(target):
                        if isinstance(part, ast.Name) and isinstance(part.ctx, ast.Store):
                            values.setdefault(part.id, []).append(node.value)
        for name in s.binds:
            values.setdefault(name, [])
    plain = (ast.Constant, ast.Tuple, ast.UnaryOp, ast.BinOp, ast.unaryop, ast.operator, ast.expr_context)
    return {
        name
        for name, given in values.items()
        if given and all(value is not None and all(isinstance(p, plain) for p in ast.walk(value)) for value in given)
    }
