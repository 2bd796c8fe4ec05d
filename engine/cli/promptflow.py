"""A promptflow flow (`flow.dag.yaml`) as the files of a graph.

Flow inputs become the message, the history or keys of the state; the inputs of an LLM node become
`set` tags at the top of its template; a python node calls a small function, in a module beside the
graph, that calls the flow's own. What has no counterpart is a note.
"""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from keyword import iskeyword
from pathlib import Path
from typing import Any, TypeGuard, cast

from ..errors import InputError
from ..graph.edges import NOT_IDS
from ..graph.yaml.reader import parse_yaml, read_yaml
from ..graph.yaml.writer import to_yaml

_REFERENCE = re.compile(r"\$\{([\w-]+)\.([\w-]+)((?:\.\w+|\[[^\]]+\])*)\}")
_LINE = re.IGNORECASE | re.MULTILINE
_ROLE = re.compile(r"^[ \t]*#?[ \t]*(system|user|assistant)[ \t]*:[ \t]*$", _LINE)
_OTHER_ROLE = re.compile(r"^[ \t]*#?[ \t]*(function|tool)[ \t]*:[ \t]*$", _LINE)
_OPENING = re.compile(r"\{%-?\s*(?:for|if|macro|call|filter|raw)\b")
_CLOSING = re.compile(r"\{%-?\s*end(?:for|if|macro|call|filter|raw)\b")
_CONTROL_LINE = re.compile(r"\s*(?:\{%-?\s*(?!set|include)[^%]*%\}\s*)*")
_TURN = r"(?:\.{0}|\[['\"]{0}['\"]\])(?:\.\w+|\[['\"]\w+['\"]\])"
_PARAMETERS = frozenset(
    ("temperature", "top_p", "max_tokens", "stop", "presence_penalty", "frequency_penalty", "seed")
)
_TOOL_KEYS = frozenset(("function_call", "functions", "tools", "tool_choice"))
_MODEL_KEYS = (
    _PARAMETERS | _TOOL_KEYS | {"deployment_name", "model", "response_format", "logit_bias"}
)
_PLAIN_TYPES = ("str", "int", "float", "bool")


@dataclass
class ImportedFlow:
    """The files that a flow becomes, by their paths, and what was not taken."""

    files: dict[str, str] = field(default_factory=dict[str, str])
    notes: list[str] = field(default_factory=list[str])
    modules: list[str] = field(default_factory=list[str])


def variants_of(file: Path) -> Sequence[tuple[str, str]]:
    """The variants of a flow that are not the default ones: the node and the variant's name."""
    declared = _mapping(_read(file).get("node_variants"))
    return [
        (node, variant)
        for node, variants in declared.items()
        for variant in _mapping(variants.get("variants"))
        if variant != variants.get("default_variant_id")
    ]


def import_flow(file: Path, name: str, variant: tuple[str, str] | None = None) -> ImportedFlow:
    """The files of the graph `name`, with the default variants but for one; raises `InputError`."""
    return _FlowImporter(file, name, dict([variant] if variant else [])).imported()


