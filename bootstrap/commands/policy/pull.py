"""`airlock policy pull`: the host's SSM store as a directory that can be reviewed."""

from pathlib import Path

import yaml

from bootstrap.commands.policy.push import prefix_of
from bootstrap.commands.policy.source import Say
from bootstrap.errors import WrongConfiguration
from bootstrap.host import config
from bootstrap.policy.parameters import DOCUMENT, as_document
from bootstrap.policy.stores.ssm import Ssm


def pull(*, directory: Path, config_path: Path, say: Say) -> int:
    """Write <slug>.yaml for every pipeline; leaf parameters become the document they mean.

    Raises WrongConfiguration if the directory is not empty: nothing of anybody is overwritten.
    """
    host = config.load(config_path)
    prefix = prefix_of(host.policy.store)
    if directory.exists() and any(directory.iterdir()):
        raise WrongConfiguration(
            f"{directory} is not empty", hint="Name an empty directory, or one that is not there."
        )
    found = Ssm(host.aws).tree(prefix)
    directory.mkdir(parents=True, exist_ok=True)
    for slug, parameters in sorted(found.items()):
        values = {parameter.name: parameter.value for parameter in parameters}
        document = as_document(slug, values)
        text = values.get(DOCUMENT) or yaml.safe_dump(document, sort_keys=False)
        (directory / f"{slug}.yaml").write_text(text)
    say(f"wrote {len(found)} policies into {directory}")
    return 0
