"""An expert that plays from what it is told: the task's sentence, the observations, the admissible commands.

A task's sentence gives the blueprint ("find and take a mug", "clean the mug",
"put the mug in the coffeemachine"); an executor that remembers what it has seen pursues one sub-goal at a
time, looking first where such a thing most likely is. It never reads the game's state.

Left out: tasks in free words (human annotations); `demonstrate` returns None for those.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np

from himac.envs.alfworld.vocabulary import likely_places, p_openable
from himac.envs.base import Env
from himac.types import Demonstration, Observation, Task

STATIONS = {"clean": "sinkbasin", "heat": "microwave", "cool": "fridge"}
"""What changes an object's state, by verb."""

_SENTENCES = (
    (r"(?:examine the|look at) (?P<o>\S+) (?:with|under) the (?P<r>\S+)", "look"),
    (r"(?:find|put) two (?P<o>\S+) (?:and put them )?(?:in|on) (?P<r>\S+)", "pick2"),
    (r"put an? clean (?P<o>\S+) (?:in|on) (?P<r>\S+)", "clean"),
    (r"put an? hot (?P<o>\S+) (?:in|on) (?P<r>\S+)", "heat"),
    (r"put an? cool (?P<o>\S+) (?:in|on) (?P<r>\S+)", "cool"),
    (r"(?P<k>clean|heat|cool) some (?P<o>\S+) and put it (?:in|on) (?P<r>\S+)", ""),
    (r"put (?:an?|some) (?P<o>\S+) (?:in|on) (?P<r>\S+)", "pick"),
)
"""ALFWorld's task sentences and the task type each states ("" where the sentence names it)."""

_HARMLESS = ("go to ", "look", "inventory", "examine ", "open ", "close ")
"""Noise stays among commands that move nothing, so that it costs steps and never the task."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Goal:
    """What a task's sentence asks for."""

    kind: str  # "pick", "look", "clean", "heat", "cool" or "pick2"
    object: str  # object type, e.g. "mug"
    receptacle: str  # where it belongs; for "look" the lamp


@dataclass(frozen=True, slots=True, kw_only=True)
class Subgoal:
    """One line of a blueprint, for people (`text`) and for the executor (the rest)."""

    text: str
    verb: str  # "take", "clean", "heat", "cool", "put" or "use"
    object: str  # object type
    receptacle: str = ""  # receptacle type of a "put"; "" for others


def read_goal(text: str) -> Goal | None:
    """Read the task from a first observation; None when the sentence is not one of ALFWorld's.

    >>> read_goal("Your task is to: put a clean mug in coffeemachine.")
    Goal(kind='clean', object='mug', receptacle='coffeemachine')
    """
    sentence = text.rpartition("Your task is to: ")[2].strip().rstrip(".").lower()
    for pattern, kind in _SENTENCES:
        match = re.fullmatch(pattern, sentence)
        if match:
            found = match.groupdict()
            return Goal(kind=kind or found["k"], object=found["o"], receptacle=found["r"])
    return None


def blueprint(goal: Goal) -> tuple[Subgoal, ...]:
    """Return the sub-goals that solve a task, knowing nothing but its sentence."""
    o, r = goal.object, goal.receptacle
    article = "an" if o[0] in "aeiou" else "a"
    take = Subgoal(text=f"find and take {article} {o}", verb="take", object=o)
    put = Subgoal(text=f"put the {o} in the {r}", verb="put", object=o, receptacle=r)
    if goal.kind == "look":
        return take, Subgoal(text=f"find and use a {r}", verb="use", object=r)
    if goal.kind == "pick2":
        again = Subgoal(text=f"find and take another {o}", verb="take", object=o)
        return (
            take,
            put,
            again,
            Subgoal(text=f"put the other {o} in the {r}", verb="put", object=o, receptacle=r),
        )
    if goal.kind in STATIONS:
        change = Subgoal(text=f"{goal.kind} the {o}", verb=goal.kind, object=o)
        return take, change, put
    return take, put


def _type(name: str) -> str:
    return name.rpartition(" ")[0]


