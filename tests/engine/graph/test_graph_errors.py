"""What is wrong in a graph file: all at once, at its place, in words that say how to go on."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import pytest

from teamgraph import Graph, Runner, ScriptedModel
from teamgraph.errors import DefinitionError
from teamgraph.kinds import Node
from teamgraph.nodes import HistoryLoader, Leader, Member, Python, Router, Summarizer
from tests.builders import refused, told, written


def in_node(tmp_path: Path, fields: str) -> list[str]:
    """The problems of a graph of one node, `a`, whose fields begin at 4:7 of the file."""
    return told(written(tmp_path, f"name: x\noutput: a\nnodes:\n  a: {{{fields}}}\n"))


def in_graph(tmp_path: Path, line: str) -> list[str]:
    """The problems of a sound graph with one more line, its first."""
    return told(written(tmp_path, f"{line}\nname: x\nnodes: {{a: {{role: You}}}}\n"))


def test_every_mistake_of_a_file_is_told_at_once_in_reading_order(tmp_path: Path) -> None:
    path = written(
        tmp_path,
        """
        version: 2
        name: ""
        retires: 2
        timeout: "30s"
        budget: {token: 5}
        nodes:
          router:
            kind: router
            routes:
              english: {to: [english], abuot: the user writes English}
            default: frensh
          english: {rol: You answer, retry: -1, needs: [ruter]}
          French: {kind: membr}
          history: {role: You remember}
          bad:
            prompt: |
              Say {{ input.message }}
                to {{ nobdy }}.
          note: {prompt: note.jina, on_error: skp}
          lost: {prompt: membr.jinja}
        output: [english, frensh]
        """,
    )
    assert told(path) == [
        "1:10: version: must be 1, not 2",
        "2:7: name: must not be empty",
        "3:1: unknown key 'retires'; did you mean 'retry'?",
        "4:10: timeout: must be a number of seconds more than 0, or {total, idle}, not '30s'",
        "5:10: unknown key 'token'; did you mean 'tokens'?",
        "10:32: node 'router': unknown key 'abuot'; did you mean 'about'?",
        "12:13: node 'english': unknown key 'rol'; did you mean 'role'?",
        "12:37: node 'english': retry: must be a whole number from 0, or "
        "{times, wait, max_wait}, not -1",
        "12:49: node 'english' needs 'ruter', and there is no such node; did you mean 'router'?",
        "13:3: node id 'French' must be lower-case letters, digits and _, letter first; "
        "did you mean 'french'?",
        "13:18: node 'French': unknown kind 'membr'; did you mean 'member'?",
        "14:3: node id 'history' is for a history-loader only; choose another",
        "18:15: unknown name 'nobdy'; did you mean 'node'?",
        "19:39: node 'note': on_error: must be 'fail' or 'skip', or {value}, not 'skp'; "
        "did you mean 'skip'?",
        "20:18: there is no template 'membr.jinja'; did you mean 'member.jinja'?",
        "21:19: output names 'frensh', and there is no such node; did you mean 'French'?",
    ]


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        ("rol: x", "4:7: node 'a': unknown key 'rol'; did you mean 'role'?"),
        ("role: 3", "4:13: node 'a': role: must be text, not 3; put it in quotes"),
        ("retry: -1", "4:14: node 'a': retry: must be a whole number from 0, or "
         "{times, wait, max_wait}, not -1"),
        ("retry: two", "4:14: node 'a': retry: must be a whole number from 0, or "
         "{times, wait, max_wait}, not 'two'"),
        ("retry: {times: -1}", "4:22: node 'a': times: must be 0 or more, not -1"),
        ("retry: {}", "4:14: node 'a': 'times' is required; add it, such as `times: 2`"),
        ("retry: {times: 1, wiat: 1}", "4:25: node 'a': unknown key 'wiat'; "
         "did you mean 'wait'?"),
        ("timeout: 0", "4:16: node 'a': timeout: must be a number of seconds more than 0, or "
         "{total, idle}, not 0"),
        ("timeout: yes", "4:16: node 'a': timeout: must be a number of seconds more than 0, or "
         "{total, idle}, not 'yes'"),
        ("timeout: true", "4:16: node 'a': timeout: must be a number of seconds more than 0, or "
         "{total, idle}, not true"),
        ("timeout: [1]", "4:16: node 'a': timeout: must be a number of seconds more than 0, or "
         "{total, idle}, not a list"),
        ("timeout: {idel: 3}", "4:17: node 'a': unknown key 'idel'; did you mean 'idle'?"),
        ("timeout: {idle: -2.5}", "4:23: node 'a': idle: must be more than 0, not -2.5"),
        ("on_error: {value: 3, also: 4}", "4:28: node 'a': unknown key 'also'; "
         "known keys: value"),
        ("model: 3", "4:14: node 'a': model: must be text, or {id, api_base, api_key_env, "
         "temperature, max_tokens, structured, fallback}, not 3"),
        ("model: {id: m, max_tokens: 0}", "4:34: node 'a': max_tokens: must be more than 0, "
         "not 0"),
        ("model: {id: m, tempreature: 1}", "4:22: node 'a': unknown key 'tempreature'; "
         "did you mean 'temperature'?"),
        ("model: {id: m, fallback: 3}", "4:32: node 'a': fallback: must be a model's id, "
         "{id, ...}, or a list of them, not 3"),
        ("model: {id: m, fallback: [3]}", "4:33: node 'a': fallback[0]: must be text, or {id, "
         "api_base, api_key_env, temperature, max_tokens, structured, fallback}, not 3"),
        ("model: {id: m, fallback: [{id: n, api_base: x}]}", "4:51: node 'a': api_base must be an "
         "address such as http://127.0.0.1:8000/v1 or https://host/path, in ASCII and without . "
         "or .. in its path"),
        ("model: {id: m, fallback: {id: n, sed: 1}}", "4:40: node 'a': unknown key 'sed'; "
         "did you mean 'seed'?"),
        ("model: {id: m, fallback: [{id: n, fallback: o}]}", "4:41: node 'a': a fallback has no "
         "fallback of its own; list that model after it"),
        ("needs: 5", "4:14: node 'a': needs: must be an id or a list of ids, not 5"),
        ("reads: [1]", "4:15: node 'a': reads[0]: must be text, not 1; put it in quotes"),
        ("join: al", "4:13: node 'a': join: must be 'any', 'all' or 'always', not 'al'; "
         "did you mean 'all'?"),
        ("params: [1]", "4:15: node 'a': params: must be a mapping of keys to values, "
         'not a list; write `params: {"tone": "friendly"}`'),
        ("kind: history-loader, runs: -1", "4:35: node 'a': runs: must be 0 or more, not -1"),
        ("kind: history-loader, runs: '3'", "4:35: node 'a': runs: must be a whole number, "
         "not '3'"),
        ("kind: summarizer, every: 0", "4:32: node 'a': every: must be 1 or more, not 0"),
        ("kind: python", "4:6: node 'a': 'call' is required; add it, such as "
         "`call: myapp.orders:lookup`"),
        ("kind: 3", "4:13: node 'a': unknown kind 3; known kinds: graph, history-loader, human, "
         "leader, loop, map, member, python, router, search, summarizer, swarm; one of your own "
         "is named by `--kind package.module:Class`, or by `kinds` in [tool.teamgraph]"),
        ("prompt: hello", "4:15: node 'a': prompt 'hello' is neither a file (its name ends in "
         ".jinja, .jinja2 or .j2) nor a template (which has {{ ... }}, {% ... %} or several "
         "lines)"),
        ("returns: strr", "4:16: node 'a': unknown type 'strr'; did you mean 'str'?"),
        ("api_key: sk-1", "4:7: node 'a': 'api_key' would put a secret into the graph; name the "
         "environment variable that contains it: `model: {id: ..., api_key_env: ...}`"),
    ],
)  # fmt: skip
def test_a_wrong_field_of_a_node_is_one_problem_at_its_place(
    tmp_path: Path, fields: str, problem: str
) -> None:
    found = in_node(tmp_path, fields)
    assert [each for each in found if "gives no answer" not in each] == [problem]


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("version: 2", "1:10: version: must be 1, not 2"),
        ("max_parallel: 0", "1:15: max_parallel: must be more than 0, not 0"),
        ("max_parallel: yes", "1:15: max_parallel: must be a whole number, not 'yes'"),
        ("budget: {tokens: 0}", "1:18: tokens: must be more than 0, not 0"),
        ("budget: 5", "1:9: budget: must be {per, tokens, usd, calls}, or a list, not 5"),
        (
            "budget: {dollars: 5}",
            "1:10: unknown key 'dollars'; known keys: per, tokens, usd, calls",
        ),
        (
            "mcp: {files: {command: mcp-files}}",
            "1:7: the MCP server 'files' is not allowed here: it would be started, or sent to; "
            "look at what it is, then pass allow_mcp=['files'], --allow-mcp files, or set "
            "allow_mcp in pyproject.toml under [tool.teamgraph]",
        ),
        ("state: [1]", "1:8: state: must be a mapping of keys to values, not a list; "
         'write `state: {"visits": 0}`'),
        ("description: null", "1:14: description: must be text, not null"),
        ("prompt_dirs: [x]", "1:1: unknown key 'prompt_dirs'; it is given by the caller, "
         "not by the file"),
        ("model: {id: m, api_key: sk-1}", "1:16: 'api_key' would put a secret into the graph; "
         "name the environment variable that contains it; did you mean 'api_key_env'?"),
        ("model: {id: m, extra_headers: {Authorization: x}}", "1:32: 'Authorization' would put a "
         "secret into the graph; name the environment variable that contains it; "
         "did you mean 'api_key_env'?"),
        ("output: 3", "1:9: output: must be an id or a list of ids, not 3"),
        ("output: [a, 3]", "1:13: output[1]: must be text, not 3; put it in quotes"),
    ],
)  # fmt: skip
def test_a_wrong_field_of_a_graph_is_one_problem_at_its_place(
    tmp_path: Path, line: str, problem: str
) -> None:
    assert in_graph(tmp_path, line) == [problem]


@pytest.mark.parametrize(
    ("nodes", "problem"),
    [
        (
            "3",
            "3:8: nodes: must be a mapping of keys to values, not 3; "
            'write `nodes: {"writer": {"role": "You write short texts"}}`',
        ),
        ("{}", "3:8: nodes: must not be empty"),
        ("{a: text}", "3:12: node 'a' must be a mapping of keys to values, such as {role: ...}"),
    ],
)
def test_nodes_must_be_a_mapping_of_mappings(tmp_path: Path, nodes: str, problem: str) -> None:
    found = told(written(tmp_path, f"name: x\ndescription: y\nnodes: {nodes}\n"))
    assert problem in found


def test_a_file_without_name_and_nodes_says_what_it_lacks(tmp_path: Path) -> None:
    found = told(written(tmp_path, "description: nothing\n"))
    assert found[:2] == [
        "1:1: 'name' is required; add it, such as `name: polyglot`",
        "1:1: 'nodes' is required; add it, such as "
        '`nodes: {"writer": {"role": "You write short texts"}}`',
    ]


def test_a_secret_is_never_repeated_in_what_is_told(tmp_path: Path) -> None:
    found = in_node(tmp_path, "model: {id: 3, api_key: sk-123}, retry: {times: x, token: sk-123}")
    assert found
    assert not [problem for problem in found if "sk-123" in problem]


ROUTER = """
    name: x
    nodes:
      router:
        kind: router
        routes: {routes}
      english: {{role: You answer}}
      other: {{role: You answer}}
    output: [english, other]
