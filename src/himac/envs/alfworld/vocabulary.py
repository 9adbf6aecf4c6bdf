"""ALFRED's vocabulary: which receptacles a room has, which objects lie where, what can be done with them.

Plain tables, read once, that the generator draws from and the expert searches by. The counts and
shares are rounded statistics over training rooms and placements (no validation game among them), so that
generated households look like ALFRED's.

Left out: everything without a receptacle (windows, chairs, light switches), which no text ever shows.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Literal, get_args

Room = Literal["kitchen", "livingroom", "bedroom", "bathroom"]
ROOMS: tuple[Room, ...] = get_args(Room)

_LAYOUTS = """\
kitchen
  Cabinet 2 8 10 11 13 15 20 21 27
  CoffeeMachine 1
  CounterTop 1 1 2 2 2 3 3 3 4
  DiningTable 0 0 0 0 1 1 1 2 3
  Drawer 0 2 3 4 4 5 7 12 27
  Fridge 1
  GarbageCan 1
  Microwave 1
  Shelf 0 0 0 0 0 0 0 3 3
  SideTable 0 0 0 0 0 0 0 0 1
  SinkBasin 1
  StoveBurner 4 4 4 4 4 4 4 4 6
  Toaster 1
livingroom
  ArmChair 0 1 1 1 1 1 2 2 3
  Cabinet 0 0 0 0 0 0 0 0 8
  CoffeeTable 0 0 1 1 1 1 1 2 2
  DiningTable 0 0 0 0 1 1 1 1 2
  Drawer 0 0 1 1 4 4 6 7 21
  Dresser 0 0 0 0 0 0 1 1 2
  GarbageCan 1
  Ottoman 0 0 0 0 0 0 0 1 1
  Shelf 0 0 0 0 0 1 3 8 14
  SideTable 0 0 1 1 1 2 2 3 5
  Sofa 1 1 1 1 1 1 1 2 2
  TVStand 0 0 0 0 0 1 1 1 2
bedroom
  ArmChair 0 0 0 0 0 0 0 1 3
  Bed 1 1 1 1 1 1 1 2 2
  Cabinet 0 0 0 0 0 0 0 1 4
  Desk 0 0 0 1 1 1 1 1 2
  DiningTable 0 0 0 0 0 0 0 1 1
  Drawer 0 2 2 3 5 5 10 11 17
  Dresser 0 0 0 0 0 1 1 1 2
  GarbageCan 1
  LaundryHamper 0 0 0 0 0 0 1 1 1
  Safe 0 0 0 0 0 0 0 1 1
  Shelf 0 0 0 1 1 2 5 8 14
  SideTable 0 0 0 1 1 1 1 2 2
bathroom
  BathtubBasin 0 0 0 1 1 1 1 1 1
  Cabinet 0 0 0 0 0 4 4 4 9
  Cart 0 0 0 0 0 0 0 0 1
  CounterTop 0 0 1 1 1 1 1 2 2
  Drawer 0 0 0 0 1 2 4 6 8
  Dresser 0 0 0 0 0 0 0 0 1
  GarbageCan 1
  HandTowelHolder 1 1 1 1 1 2 2 2 4
  Shelf 0 0 0 0 0 0 1 2 4
  SideTable 0 0 0 0 0 0 0 0 1
  SinkBasin 1 1 1 1 1 2 2 2 2
  Toilet 1
  ToiletPaperHanger 1
  TowelHolder 1 1 1 1 1 1 2 2 2
