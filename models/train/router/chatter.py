"""Short requests of all kinds, put together from patterns and words: what a router must leave to the base model.

Sampled prompts are mostly long; what people type is often short, and short texts are easily near to anything.
"""

from __future__ import annotations

import random

THINGS = """
    volcano glacier tornado comet galaxy atom molecule enzyme neuron muscle skeleton kidney vitamin protein bacteria antibiotic allergy migraine
    bicycle airplane helicopter tractor engine battery turbine magnet laser telescope microscope radio television printer keyboard robot satellite
    algorithm compiler database spreadsheet firewall browser website blog podcast newsletter password blockchain variable loop pointer array
    democracy monarchy parliament constitution election treaty revolution empire colony tax tariff pension mortgage loan insurance invoice receipt
    novel sonnet ballad essay fable proverb metaphor alphabet dictionary grammar accent dialect opera symphony violin trumpet drum ballet sculpture
    mosaic cathedral castle bridge tunnel lighthouse museum library theatre stadium airport harbour market bakery pharmacy hospital kindergarten
    onion garlic lentil mushroom avocado mango pineapple cheese yogurt noodle dumpling omelette pancake sausage soup salad sauce spice sourdough
    elephant giraffe dolphin octopus eagle sparrow spider butterfly beetle tortoise crocodile hamster parrot goldfish wolf hedgehog squirrel oak
    birch tulip cactus fern moss algae desert jungle swamp river waterfall island peninsula canyon meadow harvest orchard vineyard greenhouse
    friendship jealousy patience courage gratitude loneliness ambition justice freedom happiness memory dream habit ritual tradition festival
    wedding funeral birthday reunion interview salary promotion strike startup franchise brand logo slogan budget deadline project team leader
    chess poker football tennis marathon yoga karate sailing skiing climbing camping knitting pottery photography calligraphy origami juggling
""".split()
PEOPLE = """
    Aristotle Confucius Archimedes Galileo Newton Curie Tesla Edison Gutenberg Columbus Magellan Napoleon Caesar Lincoln Gandhi Mandela Churchill
    Beethoven Bach Chopin Picasso Rembrandt Michelangelo Goethe Dickens Tolstoy Homer Cervantes Kafka Austen Chaplin Hitchcock Gagarin Hawking
""".split()
PLACES = """
    Norway Portugal Greece Egypt Kenya Morocco India Nepal China Korea Thailand Australia Canada Mexico Peru Chile Argentina Cuba Scotland Ireland
    Poland Hungary Romania Turkey Iran Siberia Alaska Texas Hawaii Bavaria Tuscany Sicily Andalusia Provence Transylvania Patagonia Antarctica
""".split()
QUALITIES = "big old fast heavy expensive dangerous popular rare healthy loud strange useful difficult beautiful famous cheap deep strong".split()
DEEDS = (
    """
    bake bread, paint a wall, learn a language, write a novel, build a shed, train a dog, grow herbs, repair a roof, plan a party, lose weight,
    save money, read faster, draw a portrait, cook rice, brew beer, raise chickens, fix a leak, sew a dress, make friends, quit smoking, pass an exam,
    teach maths, clean a carpet, choose a laptop, sell a house, start a band, record a song, edit a video, polish silver, store potatoes, meditate,
    install Linux, debug a program, parse a file, sort an array, merge two branches, encrypt a disk, host a website, scan a network, train a model,
    write a thesis, give a speech, apply for a visa, change a lock, catch a fish, ride a horse, sleep better, stop worrying, move abroad, adopt a cat
""".replace("\n", " ")
    .strip()
    .split(", ")
)
MOODS = "sad tired happy angry nervous bored proud confused lonely excited homesick curious grateful jealous".split()
KINDS = "poem story joke song riddle haiku letter speech essay tweet toast review summary dialogue monologue".split()
TONGUES = "French Spanish German Italian Japanese Russian Latin Arabic Hindi Swedish Polish Dutch Greek Turkish Korean".split()
TOOLS = "Python Java JavaScript Rust C++ Go Excel Git Docker Linux HTML CSS Bash React Kubernetes TypeScript".split()

