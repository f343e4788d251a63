"""dtconn: sends signed events as DT Cloud does, and lists stored events."""


class CommandError(Exception):
    """A command cannot run. ``str()`` tells the user what to do next.

    Attributes:
        exit_code: 1 if the environment is not ready, 2 if an argument is missing or wrong.
    """

    def __init__(self, message: str, exit_code: int = 1) -> None:
        super().__init__(message)
        self.exit_code = exit_code
