"""What completes the command line in a shell, made from the command line's own definition.

Whatever the parsers define is completed: commands, options, choices, and files or directories
where an argument's metavar says so. There is nothing to keep up to date.
"""

import argparse
from collections.abc import Iterator
from dataclasses import dataclass

_FILES, _DIRECTORIES = ("FILE", "PATH", "JOB", "ENV-FILE"), ("DIR", "OLD", "NEW")


@dataclass(frozen=True, kw_only=True, slots=True)
class Argument:
    """An option or a positional argument. `names` of a positional are empty."""

    names: tuple[str, ...]
    text: str
    takes: str  # nothing, words, files, directories or anything
    words: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class Command:
    """One command, with those below it. `path` is what is typed after `airlock`."""

    path: tuple[str, ...]
    text: str
    arguments: tuple[Argument, ...]
    commands: tuple["Command", ...]

    @property
    def all(self) -> Iterator["Command"]:
        """This command and every one below it."""
        yield self
        for one in self.commands:
            yield from one.all


def commands(parser: argparse.ArgumentParser) -> Command:
    """Return the tree of commands that a parser defines."""
    return _command(parser, (), parser.description or "")


def script(shell: str, root: Command) -> str:
    """Return the script for "bash", "zsh" or "fish"."""
    return {"bash": _bash, "zsh": _zsh, "fish": _fish}[shell](root)


def _command(parser: argparse.ArgumentParser, path: tuple[str, ...], text: str) -> Command:
    arguments: list[Argument] = []
    below: list[Command] = []
    for action in parser._actions:  # noqa: SLF001 - argparse has no public list of them
        if isinstance(action, argparse._SubParsersAction):  # noqa: SLF001
            texts = {one.dest: one.help or "" for one in action._choices_actions}  # noqa: SLF001
            below += [_command(p, (*path, n), texts.get(n, "")) for n, p in action.choices.items()]
        else:
            arguments.append(_argument(action))
    return Command(path=path, text=text, arguments=tuple(arguments), commands=tuple(below))


def _argument(action: argparse.Action) -> Argument:
    words = tuple(map(str, action.choices)) if action.choices else ()
    return Argument(
        names=tuple(action.option_strings),
        text=(action.help or "").replace("%(prog)s", "airlock").replace("%%", "%"),
        takes=_takes(action, words),
        words=words,
    )


def _takes(action: argparse.Action, words: tuple[str, ...]) -> str:
    metavar = action.metavar if isinstance(action.metavar, str) else ""
    if action.nargs == 0:
        return "nothing"
    if words:
        return "words"
    if metavar in _FILES:
        return "files"
    return "directories" if metavar in _DIRECTORIES else "anything"


def _options(command: Command) -> list[str]:
    return [name for argument in command.arguments for name in argument.names]


def _positional(command: Command) -> Argument | None:
    return next((one for one in command.arguments if not one.names), None)


def _first(command: Command) -> list[str]:
    """Return the words that can follow a command at once."""
    positional = _positional(command)
    return [one.path[-1] for one in command.commands] + list(positional.words if positional else ())


def _bash_of(takes: str, words: tuple[str, ...]) -> str:
    match takes:
        case "words":
            return f'COMPREPLY=($(compgen -W "{" ".join(words)}" -- "$word"))'
        case "files" | "anything":
            return 'COMPREPLY=($(compgen -f -- "$word"))'
        case "directories":
            return 'COMPREPLY=($(compgen -d -- "$word"))'
        case _:
            return ":"


def _bash_next(command: Command) -> str:
    words = " ".join([*_first(command), *_options(command)])
    listed = f'COMPREPLY=($(compgen -W "{words}" -- "$word"))'
    positional = _positional(command)
    if _first(command) or positional is None:
        return listed
    other = _bash_of(positional.takes, positional.words)
    return f'if [[ "$word" == -* ]]; then {listed}; else {other}; fi'


