"""A real pretrained language model under adapters: two ZeRO-3 ranks, killed, resumed, exported, asked."""

import os
import signal
from pathlib import Path

import pytest
import torch

from tests.system.conftest import Project
from tests.system.test_faults import curves, other_life, wait_for_commit

pytestmark = pytest.mark.system

RUN = Path(__file__).parent / "smollm2.yaml"


def test_smollm2_trains_resumes_exports_and_answers(project: Project, tmp_path: Path) -> None:
    life = other_life(project, tmp_path)
    run = Project(life.folder, life.root, project.extra, run=RUN)
    process = run.start(["train"])
    wait_for_commit(run, process, "instruct", run="smollm2", seconds=500)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    said = run.deemo("train")
    assert "resumed at step" in said
    (losses,) = curves(run, "smollm2").values()
    assert losses[-1] < 0.5 * losses[0]
    place = run.deemo("export", "--adapters").split()[-1]
    folder = Path(place.removeprefix("file://"))
    assert (folder / "adapter" / "adapter_model.safetensors").stat().st_size < 30e6  # the base is not stored again
    answers = {answer for answer in (_answer(folder, number) for number in range(2)) if answer}
    assert answers


def _answer(folder: Path, number: int) -> str:
    """What the exported model writes after a question."""
    from transformers import AutoModelForCausalLM, AutoProcessor

    import deemo_dist.model  # noqa: F401  registers the classes

    model, processor = AutoModelForCausalLM.from_pretrained(folder), AutoProcessor.from_pretrained(folder)
    question = processor.tokenizer.apply_chat_template(
        [{"role": "user", "content": ("Which emotion does the person express?", "Name a colour.")[number]}],
        add_generation_prompt=True,
        return_tensors="pt",
        return_dict=True,
    )
    with torch.no_grad():
        made = model.generate(**question, max_new_tokens=6, do_sample=False)
    return processor.tokenizer.decode(made[0, question["input_ids"].shape[1] :], skip_special_tokens=True).strip()
