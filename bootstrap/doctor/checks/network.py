"""Checks of the network: the ruleset, the rules behind it, and what could collide with them."""

from itertools import zip_longest

from bootstrap.doctor.model import Check, Stage, Verdict, after, fail, known, ok, unknown, warn
from bootstrap.doctor.snapshot import Snapshot
from bootstrap.text import printable

_NOT_YET = "the service creates it within a minute of its start, and so does the first job"


def _nftables(snapshot: Snapshot) -> Verdict:
    known(snapshot.network.ruleset)
    return ok("nft and the kernel take Airlock's ruleset")


def _ruleset(snapshot: Snapshot) -> Verdict:
    wanted = after(snapshot.network.ruleset, "nftables")
    found = known(snapshot.network.loaded)
    if found == wanted:
        return ok("table inet airlock is exactly airlock.nft")
    if not found:
        return _absent(snapshot, "table inet airlock is not loaded")
    return fail(
        f"table inet airlock differs from airlock.nft: {_difference(wanted, found)}",
        "`airlock doctor --fix` loads it again. If it changes once more, `nft monitor` shows which "
        "program does that.",
    )


def _absent(snapshot: Snapshot, seen: str) -> Verdict:
    """Before the first job it need not be there; once the service runs, it has to be.

    Raises NotKnown where it does not run because of its configuration.
    """
    if snapshot.stage is not Stage.RUN:
        return ok(f"{seen}: {_NOT_YET}")
    after(snapshot.host, "configuration")
    return fail(
        seen,
        "`airlock doctor --fix` creates it, and so does the service when no job runs. If it goes "
        "again, `nft monitor` and `ip monitor rule` show which program removes it.",
    )


def _difference(wanted: str, found: str) -> str:
    """Return the first line that differs, as it is and as it should be."""
    pairs = zip_longest(wanted.splitlines(), found.splitlines(), fillvalue="")
    expected, got = next((pair for pair in pairs if pair[0] != pair[1]), ("", ""))
    return f"got {printable(got.strip()) or 'no line'}, expected {expected.strip() or 'none'}"


def _rules(snapshot: Snapshot) -> Verdict:
    if not snapshot.network.has_bridge:
        return _absent(snapshot, "the bridge airlock0 does not exist")
    missing = known(snapshot.network.missing_rules)
    if missing:
        return fail(
            f"no routing rule refuses what comes from airlock0: {' and '.join(missing)}",
            "`airlock doctor --fix` puts it back. Where systemd-networkd runs, see the check "
            "networkd: it removes rules of others.",
        )
    return ok("rules 1690 refuse the metadata range and IPv6 from airlock0")


def _networkd(snapshot: Snapshot) -> Verdict:
    leaves = known(snapshot.network.networkd)
    if leaves is None:
        return ok("systemd-networkd does not run")
    if leaves:
        return ok("systemd-networkd leaves rules of others alone")
    return warn(
        "systemd-networkd removes routing rules that it has not made, each time it starts",
        "Write ManageForeignRoutingPolicyRules=no below [Network] in "
        "/etc/systemd/networkd.conf.d/airlock.conf, and `systemctl restart systemd-networkd`.",
    )


def _subnet(snapshot: Snapshot) -> Verdict:
    known(snapshot.network.subnet)
    return ok(f"no route and no address of this host is in {snapshot.configured.sandbox.subnet}")


def _docker_network(snapshot: Snapshot) -> Verdict:
    found = known(snapshot.network.docker_network)
    wanted = str(snapshot.configured.sandbox.subnet)
    if found is None:
        return ok(f"not there yet: {_NOT_YET}")
    if found == (wanted,):
        return ok(f"{wanted}, without IPv6")
    return warn(
        f"it has the subnet {' and '.join(found)}, expected {wanted} (sandbox.subnet)",
        "Let the jobs of this host end: the next one creates it anew. Until then new ones end with "
        "125.",
    )


def _ipv6(snapshot: Snapshot) -> Verdict:
    found = known(snapshot.network.bridge_ipv6)
    if found:
        return fail(
            f"airlock0 has the address {', '.join(found)}",
            f"`ip -6 addr del {found[0]} dev airlock0`, and find what gives it: jobs do not start "
            "while containers have IPv6.",
        )
    return ok("containers have none")


def _forwarding(snapshot: Snapshot) -> Verdict:
    if snapshot.machine.settings.get("net/ipv4/ip_forward") == 0:
        return fail(
            "net.ipv4.ip_forward is 0",
            "`sysctl -w net.ipv4.ip_forward=1`, and the same in /etc/sysctl.d: Docker sets it only "
            "when it starts.",
        )
    return ok("net.ipv4.ip_forward is 1")


def _resolvers(snapshot: Snapshot) -> Verdict:
    lines = known(snapshot.network.resolv_conf).splitlines()
    servers = [line.split()[1] for line in lines if line.startswith("nameserver ")]
    if not servers:
        return warn(
            "sandbox.dns is []: jobs look up no names",
            "Unless that is intended, leave `dns` out of [sandbox] in airlock.toml.",
        )
    if len(servers) > 3:
        return warn(
            f"{len(servers)} resolvers, of which jobs ask three: {', '.join(servers[:3])}",
            "Set sandbox.dns in airlock.toml to the three that jobs should ask.",
        )
    return ok(", ".join(servers))


