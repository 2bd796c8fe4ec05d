"""Values that a store keeps: made fast inside, and checked where they come from outside."""

from __future__ import annotations

from typing import Any, ClassVar

from msgspec import Struct
from msgspec.structs import FieldInfo, fields
from pydantic import GetCoreSchemaHandler
from pydantic_core import CoreSchema, core_schema


class Kept(Struct, frozen=True, eq=False):
    """A frozen value. Making one checks nothing; as a field of a pydantic type it is checked.

    Two are equal if their fields are, but for those that a class names in `beside`.
    """

    beside: ClassVar[frozenset[str]] = frozenset()

    def __eq__(self, other: object) -> bool:
        if self is other:
            return True
        return isinstance(other, type(self)) and self._compared() == other._compared()

    def __ne__(self, other: object) -> bool:
        return not self == other

    def __hash__(self) -> int:
        return hash(self._compared())

    @classmethod
    def __get_pydantic_core_schema__(
        cls, source: type[Any], handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        def schema(column: FieldInfo) -> core_schema.TypedDictField:
            return core_schema.typed_dict_field(
                handler.generate_schema(column.type), required=column.required
            )

        columns = {column.name: schema(column) for column in fields(source)}
        mapping = core_schema.typed_dict_schema(columns, extra_behavior="forbid")
        return core_schema.no_info_after_validator_function(lambda found: source(**found), mapping)

    def _compared(self) -> tuple[object, ...]:
        return tuple(
            getattr(self, name) for name in self.__struct_fields__ if name not in self.beside
        )
