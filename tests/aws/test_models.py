"""botocore's models without what is never called: all that is called is left, and little else."""

import re
from pathlib import Path
from typing import Any

import pytest
from botocore.loaders import Loader

from bootstrap.aws import client, models

AWS = Path(client.__file__).parent


def model(service: str) -> dict[str, Any]:
    """Return what botocore has, whole."""
    found: dict[str, Any] = Loader().load_service_model(service, "service-2")
    return found


def snake(name: str) -> str:
    return re.sub(r"(?<!^)(?=[A-Z])", "_", name).lower()


def test_all_that_is_called_is_listed_and_nothing_else() -> None:
    sources = "".join(path.read_text() for path in AWS.glob("*.py"))
    called = set(re.findall(r"\bclient\.([a-z_]+)\(", sources))
    assert called == {snake(name) for names in models.OPERATIONS.values() for name in names}


@pytest.mark.parametrize("service", sorted(models.OPERATIONS))
def test_shapes_of_what_is_called_are_as_they_were(service: str) -> None:
    whole = model(service)
    reduced = models.only_called(whole, models.OPERATIONS[service])
    assert set(reduced["operations"]) == set(models.OPERATIONS[service])
    assert reduced["metadata"] == whole["metadata"]
    assert len(reduced["shapes"]) < len(whole["shapes"])
    for name, shape in reduced["shapes"].items():
        assert shape == without_texts(whole["shapes"][name])
        assert set(re.findall(r"'shape': '(\w+)'", str(shape))) <= set(reduced["shapes"])


def without_texts(found: Any) -> Any:
    if isinstance(found, dict):
        return {n: without_texts(v) for n, v in found.items() if n != "documentation"}
    return [without_texts(each) for each in found] if isinstance(found, list) else found


def test_member_that_is_named_documentation_is_kept() -> None:
    """Texts are strings: a structure may have a member of that name."""
    shapes = {"In": {"type": "structure", "members": {"documentation": {"shape": "Text"}}},
              "Text": {"type": "string", "documentation": "a text"}}  # fmt: skip
    whole = {"operations": {"Do": {"input": {"shape": "In"}}}, "shapes": shapes}
    reduced = models.only_called(whole, ("Do",))
    assert reduced["shapes"]["In"]["members"] == {"documentation": {"shape": "Text"}}
    assert reduced["shapes"]["Text"] == {"type": "string"}


def test_endpoints_of_these_services_are_as_they_were() -> None:
    whole = Loader().load_data("endpoints")
    reduced = models.only_known(whole)
    assert len(reduced["partitions"]) == len(whole["partitions"])
    for before, after in zip(whole["partitions"], reduced["partitions"], strict=True):
        assert after["services"].items() <= before["services"].items()
        assert set(after["services"]) == set(models.OPERATIONS) & set(before["services"])
        assert {**before, "services": {}} == {**after, "services": {}}


def test_loader_caches_the_reduced_documents_only() -> None:
    loader = client._loader()  # noqa: SLF001
    loader.load_service_model("ssm", "service-2")
    loader.load_data("endpoints")
    assert "CreateActivation" not in str(loader._cache)  # noqa: SLF001
    assert "dynamodb" not in str(loader._cache)  # noqa: SLF001
