"""Kinds of nouns the realiser tells apart: what people wear or hold, what stands in a scene, what a scene is."""


def _phrases(text: str) -> frozenset[str]:
    return frozenset(item.strip() for item in text.replace("\n", " ").split(",") if item.strip())


WEARABLE = _phrases("""
    hat, cap, baseball cap, beanie, helmet, bike helmet, hard hat, sunglasses, glasses, eyeglasses, goggles, scarf, tie,
    bow tie, necktie, glove, mitten, coat, jacket, raincoat, sweater, hoodie, vest, life jacket, life vest, shoe, boot,
    sock, sneaker, sandal, slipper, flip flop, belt, watch, wristwatch, necklace, bracelet, earring, ring, jewelry, mask,
    apron, uniform, suit, dress, skirt, shirt, t shirt, t-shirt, jeans, shorts, headband, bandana, crown, veil, wig,
    costume, swimsuit, wetsuit, headphones, knee pad, cape, robe, backpack, headscarf, cowboy hat, straw hat, visor,
    turban, gown, blouse, leggings, tights, overalls, makeup, lipstick, protective gear, safety goggles, ski, name tag,
    skis, badge, harness, seat belt
""")

# Held or carried; said of people only.
HANDHELD = _phrases("""
    umbrella, handbag, purse, suitcase, bag, backpack, briefcase, frisbee, sports ball, ball, kite, baseball bat,
    baseball glove, tennis racket, racket, skateboard, surfboard, snowboard, bottle, wine glass, cup, mug, fork, knife,
    spoon, banana, apple, sandwich, orange, hot dog, donut, cell phone, phone, smartphone, remote, book, newspaper,
    magazine, camera, map, flag, stick, rope, guitar, toothbrush, hair drier, scissors, teddy bear, toy, balloon,
    flashlight, walking stick, cane, water bottle, basket, tray, pen, pencil, microphone, tablet, shopping bag,
    ice cream cone, ice cream, cigarette, ski pole, fishing rod, flower, bouquet, hammer, shovel, rake, broom, candle,
    lantern, sign, towel, brush, comb, sword, paddle, oar, golf club, hockey stick, soccer ball, football, basketball
""")

# Worn or borne by dogs, cats and horses.
ANIMAL_GEAR = _phrases("collar, leash, bandana, saddle, bridle, harness, muzzle, halter, bell, tag")

# One stands for all: an absence is stated in the singular.
SOLE = _phrases("""
    refrigerator, oven, stove, microwave, toaster, sink, toilet, tv, television, couch, sofa, bed, dining table, dishwasher,
    bathtub, shower, mirror, fireplace, washing machine, piano, desk, rug, carpet, laptop, keyboard, mouse, remote, clock,
    sun, moon, rainbow, hair drier, lamp, bridge, lighthouse, stop sign, fire hydrant, frisbee, baseball bat, pool
""")

LARGE = _phrases("""
    bicycle, car, motorcycle, airplane, bus, train, truck, boat, person, bird, cat, dog, horse, sheep, cow, elephant, bear,
    zebra, giraffe, bench, fire hydrant, stop sign, traffic light, parking meter, tree, building, house, fence, child,
    man, woman, bridge, mountain, vehicle, animal, street light, sign, taxi, van, tractor, playground, umbrella, tent,
    duck, goat, pig, chicken, monkey, rabbit, squirrel, deer, lion, tiger, crowd, spectator
""")

ANIMALS = _phrases("""
    dog, cat, horse, sheep, cow, elephant, bear, zebra, giraffe, bird, goat, pig, deer, monkey, rabbit, squirrel, puppy,
    kitten, duck, goose, swan, lion, tiger, calf, bull, pony, lamb, parrot, owl, seagull, pigeon, animal, greyhound,
    poodle, terrier, labrador, retriever, collie, husky, beagle, dachshund, chihuahua, pug, bulldog, shepherd, cub, panda,
    camel, donkey, mule, chicken, rooster, hen, turkey, fish, whale, dolphin, seal, penguin, fox, wolf, mouse, rat, turtle
""")

# Places, whose "with no X" reads as what is in them.
PLACES = _phrases("""
    kitchen, bathroom, bedroom, room, living room, dining room, street, road, highway, field, beach, park, yard, backyard,
    sidewalk, intersection, court, tennis court, forest, wood, lawn, garden, parking lot, lot, hallway, office, restaurant,
    store, shop, market, plaza, square, station, train station, airport, runway, harbor, dock, pier, lake, river, pond,
    ocean, sea, mountain, hill, hillside, slope, desert, meadow, pasture, farm, zoo, enclosure, pen, playground, stadium,
    skate park, alley, driveway, porch, patio, balcony, bridge, path, trail, dirt road, corner, lobby, classroom, library,
    garage, barn, stable, warehouse, bar, cafe, bakery, scene, area, city, town, village, downtown, shore, shoreline,
    riverbank, canyon, valley, jungle, cafeteria, studio, gym, arena, rink, savannah, plain, grassland, snowfield,
    countertop, track, railway, kitchenette, restroom, closet, den, courtyard, campsite, city street, baseball field, bath
""")

