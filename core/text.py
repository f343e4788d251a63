"""Text from outside, for a terminal."""


def printable(text: str) -> str:
    """Replace by ``?`` whatever could steer a terminal: the controls C0 and C1, and those of writing direction.

    `str.isprintable` knows them all, as categories "Other" and "Separator" of Unicode, and takes the space alone.
    """
    if text.isprintable():
        return text
    return "".join(character if character.isprintable() else "?" for character in text)
