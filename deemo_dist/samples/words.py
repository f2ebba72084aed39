"""The words of the generated clips: people, places, neutral sentences, and what is said about cues."""

from collections.abc import Mapping

# fmt: off
GIVEN = (
    "Anna", "Boris", "Carla", "David", "Elena", "Frank", "Greta", "Hector", "Ingrid", "Jonas", "Karin", "Louis",
    "Maria", "Nils", "Olga", "Pablo", "Rosa", "Stefan", "Teresa", "Viktor", "Clara", "Martin", "Julia", "Simon",
    "Laura", "Peter", "Sofia", "Thomas", "Nina", "Andreas", "Helen", "Marcus", "Diana", "Oliver", "Emma", "Robert",
    "Alice", "Daniel", "Irene", "George",
)
FAMILY = (
    "Kovacs", "Novak", "Fischer", "Moreau", "Rossi", "Andersson", "Petrov", "Garcia", "Schneider", "Kowalski",
    "Silva", "Jensen", "Dubois", "Romano", "Larsen", "Weber", "Costa", "Horvat", "Lindgren", "Marino", "Becker",
    "Laurent", "Santos", "Nowak", "Keller", "Ferrari", "Berg", "Fontaine", "Vargas", "Hansen", "Wagner", "Mercier",
    "Greco", "Olsen", "Hoffmann", "Lopez", "Bernard", "Ricci", "Nilsson", "Meyer",
)
PLACES = (
    "Lisbon", "Vienna", "Melbourne", "Toronto", "Madrid", "Warsaw", "Prague", "Chicago", "Dublin", "Zurich",
    "Rotterdam", "Cincinnati", "Shanghai", "Rome", "Stockholm", "Brisbane", "Montreal", "Geneva", "Hamburg",
    "Valencia",
)
# fmt: on
SENTENCES = (
    "My name is {person} and I arrived from {place} on Monday.",
    "{other} asked me about the schedule in {place}, this is {person}.",
    "This is {person}, we practised on court two in {place} before noon.",
    "I am {person}, the next match is in {place} and {other} will be there.",
    "The bus from {place} left at nine, {other} and {person} took it.",
    "{person} here, the interview with {other} in {place} was moved to Tuesday.",
    "We flew to {place} with {other}, and I am {person}.",
    "{other} keeps the list for {place}, please write {person} on it.",
)

GESTURES: Mapping[str, tuple[str, ...]] = {
    "positive": ("open", "fist"),
    "negative": ("neck", "fold"),
    "neutral": ("idle", "lap"),
}
PROSODY: Mapping[str, str] = {"positive": "rising", "negative": "falling", "neutral": "flat"}

NFBL_TYPES: Mapping[str, str] = {
    "open": "opening both palms",
    "fist": "raising a fist",
    "neck": "touching the neck",
    "fold": "folding the arms",
    "lap": "resting hands in the lap",
}
SEEN: Mapping[str, str] = {
    "open": "Both hands open outward with spread fingers.",
    "fist": "A fist is raised beside the head.",
    "neck": "A hand goes to the neck.",
    "fold": "The arms are folded over the chest.",
    "idle": "The arms hang at rest.",
    "lap": "The hands rest in the lap.",
}
HEARD: Mapping[str, str] = {
    "rising": "The voice rises over each phrase and speaks quickly.",
    "falling": "The voice falls over each phrase and speaks slowly.",
    "flat": "The voice stays level.",
}
GESTURE_NAMES: Mapping[str, str] = {
    "open": "open hands",
    "fist": "raised fist",
    "neck": "hand at the neck",
    "fold": "folded arms",
    "idle": "resting arms",
    "lap": "hands in the lap",
}


def reasoning(gesture: str, prosody: str, emotion: str) -> str:
    """The free text that names the clues and the emotion; honest where a clue says nothing."""
    seen, heard = GESTURE_NAMES[gesture], f"{prosody} voice"
    silent_hands, silent_voice = gesture in GESTURES["neutral"], prosody == PROSODY["neutral"]
    if silent_hands and silent_voice:
        return f"The {seen} and the {heard} say little; the emotion may be {emotion}."
    if silent_hands:
        return f"The {seen} say little, but the {heard} points to a {emotion} emotion."
    if silent_voice:
        return f"The {heard} says little, but the {seen} point to a {emotion} emotion."
    return f"The {seen} and the {heard} point to a {emotion} emotion."