"""
"""Room, then receptacle type: nine quantiles (minimum to maximum) of its number per room; one if constant."""

_OBJECTS = """\
kitchen
  Apple 33 32 35 | Fridge 24 CounterTop 24 DiningTable 16 Microwave 12 GarbageCan 12 SinkBasin 9
  Book 5 3 2 | CounterTop 57 Cabinet 18 DiningTable 13 Drawer 6 Shelf 6
  Bowl 36 35 29 | Cabinet 35 CounterTop 21 Fridge 19 DiningTable 16 SinkBasin 3 Microwave 3
  Bread 55 32 13 | CounterTop 54 DiningTable 32 Fridge 13
  ButterKnife 36 35 24 | CounterTop 56 DiningTable 28 Drawer 8 SinkBasin 6
  CellPhone 4 4 3 | Drawer 45 CounterTop 39 DiningTable 17
  CreditCard 2 2 3 | CounterTop 47 Drawer 35 Shelf 17
  Cup 37 31 32 | CounterTop 22 Cabinet 22 Fridge 20 DiningTable 15 SinkBasin 9 Microwave 8
  DishSponge 35 31 33 | CounterTop 26 Cabinet 24 Drawer 20 DiningTable 14 SinkBasin 7 GarbageCan 5
  Egg 34 33 32 | Fridge 26 CounterTop 23 SinkBasin 13 GarbageCan 12 Microwave 12 DiningTable 12
  Fork 34 32 32 | CounterTop 44 DiningTable 24 Drawer 22 SinkBasin 9
  Glassbottle 8 8 7 | Cabinet 30 CounterTop 26 DiningTable 16 SinkBasin 9 Fridge 8 GarbageCan 7 Shelf 3
  HousePlant 32 3 0 | CounterTop 75 DiningTable 25
  Kettle 22 17 10 | StoveBurner 40 CounterTop 27 Cabinet 25 DiningTable 6
  Knife 38 34 28 | CounterTop 48 DiningTable 26 Drawer 19 SinkBasin 5
  Ladle 12 12 10 | CounterTop 44 Cabinet 24 Drawer 16 DiningTable 14
  Lettuce 42 34 22 | CounterTop 40 DiningTable 31 Fridge 22 SinkBasin 4
  Mug 36 35 28 | CounterTop 32 Fridge 18 Cabinet 17 DiningTable 13 Microwave 7 SinkBasin 7 CoffeeMachine 3
  Pan 69 26 4 | StoveBurner 49 CounterTop 31 Cabinet 9 DiningTable 5 Fridge 5
  Pen 2 3 2 | CounterTop 41 DiningTable 39 Drawer 15 GarbageCan 4
  Pencil 4 3 1 | Drawer 43 CounterTop 29 DiningTable 19 GarbageCan 8
  PepperShaker 29 34 37 | Cabinet 31 CounterTop 29 DiningTable 18 Drawer 16 Shelf 3 SideTable 3
  Plate 43 32 24 | Cabinet 40 CounterTop 28 DiningTable 16 Fridge 11
  Pot 53 39 9 | StoveBurner 70 CounterTop 16 Fridge 5 DiningTable 5 Cabinet 3
  Potato 34 34 31 | CounterTop 30 Fridge 25 DiningTable 17 SinkBasin 11 Microwave 10 GarbageCan 6
  SaltShaker 35 32 33 | CounterTop 31 Cabinet 31 DiningTable 18 Drawer 14 Shelf 3
  SoapBottle 35 34 30 | CounterTop 32 Cabinet 28 DiningTable 21 GarbageCan 10 Shelf 4
  Spatula 37 36 27 | CounterTop 45 DiningTable 26 Drawer 21 SinkBasin 8
  Spoon 36 34 28 | CounterTop 39 Drawer 26 DiningTable 23 SinkBasin 11
  SprayBottle 2 3 2 | CounterTop 37 Cabinet 30 DiningTable 21 GarbageCan 11
  Statue 5 8 2 | CounterTop 50 Shelf 45 DiningTable 6
  Tomato 35 33 32 | Fridge 32 CounterTop 30 DiningTable 20 GarbageCan 9 SinkBasin 7
  Vase 0 7 8 | Cabinet 32 CounterTop 32 Shelf 32
  WineBottle 15 14 14 | CounterTop 35 Cabinet 26 DiningTable 25 GarbageCan 8 Shelf 3
