"""Sphinx: what the site is made of. `make docs` builds it and runs every example on it."""

import re
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

import pictures

import convc

project = "convc"
author = "the convc developers"
project_copyright = "2026, the convc developers"
version = release = convc.__version__

extensions = [
    "myst_parser",
    "numpydoc",
    "sphinx.ext.autodoc",
    "sphinx.ext.doctest",
    "sphinx.ext.mathjax",
]
myst_enable_extensions = ["amsmath", "dollarmath"]
# The README, CONTRIBUTING and CHANGELOG link to files of the repository, which are no pages here.
suppress_warnings = ["myst.xref_missing"]
numpydoc_show_class_members = False
autodoc_member_order = "alphabetical"
autodoc_typehints = "none"
doctest_global_setup = "import numpy as np\nimport convc\n"

html_theme = "furo"
html_title = "convc"
html_static_path = ["_static"]
exclude_patterns = ["_build"]


def draw_pictures(app):
    """Every picture is drawn by the code that it shows, so that none goes stale."""
    pictures.draw(Path(app.srcdir, "_static", "pictures"))


def escape_stars(app, what, name, thing, options, lines):
    """In ``(n, *size)`` of a docstring the star is no emphasis; what stands between double backticks is left alone."""
    for i, line in enumerate(lines):
        if not line.lstrip().startswith((">>>", "...")):
            parts = re.split(r"(``.*?``)", line)
            parts[::2] = [re.sub(r"(?<![\w*\\])\*(?=\w)", r"\\*", part) for part in parts[::2]]
            lines[i] = "".join(parts)


def setup(app):
    app.connect("autodoc-process-docstring", escape_stars, priority=1)
    app.connect("builder-inited", draw_pictures)
