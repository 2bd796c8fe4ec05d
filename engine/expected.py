"""Where in a declaration an error of pydantic stands, and what its types would have taken there.

pydantic's places mix the keys that people wrote with the names of the union members it tried. Only
the annotations tell them apart, so they are walked along.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Callable as CallableType
from dataclasses import dataclass
from types import NoneType, UnionType
from typing import Annotated, Literal, TypeAliasType, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from .errors import Path
