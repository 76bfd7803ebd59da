"""The wheel's build hook: compiles the launcher and ships it as a program of the wheel."""

import subprocess
import sysconfig
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

PROGRAM = "airlock-launcher"


class LauncherHook(BuildHookInterface):
    """Adds <environment>/bin/airlock-launcher; an editable install has none that could be old."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Compile it, and mark the wheel as one for this machine's kind."""
        if self.target_name != "wheel" or version == "editable":
            return
        root = Path(self.root)
        output = root / "build/wheel" / PROGRAM
        built = subprocess.run(
            [root / "launcher/build", output], stderr=subprocess.PIPE, text=True, check=False
        )
        if built.returncode:
            raise RuntimeError(f"the launcher could not be compiled:\n{built.stderr}")
        build_data["shared_scripts"][str(output)] = PROGRAM
        build_data["pure_python"] = False
        platform = sysconfig.get_platform().replace("-", "_").replace(".", "_")
        build_data["tag"] = f"py3-none-{platform}"
