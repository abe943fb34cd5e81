"""How the book's pages differ from the files that they are made of, and whether all their links lead somewhere.

A Sphinx extension: Sphinx calls the functions that `setup` lists, each at its moment of the build.
"""

import json
import shutil
from collections.abc import Iterable, Iterator
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

from docutils import nodes
from sphinx.addnodes import download_reference, pending_xref
from sphinx.application import Sphinx
from sphinx.errors import ExtensionError

ROOT = Path(__file__).parent.parent.parent
RESULT_TYPE = "application/vnd.lab994.result+json"  # as in lab.notebook, which the book can be built without
REPOSITORY = "https://github.com/the-994-lab/the-994-lab/blob/main"
CONTENTS = """
```{toctree}
:glob:
:maxdepth: 1
:caption: In this book

notebooks/book/student
notebooks/book/teacher
notebooks/book/author
notebooks/book/operator
notebooks/mnist_994_solved
notebooks/*
benchmarks/RESULTS
```
"""


def setup(app: Sphinx) -> dict[str, bool]:
    """Called by Sphinx."""
    app.connect("source-read", add_contents)
    app.connect("source-read", prepare_notebook)
    app.connect("doctree-read", stay_on_this_server)
    app.connect("doctree-read", link_to_the_repository, priority=100)  # before Sphinx copies what is linked to
    app.connect("build-finished", finish)
    return {"parallel_read_safe": True}


def add_contents(app: Sphinx, docname: str, source: list[str]) -> None:
    """The first page lists the others, below its introduction."""
    if docname == app.config.root_doc:
        source[0] = source[0].replace("\n## ", f"{CONTENTS}\n## ", 1)


def prepare_notebook(app: Sphinx, docname: str, source: list[str]) -> None:
    """A notebook's pictures become files, each with the words for it that the notebook has beside it.

    What runs by itself (`lab.explore`, `lab.draw`) stays as it is.
    """
    if not str(app.env.doc2path(docname)).endswith(".ipynb"):
        return
    notebook = json.loads(source[0])
    for cell in notebook["cells"]:
        for output in cell.get("outputs", []):
            kinds = output.get("data", {})
            kinds.pop(RESULT_TYPE, None)  # for machines
            if "<script" in "".join(kinds.get("text/html", "")):
                kinds.pop("image/png", None)  # the same once more, as a picture: the page runs its network by itself
            elif "image/png" in kinds:
                kinds.pop("text/html", None)  # the same picture once more, inside the page
                cell["metadata"]["mystnb"] = {"image": {"alt": "".join(kinds["text/plain"])}}
    source[0] = json.dumps(notebook)


def stay_on_this_server(app: Sphinx, doctree: nodes.document) -> None:
    """A picture on another server (a badge) gives way to its words."""
    for image in list(doctree.findall(nodes.image)):
        if "://" in image["uri"]:
            image.replace_self(nodes.Text(image["alt"]))


def link_to_the_repository(app: Sphinx, doctree: nodes.document) -> None:
    """A link to a file or folder that is no page of the book leads to the repository."""
    folder = Path(app.env.doc2path(app.env.docname)).parent
    for link in [node for node in doctree.findall() if isinstance(node, download_reference | pending_xref)]:
        target = (folder / link["reftarget"]).resolve()
        if link.get("reftype") == "myst" and target.exists():
            address = f"{REPOSITORY}/{target.relative_to(ROOT).as_posix()}"
            link.replace_self(nodes.reference("", "", *link.children, refuri=address))


def finish(app: Sphinx, exception: Exception | None) -> None:
    """The first page is index.html as well. Raises ExtensionError where a link leads nowhere."""
    if exception is not None or app.builder.format != "html":
        return
    shutil.copyfile(app.outdir / f"{app.config.root_doc}.html", app.outdir / "index.html")
    broken = list(broken_links(app.outdir))
    if broken:
        raise ExtensionError("links that lead nowhere:\n" + "\n".join(broken))


def broken_links(folder: Path) -> Iterator[str]:
    """Every link on the HTML pages below `folder` to a file or an anchor that is not there, or that is no address."""
    pages = {path.resolve(): Page(path) for path in folder.rglob("*.html") if "_static" not in path.parts}
    for path, page in pages.items():
        for link in page.links:
            reason = _fault(path, link, pages)
            if reason:
                yield f"{path.relative_to(folder.resolve())}: {link}: {reason}"


def _fault(path: Path, link: str, pages: "dict[Path, Page]") -> str:
    """What is wrong with a link, if anything. Other servers are not asked: `make links` does that."""
    parts = urlsplit(link)
    if parts.scheme or parts.netloc:
        good = parts.scheme in ("http", "https") and "." in parts.netloc and not set(link) & set(' <>"{}')
        return "" if good or parts.scheme in ("data", "mailto") else "no address"
    target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
    if not target.is_file():
        return "there is no such file"
    if parts.fragment and target in pages and unquote(parts.fragment) not in pages[target].anchors:
        return "there is no such anchor"
    return ""


class Page(HTMLParser):
    """What a page links to and loads, the anchors that it has, and its pictures' words."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.links: list[str] = []
        self.loaded: list[str] = []  # what a browser fetches to show the page
        self.anchors: set[str] = {"", "top"}
        self.words: list[tuple[str, str]] = []  # address, alt
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: Iterable[tuple[str, str | None]]) -> None:
        """Called for every tag."""
        given = {name: value or "" for name, value in attrs}
        self.anchors |= {given[name] for name in ("id", "name") if name in given}
        self.links += [given[name] for name in ("href", "src") if name in given]
        if "src" in given or given.get("rel") == "stylesheet":
            self.loaded += [given[name] for name in ("href", "src") if name in given]
        if tag == "img":
            self.words.append((given["src"], given.get("alt", "")))
