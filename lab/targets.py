"""Which network does a TARGET name?

    net.py, net.py:Net             a class (or function, or variable) in a Python file
    lab.ipynb, lab.ipynb:Net       the same in a notebook
    package.module:callable        anything importable that gives an nn.Module
    folder/ or folder/graph.json   a saved graph

Of a file or a notebook only the definitions are executed that the network needs, and what changes them
(lab.definitions says how that is told). A training run at the top level is left alone.
"""

import argparse
import ast
import contextlib
import copy
import importlib
import os
import re
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from torch import nn

from lab import definitions
from lab._capture.messages import students_line
from lab.errors import GraphError, LabError
from lab.graph import TO_TRAIN, Budget, Graph, capture, load


class TargetError(LabError):
    """A TARGET that names no network."""


HELP = "TARGET is file.py, file.py:Class, notebook.ipynb, a saved graph's folder, or package.module:callable."


@dataclass(frozen=True)
class Found:
    """The network that a TARGET names, and what the person should know about the choice."""

    module: nn.Module
    notes: tuple[str, ...] = ()


def resolve(target: str, input_shape: tuple[int, int, int] = (1, 28, 28), budget: Budget = TO_TRAIN) -> Graph:
    """The graph of the network that `target` names, on images of `input_shape`; notes are printed on stderr.

    Raises TargetError where there is none, GraphError where it can't be captured, and for a saved one that needs more
    than the budget.
    """
    if is_saved(target):
        return _saved(target, budget)
    try:
        return capture(network(target), input_shape)
    except NotImplementedError as error:  # an exercise
        raise TargetError(f"{target} is not written yet{_raised(error)}.") from error


def is_saved(target: str) -> bool:
    """Does `target` name a saved graph?"""
    return Path(target).name == "graph.json" or os.path.isdir(target)  # unlike Path.is_dir, False for any nonsense


def _saved(target: str, budget: Budget = TO_TRAIN) -> Graph:
    folder = Path(target) if os.path.isdir(target) else Path(target).parent
    if not (folder / "graph.json").is_file():
        raise TargetError(f"{folder} holds no saved graph: there is no graph.json in it. {HELP}")
    return load(folder, budget)


def network(target: str) -> nn.Module:
    """The network itself, newly built; notes are printed on stderr. Raises TargetError."""
    found = find(target)
    for note in found.notes:
        print(f"Note: {note}", file=sys.stderr)
    return found.module


def find(target: str) -> Found:
    """The network that `target` names, newly built, with notes for the person. Raises TargetError."""
    if is_saved(target):
        return Found(_saved(target).build())
    file, _, name = (target, "", "") if Path(target).suffix in (".py", ".ipynb") else target.rpartition(":")
    if not file:
        raise TargetError(f"{target!r} names no network. {HELP}")
    if Path(file).suffix in (".py", ".ipynb"):
        try:
            return _File(Path(file)).find(name, target)
        except RecursionError as error:
            raise TargetError(f"{file}: its code is nested too deeply to be read.") from error
    return Found(_build(_imported(file, name, target), target))


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


def _build(found: Any, target: str, instead: str = "", copied: Callable[..., Any] = copy.deepcopy) -> nn.Module:
    """A module of its own: a copy of the one that `found` is, or what `found` makes when it is called.

    `instead` says what else can be named where it can't be called without arguments.
    """
    if not callable(found):
        raise TargetError(f"{target}: {type(found).__name__} is neither an nn.Module nor something that makes one.")
    try:
        made = copied(found) if isinstance(found, nn.Module) else found()
    except (Exception, SystemExit) as error:  # whatever the constructor raises has to become a message
        calling = isinstance(error, TypeError) and error.__traceback__ and error.__traceback__.tb_next is None
        advice = f" It is built without arguments; give each a default{instead}." if calling else ""
        raise TargetError(f"{target}: building the network fails{_raised(error)}.{advice}") from error
    if not isinstance(made, nn.Module):
        raise TargetError(f"{target} gives a {type(made).__name__}, not an nn.Module.")
    return made


def _raised(error: BaseException) -> str:
    """The person's own line that raised, where there is one, and what it raised."""
    trace = error.__traceback__ and error.__traceback__.tb_next  # the first frame is this module's
    line = students_line(trace) if trace else ""
    where = f" at {line}" if line else ""
    return f"{where}: {type(error).__name__}: {error}"


# -- Python files and notebooks ---------------------------------------------------------------------------------------