class _FlowImporter:
    """Converts one flow; `chosen` are the variants of nodes that are not the default ones."""

    def __init__(self, file: Path, name: str, chosen: Mapping[str, str]) -> None:
        self._folder = file.parent
        self._name = name
        self._data = _read(file)
        self._result = ImportedFlow()
        self._inputs = {key: _mapping(each) for key, each in self._part("inputs").items()}
        self._nodes = [self._with_variant(_mapping(each), chosen) for each in self._list("nodes")]
        self._ids = {str(node.get("name")): _node_id(str(node.get("name"))) for node in self._nodes}
        self._texts = {
            str(node.get("name")): node for node in self._nodes if node.get("type") == "prompt"
        }
        self._message = self._message_input()
        self._skipped = self._find_skipped()
        self._functions: list[str] = []

    def imported(self) -> ImportedFlow:
        """Convert nodes, outputs and state."""
        if not self._nodes:
            raise InputError(f"{self._folder}: the flow has no nodes; name another file")
        nodes = {self._ids[name]: self._node(name, node) for name, node in self._calls().items()}
        if any(self._is_history(name) for name in self._inputs):
            nodes = {"history": {"kind": "history-loader", "runs": 10}, **nodes}
        graph: dict[str, Any] = {"name": self._name}
        if isinstance(about := self._data.get("description"), str):
            graph["description"] = about
        if state := {key: self._inputs[key].get("default") for key in self._state_keys()}:
            graph["state"] = state
        graph |= {"nodes": nodes, "output": self._output()}
        self._result.files[f"{self._name}.yaml"] = to_yaml(graph)
        if self._functions:
            text = f'"""The functions that the python nodes of {self._name}.yaml call."""\n'
            module = _module_name(self._name)
            if any("(TypedDict)" in each for each in self._functions):
                text += "\nfrom typing import TypedDict\n"
            self._result.files[f"{module}.py"] = "\n\n".join((text, *self._functions))
            self._result.modules.append(module)
        return self._result

    def _node(self, name: str, node: Mapping[str, Any]) -> dict[str, Any]:
        if node.get("aggregation"):
            self._note(name, "it aggregates several runs, and is called in each run here")
        made = self._llm(name, node) if node.get("type") == "llm" else self._python(name, node)
        if needs := self._needs(name, self._skipped):
            made["needs"] = needs
        activate = _mapping(node.get("activate"))
        if activate:
            value = self._expression(str(activate.get("when")), name)
            made["when"] = f"{value} == {_literal(activate.get('is', True))}"
        return made

    def _llm(self, name: str, node: Mapping[str, Any]) -> dict[str, Any]:
        for key in _mapping(node.get("inputs")).keys() & _TOOL_KEYS:
            self._note(name, f"{key!r} was not taken; declare `tools` of the node (docs/tools.md)")
        if node.get("connection"):
            text = f"the connection {node['connection']!r} was not taken; set the provider's key"
            self._note(name, text)
        model = self._model(name, node)
        own = self._name.partition(".")[2]
        path = ".".join(filter(None, (self._ids[name], own, "jinja")))
        self._result.files[f"prompts/{path}"] = self._template(name, node)
        return {"prompt": path, **({"model": model} if model else {})}

    def _model(self, name: str, node: Mapping[str, Any]) -> dict[str, Any]:
        """The model of a node with its parameters, if the flow names one."""
        inputs = _mapping(node.get("inputs"))
        deployment, named = inputs.get("deployment_name"), inputs.get("model")
        parameters: dict[str, Any] = {}
        for key in sorted(inputs.keys() & _PARAMETERS):
            if _REFERENCE.search(str(inputs[key])):
                self._note(name, f"{key!r} comes from a node or an input, and is left out")
            elif inputs[key] not in (None, ""):
                parameters[key] = _number(inputs[key])
        if deployment and node.get("provider") != "OpenAI":
            return {"id": f"azure/{deployment}", **parameters}
        if deployment or named:
            return {"id": f"openai/{deployment or named}", **parameters}
        if parameters:
            self._note(name, f"no model is named, so {', '.join(parameters)}: left out")
        return {}

    def _template(self, name: str, node: Mapping[str, Any]) -> str:
        """The template of a node: its inputs as names, then its text with tags of roles."""
        text = self._source_text(name, node)
        lines: list[str] = []
        for key, value in _mapping(node.get("inputs")).items():
            if key in _MODEL_KEYS:
                continue
            lines.append(self._set(key, value, name))
            if (history := _REFERENCE.fullmatch(str(value))) and self._is_history(history[2]):
                text = re.sub(_TURN.format("inputs"), ".input", text)
                text = re.sub(_TURN.format("outputs"), ".answer", text)
        if _OTHER_ROLE.search(text):
            self._note(name, "messages of the role function or tool are sent as text")
        tagged = with_tags(text)
        if tagged is None:
            self._note(name, "a role is inside a block of several messages; write its tags by hand")
        return "".join(lines) + (tagged or text)

    def _source_text(self, name: str, node: Mapping[str, Any]) -> str:
        source = str(_mapping(node.get("source")).get("path") or "")
        try:
            file = self._file(source)
            return _prompty(file)[1] if file.suffix == ".prompty" else file.read_text("utf-8")
        except (OSError, ValueError):
            self._note(name, f"the template {source!r} cannot be read; write it")
            return "{# it could not be read #}\n{{ input.message }}\n"

    def _file(self, path: str) -> Path:
        """A file of the flow, which may be one of its `additional_includes`."""
        included = (self._folder / str(each) for each in self._list("additional_includes"))
        return next((each for each in included if each.name == path), self._folder / path)

    def _set(self, key: str, value: object, name: str) -> str:
        """The tag that gives an input its name in a template."""
        found = _REFERENCE.fullmatch(str(value))
        if found is not None and found[1] in self._texts:
            return self._prompt_text(key, found[1])
        return f"{{% set {key} = {self._expression(value, name)} %}}\n"

    def _prompt_text(self, key: str, name: str) -> str:
        """What a prompt node renders, under the name that another template has for it."""
        text = self._template(name, self._texts[name])
        if "{% endsystem %}" in text or "{% enduser %}" in text:
            self._note(name, "it renders roles, which are left out: its text is a part of a prompt")
            text = re.sub(r"\{% (?:end)?(?:system|user|assistant) %\}\n?", "", text)
        return f"{{% set {key} %}}\n{text.rstrip()}\n{{% endset %}}\n"

    def _python(self, name: str, node: Mapping[str, Any]) -> dict[str, Any]:
        module, node_id = _module_name(self._name), self._ids[name]
        inputs = _mapping(node.get("inputs"))
        parameters: dict[str, None] = {}
        arguments: list[str] = []
        for key, value in inputs.items():
            argument = self._argument(value, name, parameters)
            arguments.append(f"{key}={argument}")
        source = _mapping(node.get("source"))
        path = str(source.get("path") or "")
        function = self._copied(path) if path.endswith(".py") else None
        declared = ", ".join(sorted(parameters, key=lambda each: "=" in each))
        returned = self._returned(name, function)
        head = f"def {node_id}({declared}){returned}:"
        if function is None:
            what = source.get("tool") or path or node.get("type")
            self._note(name, f"{what} was not taken; write {module}.{node_id}")
            text = json.dumps(f"write this function: it was {what}")
            self._functions.append(f"{head}\n    raise NotImplementedError({text})\n")
        else:
            imported = _module_path(path).removesuffix(".py").replace("/", ".")
            body = f"    from {imported} import {function.name} as call\n\n"
            body += f"    return call({', '.join(arguments)})\n"
            self._functions.append(f"{head}\n{body}")
        return {"kind": "python", "call": f"{module}:{node_id}"}

    def _argument(self, value: object, name: str, parameters: dict[str, None]) -> str:
        """What is passed for an input, in Python; adds the parameter that it needs."""
        found = _REFERENCE.fullmatch(str(value))
        if found is None:
            return repr(value)
        owner, key, rest = found.groups()
        if owner == "inputs":
            return self._given(key, name, parameters)
        if owner not in self._calls():
            self._note(name, f"the text of {owner} is only in templates; it gets an empty one")
            return "''"
        node_id = self._ids[owner]
        parameters[f"{node_id}=None" if owner in self._skipped else node_id] = None
        return node_id + re.sub(r"\.(\w+)", r"['\1']", rest)

    def _given(self, key: str, name: str, parameters: dict[str, None]) -> str:
        """An input of the flow, in Python."""
        if self._is_history(key):
            self._note(name, "it gets an empty list for the history; read it in a template")
            return "[]"
        if key == self._message:
            parameters["message"] = None
            return "message"
        parameters["session_state"] = None
        return f"session_state[{key!r}]"

    def _copied(self, path: str) -> ast.FunctionDef | ast.AsyncFunctionDef | None:
        """The function of a file, which is copied without promptflow's decorator and import."""
        try:
            text = self._file(path).read_text(encoding="utf-8")
            tree = ast.parse(text)
        except (OSError, ValueError, SyntaxError):
            return None
        functions = [
            each for each in tree.body if isinstance(each, ast.FunctionDef | ast.AsyncFunctionDef)
        ]
        tools = [each for each in functions if any(map(_is_tool, each.decorator_list))]
        decorators = [one for each in tools for one in each.decorator_list if _is_tool(one)]
        imports = [each for each in tree.body if _is_of_promptflow(each)]
        bare = [each for each in imports if [one.name for one in each.names] == ["tool"]]
        if len(bare) < len(imports):
            self._result.notes.append(f"{path} needs more of promptflow; install it, or mend it")
        removed: list[ast.expr | ast.stmt] = [*decorators, *bare]
        dropped = {line for each in removed for line in _lines(each)}
        lines = text.splitlines(keepends=True)
        kept = [line for number, line in enumerate(lines, 1) if number not in dropped]
        self._result.files[_module_path(path)] = "".join(kept).lstrip()
        return next(iter((*tools, *functions)), None)

    def _returned(self, name: str, function: ast.FunctionDef | ast.AsyncFunctionDef | None) -> str:
        """The annotation of a node's function, from its own, or from the fields that are read."""
        written = json.dumps([self._nodes, self._part("outputs")], default=str)
        fields = {
            found[3].split(".")[1]
            for found in _REFERENCE.finditer(written)
            if found[1] == name and found[3].startswith(".")
        }
        if fields:
            type_name = f"{self._ids[name].title().replace('_', '')}Output"
            keys = "".join(f"    {each}: str\n" for each in sorted(fields))
            self._functions.append(f"class {type_name}(TypedDict):\n{keys}")
            return f" -> {type_name}"
        annotated = ast.unparse(function.returns) if function and function.returns else ""
        return f" -> {annotated}" if annotated in _PLAIN_TYPES else ""

    def _expression(self, value: object, name: str) -> str:
        """A value of a flow as a Jinja expression."""
        found = _REFERENCE.fullmatch(str(value))
        if found is None:
            return _literal(value)
        owner, key, rest = found.groups()
        if owner == "inputs":
            read = "input.message" if key == self._message else f"session.state.{key}{rest}"
            return "history.runs" if self._is_history(key) else read
        if owner not in self._ids:
            self._note(name, f"it reads {owner!r}, and the flow has no such node")
            return '""'
        node_id = self._ids[owner]
        read = f"{node_id}.output{rest}"
        return f"({read} if {node_id} is defined else none)" if owner in self._skipped else read

    def _find_skipped(self) -> set[str]:
        """The nodes that may be skipped: those with a condition, and those that read only such."""
        skipped = {name for name, node in self._calls().items() if node.get("activate")}
        for _ in self._nodes:
            skipped |= {name for name in self._calls() if self._needs(name, skipped)}
        return skipped

    def _needs(self, name: str, skipped: set[str]) -> list[str]:
        """The nodes of which one must run: all that it reads, if each of them may be skipped."""
        read = [each for each in self._read_by(self._calls()[name]) if each in self._calls()]
        return [self._ids[each] for each in read] if skipped.issuperset(read) else []

    def _read_by(self, node: Mapping[str, Any]) -> list[str]:
        found = [_REFERENCE.fullmatch(str(each)) for each in _mapping(node.get("inputs")).values()]
        return list(dict.fromkeys(each[1] for each in found if each and each[1] != "inputs"))

    def _output(self) -> str | list[str]:
        """The nodes that answer: those of the outputs, the one of the chat first."""
        outputs = [_mapping(each) for each in self._part("outputs").values()]
        outputs.sort(key=lambda each: not each.get("is_chat_output"))
        named: dict[str, None] = {}
        for output in outputs:
            found = _REFERENCE.fullmatch(str(output.get("reference")))
            if found is None or found[1] not in self._calls():
                self._note("outputs", f"{output.get('reference')} is no output of a node here")
                continue
            if found[3]:
                self._note("outputs", f"the answer is all of {found[1]}, not {found[3]} alone")
            named[self._ids[found[1]]] = None
        if len(named) > 1:
            first, *others = named
            text = f"the answer is that of {first}; those of {', '.join(others)} are in run.records"
            self._note("outputs", text)
        return next(iter(named), self._ids[list(self._calls())[-1]])

    def _calls(self) -> dict[str, Mapping[str, Any]]:
        """The nodes that stay nodes: those that only render a text become parts of templates."""
        return {str(each.get("name")): each for each in self._nodes if each.get("type") != "prompt"}

    def _message_input(self) -> str | None:
        """The input that is the user's message: the one of the chat, or else the first."""
        others = [key for key in self._inputs if not self._is_history(key)]
        chat = [key for key in others if self._inputs[key].get("is_chat_input")]
        return next(iter(chat or others), None)

    def _state_keys(self) -> list[str]:
        keys = [key for key in self._inputs if key != self._message and not self._is_history(key)]
        if keys:
            text = f"{', '.join(keys)}: in the state here; set with --state KEY=JSON"
            self._note("inputs", text)
        return keys

    def _is_history(self, key: str) -> bool:
        declared = self._inputs.get(key, {})
        return bool(declared.get("is_chat_history")) or key == "chat_history"

    def _with_variant(
        self, node: Mapping[str, Any], chosen: Mapping[str, str]
    ) -> Mapping[str, Any]:
        """A node with the fields of its variant."""
        name = str(node.get("name"))
        declared = _mapping(self._part("node_variants").get(name))
        variants = _mapping(declared.get("variants"))
        wanted = str(chosen.get(name, declared.get("default_variant_id")))
        if not node.get("use_variants") and name not in chosen:
            return node
        return {**node, **_mapping(_mapping(variants.get(wanted)).get("node")), "name": name}

    def _part(self, key: str) -> Mapping[str, Any]:
        return _mapping(self._data.get(key))

    def _list(self, key: str) -> list[object]:
        value = self._data.get(key)
        return cast("list[object]", value) if isinstance(value, list) else []

    def _note(self, name: str, text: str) -> None:
        self._result.notes.append(f"{name}: {text}")


