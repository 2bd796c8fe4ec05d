"""The kind `router`: chooses which nodes run, by rules or by a model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, ClassVar, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from teamgraph import JSON
from teamgraph.errors import AnswerError, DefinitionError, Problem
from teamgraph.kinds import Choice, Context, Declared, Ids, KeyPath, Node, Result, Texts, closest


class Route(Declared):
    """A route of a router: its targets, what it is for, and the condition that takes it."""

    to: Ids = Field(
        min_length=1,
        description="The nodes that run if this route is chosen.",
        examples=[["english"]],
    )
    about: str = Field(
        default="",
        description="What the route is for; part of the router's prompt.",
        examples=["The user writes English"],
    )
    when: str | None = Field(
        default=None,
        description="A Jinja expression that takes the route without a model.",
        examples=["'refund' in input.message"],
    )


def in_long_form(routes: Mapping[str, str | Route]) -> Mapping[str, str | Route]:
    """The routes in their long form; in the short one the label is the target."""
    return {
        label: Route(to=label, about=route) if isinstance(route, str) else route
        for label, route in routes.items()
    }


def only_long(routes: Mapping[str, object]) -> Mapping[str, Route]:
    """The routes of a node that exists, which are all in their long form."""
    return {label: route for label, route in routes.items() if isinstance(route, Route)}


def short_routes(routes: Mapping[str, Route]) -> dict[str, JSON]:
    """The routes as a graph file has them, in the short form where that says all."""
    return {
        label: route.about
        if tuple(route.to) == (label,) and route.when is None
        else route.model_dump(mode="json", exclude_defaults=True)
        for label, route in routes.items()
    }


class Router(Node):
    """Chooses among `routes`: by their `when`, else by a model.

    Routes with `when` are tried first, in declared order. If no `when` is true, the model chooses
    among those without; if there are none, `default` is taken. An answer that is no label fails
    the attempt, and after the last attempt `default` is taken, or the node fails.
    """

    answers: ClassVar[bool] = False
    provides: ClassVar[Mapping[str, object]] = {"output": str, "reason": str}

    routes: Annotated[Mapping[str, str | Route], AfterValidator(in_long_form)] = Field(
        min_length=1,
        description="What each label is for; the label is the node it leads to, unless `to` says.",
        examples=[{"english": "The user writes English"}],
    )
    default: str | None = Field(
        default=None,
        description="The label to take if nothing else can be chosen.",
        examples=["english"],
    )
    select: Literal["one", "many"] = Field(
        default="one", description="Whether one label is chosen or several.", examples=["many"]
    )
    allow_none: bool = Field(
        default=False,
        strict=True,
        description="With `select: many`, whether no label at all is a choice.",
        examples=[True],
    )
    tasks: bool = Field(
        default=False,
        strict=True,
        description="Whether the model writes a task for each chosen route.",
        examples=[True],
    )
    instructions: Texts = Field(
        default=(),
        description="Rules for the choice, one or several.",
        examples=[["If in doubt, choose english."]],
    )
    prompt: str | None = Field(
        default="router.jinja", description="Its template.", examples=["router.jinja"]
    )

    @model_validator(mode="after")
    def _check(self) -> Self:
        problems: list[Problem] = []
        if self.default is not None and self.default not in self.routes:
            text = f"default {self.default!r} is not the label of a route"
            near = closest(self.default, self.routes)
            text += "" if near else f"; the labels are {', '.join(self.routes)}"
            problems.append(Problem("G012", text, path=("default",), suggestion=near))
        if self.allow_none and self.select == "one":
            text = "allow_none needs `select: many`"
            problems.append(Problem("G007", text, path=("allow_none",), on_key=True))
        if not self._open_labels() and self.default is None and not self.allow_none:
            text = (
                "every route has a `when`, and if none is true nothing is chosen: name a `default`"
            )
            problems.append(Problem("G007", text, path=("routes",), on_key=True))
        if problems:
            raise DefinitionError(problems)
        return self

    @property
    def long_routes(self) -> Mapping[str, Route]:
        """The routes in their long form."""
        return only_long(self.routes)

    def branches(self) -> Mapping[str, tuple[str, ...]]:
        """The targets of each label."""
        return {label: tuple(route.to) for label, route in self.long_routes.items()}

    def gives(self) -> Mapping[str, object]:
        """The output is one of the labels, or with `select: many` a list of them."""
        label = {"enum": list(self.routes)}
        output = label if self.select == "one" else {"type": "array", "items": label}
        return {**self.provides, "output": output}

    def takes(self) -> tuple[int, int]:
        """One label, or one and more; none where that is allowed."""
        return (0 if self.allow_none else 1, 1 if self.select == "one" else len(self.routes))

    def expressions(self) -> Mapping[KeyPath, str]:
        """The `when` of its routes."""
        return {
            ("routes", label, "when"): route.when
            for label, route in self.long_routes.items()
            if route.when is not None
        }

    def asks(self) -> bool:
        """A router whose routes all have `when` needs no model."""
        return bool(self._open_labels())

    def shown(self) -> Mapping[str, object]:
        """`node.routes`: a list of `{label, about}` of the routes that the model chooses among."""
        open_labels = self._open_labels()
        return {
            "routes": [
                {"label": label, "about": self.long_routes[label].about} for label in open_labels
            ]
        }

    def written(self) -> dict[str, JSON]:
        """Short routes in their short form."""
        return {**super().written(), "routes": short_routes(self.long_routes)}

    async def run(self, context: Context) -> Result:
        """Choose; the labels are in the record, so a resumed run never chooses again."""
        choice = self._by_condition(context) or await context.choose(
            self._open_labels(),
            many=self.select == "many",
            allow_none=self.allow_none,
            tasks=self.tasks,
        )
        return self._result(choice)

    def instead(self, error: Exception) -> Result | None:
        """The default, if the model answered but never with a label."""
        if self.default is None or not isinstance(error, AnswerError):
            return None
        return self._result(Choice((self.default,), reason=f"the default, because {error}"))

    def _result(self, choice: Choice) -> Result:
        one = self.select == "one"
        return Result(
            output=choice.labels[0] if one else list(choice.labels),
            fields={"reason": choice.reason},
            choices=choice.labels,
            tasks=choice.tasks,
        )

    def _open_labels(self) -> list[str]:
        return [label for label, route in self.long_routes.items() if route.when is None]

    def _by_condition(self, context: Context) -> Choice | None:
        matching = [
            (label, route.when)
            for label, route in self.long_routes.items()
            if route.when is not None and context.test(route.when)
        ]
        if matching:
            taken = matching if self.select == "many" else matching[:1]
            labels = tuple(label for label, _ in taken)
            return Choice(labels, reason="; ".join(rule for _, rule in taken))
        if self._open_labels():
            return None
        if self.default is not None:
            return Choice((self.default,), reason="no route's `when` is true")
        return Choice((), reason="no route's `when` is true")
