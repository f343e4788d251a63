"""dtconn: send signed events as DT Cloud does, and look at what is stored."""


class CommandError(Exception):
    """What keeps a command from its work, as sentences for a person that say what to do next.

    Attributes:
        exit_code: 1 when the surroundings are not ready, 2 when the command was not given what it needs.
    """

    def __init__(self, message: str, exit_code: int = 1) -> None:
        super().__init__(message)
        self.exit_code = exit_code
