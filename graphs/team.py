"""`Team`: members with a router, a leader or both, as one graph."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Literal, cast

from msgspec.structs import replace
from pydantic import BeforeValidator, Field, PlainValidator

from teamgraph import JSON, Graph, Model
from teamgraph.errors import DefinitionError, Problem
from teamgraph.kinds import GraphTool, Node

from ..nodes.graph import SubGraph
from ..nodes.history_loader import HistoryLoader
from ..nodes.member import Leader
from ..nodes.router import Router
from .agent import Agent
from .assistant import Assistant
from .options import (
    IN_PROMPT,
    MARKDOWN,
    duplicate_ids,
    member_ids,
    model_id,
    model_objects,
    option_conflict,
)

_CONFLICTS = {
    "delegate_to_all_members": "with respond_directly one member answers, with "
    "delegate_to_all_members all of them do; keep one",
    "determine_input_for_members": "delegate_to_all_members sends every member the message itself; "
    "leave determine_input_for_members out",
    "share_member_interactions": "with respond_directly one member answers, so there is nothing to "
    "share; leave share_member_interactions out",
    "num_team_history_runs": "num_team_history_runs has no effect without "
    "add_team_history_to_members=True; add that, or leave it out",
    "tools": "with respond_directly the members answer; pass the tools to them",
    "add_team_history_to_members": "a team that is a member loads its own history, and no member "
    "is an agent; set add_history_to_context on the inner teams",
    "search_session_history": "with respond_directly the members search, a team that is a member "
    "for itself, and no member is an agent; set it on the inner teams",
}


_ALONE = (
    *("respond_directly", "delegate_to_all_members", "determine_input_for_members", "mode"),
    *("share_member_interactions", "add_team_history_to_members", "show_members_responses"),
)
"""What has no effect without members."""
_ANSWERING = ("tool_call_limit", "prompt", *IN_PROMPT)
"""Options of whoever answers, which are the members' with `respond_directly`."""
_SUPERVISED: Mapping[str, str] = {
    "respond_directly": "with mode='supervise' the leader answers; leave respond_directly out",
    "delegate_to_all_members": "with mode='supervise' the leader calls members as it likes; leave "
    "delegate_to_all_members out",
    "determine_input_for_members": "with mode='supervise' the leader writes what members get; "
    "leave determine_input_for_members out",
    "share_member_interactions": "with mode='supervise' members read what the leader writes; leave "
    "share_member_interactions out",
    "add_team_history_to_members": "with mode='supervise' members read what the leader writes; "
    "leave add_team_history_to_members out",
}
"""What contradicts `mode="supervise"`."""


def _members(value: object) -> object:
    given = cast("Sequence[object]", value) if isinstance(value, list | tuple) else ()
    if not isinstance(value, list | tuple) or not all(
        isinstance(member, Agent | Team) for member in given
    ):
        raise ValueError("must be a list of Agents and Teams")
    return tuple(given)


def _mode(value: object) -> object:
    if value not in (None, "supervise"):
        text = "must be 'supervise'; for route use respond_directly=True, for broadcast "
        raise ValueError(f"{text}delegate_to_all_members=True, for coordinate neither")
    return value


