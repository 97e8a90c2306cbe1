"""The glossary and the notebooks agree: a term is bold, with plain words beside it, where it comes first.

Bold at the start of a line, of a list's entry or of a table's cell is a small heading ("**Look for:** …"),
and every other bold text is a term. A title announces and does not explain; neither does the table in a
notebook's head. A term may be written with an s at its end.
"""

import re
from collections import Counter
from functools import cache

import nbformat
import pytest

from helpers import chapter
from helpers.plumbing import paths

FOLDER = paths.ROOT / "notebooks"
ROW = re.compile(
    r"\| (?P<term>.+?) \| (?P<sentence>.+?) \| (?P<chinese>.+?) \| \[(?P<number>\d\d)\]\((?P<file>.+?)\) \|"
)
BOLD = re.compile(r"\*\*(.+?)\*\*")
HEADING = re.compile(r"^(\s*([-*]|\d+\.)\s+)?\*\*.+?\*\*")


def entries():
    """The glossary's rows, in its order."""
    rows = (FOLDER / "glossary.md").read_text(encoding="utf-8").split("| --- |")[-1].splitlines()[1:]
    found = [ROW.fullmatch(row) for row in rows if row.startswith("|")]
    assert found and all(found), "a row is a term, a sentence, Chinese words and a link to a notebook"
    return [row.groupdict() for row in found]


@cache
def prose(notebook):
    """What a notebook explains, piece by piece: its lines and its tables' cells, without titles and code."""
    pieces = []
    for place, cell in enumerate(nbformat.read(FOLDER / f"{notebook}.ipynb", as_version=4).cells):
        if cell.cell_type != "markdown":
            continue
        for line in re.sub(r"^```.*?^```", "", cell.source, flags=re.M | re.S).splitlines():
            announces = line.startswith("#") or "**Next:**" in line or (line.startswith("|") and not place)
            if not announces:
                pieces += line.strip("| ").split(" | ") if line.startswith("|") else [line]
    return [re.sub(r"\]\(.+?\)", "]", re.sub(r"`.+?`", "`…`", piece)) for piece in pieces]


def bold_terms(notebook):
    return [term for piece in prose(notebook) for term in BOLD.findall(HEADING.sub("", piece))]


def written(term):
    """Matches a term as it may stand in a sentence."""
    return re.compile(rf"(?<![\w-]){re.escape(term)}(e?s)?(?![\w-])", re.I)


TERMS = entries()


@pytest.mark.parametrize("entry", TERMS, ids=lambda entry: entry["term"])
def test_a_term_is_bold_where_it_comes_first(entry):
    notebooks = list(chapter.NOTEBOOKS)
    (named,) = [name for name in notebooks if f"{name}.ipynb" == entry["file"]]
    assert named.startswith(entry["number"])
    term = written(entry["term"])
    for notebook in notebooks[: notebooks.index(named)]:
        assert not [piece for piece in prose(notebook) if term.search(piece)], f"{notebook} uses it already"
    first = next(piece for piece in prose(named) if term.search(piece))
    found = term.search(first)
    assert first[found.start() - 2 : found.start()] + first[found.end() :][:2] == "****", first


def test_every_bold_term_is_in_the_glossary_and_bold_once():
    bold = [term for notebook in chapter.NOTEBOOKS for term in bold_terms(notebook)]
    known = {term: [one["term"] for one in TERMS if written(one["term"]).fullmatch(term)] for term in bold}
    assert not [term for term in bold if not known[term]], "not in notebooks/glossary.md"
    times = Counter(known[term][0] for term in bold)
    assert not [term for term, count in times.items() if count > 1]


def test_the_glossary_is_in_the_order_of_the_alphabet_and_says_each_term_in_a_sentence_and_in_chinese():
    terms = [entry["term"].casefold() for entry in TERMS]
    assert terms == sorted(terms)
    for entry in TERMS:
        assert re.fullmatch(r"[A-Z0-9].+[^.]\.", entry["sentence"]) and ". " not in entry["sentence"], entry
        assert re.search(r"[\u4e00-\u9fff]", entry["chinese"]), entry


def test_the_readme_and_the_first_notebook_lead_to_it():
    assert "](notebooks/glossary.md)" in (paths.ROOT / "README.md").read_text(encoding="utf-8")
    assert "](glossary.md)" in nbformat.read(FOLDER / "00_start_here.ipynb", as_version=4).cells[0].source