"""


@pytest.mark.parametrize(
    ("routes", "problem"),
    [
        ("{englsh: x, other: y}", "5:14: node 'router': the route 'englsh' leads to 'englsh', and "
         "there is no such node; did you mean 'english'?"),
        ("{yes: other, other: y}", "5:14: node 'router': the route 'yes' leads to 'yes', and there "
         "is no such node; to lead to 'other', write `yes: {to: other}`"),
        ("{en: {to: englsh}, other: y}", "5:23: node 'router': the route 'en' leads to 'englsh', "
         "and there is no such node; did you mean 'english'?"),
        ("{en: {to: [other, englsh]}}", "5:31: node 'router': the route 'en' leads to 'englsh', "
         "and there is no such node; did you mean 'english'?"),
        ("{english: 3, other: y}", "5:23: node 'router': routes.english: must be text, or "
         "{to, about, when}, not 3"),
        ("{english: {about: x}}", "5:23: node 'router': 'to' is required; add it, such as "
         '`to: ["english"]`'),
        ("{english: {to: []}}", "5:28: node 'router': to: must not be empty"),
        ("{english: {to: english, abuot: x}}", "5:37: node 'router': unknown key 'abuot'; "
         "did you mean 'about'?"),
        ("{english: {to: english, when: 'inptu'}, other: y}", "5:44: unknown name 'inptu'; "
         "did you mean 'input'?"),
        ("{}", "5:13: node 'router': routes: must not be empty"),
        ("[english]", "5:13: node 'router': routes: must be a mapping of keys to values, "
         'not a list; write `routes: {"english": "The user writes English"}`'),
    ],
)  # fmt: skip
def test_a_wrong_route_is_told_at_its_place(tmp_path: Path, routes: str, problem: str) -> None:
    assert told(written(tmp_path, ROUTER.format(routes=routes)))[0] == problem


@pytest.mark.parametrize(
    ("fields", "code", "line"),
    [
        ("default: frensh", "G012", 6),
        ("select: two", "G002", 6),
        ("allow_none: true", "G007", 6),
        ("tasks: sometimes", "G002", 6),
    ],
)
def test_a_router_holds_together(tmp_path: Path, fields: str, code: str, line: int) -> None:
    text = f"name: x\nnodes:\n  router:\n    kind: router\n    routes: {{a: x, b: y}}\n    {fields}"
    path = written(tmp_path, f"{text}\n  a: {{role: x}}\n  b: {{role: y}}\noutput: [a, b]\n")
    (problem,) = refused(path)
    assert (problem.code, problem.line) == (code, line)


def test_a_router_of_rules_alone_needs_a_way_when_none_holds() -> None:
    with pytest.raises(DefinitionError, match="name a `default`"):
        Router(routes={"a": {"to": "a", "when": "input.message"}})  # type: ignore[dict-item]  # as YAML has it


def test_a_cycle_names_each_edge_with_its_place(tmp_path: Path) -> None:
    path = written(
        tmp_path,
        """
        name: x
        nodes:
          a: {needs: c}
          router:
            kind: router
            needs: [a]
            routes: {b: x, other: y}
          b: {role: x}
          other: {role: x}
          c:
            prompt: |
              Say
              {{ b.output if b is defined }}
        output: [c, other]
        """,
    )
    (problem,) = refused(path)
    assert problem.code == "G013"
    for edge in (
        f"a needs c ({path}:3:14)",
        f"router needs a ({path}:6:13)",
        f"b is a route of router ({path}:7:14)",
        f"c reads b ({path}:13:",
    ):
        assert edge in problem.message


def test_every_cycle_is_told() -> None:
    nodes = {
        "a": Member(needs="b", reads="b"),
        "b": Member(needs="a"),
        "c": Member(needs="d"),
        "d": Member(needs="c"),
    }
    with pytest.raises(DefinitionError) as caught:
        Graph(name="x", nodes=nodes, output="a")
    rounds = [problem.message for problem in caught.value.problems]
    assert [("a needs b" in text, "c needs d" in text) for text in rounds] == [
        (True, False),
        (False, True),
    ]


def test_a_node_that_needs_itself_goes_round() -> None:
    with pytest.raises(DefinitionError, match=r"a needs a \(nodes.a.needs.0\)") as caught:
        Graph(name="x", nodes={"a": Member(needs="a")}, output="a")
    assert caught.value.problems[0].path == ("nodes", "a", "needs", 0)


@pytest.mark.parametrize(
    ("node_id", "told_so"),
    [
        ("Upper", "lower-case letters"),
        ("1st", "letter first"),
        ("with-dash", "lower-case letters"),
        ("", "letter first"),
        ("input", "a name that templates already have"),
        ("builtin", "a name that templates already have"),
        ("round", "a name that templates already have"),
        ("item", "a name that templates already have"),
        ("loop", "a word of the template language"),
        ("class", "a word of the template language"),
        ("history", "for a history-loader only"),
    ],
)
def test_an_id_is_a_free_name_of_the_template_language(node_id: str, told_so: str) -> None:
    with pytest.raises(DefinitionError) as caught:
        Graph(name="x", nodes={node_id: Member()}, output=node_id)
    (problem,) = caught.value.problems
    assert problem.code == "G010"
    assert told_so in problem.message


def test_a_history_loader_that_does_not_hold_keeps_its_name() -> None:
    with pytest.raises(DefinitionError) as caught:
        Graph(name="x", nodes={"history": {"kind": "history-loader", "runs": -1}, "a": Member()})  # type: ignore[dict-item]  # as YAML has it
    assert [problem.code for problem in caught.value.problems] == ["G002"]


def test_with_two_loaders_history_is_not_clear() -> None:
    nodes = {"near": HistoryLoader(runs=1), "far": HistoryLoader(runs=9), "a": Member()}
    with pytest.raises(DefinitionError, match="could be any of near, far"):
        Graph(name="x", nodes=nodes)
    named = {"history": HistoryLoader(runs=1), "far": HistoryLoader(runs=9), "a": Member()}
    assert Graph(name="x", nodes=named).plan.before("a") == {"history"}


def test_an_output_may_be_left_out_only_if_it_is_clear() -> None:
    nodes = {"a": Member(), "b": Leader(needs="a"), "s": Summarizer(needs="b")}
    assert Graph(name="x", nodes=nodes).answering == ("b",)
    with pytest.raises(DefinitionError, match="a, b could all answer; name the one that does"):
        Graph(name="x", nodes={"a": Member(), "b": Member()})
    with pytest.raises(DefinitionError, match="no node is left to answer"):
        Graph(name="x", nodes={"history": HistoryLoader()})


def len_of(message: str) -> int:
    return len(message)


READS_TECH = "{{ tech.output }}\n"
INFERRED: Sequence[tuple[dict[str, Node], str]] = (
    ({"router": Router(routes={"say": "Anything"}), "say": Member()}, "say"),
    ({"check": Python(call=len_of), "say": Member(when="check.output > 3")}, "say"),
    ({"tech": Python(call=len_of), "write": Member(prompt=READS_TECH)}, "write"),
    ({"tech": Member(), "write": Member(reads="tech")}, "write"),
    ({"write": Member(), "last": Python(call=len_of, needs="write")}, "last"),
    (
        {
            "router": Router(routes={"tech": "Technical", "write": "The rest"}),
            "tech": Member(),
            "write": Member(),
            "leader": Leader(needs=["tech", "write"]),
            "summary": Summarizer(),
        },
        "leader",
    ),
)


@pytest.mark.parametrize(("nodes", "answering"), INFERRED)
def test_a_node_whose_output_is_used_by_another_is_no_answer(
    nodes: dict[str, Node], answering: str
) -> None:
    assert Graph(name="x", nodes=nodes).answering == (answering,)


def test_of_leaves_that_a_router_chooses_all_are_advised_and_the_advice_is_valid() -> None:
    nodes = {
        "router": Router(routes={"tech": "Technical", "write": "Letters", "rest": "The rest"}),
        "tech": Member(),
        "write": Member(),
        "rest": Member(),
    }
    with pytest.raises(DefinitionError) as caught:
        Graph(name="x", nodes=nodes)
    (problem,) = caught.value.problems
    assert problem.message.startswith("tech, write, rest could all answer")
    # One alone leaves no answer when the router chooses another.
    assert re.findall(r"`output: (.*?)`", problem.message) == ["[tech, write, rest]"]
    output = ["tech", "write", "rest"]
    assert Graph(name="x", nodes=nodes, output=output).answering == tuple(output)


def test_what_may_answer_is_left_open_while_a_use_may_be_hidden() -> None:
    for hidden in (Member(prompt="{{ a.output }\n"), Member(prompt="{{ b.output }}\n")):
        with pytest.raises(DefinitionError) as caught:
            Graph(name="x", nodes={"a": Member(), "c": hidden})
        assert all(problem.code.startswith("P") for problem in caught.value.problems)


def test_only_what_answers_can_be_the_output() -> None:
    with pytest.raises(DefinitionError, match="output names 's', and a summarizer gives no"):
        Graph(name="x", nodes={"a": Member(), "s": Summarizer()}, output=["a", "s"])


def test_of_many_nodes_that_could_answer_only_the_first_are_named() -> None:
    with pytest.raises(DefinitionError, match="n10, n11, and 18 more could all answer"):
        Graph(name="x", nodes={f"n{index}": Member() for index in range(30)})


def test_a_missing_template_is_told_at_the_prompt(tmp_path: Path) -> None:
    (problem,) = refused(written(tmp_path, "name: x\nnodes:\n  a: {prompt: membr.jinja}\n"))
    assert (problem.code, problem.line, problem.column) == ("P001", 3, 15)
    assert problem.suggestion == "member.jinja"


def test_what_a_template_file_gets_wrong_is_told_in_that_file(tmp_path: Path) -> None:
    template = written(tmp_path, "Hello\n  {{ inptu.message }}\n", name="prompts/own.jinja")
    (problem,) = refused(written(tmp_path, "name: x\nnodes:\n  a: {prompt: own.jinja}\n"))
    assert str(problem) == f"{template}:2:6: unknown name 'inptu'; did you mean 'input'?"


def test_an_inline_template_is_told_by_its_keys_where_there_is_no_file() -> None:
    with pytest.raises(DefinitionError) as caught:
        Graph(name="x", nodes={"a": Member(prompt="Say\n{{ inptu }}")})
    assert str(caught.value) == ("nodes.a.prompt:2:4: unknown name 'inptu'; did you mean 'input'?")


@pytest.mark.parametrize("quote", ["'", '"'])
def test_a_template_in_one_line_is_checked_at_its_place(quote: str, tmp_path: Path) -> None:
    text = f"name: x\nnodes:\n  a: {{prompt: {quote}Say {{{{ inptu.message }}}}{quote}}}\n"
    (problem,) = refused(written(tmp_path, text))
    assert (problem.line, problem.column, problem.suggestion) == (3, 23, "input")


def test_a_broken_inline_template_is_told_where_it_breaks(tmp_path: Path) -> None:
    path = written(tmp_path, "name: x\nnodes:\n  a:\n    prompt: |\n      Say\n      {% if %}\n")
    (problem,) = refused(path)
    assert (problem.file, problem.line) == (str(path), 6)


def test_a_name_that_is_set_on_one_way_only_is_refused() -> None:
    text = "{% if input.message %}{% set greeting = 1 %}{% endif %}\n{{ greeting }}"
    with pytest.raises(DefinitionError, match="set in one branch only"):
        Graph(name="x", nodes={"a": Member(prompt=text)})


def test_a_condition_that_cannot_be_parsed_is_told_inside_its_text(tmp_path: Path) -> None:
    path = written(tmp_path, "name: x\nnodes:\n  a: {when: input.message and}\n")
    (problem,) = refused(path)
    assert (problem.line, problem.file) == (3, str(path))
    assert problem.path == ("nodes", "a", "when")


def test_a_kind_that_asks_no_model_has_no_prompt(tmp_path: Path) -> None:
    text = "name: x\nnodes:\n  a: {role: x}\n  history: {kind: history-loader, prompt: x.jinja}\n"
    assert told(written(tmp_path, text)) == [
        "4:35: node 'history': a history-loader asks no model, so it has no prompt; remove it"
    ]


def test_what_is_wrong_in_python_is_told_by_its_keys() -> None:
    with pytest.raises(DefinitionError) as caught:
        Graph(name="", nodes={"a": Member(needs=["b"])}, output="a")
    assert [problem.path for problem in caught.value.problems] == [
        ("name",),
        ("nodes", "a", "needs", 0),
    ]


def test_a_wrong_key_in_python_names_the_right_one() -> None:
    with pytest.raises(DefinitionError) as caught:
        Member(rol="x")  # type: ignore[call-arg]  # what this is about
    (problem,) = caught.value.problems
    assert (problem.code, problem.path, problem.suggestion) == ("G001", ("rol",), "role")


def test_a_number_that_is_none_is_refused_wherever_it_stands() -> None:
    nan = float("nan")
    for make in (
        lambda: Member(timeout=nan),
        lambda: Member(params={"a": [{"b": nan}]}),
        lambda: Graph(name="x", nodes={"a": Member()}, state={"limit": float("inf")}),
        lambda: Graph(name="x", nodes={"a": Member()}, budget={"usd": nan}),  # type: ignore[arg-type]  # as YAML has it
    ):
        with pytest.raises(DefinitionError):
            make()


def lookup(order: str, a: str) -> str:
    return order + a


def misspelt(mesage: str) -> str:
    return mesage


def test_what_a_function_wants_must_be_there() -> None:
    nodes = {"a": Member(), "find": Python(call=lookup)}
    told = (
        "its function has a parameter 'order', which is no node, no param and none of message, "
        "user_id, session_id, state, session_state, upstream, context; nodes: a, find"
    )
    with pytest.raises(DefinitionError, match=told):
        Graph(name="x", nodes=nodes, output="a")
    with pytest.raises(DefinitionError, match="did you mean 'message'"):
        Graph(name="x", nodes={"a": Member(), "find": Python(call=misspelt)}, output="a")
    with_param = {"a": Member(), "find": Python(call=lookup, params={"order": "7"})}
    graph = Graph(name="x", nodes=with_param, output=["find", "a"])
    assert graph.plan.before("find") == {"a"}


def test_a_function_that_wants_what_may_be_skipped_needs_a_default() -> None:
    nodes = {
        "a": Member(when="input.message"),
        "find": Python(call=lookup, params={"order": "7"}),
    }
    with pytest.raises(DefinitionError, match="give the parameter 'a' a default"):
        Graph(name="x", nodes=nodes, output="find")


@pytest.mark.parametrize(
    "node_id", ["context", "missing", "ignore", "scoped", "required", "without"]
)
def test_a_word_that_has_a_meaning_in_one_tag_only_is_an_id_like_any_other(node_id: str) -> None:
    prompt = f"{{% if {node_id} is defined %}}{{{{ {node_id}.output }}}}{{% endif %}}\n"
    nodes = {node_id: Member(prompt="one\n"), "last": Member(prompt=prompt)}
    graph = Graph(name="ids", model="echo", nodes=nodes, output="last")
    assert (
        Runner(graph, model=ScriptedModel(lambda request: request.messages[-1].content))
        .run("x")
        .answer
        == "one"
    )


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("message", "input.message"),
        ("role", "node.role"),
        ("state", "session.state"),
        ("messages", "history.messages"),
        ("session_id", "session.id"),
        ("nod", "node"),
    ],
)
def test_a_name_that_stands_inside_of_another_is_told(name: str, meant: str) -> None:
    with pytest.raises(DefinitionError) as caught:
        Graph(name="x", nodes={"a": Member(prompt=f"Say {{{{ {name} }}}}\n")})
    (problem,) = caught.value.problems
    assert (problem.code, problem.suggestion) == ("P002", meant)
