"""An executed notebook as one HTML page: with its title, readable on a phone and on a wide screen, by day and night."""

import re
from typing import Any

import nbformat

STYLE = """
main { box-sizing: border-box; max-width: 62rem; margin: 0 auto; padding: 1rem; }
body.jp-Notebook { padding: 0; overflow: visible; background: var(--jp-layout-color0); }
.jp-InputPrompt, .jp-OutputPrompt { display: none; }
.jp-Cell { padding: 0.3rem 0; }
.jp-RenderedHTMLCommon { font-size: 1rem; line-height: 1.6; }
.jp-RenderedHTMLCommon :not(pre) > code { white-space: normal; overflow-wrap: anywhere; }
.jp-RenderedHTMLCommon pre { padding: 0.5rem; margin: 0.5rem 0 1rem; overflow-x: auto; }
.jp-RenderedHTMLCommon pre { background: var(--jp-cell-editor-background); }
.jp-RenderedHTMLCommon details { margin-bottom: 1rem; }
.jp-RenderedHTMLCommon table { display: block; overflow-x: auto; margin-left: 0; }
.jp-OutputArea-output { overflow-x: auto; }
.jp-OutputArea-output pre, .highlight pre { white-space: pre; word-break: normal; overflow-wrap: normal; }
.jp-RenderedText pre { overflow-x: auto; }
.highlight pre { overflow-x: auto; }
.jp-OutputArea-output img { max-width: 100%; height: auto; background: white; border-radius: 6px; }
@media (max-width: 40rem) {
  main { padding: 0.5rem; }
  .jp-OutputArea-output pre, .highlight pre { font-size: 0.72rem; }
}
"""
"""Prose stays narrow enough to read; code and printed tables are never broken, but scroll."""
_BY_NIGHT = """
:root { color-scheme: dark; --jp-mirror-editor-operator-color: #d19aff; --jp-mirror-editor-comment-color: #7fb8b8; }
"""
"""JupyterLab's dark theme has a violet and a green that are hard to read on its dark grey."""


def page_of(notebook: nbformat.NotebookNode, name: str) -> str:
    """The page's text. name: its title where the notebook has no heading. Raises whatever nbconvert does."""
    from nbconvert import HTMLExporter

    exporter = HTMLExporter()  # embed_images would close a <details> where its text begins
    page, _ = exporter.from_notebook_node(notebook, {"metadata": {"name": title_of(notebook) or name}})
    dark, _, _ = exporter.environment.loader.get_source(exporter.environment, "static/theme-dark.css")
    style = f"<style>{STYLE}\n@media (prefers-color-scheme: dark) {{\n{dark}\n{_BY_NIGHT}}}</style>"
    return str(page).replace("</head>", f"{style}\n</head>", 1)


def title_of(notebook: nbformat.NotebookNode) -> str:
    """The notebook's first heading, without markup; empty where there is none."""
    cells: list[Any] = [cell for cell in notebook.cells if cell.cell_type == "markdown"]
    for cell in cells:
        if found := re.search(r"^#\s+(.+)$", cell.source, re.MULTILINE):
            return re.sub(r"[*_`]", "", found[1]).strip()
    return ""