class Team(Assistant):
    """Agents and teams that answer together, as one graph.

    By default a router chooses members and writes a task for each, and a leader composes their
    answers. `respond_directly`: the router chooses one member, whose answer is the answer.
    `delegate_to_all_members`: all members answer concurrently, and a leader composes.
    `mode="supervise"`: a leader calls members as tools, as often as it wants. A team can be a
    member of another team.
    """

    members: Annotated[Sequence[Agent | Team], PlainValidator(_members)] = Field(
        description="Agents and teams; their order is the order of their answers."
    )
    mode: Annotated[Literal["supervise"] | None, BeforeValidator(_mode)] = Field(
        default=None, description="`supervise`: the leader calls the members as tools."
    )
    respond_directly: bool = Field(
        default=False, description="Whether the answer of the chosen member is the answer."
    )
    delegate_to_all_members: bool = Field(
        default=False, description="Whether all members answer, concurrently."
    )
    determine_input_for_members: bool | None = Field(
        default=None,
        description="Whether the router writes a task for each chosen member; default: unless "
        "respond_directly. A member without a task receives the message.",
    )
    share_member_interactions: bool = Field(
        default=False,
        description="Whether members read the answers of the members before them in this turn.",
    )
    add_team_history_to_members: bool = Field(
        default=False, description="Whether members read the team's earlier turns."
    )
    show_members_responses: bool = Field(
        default=False, description="Whether `print_response` prints what members answer, too."
    )
    num_team_history_runs: int | None = Field(
        default=None, ge=0, strict=True, description="How many of these turns; default 3."
    )

    def _conflicts(self) -> list[Problem]:
        problems = super()._conflicts()
        ids = member_ids(self.members)
        problems += duplicate_ids(ids)
        if not self.members:
            return problems + [
                option_conflict(option, f"{option} has no effect without members; add some")
                for option in _ALONE
                if getattr(self, option)
            ]
        direct, everyone = self.respond_directly, self.delegate_to_all_members
        agents = [member for member in self.members if isinstance(member, Agent)]
        present = {
            "delegate_to_all_members": direct and everyone,
            "determine_input_for_members": everyone and bool(self.determine_input_for_members),
            "share_member_interactions": direct and self.share_member_interactions,
            "num_team_history_runs": self.num_team_history_runs is not None
            and not self.add_team_history_to_members,
            "tools": direct and bool(self.tools),
            "add_team_history_to_members": self.add_team_history_to_members and not agents,
            "search_session_history": direct and self.search_session_history and not agents,
        }
        problems += [
            option_conflict(option, _CONFLICTS[option])
            for option, is_present in present.items()
            if is_present
        ]
        if direct:
            problems += [
                option_conflict(
                    option, f"with respond_directly the members answer; pass {option} to them"
                )
                for option in _ANSWERING
                if getattr(self, option)
            ]
        if self.mode is not None:
            problems += [
                option_conflict(option, text)
                for option, text in _SUPERVISED.items()
                if getattr(self, option)
            ]
            problems += self._own_memories(agents)
        return problems

    def _own_memories(self, agents: Sequence[Agent]) -> list[Problem]:
        """Options of members that have no effect if they are called as tools."""
        return [
            option_conflict(
                "mode",
                f"with mode='supervise' {agent.name!r} reads what the leader "
                f"writes; leave its {option} out",
            )
            for agent in agents
            for option in ("add_history_to_context", "search_session_history")
            if getattr(agent, option)
        ]

    def _objects(self) -> dict[str, Model]:
        found = super()._objects()
        ids = member_ids(self.members)
        for node_id, member in zip(ids, self.members, strict=True):
            found |= model_objects({node_id: member._named_model})
            if isinstance(member, Team):
                inner = member._objects()
                found |= {f"{node_id}/{path}": model for path, model in inner.items()}
        return found

    def _declared(self) -> Graph:
        return self._at("", self.output_schema)

    @property
    def _shown(self) -> tuple[str, ...]:
        leads = self.show_members_responses and not self.respond_directly
        return tuple(member_ids(self.members)) if leads else ()

    def _at(self, path: str, returns: object) -> Graph:
        """Build the graph, for the node at `path`; the outermost team has an empty path.

        `returns` is the type of its answer.
        """
        if not self.members:
            return self._alone(path, returns)
        ids = member_ids(self.members)
        if self.mode is not None:
            return self._supervised(ids, path, returns)
        loaders = self._team_loaders(ids)
        # A history that only some members asked for is not shown to the others.
        usual = None if "history" in loaders or not loaders else "none"
        shown = usual if self.respond_directly or not loaders else "none"
        members = self._nodes(ids, shown, path, returns if self.respond_directly else None)
        chosen = {} if self.delegate_to_all_members else {"router": self._router(ids, usual)}
        leading = {} if self.respond_directly else {"leader": self._leader(ids, usual, returns)}
        nodes: dict[str, Node] = {
            **loaders,
            **chosen,
            **members,
            **leading,
            **self._summarizers(),
        }
        return self._graph_of(nodes, ids if self.respond_directly else "leader", path)

    def _supervised(self, ids: Sequence[str], path: str, returns: object) -> Graph:
        """A leader who calls the members as tools."""
        under = f"{path}/" if path else ""
        tools: list[GraphTool] = []
        for node_id, member in zip(ids, self.members, strict=True):
            place = f"{under}{node_id}"
            inside = (
                member._at(place, member.output_schema)
                if isinstance(member, Team)
                else member.as_member(place)
            )
            about = member.role or member.description or member.name
            tools.append(GraphTool(graph=inside, name=node_id, about=about or node_id))
        loaders = self._loaders()
        leader = self._leader((), None, returns, tools)
        nodes: dict[str, Node] = {**loaders, "leader": leader, **self._summarizers()}
        return self._graph_of(nodes, "leader", path)

    def _graph_of(self, nodes: Mapping[str, Node], output: Sequence[str] | str, path: str) -> Graph:
        states: dict[str, JSON] = {}
        for member in self.members:
            states |= member.graph.state
        folders = [*self.prompts, *(folder for each in self.members for folder in each.prompts)]
        return Graph(
            name=self.name or "team",
            description=self.description or self.role,
            model=model_id(self._named_model, path),
            retry=self.retries,
            prompt_dirs=list(dict.fromkeys(folders)),
            state={**states, **self.session_state},
            nodes=nodes,
            output=output,
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

    def _nodes(
        self, ids: Sequence[str], history: str | None, path: str, returns: object
    ) -> dict[str, Node]:
        """The members as nodes; `history` is shown to those without a history of their own.

        `returns` is the type of the answers of those without an output_schema.
        """
        under = f"{path}/" if path else ""
        nodes: dict[str, Node] = {}
        problems: list[Problem] = []
        for index, (node_id, member) in enumerate(zip(ids, self.members, strict=True)):
            reads = self._reads_of(node_id, member)
            if self.share_member_interactions:
                reads += ids[:index]
            try:
                nodes[node_id] = self._node(member, f"{under}{node_id}", history, reads, returns)
            except DefinitionError as error:
                problems += (
                    replace(each, path=("members", index, *each.path)) for each in error.problems
                )
        if problems:
            raise DefinitionError(problems)
        return nodes

    def _reads_of(self, node_id: str, member: Agent | Team) -> list[str]:
        """The loaders that an agent reads; a team among the members has its own."""
        if isinstance(member, Team):
            return []
        wanted = {
            "team_history": self.add_team_history_to_members,
            "search": self.respond_directly and self.search_session_history,
            f"{node_id}_search": member.search_session_history,
        }
        return [node_id for node_id, is_wanted in wanted.items() if is_wanted]

    def _node(
        self,
        member: Agent | Team,
        path: str,
        history: str | None,
        reads: Sequence[str],
        returns: object,
    ) -> Node:
        if isinstance(member, Team):
            about = member.role or member.description
            own = returns if member.output_schema is None else member.output_schema
            inner = member._at(path, own)
            return SubGraph(graph=inner, role=about.rstrip("."), description=about, reads=reads)
        direct, node_id = self.respond_directly, path.rpartition("/")[2]
        return member.as_member(
            path,
            history=f"{node_id}_history" if member.add_history_to_context else history,
            reads=reads,
            tools=self._session_tools if direct else (),
            rules=[MARKDOWN] if direct and self.markdown and not member.markdown else (),
            returns=returns,
        )

    def _router(self, ids: Sequence[str], history: str | None) -> Router:
        about = [member.role or member.description or member.name for member in self.members]
        rules = [self.description] if self.description else []
        tasks = self.determine_input_for_members
        return Router(
            routes=dict(zip(ids, about, strict=True)),
            select="one" if self.respond_directly else "many",
            allow_none=not self.respond_directly,
            params=self.dependencies,
            tasks=not self.respond_directly if tasks is None else tasks,
            instructions=[*rules, *self.instructions],
            history=history,
        )

    def _leader(
        self,
        ids: Sequence[str],
        history: str | None,
        returns: object,
        members: Sequence[GraphTool] = (),
    ) -> Leader:
        return Leader(
            needs=ids,
            join="always",
            role=self.description.rstrip("."),
            instructions=self._rules if self.system_message is None else [self.system_message],
            history=history,
            tools=[*members, *self.tools, *self._session_tools],
            reads=["search"] if self.search_session_history else [],
            params=self.dependencies,
            returns=returns,
            **self._changed("leader.jinja"),
        )
