"""The wheel's build hook: compiles the programs in C and ships them as programs of the wheel."""

import subprocess
import sysconfig
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

PROGRAMS = ("launcher", "holder", "builder")  # of launcher/, each as airlock-<name>


class LauncherHook(BuildHookInterface):
    """Adds them to <environment>/bin; an editable install has none that could be old."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Compile them, and mark the wheel as one for this machine's kind."""
        if self.target_name != "wheel" or version == "editable":
            return
        root = Path(self.root)
        for name in PROGRAMS:
            output = root / "build/wheel" / f"airlock-{name}"
            built = subprocess.run(
                [root / "launcher/build", output, name],
                stderr=subprocess.PIPE, text=True, check=False,
            )  # fmt: skip
            if built.returncode:
                raise RuntimeError(f"the {name} could not be compiled:\n{built.stderr}")
            build_data["shared_scripts"][str(output)] = output.name
        build_data["pure_python"] = False
        platform = sysconfig.get_platform().replace("-", "_").replace(".", "_")
        build_data["tag"] = f"py3-none-{platform}"
