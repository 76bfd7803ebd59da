"""Which branches and tags a rule admits, as far as IAM can compare them.

Airlock's globs know `*` and `!`; IAM's also know `?` and variables, which are written as literals
here. Session tags have fewer characters than branches: a branch with others has an altered value
with a digest (aws.tags), so a glob with such a character matches that value's form. IAM takes no
document with a character above U+00FF: wildcards stand for these.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from bootstrap.aws.session_tags import MAX_VALUE, fits
from bootstrap.aws.tags import DIGEST, altered, tag_value
from bootstrap.policy.glob import matches
from bootstrap.policy.match import PULL_REQUESTS
from bootstrap.policy.model import NO_TAG, Condition, Rule

_LITERALS = str.maketrans({"?": "${?}", "$": "${$}"})
_NOT_OF_IAM = re.compile(r"[^\t\n\r -\xff]")  # its `policyDocumentType`, in botocore's model


@dataclass(frozen=True, kw_only=True, slots=True)
class Globs:
    """What matches one of `like`, or anything if there are none, and none of `unlike`."""

    like: tuple[str, ...] = ()
    unlike: tuple[str, ...] = ()

    @property
    def is_any(self) -> bool:
        """Whether everything matches."""
        return not self.like and not self.unlike


@dataclass(frozen=True, kw_only=True, slots=True)
class Refs:
    """Builds of branches, or `tagged` builds. The branch of a build of a tag is the tag's name."""

    tagged: bool
    branch: Globs = Globs()
    tag: Globs = Globs()


def refs_of(rule: Rule, earlier: Sequence[Rule] = ()) -> tuple[Refs, ...]:
    """Return what the rule admits and no `earlier` rule takes away; nothing: never reached.

    An earlier rule takes jobs away if its other conditions hold for all jobs of this rule. What IAM
    cannot express is not taken away: the result may be wider than the rule, never narrower.
    """
    found = _alternatives(rule)
    for before in earlier:
        if all(_implied(condition, rule) for condition in _others(before)):
            for taken in _alternatives(before):
                found = [left for refs in found for left in _without(refs, taken)]
    return tuple(found)


def unread(rule: Rule) -> tuple[str, ...]:
    """Return the subjects of the rule's other conditions."""
    return tuple(dict.fromkeys(condition.subject for condition in _others(rule)))


def _alternatives(rule: Rule) -> list[Refs]:
    given = {condition.subject: condition.patterns for condition in rule.when}
    branch = _globs(given.get("branch"))
    tags = given.get("tag")
    named = None if tags is None else tuple(pattern for pattern in tags if pattern != NO_TAG)
    found = [Refs(tagged=False, branch=branch)] if tags is None or NO_TAG in tags else []
    if named is None or named:
        found.append(Refs(tagged=True, branch=branch, tag=_globs(named)))
    return found


def _globs(patterns: tuple[str, ...] | None) -> Globs:
    listed = patterns or ()
    like = tuple(pattern for pattern in listed if not pattern.startswith("!"))
    unlike = tuple(pattern[1:] for pattern in listed if pattern.startswith("!"))
    return Globs(like=() if "*" in like else like, unlike=unlike)


def _others(rule: Rule) -> list[Condition]:
    return [condition for condition in rule.when if condition.subject not in {"branch", "tag"}]


def _implied(condition: Condition, by: Rule) -> bool:
    """Return whether the condition holds for every job that the rule admits."""
    same = [c for c in by.when if (c.subject, c.name) == (condition.subject, condition.name)]
    if condition.subject == "pull-request":
        admitted = [_pull_requests(each) for each in same]
        return any(each <= _pull_requests(condition) for each in admitted)
    return any(each.patterns == condition.patterns for each in same)


def _pull_requests(condition: Condition) -> frozenset[str]:
    return frozenset[str]().union(*(PULL_REQUESTS[pattern] for pattern in condition.patterns))