def with_tags(text: str) -> str | None:
    """A template whose lines `system:`, `user:` are tags; None if a block spans several roles."""
    parts = _ROLE.split(text)
    if len(parts) == 1:
        return text
    made = [parts[0]] if parts[0].strip() else []
    for role, body in zip(map(str.lower, parts[1::2]), parts[2::2], strict=True):
        lines = body.strip("\n").splitlines()
        end = next((end for end in _ends(lines) if _is_balanced(lines[:end])), None)
        if end is None:
            return None
        inside = "\n".join(lines[:end]).strip("\n")
        made.append(f"{{% {role} %}}\n{inside}\n{{% end{role} %}}\n")
        made += [f"{line}\n" for line in lines[end:] if line.strip()]
    return "".join(made)


def _ends(lines: Sequence[str]) -> Iterator[int]:
    """Where a message can end: before any of the last lines that are only tags of blocks."""
    end = len(lines)
    yield end
    while end and _CONTROL_LINE.fullmatch(lines[end - 1]):
        end -= 1
        yield end


def _is_balanced(lines: Sequence[str]) -> bool:
    text = "\n".join(lines)
    return len(_OPENING.findall(text)) == len(_CLOSING.findall(text))


def _read(file: Path) -> Mapping[str, Any]:
    """The flow in a file, or the one of a single node that a prompty file is."""
    if file.suffix != ".prompty":
        return read_yaml(file).data
    data = parse_yaml(_prompty(file)[0], str(file)).data
    model = _mapping(data.get("model"))
    settings = _mapping(model.get("configuration"))
    named = {"deployment_name": settings.get("azure_deployment"), "model": settings.get("model")}
    inputs = {**named, **_mapping(model.get("parameters"))}
    declared = _mapping(data.get("inputs"))
    inputs |= {key: f"${{inputs.{key}}}" for key in declared}
    node = {"name": "answer", "type": "llm", "source": {"path": file.name}, "inputs": inputs}
    about = data.get("description")
    return {"inputs": declared, "nodes": [node], "outputs": {}, "description": about}


