"""The report page."""


def write(*arguments: object) -> None:
    """Nothing yet."""