livingroom
  Book 12 10 7 | CoffeeTable 30 Dresser 26 Sofa 18 ArmChair 10 DiningTable 9 SideTable 5
  Bowl 5 5 2 | DiningTable 44 TVStand 21 CoffeeTable 19 SideTable 11 Shelf 5
  Box 59 22 5 | DiningTable 29 Sofa 25 CoffeeTable 23 SideTable 9 Dresser 5 TVStand 3
  Candle 1 2 7 | SideTable 41 DiningTable 25 CoffeeTable 21 TVStand 7 Drawer 3 Dresser 3
  CellPhone 7 9 6 | Dresser 20 CoffeeTable 17 SideTable 17 Sofa 11 Drawer 11 DiningTable 10 ArmChair 7 Ottoman 3
  CreditCard 31 31 39 | Sofa 19 CoffeeTable 17 ArmChair 12 SideTable 11 TVStand 10 DiningTable 8 Drawer 8 Dresser 7 Shelf 6
  DeskLamp 29 0 0 | SideTable 89 CoffeeTable 11
  HousePlant 67 0 0 | SideTable 60 CoffeeTable 29 DiningTable 6 TVStand 5
  KeyChain 35 31 33 | Sofa 19 CoffeeTable 16 SideTable 14 ArmChair 12 Drawer 10 DiningTable 8 TVStand 8 Dresser 6 Shelf 6
  Laptop 63 30 7 | Sofa 28 CoffeeTable 25 DiningTable 21 SideTable 9 TVStand 5 ArmChair 4 Dresser 3
  Newspaper 25 23 17 | Sofa 21 CoffeeTable 17 DiningTable 15 SideTable 13 Shelf 11 Dresser 9 ArmChair 8
  Pen 5 7 8 | CoffeeTable 36 Dresser 33 SideTable 14 TVStand 6 DiningTable 5 Drawer 3 Shelf 3
  Pencil 6 4 6 | CoffeeTable 40 SideTable 30 TVStand 9 DiningTable 9 Drawer 4 Dresser 3 Shelf 3
  Pillow 85 13 1 | Sofa 79 ArmChair 20
  Plate 15 13 4 | DiningTable 52 CoffeeTable 23 Shelf 12 Dresser 5 SideTable 5
  RemoteControl 31 36 33 | Sofa 21 CoffeeTable 21 SideTable 12 TVStand 11 ArmChair 10 DiningTable 9 Dresser 8 Drawer 4 Shelf 3
  Statue 22 35 39 | CoffeeTable 25 DiningTable 20 SideTable 18 Shelf 18 TVStand 11 Dresser 7
  Television 67 0 0 | TVStand 53 Dresser 39 CoffeeTable 8
  TissueBox 10 13 14 | CoffeeTable 34 DiningTable 23 SideTable 19 Shelf 11 TVStand 7 Dresser 3
  Vase 6 11 34 | Shelf 38 CoffeeTable 19 Dresser 14 DiningTable 12 SideTable 9 TVStand 6
  Watch 15 18 16 | CoffeeTable 27 SideTable 17 TVStand 15 Dresser 14 Drawer 12 DiningTable 11 Shelf 4
  WateringCan 5 2 1 | CoffeeTable 55 Shelf 39 SideTable 6
