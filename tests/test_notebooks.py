"""The notebooks as texts: what every one of them has, and what no saved one shows. nbval runs them."""

import ast
import re

import nbformat
import pytest
import torch

from helpers import chapter, checkpoints, model, photos
from helpers.coreml_runtime import load
from helpers.plumbing import measured, paths
from helpers.workshop import readme

NOTEBOOKS = sorted((paths.ROOT / "notebooks").glob("*.ipynb"))
every_notebook = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)


def read(path):
    cells = nbformat.read(path, as_version=4).cells
    return [c for c in cells if c.cell_type == "markdown"], [c for c in cells if c.cell_type == "code"]


def printed(cell):
    """Everything a reader sees below a cell, as text."""
    parts = []
    for output in cell.outputs:
        parts.append(output.get("text", ""))
        parts += [str(value) for kind, value in output.get("data", {}).items() if kind.startswith("text/")]
    return "".join(parts)


def test_the_chapter_knows_every_notebook():
    assert [path.stem for path in NOTEBOOKS] == list(chapter.NOTEBOOKS)


@every_notebook
def test_it_opens_and_ends_as_all_do(path):
    texts, code = read(path)
    number = int(path.stem[:2])
    assert re.match(rf"# {number} · ", texts[0].source)
    rows = re.findall(r"^\| \*\*(.+?)\*\* \| ", texts[0].source, re.M)
    assert rows == ["You will", "You will learn", "You need", "Reading", "It takes"]
    assert f'chapter.begin("{path.stem}"' in code[0].source
    assert nbformat.read(path, as_version=4).cells[1] == code[0], "which versions they are comes first"
    assert re.search(r"\]\((\w+\.ipynb)\)", texts[-1].source)
    everything = "\n".join(cell.source for cell in texts)
    sections = re.findall(r"^## (.+)$", everything, re.M)
    assert sections[-3:] == ["What you learned", "Three questions", "Exercises"]
    exercises = re.findall(r"^### (.+?) · ", everything[everything.index("## Exercises\n") :], re.M)
    assert exercises == [f"{path.stem[:2]}.{number}" for number in (1, 2, 3)]
    assert (path.parent / re.search(r"\]\((\w+\.ipynb)\)", texts[-1].source)[1]).exists()


def form(path):
    """What a notebook consists of, whatever its language: the kind of each cell, and of each block of a text."""
    kinds = r"#+ \d*|\||[-*] |\d+\. |```|!\[|</?details>|\*\*\d+\."
    cells = nbformat.read(path, as_version=4).cells
    return [
        cell.source if cell.cell_type == "code" else re.findall(rf"^(?:{kinds})", cell.source, re.M)
        for cell in cells
    ]


def test_a_notebook_in_another_language_has_the_form_of_the_english_one():
    """The same code, and the same headings, tables, lists and folded parts in each text."""
    for path in sorted(paths.ROOT.glob("notebooks/??/*.ipynb")):
        for number, (own, english) in enumerate(
            zip(form(path), form(paths.ROOT / "notebooks" / path.name), strict=True), 1
        ):
            assert own == english, f"{path.relative_to(paths.ROOT)}, cell {number}"


def test_the_form_is_that_of_blocks_and_not_of_words(tmp_path):
    def of(text):
        nbformat.write(
            nbformat.v4.new_notebook(cells=[nbformat.v4.new_markdown_cell(text)]), tmp_path / "a.ipynb"
        )
        return form(tmp_path / "a.ipynb")

    text = "# 1 · Train\n\n| | |\n|---|---|\n| **You will** | see |\n\n- one\n\n<details><summary>a</summary>"
    assert of(text) == of(text.replace("Train", "训练").replace("**You will** | see", "**你将** | 看到"))
    assert all(
        of(text) != of(text.replace(*change)) for change in (("- one", "one"), ("# 1", "## 1"), ("<d", "d"))
    )