class Belief:
    """What an attentive player knows: where they are, what they hold, what they have seen where."""

    def __init__(self, observation: Observation) -> None:
        reachable = observation.admissible or ()
        names = [
            c.removeprefix(verb) for verb in ("go to ", "examine ") for c in reachable if c.startswith(verb)
        ]
        listed = re.findall(r"an? ([\w-]+ \d+)", observation.text.partition("you see ")[2].partition("\n")[0])
        self.receptacles = tuple(listed if set(listed) == set(names) else names)  # the room's, in its order
        self.contents: dict[str, tuple[str, ...]] = {}  # receptacle -> objects last seen in it
        self.closed: set[str] = set()  # receptacles known to be closed
        self.held = ""
        self.here: tuple[str, ...] = ()  # receptacles in reach
        self.admissible: tuple[str, ...] = ()
        self.observe(observation)

    def observe(self, observation: Observation) -> None:
        """Take in what an action led to."""
        text = observation.text
        self.admissible = observation.admissible or ()
        examinable = {c.removeprefix("examine ") for c in self.admissible if c.startswith("examine ")}
        self.here = tuple(r for r in self.receptacles if r in examinable)
        seen = re.search(r"(?:On the|In) ([\w-]+ \d+|it), you see ([^.\n]*)\.", text)
        opened = re.search(r"The ([\w-]+ \d+) is (open|closed)\.", text)
        if opened and opened.group(2) == "closed":
            self.closed.add(opened.group(1))
        elif opened or seen:
            receptacle = opened.group(1) if opened else seen.group(1)  # type: ignore[union-attr]
            self.closed.discard(receptacle)
            if seen and receptacle in self.receptacles:
                self.contents[receptacle] = tuple(re.findall(r"an? ([\w-]+ \d+)", seen.group(2)))
        if text.startswith("You pick up the "):
            self.held, _, source = text.removeprefix("You pick up the ").rstrip(".").partition(" from the ")
            self.contents[source] = tuple(o for o in self.contents.get(source, ()) if o != self.held)
        elif re.match(r"You (?:put|move) the ", text):
            target = next(r for r in sorted(self.here, key=len, reverse=True) if text.rstrip(".").endswith(r))
            self.contents[target] = (*self.contents.get(target, ()), self.held)
            self.held = ""
        elif text.startswith("You close the "):
            self.closed.add(text.removeprefix("You close the ").rstrip("."))

    def of_type(self, kind: str) -> list[str]:
        """Return the receptacles of a type."""
        return [r for r in self.receptacles if _type(r) == kind]


