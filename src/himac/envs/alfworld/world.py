"""Playing one game: what changes, the fifteen actions, the list of admissible commands, the sentences.

An action is a schema of the domain with its precondition in `_commands` and its effect in the
method of its name; the list of commands after a step is rebuilt only around the agent, everything else
(the other places to go) is kept per location and shared by all environments that play the game.

Facts that no text and no precondition reads (checked, isOn, wasInReceptacle, ...) are not kept. What
looks odd here is odd in ALFWorld; `quirks` names each oddity and its reason.
"""

from __future__ import annotations

from collections.abc import Callable

from himac.envs.alfworld.game import Game
from himac.envs.alfworld.goal import Goal
from himac.envs.alfworld.wording import STATES

NOTHING_HAPPENS = "Nothing happens."

CHANGES: dict[str, frozenset[str]] = {
    "gotolocation": frozenset({"atlocation"}),
    "openobject": frozenset({"opened"}),
    "closeobject": frozenset({"opened"}),
    "pickupobject": frozenset({"inreceptacle", "holds", "holdsany", "objectatlocation"}),
    "putobject": frozenset({"inreceptacle", "holds", "holdsany", "objectatlocation"}),
    "cleanobject": frozenset({"isclean"}),
    "heatobject": frozenset({"ishot", "iscool"}),
    "coolobject": frozenset({"ishot", "iscool"}),
    "toggleobject": frozenset({"istoggled"}),
    "sliceobject": frozenset({"issliced"}),
}
"""Action -> the predicates its effect touches; actions that are absent change nothing that matters."""


