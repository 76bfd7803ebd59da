"""The names of AWS accounts, for people who do not know them by their digits."""

import json
import re
from collections.abc import Mapping
from typing import Any

_ID = re.compile(r"\d{12}", re.ASCII)


def account_names(text: str) -> Mapping[str, str]:
    """Return names by account id, of the output of `aws organizations list-accounts`.

    A JSON object of ids and names is accepted too. Raises ValueError with what was expected.
    """
    try:
        found: Any = json.loads(text)
    except (ValueError, RecursionError):
        raise ValueError("it is not JSON") from None
    match found:
        case {"Accounts": list(accounts)}:
            return dict(_pair(one) for one in accounts)
        case dict():
            return dict(_checked(id_, name) for id_, name in found.items())
        case _:
            raise ValueError("expected a JSON object")


def _pair(account: object) -> tuple[str, str]:
    match account:
        case {"Id": id_, "Name": name}:
            return _checked(id_, name)
        case _:
            raise ValueError("expected an Id and a Name of every account")


def _checked(id_: object, name: object) -> tuple[str, str]:
    if not isinstance(id_, str) or not _ID.fullmatch(id_):
        raise ValueError(f"expected an account's twelve digits, got {str(id_)[:40]!r}")
    if not isinstance(name, str) or not name:
        raise ValueError(f"expected the name of account {id_} as text")
    return id_, name
