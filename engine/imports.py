"""Import strings: `package.module:name` to a Python object, and the object back to its name.

A graph file is untrusted text, so it reaches only modules that the caller allowed, each by its own
path: a module that an allowed module has imported is not reachable through it.

The entry points of installed packages (kinds of nodes, adapters of models) are found here, too.
Listing their names imports nothing; a plug-in is imported when it is first used.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Collection, Mapping
from functools import cache, partial
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from pkgutil import iter_modules
from types import BuiltinFunctionType, FunctionType, MethodType, ModuleType

from .errors import DefinitionError, Problem, TeamgraphError, closest
from .os_fork import FORKS

_MALFORMED, _NOT_ALLOWED, _NOT_FOUND, _NOT_WRITABLE = "G020", "G021", "G022", "G023"
# A name never begins with two underscores: `module:__loader__.get_data` would read any file.
_NAME = r"(?!__)[^\W\d]\w*"
_REFERENCE = rf"({_NAME}(?:\.{_NAME})*):({_NAME}(?:\.{_NAME})*)"


def resolve(reference: str, allow: Collection[str]) -> object:
    """Import the object that `package.module:name` (or `package.module:Class.name`) names.

    `allow` are packages or modules that may be imported, each with its submodules.
    Python imports the packages around a module first, whatever was allowed.

    Raises `DefinitionError`, with the error that importing raised as its cause.
    """
    match = re.fullmatch(_REFERENCE, reference)
    if match is None:
        text = f"{reference!r} must be written as 'package.module:name'"
        raise _refused(_MALFORMED, text)
    module, name = match.groups()
    if not any(module == package or module.startswith(f"{package}.") for package in allow):
        top = module.partition(".")[0]
        text = f"{reference!r}: {top!r} is not allowed here; pass allow=[{top!r}], --allow {top}, "
        text += "or set it in pyproject.toml under [tool.teamgraph]"
        raise _refused(_NOT_ALLOWED, text, closest(module, allow))
    return _found(_imported(module, reference), name, reference)


def reference(target: object) -> str:
    """The import string `package.module:name` of a function or class, for a graph file.

    Raises `DefinitionError` if there is none, as for a lambda or a local function.
    """
    module: object = getattr(target, "__module__", None)
    name: object = getattr(target, "__qualname__", None)
    if unnamed := _unnamed(target, str(name)):
        text = f"{unnamed} cannot be written to a file; "
        text += "define a function or a class with a name in a module of its own and use that"
        raise _refused(_NOT_WRITABLE, text)
    if module == "__main__":
        text = f"{name!r} cannot be written to a file: it is defined in the script that runs "
        raise _refused(_NOT_WRITABLE, text + "(__main__); move it to a module that can be imported")
    written = f"{module}:{name}"
    if re.fullmatch(_REFERENCE, written) is None or not _is_at(target, str(module), str(name)):
        text = f"{name!r} cannot be written to a file: {written!r} is not where it can be found; "
        raise _refused(_NOT_WRITABLE, text + "give it that name in its module")
    return written


def _refused(code: str, text: str, suggestion: str | None = None) -> DefinitionError:
    return DefinitionError([Problem(code, text, suggestion=suggestion)])


def _imported(module: str, reference: str) -> ModuleType:
    try:
        with FORKS.importing():
            return import_module(module)
    except ModuleNotFoundError as error:
        missing = error.name or ""
        if module != missing and not module.startswith(f"{missing}."):
            raise _raised(module, reference, error) from error
        text = f"{reference!r}: there is no module {missing!r}"
        near = _near_module(missing)
        if near is None and "." not in missing:
            text += "; install it, or add its folder to PYTHONPATH"
        raise _refused(_NOT_FOUND, text, near) from error
    except (Exception, SystemExit) as error:  # a script without a guard ends at import
        raise _raised(module, reference, error) from error


def _raised(module: str, reference: str, error: BaseException) -> DefinitionError:
    """Importing ran the module's own code, and that failed: its last line says how."""
    lines = str(error).strip().splitlines()
    reason = f"{type(error).__name__}: {lines[-1]}" if lines else type(error).__name__
    return _refused(_NOT_FOUND, f"{reference!r}: importing {module!r} failed with {reason}")


def _near_module(missing: str) -> str | None:
    package, _, name = missing.rpartition(".")
    folders: object = getattr(sys.modules.get(package), "__path__", None)
    if folders is None:
        return None
    near = closest(name, (module.name for module in iter_modules(folders)))  # type: ignore[arg-type]  # a package's path is not typed
    return f"{package}.{near}" if near else None


def _found(module: ModuleType, name: str, reference: str) -> object:
    target: object = module
    for part in name.split("."):
        try:
            inner: object = getattr(target, part)
        except AttributeError as error:
            owner = module.__name__ if target is module else _type_name(target)
            near = closest(part, (known for known in dir(target) if not known.startswith("__")))
            text = f"{reference!r}: {owner!r} has no {part!r}"
            raise _refused(_NOT_FOUND, text, near) from error
        except Exception as error:  # a module may make its names on demand
            raise _raised(module.__name__, reference, error) from error
        if isinstance(inner, ModuleType):
            text = f"{reference!r}: {part!r} is a module; name it before the colon, as in "
            raise _refused(_NOT_ALLOWED, f"{text}'{inner.__name__}:name', and allow it")
        target = inner
    return target


def _type_name(target: object) -> str:
    """The name of a class, or of the class of anything else."""
    return target.__qualname__ if isinstance(target, type) else type(target).__qualname__


def _unnamed(target: object, name: str) -> str | None:
    """What the target is, if it is of a type that no module has under a name."""
    if isinstance(target, partial):
        return "a partial"
    if isinstance(target, MethodType) and not isinstance(target.__self__, type):
        return f"{name!r}, a method of one object,"
    if not isinstance(target, type | FunctionType | BuiltinFunctionType | MethodType):
        return (
            f"{target!r}"
            if isinstance(target, ModuleType)
            else f"an object of {_type_name(target)!r}"
        )
    if name.endswith("<lambda>"):
        return "a lambda"
    return f"{name!r}, defined inside a function," if "<locals>" in name else None


def _is_at(target: object, module: str, name: str) -> bool:
    found: object = sys.modules.get(module)
    for part in name.split("."):
        found = getattr(found, part, None)
    return found == target


@cache
def plugins(group: str, what: str) -> Mapping[str, EntryPoint]:
    """The entry points of a group by name; `what` says in errors what they are ("kind").

    Raises `TeamgraphError` if two packages offer different objects under one name.
    """
    points: dict[str, EntryPoint] = {}
    for point in entry_points(group=group):
        known = points.setdefault(point.name, point)
        if known.value != point.value:
            text = f"the {what} {point.name!r} is offered twice, as {known.value} and {point.value}"
            raise TeamgraphError(f"{text}; uninstall one of the two packages")
    return points


def load_plugin(point: EntryPoint, what: str) -> object:
    """Import what an entry point names; raises `TeamgraphError` with the reason if that fails."""
    try:
        return point.load()
    except Exception as error:
        package = point.module.partition(".")[0]
        raise TeamgraphError(
            f"the {what} {point.name!r} ({point.value}) cannot be imported: {error}; if another "
            f"package of the name {package!r} comes before it on the path, rename or remove that "
            "one"
        ) from error
