"""The kind `human`: asks a person, and waits for the answer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, ClassVar, Self

from pydantic import AfterValidator, Field, model_validator

from teamgraph import JSON
from teamgraph.errors import DefinitionError, Problem
from teamgraph.kinds import Context, Ids, Node, Result, Seconds, Texts, closest

from .router import Route, only_long


def _in_long_form(routes: Mapping[str, Sequence[str] | Route]) -> Mapping[str, Route]:
    """The routes in their long form; in the short one they are the nodes."""
    return {
        label: route if isinstance(route, Route) else Route(to=route)
        for label, route in routes.items()
    }


class Human(Node):
    """Asks a person; the answer is the output.

    The run ends with the status `waiting`, and goes on when somebody answers: with one of
    `options`, a value of the type of `returns`, or else a text. With `routes` it is a router whose
    labels are the options.
    """

    asks_person: ClassVar[bool] = True

    role: str = Field(
        default="",
        description="Who is asked, and what for; part of the prompts of other nodes.",
        examples=["Approves refunds"],
    )
    prompt: str | None = Field(
        default="human.jinja", description="What the person is asked.", examples=["ask.jinja"]
    )
    options: Texts = Field(
        default=(),
        description="The answers to choose from; without them any text, or what `returns` says.",
        examples=[["approve", "reject"]],
    )
    routes: Annotated[Mapping[str, str | Ids | Route], AfterValidator(_in_long_form)] = Field(
        default_factory=dict[str, str | Ids | Route],
        description="The node, or the nodes, that each option leads to; its keys are the options.",
        examples=[{"approve": "refund", "reject": "decline"}],
    )
    assign_to: str | None = Field(
        default=None,
        min_length=1,
        description="Who is to answer: a text for whoever shows the question.",
        examples=["accounting"],
    )
    expires: Seconds | None = Field(
        default=None,
        description="Seconds after which the answer is `default`, or the node fails.",
        examples=[86_400],
    )
    default: JSON = Field(
        default=None,
        description="The answer if nobody gives one before it expires.",
        examples=["reject"],
    )

    @model_validator(mode="after")
    def _check(self) -> Self:
        problems: list[Problem] = []
        if self.routes and self.options and {*self.routes} != {*self.options}:
            text = "options must be the labels of the routes; leave them out"
            problems.append(Problem("G007", text, path=("options",), on_key=True))
        if len(set(self.options)) < len(self.options) or "" in self.options:
            text = "options must be different texts that are not empty"
            problems.append(Problem("G002", text, path=("options",)))
        for label, route in only_long(self.routes).items():
            if route.when is not None:
                text = "a person chooses the route, so it has no `when`"
                problems.append(Problem("G007", text, path=("routes", label, "when"), on_key=True))
        if self.returns is not None and self._choices():
            text = "the answer is one of the options, so it has no other type; remove `returns`"
            problems.append(Problem("G007", text, path=("returns",), on_key=True))
        problems += self._wrong_default()
        if problems:
            raise DefinitionError(problems)
        return self

    def branches(self) -> Mapping[str, tuple[str, ...]]:
        """The targets of each label; none if it is no router."""
        return {label: tuple(route.to) for label, route in only_long(self.routes).items()}

    def gives(self) -> Mapping[str, object]:
        """The output is one of the options, if there are any."""
        options = self._choices()
        return {"output": {"enum": list(options)}} if options else self.provides

    def asks(self) -> bool:
        """Its template is shown to a person; no model is asked."""
        return False

    def written(self) -> dict[str, JSON]:
        """Routes in their short form where that says all."""
        data, routes = super().written(), dict[str, JSON]()
        for label, route in only_long(self.routes).items():
            targets = list[JSON](route.to)
            routes[label] = targets[0] if len(targets) == 1 else targets
            if route.about:
                routes[label] = route.model_dump(mode="json", exclude_defaults=True)
        return {**data, "routes": routes} if routes else data

    async def run(self, context: Context) -> Result:
        """Wait for the answer."""
        options = self._choices()
        answer = await context.ask_person(
            options=options,
            assign_to=self.assign_to,
            expires=self.expires,
            default=self.default,
        )
        return Result(answer, choices=(str(answer),) if self.routes else None)

    def _choices(self) -> tuple[str, ...]:
        return tuple(self.options or self.routes)

    def _wrong_default(self) -> list[Problem]:
        options = self._choices()
        if self.default is None:
            return []
        if self.expires is None:
            text = "default is the answer when the question expires; say when with `expires`"
            return [Problem("G007", text, path=("default",), on_key=True)]
        if options and self.default not in options:
            text = f"default {self.default!r} is none of the options"
            near = closest(str(self.default), options)
            text += "" if near else f"; they are {', '.join(options)}"
            return [Problem("G012", text, path=("default",), suggestion=near)]
        if not options and self.returns is None and not isinstance(self.default, str):
            text = "default must be a text, as the answer is"
            return [Problem("G002", text, path=("default",))]
        return []
