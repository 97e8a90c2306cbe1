"""Chinese for the book's search, without a dictionary.

Sphinx's own Chinese search cuts sentences with the package jieba, whose last version is of 2020. Here two neighbouring
signs are a term, as in Lucene's analyser for Chinese, Japanese and Korean (https://lucene.apache.org/core/): 归一化 is
found where both 归一 and 一化 stand. Latin words are cut and stemmed as in the English book.
"""

import re

from sphinx.search.en import SearchEnglish

RUN = re.compile(r"[\u3400-\u9fff]+|\w+?(?=[\u3400-\u9fff])|\w+")
"""A run of Chinese signs, or a word."""


def split(text: str) -> list[str]:
    """The terms of a text: of a run of Chinese signs all pairs (one sign alone is itself a term), and every word."""
    found = []
    for run in RUN.findall(text):
        if not re.match(r"[\u3400-\u9fff]", run) or len(run) == 1:
            found.append(run)
        else:
            found += [run[place : place + 2] for place in range(len(run) - 1)]
    return found


class Chinese(SearchEnglish):
    """Sphinx's English search, which also knows what is a term in Chinese; the browser does the same to a question."""

    lang = "zh"
    language_name = "English"  # whose stemmer it is, for the browser
    js_splitter_code = r"""
var splitQuery = (query) => [...query.matchAll(/[\u3400-\u9fff]+|[\p{L}\p{N}_]+?(?=[\u3400-\u9fff])|[\p{L}\p{N}_]+/gu)]
  .flatMap(([run]) => /^[\u3400-\u9fff]{2}/.test(run)
    ? [...run].slice(1).map((sign, place) => run[place] + sign) : [run]);
"""

    def split(self, input: str) -> list[str]:
        return split(input)