class World:
    """One play of one game.

    Attributes:
        admissible: every command that works now, sorted as ALFWorld sorts them.
        won: whether the goal holds now.
    """

    __slots__ = ("_taken", "admissible", "at", "game", "held", "inside", "lying", "opened", "states", "won")

    def __init__(self, game: Game) -> None:
        start = game.start
        self.game = game
        self.at = start.at  # location of the agent
        self.held = start.held  # object in hand, -1 for none
        self.inside = list(start.inside)  # receptacle -> objects
        self.lying = list(start.lying)  # location -> objects
        self.opened = set(start.opened)  # receptacles
        self.states = {state: set(things) for state, things in start.states.items()}
        self._taken: dict[int, tuple[int, ...]] = {}  # receptacle -> objects picked up from it, not put back
        self.won = self._holds(game.goal)
        self.admissible = self._commands()

    def intro(self) -> str:
        """Return the text a play begins with."""
        says = self.game.wording.says
        return says["intro"][0].format(look=self._look(intro=True), task=self.game.task)

    def step(self, command: str) -> str:
        """Carry out one command and return the world's answer; an inadmissible one changes nothing."""
        command = command.strip()
        if command not in self.admissible:  # quirk "exact-command"
            return NOTHING_HAPPENS
        action, *things = self.game.actions[command]
        name = str(action)
        text = _EFFECTS[name](self, *things)
        changed = CHANGES.get(name)
        if changed is not None:
            self.admissible = self._commands()
            if not changed.isdisjoint(self.game.decisive):
                self.won = self._holds(self.game.goal)
        return text

    # What can be done: the schemas' preconditions.

    def _commands(self) -> tuple[str, ...]:
        """List every action whose precondition holds.

        OpenObject, CloseObject: r is here and openable.       PickupObject: hands empty, o lies in r, r is here
        PutObject: o in hand, r is here and takes its type.      and open or not openable; PutObject likewise.
        CleanObject, HeatObject, CoolObject: o in hand can be, r is here and of the type that does it.
        ToggleObject: o can be, it lies in a receptacle here.  SliceObject: a knife in hand, o can be, it lies here.
        """
        game, held = self.game, self.held
        always = game.travel.get(self.at) or self._always(self.at)
        found: list[str] = []
        add = found.append
        for r in game.here[self.at]:
            openable = r in game.openable
            reachable = not openable or r in self.opened
            if openable:
                add(self.command("closeobject" if reachable else "openobject", r))
            if held >= 0:
                found += self._with_held(r, reachable=reachable)
            if self.inside[r]:
                found += self._with_contents(r, reachable=reachable)
        if held >= 0:
            add(self.command("examineobject", held))  # quirk "examine-held"
            if held in game.knives:
                for o in self.lying[self.at]:  # quirk "slice-from-afar"
                    if o in game.kinds["sliceable"]:
                        add(self.command("sliceobject", o, held))
        if not found:
            return always
        found += always
        found.sort()  # quirk "command-order"
        return tuple(dict.fromkeys(found))

    def _with_held(self, r: int, *, reachable: bool) -> list[str]:
        """List what can be done with the thing in hand at a receptacle that is here."""
        game, held, kinds = self.game, self.held, self.game.kinds
        found = []
        if reachable and held in game.fits[r]:
            found.append(self.command("putobject", held, r))
        # quirk "closed-does-not-matter": only taking and putting ask whether r is open
        if r in game.cleaners and held in kinds["cleanable"]:
            found.append(self.command("cleanobject", held, r))
        if r in game.heaters and held in kinds["heatable"]:
            found.append(self.command("heatobject", held, r))
        if r in game.coolers and held in kinds["coolable"]:
            found.append(self.command("coolobject", held, r))
        return found

    def _with_contents(self, r: int, *, reachable: bool) -> list[str]:
        """List what can be done with the things that lie in a receptacle that is here."""
        kinds, found = self.game.kinds, []
        can_take = reachable and self.held < 0
        can_examine = reachable and self.game.rules.examine_in_sight
        for o in self.inside[r]:
            if can_take and o in kinds["pickupable"]:
                found.append(self.command("pickupobject", o, r))
            if o in kinds["toggleable"]:
                found.append(self.command("toggleobject", o))
            if can_examine:
                found.append(self.command("examineobject", o))
        return found

    def _always(self, at: int) -> tuple[str, ...]:
        """List what can be done at a location whatever else holds."""
        game = self.game
        commands = [self.command("look"), self.command("inventory")]
        if game.rules.has_help:
            commands.append(self.command("help"))
        for r, place in enumerate(game.place):
            if place < 0:
                continue  # it can be neither reached nor seen
            # quirk "same-place": what stands here is examined, everything else is gone to
            commands.append(self.command("examinereceptacle" if place == at else "gotolocation", r))
        game.travel[at] = tuple(sorted(commands))
        return game.travel[at]

    def command(self, *action: str | int) -> str:
        """Return the text of an action, e.g. ("pickupobject", 3, 1); both directions are remembered in the game."""
        command = self.game.commands.get(action)
        if command is None:
            command = self._named(*action)  # type: ignore[arg-type]
            self.game.commands[action] = command
            self.game.actions[command] = action
        return command

    def _named(self, name: str, *things: int) -> str:
        game = self.game
        template = game.wording.commands[name]
        if name in ("look", "inventory", "help"):
            return template
        if name == "sliceobject":
            return template.format(co=game.objects[things[0]], ko=game.objects[things[1]])
        if name in ("gotolocation", "examinereceptacle", "openobject", "closeobject"):
            return template.format(r=game.receptacles[things[0]])
        if len(things) == 1:
            return template.format(o=game.objects[things[0]])
        return template.format(o=game.objects[things[0]], r=game.receptacles[things[1]])

    # What is done and said: the schemas' effects and the grammar's rules.

    def _look(self, intro: bool = False) -> str:
        game, says = self.game, self.game.wording.says
        here = game.here[self.at]
        if not here:  # quirk "middle-of-room"
            room = [name for name, place in zip(game.receptacles, game.place) if place >= 0 and intro]
            appliances = says["list_appliances"]
            return says["look.feedback"][1].format(
                list_appliances=appliances[0].format(room=self._listed(room, "overview(r)", "r"))
                if room
                else appliances[1]
            )
        facing = self._joined([game.receptacles[r] for r in here])
        # quirks "next-to-it" and "next-to-it-twice"
        beside = [game.objects[o] for o in self.lying[self.at] for r in here if o in self._taken.get(r, ())]
        floor = says["list_objects_on_the_floor"]
        return says["look.feedback"][0].format(
            look_variations=says["look-variations"][0].format(facing=facing),
            list_objects_on_the_floor=floor[0].format(beside=self._listed(beside, "overview(o)", "o"))
            if beside
            else floor[1],
        )

    def _inventory(self) -> str:
        says = self.game.wording.says["inventory.feedback"]
        if self.held < 0:
            return says[1]
        return says[0].format(held=self._listed([self.game.objects[self.held]]))

    def _help(self) -> str:
        return self.game.wording.says["help.feedback"][0]

    def _examine_receptacle(self, r: int) -> str:
        game, says = self.game, self.game.wording.says["examineReceptacle.feedback"]
        name = game.receptacles[r]
        if r in game.openable and r not in self.opened:
            return says[1].format(r=name)
        contents = self._listed([game.objects[o] for o in self.inside[r]])
        return says[0 if r in game.openable else 2].format(r=name, contents=contents)

    def _examine_object(self, o: int) -> str:
        game, says = self.game, self.game.wording.says["examineObject.feedback"]
        name = game.objects[o]
        if o in game.inner:  # quirks "bowl-before-state" and "inside-a-bowl"
            return says[0].format(o=name, inner=self._listed([game.objects[i] for i in game.inner[o]]))
        for text, states in zip(says[1:], STATES):
            if all(o in self.states[state] for state in states):
                return text.format(o=name)
        on, _, sliced, plain = says[1 + len(STATES) :]
        if o in game.kinds["toggleable"] and o in self.states["on"]:
            return on.format(o=name)
        if o in game.kinds["sliceable"] and o in self.states["sliced"]:
            return sliced.format(o=name)
        return plain.format(o=name)

    def _goto(self, r: int) -> str:
        game = self.game
        self.at = game.place[r]
        return game.wording.says["GotoLocation.feedback"][0].format(
            r=game.receptacles[r], lend=game.locations[self.at], examineReceptacle=self._examine_receptacle(r)
        )

    def _open(self, r: int) -> str:
        self.opened.add(r)
        return self.game.wording.says["OpenObject.feedback"][0].format(
            r=self.game.receptacles[r], examineReceptacle=self._examine_receptacle(r)
        )

    def _close(self, r: int) -> str:
        self.opened.discard(r)
        return self.game.wording.says["CloseObject.feedback"][0].format(r=self.game.receptacles[r])

    def _take(self, o: int, r: int) -> str:
        self.held = o
        self.inside[r] = _without(self.inside[r], o)  # quirk "two-places": other receptacles keep it
        self.lying[self.at] = _without(self.lying[self.at], o)
        self._taken[r] = _with(self._taken.get(r, ()), o)
        return self._said("PickupObject.feedback", o, r)

    def _put(self, o: int, r: int) -> str:
        self.held = -1
        self.inside[r] = _with(self.inside[r], o)
        self.lying[self.at] = _with(self.lying[self.at], o)
        self._taken[r] = _without(self._taken.get(r, ()), o)
        return self._said("PutObject.feedback", o, r)

    def _clean(self, o: int, r: int) -> str:
        self.states["clean"].add(o)
        return self._said("cleanObject.feedback", o, r)

    def _heat(self, o: int, r: int) -> str:
        self.states["hot"].add(o)
        self.states["cool"].discard(o)
        return self._said("heatObject.feedback", o, r)

    def _cool(self, o: int, r: int) -> str:
        self.states["cool"].add(o)
        self.states["hot"].discard(o)
        return self._said("coolObject.feedback", o, r)

    def _toggle(self, o: int) -> str:
        self.states["on"].add(o)  # quirk "always-on"
        return self.game.wording.says["toggleObject.feedback"][0].format(o=self.game.objects[o])

    def _slice(self, co: int, ko: int) -> str:
        self.states["sliced"].add(co)
        objects = self.game.objects
        return self.game.wording.says["sliceObject.feedback"][0].format(co=objects[co], ko=objects[ko])

    def _said(self, rule: str, o: int, r: int) -> str:
        return self.game.wording.says[rule][0].format(o=self.game.objects[o], r=self.game.receptacles[r])

    def _listed(self, names: list[str] | tuple[str, ...], overview: str = "", place: str = "") -> str:
        """Join names, each with the article "a" or as the overview rule writes it."""
        if overview:
            form = self.game.wording.says[overview][0]
            return self._joined([form.format(**{place: name}) for name in names])
        return self._joined(["a " + name for name in names])

    def _joined(self, items: list[str]) -> str:
        says = self.game.wording.says
        if not items:
            return says["list_empty"][0]
        if len(items) == 1:
            return items[0]
        # quirk "comma-and"
        return says["list_separator"][0].join(items[:-1]) + says["list_last_separator"][0] + items[-1]

    # The goal.

    def _holds(self, goal: Goal) -> bool:
        if isinstance(goal, bool):
            return goal
        head = goal[0]
        if head == "or":
            return any(self._holds(part) for part in goal[1:])
        if head == "and":
            return all(self._holds(part) for part in goal[1:])
        if head == "not":
            return not self._holds(goal[1])
        return _FACTS[head](self, *goal[1:])


