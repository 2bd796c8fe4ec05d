"""`Team`: members with a router, a leader, or both, as one graph."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, cast

from msgspec.structs import replace
from pydantic import Field, PlainValidator

from teamgraph import JSON, Graph, Model
from teamgraph.errors import DefinitionError, Problem
from teamgraph.kinds import Node

from ..nodes.graph import SubGraph
from ..nodes.history_loader import HistoryLoader
from ..nodes.leader import Leader
from ..nodes.router import Router
from .agent import Agent
from .assistant import Assistant
from .options import MARKDOWN, clashes, conflict, member_ids, model_id, objects

_WHY = {
    "delegate_to_all_members": "respond_directly lets one member answer, delegate_to_all_members "
    "all of them; remove one",
    "determine_input_for_members": "delegate_to_all_members gives every member the message itself; "
    "leave determine_input_for_members out",
    "share_member_interactions": "respond_directly lets one member answer, so there is nothing to "
    "share; leave share_member_interactions out",
    "num_team_history_runs": "num_team_history_runs has no effect without "
    "add_team_history_to_members=True; add that, or leave it out",
    "tools": "with respond_directly the members answer; give the tools to them",
    "add_team_history_to_members": "a team that is a member loads its own history, and no member "
    "is an agent; give add_history_to_context to the inner teams",
    "search_session_history": "with respond_directly the members search, a team that is a member "
    "for itself, and no member is an agent; give it to the inner teams",
}


def _members(value: object) -> object:
    given = cast("Sequence[object]", value) if isinstance(value, list | tuple) else ()
    if not given or not all(isinstance(member, Agent | Team) for member in given):
        raise ValueError("must be a list of at least one Agent or Team")
    return tuple(given)


class Team(Assistant):
    """Agents and teams that answer together, as a graph with a router, a leader, or both.

    By default a router writes tasks for those it needs, and a leader composes their answers.
    `respond_directly`: the router chooses one, who answers the user. `delegate_to_all_members`:
    all answer at the same time, and a leader composes. A team can be a member of another.
    """

    members: Annotated[Sequence[Agent | Team], PlainValidator(_members)] = Field(
        description="Agents and teams; their order is the order of their answers."
    )
    respond_directly: bool = Field(
        default=False, description="Whether the member that is chosen answers the user itself."
    )
    delegate_to_all_members: bool = Field(
        default=False, description="Whether every member answers, at the same time."
    )
    determine_input_for_members: bool | None = Field(
        default=None,
        description="Whether a task is written for each member that is chosen; if left out, "
        "unless it responds directly. Without one it is given the message.",
    )
    share_member_interactions: bool = Field(
        default=False, description="Whether members read what those before them said in this turn."
    )
    add_team_history_to_members: bool = Field(
        default=False, description="Whether members read the team's earlier turns."
    )
    num_team_history_runs: int | None = Field(
        default=None, ge=0, strict=True, description="How many of these; 3 if left out."
    )

    def _conflicts(self) -> list[Problem]:
        problems = super()._conflicts()
        ids = member_ids([member.name for member in self.members])
        problems += clashes(ids)
        direct, everyone = self.respond_directly, self.delegate_to_all_members
        agents = [member for member in self.members if isinstance(member, Agent)]
        held = {
            "delegate_to_all_members": direct and everyone,
            "determine_input_for_members": everyone and bool(self.determine_input_for_members),
            "share_member_interactions": direct and self.share_member_interactions,
            "num_team_history_runs": self.num_team_history_runs is not None
            and not self.add_team_history_to_members,
            "tools": direct and bool(self.tools),
            "add_team_history_to_members": self.add_team_history_to_members and not agents,
            "search_session_history": direct and self.search_session_history and not agents,
        }
        return problems + [
            conflict(option, _WHY[option]) for option, is_held in held.items() if is_held
        ]

    def _objects(self) -> dict[str, Model]:
        found = super()._objects()
        ids = member_ids([member.name for member in self.members])
        for node_id, member in zip(ids, self.members, strict=True):
            found |= objects({node_id: member.model})
            if isinstance(member, Team):
                inner = member._objects()
                found |= {f"{node_id}/{path}": model for path, model in inner.items()}
        return found

    def _declared(self) -> Graph:
        return self._at("")

    def _at(self, path: str) -> Graph:
        """The team as a graph: the outermost one, or that inside the node at this path."""
        ids = member_ids([member.name for member in self.members])
        loaders = self._team_loaders(ids)
        # Where only others have a history, it is not meant for everybody.
        usual = None if "history" in loaders or not loaders else "none"
        shown = usual if self.respond_directly or not loaders else "none"
        members = self._nodes(ids, shown, path)
        chosen = {} if self.delegate_to_all_members else {"router": self._router(ids, usual)}
        leading = {} if self.respond_directly else {"leader": self._leader(ids, usual)}
        states: dict[str, JSON] = {}
        for member in self.members:
            states |= member.graph.state
        nodes: dict[str, Node] = {
            **loaders,
            **chosen,
            **members,
            **leading,
            **self._summarizers(),
        }
        return Graph(
            name=self.name or "team",
            description=self.description or self.role,
            model=model_id(self.model, path),
            state={**states, **self.session_state},
            nodes=nodes,
            output=ids if self.respond_directly else "leader",
        )

    def _team_loaders(self, ids: Sequence[str]) -> Mapping[str, Node]:
        loaders = self._loaders()
        if self.add_team_history_to_members:
            runs = self.num_team_history_runs
            loaders["team_history"] = HistoryLoader(runs=3 if runs is None else runs)
        for node_id, member in zip(ids, self.members, strict=True):
            if isinstance(member, Agent) and member.add_history_to_context:
                loaders[f"{node_id}_history"] = member.loader(of=node_id)
            if isinstance(member, Agent) and member.search_session_history:
                loaders[f"{node_id}_search"] = member.searcher()
        return loaders

    def _nodes(self, ids: Sequence[str], history: str | None, path: str) -> dict[str, Node]:
        """The members as nodes; `history` is what those without one of their own are shown."""
        under = f"{path}/" if path else ""
        nodes: dict[str, Node] = {}
        problems: list[Problem] = []
        for index, (node_id, member) in enumerate(zip(ids, self.members, strict=True)):
            reads = self._remembered(node_id, member)
            if self.share_member_interactions:
                reads += ids[:index]
            try:
                nodes[node_id] = self._node(member, f"{under}{node_id}", history, reads)
            except DefinitionError as error:
                problems += (
                    replace(each, path=("members", index, *each.path)) for each in error.problems
                )
        if problems:
            raise DefinitionError(problems)
        return nodes

    def _remembered(self, node_id: str, member: Agent | Team) -> list[str]:
        """What an agent reads of earlier turns; a team among the members loads its own."""
        if isinstance(member, Team):
            return []
        wanted = {
            "team_history": self.add_team_history_to_members,
            "search": self.respond_directly and self.search_session_history,
            f"{node_id}_search": member.search_session_history,
        }
        return [node_id for node_id, is_wanted in wanted.items() if is_wanted]

    def _node(
        self, member: Agent | Team, path: str, history: str | None, reads: Sequence[str]
    ) -> Node:
        if isinstance(member, Team):
            about = member.role or member.description
            return SubGraph(
                graph=member._at(path), role=about.rstrip("."), description=about, reads=reads
            )
        direct, node_id = self.respond_directly, path.rpartition("/")[2]
        return member.as_member(
            path,
            history=f"{node_id}_history" if member.add_history_to_context else history,
            reads=reads,
            tools=self._session_tools if direct else (),
            rules=[MARKDOWN] if direct and self.markdown and not member.markdown else (),
        )

    def _router(self, ids: Sequence[str], history: str | None) -> Router:
        about = [member.role or member.description or member.name for member in self.members]
        rules = [self.description] if self.description else []
        tasks = self.determine_input_for_members
        return Router(
            routes=dict(zip(ids, about, strict=True)),
            select="one" if self.respond_directly else "many",
            allow_none=not self.respond_directly,
            tasks=not self.respond_directly if tasks is None else tasks,
            instructions=[*rules, *self.instructions],
            history=history,
        )

    def _leader(self, ids: Sequence[str], history: str | None) -> Leader:
        return Leader(
            needs=ids,
            join="always",
            role=self.description.rstrip("."),
            instructions=self._rules,
            history=history,
            tools=[*self.tools, *self._session_tools],
            reads=["search"] if self.search_session_history else [],
        )