bedroom
  AlarmClock 49 33 18 | Desk 34 SideTable 22 Shelf 18 Dresser 17 DiningTable 8
  Book 41 33 25 | Bed 49 Desk 20 Drawer 12 Dresser 5 SideTable 5 Cabinet 3
  Bowl 26 14 6 | Desk 47 Shelf 26 Dresser 13 DiningTable 7 SideTable 5
  Box 9 0 0 | Desk 61 Shelf 39
  CD 34 29 37 | Desk 23 Drawer 22 SideTable 13 Dresser 12 Shelf 12 GarbageCan 5 DiningTable 4
  CellPhone 31 33 35 | Bed 29 Desk 20 Drawer 16 Dresser 10 SideTable 9 Shelf 6 ArmChair 3 DiningTable 3
  CreditCard 32 35 33 | Drawer 27 Desk 21 SideTable 17 Shelf 13 Dresser 12 DiningTable 4 ArmChair 3
  DeskLamp 67 5 0 | Desk 37 SideTable 34 Dresser 19 Shelf 9
  HousePlant 27 0 0 | Shelf 49 Cabinet 25 Desk 20 Dresser 6
  KeyChain 32 33 34 | Drawer 23 Desk 20 SideTable 16 Shelf 15 Dresser 13 DiningTable 5 ArmChair 4 Safe 3
  Laptop 52 33 15 | Bed 74 Desk 19 Dresser 3
  Mug 19 17 12 | Desk 37 SideTable 18 Shelf 14 Dresser 14 DiningTable 9 Cabinet 6
  Pen 32 33 35 | Desk 30 Dresser 17 SideTable 17 Drawer 16 Shelf 13 DiningTable 5
  Pencil 36 35 29 | Desk 26 SideTable 19 Drawer 18 Shelf 15 Dresser 11 DiningTable 6 GarbageCan 4
  Pillow 39 49 12 | Bed 99
  RemoteControl 4 7 3 | Desk 36 Drawer 26 SideTable 15 ArmChair 14 CounterTop 4
  Statue 9 2 1 | Shelf 39 Dresser 30 Desk 24 Drawer 4
  TeddyBear 28 0 0 | Bed 100
  TissueBox 5 5 3 | Desk 39 DiningTable 17 Shelf 15 SideTable 13 Drawer 11 Dresser 4
  Watch 1 2 2 | Drawer 23 DiningTable 21 Dresser 16 Desk 16 Shelf 16 SideTable 9
bathroom
  Candle 36 33 29 | CounterTop 30 Toilet 30 Cabinet 13 Drawer 9 Shelf 7 BathtubBasin 3
  Cloth 37 30 32 | BathtubBasin 27 Cabinet 19 CounterTop 18 Drawer 14 Toilet 7 SinkBasin 7 Shelf 5
  DishSponge 6 7 7 | CounterTop 30 BathtubBasin 24 Toilet 9 Shelf 9 Drawer 6 Cart 6 Cabinet 6 SinkBasin 6 GarbageCan 4
  HandTowel 79 20 1 | HandTowelHolder 95 CounterTop 5
  SoapBar 34 30 35 | CounterTop 22 Toilet 16 SinkBasin 12 Cabinet 11 BathtubBasin 11 Drawer 11 GarbageCan 8 Shelf 5
  SoapBottle 35 36 27 | CounterTop 28 Toilet 23 Cabinet 20 Shelf 9 GarbageCan 9 Drawer 4
  SprayBottle 34 32 34 | CounterTop 32 Toilet 26 Cabinet 16 GarbageCan 10 Shelf 6 Cart 3 SideTable 3
  TissueBox 10 8 6 | CounterTop 38 Shelf 28 Drawer 15 Cart 6 Cabinet 5 SideTable 5 Toilet 3
  ToiletPaper 25 54 20 | Toilet 24 CounterTop 22 Drawer 12 Cabinet 11 ToiletPaperHanger 11 GarbageCan 8 Shelf 6
  Towel 87 13 0 | TowelHolder 94 CounterTop 6
