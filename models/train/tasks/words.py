"""Words of the tasks, dealt out to their parts."""

from __future__ import annotations

import random

from .task import Part, deal, invented

INVENTED_SHARE = 0.35

NAMES = deal(
    "name",
    "Anna Ben Carla David Emma Felix Grace Henry Irene Jack Karen Leo Maria Noah Olivia Paul Rachel Sam Tina Victor Wendy Alice "
    "Brian Chloe Daniel Elena Frank Gina Hugo Isabel James Kevin Laura Mark Nina Oscar Peter Rosa Steve Tom Lucas Sophie "
    "Martin Julia Robert Helen George Amy Fatima Ahmed Yuki Chen Priya Ivan Olga Pierre Lars Arthur Bella Clara Derek Edith "
    "Gavin Hannah Jonas Lucy Mario Nora Philip Simon Teresa Walter Zoe Kofi Mei Ingrid Tariq Bruno Celia Dmitri Esther".split(),
)
SURNAMES = deal(
    "surname",
    "Smith Jones Miller Brown Wilson Taylor Clark Lewis Walker Hall Young King Wright Scott Green Baker Adams Nelson Carter "
    "Mitchell Turner Parker Collins Murphy Cook Rogers Reed Bailey Cooper Ward Gray Watson Brooks Kelly Price Bennett Wood "
    "Ross Hughes Foster Larsen Novak Rossi Tanaka Okafor Silva Haddad Lindqvist Moreau Keller Costa Ivanova Duarte".split(),
)
CITIES = deal(
    "city",
    "Paris,London,Berlin,Madrid,Rome,Vienna,Tokyo,Sydney,Chicago,Boston,Dallas,Denver,Miami,Seattle,Toronto,Montreal,Lima,"
    "Cairo,Nairobi,Mumbai,Delhi,Bangkok,Hanoi,Seoul,Beijing,Singapore,Dublin,Oslo,Stockholm,Helsinki,Warsaw,Prague,Budapest,"
    "Athens,Lisbon,Zurich,Brussels,Munich,Hamburg,Milan,Naples,Kyoto,Austin,Phoenix,Glasgow,Geneva,Houston,Atlanta,Ottawa,"
    "Osaka,Manila,Jakarta,Istanbul,Copenhagen,Valencia,Florence,Nashville,Krakow,Bergen,Leeds,Turin,Graz,Porto,Bogota".split(
        ","
    ),
)
THINGS = deal(
    "thing",
    "lamp,chair,table,kettle,toaster,blender,backpack,suitcase,notebook,keyboard,monitor,printer,headset,camera,"
    "tripod,helmet,jacket,sweater,blanket,pillow,mattress,mirror,curtain,carpet,clock,radio,speaker,heater,"
    "fan,vase,teapot,mug,bottle,pan,ladder,hammer,drill,tent,bicycle,scooter,racket,puzzle,guitar,violin,"
    "magnet,candle,basket,bucket,broom,cushion,stool,wallet,satchel,telescope".split(","),
)

KNOWN = {word.lower() for lists in (NAMES, SURNAMES, CITIES, THINGS) for words in lists.values() for word in words}


def person(part: Part, rng: random.Random) -> str:
    """A first name. Training has invented ones too, as have all words drawn by these functions."""
    return drawn(NAMES[part], part, rng, capital=True)


def surname(part: Part, rng: random.Random) -> str:
    return drawn(SURNAMES[part], part, rng, capital=True)


def city(part: Part, rng: random.Random) -> str:
    return drawn(CITIES[part], part, rng, capital=True)


def thing(part: Part, rng: random.Random) -> str:
    return drawn(THINGS[part], part, rng)


def drawn(words: list[str], part: Part, rng: random.Random, capital: bool = False) -> str:
    if part != "train" or rng.random() >= INVENTED_SHARE:
        return rng.choice(words)
    word = invented(rng)
    return drawn(words, part, rng, capital) if word in KNOWN else word.capitalize() if capital else word
