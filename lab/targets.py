"""Which network does a TARGET name?

    net.py, net.py:Net             a class (or function, or variable) in a Python file
    lab.ipynb, lab.ipynb:Net       the same in a notebook
    package.module:callable        anything importable that gives an nn.Module
    folder/ or folder/graph.json   a saved graph

Of a file or a notebook only the definitions are executed that the network needs: imports, functions, classes and the
constants that they use. A training run at the top level is left alone.
"""

import ast
import importlib
import json
import linecache
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

from torch import nn

from lab.errors import GraphError, LabError
from lab.graph import Graph, capture, load
from lab.trace import students_line


class TargetError(LabError):
    """A TARGET that names no network."""


HELP = "TARGET is file.py, file.py:Class, notebook.ipynb, a saved graph's folder, or package.module:callable."


def resolve(target: str, input_shape: tuple[int, int, int] = (1, 28, 28)) -> Graph:
    """The graph of the network that `target` names, on images of `input_shape`.

    Raises TargetError where there is none, GraphError where it can't be captured.
    """
    if is_saved(target):
        return load(target if Path(target).is_dir() else Path(target).parent)
    return capture(network(target), input_shape)


def is_saved(target: str) -> bool:
    """Does `target` name a saved graph?"""
    return Path(target).name == "graph.json" or Path(target).is_dir()


def network(target: str) -> nn.Module:
    """The network itself, newly built. Raises TargetError."""
    if is_saved(target):
        return load(target if Path(target).is_dir() else Path(target).parent).build()
    file, _, name = (target, "", "") if Path(target).suffix in (".py", ".ipynb") else target.rpartition(":")
    if not file:
        raise TargetError(f"{target!r} names no network. {HELP}")
    if Path(file).suffix in (".py", ".ipynb"):
        return _build(_from_source(Path(file), name), target)
    try:
        sys.path.insert(0, "")  # like `python -m`: modules of the current folder count
        found = importlib.import_module(file)
        for part in name.split("."):
            found = getattr(found, part)
    except (ImportError, AttributeError) as error:
        raise TargetError(f"{target!r}: {error}. {HELP}") from error
    finally:
        sys.path.remove("")
    return _build(found, target)


def _build(found: Any, target: str) -> nn.Module:
    """The module that `found` is, or makes when it is called without arguments."""
    if isinstance(found, nn.Module):
        return found
    if not callable(found):
        raise TargetError(f"{target}: {type(found).__name__} is neither an nn.Module nor something that makes one.")
    try:
        made = found()
    except Exception as error:  # whatever the constructor raises has to become a message
        where = students_line(error.__traceback__)
        raise TargetError(
            f"{target}: building the network fails at {where}: {type(error).__name__}: {error}. "
            "It is built without arguments; give each a default."
        ) from error
    if not isinstance(made, nn.Module):
        raise TargetError(f"{target} gives a {type(made).__name__}, not an nn.Module.")
    return made


# -- Python files and notebooks ---------------------------------------------------------------------------------------


def _from_source(path: Path, name: str) -> Any:
    """The class, function or variable that `name` is; without a name, the file's one network class."""
    cells = _cells(path)
    statements = [(node, file) for file, text in cells for node in _parse(text, file)]
    defined = [node for node, _ in statements]
    if name and not any(name in _binds(node) for node in defined):
        classes = ", ".join(_network_classes(defined)) or "none"
        raise TargetError(f"{path} defines no {name!r}. Network classes in it: {classes}.")
    wanted = [name] if name else _network_classes(defined)
    if not wanted:
        raise TargetError(f"{path} defines no network: no class derived from nn.Module.")
    if len(wanted) > 1:
        choices = " or ".join(f"{path}:{choice}" for choice in wanted)
        raise TargetError(f"{path} defines several networks; say which: {choices}")
    if defined_twice := [n for n in wanted if sum(isinstance(d, ast.ClassDef) and d.name == n for d in defined) > 1]:
        raise TargetError(f"{path} defines {defined_twice[0]!r} more than once; keep one, or rename one of them.")
    return _execute(path, _needed(statements, wanted[0]), wanted[0])


