"""The other languages: nothing is missing, nothing is out of date; and how one is added, tried with a toy language."""

import ast
import os
import re
import shutil
import warnings

import nbformat
import pytest
import torch

from helpers import intervals, runs
from helpers.coreml.model_card import ModelCard
from helpers.history import History
from helpers.plumbing import language, paths
from helpers.recipe import Recipe
from helpers.workshop import messages, readme, run, translate
from helpers.workshop.translate import HELPERS, LANGUAGES, Edition, shown

TRANSLATED = [(code, name) for code in list(LANGUAGES)[1:] for name in Edition(code).names]


@pytest.mark.parametrize(("code", "name"), TRANSLATED, ids=[f"{code}-{name}" for code, name in TRANSLATED])
def test_everything_is_translated_and_as_the_english_is_now(code, name):
    problems = Edition(code).problems(name)
    assert not problems, "\n" + "\n".join([*problems, "Then: python -m helpers.workshop.translate"])


@pytest.mark.parametrize("code", list(LANGUAGES)[1:])
def test_there_is_nothing_that_has_no_english_source(code):
    edition = Edition(code)
    made = {path for name in edition.names for path in edition.made(name)}
    made |= {edition.path(name) for name in edition.names} | {
        edition.folder / "STYLE.md",
        edition.folder / "messages/terms.csv",
    }
    assert {path for path in edition.folder.rglob("*.*") if ".ipynb_checkpoints" not in path.parts} <= made


# -- a toy language ---------------------------------------------------------------------------------


TOY = re.compile(
    rf"{messages.KEPT.pattern}|{messages.PLACE.pattern}|{messages.AMOUNT.pattern}|(?P<word>[a-z]+)"
)


def toy(text: str) -> str:
    """English in capitals, but for what has to stay."""
    return TOY.sub(lambda found: found[0].upper() if found["word"] else found[0], text)


@pytest.fixture(scope="module")
def checkout(tmp_path_factory):
    """A checkout with the toy language in it, made in the way that CONTRIBUTING.md says."""
    root = tmp_path_factory.mktemp("toy")
    skipped = shutil.ignore_patterns("__pycache__", ".*", *LANGUAGES)
    for folder in ("notebooks", "helpers"):
        shutil.copytree(paths.ROOT / folder, root / folder, ignore=skipped)
    for name in ("README.md", "pyproject.toml"):
        shutil.copy(paths.ROOT / name, root)
    edition = Edition("xx", root)
    for name in edition.names:
        texts = {(one.context, one.id): toy(one.id) for one in edition.template(name) if one.id}
        edition.fill(name, texts)
    for name in edition.names:
        edition.write(name)
    return root


@pytest.fixture
def edition(checkout, tmp_path):
    """The toy language in a checkout of its own, to be changed."""
    shutil.copytree(checkout, tmp_path / "toy")
    return Edition("xx", tmp_path / "toy")


def change(path, before: str, after: str) -> None:
    text = path.read_text(encoding="utf-8")
    assert text.count(before) == 1
    path.write_text(text.replace(before, after), encoding="utf-8")


def troubled(edition: Edition) -> dict[str, list[str]]:
    """Name → its problems, as each of the tests above would see it: those of one language, one after the other."""
    return {name: found for name in edition.names if (found := edition.problems(name))}


def test_a_language_that_is_added_is_complete(checkout):
    assert troubled(Edition("xx", checkout)) == {}


def test_a_notebook_has_the_same_code_outputs_and_ids_and_other_words(checkout):
    edition = Edition("xx", checkout)
    for source in [*edition.sources.values(), *edition.solutions.values()]:
        if source.suffix == ".md":
            continue
        english, other = (nbformat.read(path, as_version=4) for path in (source, edition.target(source)))
        nbformat.validate(other)
        assert english.metadata == other.metadata
        for mine, theirs in zip(english.cells, other.cells, strict=True):
            if mine.cell_type == "code":
                assert mine == theirs
            else:
                assert mine.id == theirs.id and mine.metadata == theirs.metadata
                words = messages.PLACE.sub("", messages.KEPT.sub("", toy(mine.source)))
                assert mine.source != theirs.source or not re.search("[a-z]{4}", words), mine.source


