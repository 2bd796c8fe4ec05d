"""Case files: their cases, and the problems of invalid ones."""

from __future__ import annotations

from pathlib import Path

import pytest

from teamgraph.engine.testing.cases import CaseFile
from teamgraph.engine.testing.snapshots import PromptMismatch, SnapshotTracker
from teamgraph.errors import DefinitionError, InputError
from tests.builders import written

from .conftest import GRAPH


def load(folder: Path, text: str) -> CaseFile:
    written(folder, GRAPH, name="team.yaml")
    return CaseFile.load(written(folder, text, name="talk.prompts.yaml"))


def refused(folder: Path, text: str) -> list[str]:
    with pytest.raises(DefinitionError) as caught:
        load(folder, text)
    return [str(one).rpartition("talk.prompts.yaml:")[2] for one in caught.value.problems]


def test_defaults_lie_under_every_case(tmp_path: Path) -> None:
    loaded = load(
        tmp_path,
        """\
        graph: ./team.yaml
        defaults:
          {user_id: ana, assume: {router: german, german: Hallo}, history: [{input: a, answer: b}]}
        cases:
          one: {}
          two: {input: Hi, assume: {router: french}, history: [], snapshot: false}
        """,
    )
    one, two = loaded.cases
    assert one.scene.user_id == two.scene.user_id == "ana"
    assert one.scene.assume == {"router": "german", "german": "Hallo"}
    assert two.scene.assume == {"router": "french", "german": "Hallo"}
    assert (len(one.scene.history), len(two.scene.history)) == (1, 0)
    assert one.snapshot == tmp_path / "__prompts__" / "talk" / "one.md"
    assert two.snapshot is None
    assert loaded.folder == tmp_path / "__prompts__" / "talk"
    assert one.graph is two.graph
    assert [case.line for case in loaded.cases] == [5, 6]


def test_auto_makes_two_cases_for_each_way(tmp_path: Path) -> None:
    loaded = load(tmp_path, "graph: team.yaml\nauto: routes\ndefaults: {input: Hi}\n")
    assert [case.name for case in loaded.cases] == [
        "auto router=french",
        "auto router=french bare",
        "auto router=german",
        "auto router=german bare",
    ]
    full, bare, *_ = loaded.cases
    assert full.scene.history
    assert full.scene.message == bare.scene.message == "Hi"
    assert not bare.scene.history
    assert full.render().routes == bare.render().routes == {"router": ("french",)}


def test_auto_cases_need_no_snapshot_where_defaults_say_so(tmp_path: Path) -> None:
    loaded = load(tmp_path, "graph: team.yaml\nauto: routes\ndefaults: {snapshot: false}\n")
    assert {case.snapshot for case in loaded.cases} == {None}


