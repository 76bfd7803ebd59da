"""Checks of the image of jobs: whether it is here, and what is in it."""

from bootstrap.doctor.model import Check, Verdict, after, fail, known, ok, warn
from bootstrap.doctor.snapshot import Snapshot

# What every job needs of its image, and what only some do.
_ALL = {"bash": "bash", "git": "git", "ca-certificates": "CA certificates"}
_SOME = {"ssh": "ssh", "ssh-keyscan": "ssh-keyscan"}


def _image(snapshot: Snapshot) -> Verdict:
    settings = snapshot.configured.sandbox
    if known(snapshot.image) is None:
        pull = f"`docker pull {settings.image}`, or `airlock doctor --fix`"
        if settings.pull == "never":
            return fail(
                f"{settings.image} is not on this host, and sandbox.pull is never", f"{pull}."
            )
        return warn(f"{settings.image} is not on this host: the first job waits for it", f"{pull}.")
    if "sha256:" not in settings.image:
        return warn(
            f"{settings.image} is named by a tag: who can push it can replace it",
            f"Name its digest in sandbox.image of airlock.toml (`docker image inspect "
            f"{settings.image}` shows RepoDigests).",
        )
    return ok(settings.image)


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
        name="image-contents", judge=_contents,
        what="The image has bash, git, ssh and CA certificates",
        why="The agent's bootstrap runs inside, and needs them to check out and to run commands.",
    ),
)  # fmt: skip