def test_links_stay_in_the_language_and_lead_to_something(checkout):
    edition, count = Edition("xx", checkout), 0
    for name in edition.names:
        for path, text in edition.made(name).items():
            for link in re.findall(r"\]\(([\w./-]+\.\w+)(?:#[\w-]+)?\)", text):
                there = path.parent / link
                assert (paths.ROOT / os.path.relpath(there, checkout)).exists() or there.exists(), (
                    path,
                    link,
                )
                ways = {(checkout / "README.xx.md", checkout / "README.md")}  # between the languages
                assert edition.target(there.resolve()) == there.resolve() or (path, there) in ways, (
                    f"{path.name} leads to the English {link}"
                )
                count += 1
    assert count > 50


def test_a_notebook_runs_and_is_answered_in_its_language(checkout, tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(checkout))
    monkeypatch.setenv("CHAPTER_MODE", "smoke")
    monkeypatch.setenv("CHAPTER_ARTIFACTS", str(tmp_path))
    monkeypatch.delenv("CHAPTER_LANGUAGE", raising=False)
    notebook, _, error = run.execute(checkout / "notebooks/xx/02_save_and_load.ipynb")
    assert not error
    said = "".join(one.get("text", "") for cell in notebook.cells for one in cell.get("outputs", ()))
    assert "MODE      smoke (SECONDS, ON DRAWINGS: A TEST, NOT A LESSON)" in said
    assert "02.1  …  NOT ATTEMPTED YET." in said
    assert (tmp_path / "results/02_save_and_load.json").exists()


# -- changes of the English -------------------------------------------------------------------------


def test_a_changed_sentence_is_one_problem_with_the_name_of_its_cell(edition):
    change(edition.sources["01_train_alexnet"], "won the ImageNet contest by a wide margin", "won ImageNet")
    found = troubled(edition)
    assert list(found) == ["01_train_alexnet"]
    assert all(re.match("01_train_alexnet, cell 0: ", one) for one in found["01_train_alexnet"])
    edition.update("01_train_alexnet")
    (fuzzy,) = (one for one in edition.catalogue("01_train_alexnet") if one.fuzzy)
    assert "won ImageNet and" in fuzzy.id and "by a wide margin" in fuzzy.previous_id[0]
    edition.update("01_train_alexnet")  # nothing is lost by doing it twice
    (fuzzy,) = (one for one in edition.catalogue("01_train_alexnet") if one.fuzzy)
    assert fuzzy.string.startswith("IN 2012") or fuzzy.string.startswith("In 2012")
    assert "by a wide margin" in fuzzy.previous_id[0]
    (said,) = edition.problems("01_train_alexnet")
    assert "cell 0" in said and "fuzzy" in said


def test_a_new_text_is_missing_and_one_that_is_gone_takes_its_translation_along(edition):
    change(edition.sources["troubleshooting"], "# Stuck?\n", "# Stuck?\n\nZebras graze quietly.\n")
    assert list(troubled(edition)) == ["troubleshooting"]
    edition.update("troubleshooting")
    (said,) = edition.problems("troubleshooting")
    assert said.startswith("troubleshooting, Stuck?: 'Zebras graze quietly.' is not translated")
    change(edition.sources["troubleshooting"], "\n\nZebras graze quietly.\n", "\n")
    assert "obsolete" in edition.problems("troubleshooting")[0]
    edition.update("troubleshooting")
    assert "Zebras" not in edition.path("troubleshooting").read_text(encoding="utf-8")


def test_numbers_that_a_program_writes_are_carried_over(edition):
    now = readme.takes("01_train_alexnet").removeprefix("| **It takes** | ").partition(" in `quick`")[0]
    change(edition.sources["01_train_alexnet"], f"{now} in `quick` mode", "85 seconds in `quick` mode")
    change(edition.sources["README"], "164 of 168 files (21 networks", "165 of 169 files (22 networks")
    found = troubled(edition)
    assert sorted(found) == ["01_train_alexnet", "README"]
    assert all(
        "is not what the English text and the catalogue give" in one for all in found.values() for one in all
    )
    for name in found:
        edition.update(name)
        edition.write(name)
    assert troubled(edition) == {}
    target = edition.target(edition.sources["README"])
    text = target.read_text(encoding="utf-8")
    assert "165 OF 169 FILES (22 NETWORKS" in text
    assert " MINUTES |" in text and " minutes |" not in text  # the cells of a table that are a time alone
    target = edition.target(edition.sources["01_train_alexnet"])
    assert "85 SECONDS IN `quick` MODE" in target.read_text(encoding="utf-8")


