"""What a rule can grant: one kind per file."""

from typing import Any

from bootstrap.grants.git_tokens import GitTokens
from bootstrap.grants.kind import Kind
from bootstrap.grants.profiles import Profiles
from bootstrap.grants.registries import Registries
from bootstrap.grants.role import Role
from bootstrap.grants.secret_files import SecretFiles
from bootstrap.grants.secrets import Secrets
from bootstrap.grants.ssh_keys import SshKeys

# In the order of delivery: of two kinds that set a variable, the later one wins. So `secrets`, in
# which a rule names the variables itself, is last.
KINDS: tuple[type[Kind[Any]], ...] = (
    Role,
    Profiles,
    SshKeys,
    SecretFiles,
    GitTokens,
    Registries,
    Secrets,
)
