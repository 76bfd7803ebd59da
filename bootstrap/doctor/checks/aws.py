"""Checks of AWS: the metadata service, who this host is, its clock and its role."""

from bootstrap.doctor.model import Check, Stage, Verdict, fail, known, ok, warn
from bootstrap.doctor.snapshot import Snapshot

SKEW, REFUSED = 30.0, 300.0  # seconds
_OPTIONS = "aws ec2 modify-instance-metadata-options --instance-id ID"


def _of_instance(snapshot: Snapshot) -> str:
    """Return where credentials come from if it is not the metadata service, else ""."""
    source = snapshot.configured.aws.credentials
    return "" if source == "instance-role" else source


def _tokens(snapshot: Snapshot) -> Verdict:
    if source := _of_instance(snapshot):
        return ok(f"not used: credentials come from {source}")
    found = known(snapshot.metadata)
    if not found.gives_tokens:
        return fail(
            "the metadata service gives no token, so this host has no credentials",
            f"`{_OPTIONS} --http-endpoint enabled --http-tokens required`.",
        )
    if found.answers_without_token:
        return fail(
            "the metadata service answers requests without a token (IMDSv1)",
            f"`{_OPTIONS} --http-tokens required`; in a launch template "
            "MetadataOptions.HttpTokens: required.",
        )
    return ok("a token is required (IMDSv2)")


def _hop_limit(snapshot: Snapshot) -> Verdict:
    if source := _of_instance(snapshot):
        return ok(f"not used: credentials come from {source}")
    if known(snapshot.metadata).passes_a_hop:
        return warn(
            "tokens travel more than one hop: the hop limit is above 1",
            f"`{_OPTIONS} --http-put-response-hop-limit 1`; in a launch template "
            "MetadataOptions.HttpPutResponseHopLimit: 1.",
        )
    return ok("1: no token reaches a container")


def _identity(snapshot: Snapshot) -> Verdict:
    return ok(known(snapshot.aws.identity))


def _clock(snapshot: Snapshot) -> Verdict:
    ahead = known(snapshot.aws.clock)
    if abs(ahead) < SKEW:
        return ok("within half a minute of AWS's")
    fix = (
        "Set the clock and keep it so: `systemctl enable --now chronyd` (Debian: chrony), then "
        "`chronyc makestep`."
    )
    seen = f"{abs(ahead):.0f} s {'ahead of' if ahead > 0 else 'behind'} AWS's"
    return fail(seen, fix) if abs(ahead) >= REFUSED else warn(seen, fix)


def _role(snapshot: Snapshot) -> Verdict:
    found = known(snapshot.aws.excess)
    if not found:
        return ok("it may not read every parameter or every secret")
    return warn(
        f"the host's role may do {' and '.join(found)}",
        "Give the role what `airlock policy iam --host-role ARN` prints, and nothing else; detach "
        "managed policies such as AmazonSSMManagedInstanceCore, which allows ssm:GetParameters.",
    )


TITLE = "AWS"
CHECKS = (
    Check(
        name="imds-tokens", judge=_tokens, since=Stage.START,
        what="The metadata service requires a token (IMDSv2)",
        why="Without tokens, a program on this host that fetches URLs for others gives the "
        "instance's credentials away.",
    ),
    Check(
        name="imds-hop-limit", judge=_hop_limit, since=Stage.START,
        what="The metadata service's hop limit is 1",
        why="It is a protection beside Airlock's, for every container of this host.",
    ),
    Check(
        name="aws-identity", judge=_identity, since=Stage.START,
        what="STS knows the host's own credentials",
        why="Every job with a role or a secret needs them, and policies in SSM do.",
    ),
    Check(
        name="clock", judge=_clock, since=Stage.START,
        what="The host's clock is within half a minute of AWS's",
        why="AWS refuses requests whose time is five minutes off, and renewals come too late "
        "before that.",
    ),
    Check(
        name="host-role", judge=_role, since=Stage.START,
        what="The host's role may not read every parameter or every secret",
        why="Whatever gets out of a sandbox is the host's role. It has to assume roles, and to "
        "read what policies name.",
    ),
)  # fmt: skip