def test_a_cell_that_only_moved_keeps_its_translation(edition):
    path = edition.sources["03_export_to_onnx"]
    notebook = nbformat.read(path, as_version=4)
    for number, cell in enumerate(notebook.cells):
        cell.id = str(number + 1)  # a cell was put in front, and `make notebooks` has counted anew
    nbformat.write(notebook, path)
    edition.update("03_export_to_onnx")
    assert all(one.string and not one.fuzzy for one in edition.catalogue("03_export_to_onnx") if one.id)
    edition.write("03_export_to_onnx")
    assert edition.problems("03_export_to_onnx") == []


def test_a_generated_file_that_was_edited_is_named(edition):
    target = edition.target(edition.sources["glossary"])
    change(target, "GLOSSARY", "Words")
    assert troubled(edition) == {
        "glossary": ["glossary: notebooks/xx/glossary.md is not what the English text and the catalogue give"]
    }


def test_the_compiled_catalogue_is_up_to_date_or_named(edition):
    edition.compiled().write_bytes(b"")
    assert troubled(edition) == {
        HELPERS: [
            f"{HELPERS}: helpers/plumbing/messages/xx.mo is not what the English text and the catalogue give"
        ]
    }


def test_a_damaged_catalogue_is_named(edition):
    edition.path("glossary").write_text('msgid "a"\nmsgid "b', encoding="utf-8")
    with pytest.raises(ValueError, match=r"glossary\.po cannot be read"):
        edition.problems("glossary")


# -- what a translation keeps -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("english", "translation", "what"),
    [
        ("Type `make lab`.", "输入 make lab。", "lacks `make lab`"),
        ("The [glossary](glossary.md).", "[词汇表](词汇表.md)。", "lacks (glossary.md)"),
        ("![A road](road.png)", "![一条路](road.png)", None),
        ("<code>full</code> mode", "full 模式", "lacks <code>"),
        ("a **step**", "一**步", "lacks **"),
        ("{1} of {2} files", "{1} 个文件", "lacks {2}"),
        ("{share:.0%} of it", "其中 {share}", "lacks {share:.0%}"),
        ("50,000 pictures", "50000 张图片", None),
        ("50,000 pictures", "5 万张图片", None),
        ("50,000 pictures", "5000 张图片", "lacks the number 50000"),
        ("61 million parameters", "6100 万个参数", None),
        ("ten classes", "10 个类别", None),
        ("**Convolution** is", "**卷积**是", None),
        ("**Why.** It is", "**原因。** 这是", None),
        (
            "**`fit`** is",
            "**`fit`**是",
            "**`fit`** is not bold beside a letter: put a space there, or the sign outside",
        ),
        (
            "A **convolution** is",
            "所谓**卷积（conv）**是",
            "**卷积（conv）** is not bold beside a letter: put a space there, or the sign outside",
        ),
        ("It passes 80 %.", "超过 80%。", None),
        ("after `fit()`", "在 `fit()` 和 `fit()` 之后", "has too much: `fit()`"),
        ("a sentence", " 一句话", "begins or ends with another space than the English"),
    ],
)
def test_what_a_translation_has_lost_is_said(english, translation, what):
    assert (
        messages.lost(english, translation) == ([what] if what else [])
        or messages.lost(english, translation)[0] == what
    )


@pytest.mark.parametrize(
    "text",
    [
        "# A\n\n- one\n- two\n\n1. three\n\n| a | `x|y` |\n| --- | --- |\n| c \\| d | |\n\n```\ncode words\n```\n",
        "<details><summary>Why <code>a</code>?</summary>\n\nYes.\n\n</details>\n<details><summary>B</summary>",
        "two\nlines\n\n<!-- map -->\n12 seconds, 3.5e-05 and CIFAR-10\n<!-- end map -->",
    ],
)
def test_a_text_cut_into_messages_is_the_same_text_put_together(text):
    cut = list(messages.pieces(text))
    assert messages.filled(cut, lambda one: one.text) == text
    assert not any("code words" in one.text for one in cut if one.message)


