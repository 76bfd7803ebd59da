"""Why an input cannot be used, where there is more to do about it than to name another one."""


class Unusable(ValueError):
    """An input that cannot be used; `hint` is what to do."""

    def __init__(self, problem: str, *, hint: str) -> None:
        super().__init__(problem)
        self.hint = hint