def _prompty(file: Path) -> tuple[str, str]:
    """The front matter of a prompty file, and its template."""
    _, _, text = file.read_text(encoding="utf-8").partition("---\n")
    head, _, body = text.partition("\n---")
    return head, body.lstrip("\n")


def _mapping(value: object) -> Mapping[str, Any]:
    return cast("Mapping[str, Any]", value) if isinstance(value, Mapping) else {}


def _base_name(name: str) -> str:
    return name.partition(".")[0]


def _module_name(name: str) -> str:
    return f"{re.sub(r'[^a-z0-9]+', '_', _base_name(name).lower()).strip('_')}_nodes"


def _module_path(path: str) -> str:
    """Where the copy of a flow's Python file is, so that it can be imported."""
    parts = Path(path).parts if ".." not in path else (Path(path).name,)
    return "/".join(re.sub(r"[^\w.]", "_", part) for part in parts if part != "/")


def _node_id(name: str) -> str:
    found = re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_")
    if found in NOT_IDS or iskeyword(found):
        return f"{found}_node"
    return found if found[:1].isalpha() else f"node_{found}"


def _literal(value: object) -> str:
    """A constant as a Jinja expression; a text of `true` or `false` is the boolean."""
    if isinstance(value, str) and value.lower() in ("true", "false"):
        return value.lower()
    return "none" if value is None else json.dumps(value, ensure_ascii=False)


def _number(value: object) -> object:
    """A parameter of a model, which flows write as a text."""
    try:
        return json.loads(value) if isinstance(value, str) else value
    except ValueError:
        return value


def _is_of_promptflow(statement: ast.stmt) -> TypeGuard[ast.ImportFrom]:
    return isinstance(statement, ast.ImportFrom) and str(statement.module).startswith("promptflow")


def _lines(node: ast.expr | ast.stmt) -> range:
    return range(node.lineno, (node.end_lineno or node.lineno) + 1)


def _is_tool(decorator: ast.expr) -> bool:
    named = decorator.func if isinstance(decorator, ast.Call) else decorator
    return ast.unparse(named).rpartition(".")[2] == "tool"
