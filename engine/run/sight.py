"""What a node sees: its context, and the names that its templates may read."""

from __future__ import annotations

from collections.abc import Mapping

from msgspec import Struct, field
from msgspec.structs import replace

from ..graph.context import NO_HISTORY, Asker, Context, History, Upstream
from ..graph.plan import is_live
from ..messages import JSON
from ..records import Exchange, Head, Record
from ..session.history import Past
from .answer import AnswerStream
from .prepared import PreparedGraph
from .template_scope import Fields, Scenery, outcome, shown, variables


class Visit(Struct):
    """A node being visited: its attempts so far and what they asked."""

    node_id: str
    records: Mapping[str, Record]
    attempt: int = 0
    started: float = 0.0
    exchanges: list[Exchange] = field(default_factory=list["Exchange"])
    upstream: list[Upstream] | None = None


class Sight(Struct):
    """What the nodes of one run see, as the run goes on.

    `found` is the session's state as the run found it. `outputs` are the outputs of the run's nodes
    as Python has them, `patches` the keys that they set in the session's state.
    """

    cast: PreparedGraph
    scenery: Scenery
    head: Head
    past: Past
    voice: AnswerStream
    found: Mapping[str, JSON]
    outputs: dict[str, object] = field(default_factory=dict[str, object])
    patches: dict[str, Mapping[str, JSON]] = field(default_factory=dict[str, "Mapping[str, JSON]"])

    def context(self, visit: Visit, asker: Asker) -> Context:
        of, scenery, ran = self.cast, self.scenery, self.outputs
        outputs = {
            source: ran[source] for source in of.plan.stop(visit.node_id).sources if source in ran
        }
        loader = of.views.loaders[visit.node_id]
        history = outputs.get(loader) if loader else None
        return Context(
            node_id=visit.node_id,
            input=scenery.input,
            user_id=scenery.user_id,
            session_id=scenery.session.id,
            run_id=scenery.run.id,
            upstream=self.upstream(visit),
            outputs=outputs,
            history=history if isinstance(history, History) else NO_HISTORY,
            state=self.head.node_states.get(visit.node_id, {}),
            session_state=self.state(visit),
            summary=self.head.summary,
            turns=self.head.turns,
            answer=self.voice.text,
            past=self.past,
            asker=asker,
            summarizes=of.summarizes,
        )

    def upstream(self, visit: Visit) -> list[Upstream]:
        """The sources in `needs` whose edge is live, in declared order; looked up once a visit."""
        if visit.upstream is None:
            visit.upstream = self._upstream(visit)
        return visit.upstream

    def _upstream(self, visit: Visit) -> list[Upstream]:
        nodes, roles = self.cast.graph.nodes, self.cast.views.roles
        if not (needed := nodes[visit.node_id].needs):
            return []
        labels = dict(self.cast.plan.stop(visit.node_id).needs)
        return [
            Upstream(source, nodes[source].kind, roles[source], _output(self.outputs[source]))
            for source in needed
            if source in self.outputs and is_live(visit.records[source], labels[source])
        ]

    def heard(self, visit: Visit) -> list[Upstream]:
        """Those in `reads` that ran, in declared order."""
        nodes, roles = self.cast.graph.nodes, self.cast.views.roles
        return [
            Upstream(source, nodes[source].kind, roles[source], _output(self.outputs[source]))
            for source in nodes[visit.node_id].reads
            if source in self.outputs
        ]

    def state(self, visit: Visit) -> Mapping[str, JSON]:
        """The session's state with what the nodes before this one have set in this run."""
        state = self.found
        if self.patches:
            before = self.cast.plan.before(visit.node_id)
            for node_id in self.cast.plan.order:
                if node_id in before and node_id in self.patches:
                    state = {**state, **self.patches[node_id]}
        return state

    def names(self, visit: Visit) -> dict[str, object]:
        views, records = self.cast.views, visit.records
        state = self.state(visit)
        scenery = self.scenery
        if state is not self.found:
            scenery = replace(scenery, session=replace(scenery.session, state=Fields(state)))
        stop = self.cast.plan.stop(visit.node_id)
        kept = self.head.node_states.get(visit.node_id, {})
        node = views.node(visit.node_id, kept, self.task(visit))
        outcomes = {
            source: outcome(records[source], self.outputs[source])
            for source in stop.sources
            if source in self.outputs
        }
        node.heard = [replace(one, output=shown(one.output)) for one in self.heard(visit)]
        upstream = [replace(one, output=shown(one.output)) for one in self.upstream(visit)]
        return variables(views, scenery, node, upstream, outcomes)

    def task(self, visit: Visit) -> str | None:
        """What routers before the node wrote for it to do, by whatever labels lead here."""
        tasks = [
            task
            for source, labels in self.cast.plan.stop(visit.node_id).needs
            if labels and (record := visit.records.get(source)) is not None
            for label, task in record.tasks.items()
            if label in labels
        ]
        return "\n".join(dict.fromkeys(tasks)) or None


def _output(output: object) -> object:
    """What `.output` of a node is: a history's is its text."""
    return output.output if isinstance(output, History) else output
