"""What a decision rests on or grants that nothing keeps where no sandbox follows it.

For hosts on which `airlock admit --final` is all that runs: docs/hosts.md#agent-stack-k8s
"""

from bootstrap.policy.granted import granted
from bootstrap.policy.model import Admitted, Grant

# A pod has a workspace of its own, whichever of the two a rule asks for. Variables that `env` does
# not list are refused (steering.not_listed).
_KEPT = ("workspace", "env")


def needs_sandbox(admitted: Admitted) -> tuple[str, ...]:
    """Return the keys of the rule that need `airlock bootstrap`, sorted; () if none does.

    They are every key of its grant that is not the default, and `commit-on-branch`, because only
    the sandbox has the commit checked out that was judged.
    """
    nothing = granted(Grant())
    keys = {
        key.replace("_", "-")
        for key, value in granted(admitted.grant).items()
        if key not in _KEPT and value != nothing.get(key)
    }
    if any(
        reason.rule == admitted.rule and reason.subject == "commit-on-branch"
        for reason in admitted.reasons
    ):
        keys.add("commit-on-branch")
    return tuple(sorted(keys))
