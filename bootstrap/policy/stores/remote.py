"""Everything of ours that the host's store in SSM has now, with versions, for `push` and `pull`."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from bootstrap.errors import WrongConfiguration
from bootstrap.forms import FileStore, SsmStore
from bootstrap.host.config import Host
from bootstrap.policy.catalogue import Catalogue, Unreadable
from bootstrap.policy.model import Guardrails
from bootstrap.policy.parameters import DOCUMENT, LEAVES, Parameter
from bootstrap.policy.parse import parse_guardrails
from bootstrap.policy.stores.ssm import Ssm
from bootstrap.policy.stores.versions import Versions
from bootstrap.policy.stores.whole import GUARDRAILS, compiled_tree

OURS = frozenset({DOCUMENT, *LEAVES})
# A pipeline without this one is refused, so no moment of a removal admits more jobs than before.
FIRST_TO_GO = "repository"
_PLACE = "ssm:/path"  # of guardrails, as an example


@dataclass(frozen=True, kw_only=True, slots=True)
class Remote:
    """The parameters of pipelines below `prefix`, and that of the guardrails.

    `guardrails_path` None: hosts read none from SSM.
    """

    prefix: str
    tree: Mapping[str, tuple[Parameter, ...]]  # by pipeline, foreign ones among them
    guardrails_path: str | None
    guardrails: Parameter | None

    def ours(self) -> dict[str, Parameter]:
        """Return the parameters of pipelines that Airlock reads, by path."""
        return {
            f"{self.prefix}/{slug}/{parameter.name}": parameter
            for slug, parameters in sorted(self.tree.items())
            for parameter in sorted(parameters, key=lambda one: (one.name != FIRST_TO_GO, one.name))
            if parameter.name in OURS
        }

    def versions(self) -> Versions:
        """Return the version of each of them, and of the guardrails."""
        known = {path: parameter.version for path, parameter in self.ours().items()}
        if self.guardrails_path and self.guardrails:
            known[self.guardrails_path] = self.guardrails.version
        return Versions(store=self.prefix, parameters=known)

    def catalogue(self) -> Catalogue:
        """Return the policies and guardrails that these parameters are."""
        read = compiled_tree(self.prefix, self.tree)
        rails = self.rails()
        if isinstance(rails, Unreadable):
            return replace(read, unreadable=(*read.unreadable, rails))
        return replace(read, guardrails=rails)

    def rails(self) -> Guardrails | Unreadable | None:
        """Return the guardrails; None if there are none."""
        if self.guardrails is None:
            return None
        origin = f"ssm:{self.guardrails_path}"
        try:
            return parse_guardrails(self.guardrails.value, origin)
        except WrongConfiguration as wrong:
            return Unreadable(origin=origin, details=wrong.details)


def remote(host: Host, prefix: str, ssm: Ssm) -> Remote:
    """Read the store. Raises CannotStart."""
    store = host.policy.guardrails
    path = store.path if isinstance(store, SsmStore) else None
    tree = {
        slug: parameters
        for slug, parameters in ssm.tree(prefix).items()
        if path is None or not path.startswith(f"{prefix}/{slug}/")
    }
    return Remote(
        prefix=prefix,
        tree=tree,
        guardrails_path=path,
        guardrails=ssm.one(path) if path else None,
    )


def require_place(host: Host, guardrails: object) -> None:
    """Raise WrongConfiguration if the hosts would not read the guardrails of a directory."""
    if guardrails is not None and host.policy.guardrails is None:
        store = host.policy.store
        place = FileStore(path=store.path / GUARDRAILS) if isinstance(store, FileStore) else _PLACE
        raise WrongConfiguration(
            "the directory has guardrails.yaml, and policy.guardrails in airlock.toml names no "
            "place from which hosts read guardrails: they would limit nothing",
            hint=f'Set policy.guardrails = "{place}" on the hosts and in this configuration, or '
            "remove guardrails.yaml.",
        )
