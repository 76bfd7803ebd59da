"""From parsed arguments to the verb of `airlock policy`; each is imported only when it is asked."""

import argparse
from collections.abc import Callable

Say = Callable[[str], None]


def dispatch(asked: argparse.Namespace, say: Say) -> int:
    """Run one verb and return its exit status."""
    match asked.verb:
        case "lint":
            from bootstrap.commands.policy.lint import lint  # noqa: PLC0415

            return lint(
                directory=asked.directory,
                config_path=asked.config,
                ignore=asked.ignore,
                as_json=asked.json,
                say=say,
            )
        case "test":
            from bootstrap.commands.policy.cases import test  # noqa: PLC0415

            return test(directory=asked.directory, junit=asked.junit, say=say)
        case "explain":
            from bootstrap.commands.policy.explain import explain  # noqa: PLC0415

            return explain(
                env_file=asked.env_file,
                directory=asked.directory,
                config_path=asked.config,
                as_json=asked.json,
                say=say,
            )
        case "diff":
            from bootstrap.commands.policy.diff import diff  # noqa: PLC0415

            return diff(old=asked.old, new=asked.new, as_json=asked.json, say=say)
        case "who-can":
            from bootstrap.commands.policy.who_can import who_can  # noqa: PLC0415

            return who_can(
                wanted=asked.wanted,
                directory=asked.directory,
                config_path=asked.config,
                as_json=asked.json,
                say=say,
            )
        case _:
            return _publish(asked, say)


def _publish(asked: argparse.Namespace, say: Say) -> int:
    """The verbs that make something of policies."""
    match asked.verb:
        case "report":
            from bootstrap.commands.policy.report import report  # noqa: PLC0415

            return report(
                directory=asked.directory, config_path=asked.config, output=asked.output, say=say
            )
        case "iam":
            from bootstrap.commands.policy.iam import iam  # noqa: PLC0415

            return iam(
                directory=asked.directory,
                config_path=asked.config,
                host_role=asked.host_role,
                form=asked.format,
                drift=asked.drift,
                say=say,
            )
        case "schema":
            from bootstrap.commands.policy.schema import schema  # noqa: PLC0415

            return schema(document=asked.document, say=say)
        case "draft":
            from bootstrap.commands.policy.draft import draft  # noqa: PLC0415

            return draft(
                records=asked.records,
                directory=asked.directory,
                config_path=asked.config,
                say=say,
            )
        case "push":
            from bootstrap.commands.policy.push import push  # noqa: PLC0415

            return push(
                directory=asked.directory,
                config_path=asked.config,
                dry_run=asked.dry_run,
                say=say,
            )
        case "pull":
            from bootstrap.commands.policy.pull import pull  # noqa: PLC0415

            return pull(directory=asked.directory, config_path=asked.config, say=say)
        case _:
            raise AssertionError(asked.verb)