class Executor:
    """Pursues sub-goals one at a time.

    Args:
        observation: the episode's first one.
        goal: the task, as its sentence states it.
    """

    def __init__(self, observation: Observation, goal: Goal) -> None:
        self.memory = Belief(observation)
        self.goal = goal
        self.changed: set[tuple[str, str]] = set()  # (verb, object) already done
        self.delivered: list[str] = []  # objects put where they belong
        self.target = ""  # the receptacle chosen for "put"
        self.refused: set[str] = set()  # receptacles of the right type that take no such object
        self.used = False

    def observe(self, observation: Observation) -> None:
        """Take in what an action led to."""
        held = self.memory.held
        self.memory.observe(observation)
        text = observation.text
        for verb in STATIONS:
            if text.startswith(f"You {verb} the {held} using"):
                self.changed.add((verb, held))
        if (
            held
            and not self.memory.held
            and _type(held) == self.goal.object
            and self.target in self.memory.here
        ):
            self.delivered.append(held)
        self.used = self.used or text.startswith("You turn on the ")

    def done(self, subgoal: Subgoal, before: int) -> bool:
        """Tell whether a sub-goal is reached; `before`: how many objects were delivered when it began."""
        held = self.memory.held
        if subgoal.verb == "take":
            return _type(held) == subgoal.object
        if subgoal.verb == "put":
            return len(self.delivered) > before
        if subgoal.verb == "use":
            return self.used
        return (subgoal.verb, held) in self.changed

    def act(self, subgoal: Subgoal) -> str | None:
        """Return the next command towards a sub-goal; None when nothing is left to try."""
        memory = self.memory
        if subgoal.verb == "take":
            if memory.held:
                return self._drop()
            return self._fetch(subgoal.object)
        if subgoal.verb == "use":
            command = next((c for c in memory.admissible if c.startswith(f"use {subgoal.object}")), None)
            return command or self._seek(subgoal.object)
        if not memory.held:  # lost on the way (noise): take it again
            return self._fetch(subgoal.object)
        if subgoal.verb == "put":
            return self._put(subgoal.receptacle)
        verb = f"{subgoal.verb} {memory.held} with "
        command = next((c for c in memory.admissible if c.startswith(verb)), None)
        stations = memory.of_type(STATIONS[subgoal.verb])
        return command or (self._reach(stations[0]) if stations else None)

    def _fetch(self, kind: str) -> str | None:
        """Take an object of a type where one is known to lie, else look for one."""
        memory = self.memory
        kept = {self.target} if self.goal.kind == "pick2" and self.delivered else set()
        if self.goal.kind in ("pick", "pick2") and not self.delivered:
            kept |= set(memory.of_type(self.goal.receptacle)) if self._known_elsewhere(kind) else set()
        for place, objects in sorted(memory.contents.items(), key=lambda item: item[0] not in memory.here):
            for thing in objects:
                if _type(thing) == kind and place not in kept:
                    take = f"take {thing} from {place}"
                    return take if take in memory.admissible else self._reach(place, to_open=True)
        return self._seek(kind)

    def _known_elsewhere(self, kind: str) -> bool:
        return any(
            _type(thing) == kind and _type(place) != self.goal.receptacle
            for place, objects in self.memory.contents.items()
            for thing in objects
        )

    def _seek(self, kind: str) -> str | None:
        """Look into the most promising place that was not seen yet."""
        memory = self.memory
        known = next(
            (r for r, things in memory.contents.items() if any(_type(t) == kind for t in things)), None
        )
        if known is not None and known not in memory.here and kind == self.goal.receptacle:
            return self._reach(known)  # a lamp is used where it stands
        places = [r for r in memory.receptacles if r not in memory.contents]
        if not places:
            return None
        likely = likely_places(kind)

        def promise(place: str) -> tuple[float, bool]:
            share = likely.get(_type(place), 0.0) + 0.002
            price = 2.0 if p_openable(_type(place)) > 0.5 else 1.0
            if place in memory.here:
                price -= 1.0 if place in memory.closed else 0.5
            return share / len(memory.of_type(_type(place))) / price, place in memory.here

        return self._reach(max(places, key=promise), to_open=True)

    def _put(self, kind: str) -> str | None:
        memory = self.memory
        if not self.target:
            choices = [r for r in memory.of_type(kind) if r not in self.refused]
            if not choices:
                return None
            ready = [r for r in choices if self._holds_another(r)] or choices
            near = [r for r in ready if r in memory.here]
            seen = [r for r in ready if r in memory.contents]
            self.target = (near or seen or ready)[0]
        if self.target not in memory.here or self.target in memory.closed:
            return self._reach(self.target, to_open=True)
        for form in ("move {} to {}", "put {} in/on {}"):
            command = form.format(memory.held, self.target)
            if command in memory.admissible:
                return command
        if self.target not in memory.contents:
            return f"examine {self.target}"
        self.refused.add(self.target)
        self.target = ""
        return self._put(kind)

    def _holds_another(self, place: str) -> bool:
        if self.goal.kind != "pick2":
            return False
        return any(_type(thing) == self.goal.object for thing in self.memory.contents.get(place, ()))

    def _reach(self, place: str, to_open: bool = False) -> str | None:
        """Go to a place and open it if it is closed; look at it when it is only near."""
        memory = self.memory
        if place not in memory.here:
            command = f"go to {place}"
        elif to_open and f"open {place}" in memory.admissible:
            command = f"open {place}"
        else:
            command = f"examine {place}"
        return command if command in memory.admissible else None

    def _drop(self) -> str | None:
        """Put a wrong object down where one stands, or go somewhere that takes it."""
        memory = self.memory
        for command in memory.admissible:
            if command.startswith((f"move {memory.held} to ", f"put {memory.held} in/on ")):
                return command
        places = [r for r in memory.receptacles if r not in memory.here and r not in memory.closed]
        return f"go to {places[0]}" if places else None


class AlfworldExpert:
    """Demonstrates tasks of one environment."""

    def __init__(self, env: Env) -> None:
        self._env = env

    def demonstrate(self, task: Task, *, seed: int = 0, noise: float = 0.0) -> Demonstration | None:
        """Play the task; None when its sentence cannot be read or the step limit is reached.

        Noise is drawn from commands that move nothing, so it costs steps and never the task itself.
        """
        rng = np.random.default_rng([seed, task.index, *task.split.encode()])
        observation = self._env.reset(task, seed=seed)
        goal = read_goal(observation.text)
        if goal is None:
            return None
        executor = Executor(observation, goal)
        plan = blueprint(goal)
        actions: list[str] = []
        segment_of: list[int] = []
        is_noise: list[bool] = []
        active, delivered = 0, 0
        while True:
            while active + 1 < len(plan) and executor.done(plan[active], delivered):
                active, delivered = active + 1, len(executor.delivered)
            action = executor.act(plan[active])
            if action is None:
                return None
            noisy = bool(noise > 0.0 and rng.random() < noise)
            if noisy:
                choices = [c for c in executor.memory.admissible if c.startswith(_HARMLESS)]
                action = choices[int(rng.integers(len(choices)))]
            result = self._env.step(action)
            actions.append(action)
            segment_of.append(active)
            is_noise.append(noisy)
            executor.observe(result.observation)
            if result.terminated or result.truncated:
                break
        if not result.success:
            return None
        return Demonstration(
            task=task,
            subgoals=tuple(subgoal.text for subgoal in plan),
            actions=tuple(actions),
            segment_of=tuple(segment_of),
            is_noise=tuple(is_noise),
        )