def _bash(root: Command) -> str:
    """Bash looks up the command by the words before, then the option before the word."""
    lines = [
        "# airlock completion bash > /etc/bash_completion.d/airlock",
        "_airlock() {",
        '  local word="${COMP_WORDS[COMP_CWORD]}" before="${COMP_WORDS[COMP_CWORD-1]}" path="" one',
        "  COMPREPLY=()",
        '  for one in "${COMP_WORDS[@]:1:COMP_CWORD-1}"; do',
        '    case "$path $one" in',
    ]
    named = [command for command in root.all if command.path]
    lines += [f'      " {" ".join(c.path)}") path=" {" ".join(c.path)}" ;;' for c in named]
    lines += ["    esac", "  done", '  case "$path" in']
    for command in root.all:
        prefix = f" {' '.join(command.path)}" if command.path else ""
        lines += [f'    "{prefix}")', '      case "$before" in']
        for argument in command.arguments:
            if argument.names and argument.takes != "nothing":
                reply = _bash_of(argument.takes, argument.words)
                lines.append(f"        {'|'.join(argument.names)}) {reply}; return ;;")
        lines += ["      esac", f"      {_bash_next(command)} ;;"]
    lines += ["  esac", "}", "complete -o filenames -F _airlock airlock"]
    return "\n".join(lines)


def _zsh_quoted(text: str) -> str:
    """Return text for a description between brackets, in single quotes."""
    for char in "\\[]:":
        text = text.replace(char, f"\\{char}")
    return text.replace("'", "'\\''")


def _zsh_action(argument: Argument) -> str:
    match argument.takes:
        case "nothing":
            return ""
        case "words":
            return f":value:({' '.join(argument.words)})"
        case "files":
            return ":file:_files"
        case "directories":
            return ":directory:_files -/"
        case "anything":
            return ":value:"
        case _:
            raise AssertionError(argument.takes)


def _zsh(root: Command) -> str:
    lines = ["#compdef airlock", "# airlock completion zsh > ~/.zfunc/_airlock"]
    for command in sorted(root.all, key=lambda one: -len(one.path)):
        lines += [f"_airlock{''.join(f'_{name}' for name in command.path)}() {{"]
        lines += _zsh_subcommands(command) if command.commands else _zsh_arguments(command)
        lines += ["}"]
    lines += [
        'if [ "$funcstack[1]" = "_airlock" ]; then _airlock "$@"',
        "else compdef _airlock airlock; fi",
    ]
    return "\n".join(lines)


def _zsh_arguments(command: Command) -> list[str]:
    specs = []
    for argument in command.arguments:
        action = _zsh_action(argument)
        specs += [f"'{name}[{_zsh_quoted(argument.text)}]{action}'" for name in argument.names]
        if not argument.names:
            specs.append(f"'*{action}'")
    return ["  _arguments " + " ".join(specs)]


def _zsh_subcommands(command: Command) -> list[str]:
    options = [f"'{name}'" for name in _options(command)]
    name = "_airlock" + "".join(f"_{part}" for part in command.path)
    described = " ".join(f"'{one.path[-1]}:{_zsh_quoted(one.text)}'" for one in command.commands)
    return [
        "  local line state",
        f"  _arguments -C {' '.join(options)} '1: :->command' '*::arg:->rest'",
        '  case "$state" in',
        f"    command) local -a them; them=({described}); _describe command them ;;",
        f'    rest) local next="{name}_$line[1]"; (( $+functions[$next] )) && $next ;;',
        "  esac",
    ]


def _fish_quoted(text: str) -> str:
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


def _fish(root: Command) -> str:
    lines = [
        "# airlock completion fish > ~/.config/fish/completions/airlock.fish",
        "function __airlock_at",
        "  set -l typed (commandline -opc)",
        "  for one in $argv",
        "    set -e typed[1]",
        '    test "$typed[1]" = "$one"; or return 1',
        "  end",
        "end",
        "complete -c airlock -f",
    ]
    for command in root.all:
        at = " ".join(("__airlock_at", *command.path))
        if command.commands:
            here = f"{at}; and test (count (commandline -opc)) -eq {len(command.path) + 1}"
            lines += [
                f"complete -c airlock -n '{here}' -a {one.path[-1]} -d {_fish_quoted(one.text)}"
                for one in command.commands
            ]
        lines += [
            f"complete -c airlock -n '{at}' {_fish_argument(one)}" for one in command.arguments
        ]
    return "\n".join(lines)


def _fish_argument(argument: Argument) -> str:
    flags = [f"-l {n[2:]}" if n.startswith("--") else f"-s {n[1:]}" for n in argument.names]
    parts = [*flags, f"-d {_fish_quoted(argument.text)}" if argument.text else ""]
    match argument.takes:
        case "nothing":
            pass
        case "words":
            parts.append(f"{'-x ' if flags else ''}-a '{' '.join(argument.words)}'")
        case "files":
            parts.append("-r -F" if flags else "-F")
        case "directories":
            parts.append(f"{'-x ' if flags else ''}-a '(__fish_complete_directories)'")
        case _:
            parts.append("-x" if flags else "")
    return " ".join(filter(None, parts))