def _cells(path: Path) -> list[tuple[str, str]]:
    """(name for messages, Python text) of a file, or of each code cell of a notebook."""
    try:
        text = path.read_text(encoding="utf-8")
        if path.suffix == ".py":
            return [(str(path), text)]
        cells = json.loads(text)["cells"]
        sources = [cell["source"] for cell in cells if cell["cell_type"] == "code"]
    except OSError as error:
        raise TargetError(f"cannot read {path}: {error.strerror}. {HELP}") from error
    except UnicodeDecodeError as error:
        raise TargetError(f"{path} is not text in UTF-8: {error.reason}.") from error
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise TargetError(f"{path} is not a notebook: {error!r}.") from error
    from IPython.core.inputtransformer2 import TransformerManager

    to_python = TransformerManager()
    named = [(f"{path.name}, code cell {n}", "".join(source)) for n, source in enumerate(sources, 1)]
    return [(file, to_python.transform_cell(source)) for file, source in named]  # %magic, !command


def _parse(text: str, file: str) -> list[ast.stmt]:
    try:
        tree = ast.parse(text, file)
    except (SyntaxError, ValueError, RecursionError) as error:
        line = getattr(error, "lineno", "?")
        raise TargetError(f"{file}, line {line}: not valid Python: {getattr(error, 'msg', error)}.") from error
    linecache.cache[file] = (len(text), None, text.splitlines(keepends=True), file)  # so that messages can quote it
    return tree.body


def _binds(node: ast.stmt) -> set[str]:
    """The top-level names that a statement gives a value."""
    if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
        return {node.name}
    names: set[str] = set()
    for child in _outside_functions(node):
        if isinstance(child, ast.Name) and isinstance(child.ctx, ast.Store):
            names.add(child.id)
        elif isinstance(child, (ast.Import, ast.ImportFrom)):
            names |= {(alias.asname or alias.name).split(".")[0] for alias in child.names}
        elif isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            names.add(child.name)
    return names


def _outside_functions(node: ast.AST) -> Iterator[ast.AST]:
    yield node
    if not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Lambda)):
        for child in ast.iter_child_nodes(node):
            yield from _outside_functions(child)


def _reads(node: ast.AST) -> set[str]:
    return {n.id for n in ast.walk(node) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Load)}


def _network_classes(statements: list[ast.stmt]) -> list[str]:
    """Classes derived from nn.Module that no other of them is built from: networks, not their blocks."""
    classes = {node.name: node for node in statements if isinstance(node, ast.ClassDef)}

    def is_module(node: ast.ClassDef, seen: tuple[str, ...] = ()) -> bool:
        bases = [ast.unparse(base).split(".")[-1] for base in node.bases]
        own = [classes[base] for base in bases if base in classes and base not in seen]
        known = {"Module", "Sequential", "LabNet", "SeedNet"}
        return bool(known.intersection(bases)) or any(is_module(base, (*seen, node.name)) for base in own)

    modules = {name: node for name, node in classes.items() if is_module(node)}
    used = {name for own, node in modules.items() for name in _reads(node) if name != own}
    return [name for name in modules if name not in used]


def _needed(statements: list[tuple[ast.stmt, str]], name: str) -> list[tuple[ast.stmt, str]]:
    """The statements, in order, that `name` is made from."""
    needed: set[int] = set()
    waiting, known = [name], set()
    while waiting:
        wanted = waiting.pop()
        known.add(wanted)
        for index, (node, _) in enumerate(statements):
            if index not in needed and wanted in _binds(node):
                needed.add(index)
                waiting += [read for read in _reads(node) if read not in known]
    stars = (ast.ImportFrom, ast.Import)
    return [
        (node, file)
        for index, (node, file) in enumerate(statements)
        if index in needed or (isinstance(node, stars) and any(alias.name == "*" for alias in node.names))
    ]


def _execute(path: Path, statements: list[tuple[ast.stmt, str]], name: str) -> Any:
    """Run the statements in a module of their own and return what `name` is in it."""
    module = ModuleType("lab_target")
    module.__file__ = str(path)
    sys.modules[module.__name__] = module  # dataclasses look their module up
    sys.path.insert(0, str(path.resolve().parent))
    try:
        for node, file in statements:
            code = compile(ast.Module([node], type_ignores=[]), file, "exec")
            exec(code, module.__dict__)  # a person's own file, on their own machine: no grade is decided here
    except GraphError:
        raise
    except Exception as error:  # whatever the file raises has to become a message
        where = students_line(error.__traceback__)
        raise TargetError(f"{where}: {type(error).__name__}: {error}") from error
    finally:
        sys.path.remove(str(path.resolve().parent))
    return getattr(module, name)
