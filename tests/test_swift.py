"""The app, compiled as its Xcode project asks, and run: with stubs of Apple's frameworks, see ``tests/swift``.

What a Mac adds is the real Core ML, Vision and camera. Without a compiler these tests are skipped;
``make swift`` installs one.
"""

import re

import pytest

from helpers.ios_app import TEMPLATE, write_app
from tests.swift import compiler as swift
from tests.swift.changes import CHANGES

COMPILER = swift.find()
pytestmark = pytest.mark.skipif(COMPILER is None, reason=swift.MISSING)

CHECKS = 105
"""How many checks ``tests/swift/Logic.swift`` makes: one that is not reached would pass in silence."""


def asked(configuration: str) -> list[str]:
    """The flags that Xcode makes of the project's settings, Debug or Release."""
    project = (TEMPLATE / "__APP__.xcodeproj/project.pbxproj").read_text(encoding="utf-8")
    settings = re.findall(rf"/\* {configuration} \*/ = {{(.*?)\n\t\t}};", project, re.S)
    (chosen,) = [
        dict(re.findall(r"(\w+) = \"?([^\";]+)\"?;", text)) for text in settings if "SWIFT_VERSION" in text
    ]
    flags = ["-swift-version", chosen["SWIFT_VERSION"].removesuffix(".0")]
    flags += [f"-strict-concurrency={chosen['SWIFT_STRICT_CONCURRENCY']}"]
    flags += [chosen.get("SWIFT_OPTIMIZATION_LEVEL", "-O")]
    flags += ["-enable-testing"] if chosen.get("ENABLE_TESTABILITY") == "YES" else []
    defined = chosen.get("SWIFT_ACTIVE_COMPILATION_CONDITIONS")
    return flags + (["-D", defined] if defined else [])


def test_the_app_and_its_tests_compile_as_the_project_asks():
    assert asked("Debug")[:3] == ["-swift-version", "6", "-strict-concurrency=complete"]
    with swift.Project(COMPILER) as project:
        project.compile(*asked("Debug"), simulator=True, tests=True)


def test_an_app_as_it_is_written_compiles(grey_model, tmp_path):
    """Around a network that is not ours: five classes with odd names, of grey pictures that are not square."""
    write_app(grey_model, tmp_path / "OddApp", threshold=0.6)
    with swift.Project(COMPILER, written=tmp_path / "OddApp") as project:
        project.compile(*asked("Debug"), simulator=True, tests=True)


def test_the_app_compiles_for_a_phone_and_for_the_shop():
    assert asked("Release")[:4] == ["-swift-version", "6", "-strict-concurrency=complete", "-O"]
    with swift.Project(COMPILER) as project:
        project.compile(*asked("Release"))


def test_what_the_app_decides_is_right():
    with swift.Project(COMPILER) as project:
        assert project.logic().splitlines()[-1] == f"{CHECKS} checks passed"


def test_every_change_has_a_name_of_its_own():
    assert len({change.name for change in CHANGES}) == len(CHANGES)


@pytest.mark.parametrize("change", [change for change in CHANGES if change.often], ids=lambda each: each.name)
def test_a_change_for_the_worse_is_noticed(change):
    """Some of them; ``python -m tests.swift`` tries all."""
    assert change.noticed(COMPILER)