def _with(things: tuple[int, ...], thing: int) -> tuple[int, ...]:
    return things if thing in things else tuple(sorted((*things, thing)))


def _without(things: tuple[int, ...], thing: int) -> tuple[int, ...]:
    return tuple(other for other in things if other != thing)


_EFFECTS: dict[str, Callable[..., str]] = {
    "look": World._look,
    "inventory": World._inventory,
    "help": World._help,
    "examinereceptacle": World._examine_receptacle,
    "examineobject": World._examine_object,
    "gotolocation": World._goto,
    "openobject": World._open,
    "closeobject": World._close,
    "pickupobject": World._take,
    "putobject": World._put,
    "cleanobject": World._clean,
    "heatobject": World._heat,
    "coolobject": World._cool,
    "toggleobject": World._toggle,
    "sliceobject": World._slice,
}

_FACTS: dict[str, Callable[..., bool]] = {
    "atlocation": lambda world, _, l: world.at == l,
    "inreceptacle": lambda world, o, r: r >= 0 and o in world.inside[r],
    "objectatlocation": lambda world, o, l: l >= 0 and o in world.lying[l],
    "holds": lambda world, _, o: o >= 0 and world.held == o,
    "holdsany": lambda world, _: world.held >= 0,
    "opened": lambda world, r: r in world.opened,
    "isclean": lambda world, o: o in world.states["clean"],
    "ishot": lambda world, o: o in world.states["hot"],
    "iscool": lambda world, o: o in world.states["cool"],
    "istoggled": lambda world, o: o in world.states["on"],
    "issliced": lambda world, o: o in world.states["sliced"],
}