def test_a_graph_without_routers_has_one_way(tmp_path: Path) -> None:
    written(tmp_path, "name: one\nnodes: {member: {}}\n", name="one.yaml")
    loaded = load(tmp_path, "graph: one.yaml\nauto: routes\n")
    assert [case.name for case in loaded.cases] == ["auto", "auto bare"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("graph: team.yaml\n", ["1:1: there are no cases in it; write some, or `auto: routes`"]),
        ("graph: team.yaml\nauto: all\n", ["2:7: auto: must be 'routes'"]),
        ("graph: team.yaml\ndefaults: {inptu: x}\nauto: routes\n", ["2:12: unknown key 'inptu'"]),
        (
            "graph: team.yaml\ncases:\n  a: {expect: {frnch: skipped}}\n",
            ["3:16: graph 'team' has no node 'frnch'; did you mean 'french'?"],
        ),
        (
            "graph: team.yaml\ncases:\n  a: {expect: {xyz: skipped}}\n",
            ["3:16: graph 'team' has no node 'xyz'; it has router, french, german"],
        ),
        (
            "graph: team.yaml\ncases:\n  a b: {}\n  A-B: {}\n",
            ["4:3: the cases 'a b' and 'A-B' would share a snapshot; rename one"],
        ),
        (
            "graph: team.yaml\nauto: routes\ndefaults: {assume: {ruter: x}}\n",
            ["3:21: assume: graph 'team' has no node 'ruter'; did you mean 'router'?"],
        ),
        (
            "graph: team.yaml\nauto: routes\ndefaults: {session: {sumary: x}}\n",
            ["2:7: session: there is no 'sumary' in it; did you mean 'summary'?"],
        ),
        (
            "graph: team.yaml\ncases:\n"
            "  a: {expect: {xyz: skipped}, assume: {router: frnch, german: Hallo}}\n"
            "  b: {assume: {ruter: x}}\n",
            [
                "3:16: graph 'team' has no node 'xyz'; it has router, french, german",
                "3:40: assume: node 'router' has no route 'frnch'; did you mean 'french'?",
                "4:16: assume: graph 'team' has no node 'ruter'; did you mean 'router'?",
            ],
        ),
        (
            "graph: team.yaml\ndefaults: {histroy: [], expect: {xyz: skipped}}\n"
            "cases:\n  a: {inptu: x}\n  b: {}\n",
            ["2:12: unknown key 'histroy'", "4:7: unknown key 'inptu'"],
        ),
        (
            "graph: team.yaml\ndefaults: {assume: {ruter: x}}\n"
            "cases:\n  a: {assume: {router: french}}\n  b: {assume: {ruter: y}}\n",
            ["2:21: assume: graph 'team' has no", "5:16: assume: graph 'team' has no"],
        ),
        (
            "graph: teem.yaml\nauto: routes\n",
            ["1:8: there is no graph file 'teem.yaml'"],
        ),
        (
            "graph: team.yaml\nauto: routes\nprompts: [., texts]\n",
            ["3:14: there is no folder 'texts'"],
        ),
    ],
)
def test_what_does_x_with_its_place(tmp_path: Path, text: str, expected: list[str]) -> None:
    found = refused(tmp_path, text)
    assert [one[: len(start)] for one, start in zip(found, expected, strict=True)] == expected


def test_a_template_that_fails_in_every_case_is_reported_at_auto(
    tmp_path: Path,
) -> None:
    written(tmp_path, "{{ 1 // (session.turns - session.turns) }}", name="prompts/member.jinja")
    (expected,) = refused(tmp_path, "graph: team.yaml\nauto: routes\n")
    assert (
        expected == "2:7: node 'french' failed: member.jinja:1: integer division or modulo by zero"
    )


def test_problems_of_a_graph_have_their_own_places(tmp_path: Path) -> None:
    written(tmp_path, "name: t\nnodes: {a: {rol: x}}\n", name="bad.yaml")
    with pytest.raises(DefinitionError, match=r"bad\.yaml:2:13: node 'a': unknown key 'rol'"):
        load(tmp_path, "graph: bad.yaml\nauto: routes\n")


def test_a_snapshot_that_is_no_text_is_a_mismatch(tmp_path: Path) -> None:
    tracker = SnapshotTracker(tmp_path / "elsewhere", is_updating=False)
    file = tmp_path / "__prompts__" / "talk" / "a.md"
    file.parent.mkdir(parents=True)
    file.write_bytes(b"\xff")
    with pytest.raises(PromptMismatch, match=r"a\.md \(stored\)"):
        tracker.compare(file, "# a\n")
    file.write_bytes(b"# a\r\n")
    tracker.compare(file, "# a\n")
    assert tracker.display(file) == file.as_posix()


def test_folders_that_are_gone_have_nothing_unused(tmp_path: Path) -> None:
    tracker = SnapshotTracker(tmp_path, is_updating=False)
    tracker.mark_used(tmp_path / "gone" / "__prompts__" / "talk" / "a.md")
    assert tracker.unused() == []


def test_what_is_expected_of_a_node_that_is_not_there_is_a_skip(tmp_path: Path) -> None:
    text = "graph: team.yaml\ncases:\n  a: {expect: {french/x: {contains: y}, german/x: skipped}}\n"
    (case,) = load(tmp_path, text).cases
    assert case.failures(case.render()) == [
        "french/x: it was skipped (the graph that contains it was not run), "
        "but a prompt is expected"
    ]


def test_a_snapshot_that_cannot_be_read_or_written_is_an_error(tmp_path: Path) -> None:
    file = tmp_path / "__prompts__" / "talk" / "a.md"
    file.parent.parent.mkdir()
    file.parent.touch()
    tracker = SnapshotTracker(tmp_path, is_updating=True)
    with pytest.raises(
        InputError, match=r"^__prompts__/talk/a\.md: the snapshot cannot be .* not a"
    ):
        tracker.compare(file, "# a\n")
    assert not tracker.written
