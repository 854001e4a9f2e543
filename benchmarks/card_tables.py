"""Tables in the cards of the bundled models, between a pair of comments."""

from pathlib import Path

from ase_deeppot.files import write_atomically

MODELS = Path(__file__).resolve().parents[1] / "models"


def put(name: str, part: str, table: str) -> None:
    """Put a table into the card of a model, in place of what is between the comments of its part.

    Raises
    ------
    ValueError
        If the card has no such comments.
    """
    path = MODELS / f"{name}.md"
    text = path.read_text(encoding="utf-8")
    begin, end = f"<!-- {part} -->\n", f"<!-- end of {part} -->"
    if begin not in text or end not in text:
        raise ValueError(f"expected the comments {begin.strip()} and {end} in {path}")
    before, rest = text.split(begin)
    write_atomically(path, (before + begin + table + end + rest.split(end)[1]).encode())