@every_notebook
def test_its_three_questions_explain_every_choice(path):
    found = [cell.source for cell in read(path)[0] if cell.source.startswith("## Three questions")]
    questions = re.split(r"^\*\*\d\. (.+\?)\*\*$", found[0], flags=re.M)[1:]
    assert len(questions) == 6
    for choices in questions[1::2]:
        said = re.findall(r"^<details><summary>(.+)</summary>\n\n(.+)\n\n</details>$", choices, re.M)
        assert len(said) == choices.count("<details>") >= 3
        assert not any(set("*`") & set(choice) for choice, _ in said), "no Markdown is read inside a tag"
        assert sorted(why.split(",")[0].split(".")[0].split(":")[0] for _, why in said) == ["No"] * (
            len(said) - 1
        ) + ["Yes"]
        assert all(len(why.split()) >= 6 for _, why in said)


@every_notebook
def test_its_cells_are_short(path):
    """About ten lines: one in ten may be longer than twelve, none longer than twenty."""
    code = read(path)[1]
    lines = [sum(bool(line.strip()) for line in cell.source.splitlines()) for cell in code]
    assert max(lines) <= 20, code[lines.index(max(lines))].source
    assert sum(one > 12 for one in lines) <= len(lines) / 10


@every_notebook
def test_its_saved_outputs_are_those_of_a_clean_real_run(path):
    _, code = read(path)
    counts = [cell.execution_count for cell in code]
    assert counts == list(range(1, len(code) + 1)), "saved from a run from top to bottom"
    everything = "".join(printed(cell) for cell in code)
    assert "mode      full" in printed(code[0])
    assert "Warning" not in everything
    assert "Traceback" not in everything
    assert not re.search(r"/(home|root|tmp|Users|work)/", everything)
    assert not any(output.output_type == "error" for cell in code for output in cell.outputs)
    if "load_cifar10()" in "".join(cell.source for cell in code):
        assert "CIFAR-10: 50,000 training and 10,000 test images" in everything


@every_notebook
def test_every_figure_has_an_alternative_text(path):
    for cell in read(path)[1]:
        for output in cell.outputs:
            if "image/png" in output.get("data", {}) and "text/html" not in output["data"]:
                assert len(output.metadata["image/png"]["alt"]) > 30, cell.source


def test_the_network_written_out_in_the_notebook_is_the_one_in_helpers():
    """Notebook 01 shows the class in full; helpers adds a width. Same names, same shapes, same answers."""
    _, code = read(paths.ROOT / "notebooks/01_train_alexnet.ipynb")
    shown = [
        c.source for c in code if re.search(r"^(class (Normalise|AlexNet)|def convolution)", c.source, re.M)
    ]
    assert len(shown) == 3
    names = {"torch": torch, "nn": torch.nn}
    exec("\n".join(shown), names)
    theirs, ours = names["AlexNet"]().eval(), model.AlexNet().eval()
    theirs.load_state_dict(ours.state_dict())
    images = torch.rand(4, 3, 32, 32)
    assert torch.equal(theirs(images), ours(images))


def test_a_class_shown_a_second_time_is_the_same_code():
    """Notebook 03 introduces WithSoftmax; the helper of that name does the same."""
    from helpers import onnx_export

    _, code = read(paths.ROOT / "notebooks/03_export_to_onnx.ipynb")
    (shown,) = [cell.source for cell in code if "class WithSoftmax" in cell.source]
    names = {}
    exec(shown.split("\n\n\npixels =")[0], names)
    body = torch.nn.Linear(3, 5)
    image = torch.rand(2, 3)
    assert torch.equal(names["WithSoftmax"](body)(image), onnx_export.WithSoftmax(body)(image))


def test_the_repair_is_compared_with_the_network_that_it_was_trained_on_from():
    """Notebook 06: the learner's own network, in quick mode a smaller one, would flatter the camera network."""
    _, code = read(paths.ROOT / "notebooks/06_why_80_becomes_60.ipynb")
    made = {"SHIPPED", "CAMERA", "camera_network, card", "files", "roads"}
    lines = [line for cell in code for line in ast.parse(cell.source).body if isinstance(line, ast.Assign)]
    lines = [line for line in lines if ast.unparse(line.targets[0]).strip("()") in made]
    assert len(lines) == len(made)
    learners = model.AlexNet(width=0.5).eval()
    names = {"checkpoints": checkpoints, "photos": photos, "load": load, "network": learners}
    exec("\n".join(map(ast.unparse, lines)), names)
    images = torch.randint(0, 256, (2, 3, 32, 32), dtype=torch.uint8)
    labels = torch.zeros(2, dtype=torch.int64)
    networks = {"plain": checkpoints.load_checkpoint()[0], "camera": checkpoints.load_camera()[0]}
    compared = [*names["files"].items(), *((name, file) for name, (file, _) in names["roads"].items())]
    assert len(compared) == 6
    for name, file in compared:
        expected = networks[name.split()[0]](images / 255).softmax(1)
        assert torch.allclose(photos.ask(file, images, labels).probs, expected, atol=1e-4), name