PATTERNS = (
    """
    What is a {thing}?|What is {thing} made of?|What are {thing}s good for?|What is the difference between a {thing} and a {thing}?
    What is the history of the {thing}?|What is the most {quality} {thing} in the world?|What is {place} famous for?
    What does {thing} mean?|What do people in {place} eat?|What happens when you {deed}?|What did {person} do?|What is the meaning of {thing}?
    What is your favourite {thing}?|What is the best way to {deed}?|What are the rules of {thing}?|What should I know before I {deed}?
    Who invented the {thing}?|Who was {person}?|Who is the most {quality} person in {place}?|Who wrote about the {thing}?|Who would win, {person} or {person}?
    When was the {thing} invented?|When did {person} live?|When is the best time to visit {place}?|When should I {deed}?
    Where is {place}?|Where was {person} born?|Where do I find a good {thing}?|Where does the word {thing} come from?|Where can I learn to {deed}?
    Why is the {thing} so {quality}?|Why do people {deed}?|Why did {person} become famous?|Why is {place} so {quality}?|Why do I feel {mood}?
    How does a {thing} work?|How do I {deed}?|How do I {deed} without a {thing}?|How {quality} is a {thing}?|How old is the {thing}?|How long does it take to {deed}?
    How can I stop feeling {mood}?|How do you say {thing} in {tongue}?|How do I use {tool}?|How do I make a {thing} in {tool}?|How far is {place} from {place}?
    How did {person} die?|How many {thing}s are there in {place}?|How much does a {thing} cost?|How is {thing} different from {thing}?
    Is {thing} healthy?|Is {place} {quality}?|Is it hard to {deed}?|Is a {thing} {quality}?|Is {tool} better than {tool}?|Is it rude to {deed} in {place}?
    Can you {deed}?|Can a {thing} be {quality}?|Can I {deed} in {place}?|Could you explain {thing}?|Do I need a {thing} to {deed}?|Does {thing} exist?
    Are {thing}s {quality}?|Are you {mood}?|Should I {deed}?|Should I buy a {thing} or a {thing}?|Which {thing} is the most {quality}?|Which country is more {quality}, {place} or {place}?
    Write a {kind} about a {thing}.|Write a {kind} about {place}|Write a {kind} for {person}.|Write a {quality} {kind}|Write me a {kind} that makes me {mood}
    Write a function in {tool} that counts {thing}s|Write a {tool} program about a {thing}.|Tell me a {kind} about {person} and a {thing}.|Tell me about {place}.|Tell me about {thing}
    Explain {thing} to a child.|Explain {tool} in simple words|Explain why {place} is {quality}.|Describe a {thing}.|Describe {place} in spring.|Describe {person} in three words
    List ten {thing}s.|List facts about {place}.|Name five {quality} {thing}s.|Name a {thing} from {place}|Give me an example of a {thing}.|Give me ideas for a {kind}
    Give me advice on how to {deed}.|Compare {place} and {place}.|Compare a {thing} with a {thing}|Suggest a {kind} about {thing}s.|Suggest three ways to {deed}.
    Recommend a book about {person}.|Recommend a {quality} {thing}|Translate {thing} into {tongue}.|Translate this {kind} into {tongue}|Help me {deed}.|Help me with {tool}
    Plan a trip to {place}.|Plan a day in {place} for me|Make a list of {thing}s|Make me a plan to {deed}.|Create a {kind} about {thing}.|Design a {thing}
    Imagine you are a {thing}.|Imagine {person} in {place}|Pretend to be {person}.|Act as a {thing} seller|You are {person}. Introduce yourself.|Convince me to {deed}.
    I am {mood}.|I feel {mood} today|I want to {deed}.|I want to {deed}, where do I start?|I need help with my {thing}|I think {place} is {quality}.|I love {thing}!
    I have never been to {place}|I would like to know more about {person}|I am afraid of {thing}s.|I broke my {thing}|My {thing} is too {quality}.|My friend is {mood}. What can I do?
    My {thing} does not work, why?|We visited {place} last year|We are {mood} about the {thing}|Let's talk about {thing}.|Let's {deed}|Hello, do you like {thing}s?|Hi, who are you?
    Thanks!|Thank you, that was {quality}.|Good afternoon!|Good evening, {person}|Nice to meet you|Sorry, I meant {thing}.|No, not {thing}|Yes, please|Go on|And {thing}?
    Use {thing} in a sentence.|Spell {thing}|Define {thing}|Is {thing} a noun?|Complete: the {thing} is {quality} because|Finish the {kind}: there was a {thing} in {place}
    Solve: {number} + {number}|What is {number} times {number}?|Is {number} a prime number?|Convert {number} to binary|Round {number} to the next hundred|Half of {number}?
    Rewrite: the {thing} was {quality}.|Shorten: the {quality} {thing} of {place} is {quality} and {quality}|Is this correct: a {thing} are {quality}|Put {thing}, {thing} and {thing} in order
    Summarise the life of {person}.|Summarize what a {thing} is|Discuss {thing} and {thing}.|Analyse a {kind} by {person}|Argue against {thing}.|Debate: {thing} or {thing}?
    Fix my {tool} code|Why is my {tool} {thing} so slow?|What is new in {tool}?|Teach me {tool}|Teach me to {deed}|Set up {tool} for a {thing}|Show me how to {deed}|Show me a {thing}
    Add a {thing} to my {kind}|Book tips for {place}|Play a game with me about {thing}s|Send me your thoughts on {thing}|Find a rhyme for {thing}|Find mistakes in my {kind}|Read me a {kind}
    Order of the {thing}s by age|Remind me what a {thing} is|Call it {thing}|Turn the {kind} into a {kind}|Change the end of the {kind}|Choose a {thing} for me|Count to ten in {tongue}
""".strip()
    .replace("\n", "|")
    .split("|")
)

SLOTS = {
    **{
        "thing": THINGS,
        "person": PEOPLE,
        "place": PLACES,
        "quality": QUALITIES,
        "deed": DEEDS,
        "mood": MOODS,
        "kind": KINDS,
    },
    **{"tongue": TONGUES, "tool": TOOLS},
}


def chatter(rng: random.Random) -> str:
    """One of the patterns with words in it, now and then without capitals or the mark at its end."""
    parts = rng.choice(PATTERNS).strip().split("{")
    text = parts[0]
    for part in parts[1:]:
        slot, rest = part.split("}")
        text += (str(rng.randint(2, 9999)) if slot == "number" else rng.choice(SLOTS[slot])) + rest
    if rng.random() < 0.2:
        text = text.lower()
    return text.rstrip(".?!") if rng.random() < 0.2 else text
