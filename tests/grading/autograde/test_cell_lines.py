"""On which line of a notebook's file a cell's text begins."""

import json
from pathlib import Path

import pytest

from lab.grading.autograde.cell_lines import cell_lines

ROOT = Path(__file__).parents[3]


@pytest.mark.parametrize("name", ["mnist_994", "fashion_solved"])
def test_it_is_the_line_of_each_cell_s_first_line(name):
    text = (ROOT / "notebooks" / f"{name}.ipynb").read_text(encoding="utf-8")
    lines, cells = text.splitlines(), json.loads(text)["cells"]
    found = cell_lines(text)
    assert len(found) == len(cells) > 20
    for line, cell in zip(found, cells, strict=True):
        first = "".join(cell["source"]).splitlines(keepends=True)[:1]
        assert json.dumps(first[0] if first else "", ensure_ascii=False).strip('"') in lines[line - 1]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('{"cells": [{"source": "a"}, {"source": ["b"]}]}', [1, 1]),
        ('{\n"cells": [\n{"cell_type": "code",\n"source":\n["a",\n"b"]},\n{"source": []}]}', [5, 7]),
        ('{"cells": [\n{"metadata":\n {"source": "x", "cells": [1]},\n"source": "a"}]}', [4]),
        ('{"metadata": {"cells": [\n1]},\n"cells": [\n{"source": "\\"source\\": [\\n"}]}', [4]),
        ('{"cells": [1, "a", null,\n[]]}', [1, 1, 1, 2]),
        ('{"cells": [\n{}]}', [2]),
        ('{"cells": [{"source": "old"}],\n"cells": [\n{"source": "a"}]}', [3]),
        ('{"cells": [{"source": "old",\n"source":\n"a"}]}', [3]),
        ('{"cells": []}', []),
        ('{"worksheets": [{"cells": [{}]}]}', []),
        ("{}", []),
        ("[]", []),
        ("", []),
        ('{"cells": [', []),
        ('{"cells": [{"source": "a"}', []),
        ('{"cells": [{"source" "a"}]}', []),
        ('{"cells": [{source: 1}]}', []),
        ('{"cells": 1}', []),
        ('{"cells": ' + "[" * 100_000, []),
        (" \n {\n\t\"cells\" :\r\n [ {\"source\" : [ \n\"a\" ] } ] }", [5]),
    ],
)  # fmt: skip
def test_whatever_a_file_holds_gives_lines_or_none(text, expected):
    assert cell_lines(text) == expected
