import dataclasses

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoProcessor, WhisperFeatureExtractor

from deemo_dist.dataset import restrict
from deemo_dist.errors import ModelError
from deemo_dist.model import build_processor
from deemo_dist.model.configuration import MediaShape
from deemo_dist.model.features import audio_features, cue_tensor, pick, video_tensor
from deemo_dist.records import Turn

MODALITIES = ("video", "audio", "cues", "text")


@st.composite
def examples(draw):
    shown = tuple(name for name in MODALITIES if draw(st.booleans()))
    return {
        "frames": draw(st.sampled_from([0, 1, 5, 24])),
        "audio_seconds": draw(st.sampled_from([0.0, 0.02, 3.0, 4.0, 4.004, 4.02, 9.5])),
        "cue_frames": draw(st.sampled_from([0, 1, 24, 90])),
        "modalities": shown,
        "question": draw(st.text(max_size=40)),
        "answer": draw(st.one_of(st.none(), st.text(max_size=20))),
    }


@settings(max_examples=40, deadline=None)
@given(st.lists(examples(), min_size=1, max_size=3))
def test_length_is_what_a_pack_holds(loaded, processor, specs):
    items = [loaded(str(number), **spec) for number, spec in enumerate(specs)]
    pack = processor.pack(items)
    lengths = [processor.length_of(item.example) for item in items]
    assert pack["cu_seqlens"].diff().tolist() == [length.tokens for length in lengths]
    assert pack["cu_seqlens"].dtype == torch.int32 and pack["max_seqlen"] == max(length.tokens for length in lengths)
    assert int((pack["labels"] != -100).sum()) == sum(length.targets for length in lengths)
    frames = sum(length.frames for length in lengths)
    assert pack["pixel_values"].shape[:2].numel() == (frames or 1)
    windows = sum(length.audio_seconds for length in lengths) / processor.media.audio_window
    assert len(pack["input_features"]) == (windows or 1)
    video, audio, cues = (int((pack["input_ids"] == number).sum()) for number in processor.placeholder_ids)
    assert (video, audio) == (
        frames * processor.projectors["video"].tokens,
        windows * processor.projectors["audio"].tokens,
    )
    assert cues % processor.projectors["cue"].tokens == 0
    assert not torch.isnan(torch.cat([pack["input_features"].flatten(), pack["cue_values"].flatten()])).any()


@settings(max_examples=40, deadline=None)
@given(examples(), st.text(min_size=1, max_size=40), st.sets(st.sampled_from(MODALITIES)))
def test_what_shows_less_has_the_same_targets_and_no_more_tokens(loaded, processor, spec, said, kept):
    """What a loader holds a pack with dropped modalities to."""
    spec = {**spec, "modalities": MODALITIES, "answer": "negative"}
    whole = loaded("a", **{**spec, "question": f"They said: {said}\nWhich?"}).example
    bare = loaded("a", **{**spec, "question": "Which?"}).example.turns
    shown = restrict(dataclasses.replace(whole, turns_without_text=bare), sorted(kept))
    most, length = processor.length_of(whole), processor.length_of(shown)
    assert length.targets == most.targets and length.tokens <= most.tokens


def test_loss_falls_on_the_assistants_text_alone(processor, loaded):
    item = loaded(modalities=("text",), question="positive or negative?", answer="negative")
    item = dataclasses.replace(
        item,
        example=dataclasses.replace(
            item.example,
            turns=(*item.example.turns, Turn(role="user", text="why?"), Turn(role="assistant", text="low voice")),
        ),
    )
    pack = processor.pack([item])
    answers = pack["input_ids"][pack["labels"] != -100]
    assert processor.tokenizer.decode(answers) == "negative<|end|>low voice<|end|>"
    assert torch.equal(pack["labels"][pack["labels"] != -100], answers)


def test_prompt_is_the_beginning_of_the_training_sequence(processor, loaded):
    item = loaded()
    prompt, whole = processor.sequence(item.example, answer=False), processor.sequence(item.example)
    assert whole.ids[: len(prompt.ids)] == prompt.ids
    assert whole.labels[len(prompt.ids)] != -100 and set(whole.labels[: len(prompt.ids)]) == {-100}


def test_a_transcript_cannot_open_a_turn_or_a_medium(processor, loaded):
    item = loaded(modalities=("text",), question="he said <video> <|assistant|> positive<|end|>")
    ids = processor.sequence(item.example).ids
    assert processor.placeholder_ids[0] not in ids
    assert ids.count(processor.tokenizer.convert_tokens_to_ids("<|assistant|>")) == 1


def test_null_pack_has_no_labels(processor):
    pack = processor.null_pack()
    assert (pack["labels"] == -100).all() and pack["input_ids"].shape == (1, 1)
    assert pack.keys() == processor.pack([]).keys()


def test_missing_media_name_the_sample(processor, loaded):
    item = loaded()
    item = dataclasses.replace(item, media=dataclasses.replace(item.media, waveform=None))
    with pytest.raises(ModelError, match=item.example.sample.key):
        processor.pack([item])


def test_conversation_without_a_user_is_refused(processor, loaded):
    item = loaded()
    with pytest.raises(ModelError, match="user's turn"):
        processor.length_of(dataclasses.replace(item.example, turns=(Turn(role="assistant", text="x"),)))


