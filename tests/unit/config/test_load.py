"""Configuration: bases, overrides, digests, and errors that name the file, the key and the nearest right one."""

from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from deemo_dist.config import (
    CONFIGS,
    DataConfig,
    EngineConfig,
    MixConfig,
    RunConfig,
    StageConfig,
    TaskConfig,
    TrainRule,
    build,
    config_digest,
    load,
    shareable,
    to_yaml,
)
from deemo_dist.config.bounds import is_name
from deemo_dist.errors import ConfigError

RUN = """
name: small
policy: {dilate: 2e-1}
tasks:
  emotion: {prompt: "which?", answer: "{label.emotion}"}
stages:
  align: {tasks: [emotion], trains: {"*": {lr: 1e-3}}}
"""


def write(folder: Path, name: str, text: str) -> Path:
    path = folder / name
    path.write_text(text)
    return path


def test_a_file_becomes_typed_values(tmp_path: Path) -> None:
    config = load(write(tmp_path, "run.yaml", RUN))
    assert isinstance(config, RunConfig)
    assert config.policy.dilate == 0.2
    assert config.stages["align"].trains["*"].lr == 0.001
    assert config.stages["align"].tasks == ("emotion",)


def test_a_derived_file_wins_over_its_bases(tmp_path: Path) -> None:
    write(tmp_path, "below.yaml", RUN)
    path = write(tmp_path, "above.yaml", "bases: [below]\nname: above\nstages: {align: {epochs: 7}}\n")
    config = load(path)
    assert (config.name, config.stages["align"].epochs) == ("above", 7)
    assert config.stages["align"].tasks == ("emotion",)


def test_an_override_reaches_into_a_stage(tmp_path: Path) -> None:
    config = load(write(tmp_path, "run.yaml", RUN), ["stages.align.epochs=3", "engine.ranks=4", "data.manifest="])
    assert config.stages["align"].epochs == 3
    assert config.engine.ranks == 4


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("name: x\nengin: {}\n", "'engin' - did you mean 'engine'?"),
        ("name: x\nengine: {rank: 2}\n", "'engine.rank' - did you mean 'ranks'?"),
        ("name: x\nengine: {ranks: two}\n", "'engine.ranks' must be a whole number, not str 'two'"),
        ("name: x\nengine: {ranks: true}\n", "'engine.ranks' must be a whole number"),
        ("name: x\npolicy: {voice: wrld}\n", "did you mean 'world'?"),
        ("name: x\npolicy: {dilate: .nan}\n", "'policy.dilate' must be a finite number"),
        ("seed: 1\n", "the key 'name' is missing"),
        ("name: x\nname: y\n", "line 2: not valid YAML: the key 'name' stands twice"),
        ("name: [x\n", "not valid YAML"),
        ("", "a configuration is a mapping"),
        ("bases: [nowhere]\nname: x\n", "its base 'nowhere' does not exist"),
        ("bases: runs/demo\nname: x\n", "'bases' must be a list of names"),
        ("bases:\nname: x\n", "'bases' must be a list of names"),
        ("bases: [null]\nname: x\n", "'bases' must be a list of names"),
        ("name: x\nstorage: {root: {{ROOT}}}\n", "line 2: not valid YAML: a key is one word"),
        ("name: x\nstorage: {root: '${HOME'}\n", "no viable alternative"),
        ("name: x\nstages: {a: {tasks: [t], trains: {}, epoch: 2}}\n", "'stages.a.epoch' - did you mean 'epochs'?"),
    ],
)
def test_a_mistake_is_named_with_its_file(tmp_path: Path, text: str, said: str) -> None:
    path = write(tmp_path, "bad.yaml", text)
    with pytest.raises(ConfigError) as raised:
        load(path)
    assert said in str(raised.value)
    assert "bad.yaml" in str(raised.value)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    "override",
    ["engine.ranks", "=3", "engine.rnks=3", "engine.ranks=[1", "storage.root={{ROOT}}", "storage.root=${HOME"],
)
def test_a_wrong_override_is_refused(tmp_path: Path, override: str) -> None:
    with pytest.raises(ConfigError, match="override"):
        load(write(tmp_path, "run.yaml", RUN), [override])


@pytest.mark.parametrize("text", ["2026-12-01", "2026-12-01T10:00:00", "12:30", "12:30:00", "0777"])
def test_dates_times_and_leading_zeros_stay_text(tmp_path: Path, text: str) -> None:
    path = write(tmp_path, "run.yaml", f"{RUN}data: {{version: {text}}}\n")
    assert load(path).data.version == text
    assert load(write(tmp_path, "run.yaml", RUN), [f"data.version={text}"]).data.version == text


@pytest.mark.parametrize(
    ("text", "value"), [("1", 1), ("-0.5", -0.5), (".5", 0.5), ("2e-5", 2e-5), ("1.5e+3", 1500), ("1_000", 1000)]
)
def test_numbers_are_numbers(tmp_path: Path, text: str, value: float) -> None:
    config = load(write(tmp_path, "run.yaml", RUN), [f"stages.align.trains={{'*': {{lr: {text}}}}}"])
    assert config.stages["align"].trains["*"].lr == value


def test_a_part_may_be_written_once_and_merged(tmp_path: Path) -> None:
    merged = "name: x\ntasks: {a: &a {prompt: 'which?', answer: '{label.emotion}'}, b: {<<: *a, prompt: 'why?'}}\n"
    tasks = load(write(tmp_path, "run.yaml", merged)).tasks
    assert (tasks["b"].prompt, tasks["b"].answer) == ("why?", "{label.emotion}")


