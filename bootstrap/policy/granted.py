"""A grant by its keys, as JSON has it: in a decision's record, and in what commands print."""

import json
from dataclasses import asdict
from typing import Any

from bootstrap.policy.model import Grant


def granted(grant: Grant) -> dict[str, Any]:
    """Return the grant's settings and kinds by their keys: text, numbers, lists and mappings."""
    named = {kind.key.replace("-", "_"): kind.granted for kind in grant.kinds}
    whole = {**named, **{key: value for key, value in asdict(grant).items() if key != "kinds"}}
    plain: dict[str, Any] = json.loads(json.dumps(whole, default=str))
    return plain
