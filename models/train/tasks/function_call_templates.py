"""Sentences and values of the function-call task, in two disjoint halves: `train` and `heldout`.

A template that starts in lower case is an imperative and may follow an opener ("Please ..."), and a closer; one that starts in upper
case or with a slot stands alone.
"""

OPENERS = {
    "train": [
        "",
        "",
        "",
        "Please ",
        "Can you ",
        "Could you ",
        "Hey, ",
        "I want you to ",
        "Now ",
        "OK, ",
        "Hi, please ",
    ],
    "heldout": ["", "", "Would you ", "Kindly ", "I need you to "],
}
CLOSERS = {
    "train": ["", "", "", ".", ".", " please", " please.", ", thanks", ". Thanks!", " now"],
    "heldout": ["", ".", " for me", ", thank you."],
}

TEMPLATES = {
    "set_alarm": {
        "train": [
            "set an alarm for {time}",
            "wake me up at {time}",
            "set my alarm to {time}",
            "create an alarm at {time}",
            "Alarm at {time}",
            "put an alarm on for {time}",
            "get me up at {time}",
            "I have to get up at {time}",
            "I need an alarm at {time}",
            "make the alarm ring at {time}",
            "add an alarm for {time}",
            "My alarm should go off at {time}",
            "ring the alarm at {time}",
            "An alarm at {time} would be good",
            "I want to wake up at {time}",
        ],
        "heldout": [
            "wake me at {time}",
            "schedule an alarm for {time}",
            "have the alarm ring at {time}",
            "Make sure I am awake at {time}",
            "I must wake up at {time}",
        ],
    },
    "set_timer": {
        "train": [
            "set a timer for {minutes} minutes",
            "start a {minutes} minute timer",
            "count down {minutes} minutes",
            "Timer for {minutes} minutes",
            "start a timer of {minutes} minutes",
            "give me a {minutes} minute timer",
            "I need a timer for {minutes} minutes",
            "put {minutes} minutes on the timer",
            "run a {minutes} minute countdown",
            "set the timer to {minutes} minutes",
            "tell me when {minutes} minutes are over",
            "begin a countdown of {minutes} minutes",
            "ping me after {minutes} minutes",
            "The timer should run for {minutes} minutes",
            "I want a timer of {minutes} minutes",
        ],
        "heldout": [
            "set a {minutes} minute timer",
            "start the timer for {minutes} minutes",
            "start counting down from {minutes} minutes",
            "I need a {minutes} minute timer",
            "let me know when {minutes} minutes have passed",
        ],
    },
    "send_message": {
        "train": [
            "send {to} a message saying {text}",
            "tell {to} that {text}",
            "text {to} that {text}",
            "message {to}: {text}",
            "let {to} know that {text}",
            "write to {to} that {text}",
            "send a message to {to}: {text}",
            "send {to} this message: {text}",
            "text {to}: {text}",
            "write {to} a message that {text}",
            "tell {to} {text}",
            "send the message {text} to {to}",
            "Message for {to}: {text}",
            "drop {to} a line that {text}",
            "I want to tell {to} that {text}",
            "{to} should know that {text}",
        ],
        "heldout": [
            "send a text to {to} saying {text}",
            "inform {to} that {text}",
            "send {to} the message {text}",
            "write a message to {to}: {text}",
            "I have to let {to} know that {text}",
        ],
    },
    "get_weather": {
        "train": [
            "What is the weather in {city} on {day}?",
            "What's the weather like in {city} on {day}?",
            "Weather in {city} on {day}",
            "show me the weather for {city} on {day}",
            "How is the weather in {city} on {day}?",
            "Will it rain in {city} on {day}?",
            "give me the forecast for {city} on {day}",
            "On {day}, what will the weather be in {city}?",
            "check the weather in {city} for {day}",
            "Is it going to be sunny in {city} on {day}?",
            "tell me the {day} weather in {city}",
            "Forecast for {day} in {city}",
            "I want to know the weather in {city} on {day}",
            "How warm will {city} be on {day}?",
            "look up the {day} forecast for {city}",
        ],
        "heldout": [
            "tell me the weather in {city} on {day}",
            "What will the weather be like in {city} on {day}?",
            "show the {day} forecast for {city}",
            "Will it be cold in {city} on {day}?",
            "check the forecast for {city} on {day}",
        ],
    },
    "play_music": {
        "train": [
            "play {title} by {artist}",
            "put on {title} by {artist}",
            "I want to hear {title} by {artist}",
            "play the song {title} by {artist}",
            "start playing {title} from {artist}",
            "play {artist}'s song {title}",
            "listen to {title} by {artist}",
            "play me {title} by {artist}",
            "Let's hear {title} by {artist}",
            "play the track {title} from {artist}",
            "play something by {artist}: {title}",
            "put {artist}'s {title} on",
            "I'd like to listen to {title} by {artist}",
            "start {title} by {artist}",
            "The song {title} by {artist}",
        ],
        "heldout": [
            "put on the song {title} by {artist}",
            "start playing {title} by {artist}",
            "I would love to hear {title} by {artist}",
            "play the tune {title} by {artist}",
            "let me hear {title} by {artist}",
        ],
    },
    "add_event": {
        "train": [
            "add {title} to my calendar on {day} at {time}",
            "schedule {title} for {day} at {time}",
            "put {title} on {day} at {time} in my calendar",
            "create an event {title} on {day} at {time}",
            "I have {title} on {day} at {time}",
            "plan {title} for {day} at {time}",
            "make a calendar entry for {title} on {day} at {time}",
            "note {title} on {day} at {time}",
            "enter {title} for {day} at {time}",
            "book {title} in my calendar for {day}, {time}",
            "There is {title} on {day} at {time}",
            "On {day} at {time} I have {title}",
            "add an event on {day} at {time}: {title}",
            "schedule {title} at {time} on {day}",
            "My {title} is on {day} at {time}",
        ],
        "heldout": [
            "put {title} in my calendar on {day} at {time}",
            "add {title} as an event on {day} at {time}",
            "mark {title} on {day} at {time}",
            "I've got {title} on {day} at {time}",
            "create a calendar entry {title} for {day} at {time}",
        ],
    },
    "convert_currency": {
        "train": [
            "convert {amount} {from} to {to}",
            "How much is {amount} {from} in {to}?",
            "change {amount} {from} into {to}",
            "What are {amount} {from} in {to}?",
            "exchange {amount} {from} for {to}",
            "{amount} {from} in {to}",
            "turn {amount} {from} into {to}",
            "I have {amount} {from}, what is that in {to}?",
            "What is {amount} {from} worth in {to}?",
            "calculate {amount} {from} in {to}",
            "tell me how many {to} I get for {amount} {from}",
            "How many {to} is {amount} {from}?",
            "swap {amount} {from} to {to}",
            "give me {amount} {from} in {to}",
            "I want to change {amount} {from} to {to}",
        ],
        "heldout": [
            "convert {amount} {from} into {to}",
            "exchange {amount} {from} to {to}",
            "What do I get in {to} for {amount} {from}?",
            "How much are {amount} {from} worth in {to}?",
            "tell me what {amount} {from} is in {to}",
        ],
    },
    "book_table": {
        "train": [
            "book a table for {people} at {restaurant} at {time}",
            "reserve a table at {restaurant} for {people} people at {time}",
            "get us a table for {people} at {restaurant}, {time}",
            "make a reservation at {restaurant} for {people} at {time}",
            "Table for {people} at {restaurant} at {time}",
            "We are {people} people and want to eat at {restaurant} at {time}",
            "book {restaurant} for {people} people at {time}",
            "reserve {people} seats at {restaurant} for {time}",
            "I need a table for {people} at {restaurant} at {time}",
            "At {time} we want a table for {people} at {restaurant}",
            "make a booking for {people} at {restaurant} at {time}",
            "find us {people} seats at {restaurant} at {time}",
            "hold a table at {restaurant} at {time} for {people}",
            "I'd like to book a table at {restaurant} for {people} at {time}",
            "order a table for {people} people at {restaurant} at {time}",
        ],
        "heldout": [
            "reserve a table for {people} at {restaurant} at {time}",
            "book us a table at {restaurant} for {people} people at {time}",
            "We need a table for {people} at {restaurant} at {time}",
            "make a reservation for {people} at {restaurant} at {time}",
            "book {people} seats at {restaurant} for {time}",
        ],
    },
    "set_light": {
        "train": [
            "set the light in the {room} to {brightness} percent",
            "dim the {room} light to {brightness} percent",
            "turn the {room} lights to {brightness} percent",
            "make the {room} {brightness} percent bright",
            "put the {room} lamp at {brightness} percent",
            "{room} light to {brightness} percent",
            "Lights in the {room} at {brightness} percent",
            "change the {room} brightness to {brightness} percent",
            "I want the {room} light at {brightness} percent",
            "set {room} lighting to {brightness} percent",
            "bring the lights in the {room} to {brightness} percent",
            "The {room} should have {brightness} percent light",
            "turn the light of the {room} to {brightness} percent",
            "light up the {room} to {brightness} percent",
            "give me {brightness} percent light in the {room}",
        ],
        "heldout": [
            "set the {room} lights to {brightness} percent",
            "dim the lights in the {room} to {brightness} percent",
            "change the light in the {room} to {brightness} percent",
            "I need {brightness} percent light in the {room}",
            "put the lights of the {room} at {brightness} percent",
        ],
    },
    "add_item": {
        "train": [
            "add {quantity} {item} to my shopping list",
            "put {quantity} {item} on the shopping list",
            "I need to buy {quantity} {item}",
            "We need {quantity} {item}",
            "add {quantity} {item} to the list",
            "Shopping list: {quantity} {item}",
            "remember to buy {quantity} {item}",
            "note {quantity} {item} for the shop",
            "I want {quantity} {item} on my list",
            "write down {quantity} {item}",
            "put {quantity} {item} in the cart",
            "remind me to get {quantity} {item}",
            "We are out of {item}, get {quantity}",
            "include {quantity} {item} in my groceries",
            "buy {quantity} {item}",
        ],
        "heldout": [
            "put {quantity} {item} on my shopping list",
            "add {quantity} {item} to the groceries",
            "I have to buy {quantity} {item}",
            "write {quantity} {item} on the list",
            "We should get {quantity} {item}",
        ],
    },
}

