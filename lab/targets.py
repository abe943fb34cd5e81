"""Which network does a TARGET name?

    net.py, net.py:Net             a class (or function, or variable) in a Python file
    lab.ipynb, lab.ipynb:Net       the same in a notebook
    package.module:callable        anything importable that gives an nn.Module
    folder/ or folder/graph.json   a saved graph

Of a file or a notebook only the definitions are executed that the network needs: imports, functions, classes and the
constants that they use. A training run at the top level is left alone.
"""

import __future__

import ast
import contextlib
import copy
import dis
import importlib
import json
import linecache
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any

from torch import nn

from lab._capture.messages import students_line
from lab.errors import GraphError, LabError
from lab.graph import Graph, capture, load


class TargetError(LabError):
    """A TARGET that names no network."""


HELP = "TARGET is file.py, file.py:Class, notebook.ipynb, a saved graph's folder, or package.module:callable."


def resolve(target: str, input_shape: tuple[int, int, int] = (1, 28, 28)) -> Graph:
    """The graph of the network that `target` names, on images of `input_shape`.

    Raises TargetError where there is none, GraphError where it can't be captured.
    """
    if is_saved(target):
        return _saved(target)
    try:
        return capture(network(target), input_shape)
    except NotImplementedError as error:  # an exercise
        raise TargetError(f"{target} is not written yet{_raised(error)}.") from error


def is_saved(target: str) -> bool:
    """Does `target` name a saved graph?"""
    return Path(target).name == "graph.json" or os.path.isdir(target)  # unlike Path.is_dir, False for any nonsense


def _saved(target: str) -> Graph:
    folder = Path(target) if os.path.isdir(target) else Path(target).parent
    if not (folder / "graph.json").is_file():
        raise TargetError(f"{folder} holds no saved graph: there is no graph.json in it. {HELP}")
    return load(folder)


def network(target: str) -> nn.Module:
    """The network itself, newly built. Raises TargetError."""
    if is_saved(target):
        return _saved(target).build()
    file, _, name = (target, "", "") if Path(target).suffix in (".py", ".ipynb") else target.rpartition(":")
    if not file:
        raise TargetError(f"{target!r} names no network. {HELP}")
    if Path(file).suffix in (".py", ".ipynb"):
        return _from_source(Path(file), name, target)
    return _build(_imported(file, name, target), target)


def _imported(module: str, name: str, target: str) -> Any:
    path = list(sys.path)
    sys.path.insert(0, "")  # like `python -m`: modules of the current folder count
    try:
        found = importlib.import_module(module)
        for part in name.split("."):
            found = getattr(found, part)
        return found
    except (ImportError, AttributeError, SyntaxError) as error:  # each names the place itself
        raise TargetError(f"{target!r}: {error}. {HELP}") from error
    except (Exception, SystemExit) as error:  # whatever the module raises has to become a message
        raise TargetError(f"{target!r}: importing {module} fails{_raised(error)}") from error
    finally:
        sys.path[:] = path


def _build(found: Any, target: str) -> nn.Module:
    """A module of its own: a copy of the one that `found` is, or what `found` makes when it is called."""
    if not callable(found):
        raise TargetError(f"{target}: {type(found).__name__} is neither an nn.Module nor something that makes one.")
    try:
        made = copy.deepcopy(found) if isinstance(found, nn.Module) else found()
    except (Exception, SystemExit) as error:  # whatever the constructor raises has to become a message
        advice = "It is built without arguments; give each a default."
        raise TargetError(f"{target}: building the network fails{_raised(error)}. {advice}") from error
    if not isinstance(made, nn.Module):
        raise TargetError(f"{target} gives a {type(made).__name__}, not an nn.Module.")
    return made


def _raised(error: BaseException) -> str:
    """The person's own line that raised, where there is one, and what it raised."""
    trace = error.__traceback__ and error.__traceback__.tb_next  # the first frame is this module's
    where = f" at {students_line(trace)}" if trace else ""
    return f"{where}: {type(error).__name__}: {error}"


