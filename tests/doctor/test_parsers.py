"""What doctor reads was written by other programs: every parser takes any text."""

import gzip
import socket
import struct
from ipaddress import IPv4Address
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bootstrap import packaged
from bootstrap.doctor import agent_cfg, versions
from bootstrap.doctor.model import Unread
from bootstrap.doctor.read import engine, lookups, machine, nat, network, packages, trial, units
from bootstrap.doctor.read.places import Places
from bootstrap.doctor.read.reading import here
from bootstrap.sandbox.egress import messages
from tests.fakes.dns import Resolver

TABLE = versions.table(packaged.text("bootstrap.doctor", "cves.toml"))
LINES = st.text(st.characters(codec="utf-8"), max_size=300)


@given(LINES)
def test_any_text_is_taken(text: str) -> None:
    """No parser raises; what it does not understand it leaves out."""
    assert all(isinstance(value, str) for value in agent_cfg.parse(text).values())
    assert all(isinstance(found.path, Path) for found in machine.mounts(text))
    assert set(machine.kernel(text, text, text)) <= set("0123456789.")
    assert all(isinstance(number, int) for number in versions.version(text))
    assert all(name for name, _ in units.properties(text)) or "=" in text
    assert isinstance(trial.contents(text), dict)
    assert isinstance(engine.of_command_line(text.split("\0")), dict)
    assert isinstance(list(versions.affected(TABLE, "runc", text)), list)
    assert isinstance([*nat.in_nftables(text), *nat.in_iptables(text)], list)


@given(st.binary(max_size=64), st.integers(0, 65535))
def test_any_answer_of_a_resolver_is_taken(rest: bytes, number: int) -> None:
    answer = struct.pack("!H", number) + rest
    assert lookups.problem(answer, "agent.buildkite.com", number)


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ('token="abc"', {"token": "abc"}),
        ("spawn=4", {"spawn": "4"}),
        ("spawn = 4   # as many as processors", {"spawn": "4"}),
        ('tags="queue=default,os=linux"', {"tags": "queue=default,os=linux"}),
        ("shell='/bin/bash -e -c'", {"shell": "/bin/bash -e -c"}),
        ('name="a # b"', {"name": "a # b"}),
        ('name="a" # its name', {"name": "a"}),
        ("export debug=true", {"debug": "true"}),
        ("hooks_path: /hooks", {"hooks-path": "/hooks"}),
        ("# spawn=4", {}),
        ("spawn", {}),
        ("spawn=", {"spawn": ""}),
        ("spawn=1\nspawn=2", {"spawn": "2"}),
        (r'name="say \"hi\""', {"name": 'say "hi"'}),
    ],
)
def test_agent_configuration_is_read_as_the_agent_reads_it(
    line: str, expected: dict[str, str]
) -> None:
    assert agent_cfg.parse(line) == expected


@given(st.from_regex(r"[a-z][a-z-]{0,20}", fullmatch=True), st.text("abc /._:=,#'", max_size=40))
def test_quoted_value_of_the_agent_configuration_is_read_back(name: str, value: str) -> None:
    assert agent_cfg.parse(f'{name}="{value}"') == {name: value}


@pytest.mark.parametrize(
    ("settings", "expected"),
    [({}, 1), ({"spawn": "3"}, 3), ({"spawn-per-cpu": "2"}, 8), ({"spawn": "9" * 5000}, 1),
     ({"spawn": "-1"}, 1), ({"spawn": "3", "spawn-per-cpu": "0"}, 3)],
)  # fmt: skip
def test_agents_are_those_that_are_spawned(settings: dict[str, str], expected: int) -> None:
    assert agent_cfg.agents(settings, 4) == expected


@pytest.mark.parametrize(
    ("release", "version", "signature", "expected"),
    [
        ("6.1.0-37-amd64", "#1 SMP PREEMPT_DYNAMIC Debian 6.1.140-1 (2025-05-22)", "", "6.1.140"),
        ("5.15.0-119-generic", "#129-Ubuntu SMP", "Ubuntu 5.15.0-119.129-generic 5.15.160\n",
         "5.15.160"),
        ("6.1.141-155.222.amzn2023.x86_64", "#1 SMP PREEMPT_DYNAMIC", "", "6.1.141"),
        ("6.18.44-fc-v769", "#1 SMP", "", "6.18.44"),
        ("7.1", "", "", "7.1"),
    ],
)  # fmt: skip
def test_kernel_is_the_upstream_version(
    release: str, version: str, signature: str, expected: str
) -> None:
    assert machine.kernel(release, version, signature) == expected


