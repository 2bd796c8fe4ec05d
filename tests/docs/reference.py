"""The generated parts of the reference: from the docstrings, the schemas and the help of the code.

A page has `<!-- generated: NAME -->` where such a part begins, and `<!-- end -->` where it ends;
all else on it is written by hand. `renewed` puts the parts of now in their place.
"""

from __future__ import annotations

import ast
import inspect
import json
import re
from collections.abc import Callable, Iterator, Mapping
from functools import cache, partial
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any, TypeAlias

from typer.main import get_command

from teamgraph.engine.cli import command as command_line
from teamgraph.engine.graph.kinds import installed
from teamgraph.engine.graph.schema import graph_schema
from teamgraph.engine.prompts.filters import FILTERS
from teamgraph.engine.server.app import OPERATIONS
from teamgraph.engine.server.openapi import openapi
from teamgraph.kinds import Node

from ..faults.__main__ import FAULTS
from .site import ROOT

Schema: TypeAlias = Mapping[str, Any]
PART = re.compile(r"(<!-- generated: ([\w. -]+) -->\n).*?(<!-- end -->)", re.DOTALL)
DOORS = (
    "teamgraph",
    "teamgraph.nodes",
    "teamgraph.graphs",
    *(f"teamgraph.{file.stem}" for file in sorted((ROOT / "teamgraph").glob("[a-z]*.py"))),
)
"""The modules that have public names."""
_WIDTH = 88


def renewed(page: str) -> str:
    """The text of a page with its generated parts as they are now."""
    made = parts()
    return PART.sub(lambda part: f"{part[1]}{made[part[2]]()}{part[3]}", page)


def parts() -> dict[str, Callable[[], str]]:
    """What each part is made by; every one has its place on a page."""
    schema = _schema()
    kinds = {kind.__name__ for kind in _kinds().values()}
    named = [name for name in schema["$defs"] if name not in {"JsonValue", "node", *kinds}]
    return {
        "graph": partial(_keys, schema["properties"], schema["required"]),
        "node": _keys_of_every_node,
        **{f"kind {kind}": partial(_keys_of_kind, kind) for kind in _kinds()},
        **{
            f"keys {name}": partial(
                _keys, schema["$defs"][name]["properties"], schema["$defs"][name].get("required")
            )
            for name in named
        },
        **{f"names {door}": partial(_names_of, import_module(door)) for door in DOORS},
        "templates": _templates,
        "filters": _filters,
        "commands": _commands,
        "operations": _operations,
        "faults": _faults,
    }


def _kinds() -> Mapping[str, type[Node]]:
    return {
        name: kind for name, kind in installed().items() if kind.__module__.startswith("teamgraph.")
    }


@cache
def _schema() -> Schema:
    return graph_schema(_kinds())


_HEADINGS = {
    "Budget": "A budget",
    "FunctionTool": "A tool",
    "GraphTool": "A graph as a tool",
    "Instead": "A value instead",
    "MCPServer": "An MCP server",
    "ModelSpec": "A model",
    "Retry": "Retries",
    "Route": "A route",
    "Timeout": "Time limits",
}
"""The headings of the parts of the schema that have keys of their own."""


# The keys of graph files


def _keys_of_every_node() -> str:
    own = _schema()["$defs"]["Python"]["properties"]
    kind = {"kind": _schema()["$defs"]["node"]["properties"]["kind"]}
    return _keys({**kind, **{name: own[name] for name in Node.model_fields if name in own}})


def _keys_of_kind(name: str) -> str:
    kind = _kinds()[name]
    schema = _schema()["$defs"][kind.__name__]
    common = Node.model_fields
    own = {
        key: value
        for key, value in schema["properties"].items()
        if key != "kind"
        and (key not in common or value.get("description") != common[key].description)
    }
    about = _prose(inspect.getdoc(kind) or "")
    return f"{about}\n\n{_keys(own, schema.get('required'))}"


def _keys(properties: Schema, required: object = ()) -> str:
    if not properties:
        return "It has no keys but those of every node.\n"
    needed = set(required or ()) if isinstance(required, list) else set[str]()
    rows = ["| key | value | default | meaning | example |", "|---|---|---|---|---|"]
    for key, value in properties.items():
        words = "[a type](returns.md)" if key == "returns" else _words(value)
        default = "required" if key in needed else _default(value)
        example = f"`{_inline(value['examples'][0])}`" if value.get("examples") else ""
        about = value.get("description", "").replace("|", "\\|").replace("\n", " ")
        rows.append(f"| `{key}` | {words} | {default} | {about} | {example} |")
    return "\n".join(rows) + "\n"


def _default(value: Schema) -> str:
    default = value.get("default")
    return "" if default in (None, "", [], {}) else f"`{_inline(default)}`"


