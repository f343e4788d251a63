"""Makes untrusted text safe for a terminal."""


def printable(text: str) -> str:
    """Replace terminal control characters by ``?``: C0, C1, and those of writing direction.

    `str.isprintable` rejects the Unicode categories "Other" and "Separator", except the space.
    """
    if text.isprintable():
        return text
    return "".join(character if character.isprintable() else "?" for character in text)
