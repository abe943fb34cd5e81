"""Of the cells between the exercises, what an answer may need: definitions, and helpers made by a call; no training."""

import ast
import dis
import warnings
from collections.abc import Iterable
from types import CodeType

_TRAINS = frozenset(["fit", "train", "train_each", "trial", "trials", "backward", "step", "run_lab", "live_curves"])
_DEFINITIONS = (ast.Import, ast.ImportFrom, ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
_MAKES = (ast.Assign, ast.AnnAssign, ast.AugAssign, ast.Expr, ast.For, ast.With, ast.If, ast.Try)


class Helpers:
    """Decides for all of a notebook's cells, once it knows what its answers and checks read."""

    def __init__(self, cells: Iterable[str], answers: Iterable[str]) -> None:
        """cells: the sources of the cells between; answers: those of answers and checks."""
        statements = [node for source in cells for node in parsed(source)]
        self._modules = {
            name for node in statements if isinstance(node, ast.Import | ast.ImportFrom) for name in _made(node)
        }
        self._training = _training(statements)
        self._needed = set().union(*(_read(node) for source in answers for node in parsed(source)))
        known = -1
        while known != len(self._needed):
            known = len(self._needed)
            for node in statements:
                if self._needed & self._changed(node):
                    self._needed |= _read(node)

    def of(self, source: str) -> list[str]:
        """The statements of a cell that are executed, each by itself: one may fail."""
        return [ast.unparse(node) for node in parsed(source) if self._is_executed(node)]

    def _is_executed(self, node: ast.stmt) -> bool:
        if isinstance(node, _DEFINITIONS) or _is_constant(node):
            return True
        wanted = isinstance(node, _MAKES) and self._needed & self._changed(node)
        return bool(wanted) and not _called(node) & self._training

    def _changed(self, node: ast.stmt) -> set[str]:
        """The names that a statement gives a value, or changes by calling a method: names.append(1)."""
        if not isinstance(node, ast.Expr):
            return _made(node)
        called = node.value.func if isinstance(node.value, ast.Call) else None
        return {_base(called)} - self._modules - {""} if isinstance(called, ast.Attribute) else set()


def parsed(source: str) -> list[ast.stmt]:
    """The statements of a cell; none where it is not Python."""
    from IPython.core.inputtransformer2 import TransformerManager

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of the student's own code
            return ast.parse(TransformerManager().transform_cell(source)).body  # %magic, !command
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return []


def defined(source: str) -> set[str]:
    """The functions, classes and variables that a cell gives their names; imports do not count."""
    return set().union(*(_made(node) for node in parsed(source) if not isinstance(node, ast.Import | ast.ImportFrom)))


def made(source: str) -> set[str]:
    """All names that a cell gives a value, imports too."""
    return set().union(*map(_made, parsed(source)))


def read(source: str) -> set[str]:
    """The names that a cell reads."""
    return set().union(*map(_read, parsed(source)))


def _training(statements: list[ast.stmt]) -> set[str]:
    """The names of what trains: the lab's, and functions of one's own that call them."""
    parts = [part for node in statements for part in ast.walk(node)]
    functions = [part for part in parts if isinstance(part, ast.FunctionDef | ast.AsyncFunctionDef)]
    names, known = set(_TRAINS), 0
    while known != len(names):
        known = len(names)
        names |= {function.name for function in functions if _called(function) & names}
    return names


def _called(node: ast.stmt) -> set[str]:
    """The last name of everything that is called: `net.fit(…)` -> fit. `net.train()` only sets the mode."""
    calls = [part for part in ast.walk(node) if isinstance(part, ast.Call)]
    return {
        name
        for call in calls
        for name in [str(getattr(call.func, "attr", "") or getattr(call.func, "id", ""))]
        if not (isinstance(call.func, ast.Attribute) and name == "train" and not call.args)
    }


def _made(node: ast.stmt) -> set[str]:
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        return {node.name}
    if isinstance(node, ast.Import | ast.ImportFrom):
        return {(alias.asname or alias.name).split(".")[0] for alias in node.names}
    stored = [part for part in ast.walk(node) if isinstance(getattr(part, "ctx", None), ast.Store)]
    return {_base(part) for part in stored} - {""}


def _base(node: ast.AST) -> str:
    """`x` of x.a[0].b; empty where it is no name."""
    while isinstance(node, ast.Attribute | ast.Subscript):
        node = node.value
    return node.id if isinstance(node, ast.Name) else ""


def _read(node: ast.stmt) -> set[str]:
    """The top-level names that a statement looks up, itself or in a function; local ones do not count."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of the student's own code
            code = compile(ast.Module([node], []), "cell", "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT, dont_inherit=True)
    except (SyntaxError, ValueError):
        return set()
    return _looked_up(code)


def _looked_up(code: CodeType) -> set[str]:
    names = {i.argval for i in dis.get_instructions(code) if i.opname in ("LOAD_NAME", "LOAD_GLOBAL")}
    return names.union(*(_looked_up(inner) for inner in code.co_consts if isinstance(inner, CodeType)))


def _is_constant(node: ast.stmt) -> bool:
    """Does it give a name to something that is worked out without a call (the body of a lambda is not executed)?"""
    if not isinstance(node, ast.Assign | ast.AnnAssign) or node.value is None:
        return False
    waiting: list[ast.AST] = [node.value]
    while waiting:
        part = waiting.pop()
        if isinstance(part, ast.Call | ast.Await):
            return False
        waiting += () if isinstance(part, ast.Lambda) else ast.iter_child_nodes(part)
    return True