def _inline(value: object) -> str:
    """A value as YAML in one line, for a cell of a table."""
    text = json.dumps(value, ensure_ascii=False) if not isinstance(value, str) else value
    return re.sub(r'"([\w.-]+)":', r"\1:", text).replace("|", "\\|")


_PLAIN = {
    "string": "text",
    "integer": "whole number",
    "number": "number",
    "boolean": "true or false",
    "object": "mapping",
    "array": "list",
    "null": "null",
}


def _words(schema: Schema) -> str:
    """The type of a key in words; the parts of the schema that have keys are links."""
    if "$ref" in schema:
        return _link(schema["$ref"].rpartition("/")[2])
    if "anyOf" in schema:
        each = [_words(one) for one in schema["anyOf"]]
        return " or ".join(dict.fromkeys(word for word in each if word != "null"))
    if choices := [schema["const"]] if "const" in schema else schema.get("enum"):
        return ", ".join(f"`{value}`" for value in choices)
    kind = _PLAIN.get(str(schema.get("type")), "any value")
    items = schema.get("items") or schema.get("additionalProperties")
    inner = _words(items) if isinstance(items, Mapping) else "any value"
    joint = {"list": "of", "mapping": "to"}.get(kind)
    return f"{kind} {joint} {inner}" if joint and inner != "any value" else kind


def _link(name: str) -> str:
    """A link to the section of a part of the schema."""
    if name == "node":
        return "a [node](#keys-of-every-node)"
    if name not in _HEADINGS:
        return "any value"
    words = _HEADINGS[name].lower()
    return f"[{words}](#{words.replace(' ', '-')})"


# Templates


def _templates() -> str:
    rows = ["| template | what it says | blocks |", "|---|---|---|"]
    for file in sorted((ROOT / "prompts").glob("*.jinja")):
        text = file.read_text(encoding="utf-8")
        first = re.match(r"\{#(.*?)#\}", text, re.DOTALL)
        about = " ".join(first[1].split()) if first else f"`{text.splitlines()[0]}`"
        blocks = dict.fromkeys(re.findall(r"\{% block (\w+)", text))
        link = f"[{file.name}](../../prompts/{file.name})"
        rows.append(f"| {link} | {about} | {', '.join(f'`{block}`' for block in blocks)} |")
    return "\n".join(rows) + "\n"


def _filters() -> str:
    rows = ["| filter | result |", "|---|---|"]
    for name, function in sorted(FILTERS.items()):
        given = [str(each).split(":")[0] for each in inspect.signature(function).parameters][1:]
        about = " ".join((inspect.getdoc(function) or "").split())
        call = f"{name}({', '.join(given)})" if given else name
        rows.append(f"| `{call}` | {_escaped(about)} |")
    return "\n".join(rows) + "\n"


# The names of the Python API


def _names_of(package: ModuleType) -> str:
    return "\n".join(_name(package, name) for name in sorted(package.__all__, key=str.lower))


def _name(package: ModuleType, name: str) -> str:
    definition, below = _definition(package, name)
    if isinstance(definition, ast.ClassDef):
        return f"## {name}\n\n{_class(definition)}"
    if isinstance(definition, ast.FunctionDef | ast.AsyncFunctionDef):
        about = _prose(ast.get_docstring(definition) or "")
        return f"## {name}\n\n{_code(_signature(definition))}\n{about}\n"
    return f"## {name}\n\n{_code(ast.unparse(definition))}\n{_prose(_text(below))}\n"


def _definition(module: ModuleType, name: str) -> tuple[ast.stmt, ast.stmt | None]:
    """The statement that defines a name, in the module or where that has it from, and the next."""
    tree = _tree(Path(str(module.__file__)))
    for number, statement in enumerate(tree.body):
        if name in _defined(statement):
            return statement, next(iter(tree.body[number + 1 :]), None)
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and any(each.name == name for each in node.names):
            home = import_module(
                "." * node.level + str(node.module), str(module.__spec__ and module.__spec__.parent)
            )
            return _definition(home, name)
    raise LookupError(f"{module.__name__} has no definition of {name}")


@cache
def _tree(file: Path) -> ast.Module:
    return ast.parse(file.read_text(encoding="utf-8"))


def _defined(statement: ast.stmt) -> set[str]:
    """The names that a statement defines."""
    if isinstance(statement, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
        return {statement.name}
    targets = statement.targets if isinstance(statement, ast.Assign) else []
    targets = [statement.target] if isinstance(statement, ast.AnnAssign) else targets
    return {each.id for each in targets if isinstance(each, ast.Name)}


def _text(statement: ast.stmt | None) -> str:
    """The text that stands alone as a statement, which documents the one above it."""
    if isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant):
        return inspect.cleandoc(str(statement.value.value))
    return ""