"""
"""Room, then object type: percent of rooms with 1, 2 and 3 of it | where they lie, in percent."""

_ATTRIBUTES = """\
cleanable Apple Bowl ButterKnife Cloth Cup DishSponge Egg Fork Kettle Knife Ladle Lettuce Mug Pan Plate Pot
cleanable Potato SoapBar Spatula Spoon Tomato
heatable Apple Bread Cup Egg Mug Plate Potato Tomato
coolable Apple Bowl Bread Cup Egg Lettuce Mug Pan Plate Pot Potato Tomato WineBottle
sliceable Apple Bread Egg Lettuce Potato Tomato
isReceptacleObject Bowl Box Cup Mug Pan Plate Pot
toggleable DeskLamp
fixed DeskLamp HousePlant Television
"""
"""What can be done with objects; everything that is not fixed can be picked up."""

_OPENABLE = {"cabinet": 0.82, "drawer": 0.83, "safe": 0.8, "fridge": 1.0, "microwave": 1.0}
"""Receptacle type -> share of its instances that open and close."""

_CONTAINS = """\
ArmChair Book Box CellPhone Cloth CreditCard KeyChain Laptop Newspaper Pillow RemoteControl
BathtubBasin Cloth DishSponge HandTowel SoapBar
Bed BaseballBat BasketBall Book CellPhone Laptop Pillow TennisRacket
Cabinet Book Bowl Box CD Candle Cloth Cup DishSponge Glassbottle HandTowel Kettle Ladle Mug Newspaper Pan
Cabinet PepperShaker Plate Plunger Pot SaltShaker SoapBar SoapBottle SprayBottle TissueBox ToiletPaper
Cabinet Vase WateringCan WineBottle
Cart Candle Cloth DishSponge HandTowel Plunger SoapBar SoapBottle SprayBottle TissueBox ToiletPaper
CoffeeMachine Mug
CoffeeTable Book Bowl Box Candle CellPhone CreditCard KeyChain Laptop Newspaper Pen Pencil Plate
CoffeeTable RemoteControl Statue TissueBox Vase Watch WateringCan
CounterTop AlarmClock Apple Book Bowl Bread ButterKnife CD Candle CellPhone Cloth CreditCard Cup
CounterTop DishSponge Egg Fork Glassbottle HandTowel Kettle KeyChain Knife Ladle Laptop Lettuce Mug Pan
CounterTop Pen Pencil PepperShaker Plate Pot Potato RemoteControl SaltShaker SoapBar SoapBottle Spatula
CounterTop Spoon SprayBottle Statue TissueBox ToiletPaper Tomato Vase WineBottle
Desk AlarmClock BasketBall Book Bowl Box CD CellPhone Cloth CreditCard KeyChain Laptop Mug Pen Pencil
Desk RemoteControl Statue TennisRacket TissueBox Vase Watch WateringCan
DiningTable AlarmClock Apple BaseballBat BasketBall Book Bowl Box Bread ButterKnife CD Candle CellPhone
DiningTable Cloth CreditCard Cup DishSponge Egg Fork Glassbottle Kettle KeyChain Knife Ladle Laptop
DiningTable Lettuce Mug Newspaper Pan Pen Pencil PepperShaker Plate Pot Potato RemoteControl SaltShaker
DiningTable SoapBottle Spatula Spoon SprayBottle Statue TennisRacket TissueBox Tomato Vase Watch
DiningTable WateringCan WineBottle
Drawer Book ButterKnife CD Candle CellPhone Cloth CreditCard DishSponge Fork HandTowel KeyChain Knife
Drawer Ladle Newspaper Pen Pencil PepperShaker RemoteControl SaltShaker SoapBar SoapBottle Spatula Spoon
Drawer SprayBottle TissueBox ToiletPaper Watch WateringCan
Dresser AlarmClock BasketBall Book Bowl Box CD Candle CellPhone Cloth CreditCard KeyChain Laptop Mug
Dresser Newspaper Pen Pencil Plate RemoteControl SprayBottle Statue TennisRacket TissueBox ToiletPaper
Dresser Vase Watch WateringCan
Fridge Apple Bowl Bread Cup Egg Glassbottle Lettuce Mug Pan Plate Pot Potato Tomato WineBottle
GarbageCan Apple Bread CD Cloth DishSponge Egg HandTowel Lettuce Newspaper Pen Pencil Potato SoapBar
GarbageCan SoapBottle SprayBottle TissueBox ToiletPaper Tomato WineBottle
HandTowelHolder HandTowel
LaundryHamper Cloth
Microwave Apple Bowl Bread Cup Egg Glassbottle Mug Plate Potato Tomato
Ottoman Book Box CellPhone CreditCard KeyChain Laptop Newspaper Pillow RemoteControl
Safe CD CellPhone CreditCard KeyChain Statue Vase
Shelf AlarmClock Book Bowl Box CD Candle CellPhone Cloth CreditCard Cup DishSponge Glassbottle HandTowel
Shelf Kettle KeyChain Mug Newspaper Pen Pencil PepperShaker Plate Pot RemoteControl SaltShaker SoapBar
Shelf SoapBottle SprayBottle Statue TissueBox ToiletPaper Vase Watch WateringCan WineBottle
SideTable AlarmClock Apple BaseballBat BasketBall Book Bowl Box Bread ButterKnife CD Candle CellPhone
SideTable Cloth CreditCard Cup DishSponge Egg Fork HandTowel Kettle KeyChain Knife Laptop Lettuce Mug
SideTable Newspaper Pan Pen Pencil PepperShaker Plate Pot Potato RemoteControl SaltShaker SoapBar
SideTable SoapBottle Spatula Spoon SprayBottle Statue TennisRacket TissueBox ToiletPaper Tomato Vase
SideTable Watch WateringCan WineBottle
SinkBasin Apple Bowl ButterKnife Cloth Cup DishSponge Egg Fork Glassbottle HandTowel Kettle Knife Ladle
SinkBasin Lettuce Mug Pan Plate Pot Potato SoapBar Spatula Spoon Tomato
Sofa Book Box CellPhone CreditCard KeyChain Laptop Newspaper Pillow RemoteControl
StoveBurner Kettle Pan Pot
TVStand TissueBox
Toilet Candle Cloth DishSponge HandTowel SoapBar SoapBottle SprayBottle TissueBox ToiletPaper
ToiletPaperHanger ToiletPaper
TowelHolder Towel
"""
"""Receptacle type, then the object types it can take; a type may have several lines."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stock:
    """How an object type occurs in one kind of room."""

    shares: tuple[float, float, float]  # probability of one, two and three instances
    places: dict[str, float]  # receptacle type -> share of the instances that lie there


