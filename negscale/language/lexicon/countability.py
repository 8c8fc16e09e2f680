"""Number behaviour of nouns: mass nouns, nouns with no singular, nouns that usually come in the plural, irregulars."""


def _phrases(text: str) -> frozenset[str]:
    return frozenset(item.strip() for item in text.replace("\n", " ").split(",") if item.strip())


UNCOUNTABLE = _phrases("""
    broccoli, rice, bread, water, grass, snow, sand, furniture, luggage, baggage, equipment, traffic, jewelry, jewellery,
    cheese, butter, milk, coffee, tea, juice, orange juice, wine, beer, champagne, meat, beef, pork, chicken meat, pasta,
    spaghetti, corn, lettuce, spinach, salt, sugar, ice, ice cream, graffiti, silverware, cutlery, flatware, tableware,
    glassware, cookware, dinnerware, clothing, makeup, mud, smoke, fog, mist, wood, firewood, lumber, paper, toilet paper,
    trash, garbage, litter, rubbish, debris, sunlight, sunshine, daylight, rain, wildlife, vegetation, foliage, greenery,
    shrubbery, soup, sauce, ketchup, mustard, mayonnaise, chocolate, bacon, ham, tofu, garlic, soap, shampoo, toothpaste,
    dirt, dust, gravel, moss, ivy, seaweed, confetti, scaffolding, lighting, artwork, art, hay, wallpaper, carpeting,
    poultry, sushi, popcorn, celery, cauliflower, asparagus, kale, parsley, cilantro, basil, bedding, livestock,
    underwear, footwear, headgear, cash, money, mail, steam, lava, food, fruit, seafood, produce, honey, jam, jelly,
    cream, whipped cream, syrup, frosting, icing, gravy, cereal, granola, oatmeal, yogurt, salsa, guacamole, sand,
    fencing, machinery, stuff, dishware, hardware, software, electricity, weather, linen, fabric, leather, tinsel,
    sunscreen, plastic wrap, aluminum foil, foil, duct tape, tape, cardboard, bubble wrap, mayo, fire, hair, facial hair,
    stubble, protective gear, safety gear, camping gear, gear, street art, playground equipment, construction equipment
""")

PLURALE_TANTUM = _phrases("""
    scissors, sunglasses, eyeglasses, spectacles, goggles, binoculars, headphones, earphones, pliers, tongs, tweezers,
    pajamas, pyjamas, tights, leggings, jeans, trousers, pants, shorts, overalls, sweatpants, swim trunks, underpants,
    boxers, briefs, clothes, shears, clippers, nail clippers, handcuffs, suspenders, dungarees, slacks, panties,
    safety goggles, swimming goggles, ski goggles, shades, groceries, stairs, outskirts, surroundings, belongings,
    fireworks, french fries, fries, reading glasses, glasses, blue jeans, bleachers, stockings, swimming trunks
""")

PAIR_OF = _phrases("""
    scissors, sunglasses, eyeglasses, spectacles, goggles, binoculars, headphones, earphones, pliers, tongs, tweezers,
    tights, leggings, jeans, trousers, pants, shorts, safety goggles, swimming goggles, ski goggles, reading glasses,
    glasses, shears, slacks, blue jeans
""")

# Countable, but an absence is normally stated in the plural: "not wearing gloves", "with no skis".
USUALLY_PLURAL = _phrases("""
    ski, glove, mitten, shoe, boot, sock, sneaker, sandal, slipper, flip flop, high heel, earring, earbud, chopstick,
    curtain, blind, flower, cloud, leaf, person, cleat, skate, roller skate, ice skate, bubble, wave, crowd member,
    street light, onion, tomato, pea, bean, nut, noodle, french fry, chip, grape, berry, strawberry, blueberry, olive,
    mushroom, vegetable, fry, cherry, raspberry, sprinkle, bush, weed, pebble, rock, crumb, knee pad, elbow pad,
    kneepad, snowshoe, ski pole, rain boot, cowboy boot, dish, utensil, decoration, ornament, spectator, balloon,
    power line, train track, railroad track, track, tile, brick, shelf, napkin, pillow, toy, bracelet, tree, sprinkle
""")

