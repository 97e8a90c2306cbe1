"""What the project says of itself where others look for it: CITATION.cff, pyproject.toml, LICENSE, CHANGELOG.md."""

import re
import tomllib

import pytest
import yaml

from helpers.plumbing import paths
from helpers.workshop import address, environment


def text(name):
    return (paths.ROOT / name).read_text(encoding="utf-8")


CITATION = yaml.safe_load(text("CITATION.cff"))
PROJECT = tomllib.loads(text("pyproject.toml"))["project"]
TITLE = text("README.md").splitlines()[0].removeprefix("# ")


def test_the_citation_has_what_its_format_asks_for():
    """The keys of version 1.2.0 that have to be there, and no other than it knows."""
    assert {"cff-version", "message", "title", "authors"} <= set(CITATION)
    optional = {
        "type",
        "abstract",
        "version",
        "license",
        "keywords",
        "repository-code",
        "date-released",
        "doi",
    }
    assert set(CITATION) <= {"cff-version", "message", "title", "authors"} | optional
    assert CITATION["cff-version"] == "1.2.0" and CITATION["type"] == "software"
    assert all(
        isinstance(value, str) for key, value in CITATION.items() if key not in ("authors", "keywords")
    )


def test_title_authors_and_keywords_are_the_same_everywhere():
    authors = [author["name"] for author in CITATION["authors"]]
    assert authors == [author["name"] for author in PROJECT["authors"]]
    (holders,) = re.findall(r"Copyright \(c\) \d+ (.+)", text("LICENSE"))
    assert holders == authors[0]
    assert CITATION["title"] == TITLE and TITLE in PROJECT["description"] and TITLE in holders
    assert CITATION["keywords"] == PROJECT["keywords"] and len(set(PROJECT["keywords"])) >= 5


def test_the_version_is_the_same_everywhere():
    """A version that was tagged has its part in the changelog, and is the newest there."""
    assert CITATION["version"] == PROJECT["version"]
    tagged = re.findall(r"^## \[?v?(\d+\.\d+\.\d+)", text("CHANGELOG.md"), re.M)
    assert tagged[:1] in ([], [PROJECT["version"]])
    assert tagged or "No version has been tagged yet" in text("CHANGELOG.md")


def test_the_licence_is_the_same_everywhere():
    assert CITATION["license"] == PROJECT["license"] == "MIT"
    assert "MIT License" in text("LICENSE")
    assert "https://creativecommons.org/licenses/by/4.0/" in text("LICENSE")
    assert "CC-BY-4.0" in text("CITATION.cff")


def test_the_address_is_the_one_that_is_known():
    assert CITATION.get("repository-code") == address.address(), "run: python -m helpers.workshop.address"
    assert "doi" not in CITATION or re.fullmatch(r"10\.\d{4,}/\S+", CITATION["doi"])


def test_the_classifiers_name_the_pythons_that_are_supported():
    named = [one.split(" :: ")[-1] for one in PROJECT["classifiers"] if "Python :: " in one]
    (major, oldest), (_, newest) = environment.OLDEST, environment.NEWEST
    assert named == [f"{major}.{minor}" for minor in range(oldest, newest + 1)]
    assert PROJECT["requires-python"] == f">={named[0]},<{major}.{newest + 1}"


@pytest.mark.parametrize("name", ["CITATION.cff", "pyproject.toml"])
def test_no_line_is_longer_than_a_screen(name):
    assert max(map(len, text(name).splitlines())) <= 125
