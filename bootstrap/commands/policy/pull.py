"""`airlock policy pull`: the host's SSM store as a directory that can be reviewed."""

from pathlib import Path

import yaml

from bootstrap.commands.policy.source import Output, save, ssm_path
from bootstrap.errors import WrongConfiguration
from bootstrap.host import config
from bootstrap.policy.parameters import DOCUMENT, as_document
from bootstrap.policy.stores.ssm import Ssm
from bootstrap.text import counted


def pull(*, directory: Path, config_path: Path, output: Output) -> int:
    """Write <slug>.yaml for every pipeline; leaf parameters become the document they mean.

    Raises WrongConfiguration if the directory is not empty: no file is overwritten.
    """
    host = config.load(config_path)
    prefix = ssm_path(host.policy.store)
    if directory.exists() and (not directory.is_dir() or any(directory.iterdir())):
        raise WrongConfiguration(
            f"{directory} is not empty", hint="Name an empty directory, or one that does not exist."
        )
    found = Ssm(host.aws).tree(prefix)
    for slug, parameters in sorted(found.items()):
        values = {parameter.name: parameter.value for parameter in parameters}
        document = as_document(slug, values)
        text = values.get(DOCUMENT) or yaml.safe_dump(document, sort_keys=False)
        save(directory / f"{slug}.yaml", text.encode(), parents=True)
    output(f"wrote {counted(len(found), 'policy', 'policies')} to {directory}")
    return 0