@every_notebook
def test_it_imports_nothing_it_does_not_use(path):
    tree = ast.parse("\n".join(cell.source for cell in read(path)[1]))
    imported = {
        (alias.asname or alias.name).split(".")[0]
        for node in ast.walk(tree)
        if isinstance(node, ast.Import | ast.ImportFrom)
        for alias in node.names
    } - {"check", "hint", "solution"}  # for whoever types them
    used = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
    assert imported <= used


def test_the_readme_says_what_was_measured():
    text = readme.README.read_text(encoding="utf-8")
    assert readme.filled(text) == text, "run: python -m helpers.workshop.readme"
    full = measured.read("notebooks")["full"]
    assert f"{full['test_accuracy']:.2%}" in text
    assert f"{full['parity']['AlexNet.mlpackage']['max_abs_diff']:.1e}" in text


def test_a_difference_in_the_photos_table_is_to_the_last_row_without_one():
    rows = [line.split(" | ") for line in readme.the_photos().splitlines()[2:]]
    compared, base = 0, None
    for _, accuracy, difference in rows:
        right = float(accuracy.split("%")[0])
        if difference.strip(" |"):
            assert right - base == pytest.approx(float(difference.split(" (")[0]), abs=0.11)
            compared += 1
        else:
            base = right
    assert compared > 5


@every_notebook
def test_its_head_says_how_long_it_takes(path):
    head = read(path)[0][0].source
    assert readme.with_time(head, path.stem) == head, "run: python -m helpers.workshop.readme"
    assert re.search(r"\d+ (seconds|minutes) in `quick` mode, \d+ (seconds|minutes) in `full` mode", head)


@every_notebook
def test_its_head_says_how_long_it_is_read(path):
    notebook = nbformat.read(path, as_version=4)
    saved = notebook.cells[0].source
    head = readme.with_reading_time(saved, notebook)
    assert saved in (
        head,
        "\n".join(line for line in head.splitlines() if not line.startswith(readme.READING)),
    )
    (line,) = re.findall(
        r"^\| \*\*Reading\*\* \| about (\d+) minutes; (\d+) for .* \|\n\| \*\*It takes", head, re.M
    )
    assert 2 <= int(line[0]) < int(line[1]) < 100
    notebook.cells[0].source = head
    assert readme.with_reading_time(head, notebook) == head == readme.with_time(head, path.stem)


def test_the_minutes_of_reading_are_those_of_words_lines_and_figures():
    v4 = nbformat.v4
    text = v4.new_markdown_cell("word " * 238)
    code = v4.new_code_cell("x = 1\n\n" * 50)
    figure = v4.new_output("display_data", {"image/png": ""})
    assert readme.reading_minutes(v4.new_notebook(cells=[text])) == 1
    assert readme.reading_minutes(v4.new_notebook(cells=[code])) == 6
    assert readme.reading_minutes(v4.new_notebook(cells=[v4.new_code_cell("", outputs=[figure] * 15)])) == 3
    assert (
        readme.reading_minutes(v4.new_notebook(cells=[text, code, v4.new_markdown_cell("word " * 238)])) == 8
    )
    table = v4.new_markdown_cell("# A\n\n| | |\n|---|---|\n| **You will** | see |\n\nText.")
    head = readme.with_reading_time(table.source, v4.new_notebook(cells=[table]))
    assert head.splitlines()[4:7] == ["| **You will** | see |", head.splitlines()[5], ""]
    assert head.splitlines()[5].startswith("| **Reading** | about 1 minutes")


def test_a_readme_without_a_place_for_its_table_is_an_error():
    with pytest.raises(ValueError, match="no place for the table 'badges'"):
        readme.filled("# an empty page")
