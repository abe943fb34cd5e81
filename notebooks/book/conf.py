"""Sphinx's settings for the book: the README, a page for each of its four readers, the solved notebooks, the results.

    python -m sphinx -c notebooks/book . build/book     from the repository's root

Nothing is executed, and no page asks another server for anything.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))  # for `pages`

project = "The 99.4 Lab"
extensions = ["myst_nb", "pages"]
root_doc = "README"
include_patterns = ["README.md", "notebooks/*_solved.ipynb", "notebooks/book/*.md", "benchmarks/RESULTS.md"]
exclude_patterns = [".*", "build", "data"]
myst_heading_anchors = 3
nb_execution_mode = "off"
nb_ipywidgets_js: dict[str, dict[str, str]] = {}  # its scripts would come from another server

html_theme = "furo"
pygments_dark_style = "monokai"  # the theme's own underlines every module
html_title = project
html_static_path = ["static"]
html_css_files = ["book.css"]
html_use_index = False
html_copy_source = False
html_show_sphinx = False
html_show_copyright = False
linkcheck_timeout = 20  # seconds
linkcheck_retries = 2