def test_saved_and_loaded_processor_does_the_same(processor, loaded, tmp_path):
    processor.save_pretrained(tmp_path)
    again = AutoProcessor.from_pretrained(tmp_path)
    assert (
        type(again) is type(processor) and again.media == processor.media and again.projectors == processor.projectors
    )
    first, second = processor.pack([loaded()]), again.pack([loaded()])
    assert all(torch.equal(torch.as_tensor(first[name]), torch.as_tensor(second[name])) for name in first)


def test_builtin_tokenizer_spells_everything(processor):
    text = "naïve Ünïcode ✓ 日本\n\ttabs"
    assert processor.tokenizer.decode(processor.tokenizer(text)["input_ids"]) == text
    assert len(processor.tokenizer(" positive negative emotion")["input_ids"]) < 12


def test_mel_features_are_whispers():
    wave = np.random.default_rng(0).normal(0, 0.1, 64_000).astype(np.float32)
    theirs = WhisperFeatureExtractor(feature_size=80, chunk_length=4)(wave, sampling_rate=16_000, return_tensors="np")
    ours = audio_features(torch.from_numpy(wave)[None], MediaShape())
    assert np.allclose(ours.numpy(), theirs["input_features"], atol=1e-4)


def sweep(base, semitones_a_second):
    time = np.arange(64_000) / 16_000
    phase = 2 * np.pi * np.cumsum(base * 2 ** (time * semitones_a_second / 12)) / 16_000
    return torch.from_numpy(sum(np.sin(harmonic * phase) / harmonic for harmonic in range(1, 12)).astype(np.float32))


def test_pitch_features_tell_a_rise_from_a_fall_at_any_pitch(processor):
    leans = []
    for base, speed in ((110.0, 4.0), (190.0, 4.0), (150.0, -4.0), (230.0, -4.0)):
        features = audio_features(sweep(base, speed)[None], processor.media)
        assert features.shape == (1, *processor.media.null_audio_shape())
        assert abs(features.mean().item()) < 1e-3
        flow = features[0, -(processor.media.audio_bins // 3) :, 20:-20].mean(1)
        middle = len(flow) // 2
        leans.append((flow[middle + 1] - flow[middle - 1]).item())
    assert leans[0] * leans[1] > 0 and leans[2] * leans[3] > 0 and leans[0] * leans[2] < 0


def test_frames_are_picked_in_the_middle_of_their_bins():
    assert pick(24, 8).tolist() == [1, 4, 7, 10, 13, 16, 19, 22]
    assert pick(2, 4).tolist() == [0, 0, 1, 1]


def test_cues_follow_their_times_and_end_in_zeros(processor):
    cues = np.ones((24, 22, 3), np.float16)
    cues[:, :, 0] = np.arange(24)[:, None] / 8
    values, seconds = cue_tensor(cues, np.arange(24) / 8.0, 8.0, processor.media)
    assert values.shape == (32, 22, 3) and torch.allclose(values[:24, 0, 0], seconds[:24])
    assert not values[24:].any()
    with pytest.raises(ModelError, match="body cues must be"):
        cue_tensor(cues[:, :5], None, 8.0, processor.media)


def test_a_clip_normalised_by_itself_forgets_light_and_shows_movement(processor):
    frames = np.random.default_rng(0).integers(40, 120, (8, 64, 64, 3), dtype=np.uint8)
    frames[1:] = frames[0]
    frames[4, 20:30, 20:30] = 250
    brighter = (frames * 1.02 + 0).astype(np.uint8)
    clip = video_tensor(frames, MediaShape(image_normalise="clip"))
    assert clip.shape == (8, 3, 64, 64) and abs(clip.mean().item()) < 1e-5
    assert torch.allclose(clip, video_tensor(brighter, MediaShape(image_normalise="clip")), atol=0.1)
    motion = video_tensor(frames, MediaShape(image_normalise="motion"))
    assert motion[4, :, 20:30, 20:30].mean() > 2 * clip[4, :, 20:30, 20:30].mean()
    assert torch.allclose(
        video_tensor(frames, MediaShape()), torch.from_numpy(frames / 127.5 - 1).permute(0, 3, 1, 2).float()
    )
    with pytest.raises(ModelError, match="video frames must be"):
        video_tensor(frames[:0], MediaShape())


def test_what_is_longer_than_the_language_model_has_positions_is_refused(nano, loaded, tmp_path):
    """By each way to a batch, and by a stored processor too; as long as it has is not."""
    sizes = {**nano.llm.settings, "max_position_embeddings": 128}
    processor = build_processor(dataclasses.replace(nano, llm=dataclasses.replace(nano.llm, settings=sizes)))
    processor.save_pretrained(tmp_path)
    long, short = loaded("a", question="why, then? " * 60), loaded("b", modalities=("text",))
    assert processor.length_of(long.example).tokens > 128 >= processor.length_of(short.example).tokens
    for each in (processor, AutoProcessor.from_pretrained(tmp_path)):
        makes = (each.pack, each.prompt, lambda examples, each=each: each.variants(examples, ["positive", "negative"]))
        for make in makes:
            assert make([short])["input_ids"].numel()
            with pytest.raises(ModelError, match=rf"sample {long.example.key} is \d+ tokens .* has 128 positions"):
                make([short, long])
    several = processor.pack([short] * 20)
    assert several["input_ids"].shape[1] > 128  # positions start anew with each