_NETWORK_BASES = {"Module", "Sequential", "LabNet", "SeedNet", "LightningModule", "ModuleList", "ModuleDict"}
_OTHER_BASES = {
    "object",
    "Dataset",
    "Enum",
    "IntEnum",
    "ABC",
    "Exception",
    "NamedTuple",
    "Protocol",
    "TypedDict",
    "dict",
}


class _File:
    """A Python file or a notebook in which a network is looked for."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            cells = definitions.cells(path)
        except definitions.DefinitionsError as error:
            help_ = f" {HELP}" if str(error).startswith("cannot read") else ""
            raise TargetError(f"{error}{help_}") from error
        self.source = definitions.parse(cells, path.resolve().parent)
        if self.source.broken and path.suffix == ".py":
            raise TargetError(f"{self.source.broken[0].message}.")
        self.classes = {
            node.name: node
            for s in self.source.statements
            for node in definitions.executed(s.node)
            if isinstance(node, ast.ClassDef)
        }

    def find(self, name: str, target: str) -> Found:
        """What the class, function or variable called `name` gives; without a name, the file's one network."""
        with _beside(self.path):
            notes: list[str] = []
            if name and not self._defines(name):
                raise TargetError(self._no_such_name(name))
            if not name:
                name, notes = self._only_network()
            selection = self.source.select({name})
            if selection.refused:
                raise TargetError(f"{selection.refused[0].rstrip('.')}.{self._advice(selection.refused[0])}")
            instead = "".join(f", or name {self.path}:{v.name} ({v.where})" for v in self._variables_of(name)[:1])
            made = _build(self._execute(selection.statements, name), target, instead, lambda new: new)
        return Found(made, (*notes, *selection.notes))

    @staticmethod
    def _advice(message: str) -> str:
        if "may change the network" not in message:
            return "" if "not valid Python" in message else " Give the network's definition a statement of its own."
        return " Make the change in the class, or in a statement or function that does nothing else."

    def _defines(self, name: str) -> bool:
        made_by_call = any(effects.get(name) == definitions.Effect.STRUCTURE for effects in self.source.effects)
        return made_by_call or any(name in s.binds for s in self.source.statements)  # `global model` in a function

    def _no_such_name(self, name: str) -> str:
        for broken in self.source.broken:
            if broken.mentions(name):
                return f"{broken.message}."
        if name in self.source.guarded:
            return f"{self.path}: {self._guarded(name)}"
        classes = ", ".join(self._network_classes()) or "none"
        variables = ", ".join(v.name for v in self._variables())
        found = f"Network classes in it: {classes}." + (f" Variables: {variables}." if variables else "")
        return f"{self.path} defines no {name!r}. {found}"

    # which one is meant

    def _only_network(self) -> tuple[str, list[str]]:
        """The name of the file's one network, and notes."""
        for broken in self.source.broken:
            if re.search(r"(?m)^\s*class\s+\w+\s*\(.*(Module|Sequential|Net)", broken.cell.source):
                raise TargetError(f"{broken.message}.")
        classes, variables = self._network_classes(), self._variables()
        notes: list[str] = []
        built_from = {v.name: self._binds_for(v.name) for v in variables if v.of is None}
        if built_from and classes and all(any(c in names for names in built_from.values()) for c in classes):
            notes = [f"the network is taken to be the variable {', '.join(built_from)}; the classes are its parts."]
            classes = []
            variables = [v for v in variables if v.of is None]
        classes = [name for name in classes if not self._takes_two(name)] or classes
        working = [name for name in classes if not self._wrong_super(name)]
        if len(classes) > len(working) == 1:
            notes = [f"{name} is left out: {self._wrong_super(name)}." for name in classes if name not in working]
            classes = working
        wanted = classes or list(dict.fromkeys(v.name for v in variables))
        if not wanted:
            if self.source.broken:
                raise TargetError(f"{self.source.broken[0].message}.")
            guarded = "".join(f" {self._guarded(name)}" for name in list(self.source.guarded)[:1])
            bases = {name: ", ".join(map(ast.unparse, node.bases)) for name, node in self.classes.items()}
            others = ", ".join(f"class {name}({of})" for name, of in bases.items() if of)
            hint = self._functions() or guarded or (f" It has {others}." if others else "")
            raise TargetError(f"{self.path} defines no network: no class derived from nn.Module.{hint}")
        if len(wanted) > 1:
            choices = " or ".join(f"{self.path}:{choice}" for choice in wanted)
            raise TargetError(f"{self.path} defines several networks; say which: {choices}")
        return wanted[0], notes + (self._other_variables(wanted[0]) if classes else [])

    def _guarded(self, name: str) -> str:
        where = self.source.guarded[name]
        return f'{name} is defined under `if __name__ == "__main__"` ({where}), which is not run here: move it above.'

    def _functions(self) -> str:
        made = [name for name, found in self.source.scope.functions.items() if self._returns_network(found)]
        return f" If a function makes it, name it: {self.path}:{made[0]}." if made else ""

    def _other_variables(self, name: str) -> list[str]:
        """Variables whose network is not the one that the class gives without arguments."""
        notes = []
        for variable in self._variables_of(name):
            selection = self.source.select({variable.name})
            binding = [s for s in selection.statements if variable.name in s.binds]
            changes = [
                s for s in (*selection.statements,)
                if s not in binding and variable.name in s.reads and s.node.lineno and not s.binds
            ]  # fmt: skip
            if variable.arguments or changes or selection.refused:
                what = (
                    f"is changed afterwards ({changes[0].where}: `{changes[0].text}`)"
                    if changes
                    else "is made with arguments"
                    if variable.arguments
                    else "may be changed afterwards"
                )
                notes.append(
                    f"{name} is built here without arguments; the variable {variable.name} ({variable.where}) {what}: "
                    f"{self.path}:{variable.name} names that network."
                )
        return notes

    def _binds_for(self, name: str) -> set[str]:
        return {n for s in self.source.select({name}).statements for n in s.binds if n != name}

    def _network_classes(self) -> list[str]:
        """Classes derived from nn.Module that no other of them is built from: networks, not their blocks."""
        modules = [name for name, node in self.classes.items() if self._is_module(node)]
        used = {n for own in modules for n in self._binds_for(own)}
        return [name for name in modules if name not in used] or modules[-1:]

    def _is_module(self, node: ast.ClassDef, seen: tuple[str, ...] = ()) -> bool:
        """By the names of its bases; a base that is imported from elsewhere is imported and looked at."""
        for base in node.bases:
            name = ast.unparse(base).split(".")[-1]
            if name in self.classes and isinstance(base, ast.Name):
                if name == node.name or name in seen:
                    continue
                if self._is_module(self.classes[name], (*seen, node.name)):
                    return True
            elif name in _NETWORK_BASES or (name not in _OTHER_BASES and self._imports_module(base)):
                return True
        return False

    def _imports_module(self, base: ast.expr) -> bool:
        root = base
        while isinstance(root, (ast.Attribute, ast.Subscript, ast.Call)):
            root = root.func if isinstance(root, ast.Call) else root.value
        if not isinstance(root, ast.Name) or not isinstance(base, (ast.Name, ast.Attribute)):
            return False
        needed = self.source.select({root.id})
        if needed.refused or not needed.statements:
            return False
        names: dict[str, Any] = {"__name__": "lab_target"}
        with contextlib.suppress(Exception, SystemExit):  # the class itself will fail, with a message, where it is used
            for statement in needed.statements:
                exec(statement.code, names)
            found = eval(compile(ast.Expression(base), str(self.path), "eval"), names)
            return isinstance(found, type) and issubclass(found, nn.Module)
        return False

    def _takes_two(self, name: str) -> bool:
        """Does its forward need more than images: a loss?"""
        forward = [f for f in self.classes[name].body if isinstance(f, ast.FunctionDef) and f.name == "forward"]
        return any(len(f.args.posonlyargs + f.args.args) - len(f.args.defaults) > 2 for f in forward)

    def _wrong_super(self, name: str) -> str:
        """Where the class calls `super(Other, self)` of a class that it is not derived from: it can't be built."""
        node, own, waiting = self.classes[name], set(), [name]
        while waiting:
            one = waiting.pop()
            if one not in own:
                own.add(one)
                known = self.classes.get(one)
                waiting += [ast.unparse(base) for base in known.bases] if known else []
        for call in ast.walk(node):
            if isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and call.func.id == "super" and call.args:
                first = call.args[0]
                if isinstance(first, ast.Name) and first.id in self.classes and first.id not in own:
                    where = next(s for s in self.source.statements if any(n is node for n in ast.walk(s.node)))
                    return f"{where.cell}, line {call.lineno}: `{ast.unparse(call)}` names another class"
        return ""

    def _variables(self) -> list["_Variable"]:
        """Top-level variables that a call gives a network, which no other of them is built from."""
        found: dict[str, _Variable] = {}
        for s in self.source.statements:
            if self.source.scope.trains(s.node):
                continue
            for node in definitions.executed(s.node):
                if isinstance(node, ast.Assign) and len(node.targets) == 1:
                    target: ast.AST = node.targets[0]
                elif isinstance(node, (ast.AnnAssign, ast.NamedExpr)):
                    target = node.target
                else:
                    continue
                if isinstance(target, ast.Name) and node.value is not None and self._gives_network(node.value):
                    call = _innermost(node.value)
                    of = call.func.id if isinstance(call.func, ast.Name) and call.func.id in self.classes else None
                    before = found.get(target.id)
                    if before is None or of or self.source.scope.dotted(call.func):
                        found[target.id] = _Variable(target.id, s.where, of, bool(call.args or call.keywords))
        used = {n for name in found for n in self._binds_for(name)}
        return [v for v in found.values() if v.name not in used] or list(found.values())[-1:]

    def _variables_of(self, name: str) -> list["_Variable"]:
        return [v for v in self._variables() if v.of == name]

    def _gives_network(self, value: ast.AST, depth: int = 0) -> bool:
        if isinstance(value, ast.NamedExpr):
            return self._gives_network(value.value, depth)
        if not isinstance(value, ast.Call) or depth > 5:
            return False
        dotted = self.source.scope.dotted(value.func)
        last = dotted.split(".")[-1]
        if dotted in ("torch.compile", "torch.nn.DataParallel", "copy.deepcopy"):
            return bool(value.args) and self._gives_network(value.args[0], depth + 1)
        if dotted.startswith("torch.nn.") and last[:1].isupper():
            return not last.endswith(("Loss", "Parameter")) and ".functional." not in dotted
        if dotted:
            return dotted.startswith(("torchvision.models.", "timm.create_model", "lab.models.", "torch.hub.load"))
        if isinstance(value.func, ast.Name):
            name = value.func.id
            if name in self.classes:
                return self._is_module(self.classes[name])
            return self._returns_network(self.source.scope.functions.get(name, []), depth)
        if isinstance(value.func, ast.Attribute):
            return value.func.attr in _GIVES_ITSELF and self._gives_network(value.func.value, depth + 1)
        return False

    def _returns_network(self, functions: Iterable[definitions.Function], depth: int = 0) -> bool:
        """Does a function return a call that gives a network, or a variable that has one?"""
        for function in functions:
            if isinstance(function, ast.Lambda):
                if self._gives_network(function.body, depth + 1):
                    return True
                continue
            given = {
                target.id: node.value
                for node in ast.walk(function) if isinstance(node, ast.Assign)
                for target in node.targets if isinstance(target, ast.Name)
            }  # fmt: skip
            for node in ast.walk(function):
                if isinstance(node, ast.Return) and node.value is not None:
                    value = given.get(node.value.id, node.value) if isinstance(node.value, ast.Name) else node.value
                    if self._gives_network(value, depth + 1):
                        return True
        return False

    # its execution

    def _execute(self, statements: Iterable[definitions.Statement], name: str) -> Any:
        """Run the statements in a module of their own and return what `name` is in it."""
        module = ModuleType("lab_target")
        module.__file__ = str(self.path)
        sys.modules[module.__name__] = module  # dataclasses look their module up
        arguments, sys.argv = sys.argv, [str(self.path)]  # a parser sees no arguments
        try:
            for statement in statements:
                exec(statement.code, module.__dict__)  # a person's own file: no grade is decided here
            return getattr(module, name)
        except GraphError:
            raise
        except (Exception, SystemExit) as error:  # whatever the file raises has to become a message
            parser = _parser_says(error)
            raise TargetError(f"{self.path}: running what {name} needs fails{_raised(error)}{parser}") from error
        finally:
            sys.argv = arguments


_GIVES_ITSELF = {"to", "cpu", "cuda", "eval", "train", "float", "double", "half", "requires_grad_", "apply"}


@dataclass(frozen=True)
class _Variable:
    """A variable at the top level whose value is a network."""

    name: str
    where: str
    of: str | None  # the class of the file that it is made from directly
    arguments: bool


def _innermost(value: ast.expr) -> ast.Call:
    """Net(3) in Net(3).to(device).eval()."""
    while isinstance(value, ast.NamedExpr):
        value = value.value
    assert isinstance(value, ast.Call)
    while isinstance(value.func, ast.Attribute) and isinstance(value.func.value, ast.Call):
        value = value.func.value
    return value


def _parser_says(error: BaseException) -> str:
    """What to do where argparse ended the program."""
    trace = error.__traceback__
    while trace is not None and isinstance(error, SystemExit):
        if trace.tb_frame.f_code.co_filename == argparse.__file__:
            return ". The file is read without command-line arguments: give each a default, and none required=True."
        trace = trace.tb_next
    return ""


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
