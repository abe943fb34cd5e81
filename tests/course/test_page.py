"""The HTML page of an executed notebook: its title, and that it can be read at any width, by day and night."""

from pathlib import Path
from typing import Any

import nbformat
import pytest

from lab import plots
from lab.course.page import page_of, title_of

TABLE = "-" * 64 + "\n" + "Layer (type)".rjust(20) + "Output Shape".rjust(26) + "Param #".rjust(16)
"""As torchsummary prints it."""


def notebook(*markdown: str) -> nbformat.NotebookNode:
    """With this text, a wide printed table, a long line of code and a figure."""
    printed = nbformat.v4.new_output("stream", name="stdout", text=TABLE)
    figure = nbformat.v4.new_output("display_data", data=plots.bundle(plots.schedule([0.0, 1.0, 0.0])))
    code = nbformat.v4.new_code_cell("total = " + " + ".join(["one_of_many_numbers"] * 12), outputs=[printed, figure])
    return nbformat.v4.new_notebook(cells=[*map(nbformat.v4.new_markdown_cell, markdown), code])


def test_what_is_folded_stays_folded() -> None:
    text = (
        "# T\n\n<details><summary>An answer</summary>\n\n```python\nfolded = 1\n```\n\nand why\n\n</details>\n\nafter"
    )
    page = page_of(notebook(text), "t")
    folded = page[page.index("<details>") : page.index("</details>")]
    assert "folded" in folded
    assert "and why" in folded
    assert "after" not in folded


@pytest.mark.parametrize(
    ("markdown", "title"),
    [
        (["# The `99.4` *Lab*\n\nText."], "The 99.4 Lab"),
        (["No heading yet.", "Text\n# Here it is\n"], "Here it is"),
        (["## Only a small one"], ""),
        ([], ""),
    ],
)
def test_the_title_is_the_first_heading(markdown: list[str], title: str) -> None:
    assert title_of(notebook(*markdown)) == title


def test_the_page_is_called_what_the_notebook_is_called() -> None:
    assert "<title>The 99.4 Lab &amp; more</title>" in page_of(notebook("# The 99.4 Lab & more"), "mnist_994")
    assert "<title>mnist_994</title>" in page_of(notebook(), "mnist_994")


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> str:
    path: Path = tmp_path_factory.mktemp("page") / "page.html"
    inline = "`a_name_of(many, letters, that, has, to, be, broken, somewhere, or, it, makes, the, page, wide)`"
    path.write_text(page_of(notebook(f"# A page\n\n{inline}\n\n```python\n{'x = 1; ' * 30}\n```"), "page"), "utf-8")
    return path.as_uri()


def opened(browser: Any, address: str, width: int, scheme: str) -> Any:
    page = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
    page.route("http*://**", lambda route: route.abort())  # MathJax; nothing here needs it
    page.goto(address)
    return page


@pytest.mark.parametrize("width", [400, 1200])
def test_nothing_is_cut_or_wrapped_and_the_page_itself_does_not_scroll_sideways(
    browser: Any, address: str, width: int
) -> None:
    page = opened(browser, address, width, "light")
    assert page.evaluate("document.documentElement.scrollWidth") == width
    hidden = """() => [...document.querySelectorAll("main *")].filter(element =>
        element.scrollWidth > element.clientWidth + 1 && element.clientWidth > 0
        && getComputedStyle(element).overflowX === "hidden").map(element => element.className)"""
    assert page.evaluate(hidden) == []
    lines = """() => { const pre = [...document.querySelectorAll(".jp-OutputArea-output pre")][0];
        return Math.round(pre.getBoundingClientRect().height / parseFloat(getComputedStyle(pre).lineHeight)) }"""
    assert page.evaluate(lines) == 2  # the table's two lines are two
    image = page.locator(".jp-OutputArea-output img").bounding_box()
    assert image["width"] <= width
    assert image["width"] / image["height"] == pytest.approx(5.4 / 2.2, rel=0.01)
    page.close()


def test_the_page_is_dark_where_the_reader_s_others_are(browser: Any, address: str) -> None:
    brightness = {}
    for scheme in ("light", "dark"):
        page = opened(browser, address, 1200, scheme)
        colour = """selector => { const [element, what] = selector; return getComputedStyle(
            document.querySelector(element))[what].match(/[0-9.]+/g).slice(0, 3).map(Number) }"""
        brightness[scheme] = [
            sum(page.evaluate(colour, pair)) / 3
            for pair in (["body", "backgroundColor"], ["main h1", "color"], [".jp-RenderedText pre", "color"])
        ]
        card = page.evaluate(colour, [".jp-OutputArea-output img", "backgroundColor"])
        assert card == [255, 255, 255]  # a figure's ink is black
        page.close()
    paper, *ink = brightness["light"]
    assert paper > 240
    assert max(ink) < 60
    paper, *ink = brightness["dark"]
    assert paper < 40
    assert min(ink) > 200