def test_of_what_a_program_writes_only_the_words_are_a_message():
    (one,) = (
        one
        for one in messages.pieces("<!-- a -->\n12 seconds of 9e-05, CIFAR-10, `7`\n<!-- end a -->")
        if one.message
    )
    assert one.text == "{1} of {2}, CIFAR-10, `7`" and one.values == ("12 seconds", "9e-05")
    assert messages.TIMES == readme.TIMES


@pytest.mark.parametrize(
    ("link", "where"),
    [
        ("glossary.md#batch", "glossary.md#batch"),
        ("../README.md", "../../README.zh.md"),
        ("../CONTRIBUTING.md", "../../CONTRIBUTING.md"),
        ("road.png", "../road.png"),
        ("#exercises", "#exercises"),
        ("https://netron.app", "https://netron.app"),
        (
            "https://colab.research.google.com/github/a/b/blob/HEAD/notebooks/00_start_here.ipynb",
            "https://colab.research.google.com/github/a/b/blob/HEAD/notebooks/zh/00_start_here.ipynb",
        ),
    ],
)
def test_a_link_stays_in_the_language_where_it_can(link, where):
    edition = Edition("zh")
    assert edition.link(link, edition.sources["00_start_here"]) == where


# -- what the code says -----------------------------------------------------------------------------


def test_every_text_of_the_code_is_found():
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # an f-string cannot be looked up
        found = {text for _, text in shown(paths.ROOT / HELPERS)}
    for path in sorted((paths.ROOT / HELPERS).rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") in translate.MARKED and node.args:
                texts = node.args[1:3] if getattr(node.func, "id", "") == "Exercise" else node.args[:1]
                for one in texts:
                    assert not isinstance(one, ast.JoinedStr), f"{path.name}, {one.lineno}: an f-string"
                    if isinstance(one, ast.Constant):
                        assert one.value in found, f"{path.name}, line {one.lineno}: {one.value!r}"


def test_the_language_is_chosen_by_the_folder_or_by_the_variable(tmp_path, monkeypatch):
    monkeypatch.delenv("CHAPTER_LANGUAGE", raising=False)
    for folder, expected in (
        ("notebooks", "en"),
        ("notebooks/zh", "zh"),
        ("notebooks/zh/solutions", "zh"),
        ("zh", "en"),
    ):
        (tmp_path / folder).mkdir(parents=True, exist_ok=True)
        monkeypatch.chdir(tmp_path / folder)
        assert language.language() == expected
    monkeypatch.setenv("CHAPTER_LANGUAGE", "zh")
    assert language.language() == "zh"
    monkeypatch.setenv("CHAPTER_LANGUAGE", "tlh")
    with pytest.raises(ValueError, match=r"CHAPTER_LANGUAGE is 'tlh'. The languages are en, zh"):
        language.language()


def test_the_languages_of_the_code_are_those_of_the_notebooks():
    assert language.languages() == list(LANGUAGES)
    assert language.translated("{count} labels", count=3) == "3 labels"


def test_columns_stand_below_each_other_in_any_language():
    assert language.padded("map", 6) == "map   "
    assert language.padded("路线", 6) == "路线  "
    assert language.padded("路线", 6, before=True) == "  路线"
    assert language.padded("longer than that", 3) == "longer than that"


NAMES = ["路线", "宽度减半", "as it is"]


def _card():
    card = object.__new__(ModelCard)
    card.path, card.facts, card.answer = paths.Path("a.mlmodel"), {}, dict.fromkeys(NAMES, 0.5)
    print(repr(card).replace("50.0%", "|"))


def _intervals():
    intervals.show(dict.fromkeys(NAMES, intervals.share(torch.tensor([True, False]))))


def _runs():
    row = dict.fromkeys(("test_accuracy", "validation_accuracy"), 0.5) | {"seconds": 1, "epoch": 1}
    runs.table(dict.fromkeys(NAMES, History(Recipe.smoke(), rows=[row])))


@pytest.mark.parametrize(("show", "after"), [(_card, "|"), (_intervals, "50.0%"), (_runs, "50.0%")])
def test_names_that_a_learner_gives_keep_the_columns_straight(show, after, capsys):
    show()
    lines = [line for line in capsys.readouterr().out.splitlines() if after in line]
    assert len(lines) == len(NAMES)
    assert len({language.columns(line.split(after)[0]) for line in lines}) == 1