@pytest.mark.parametrize(
    ("component", "version", "expected"),
    [
        ("runc", "1.1.11", {"CVE-2024-21626"}),
        ("runc", "1.1.12", set()),  # a series without a fix of the later ones
        ("runc", "1.2.8", set()),
        ("runc", "1.3.2", {"CVE-2025-31133", "CVE-2025-52565", "CVE-2025-52881"}),
        ("runc", "v1.4.0-rc.3", set()),
        ("runc", "1.6.0", set()),  # newer than the table
        ("containerd", "2.1.4", {"CVE-2024-25621"}),
        ("containerd", "2.2.0", set()),
        ("kernel", "5.4.300", {"CVE-2026-43284"}),
        ("kernel", "5.10.90", {"CVE-2022-0847", "CVE-2026-43284"}),
        ("kernel", "6.18.28", set()),
        ("kernel", "4.4", set()),  # before either
        ("runc", "", set()),
        ("runc", "unknown", set()),
    ],
)
def test_version_has_the_vulnerabilities_of_its_series(
    component: str, version: str, expected: set[str]
) -> None:
    later = {"CVE-2025-31133", "CVE-2025-52565", "CVE-2025-52881"}
    found = {cve.id for cve in versions.affected(TABLE, component, version)}
    assert found - (later if version.startswith("1.1.") else set()) == expected


def test_table_of_vulnerabilities_has_its_sources_and_its_date() -> None:
    assert len(TABLE.checked) == len("2026-11-26")
    assert all(source.startswith("https://") for source in TABLE.sources)
    assert {cve.component for cve in TABLE.cves} <= {*packages.PACKAGES, "kernel"}
    assert {cve.severity for cve in TABLE.cves} <= {"low", "medium", "high"}
    assert all(cve.fixed and cve.what for cve in TABLE.cves)
    assert len({cve.id for cve in TABLE.cves}) == len(TABLE.cves)


def test_mounts_are_read_with_spaces_and_both_kinds_of_options() -> None:
    text = "36 35 98:0 / /a\\040b rw,noexec shared:1 - ext4 /dev/sda1 rw,discard\nbroken\n"
    (mount,) = machine.mounts(text)
    assert (mount.path, mount.kind) == (Path("/a b"), "ext4")
    assert mount.options == {"rw", "noexec", "discard"}


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["-H", "fd://", "--iptables=false"], {"hosts": ["fd://"], "iptables": False}),
        (["--host=tcp://0:2375", "-H", "fd://"], {"hosts": ["tcp://0:2375", "fd://"]}),
        (["--tlsverify", "--data-root", "/d"], {"tlsverify": True, "data-root": True}),
        (["-H"], {"hosts": [""]}),
    ],
)
def test_options_of_dockerd_are_those_of_daemon_json(
    arguments: list[str], expected: dict[str, object]
) -> None:
    assert engine.of_command_line(arguments) == expected


def test_hosts_of_file_and_command_line_count_both(tmp_path: Path) -> None:
    file = tmp_path / "daemon.json"
    file.write_text('{"hosts": ["tcp://0.0.0.0:2375"]}')
    places = Places(daemon_json=file, dockerd_pid=tmp_path / "none")
    assert engine.options(places) == {"hosts": ["tcp://0.0.0.0:2375"]}


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ([], False),
        (["[Network]\nManageForeignRoutingPolicyRules=no\n"], True),
        (["[Network]\n#ManageForeignRoutingPolicyRules=no\n"], False),
        (["[Network]\nManageForeignRoutingPolicyRules=no\n",
          "[Network]\nManageForeignRoutingPolicyRules=yes\n"], False),
        (["[DHCPv4]\nManageForeignRoutingPolicyRules=no\n"], False),
    ],
)  # fmt: skip
def test_networkd_leaves_rules_alone_only_if_it_is_configured_so(
    files: list[str], *, expected: bool
) -> None:
    assert network.leaves_rules_alone(iter(files)) is expected


def test_listening_ports_are_read_and_others_not() -> None:
    table = (
        "  sl  local_address rem_address   st\n"
        "   0: 0100007F:C9DF 00000000:0000 0A 00000000:00000000 00:0\n"
        "   1: 0100007F:01BB 0100007F:9999 01 00000000:00000000 00:0\n"
    )
    assert list(network.listening(table)) == [51679]


@pytest.mark.parametrize(
    ("endpoint", "expected"),
    [
        ("https://agent.example.com/v3", "agent.example.com"),
        ("http://10.0.0.1:8080/v3", "agent.buildkite.com"),
        ("http://[::1]/v3", "agent.buildkite.com"),
        ("", "agent.buildkite.com"),
    ],
)
def test_name_that_is_looked_up_is_that_of_the_agents_api(endpoint: str, expected: str) -> None:
    assert trial.api_name({"endpoint": endpoint}) == expected


