"""Writing a generated game down: PDDL problem, grammar and trajectory data in ALFWorld's file format.

What `generate` draws is a `Plan`; here it becomes the text that himac, TextWorld and ALFWorld's
own loader read alike, with domain and grammar as ALFWorld ships them.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

from himac.envs.alfworld.catalog import TASK_TYPES
from himac.envs.alfworld.rules import domain_text
from himac.envs.alfworld.vocabulary import attributes, contains
from himac.envs.alfworld.wording import grammar_text
from himac.types import Json

NEEDS = {"clean": "cleanable", "heat": "heatable", "cool": "coolable"}
STATES = {"clean": "isClean", "heat": "isHot", "cool": "isCool"}
"""Task type -> what its object must be able to do, and the state it must end in."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Receptacle:
    """One receptacle of a layout."""

    name: str  # PDDL name, e.g. "Cabinet_bar__plus_00_dot_65_bar_..."
    kind: str  # "Cabinet"
    place: str  # PDDL name of its location
    openable: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """One room: what stands in it, before anything lies there."""

    room: str
    number: int  # which layout of this kind of room
    receptacles: tuple[Receptacle, ...]

    def of(self, kind: str) -> list[Receptacle]:
        """Return the receptacles of a type."""
        return [r for r in self.receptacles if r.kind == kind]


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """One game before it is written down."""

    layout: Layout
    kind: str
    object: str  # object type of the goal
    target: str  # receptacle type of the goal; the lamp for "look"
    objects: tuple[tuple[str, str, Receptacle], ...]  # (PDDL name, type, where it lies)
    sentence: str

    @property
    def task_type(self) -> str:
        """ALFRED's name of the task type."""
        return next(name for name, kind in TASK_TYPES.items() if kind == self.kind)


def game_content(plan: Plan, name: str) -> dict[str, Json]:
    """Return a plan's game as its file holds it."""
    folder = f"{plan.task_type}-{plan.object}-None-{plan.target}-{plan.layout.room}{plan.layout.number}"
    lamp = plan.kind == "look"
    return {
        "pddl_domain": domain_text(),
        "grammar": _grammar().replace("UNKNOWN GOAL", plan.sentence),
        "pddl_problem": _problem(plan, name),
        "solvable": True,
        "traj_data": {
            "task_id": name,
            "task_type": plan.task_type,
            "folder": folder,
            "pddl_params": {
                "object_target": plan.object,
                "parent_target": "" if lamp else plan.target,
                "toggle_target": plan.target if lamp else "",
                "mrecep_target": "",
                "object_sliced": False,
            },
            "scene": {"floor_plan": f"himac-{plan.layout.room}-{plan.layout.number}"},
            "turk_annotations": {"anns": [{"task_desc": plan.sentence, "high_descs": []}]},
        },
    }


@cache
def _grammar() -> str:
    return grammar_text()


def _problem(plan: Plan, name: str) -> str:
    layout = plan.layout
    object_kinds = sorted({kind for _, kind, _ in plan.objects} | {plan.object})
    receptacle_kinds = sorted({r.kind for r in layout.receptacles})
    start = "loc_bar_0_bar_0_bar_0_bar_30_bar_start"
    places = sorted({r.place for r in layout.receptacles} | {start})
    things = ["agent1 - agent"]
    things += [f"{kind}Type - otype" for kind in object_kinds]
    things += [f"{kind}Type - rtype" for kind in receptacle_kinds]
    things += [f"{thing} - object" for thing, _, _ in plan.objects]
    things += [f"{r.name} - receptacle" for r in layout.receptacles]
    things += [f"{place} - location" for place in places]
    facts = [f"atLocation agent1 {start}"]
    for r in layout.receptacles:
        facts += [f"receptacleType {r.name} {r.kind}Type", f"receptacleAtLocation {r.name} {r.place}"]
        facts += [f"openable {r.name}"] if r.openable else []
    abilities = [ability for ability in attributes() if ability != "fixed"]
    for thing, kind, where in plan.objects:
        facts += [f"objectType {thing} {kind}Type", f"objectAtLocation {thing} {where.place}"]
        facts += [f"inReceptacle {thing} {where.name}"]
        facts += [f"pickupable {thing}"] if kind not in attributes()["fixed"] else []
        facts += [f"{ability} {thing}" for ability in abilities if kind in attributes()[ability]]
    for holder in receptacle_kinds:
        facts += [
            f"canContain {holder}Type {kind}Type"
            for kind in object_kinds
            if kind in contains().get(holder, ())
        ]
    listed = {"objects": "\n        ".join(things), "init": "\n        ".join(f"({fact})" for fact in facts)}
    return (
        f"(define (problem plan_{name})\n    (:domain alfred)\n    (:objects\n        {listed['objects']}\n    )\n"
        f"    (:init\n        {listed['init']}\n    )\n    (:goal {_goal_text(plan)})\n)\n"
    )


def _goal_text(plan: Plan) -> str:
    """Write the goal as ALFWorld's generator does, quantifier by quantifier."""
    o, r = plan.object, plan.target
    if plan.kind == "look":
        return (
            f"(and (exists (?ot - object ?r - receptacle ?a - agent ?l - location) (and (objectType ?ot {r}Type)"
            " (toggleable ?ot) (isToggled ?ot) (receptacleAtLocation ?r ?l) (atLocation ?a ?l)"
            f" (inReceptacle ?ot ?r))) (exists (?o - object ?a - agent) (and (objectType ?o {o}Type) (holds ?a ?o))))"
        )
    if plan.kind == "pick2":
        return (
            f"(and (exists (?r - receptacle) (exists (?o1 - object) (and (objectType ?o1 {o}Type)"
            f" (receptacleType ?r {r}Type) (inReceptacle ?o1 ?r) (exists (?o2 - object) (and (not (= ?o1 ?o2))"
            f" (objectType ?o2 {o}Type) (receptacleType ?r {r}Type) (inReceptacle ?o2 ?r)))))))"
        )
    extra = f"({NEEDS[plan.kind]} ?o) ({STATES[plan.kind]} ?o) " if plan.kind in NEEDS else ""
    return (
        f"(and (exists (?r - receptacle) (exists (?o - object) (and {extra}(inReceptacle ?o ?r)"
        f" (objectType ?o {o}Type) (receptacleType ?r {r}Type)))))"
    )