def test_a_circle_of_bases_is_refused(tmp_path: Path) -> None:
    write(tmp_path, "a.yaml", "bases: [b]\nname: a\n")
    write(tmp_path, "b.yaml", "bases: [a]\nname: b\n")
    with pytest.raises(ConfigError, match="come back to it"):
        load(tmp_path / "a.yaml")


def test_a_wrong_run_name_lists_the_right_ones() -> None:
    with pytest.raises(ConfigError, match="one of: "):
        load("no-such-run")


def test_the_digest_ignores_where_a_run_runs(tmp_path: Path) -> None:
    path = write(tmp_path, "run.yaml", RUN)
    digest = config_digest(load(path))
    assert config_digest(load(path, ["engine.ranks=64", "storage.root=s3://elsewhere"])) == digest
    assert config_digest(load(path, ["seed=1"])) != digest


def test_the_digest_sees_the_order_of_stages(tmp_path: Path) -> None:
    two = RUN + '  second: {tasks: [emotion], trains: {"*": {}}}\n'
    turned = RUN.replace("  align:", '  second: {tasks: [emotion], trains: {"*": {}}}\n  align:')
    assert config_digest(load(write(tmp_path, "a.yaml", two))) != config_digest(load(write(tmp_path, "b.yaml", turned)))


def test_the_resolved_yaml_loads_again(tmp_path: Path) -> None:
    config = load(write(tmp_path, "run.yaml", RUN))
    assert load(write(tmp_path, "again.yaml", to_yaml(config))) == config


AWKWARD = (
    "1e5", "3e81234", "1E3", "1e+5", "1.5e3", "-.5", ".5", "5.", "12e4567", "0x1F", "0o7", "0777", "1_000", "20261201",
    "yes", "no", "On", "true", "null", "~", "", " ", "<<", "=", "-", "?", ":", "#", "&a", "*a", "!x", "%", "@", "`",
    ".inf", "-.INF", ".nan", "2026-01-01", "2026-01-01T10:00:00Z", "12:30", "12:30:00", "???", "a: b", "[x]", "{x: y}",
    "${x}", "\\${x}", "\\\\${x}", "${", "$${x}", "${oc.env:HOME}", "x\\${y}\\", "$", "\\", "a\nb", " a", "a ", "\t",
    "'", '"', "a\r\nb", "\x85", "\u2028", "\ufeff", "é", "😀",
)  # fmt: skip
texts = st.one_of(st.sampled_from(AWKWARD), st.lists(st.sampled_from(AWKWARD), max_size=3).map("".join), st.text())


@settings(max_examples=150, deadline=None)
@given(
    name=texts.filter(is_name),
    prompt=texts,
    version=texts,
    keys=st.lists(texts, min_size=1, max_size=3, unique=True),
    said=st.lists(texts),
)
def test_whatever_its_texts_are_the_resolved_yaml_loads_again(
    tmp_path_factory: pytest.TempPathFactory, name: str, prompt: str, version: str, keys: list[str], said: list[str]
) -> None:
    tasks = {key: TaskConfig(prompt=prompt, answer=version, choices=tuple(said)) for key in keys}
    rules = {key: TrainRule(lr=1e-05, weight_decay=1e22, targets=tuple(keys)) for key in keys}
    stages = {key: StageConfig(tasks=tuple(keys), trains=rules, mix={key: MixConfig(weight=0.1)}) for key in keys}
    config = RunConfig(
        name=name,
        data=DataConfig(version=version, manifest=prompt),
        tasks=tasks,
        stages=stages,
        engine=EngineConfig(deepspeed={keys[0]: {"texts": said, version: 1}}),
    )
    text = to_yaml(config)
    assert load(write(tmp_path_factory.getbasetemp(), "awkward.yaml", text)) == config
    read = yaml.safe_load(text)  # as others read it, it is text too
    assert isinstance(read["name"], str) and isinstance(read["data"]["version"], str)


def test_every_shipped_run_loads() -> None:
    paths = sorted((CONFIGS / "runs").glob("*.yaml"))
    assert paths
    assert all(isinstance(load(path), RunConfig) for path in paths)


def test_build_refuses_what_is_no_mapping() -> None:
    with pytest.raises(ConfigError, match="must be a mapping"):
        build(RunConfig, {"name": "x", "engine": 3}, where="here")


def test_what_is_shown_does_not_tell_where_raw_clips_and_keys_are() -> None:
    config = load("demo", ["data.manifest=file:///raw/Zora Zamboni/m.parquet", "keys.path=/raw/Zora Zamboni/key"])
    shown = to_yaml(shareable(config))
    assert "Zamboni" in to_yaml(config)
    assert "Zamboni" not in shown
    assert config_digest(shareable(config)) == config_digest(config)


@pytest.mark.parametrize("key", ["tracking.uri", "storage.endpoint", "weights.mirror", "launch.ray_address"])
@pytest.mark.parametrize("user", ["anna:S3cret", "anna:S3c:r@t", "S3cret", ":S3cret"])
def test_what_is_shown_holds_no_password(key: str, user: str) -> None:
    config = load("demo", [f"{key}='http://{user}@host.example:5000/x'"])
    shown = to_yaml(shareable(config))
    assert "S3c" in to_yaml(config)
    assert "S3c" not in shown and "http://***@host.example:5000/x" in shown
    assert config_digest(shareable(config)) == config_digest(config)