# -- Python files and notebooks ---------------------------------------------------------------------------------------


def _from_source(path: Path, name: str, target: str) -> nn.Module:
    """What the class, function or variable called `name` gives; without a name, the file's one network class."""
    statements = _statements(path)
    if name and not any(name in statement.binds for statement in statements):
        classes = ", ".join(_network_classes(statements)) or "none"
        raise TargetError(f"{path} defines no {name!r}. Network classes in it: {classes}.")
    wanted = [name] if name else _network_classes(statements)
    if not wanted:
        raise TargetError(f"{path} defines no network: no class derived from nn.Module.")
    if len(wanted) > 1:
        choices = " or ".join(f"{path}:{choice}" for choice in wanted)
        raise TargetError(f"{path} defines several networks; say which: {choices}")
    if [s.node.name for s in statements if isinstance(s.node, ast.ClassDef)].count(wanted[0]) > 1:
        raise TargetError(f"{path} defines {wanted[0]!r} more than once; keep one, or rename one of them.")
    with _beside(path):
        return _build(_execute(path, _needed(statements, wanted[0]), wanted[0]), target)


@contextlib.contextmanager
def _beside(file: Path) -> Iterator[None]:
    """What lies beside `file` can be imported, and is forgotten afterwards: another folder may use the same names."""
    folder, path, known = file.resolve().parent, list(sys.path), set(sys.modules)
    sys.path.insert(0, str(folder))
    try:
        yield
    finally:
        sys.path[:] = path
        new = {name: module for name, module in sys.modules.items() if name not in known}
        local = {name for name, module in new.items() if _lies_in(folder, module)}
        for name in new:
            if name.split(".")[0] in local:
                del sys.modules[name]


def _lies_in(folder: Path, module: ModuleType) -> bool:
    """Is it a module, or a package, directly in `folder`?"""
    file = Path(getattr(module, "__file__", None) or next(iter(getattr(module, "__path__", [])), "/"))
    return folder == (file.parent if file.name == "__init__.py" else file).parent


@dataclass(frozen=True)
class _Statement:
    """One statement at the top level of a file, or of a notebook's cell."""

    node: ast.stmt
    code: CodeType  # of this statement alone
    binds: set[str]  # the top-level names that it gives a value, or changes


def _statements(path: Path) -> list[_Statement]:
    parsed = [(node, file) for file, text in _cells(path) for node in _parse(text, file)]
    flags = ast.PyCF_ALLOW_TOP_LEVEL_AWAIT  # a notebook may; here such a cell is read and not run
    if any(isinstance(node, ast.ImportFrom) and node.module == "__future__" for node, _ in parsed):
        flags |= __future__.annotations.compiler_flag  # the one that a supported Python does not have anyway
    statements = []
    for node, file in parsed:
        with _valid_python(file):
            code = compile(ast.Module([node], type_ignores=[]), file, "exec", flags, dont_inherit=True)
            statements.append(_Statement(node, code, _binds(node)))
    return statements


def _cells(path: Path) -> list[tuple[str, str]]:
    """(name for messages, Python text) of a file, or of each code cell of a notebook."""
    try:
        text = path.read_text(encoding="utf-8-sig")
        if path.suffix == ".py":
            return [(str(path), text)]
        cells = json.loads(text)["cells"]
        sources = ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]
    except OSError as error:
        raise TargetError(f"cannot read {path}: {error.strerror}. {HELP}") from error
    except UnicodeDecodeError as error:
        raise TargetError(f"{path} is not text in UTF-8: {error.reason}.") from error
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise TargetError(f"{path} is not a notebook: {error!r}.") from error
    from IPython.core.inputtransformer2 import TransformerManager

    cells = []
    for n, source in enumerate(sources, 1):
        file = f"{path.name}, code cell {n}"
        with _valid_python(file):
            cells.append((file, TransformerManager().transform_cell(source)))  # %magic, !command
    return cells


