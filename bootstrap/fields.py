"""The forms of bootstrap/forms.py as types for pydantic.

Apart, because importing pydantic takes longer than all of Airlock's own modules: a job whose
documents were read before does not wait for it (bootstrap/host/parsed.py).
"""

from typing import Annotated

from pydantic import AfterValidator, BeforeValidator, PlainValidator, WithJsonSchema

from bootstrap import forms


def _listed(value: object) -> object:
    return value if isinstance(value, list) else [value]


Size = Annotated[int, BeforeValidator(forms.size, json_schema_input_type=str)]
PositiveSize = Annotated[int, BeforeValidator(forms.positive_size, json_schema_input_type=str)]
Memory = Annotated[int, BeforeValidator(forms.memory, json_schema_input_type=str)]
Duration = Annotated[int, BeforeValidator(forms.duration, json_schema_input_type=str)]
StoreLocation = Annotated[forms.Store, PlainValidator(forms.store, json_schema_input_type=str)]
RoleArn = Annotated[str, AfterValidator(forms.role_arn)]
Reference = Annotated[str, AfterValidator(forms.reference)]
Registry = Annotated[str, AfterValidator(forms.registry)]
Variable = Annotated[str, AfterValidator(forms.variable)]
RoleOrReference = Annotated[
    str,
    AfterValidator(forms.role_or_reference),
    WithJsonSchema({"anyOf": [{"const": "role", "type": "string"}, {"type": "string"}]}),
]
# For a list: a single entry need not be written as a list.
ONE_OR_MANY = BeforeValidator(_listed, json_schema_input_type=str | list[str])
