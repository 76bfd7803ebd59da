"""A kind that is not Airlock's: test_kinds adds this one file to a copy of the package."""

from typing import Annotated, Any

from pydantic import Field

from bootstrap.fields import Reference
from bootstrap.grants.kind import Delivery, Kind, Needs, Obtained, Variables


class Licence(Kind[str]):
    """The reference of the licence."""

    key = "build-licence"
    noun = "licence"

    @staticmethod
    def grammar() -> Any:
        """Return a reference, or nothing."""
        return Annotated[Reference | None, Field(default=None)]

    def needs(self) -> Needs:
        """Return the one secret."""
        return Needs(references={"licence": self.granted})

    def deliver(self, obtained: Obtained, sandbox: Delivery) -> Variables:
        """Put it into a file of a directory of its own, and into a variable."""
        licence = obtained.secrets[self.granted]
        path = sandbox.root / "licences/build.key"
        sandbox.put(path, licence.reveal().encode())
        return {"LICENCE_FILE": str(path), "LICENCE": licence}
