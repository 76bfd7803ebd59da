"""The end of a run of several stages: what failed, the tables, the skips, the totals."""

from collections.abc import Sequence
from pathlib import Path

from tests.side_by_side import results
from tests.side_by_side.stage import Stage


def report(stages: Sequence[Stage], seconds: float, spent: Path) -> int:
    """Print everything once for all stages, and return 0 if there was nothing wrong with any.

    `spent` receives how long each file took in the labs, in the form of .ci/seconds.
    """
    outcomes = [(stage, *stage.outcome()) for stage in stages]
    for stage, _, wrong in outcomes:
        if wrong:
            print(f"\n{stage.name}: {wrong}\n{stage.findings()}")
    found = results.together([part for _, part, _ in outcomes if part])
    for title, lines in results.tables(found):
        print("\n".join([f" {title} ".center(80, "="), *lines]))
    print(*results.skips(found), sep="\n")
    for stage, _, wrong in outcomes:
        print(f"{stage.name}: {wrong or 'passed'}")
    print(f" {results.totals(found)} in {seconds:.0f} s ".center(80, "="), flush=True)
    in_labs = [part for stage, part, _ in outcomes if part and stage.name.startswith("lab")]
    took = results.seconds(results.together(in_labs))
    spent.write_text("".join(f"{line}\n" for line in took))
    return 1 if any(wrong for _, _, wrong in outcomes) else 0