def _without(refs: Refs, taken: Refs) -> Iterable[Refs]:
    """Yield what is left of `refs`: a glob's negation, where that is exactly it."""
    if refs.tagged != taken.tagged or taken.branch.unlike or taken.tag.unlike:
        yield refs
    elif taken.branch.is_any and taken.tag.is_any:
        return
    elif taken.tag.is_any:
        yield from (replace(refs, branch=left) for left in _except(refs.branch, taken.branch.like))
    elif taken.branch.is_any:
        yield from (replace(refs, tag=left) for left in _except(refs.tag, taken.tag.like))
    else:
        yield refs


def _except(globs: Globs, taken: Sequence[str]) -> Iterable[Globs]:
    """Yield what is left of `globs`; a negation only where a glob may match what is taken."""
    like = tuple(p for p in globs.like if p not in taken and not _names_one_of(p, taken))
    if globs.like and not like:
        return
    more = () if like and not any("*" in pattern for pattern in like) else taken
    yield Globs(like=like, unlike=tuple(dict.fromkeys((*globs.unlike, *more))))


def _names_one_of(pattern: str, taken: Sequence[str]) -> bool:
    """Return whether the pattern is a name, and one of the globs matches it."""
    return "*" not in pattern and any(matches(each, pattern) for each in taken)


def joined(found: Iterable[Refs]) -> tuple[Refs, ...]:
    """Return the same with one list for all globs of branches, and one for all of tags."""
    listed = tuple(dict.fromkeys(found))
    branches = [r for r in listed if not r.tagged and not r.branch.unlike]
    tags = [r for r in listed if r.tagged and r.branch.is_any and not r.tag.unlike]
    both = [
        *([Refs(tagged=False, branch=_union(r.branch for r in branches))] if branches else []),
        *([Refs(tagged=True, tag=_union(r.tag for r in tags))] if tags else []),
    ]
    return (*both, *(refs for refs in listed if refs not in branches and refs not in tags))


def _union(globs: Iterable[Globs]) -> Globs:
    """Return what matches any of these lists; one without patterns matches anything."""
    lists = [each.like for each in globs]
    return Globs(
        like=() if () in lists else tuple(dict.fromkeys(p for patterns in lists for p in patterns))
    )


def both(one: Globs, other: Globs) -> Globs:
    """Return what matches both, for a text that has one name: the tag of a tag's build.

    Where both have lists of globs, that of `one` counts: IAM compares a text with one list only.
    """
    unlike = tuple(dict.fromkeys((*one.unlike, *other.unlike)))
    if not (one.like and other.like):
        return Globs(like=one.like or other.like, unlike=unlike)
    names = [p for p in (*one.like, *other.like) if "*" not in p]
    exact = [n for n in names if _names_one_of(n, one.like) and _names_one_of(n, other.like)]
    globs = [p for p in one.like if "*" in p and any("*" in each for each in other.like)]
    return Globs(like=tuple(dict.fromkeys((*exact, *globs))) or one.like, unlike=unlike)


def in_subject(pattern: str) -> str:
    """Return a glob in IAM's spelling, for a text that has the branch as it is."""
    return _written(pattern.translate(_LITERALS))


def in_session_tag(pattern: str) -> str:
    """Return a glob in IAM's spelling, for the value of a session tag."""
    if "*" not in pattern:
        return in_subject(tag_value(pattern))
    if is_exact_in_tag(pattern):
        return _written(pattern)
    kept = _written("*".join(altered(part) for part in pattern.split("*")))
    return f"{kept}-{'?' * DIGEST}"


def is_exact_in_tag(pattern: str) -> bool:
    """Return whether the glob means the same for the value of a session tag."""
    return "*" not in pattern or fits(pattern.replace("*", ""), MAX_VALUE)


def can_be_negated(pattern: str) -> bool:
    """Return whether IAM's spelling of the glob matches nothing else."""
    return not _NOT_OF_IAM.search(pattern)


def _written(text: str) -> str:
    """Return the text in characters of IAM's documents. Beyond U+FFFF it may count one as two."""
    return _NOT_OF_IAM.sub(lambda found: "?" if found[0] <= "\uffff" else "*", text)