WORDS = {
    "train": {
        "name": "Anna Ben Carla David Emma Felix Grace Henry Irene Jack Karen Leo Maria Noah Olivia Paul Rachel Sam Tina Victor "
        "Wendy Alice Brian Chloe Daniel Elena Frank Gina Hugo Isabel James Kevin Laura Mark Nina Oscar Peter Rosa Steve Tom "
        "Mom Dad Lucas Sophie Martin Julia Robert Helen George Amy Fatima Ahmed Yuki Chen Priya Ivan Olga Pierre Lars".split(),
        "city": "Paris,London,Berlin,Madrid,Rome,Vienna,Tokyo,Sydney,Chicago,Boston,Dallas,Denver,Miami,Seattle,Toronto,Montreal,"
        "New York,San Francisco,Los Angeles,Mexico City,Lima,Cairo,Nairobi,Mumbai,Delhi,Bangkok,Hanoi,Seoul,Beijing,Singapore,"
        "Dublin,Oslo,Stockholm,Helsinki,Warsaw,Prague,Budapest,Athens,Lisbon,Zurich,Brussels,Munich,Hamburg,Milan,Naples,"
        "Cape Town,Buenos Aires,Kyoto,Austin,Phoenix".split(","),
        "day": "Monday,Tuesday,Wednesday,Friday,Sunday,May 3,June 12,July 21,March 8,April 30,January 15,August 9,November 27".split(
            ","
        ),
        "adjective": "Silver Golden Broken Midnight Lonely Electric Summer Crystal Burning Distant Sweet Paper Velvet Wild "
        "Hidden Endless Purple Neon Gentle Hollow Lucky Rainy Sleepy Magic Rusty".split(),
        "noun": "Rain River Sky Heart Road Dreams Fire Stars Morning Dance Garden Mirror Letters Highway Ocean Shadow Train "
        "Echo Diamonds Ghost Memories Island Window Sunday".split(),
        "band": "The Foxes,Blue Harbor,Mia Stone,Jon Carter,The Lanterns,Red Canyon,Lena Park,The Night Owls,Oscar Lane,Violet Sun,"
        "The Wanderers,Kate Moon,Paper Tigers,Max Rivers,Northern Line,Ella Grey,The Sparrows,Iron Valley,Sara Wells,Little Giants,"
        "Coldplay,Queen,Adele,The Beatles,Madonna,Drake,Nirvana,Abba".split(","),
        "room": "kitchen,bedroom,living room,bathroom,hallway,garage,office,dining room,basement,attic,guest room,studio".split(
            ","
        ),
        "event": "dentist appointment,team meeting,yoga class,lunch with Anna,piano lesson,budget review,doctor visit,book club,"
        "project call,haircut,birthday party,football practice,job interview,parents evening,car inspection,coffee with Ben,"
        "staff training,movie night,sales meeting,swimming lesson,dinner with Paul,design review,choir practice,tax appointment".split(
            ","
        ),
        "item": "apples,eggs,bananas,tomatoes,onions,lemons,carrots,potatoes,oranges,bottles of milk,cans of beans,bags of rice,"
        "loaves of bread,boxes of tea,bars of soap,peppers,cucumbers,yogurts,cups of cream,packs of butter,jars of honey,"
        "bottles of water,rolls of tape,light bulbs,pears,sausages".split(","),
        "currency": "USD EUR GBP JPY CAD AUD CNY INR MXN BRL ZAR KRW".split(),
        "subject": "the train,my flight,the package,the meeting,the bus,our dinner,the car,the doctor,my boss".split(
            ","
        ),
        "predicate": "will be late,is on the way,has arrived,is ready,needs more time,was cancelled,will be there soon,is running behind,"
        "starts in an hour,is almost done".split(","),
        "text": "I will be late,dinner is ready,I am on my way,the meeting starts at noon,I miss you,I left the keys at home,"
        "we need more milk,happy birthday,the door is open,I got the job,see you tomorrow,I can not come today,call me back,"
        "the kids are asleep,I found your phone,thank you for the flowers,the report is finished,I am stuck in traffic,"
        "good luck with the exam,the party is at my place".split(","),
        "place_adjective": "Golden,Blue,Old,Green,Little,Red,Royal,Hungry,Happy,Silver,Grand,White".split(","),
        "place_noun": "Fork,Lion,Garden,Table,Oak,Kitchen,Dragon,Spoon,Anchor,Barrel,Rose,Bear".split(","),
        "place": "Casa Luna,Bella Napoli,Sakura House,Chez Marie,Taj Palace,Luigi's,El Toro,Burger Barn,Pasta Palace,Noodle Bar".split(
            ","
        ),
    },
    "heldout": {
        "name": "Arthur Bella Clara Derek Edith Gavin Hannah Jonas Lucy Mario Nora Philip Simon Teresa Walter Zoe Kofi Mei".split(),
        "city": "Glasgow,Geneva,Houston,Atlanta,Ottawa,Osaka,Manila,Jakarta,Istanbul,Copenhagen,Valencia,Florence,San Diego,"
        "Las Vegas,Hong Kong,Nashville".split(","),
        "day": "Thursday,Saturday,May 17,October 4,December 22,September 6".split(","),
        "adjective": "Frozen Scarlet Quiet Ancient Dancing Shining Winter Secret".split(),
        "noun": "Thunder Bridge Valley Lights Horizon Feather Planet Whisper".split(),
        "band": "The Ravens,Green Meadow,Tom Harper,Stella Wood,The Drifters,Radiohead,Black Mountain,Ruby Lake,Metallica".split(
            ","
        ),
        "room": "nursery,library,laundry room,playroom,pantry".split(","),
        "event": "eye exam,tennis match,board meeting,lunch with Clara,guitar lesson,vet appointment,wedding rehearsal,chess club,"
        "marketing call,cooking class".split(","),
        "item": "peaches,mushrooms,avocados,bottles of juice,cans of soup,bags of flour,boxes of cereal,jars of jam,candles,muffins".split(
            ","
        ),
        "currency": "CHF NOK SEK PLN TRY NZD".split(),
        "subject": "the plumber,my sister,the taxi,our guide,the delivery".split(","),
        "predicate": "is waiting outside,will come at six,got lost,is already here,had to leave early".split(","),
        "text": "the cake is in the oven,I forgot my wallet,the shop closes early,we won the game,practice is moved to the gym,"
        "I fixed the printer,your parcel is here,the tickets are sold out".split(","),
        "place_adjective": "Black,Lazy,Sunny,Copper,Twin".split(","),
        "place_noun": "Falcon,Cellar,Harbor,Windmill,Turtle".split(","),
        "place": "Villa Verde,Le Jardin,Seoul Grill,Tony's,Mesa Grande,Curry Corner".split(","),
    },
}
