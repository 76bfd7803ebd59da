"""Checks of the image of jobs: whether it is here, and what is in it."""

from bootstrap.doctor.model import Check, Verdict, after, fail, known, ok, warn
from bootstrap.doctor.snapshot import Snapshot

# What every job needs of its image, and what only some do.
_ALL = {"bash": "bash", "git": "git", "ca-certificates": "CA certificates"}
_SOME = {"ssh": "ssh", "ssh-keyscan": "ssh-keyscan"}


def _image(snapshot: Snapshot) -> Verdict:
    return _provided(
        snapshot.configured.sandbox.image, known(snapshot.image), snapshot,
        key="sandbox.image", fix=", or `airlock doctor --fix`",
    )  # fmt: skip


def _builder_image(snapshot: Snapshot) -> Verdict:
    builds = snapshot.configured.builds
    if builds is None:
        return ok("no [builds] in airlock.toml: jobs whose rule has builds end with 78")
    return _provided(builds.image, known(snapshot.builder_image), snapshot, key="builds.image")


def _provided(
    image: str, found: str | None, snapshot: Snapshot, *, key: str, fix: str = ""
) -> Verdict:
    if found is None:
        pull = f"`docker pull {image}`{fix}."
        if snapshot.configured.sandbox.pull == "never":
            return fail(f"{image} is not on this host, and sandbox.pull is never", pull)
        return warn(f"{image} is not on this host: the first job waits for it", pull)
    if "sha256:" not in image:
        return warn(
            f"{image} is named by a tag: who can push it can replace it",
            f"Name its digest in {key} of airlock.toml (`docker image inspect {image}` shows "
            "RepoDigests).",
        )
    return ok(image)


def _contents(snapshot: Snapshot) -> Verdict:
    found = after(snapshot.trial, "isolation").contents
    missing = [text for name, text in _ALL.items() if not found.get(name)]
    image = snapshot.configured.sandbox.image
    if missing:
        return fail(
            f"{image} lacks {', '.join(missing)}",
            "Build the image with them (images/job/Dockerfile has what a job needs): Debian's "
            "packages are bash, git, openssh-client and ca-certificates.",
        )
    partly = [text for name, text in _SOME.items() if not found.get(name)]
    if partly:
        return warn(
            f"{image} lacks {', '.join(partly)}",
            "Build the image with openssh-client, unless no repository is fetched by ssh.",
        )
    return ok("bash, git, ssh and CA certificates are there")


TITLE = "The image of jobs"
CHECKS = (
    Check(
        name="image", judge=_image, repair="pulls it",
        what="The image of [sandbox] is on this host, and named by its digest",
        why="Otherwise the first job waits for the registry, and whoever can push the tag decides "
        "what runs.",
    ),
    Check(
        name="builder-image", judge=_builder_image,
        what="The image of [builds], if there is one, is on this host, and named by its digest",
        why="It runs with a wider seccomp profile than jobs do, and whoever can push its tag "
        "decides what runs in it.",
    ),
    Check(
        name="image-contents", judge=_contents,
        what="The image has bash, git, ssh and CA certificates",
        why="The agent's bootstrap runs inside, and needs them to check out and to run commands.",
    ),
)  # fmt: skip
