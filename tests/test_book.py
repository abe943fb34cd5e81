"""The book: it builds without a warning, every picture has its words, and a link that leads nowhere is found."""

import importlib.util
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def pages() -> ModuleType:
    spec = importlib.util.spec_from_file_location("pages", ROOT / "notebooks" / "book" / "pages.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def build(source: Path, out: Path) -> subprocess.CompletedProcess[str]:
    """What `make book` does."""
    options = ["-E", "-W", "--keep-going", "--quiet", "-c", str(ROOT / "notebooks" / "book")]
    command = [sys.executable, "-m", "sphinx", *options, "-d", str(out / "doctrees"), str(source), str(out / "book")]
    return subprocess.run(command, capture_output=True, text=True, timeout=300)


@pytest.fixture(scope="module")
def book(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("out")
    done = build(ROOT, out)
    assert (done.returncode, done.stderr) == (0, "")
    return out / "book"


def test_every_page_is_there(book):
    assert (book / "index.html").read_text(encoding="utf-8") == (book / "README.html").read_text(encoding="utf-8")
    first = (book / "index.html").read_text(encoding="utf-8")
    for name in ("notebooks/mnist_994_solved", "notebooks/fashion_solved", "benchmarks/RESULTS"):
        assert (book / f"{name}.html").is_file()
        assert f'href="{name}.html"' in first


def test_the_notebooks_show_their_saved_outputs(book):
    for name in ("mnist_994", "fashion"):
        page = (book / "notebooks" / f"{name}_solved.html").read_text(encoding="utf-8")
        assert "100 of 100 points" in page
        assert page.count("<img") >= 6


def test_every_picture_has_words(book, pages):
    pictures = [picture for path in book.rglob("*.html") for picture in pages.Page(path).words]
    assert len(pictures) > 30
    for address, words in pictures:
        assert len(words) > 30, address
        assert ".png" not in words
        assert "<Figure" not in words


def test_no_page_asks_another_server_for_anything(book, pages):
    for path in book.rglob("*.html"):
        page = pages.Page(path)
        loaded = [*(address for address, _ in page.words), *page.loaded]
        assert not [address for address in loaded if "//" in address and not address.startswith("data:image/png;")]


def test_networks_run_in_the_book(book):
    page = (book / "notebooks" / "mnist_994_solved.html").read_text(encoding="utf-8")
    for kind in ("explore", "draw"):
        assert page.count(f'start("{kind}", "lab-') == 1
    assert page.count('class="lab-place') == 2


def test_a_link_to_what_is_no_page_leads_to_the_repository(book, pages):
    links = pages.Page(book / "benchmarks" / "RESULTS.html").links
    for place in ("benchmarks/results", "benchmarks/search/peak.json"):
        assert f"{pages.REPOSITORY}/{place}" in links


def test_broken_links_fail_the_build(tmp_path):
    links = ["nowhere.md", "lab/nowhere.py", "#no-such-heading", "https://"]
    for folder in ("notebooks", "benchmarks"):
        (tmp_path / folder).mkdir()
    for page in ("notebooks/mnist_994_solved.ipynb", "notebooks/other_solved.ipynb"):
        (tmp_path / page).write_text('{"cells": [], "metadata": {}, "nbformat": 4, "nbformat_minor": 5}')
    (tmp_path / "benchmarks" / "RESULTS.md").write_text("# Results\n")
    (tmp_path / "README.md").write_text("# One page\n\n" + " ".join(f"[a]({link})" for link in links) + "\n\n## Two\n")
    done = build(tmp_path, tmp_path / "out")
    assert done.returncode != 0
    for link in links:
        assert link.removeprefix("#") in done.stderr


@pytest.mark.parametrize(
    ("link", "reason"),
    [
        ("other.html", ""),
        ("other.html#here", ""),
        ("#below", ""),
        ("sub/third.html", ""),
        ("https://example.org/a?b=c#d", ""),
        ("gone.html", "there is no such file"),
        ("sub", "there is no such file"),
        ("other.html#gone", "there is no such anchor"),
        ("#gone", "there is no such anchor"),
        ("https://", "no address"),
        ("https://exa mple.org", "no address"),
        ("ftp://example.org", "no address"),
        ("javascript:alert(1)", "no address"),
    ],
)
def test_links_that_lead_nowhere(pages, tmp_path, link, reason):
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "third.html").write_text("<p>")
    (tmp_path / "other.html").write_text('<h1 id="here">Here</h1>')
    (tmp_path / "page.html").write_text(f'<a href="{link}">a</a><p id="below">')
    expected = [f"page.html: {link}: {reason}"] if reason else []
    assert list(pages.broken_links(tmp_path)) == expected