def _class(definition: ast.ClassDef) -> str:
    init = next(
        (
            each
            for each in definition.body
            if isinstance(each, ast.FunctionDef) and each.name == "__init__"
        ),
        None,
    )
    bases = [ast.unparse(base) for base in definition.bases if ast.unparse(base) != "Declared"]
    head = f"class {definition.name}" + (f"({', '.join(bases)})" if bases else "")
    made = "" if init is None else f"\n\n{_signature(init, named=definition.name)}"
    shown = [_code(f"{head}{made}")]
    shown.append(_prose(ast.get_docstring(definition) or ""))
    fields = [*_fields(definition)]
    if fields:
        shown.append("\n".join(fields))
    shown += _methods(definition)
    return "\n\n".join(part.strip("\n") for part in shown if part) + "\n"


def _fields(definition: ast.ClassDef) -> Iterator[str]:
    body = definition.body
    for number, each in enumerate(body):
        if not isinstance(each, ast.AnnAssign) or not isinstance(each.target, ast.Name):
            continue
        name = each.target.id
        if name.startswith("_") or name == "model_config":
            continue
        below = body[number + 1] if number + 1 < len(body) else None
        about = " ".join(_text(below).split())
        default, described = _default_of(each.value)
        kind = re.sub(r"^ClassVar\[(.*)\]$", r"\1", ast.unparse(each.annotation))
        text = f"- `{name}: {kind}{default}`"
        yield f"{text}: {about or described}" if about or described else text


def _default_of(value: ast.expr | None) -> tuple[str, str]:
    """The default of a field as it is written, and its description in a pydantic `Field`."""
    if value is None:
        return "", ""
    if not (isinstance(value, ast.Call) and ast.unparse(value.func) in ("Field", "field")):
        return f" = {ast.unparse(value)}", ""
    given = {each.arg: each.value for each in value.keywords}
    default = f" = {ast.unparse(given['default'])}" if "default" in given else ""
    about = given.get("description")
    return default, str(ast.literal_eval(about)) if about is not None else ""


def _methods(definition: ast.ClassDef) -> Iterator[str]:
    blocking = {
        statement.value.args[0].id: statement.targets[0].id
        for statement in definition.body
        if isinstance(statement, ast.Assign)
        and isinstance(statement.targets[0], ast.Name)
        and isinstance(statement.value, ast.Call)
        and ast.unparse(statement.value.func) in ("door", "stream_door")
        and isinstance(statement.value.args[0], ast.Name)
    }
    for each in definition.body:
        if not isinstance(each, ast.FunctionDef | ast.AsyncFunctionDef) or each.name[0] == "_":
            continue
        marks = {ast.unparse(mark) for mark in each.decorator_list}
        if any(mark.endswith(".setter") or mark == "overload" for mark in marks):
            continue
        about = _prose(ast.get_docstring(each) or "")
        twin = blocking.get(each.name)
        names = (
            f"{definition.name}.{twin}, {each.name}" if twin else f"{definition.name}.{each.name}"
        )
        if "property" in marks or "cached_property" in marks:
            shown = f"{each.name}: {ast.unparse(each.returns)}" if each.returns else each.name
        else:
            shown = _signature(each, named=twin)
            if twin and isinstance(each, ast.AsyncFunctionDef):
                shown += f"\nawait {each.name}(...)"
        yield f"### {names}\n\n{_code(shown)}\n{about}"


def _signature(
    function: ast.FunctionDef | ast.AsyncFunctionDef, *, named: str | None = None
) -> str:
    """A call as it is written, on one line or with one parameter on each."""
    parameters = [*_parameters(function.args)]
    returns = f" -> {ast.unparse(function.returns)}" if function.returns else ""
    returns = "" if function.name == "__init__" else returns
    is_async = isinstance(function, ast.AsyncFunctionDef) and named is None
    head = f"{'async ' if is_async else ''}{named or function.name}"
    line = f"{head}({', '.join(parameters)}){returns}"
    if len(line) <= _WIDTH:
        return line
    inner = ",\n    ".join(parameters)
    return f"{head}(\n    {inner},\n){returns}"


def _parameters(of: ast.arguments) -> Iterator[str]:
    """The parameters with types and defaults, without `self`."""
    placed = [*of.posonlyargs, *of.args]
    defaults: list[ast.expr | None] = [None] * (len(placed) - len(of.defaults))
    for each, default in zip(placed, [*defaults, *of.defaults], strict=True):
        if each.arg not in ("self", "cls"):
            yield _parameter(each, default)
    if of.vararg is not None:
        yield f"*{_parameter(of.vararg, None)}"
    elif of.kwonlyargs:
        yield "*"
    for each, default in zip(of.kwonlyargs, of.kw_defaults, strict=True):
        yield _parameter(each, default)
    if of.kwarg is not None:
        yield f"**{_parameter(of.kwarg, None)}"


