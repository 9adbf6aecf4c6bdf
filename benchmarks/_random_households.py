"""Households that no simulator would make: things in two places, sinks that open, odd names, odd goals.

The official games visit only a corner of what the domain allows; parity is argued by making games
that visit the rest. Each game is a function of its seed. Both generations of domain and grammar occur, and
sometimes a domain without its slip in `examineObject`.
"""

from __future__ import annotations

import random
from typing import Any

RECEPTACLES = ("Cabinet", "SinkBasin", "Sink", "Microwave", "Fridge", "Shelf", "CounterTop", "BathtubBasin")
OBJECTS = ("Apple", "Knife", "ButterKnife", "Mug", "DeskLamp", "Bowl", "Potato", "Plate")
FLAGS = {
    "pickupable": 0.85,
    "cleanable": 0.5,
    "heatable": 0.5,
    "coolable": 0.5,
    "sliceable": 0.4,
    "toggleable": 0.3,
    "isReceptacleObject": 0.15,
    "isClean": 0.1,
    "isHot": 0.1,
    "isCool": 0.15,
    "isSliced": 0.1,
    "isToggled": 0.08,
    "isOn": 0.1,
}
GOALS = (
    "(exists (?r - receptacle) (exists (?o - object) (and (inReceptacle ?o ?r) (objectType ?o {o})"
    " (receptacleType ?r {r}))))",
    "(exists (?r - receptacle) (exists (?o - object) (and (cleanable ?o) (objectType ?o {o})"
    " (receptacleType ?r {r}) (isClean ?o) (inReceptacle ?o ?r))))",
    "(exists (?ot - object ?r - receptacle ?a - agent ?l - location) (and (objectType ?ot DeskLampType)"
    " (toggleable ?ot) (isToggled ?ot) (receptacleAtLocation ?r ?l) (atLocation ?a ?l) (inReceptacle ?ot ?r)))",
    "(exists (?r - receptacle) (exists (?o1 - object) (and (objectType ?o1 {o}) (receptacleType ?r {r})"
    " (inReceptacle ?o1 ?r) (exists (?o2 - object) (and (not (= ?o1 ?o2)) (objectType ?o2 {o})"
    " (inReceptacle ?o2 ?r))))))",
    "(exists (?o - object) (or (isSliced ?o) (and (objectType ?o {o}) (not (isCool ?o)) (isHot ?o))))",
    "(exists (?a - agent ?l - location ?r - receptacle) (and (atLocation ?a ?l) (receptacleAtLocation ?r ?l)"
    " (opened ?r) (openable ?r)))",
    "(and (not (holdsAny agent1)) (exists (?o - object) (isClean ?o)))",
    "(forall (?r - receptacle) (or (not (openable ?r)) (opened ?r)))",
)


def make_household(seed: int, texts: list[tuple[str, str]]) -> dict[str, Any]:
    """Make one game.

    Args:
        seed: which game.
        texts: (domain, grammar) pairs to choose from.
    """
    rng = random.Random(seed)
    domain, grammar = rng.choice(texts)
    if rng.random() < 0.2:
        domain = domain.replace("(?l - location, ?r - receptacle)", "(?l - location ?r - receptacle)")
    locations = [f"loc_bar_{i}_bar_minus_{rng.randint(0, 9)}" for i in range(rng.randint(2, 5))]
    receptacles = [
        (_name(kind, i, rng), kind) for i, kind in enumerate(rng.choices(RECEPTACLES, k=rng.randint(2, 6)))
    ]
    objects = [
        (_name(kind, 50 + i, rng), kind) for i, kind in enumerate(rng.choices(OBJECTS, k=rng.randint(2, 7)))
    ]
    objects += [("Widget", "Apple")] if rng.random() < 0.15 else []
    receptacles += [("Gadget", "Shelf")] if rng.random() < 0.15 else []
    facts, places = _receptacle_facts(receptacles, locations, rng)
    facts += _object_facts(objects, receptacles, places, locations, rng)
    facts += [f"canContain {r}Type {o}Type" for r in RECEPTACLES for o in OBJECTS if rng.random() < 0.7]
    facts.append(f"atLocation agent1 {rng.choice(locations)}")
    if rng.random() < 0.1:
        facts += [f"holds agent1 {objects[0][0]}", "holdsAny agent1"]
    goal = rng.choice(GOALS).format(o=rng.choice(objects)[1] + "Type", r=rng.choice(receptacles)[1] + "Type")
    if rng.random() < 0.7:  # most goals can be reached; games that cannot be won do not load in TextWorld
        goal = f"(or {goal} (exists (?a - agent) (atLocation ?a {rng.choice(list(places.values()) or locations)})))"
    things = ["agent1 - agent", "Curtains - object", "Apple - object"]
    things += [f"{kind}Type - rtype" for kind in RECEPTACLES] + [f"{kind}Type - otype" for kind in OBJECTS]
    things += [f"{name} - object" for name, _ in objects] + [
        f"{name} - receptacle" for name, _ in receptacles
    ]
    things += [f"{name} - location" for name in locations]
    listed = "\n".join(f"({fact})" for fact in dict.fromkeys(facts))
    problem = f"(define (problem p{seed}) (:domain alfred) (:objects {' '.join(things)})\n(:init {listed})\n(:goal {goal}))"
    return {"pddl_domain": domain, "grammar": grammar, "pddl_problem": problem, "solvable": True}


def _name(kind: str, number: int, rng: random.Random) -> str:
    ending = rng.choice(["", "", f"_bar_{kind}Basin", "_comma_x"])
    return f"{kind}_bar_{rng.choice(['plus_', 'minus_', ''])}{rng.randint(0, 99):02d}_dot_{number}{ending}"


def _receptacle_facts(
    receptacles: list[tuple[str, str]], locations: list[str], rng: random.Random
) -> tuple[list[str], dict[str, str]]:
    facts, places = [], {}
    for name, kind in receptacles:
        facts.append(f"receptacleType {name} {kind}Type")
        if rng.random() < 0.1:
            facts.append(f"receptacleType {name} {rng.choice(RECEPTACLES)}Type")
        if rng.random() < 0.95:
            places[name] = rng.choice(locations[1:])
            facts.append(f"receptacleAtLocation {name} {places[name]}")
        facts += [f"openable {name}"] if rng.random() < 0.4 else []
        facts += [f"opened {name}"] if rng.random() < 0.2 else []
    return facts, places


def _object_facts(
    objects: list[tuple[str, str]],
    receptacles: list[tuple[str, str]],
    places: dict[str, str],
    locations: list[str],
    rng: random.Random,
) -> list[str]:
    facts = []
    for name, kind in objects:
        facts.append(f"objectType {name} {kind}Type")
        if rng.random() < 0.1:
            facts.append(f"objectType {name} {rng.choice(OBJECTS)}Type")
        facts += [f"{flag} {name}" for flag, p in FLAGS.items() if rng.random() < p]
        for _ in range(rng.choice([0, 1, 1, 1, 1, 2])):
            holder = rng.choice(receptacles)[0]
            facts.append(f"inReceptacle {name} {holder}")
            if holder in places and rng.random() < 0.85:
                facts.append(f"objectAtLocation {name} {places[holder]}")
        if rng.random() < 0.15:
            facts.append(f"objectAtLocation {name} {rng.choice(locations)}")
        if rng.random() < 0.1:
            facts.append(f"inReceptacleObject {rng.choice(objects)[0]} {name}")
    return facts
