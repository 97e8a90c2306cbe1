"""How long the road may take: the one place that reads ``CHAPTER_MODE``.

=======  ====================================================================
quick    a short training that still passes 80 %: what a learner wants, and
         the default of ``make run`` and of a notebook opened by hand
full     the recipe of the shipped checkpoint
smoke    seconds, on drawings: for tests
=======  ====================================================================
"""

import os

MODES = ("quick", "full", "smoke")


def mode() -> str:
    """The mode of this run: ``"quick"``, ``"full"`` or ``"smoke"``.

    Raises:
        ValueError: ``CHAPTER_MODE`` holds another word.
    """
    chosen = os.environ.get("CHAPTER_MODE") or "quick"
    if chosen not in MODES:
        raise ValueError(f"CHAPTER_MODE is {chosen!r}. The modes are {', '.join(MODES)}: set one of these.")
    return chosen
