"""Things that a test found out and wants to be read, also where it passes."""

NOTES: list[str] = []


def tell(text: str) -> None:
    """Show this below the test's name."""
    NOTES.extend(text.splitlines())
