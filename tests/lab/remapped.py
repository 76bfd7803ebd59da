"""The lab with an engine that maps users (userns-remap), as the Elastic CI Stack for AWS has it."""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import pytest

from tests.lab.lab import Lab, forget_host

# What the contract's jobs do not use, and would have to be copied with other owners.
_LEFT_OUT = (
    *("opt/clients", "usr/lib/jvm", "usr/lib/python3", "usr/lib/cni", "usr/lib/ruby"),
    *("usr/share/doc", "usr/share/locale", "usr/share/man", "var/cache", "var/lib/apt"),
)


@contextmanager
def remapped(lab: Lab) -> Iterator[Lab]:
    """Run the lab's engine with userns-remap until this closes."""
    ours = lab.engine
    if ours is None:
        pytest.skip("needs an engine of the lab's own, to start it with userns-remap")
    layer = _layer(lab)
    forget_host(lab.docker)
    ours.terminate()
    ours.start(remapped=True)
    try:
        yield replace(lab, image=_image(lab, layer))
    finally:
        forget_host(lab.docker)
        ours.restored()


def _layer(lab: Lab) -> str:
    """Return the directory of the image's only layer, whose files have the image's own owners."""
    shown = "{{.GraphDriver.Data.UpperDir}}"
    return _docker(lab, "image", "inspect", lab.image, "--format", shown).strip()


def _image(lab: Lab, layer: str) -> str:
    """Import the image unless the engine has it: its files then belong to mapped users."""
    reference = lab.image.replace("/job:", "/remapped:")
    if not _docker(lab, "image", "ls", "-q", reference):
        without = [f"--exclude=./{path}" for path in _LEFT_OUT]
        tar = ["tar", "-C", layer, "--numeric-owner", *without, "-c", "."]
        with subprocess.Popen(tar, stdout=subprocess.PIPE) as packed:
            _docker(
                lab, "import", "--change", "ENV LANG=C.UTF-8", "-", reference, stdin=packed.stdout
            )
        assert packed.returncode == 0
    return reference


def _docker(lab: Lab, *arguments: str, **how: object) -> str:
    command = ["docker", "-H", lab.docker, *arguments]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, **how)  # type: ignore[call-overload]
    return str(done.stdout)
