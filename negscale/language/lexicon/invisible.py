"""Words of questions that no picture answers, by why not. Phrases are whole words; the rules are in `visibility`."""


def _phrases(text: str) -> tuple[str, ...]:
    return tuple(item.strip() for item in text.replace("\n", " ").split(",") if item.strip())


TEXT = _phrases("""
    say, says, spell, spells, spelled, spelling, word, words, letter, letters, written, writing, text, legible, readable,
    language, english, chinese, japanese, spanish, french, number, numbers, digit, digits, caption, captions, logo, logos,
    brand, time on the, o'clock, past noon, sign read, clock read, graffiti, handwriting, printed, title, license plate
""")

MENTAL = _phrases("""
    think, thinks, thinking, know, knows, want, wants, wanting, trying, try, tries, like to, enjoy, enjoys, enjoying, feel,
    feels, feeling, afraid, scared, hungry, thirsty, tired, bored, excited, nervous, interested, confused, lonely, proud,
    curious, concentrating, paying attention, having fun, having a good time, hurry, waiting, planning, hoping, expecting,
    aware, care, cares, love, loves, hate, hates, friendly, mad at, in love, pretending, listening, hear, hearing, smell,
    smells, relaxed, concerned, worried, dreaming, obey, obeying, learning, experienced, winning, losing, about to
""")

OPINION = _phrases("""
    beautiful, pretty, ugly, cute, handsome, attractive, appetizing, delicious, tasty, yummy, healthy, unhealthy, dangerous,
    safe, unsafe, fun, funny, interesting, nice, boring, normal, weird, strange, unusual, usual, appropriate, comfortable,
    cozy, good, bad, great, best, better, worse, worst, fancy, stylish, fashionable, modern, scary, creepy, cool, crazy,
    silly, sexy, too, enough, proper, properly, correct, correctly, right way, wrong, easy, hard to, difficult, typical,
    common, rare, realistic, natural, formal, casual, elegant, aggressive, rude, polite, lazy, smart, romantic, seem,
    seems, appear, appears, considered, look like, looks like, likely, possible, probably, pleasant, peaceful, warm, cold,
    chilly, humid, loud, noisy, quiet, soft, comfy, heavy, well, high end, luxurious, ordinary, fresh, ripe, edible, fast,
    slow, quickly, slowly, hot outside, hot day, food hot, water hot
""")

KNOWLEDGE = _phrases("""
    famous, celebrity, president, expensive, cheap, cost, costs, worth, price, made in, native, endangered, extinct, known,
    legal, illegal, professional, amateur, century, country, america, american, usa, united states, england, london,
    britain, british, uk, canada, china, japan, india, africa, asia, asian, europe, european, australia, france, paris,
    germany, italy, italian, mexico, mexican, california, chicago, holiday, christmas, halloween, birthday, wedding,
    weekend, monday, sunday, saturday, related, relatives, married, couple, family, siblings, brothers, sisters, twins,
    friends, mother, father, parent, parents, same person, vegetarian, vegan, gluten, calories, nutritious, protein,
    poisonous, religious, tourist, tourists, tournament, olympic, olympics, championship, foreign, local, domesticated,
    domestic, tame, wild, trained, owner, own, owns, belong, belongs, homemade, homeless, rich, poor, teacher, doctor,
    species, breed, purebred, mammal, mammals, carnivore, herbivore, nocturnal, pregnant, adult, adults, teenager,
    teenagers, years old, age, right handed, right-handed, left handed, left-handed, winter, summer, spring, autumn,
    morning, evening, afternoon, lunchtime, rush hour, electric, battery, wireless, working, functional, functioning,
    operational, real, fake, genuine, artificial, antique, new, old, recyclable, environment, public, private, residential,
    commercial, military, air force, one way, two way, season, weather, windy, humidity, temperature, medium, rated
""")

OUTSIDE = _phrases("""
    real life, behind the camera, photographer, cameraman, off camera, not shown, out of view, outside the picture,
    outside of the picture, outside the frame, outside of the frame
""")
