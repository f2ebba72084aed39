"""The built-in tokenizer of the small models: a byte-level BPE learned, the same everywhere, from a word list in here.

No file, no network. Bytes make every text spellable; merges are learned from the words by counting pairs, ties broken
by the alphabet.
"""

from collections import Counter
from functools import lru_cache
from itertools import pairwise

from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

PAD, BOS, END, USER, ASSISTANT = "<|pad|>", "<|bos|>", "<|end|>", "<|user|>", "<|assistant|>"
VIDEO, AUDIO, CUES = "<video>", "<audio>", "<cues>"
PLACEHOLDERS = (VIDEO, AUDIO, CUES)
MERGES = 448

BUILTIN_TEMPLATE = (
    "{% for m in messages %}{% if m['role'] == 'assistant' %}<|assistant|>{{ m['content'] }}<|end|>"
    "{% else %}<|user|>{{ m['content'] }}{% endif %}{% endfor %}{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
PLAIN_TEMPLATE = (
    "{% for m in messages %}{% if m['role'] == 'assistant' %}Assistant: {{ m['content'] }}{{ eos_token }}\n"
    "{% else %}User: {{ m['content'] }}\n{% endif %}{% endfor %}{% if add_generation_prompt %}Assistant: {% endif %}"
)

WORDS = """
the of and to in is was it for that on with as at this by from or be are have has had not but they we you he she his her
their our one all there when what which who how why where would could should will can may about after before again more
most some any other into over under then than also very just like through during between while because so if up down out
emotion feeling positive negative neutral happy sad angry calm tense nervous confident relaxed excited tired worried
label answer question person speaker clip video audio cues voice speech sound tone pitch prosody rising falling flat
high low fast slow loud quiet syllables rate contour phrase word words said says say transcript text body language
gesture gestures posture hand hands arm arms head neck shoulder shoulders fist fists open closed folded fold crossed
face beside near touch touching self manipulation protective object idle lap rest resting movement moves moving still
lean leaning forward back left right raised lowered shows show suggests points clue clues explain reasoning describe
which does do look looks seem seems sounds hear hears see seen because therefore evidence visual non facial name named
place today yesterday tomorrow morning evening match game play played set court tournament press conference interview
week weeks day days year years time times city train street weather rain sun morning tea coffee bread water road house
home table paper meeting office plan report note notes number numbers list part parts first second third last next new
old good bad long short small large man woman people team coach player players happy win won lose lost wins think
thought know knew want wanted went going come came take took make made get got give gave find found tell told ask
asked work worked start started end ended keep kept let put call called try tried need needed feel felt leave left
began seemed person location date organization email phone nothing something everything anything
"""


def builtin_tokenizer() -> PreTrainedTokenizerFast:
    """A fresh tokenizer: about 700 tokens, special tokens first, placeholders for media, a chat template."""
    vocabulary, merges = _learned()
    core = Tokenizer(models.BPE(vocab=dict(vocabulary), merges=list(merges)))
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    core.decoder = decoders.ByteLevel()
    core.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in _special()])
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=core,
        pad_token=PAD,
        bos_token=BOS,
        eos_token=END,
        extra_special_tokens=[USER, ASSISTANT, *PLACEHOLDERS],
        clean_up_tokenization_spaces=False,
        padding_side="left",
    )
    tokenizer.chat_template = BUILTIN_TEMPLATE
    return tokenizer


def _special() -> tuple[str, ...]:
    return (PAD, BOS, END, USER, ASSISTANT, *PLACEHOLDERS)


@lru_cache(maxsize=1)
def _learned() -> tuple[dict[str, int], tuple[tuple[str, str], ...]]:
    """Token -> id and the merges in their order."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    words = {tuple("Ġ" + word): 1 for word in sorted(set(WORDS.split()))}
    merges: list[tuple[str, str]] = []
    for _ in range(MERGES):
        pairs: Counter[tuple[str, str]] = Counter()
        for word, count in words.items():
            for pair in pairwise(word):
                pairs[pair] += count
        if not pairs:
            break
        best = min(pairs, key=lambda pair: (-pairs[pair], pair))
        merges.append(best)
        words = {_merged(word, best): count for word, count in words.items()}
    tokens = [*_special(), *alphabet, *dict.fromkeys(left + right for left, right in merges)]
    return {token: number for number, token in enumerate(tokens)}, tuple(merges)


def _merged(word: tuple[str, ...], pair: tuple[str, str]) -> tuple[str, ...]:
    """``word`` with every occurrence of ``pair`` made one."""
    out: list[str] = []
    for piece in word:
        if out and (out[-1], piece) == pair:
            out[-1] += piece
        else:
            out.append(piece)
    return tuple(out)