INDOOR_PLACES = _phrases("""
    kitchen, bathroom, bedroom, room, living room, dining room, hallway, office, restaurant, store, shop, lobby, classroom,
    library, garage, bar, cafe, bakery, cafeteria, studio, gym, kitchenette, restroom, closet, den, countertop, bath
""")

# What a reader would look for outdoors or indoors: "a street with no cars", not "a street with no microwave".
OUTDOOR_THINGS = _phrases("""
    person, bicycle, car, motorcycle, airplane, bus, train, truck, boat, traffic light, fire hydrant, stop sign,
    parking meter, bench, bird, cat, dog, horse, sheep, cow, elephant, bear, zebra, giraffe, umbrella, kite, tree, fence,
    building, house, flower, bush, rock, sign, street light, taxi, van, animal, vehicle, child, man, woman, tent, bridge,
    duck, goat, snow, grass, sand, water, trash can, spectator, crowd, statue, fountain, flag, puddle, cloud, mountain,
    chair, picnic table, pedestrian, cyclist, surfboard, palm tree, lamp post, boulder, shadow, swing, shrub, railing
""")
INDOOR_THINGS = _phrases("""
    person, cat, dog, bottle, wine glass, cup, fork, knife, spoon, bowl, chair, couch, potted plant, bed, dining table,
    toilet, tv, laptop, mouse, remote, keyboard, cell phone, microwave, oven, toaster, sink, refrigerator, book, clock,
    vase, scissors, teddy bear, hair drier, toothbrush, rug, curtain, mirror, lamp, window, picture, pillow, blanket,
    towel, bathtub, shower, desk, shelf, bookshelf, cabinet, drawer, door, plate, dish, stove, dishwasher, fireplace,
    flower, plant, trash can, napkin, painting, poster, piano, fan, heater, stool, table, candle, food, basket, box, child
""")

# What lies on a table or in a bowl.
SMALL_THINGS = _phrases("""
    bottle, wine glass, cup, fork, knife, spoon, bowl, banana, apple, sandwich, orange, broccoli, carrot, hot dog, pizza,
    donut, cake, potted plant, laptop, mouse, remote, keyboard, cell phone, toaster, book, clock, vase, scissors, tv,
    teddy bear, toothbrush, cat, lamp, pillow, blanket, towel, plate, dish, flower, plant, napkin, candle, food, basket,
    box, pen, pencil, paper, salt shaker, tablecloth, placemat, bread, cheese, sauce, salad, fruit, vegetable, tray,
    camera, tablet, newspaper, magazine, mug, chopstick, lemon, tomato, onion, rice, meat, egg, soup, coffee, tea
""")

# Surfaces and containers that things lie on or in.
SURFACES = _phrases("""
    table, desk, counter, plate, tray, shelf, bowl, dining table, kitchen table, coffee table, picnic table, bed, couch,
    countertop, dish, basket, box, bench, stove, cart, cutting board, nightstand, dresser, bookshelf, blanket, mat, platter
""")

# "A group of people": the noun after "of" carries the meaning.
GROUPS = _phrases("""
    group, couple, pair, bunch, crowd, herd, flock, row, line, lot, lots, team, number, family, variety, assortment, set,
    collection, pack, gang, string, dozen, trio, array, stack, pile, cluster, swarm, party, class, series, type, kind, sort
""")

PICTURES = _phrases("photo, picture, image, photograph, view, shot, close-up, closeup, scene, painting, drawing, close")

# Past participles that describe ("a table topped with food"), unlike "a man walked".
DESCRIPTIVE_PARTICIPLES = _phrases("""
    filled, covered, parked, topped, dressed, surrounded, seated, made, shown, lined, decorated, stacked, loaded, placed,
    located, mounted, attached, painted, gathered, perched, stuffed, packed, painted, displayed, equipped, furnished,
    piled, tied, wrapped, cut, set, seen, taken, served, sliced, arranged, hung, sprinkled, lit, posed, crowded, dotted,
    plugged, chained, leaned, stopped, situated, suspended, laid, left, built, prepared, cooked, docked, moored, framed,
    pictured, reflected, adorned, drawn, spread, scattered, littered, positioned, connected, bundled, garnished, fenced
""")

PROPER_WORDS = _phrases("""
    asian, african, american, indian, chinese, japanese, european, mexican, italian, french, german, british, english,
    spanish, thai, korean, vietnamese, irish, scottish, hispanic, latino, muslim, christian, jewish, buddhist, amish, i,
    christmas, halloween, easter, olympic, santa, london, paris, chicago, york, california, america, england, us, usa, uk,
    nintendo, wii, apple, mcdonalds, coca, bmx, bmw, tv, dj, labrador, german, dalmatian, victorian, australian, mickey
""")
