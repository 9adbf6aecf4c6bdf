"""HiMAC in one file: a planner and an executor that learn in turns, with no language model.

The world is himac's toy: rooms, locked doors, keys, a treasure; hands hold one thing and cannot put it down, and
a decoy key opens an empty room. The planner writes a blueprint (sub-goals); the executor follows it action by
action and says `<sub_done>` to move on. A few demonstrations warm the executor a little; the planner knows nothing.

    phase A   N blueprints a task, each run by the greedy executor; compare them; update the planner
    phase B   M sampled executions of the best blueprint z*; compare them; update the executor

A policy is a table of preferences: each candidate (a sub-goal, an action) is described by a few words, the words look
up a number, and a softmax over the numbers is the policy. It learns in seconds, and can be read when it is done.

Left out, and in the package: language, tokens, penalties; clipping and KL (one small on-policy step does without).
"""

from __future__ import annotations

import re
import sys

import numpy as np

from himac import Env, Task, make_env
from himac.envs.base import make_expert

TASKS, N, M = 12, 8, 8  # tasks an iteration, blueprints a task, executions of z*
MAX_SUBGOALS, BUDGET = 6, 6  # longest blueprint; turns before a sub-goal is forced to end
RATE, DEMONSTRATIONS, WARMTH = 10.0, 12, 0.05  # learning rate; demonstrations, and how hard they pull
Choice = dict[tuple, float]  # gradient of one choice's log-probability, by table entry


class Policy:
    """pi(c) = softmax over the candidates of table[description of c]."""

    def __init__(self) -> None:
        self.table: dict[tuple, float] = {}

    def choose(self, described: list[tuple], rng, told: int | None = None) -> tuple[int, Choice]:
        """Return (a candidate, d log pi / d table): sampled, or the preferred one without rng, or as told."""
        logits_C = np.array([self.table.get(d, 0.0) for d in described])
        p_C = np.exp(logits_C - np.logaddexp.reduce(logits_C))  # softmax
        pick = told if told is not None else int(rng.choice(len(p_C), p=p_C) if rng else p_C.argmax())
        grad: Choice = {}  # one-hot(pick) - p, summed over candidates described alike
        for c, d in enumerate(described):
            grad[d] = grad.get(d, 0.0) + (c == pick) - p_C[c]
        return pick, grad

    def update(self, choices_E: list[list[Choice]], advantages_E: np.ndarray) -> None:
        """Climb the mean over episodes of A_e * the mean over its choices of grad log pi."""
        for choices, advantage in zip(choices_E, advantages_E):
            for grad in choices:
                for d, g in grad.items():
                    change = RATE * advantage * g / len(choices) / len(choices_E)
                    self.table[d] = self.table.get(d, 0.0) + change


class House:
    """What an observation says, read back from its text."""

    def __init__(self, text: str) -> None:
        self.ways = re.findall(r"(\w+) - (\w+)", text)
        self.doors = {c: (a, b) for c, a, b in re.findall(r"(\w+) door between (\w+) and (\w+)", text)}
        self.things = dict(re.findall(r"(\w+ key|treasure) in (\w+)", text))
        self.room, self.carrying = re.search(r"You are in (\w+)\. You carry (.+)\.", text).groups()

    def distances(self, starts: tuple[str, ...], opened: frozenset[str] = frozenset()) -> dict[str, int]:
        """Steps to every room that can be reached from some rooms, with some doors imagined open."""
        ways = [*self.ways, *(self.doors[c] for c in opened if c in self.doors)]
        found, queue = dict.fromkeys(starts, 0), list(starts)
        for here in queue:
            for there in [b for a, b in ways if a == here] + [a for a, b in ways if b == here]:
                if there not in found:
                    found[there] = found[here] + 1
                    queue.append(there)
        return found

    def places(self, subgoal: str) -> tuple[str, ...]:
        """Rooms where a sub-goal can be met: beside its door, or where its thing lies."""
        verb, thing = subgoal.split(" the ")
        room = self.things.get(thing)
        return self.doors.get(thing.split()[0], ()) if verb == "open" else (room,) if room else ()


def plan(house: House, planner: Policy, rng=None) -> tuple[tuple[str, ...], list[Choice]]:
    """Write a blueprint one sub-goal at a time, imagining what the ones before brought about."""
    hand, opened, blueprint, choices = "", frozenset(), [], []
    candidates = [
        f"{do} the {c} {kind}" for c in house.doors for do, kind in (("get", "key"), ("open", "door"))
    ]
    candidates += ["take the treasure", "end"]
    while len(blueprint) < MAX_SUBGOALS:
        near, described = house.distances((house.room,), opened), []
        for subgoal in candidates:
            verb, colour = subgoal.split()[0], subgoal.split()[-2:][0]
            if verb == "end":
                described.append((verb, "complete" if "take the treasure" in blueprint else "incomplete"))
                continue
            behind = house.distances((house.room,), opened | {colour}).keys() - near.keys()
            reach = "within reach" if near.keys() & set(house.places(subgoal)) else "out of reach"
            hands = "right key" if hand == colour else "other key" if hand else "hands empty"
            use = "something behind" if behind & set(house.things.values()) else "nothing behind"
            described.append((verb, reach, hands, use))
        pick, grad = planner.choose(described, rng)
        choices.append(grad)
        verb, colour = candidates[pick].split()[0], candidates[pick].split()[-2:][0]
        if verb == "end":
            break
        if verb == "open" and hand == colour:
            hand, opened = "", opened | {colour}
        elif verb != "open":
            hand = hand or colour
        blueprint.append(candidates[pick])
    return tuple(blueprint), choices


