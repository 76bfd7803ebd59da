"""Which processes the kernel may end when memory runs out."""

from pathlib import Path

_SCORE = Path("/proc/self/oom_score_adj")


def be_ordinary(score: Path = _SCORE) -> None:
    """Give up a protection from the OOM killer that was inherited, also for all later children.

    The Elastic CI Stack protects its agent entirely (OOMScoreAdjust=-1000), and children inherit
    that: the kernel would end anything but what a job uses up. Containers have a score of their
    own, above this one.
    """
    if int(score.read_text()) < 0:
        score.write_text("0")
