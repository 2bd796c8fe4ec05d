"""A kind of your own: a frozen class with fields, a template and one method.

A script passes its kinds to `Graph.load`. A project names them for the command line and for case
files in its pyproject.toml, or in one command (`--kind own_kind:Translator`):

    [tool.teamgraph]
    kinds = ["my_package.nodes:Translator"]

An installed package registers them for every graph by an entry point:

    [project.entry-points."teamgraph.nodes"]
    translator = "my_package.nodes:Translator"
"""

from __future__ import annotations

from pathlib import Path

from pydantic import Field

from teamgraph import Graph, Runner, ScriptedModel
from teamgraph.kinds import Context, Node, Result


class Translator(Node):
    """Translates the outputs of the nodes before it, or else the message."""

    language: str = Field(description="The language to translate into.", examples=["French"])

    async def run(self, context: Context) -> Result:
        """Ask the model; the template is translator.jinja, named after the kind."""
        return Result(await context.ask())


def main() -> None:
    """Load a graph that uses the kind, and run it with answers from a script."""
    file = Path(__file__).parent / "letter.yaml"
    graph = Graph.load(file, kinds={"translator": Translator})
    model = ScriptedModel(["Dear Ann, your lamp is on its way.", "Chère Ann, ta lampe arrive."])
    run = Runner(graph, model=model).run("Tell Ann that her lamp was sent.")
    for message in model.requests[-1].messages:
        print(f"{message.role}: {message.content.strip()}")
    print(f"answer: {run.answer}")


if __name__ == "__main__":
    main()