def execute(env: Env, task: Task, blueprint, executor: Policy, rng=None, told=()) -> tuple[float, int, list]:
    """Carry a blueprint out; return (share of doors and treasure got, steps, choices)."""
    observation, choices, active, turns, steps = env.reset(task), [], 0, 0, 0
    while True:
        house = House(observation.text)
        subgoal = blueprint[active] if active < len(blueprint) else "take the treasure"  # "finish the task"
        verb, thing = subgoal.split(" the ")
        is_met = thing.split()[0] not in house.doors if verb == "open" else house.carrying == thing
        far = house.distances(house.places(subgoal))
        candidates = [*observation.admissible, *(["<sub_done>"] if active < len(blueprint) else [])]
        described = []
        for action in candidates:
            word = "named" if thing in action else "not named"
            if action.startswith("go to "):
                word = "nearer" if far.get(action[6:], 99) < far.get(house.room, 99) else "not nearer"
            described.append((action.split()[0], word, "sub-goal met" if is_met else "sub-goal not met"))
        word = candidates.index(told[len(choices)]) if told else None
        pick, grad = executor.choose(described, rng, word)
        choices.append(grad)
        turns += 1
        if candidates[pick] == "<sub_done>":  # takes no step in the world
            active, turns = active + 1, 0
            continue
        result = env.step(candidates[pick])
        observation, steps = result.observation, steps + 1
        if result.terminated or result.truncated:
            return result.score, steps, choices
        if turns >= BUDGET:
            active, turns = active + 1, 0


def learn(policy: Policy, groups: list[list[tuple[float, list[Choice]]]]) -> float:
    """Compare the peers of each group, A_i = (R_i - mean R) / (std R + eps); update; return the share solved."""
    returns_BG = np.array([[ret for ret, _ in group] for group in groups])
    mean_B1, std_B1 = returns_BG.mean(1, keepdims=True), returns_BG.std(1, keepdims=True)
    advantages_BG = (returns_BG - mean_B1) / (std_B1 + 1e-6)
    policy.update([choices for group in groups for _, choices in group], advantages_BG.ravel())
    return float((returns_BG == 1).mean())


def warm_start(env: Env, tasks: list[Task], executor: Policy) -> None:
    """Lean the executor a little towards an expert: enough that some executions succeed."""
    for task in tasks:
        demo = make_expert("toy", env).demonstrate(task, seed=0, noise=0.0)
        words = []
        for place, action in enumerate(demo.actions):
            ends = demo.segment_of[place] not in demo.segment_of[place + 1 :] and action != "take treasure"
            words += [action, "<sub_done>"] if ends else [action]
        executor.update([execute(env, task, demo.subgoals, executor, told=words)[2]], np.array([WARMTH]))


def train(*, doors: int = 2, iterations: int = 15, seed: int = 0) -> tuple[list[float], Policy, Policy]:
    """Co-evolve; return (held-out success, greedy, from before the first iteration on; planner; executor)."""
    env, rng, curve = make_env("toy", doors=doors), np.random.default_rng(seed), []
    tasks, held_out = list(env.tasks("train")), list(env.tasks("test"))[:40]
    planner, executor = Policy(), Policy()
    warm_start(env, tasks[-DEMONSTRATIONS:], executor)
    for iteration in range(iterations + 1):
        plans = [plan(House(env.reset(task).text), planner)[0] for task in held_out]
        curve.append(np.mean([execute(env, t, z, executor)[0] == 1 for t, z in zip(held_out, plans)]))
        line = f"after {iteration:2} iterations | held out {curve[-1]:.2f}"
        if iteration == iterations:
            break
        chosen = [tasks[i] for i in rng.choice(len(tasks) - DEMONSTRATIONS, TASKS, replace=False)]
        explored, executed, best = [], [], []
        for task in chosen:  # phase A
            house = House(env.reset(task).text)
            written = [plan(house, planner, rng) for _ in range(N)]
            runs = [execute(env, task, z, executor) for z, _ in written]
            explored.append([(run[0], choices) for run, (_, choices) in zip(runs, written)])
            best.append(written[max(range(N), key=lambda i: (runs[i][0], -runs[i][1]))][0])  # z*
        in_a = learn(planner, explored)
        for task, z in zip(chosen, best):  # phase B
            executed.append([execute(env, task, z, executor, rng)[::2] for _ in range(M)])
        print(f"{line} | next A {in_a:.2f} | B {learn(executor, executed):.2f}")
    print(line)
    return curve, planner, executor


if __name__ == "__main__":
    _, planner, executor = train(seed=int(sys.argv[1]) if len(sys.argv) > 1 else 0)
    for name, policy in (("planner", planner), ("executor", executor)):
        print(f"\nwhat the {name} has come to prefer")
        for words, worth in sorted(policy.table.items(), key=lambda item: -item[1]):
            print(f"  {worth:+6.2f}  {', '.join(words)}")