@pytest.mark.parametrize("name", ["a..b", "a" * 64 + ".com", ".".join(["abcdefgh"] * 40)])
def test_what_is_no_name_is_not_looked_up(name: str) -> None:
    found = here(lambda: lookups.asked("127.0.0.1", name))
    assert isinstance(found, Unread)
    assert "A DNS" in found.why


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("without.an.address", "it knows no address of the name"),
        ("fails", "SERVFAIL: it could not find out"),
        ("refused", "REFUSED: it does not answer this host"),
        ("of.another.kind", "NOTIMP"),
    ],
)
def test_answer_without_an_address_is_explained(name: str, expected: str) -> None:
    codes = {"fails": 2, "refused": 5, "of.another.kind": 4}
    question = messages.question_for(name, 7)
    answer = question[:2] + bytes((0x81, 0x80 | codes.get(name, 0))) + question[4:]
    assert lookups.problem(answer, name, 7) == expected


def test_resolver_is_asked_and_its_answer_understood() -> None:
    ours = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    ours.bind(("127.0.0.1", 0))
    port = ours.getsockname()[1]
    with Resolver(ours, {"agent.buildkite.com": "192.0.2.1"}) as resolver:
        assert lookups.asked("127.0.0.1", "agent.buildkite.com", port) == ""
        assert lookups.asked("127.0.0.1", "no.such.name", port).startswith("NXDOMAIN")
    assert resolver.asked == ["agent.buildkite.com", "no.such.name"]
    assert lookups.asked("127.0.0.1", "agent.buildkite.com", port) == "Connection refused"


def test_resolvers_are_those_of_the_file() -> None:
    found = lookups.nameservers("nameserver 10.0.0.2\nsearch example.com\nnameserver 10.0.0.3\n")
    assert found == [IPv4Address("10.0.0.2"), IPv4Address("10.0.0.3")]


def test_change_log_of_the_running_kernel_counts_and_no_other(tmp_path: Path) -> None:
    for release, cve in (("6.1.0-1-amd64", "CVE-2026-0001"), ("6.1.0-2-amd64", "CVE-2026-0002")):
        directory = tmp_path / f"linux-image-{release}"
        directory.mkdir()
        log = f"linux (6.1) stable\n  * fix {cve}\n".encode()
        (directory / "changelog.Debian.gz").write_bytes(gzip.compress(log))
    (tmp_path / "runc").mkdir()
    (tmp_path / "runc/changelog.gz").write_bytes(b"not compressed")
    found = packages.changelogs("6.1.0-1-amd64", Places(documents=tmp_path))
    assert found["kernel"] == {"CVE-2026-0001"}
    assert found["runc"] == frozenset()


@pytest.mark.parametrize(
    ("rule", "leads"),
    [
        ("ip daddr 169.254.169.254 tcp dport 80 counter dnat to 10.0.0.5:8181", True),
        ("ip daddr 169.254.170.2 tcp dport 80 counter redirect to :51679", True),
        ("ip daddr { 10.0.0.1, 169.254.169.254 } dnat to 10.0.0.5", True),
        ('ip daddr 169.254.170.2 tcp dport 80 counter xt target "DNAT"', True),
        ("ip6 daddr fd00:ec2::254 dnat to [fd00::5]:80", True),
        ("ip daddr != 169.254.169.254 tcp dport 80 redirect to :3128", False),
        ("ip daddr != { 10.0.0.1, 169.254.169.254 } redirect to :3128", False),
        ("ip daddr 169.254.170.23 dnat to 10.0.0.5", False),
        ("ip daddr 169.254.169.254 counter drop", False),
        ("ip saddr 169.254.169.254 dnat to 10.0.0.5", False),
    ],
)
def test_rules_of_nftables_that_lead_metadata_elsewhere(rule: str, leads: bool) -> None:  # noqa: FBT001
    listing = "table ip nat {{\n\tchain PREROUTING {{\n\t\t{}\n\t}}\n}}\n"
    found = list(nat.in_nftables(listing.format(rule)))
    assert found == ([f"table ip nat, chain PREROUTING: {rule}"] if leads else [])
    assert list(nat.in_nftables(listing.format(rule).replace("ip nat", "inet airlock"))) == []


@pytest.mark.parametrize(
    ("rule", "leads"),
    [
        (
            "-A OUTPUT -d 169.254.170.2/32 -p tcp -m tcp --dport 80 -j REDIRECT --to-ports 51679",
            True,
        ),
        (
            "-A PREROUTING -i !lo -d 169.254.169.254/32 -p tcp -j DNAT --to-destination 1.2.3.4",
            True,
        ),
        ("-A OUTPUT ! -d 169.254.169.254/32 -p tcp -j REDIRECT --to-ports 3128", False),
        ("-A OUTPUT -d 169.254.170.23/32 -p tcp -j DNAT --to-destination 1.2.3.4", False),
        ("-A OUTPUT -d 169.254.169.254/32 -p tcp -j ACCEPT", False),
    ],
)
def test_rules_of_iptables_that_lead_metadata_elsewhere(rule: str, leads: bool) -> None:  # noqa: FBT001
    assert len(list(nat.in_iptables(f"*nat\n{rule}\nCOMMIT\n"))) == leads
