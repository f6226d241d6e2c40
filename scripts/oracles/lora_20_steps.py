"""Twenty LoRA steps on a real model, by workers and by PyTorch's autograd as in lora.py: do all losses agree?

From the repository's root, in a Python with torch and transformers (scripts/peers/transformers makes one):

    .native/peers/transformers/bin/python scripts/oracles/lora_20_steps.py MODEL WORKER...

MODEL is a folder, such as scripts/fetch-gemma3-270m prints. A worker is a program that speaks the protocol, such as
target/release/mlxbench-worker-tch or scripts/peers/transformers. All compute on the CPU in f32, and train on the same
rows of a text, others in each step. Prints the losses step by step and each worker's largest difference from
PyTorch's; ends with 1 where one is above a thousandth of a nat.
"""

import pathlib
import sys

import torch
import transformers

import lora
from lora_workers import ROOT, Worker

TEXT = ROOT / "crates/mlxbench-runner/src/quantisation/text.txt"
STEPS, ROWS, TOKENS = 20, 2, 64
# At this rate the loss falls by several tenths of a nat, so that a wrong update shows.
LORA = {"rank": 8, "layers": 16, "modules": "q_v", "scale": lora.SCALE, "learning_rate": 1e-3,
        "weight_decay": lora.WEIGHT_DECAY, "seed": lora.SEED}
LIMIT = 1e-3


def batches(model):
    """Rows that follow one another in the text, each behind the token for a beginning."""
    tokenizer = transformers.PreTrainedTokenizerFast(tokenizer_file=str(model / "tokenizer.json"))
    ids, begin, length = tokenizer.encode(TEXT.read_text(), add_special_tokens=False), 2, TOKENS - 1
    rows = [[begin, *ids[at:at + length]] for at in range(0, STEPS * ROWS * length, length)]
    assert len(rows[-1]) == TOKENS, "the text is too short"
    return [rows[at:at + ROWS] for at in range(0, STEPS * ROWS, ROWS)]


def by_autograd(folder, batches):
    model = transformers.AutoModelForCausalLM.from_pretrained(
        folder, dtype=torch.float32, attn_implementation="eager").eval()
    matrices, state, losses = lora.adapt(model, LORA["rank"], LORA["layers"], LORA["modules"]), {}, []
    for step, rows in enumerate(batches, 1):
        tokens = torch.tensor(rows)
        logits = model(tokens, use_cache=False).logits[:, :-1]
        loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), tokens[:, 1:].flatten())
        losses.append(loss.item())
        lora.adamw(matrices, torch.autograd.grad(loss, matrices), state, step, LORA["learning_rate"])
    return losses


def by_worker(command, folder, batches):
    """The worker's name and its losses."""
    worker = Worker(command)
    for reply in (worker.load(folder), trained := worker.train(LORA, batches)):
        if reply["type"] == "error":
            raise SystemExit(f"{command}: {reply['message']}")
    worker.close()
    return worker.identity["backend"], trained["losses"]


def main():
    folder = pathlib.Path(sys.argv[1]).absolute()
    rows = batches(folder)
    losses = {"autograd": by_autograd(folder, rows)}
    losses |= dict(by_worker(command, folder, rows) for command in sys.argv[2:])
    print("| step | " + " | ".join(losses) + " |")
    print("|--:|" + "--:|" * len(losses))
    for step, each in enumerate(zip(*losses.values()), 1):
        print(f"| {step} | " + " | ".join(f"{loss:.5f}" for loss in each) + " |")
    off = {name: max(abs(a - b) for a, b in zip(own, losses["autograd"])) for name, own in losses.items()}
    print("| off by | " + " | ".join(f"{off[name]:.1e}" for name in losses) + " |")
    sys.exit(max(off.values()) > LIMIT)


if __name__ == "__main__":
    main()
