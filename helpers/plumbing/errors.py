"""What another library's error says, in a sentence of ours."""

from helpers.plumbing import paths


def first_line(error: Exception) -> str:
    """The first line of its text, short and without a full stop; the name of its type if it has no text."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return paths.printable(lines[0][:300]).rstrip(".: ")