def _ecs(snapshot: Snapshot) -> Verdict:
    found = known(snapshot.network.ecs)
    if not found:
        return ok("nothing else has 169.254.170.2")
    return fail(
        "; ".join(found),
        "Do not run an ECS agent on hosts of Airlock: `systemctl disable --now ecs`. Both serve "
        "credentials at 169.254.170.2.",
    )


def _nat(snapshot: Snapshot) -> Verdict:
    after(snapshot.network.ruleset, "nftables")
    found = known(snapshot.network.led_elsewhere)
    if not found:
        return ok("no rule of another program leads 169.254.169.254 or 169.254.170.2 elsewhere")
    return warn(
        "; ".join(printable(one, limit=200) for one in found[:3]),
        "An ECS agent that was killed leaves such rules: restart this host, or delete them: "
        "`iptables-save -t nat` shows them, and `iptables -t nat -D` deletes one; `nft -a list "
        "ruleset` shows the handles for `nft delete rule`.",
    )


def _trial_dns(snapshot: Snapshot) -> Verdict:
    lookups = after(snapshot.trial, "isolation").lookups
    if not lookups:
        return ok("jobs look up no names (sandbox.dns is [])")
    bad = [one for one in lookups if one.answer]
    if not bad:
        names = ", ".join(str(one.server) for one in lookups)
        return ok(f"{lookups[0].name} is known to {names}")
    shown = "; ".join(f"{one.server}: {one.answer}" for one in bad)
    fix = (
        "Let this host's firewall, and the security group, pass DNS from sandbox.subnet; or set "
        "sandbox.dns in airlock.toml to resolvers that answer it, such as the VPC's base address "
        "plus two."
    )
    if len(bad) < len(lookups):
        return warn(f"not every resolver knows {bad[0].name}: {shown}", fix)
    return fail(f"no resolver answers a container with {bad[0].name}: {shown}", fix)


def _proof(snapshot: Snapshot) -> Verdict:
    probes = known(snapshot.trial).proof
    if not probes:
        return unknown("the container was opened without a proof")
    return ok(f"a container was opened as a job's is, and {len(probes)} probes passed")


TITLE = "Network"
CHECKS = (
    Check(
        name="nftables", judge=_nftables, what="nft and the kernel take Airlock's ruleset",
        why="Without it no job can be isolated, so none starts.",
    ),
    Check(
        name="ruleset", judge=_ruleset, since=Stage.START, repair="loads it",
        what="Table inet airlock is exactly airlock.nft",
        why="It keeps jobs from the metadata service, from this host and from each other. A job "
        "that finds it changed loads it again; one that runs is stopped.",
    ),
    Check(
        name="routing-rules", judge=_rules, since=Stage.START, repair="adds them",
        what="Routing rules refuse the metadata range, and IPv6, from airlock0",
        why="They hold while another program has flushed nftables.",
    ),
    Check(
        name="networkd", judge=_networkd,
        what="systemd-networkd, where it runs, leaves routing rules of others alone",
        why="Otherwise the routing rules are gone after each of its restarts, until the next job.",
    ),
    Check(
        name="subnet", judge=_subnet, since=Stage.START,
        what="No route or address of this host is in sandbox.subnet",
        why="Jobs could not reach what is there, and end with 78.",
    ),
    Check(
        name="docker-network", judge=_docker_network,
        what="The Docker network airlock is the one that Airlock creates",
        why="The ruleset covers its bridge, and no other.",
    ),
    Check(
        name="ipv6", judge=_ipv6, since=Stage.START, what="airlock0 has no IPv6 address",
        why="The metadata service has one too; the proof refuses containers with IPv6.",
    ),
    Check(
        name="forwarding", judge=_forwarding, what="The kernel forwards packets of containers",
        why="Otherwise jobs have no network at all.",
    ),
    Check(
        name="resolvers", judge=_resolvers, since=Stage.START,
        what="A container can reach a resolver of this host",
        why="Jobs end with 78 where none of the host's resolvers can be reached.",
    ),
    Check(
        name="ecs-agent", judge=_ecs, what="No ECS agent serves credentials at 169.254.170.2",
        why="Jobs are led to Airlock's endpoint at that address; tasks of ECS would be too.",
    ),
    Check(
        name="nat-rules", judge=_nat,
        what="No rule of another program leads a metadata address elsewhere",
        why="What a job without a role sends there may get lost, which ends the job with 125; "
        "programs of this host, Airlock among them, get credentials from whoever answers there.",
    ),
    Check(
        name="isolation", judge=_proof,
        what="A container that is opened as a job's is passes every probe",
        why="That is what a job has to pass: otherwise it ends with 125.",
    ),
    Check(
        name="dns", judge=_trial_dns, since=Stage.START,
        what="A container gets answers from its resolvers",
        why="Without names a job reaches neither Buildkite nor its repository.",
    ),
)  # fmt: skip
