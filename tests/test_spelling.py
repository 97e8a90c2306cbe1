"""Every text is spelt right: British English, and simplified Chinese with one word for each term."""

import csv
import re

import pytest

from helpers.plumbing import paths
from helpers.workshop import spelling, texts


@pytest.fixture(scope="module")
def english():
    return list(texts.english())


def test_every_english_word_is_spelt_right(english):
    """typos.toml takes words that are right all the same."""
    assert spelling.misspelt(english) == []


def test_a_misspelt_word_and_an_american_one_are_named_with_their_place():
    pieces = [
        ("one", "The `convoultion` of\nhttps://colour.org/teh"),
        ("a.ipynb, cell 2", "It\nrecieves a color."),
    ]
    found = spelling.misspelt(pieces)
    assert found == ["a.ipynb, cell 2: recieves (receives)", "a.ipynb, cell 2: color (colour)"]


def test_what_is_checked_are_cells_pages_docstrings_comments_and_messages(english):
    found = {}
    for where, text in english:
        found.setdefault(where.split(",")[0], []).append(text)
    assert {
        "README.md",
        "notebooks/glossary.md",
        "helpers/data.py",
        "notebooks/solutions/01_train_alexnet.ipynb",
    } <= set(found)
    code = '"""A docstring."""\n\nx = "a_name b_name"\nraise ValueError(f"No {x} is here.")  # why\n'
    assert list(texts.sentences(code)) == [(1, "A docstring."), (4, "No "), (4, " is here."), (4, "# why")]
    assert not [where for where in found if where.startswith("notebooks/zh")]


def test_every_chinese_text_is_simplified_and_has_the_terms_of_the_table():
    assert spelling.unusual(spelling.chinese(), spelling.terms()) == []


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("學习率", "學 (not a simplified character)"),
        ("训练以後", "後 (not a simplified character)"),
        ("首先,然后", "先, (half-width punctuation)"),
        ("**注意**:这里", "half-width punctuation"),
        ("结束了.", "了. (half-width punctuation)"),
        ("卷积(convolution)", "积( (half-width punctuation)"),
        ("批量规范化", "批量规范化 (batch normalisation is 批量归一化)"),
        ("用state_dict的学习速率", "学习速率 (learning rate is 学习率)"),
        ("批次", "批次 (batch is 批)"),
    ],
)
def test_chinese_that_is_not_the_projects_is_named(text, named):
    (found, *_) = spelling.unusual([("README.zh.md", f"好的，{text}")], spelling.terms())
    assert found.startswith("README.zh.md: ") and named in found


def test_chinese_as_it_should_be_passes():
    text = "首先，归一化（标准化）把 3.5 变成 `a,b`：见[词汇表](glossary.md)。`x`, y 和 Core ML。\n\n- 学习率：0.1"
    assert spelling.unusual([("one", text)], spelling.terms()) == []


def test_the_catalogues_are_read_message_by_message(tmp_path, monkeypatch):
    (tmp_path / "notebooks/zh/messages").mkdir(parents=True)
    (tmp_path / "notebooks/zh/messages/a.po").write_text(
        'msgid ""\nmsgstr "Content-Type: text/plain; charset=utf-8\\n"\n\n'
        'msgctxt "cell-1"\nmsgid "One"\nmsgstr "一"\n\nmsgid "Two"\nmsgstr ""\n',
        encoding="utf-8",
    )
    (tmp_path / "README.zh.md").write_text("二", encoding="utf-8")
    monkeypatch.setattr(paths, "ROOT", tmp_path)
    assert dict(spelling.chinese()) == {"README.zh.md": "二", "notebooks/zh/messages/a.po, cell-1": "一"}


def test_the_table_of_terms_is_sound():
    rows = spelling.terms()
    names = [row["english"] for row in rows]
    assert names == sorted(names, key=str.casefold) and len(set(names)) == len(names)
    wrong = [word for row in rows for word in row["not"].split()]
    assert len(set(wrong)) == len(wrong)
    assert not {row["chinese"] for row in rows} & set(wrong)
    with open(spelling.TERMS, encoding="utf-8", newline="") as file:
        assert {len(row) for row in csv.reader(file)} == {4}


def test_the_glossary_says_the_words_of_the_table():
    table = {row["english"]: row["chinese"] for row in spelling.terms()}
    glossary = (paths.ROOT / "notebooks/glossary.md").read_text(encoding="utf-8")
    said = dict(re.findall(r"^\| (.+?) \| .+?\. \| (.+?)(?:（.+?)? \| \[", glossary, re.M))
    assert len(said) > 80
    assert {term: table.get(term) for term in said} == said