def _parameter(argument: ast.arg, default: ast.expr | None) -> str:
    kind = f": {ast.unparse(argument.annotation)}" if argument.annotation else ""
    return f"{argument.arg}{kind}" + (f" = {ast.unparse(default)}" if default else "")


def _code(text: str) -> str:
    return f"~~~python\n{text}\n~~~\n"


def _prose(text: str) -> str:
    """A docstring as Markdown: names of parameters and types are marked already."""
    return "".join(
        part if part.startswith("`") else part.replace("<", "&lt;")
        for part in re.split(r"(`[^`]*`)", text)
    )


# The command line


def _commands() -> str:
    found: list[str] = []
    for name, summary in command_line._SUMMARIES.items():
        module = "import_flow" if name == "import" else name
        loaded = import_module(f"teamgraph.engine.cli.{module}")
        found += _command(f"teamgraph {name}", get_command(loaded.app), summary)
    return "\n".join(found)


def _command(name: str, command: Any, summary: str = "") -> Iterator[str]:
    inside: Mapping[str, Any] = getattr(command, "commands", {})
    about = inspect.cleandoc(command.help or "")
    if inside:
        yield f"## {name}\n\n{summary or about}\n"
        for each, one in inside.items():
            yield from _command(f"{name} {each}", one)
        return
    level = "##" if name.count(" ") == 1 else "###"
    parameters = [one for one in command.params if not getattr(one, "hidden", False)]
    usage = " ".join([name, "[OPTIONS]", *(_place(one) for one in parameters if _is_place(one))])
    yield f"{level} {name}\n\n~~~text\n{usage}\n~~~\n\n{_escaped(about)}\n"
    rows = [row for one in parameters for row in _row(one)]
    yield "\n".join(["| argument or option | value | meaning |", "|---|---|---|", *rows]) + "\n"


def _is_place(parameter: Any) -> bool:
    return parameter.param_type_name == "argument"


def _place(parameter: Any) -> str:
    shown = parameter.metavar or parameter.name.upper()
    shown += "..." if parameter.nargs == -1 and "..." not in shown else ""
    return shown if parameter.required or shown.startswith("[") else f"[{shown}]"


def _row(parameter: Any) -> Iterator[str]:
    if parameter.name == "help":
        return
    names = (
        f"`{_place(parameter)}`"
        if _is_place(parameter)
        else ", ".join(f"`{one}`" for one in (*parameter.opts, *parameter.secondary_opts))
    )
    takes_value = not _is_place(parameter) and not parameter.is_flag
    value = f"`{parameter.metavar or parameter.name.upper()}`" if takes_value else ""
    about = " ".join((parameter.help or "").split())
    default = parameter.default
    if default not in (None, (), "", False, True) and not callable(default) and takes_value:
        shown = getattr(default, "value", default)
        about += f" Default: `{shown}`." if parameter.show_default else ""
    yield f"| {names} | {value} | {_escaped(about)} |".replace(" |  | ", " | | ")


def _escaped(text: str) -> str:
    """A text for a cell of a table: outside of code nothing in it is Markdown or HTML."""
    parts = re.split(r"(`[^`]*`)", text.replace("|", "\\|"))
    return "".join(
        part if part.startswith("`") else re.sub(r"[<*_]", lambda mark: f"\\{mark[0]}", part)
        for part in parts
    )


# The server


def _operations() -> str:
    described: Schema = openapi(OPERATIONS)
    bodies = described["components"]["schemas"]
    found: list[str] = []
    for path, methods in described["paths"].items():
        for method, operation in methods.items():
            found.append(f"## {method.upper()} {path}\n\n{operation['summary']}\n")
            rows = [
                _field(f"`{each['name']}`, in the {each['in']}", each, each["schema"])
                for each in operation["parameters"]
            ]
            body = operation.get("requestBody", {}).get("content", {}).get("application/json")
            if body is not None:
                named = bodies[body["schema"]["$ref"].rpartition("/")[2]]["properties"]
                rows += [_field(f"`{name}`", each, each) for name, each in named.items()]
            if rows:
                head = ["| field | value | default | meaning |", "|---|---|---|---|"]
                found.append("\n".join([*head, *rows]) + "\n")
    return "\n".join(found)


def _field(name: str, described: Schema, schema: Schema) -> str:
    about = _escaped(" ".join(described.get("description", "").split()))
    return f"| {name} | {_words(schema)} | {_default(schema)} | {about} |"


# The faults


def _faults() -> str:
    rows = ["| `make faults ARGS=` | what is done | times |", "|---|---|---|"]
    rows += [f"| `{name}` | {fault.title} | {fault.trials} |" for name, fault in FAULTS.items()]
    return "\n".join(rows) + "\n"
