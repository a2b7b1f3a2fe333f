"""Sentences that synthetic speakers say, rich in sounds that open and close the mouth."""

SENTENCES = (
    "The ferry leaves at half past four, and we are still looking for our bags.",
    "My brother paints small wooden boats and gives them all to his neighbours.",
    "Open the window, because the bread in the oven has begun to burn.",
    "Nobody remembers who moved the blue piano up into the attic.",
    "We bought apples, butter, maps and a bottle of plum wine for the journey.",
    "A warm wind came over the hill, and all the paper flew away.",
    "Please put the brown box above the lamp, not below the mirror.",
    "Every morning the old baker walked past the pond and fed the swans.",
    "The museum opens on Monday, but the garden above it may stay closed.",
    "Half of the people who came to the meeting never opened their mouths.",
    "She found a map of the harbour behind the broken bathroom mirror.",
    "If it rains tomorrow we will move the whole party into the barn.",
    "Five big purple balloons popped before the music had even begun.",
    "I would rather walk home along the river than wait for another bus.",
    "The professor forgot both of her umbrellas on top of the bookshelf.",
    "Bob may borrow my hammer, provided that he brings it back by Friday.",
    "There was hardly any room between the garage and the apple tree.",
    "From up here you can watch the fishing boats come home at sunset.",
    "Our grandmother made the best mushroom soup in the whole valley.",
    "Wait for the bell, then move quickly through the open door.",
)
