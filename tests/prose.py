"""What the project's texts print as code: commands, code spans, and the answers to every *To do*."""

import re
from collections.abc import Iterator
from pathlib import Path

import nbformat

ROOT = Path(__file__).parent.parent
TEXTS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "notebooks" / "book").glob("*.md"))]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("[!_]*.py"))
_FENCED = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_SPAN = re.compile(r"(?<!`)`([^`\n]+)`(?!`)")


def cells(source: Path) -> list[nbformat.NotebookNode]:
    """Of a notebook's source."""
    import jupytext

    return list(jupytext.read(source).cells)


def markdown(path: Path) -> list[str]:
    """The texts of a file: itself, or a notebook's cells."""
    if path.suffix == ".md":
        return [path.read_text(encoding="utf-8")]
    return [cell.source for cell in cells(path) if cell.cell_type == "markdown"]


def fenced(text: str, language: str) -> list[str]:
    """The blocks of code in a language."""
    return [body for kind, body in _FENCED.findall(text) if kind == language]


def spans(text: str) -> list[str]:
    """Code inside a line; a span that was broken over two lines is none."""
    return _SPAN.findall(_FENCED.sub("", text))


def printed_commands() -> Iterator[tuple[str, str]]:
    """Every command of the lab's that a text prints, with the file that prints it; each once."""
    seen = set()
    for path in [*TEXTS, *NOTEBOOKS]:
        for text in markdown(path):
            lines = [line for block in fenced(text, "sh") for line in block.splitlines()]
            for line in [*lines, *spans(text)]:
                command = " ".join(re.sub(r"\s#.*", "", line).split())
                if re.match(r"(python -m )?lab [a-z]", command) and command not in seen and "…" not in command:
                    seen.add(command)
                    yield path.name, command