def _parse(text: str, file: str) -> list[ast.stmt]:
    with _valid_python(file):
        tree = ast.parse(text, file)
    linecache.cache[file] = (len(text), None, text.splitlines(keepends=True), file)  # so that messages can quote it
    return tree.body


@contextlib.contextmanager
def _valid_python(file: str) -> Iterator[None]:
    try:
        yield
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:  # MemoryError: too deep for the parser
        line = getattr(error, "lineno", None) or "?"
        text = getattr(error, "msg", None) or str(error) or "it is nested too deeply"
        raise TargetError(f"{file}, line {line}: not valid Python: {text}.") from error


def _binds(node: ast.stmt) -> set[str]:
    """The top-level names that a statement gives a value, or changes: x = 1; x["a"] = 1; x.a = 1."""
    names: set[str] = set()
    for child in _outside_functions(node):
        if isinstance(child, ast.Name) and isinstance(child.ctx, ast.Store):
            names.add(child.id)
        elif isinstance(child, (ast.Import, ast.ImportFrom)):
            names |= {(alias.asname or alias.name).split(".")[0] for alias in child.names}
        elif isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            names.add(child.name)
    for target in node.targets if isinstance(node, ast.Assign) else ():
        while isinstance(target, (ast.Attribute, ast.Subscript)):
            target = target.value
        names |= {target.id} if isinstance(target, ast.Name) else set()
    return names


def _outside_functions(node: ast.AST) -> Iterator[ast.AST]:
    waiting = [node]
    while waiting:
        child = waiting.pop()
        yield child
        if not isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Lambda)):
            waiting += ast.iter_child_nodes(child)


def _reads(code: CodeType) -> set[str]:
    """The top-level names that the code looks up, itself or in a function that it defines."""
    names = {i.argval for i in dis.get_instructions(code) if i.opname in ("LOAD_NAME", "LOAD_GLOBAL")}
    return names.union(*(_reads(inner) for inner in code.co_consts if isinstance(inner, CodeType)))


def _network_classes(statements: list[_Statement]) -> list[str]:
    """Classes derived from nn.Module that no other of them is built from: networks, not their blocks."""
    classes = {s.node.name: s.node for s in statements if isinstance(s.node, ast.ClassDef)}

    def is_module(node: ast.ClassDef, seen: tuple[str, ...] = ()) -> bool:
        bases = [ast.unparse(base).split(".")[-1] for base in node.bases]
        own = [classes[base] for base in bases if base in classes and base not in seen]
        known = {"Module", "Sequential", "LabNet", "SeedNet"}
        return bool(known.intersection(bases)) or any(is_module(base, (*seen, node.name)) for base in own)

    modules = [name for name, node in classes.items() if is_module(node)]
    used = {name for own in modules for s in _needed(statements, own) for name in s.binds if name != own}
    return [name for name in modules if name not in used]


def _needed(statements: list[_Statement], name: str) -> list[_Statement]:
    """The statements, in order, that `name` is made from."""
    needed: set[int] = set()
    waiting = [name]
    while waiting:
        wanted = waiting.pop()
        for index, statement in enumerate(statements):
            if index not in needed and wanted in statement.binds:
                needed.add(index)
                waiting += _reads(statement.code)
    return [s for index, s in enumerate(statements) if index in needed or _is_star(s.node)]


def _is_star(node: ast.stmt) -> bool:
    return isinstance(node, ast.ImportFrom) and node.names[0].name == "*"


def _execute(path: Path, statements: list[_Statement], name: str) -> Any:
    """Run the statements in a module of their own and return what `name` is in it."""
    module = ModuleType("lab_target")
    module.__file__ = str(path)
    sys.modules[module.__name__] = module  # dataclasses look their module up
    try:
        for statement in statements:
            exec(statement.code, module.__dict__)  # a person's own file, on their own machine: no grade is decided here
        return getattr(module, name)
    except GraphError:
        raise
    except (Exception, SystemExit) as error:  # whatever the file raises has to become a message
        raise TargetError(f"{path}: running what {name} needs fails{_raised(error)}") from error