@cache
def layouts() -> dict[str, dict[str, tuple[int, ...]]]:
    """Return room -> receptacle type -> quantiles of its number per room, minimum to maximum."""
    return {
        room: {words[0]: tuple(map(int, words[1:])) for words in map(str.split, lines)}
        for room, lines in _by_room(_LAYOUTS).items()
    }


@cache
def stocks() -> dict[str, dict[str, Stock]]:
    """Return room -> object type -> how it occurs there."""
    found: dict[str, dict[str, Stock]] = {}
    for room, lines in _by_room(_OBJECTS).items():
        found[room] = {}
        for line in lines:
            counts, _, places = line.partition("|")
            name, *percents = counts.split()
            one, two, three = (int(percent) / 100 for percent in percents)
            words = places.split()
            shares = {kind: int(percent) / 100 for kind, percent in zip(words[::2], words[1::2])}
            found[room][name] = Stock(shares=(one, two, three), places=shares)
    return found


@cache
def attributes() -> dict[str, frozenset[str]]:
    """Return attribute -> object types, e.g. "heatable" -> {"Apple", ...}."""
    return _merged(_ATTRIBUTES)


@cache
def contains() -> dict[str, frozenset[str]]:
    """Return receptacle type -> object types it can take."""
    return _merged(_CONTAINS)


def p_openable(receptacle: str) -> float:
    """Return the probability that a receptacle of this type opens and closes."""
    return _OPENABLE.get(receptacle.lower(), 0.0)


@cache
def likely_places(kind: str) -> dict[str, float]:
    """Return lower-cased receptacle type -> how likely an object type lies there, over all rooms.

    >>> max(likely_places("pillow"), key=likely_places("pillow").get)
    'bed'
    """
    found: dict[str, float] = {}
    for stock in stocks().values():
        for name, entry in stock.items():
            if name.lower() == kind:
                for place, share in entry.places.items():
                    found[place.lower()] = found.get(place.lower(), 0.0) + share * sum(entry.shares)
    return found


def _by_room(table: str) -> dict[str, list[str]]:
    rooms: dict[str, list[str]] = {}
    for line in table.splitlines():
        if line.startswith(" "):
            rooms[next(reversed(rooms))].append(line)
        else:
            rooms[line] = []
    return rooms


def _merged(table: str) -> dict[str, frozenset[str]]:
    found: dict[str, frozenset[str]] = {}
    for name, *members in map(str.split, table.splitlines()):
        found[name] = found.get(name, frozenset()) | frozenset(members)
    return found
