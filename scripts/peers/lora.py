"""What training of low-rank adapters asks of any peer: crates/mlxbench-core/src/lora.rs says what is trained.

A peer's `trainer(lora, gradients)` gives an object with `start()`, which puts fresh adapters on its model,
`step(rows)`, which returns the loss once all work of the step is done, `norms()` of its gradients, `peak_bytes()`,
and `close()`, which takes the adapters off again, also where `start` failed halfway. Its module for a projection is found by `adapters`.
"""

import math

import numpy

from protocol import Clock, Invalid, Unsupported

ATTENTION = ["q_proj", "k_proj", "v_proj", "o_proj"]
MLP = ["gate_proj", "up_proj", "down_proj"]
MODULES = {"q_v": ["q_proj", "v_proj"], "all": ATTENTION + MLP}
BETAS, EPS = (0.9, 0.999), 1e-8
MASK = 2**64 - 1


def owner_of(name):
    """The part of a layer that has the projection, by its name in Hugging Face's checkpoints."""
    return "self_attn" if name in ATTENTION else "mlp"


def adapters(lora, layers):
    """Name, owner and projection, such as (`layers.17.q_proj`, the attention of layers[17], `q_proj`), of each adapter.

    In the protocol's order; a layer without a projection has no adapter for it.
    """
    for index in range(max(0, len(layers) - lora["layers"]), len(layers)):
        for name in MODULES[lora["modules"]]:
            owner = getattr(layers[index], owner_of(name))
            if getattr(owner, name, None) is not None:
                yield f"layers.{index}.{name}", owner, name


def initial_a(lora, name, columns):
    """The initial `A`, of shape [rank, columns]; that of `B` is 0."""
    state = 0xCBF29CE484222325
    for byte in name.encode():
        state = (state ^ byte) * 0x100000001B3 & MASK
    z = numpy.arange(1, lora["rank"] * columns + 1, dtype=numpy.uint64) * numpy.uint64(0x9E3779B97F4A7C15)
    z += numpy.uint64(lora["seed"] ^ state)
    for shift, factor in [(30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)]:
        z = (z ^ (z >> numpy.uint64(shift))) * numpy.uint64(factor)
    z ^= z >> numpy.uint64(31)
    uniform = (z >> numpy.uint64(40)).astype(numpy.float32) / numpy.float32(2**23) - numpy.float32(1)
    return (uniform * numpy.float32(columns**-0.5)).reshape(lora["rank"], columns)


def check_trainable(config, precision):
    """Refuses what our adapters don't train, so that all do the same work."""
    config = config.get("text_config") or config
    if config.get("enable_moe_block"):
        raise Unsupported("a mixture of experts isn't trained: no gradient passes through the choice of experts")
    if precision == "f16":
        raise Unsupported("training in f16 needs loss scaling, which isn't there: take bf16 or f32")


def train(worker, request):
    """The keys of the reply to a request `train`."""
    batches = request["batches"]
    if not batches:
        raise Invalid("a training without a step: give at least one batch")
    if any(len(row) < 2 for rows in batches for row in rows):
        raise Invalid("a row of fewer than 2 tokens has nothing to learn from")
    if worker.model is None:
        raise Invalid("load a model before training it")
    gradients = request.get("gradients", False)
    reply = {"step_ns": [], "losses": []}
    trainer = worker.trainer(request["lora"], gradients)
    try:
        trainer.start()
        norms = []
        clock = Clock()
        for rows in batches:
            reply["losses"].append(finite(trainer.step(rows)))
            reply["step_ns"].append(clock.now())
            if gradients:
                norms.append([finite(norm) for norm in trainer.norms()])
        if gradients:
            reply["gradient_norms"] = norms
        reply["device_peak_bytes"] = trainer.peak_bytes()
    finally:
        trainer.close()
    return reply


def finite(number):
    return number if math.isfinite(number) else None