IRREGULAR_PLURALS: dict[str, str] = {
    "person": "people", "man": "men", "woman": "women", "child": "children", "foot": "feet", "tooth": "teeth",
    "goose": "geese", "mouse": "mice", "ox": "oxen", "knife": "knives", "leaf": "leaves", "loaf": "loaves",
    "shelf": "shelves", "wolf": "wolves", "calf": "calves", "scarf": "scarves", "half": "halves", "wife": "wives",
    "life": "lives", "elf": "elves", "thief": "thieves", "sheep": "sheep", "deer": "deer", "fish": "fish",
    "moose": "moose", "bison": "bison", "aircraft": "aircraft", "spacecraft": "spacecraft", "hovercraft": "hovercraft",
    "salmon": "salmon", "shrimp": "shrimp", "series": "series", "species": "species", "swine": "swine",
    "elk": "elk", "cattle": "cattle", "police": "police", "bus": "buses", "gas": "gases", "lens": "lenses",
    "tv": "tvs", "ski": "skis", "taxi": "taxis", "kiwi": "kiwis", "canoe": "canoes", "shoe": "shoes", "toe": "toes", "hoe": "hoes",
    "potato": "potatoes", "tomato": "tomatoes", "mango": "mangoes", "photo": "photos", "piano": "pianos",
    "kangaroo": "kangaroos", "radio": "radios", "studio": "studios", "video": "videos", "zoo": "zoos",
    "flamingo": "flamingos", "cactus": "cacti", "octopus": "octopuses", "hippopotamus": "hippopotamuses",
    "rhinoceros": "rhinoceroses", "hero": "heroes", "roof": "roofs", "chef": "chefs", "giraffe": "giraffes",
    "cookie": "cookies", "brownie": "brownies", "smoothie": "smoothies", "hoodie": "hoodies", "selfie": "selfies",
    "pie": "pies", "tie": "ties", "necktie": "neckties", "bow tie": "bow ties", "calculus": "calculi",
    "movie": "movies", "collie": "collies", "bookie": "bookies", "zombie": "zombies", "birdie": "birdies",
    "axe": "axes", "hourglass": "hourglasses", "glass": "glasses", "passerby": "passersby", "cheese": "cheeses",
    "headphone": "headphones", "clothes": "clothes", "cafe": "cafes",
    "hoof": "hooves", "dwarf": "dwarves", "handkerchief": "handkerchiefs", "cliff": "cliffs", "beach": "beaches",
    "vase": "vases", "house": "houses", "horse": "horses", "nurse": "nurses", "purse": "purses", "case": "cases",
    "suitcase": "suitcases", "briefcase": "briefcases", "bookcase": "bookcases", "nose": "noses", "hose": "hoses",
    "rose": "roses", "cheesecake": "cheesecakes", "blouse": "blouses", "corpse": "corpses", "moped": "mopeds",
    "orange": "oranges", "bridge": "bridges", "cake": "cakes", "bike": "bikes", "axis": "axes (pl)",
    "tennis": "tennis", "canvas": "canvases", "iris": "irises", "atlas": "atlases", "bonus": "bonuses",
    "campus": "campuses", "circus": "circuses", "walrus": "walruses", "platypus": "platypuses", "virus": "viruses",
    "minibus": "minibuses", "christmas": "christmases", "mattress": "mattresses", "compass": "compasses",
    "dress": "dresses", "waitress": "waitresses", "actress": "actresses", "hostess": "hostesses", "pass": "passes",
    "cross": "crosses", "grass": "grasses", "moss": "mosses", "cutlass": "cutlasses", "fortress": "fortresses",
}  # fmt: skip
del IRREGULAR_PLURALS["axis"]

# Singular words in -s that rule-based singularisation would clip.
SINGULAR_IN_S = _phrases("""
    bus, gas, lens, canvas, iris, atlas, campus, circus, walrus, cactus, octopus, virus, tennis, christmas, asparagus,
    hummus, citrus, minibus, pancreas, pelvis, basis, chassis, debris, lacrosse, pampas, bonus, status, uterus, this, is,
    was, has, his, its, as, us, gymnastics, athletics, series, species, texas, paris, hibiscus, eucalyptus, crocus
""")
