"""The inner loop and the answers of a LoRA memory, as a user of transformers and PEFT writes them."""

import math
import time
from dataclasses import asdict

import torch
import torch.nn.functional as F
from peft import LoraConfig, get_peft_model
from torch import nn
from transformers import DynamicCache, Qwen2Config, Qwen2ForCausalLM

from .decoder import PROJECTIONS
from .learner import BETA1, BETA2, EPS, HEAD_BETA, WEIGHT_DECAY

ALPHA = 16


def random_base(shape):
    """transformers' own decoder with its own random start."""
    others = {"tie_word_embeddings": True, "sliding_window": None, "attn_implementation": "sdpa"}
    return Qwen2ForCausalLM(Qwen2Config(**asdict(shape), **others))


def lora_scale(rank):
    return ALPHA / math.sqrt(rank)


class TokenWeights(nn.Module):
    """softplus_{β=3}(fc2(gelu(fc1(h)))), frozen while a context is encoded."""

    def __init__(self, tensors):
        super().__init__()
        fc1, fc1_bias, fc2, fc2_bias = tensors
        self.fc1, self.fc2 = nn.Linear(*reversed(fc1.shape)), nn.Linear(*reversed(fc2.shape))
        self.load_state_dict(
            {"fc1.weight": fc1, "fc1.bias": fc1_bias, "fc2.weight": fc2, "fc2.bias": fc2_bias}
        )
        self.requires_grad_(False)

    def forward(self, h):
        return F.softplus(self.fc2(F.gelu(self.fc1(h))), beta=HEAD_BETA).squeeze(-1)


class Memory:
    """A frozen base, PEFT's adapter on all seven projections, and the token weights."""

    def __init__(self, base, rank, head):
        names = [projection.split(".")[1] for projection in PROJECTIONS]
        spec = LoraConfig(r=rank, lora_alpha=ALPHA, use_rslora=True, target_modules=names, lora_dropout=0.0)
        self.model = get_peft_model(base, spec)
        self.base, self.weigh = base, TokenWeights(head)
        self.phi = [
            getattr(layer.get_submodule(projection), which)["default"].weight
            for layer in base.model.layers
            for projection in PROJECTIONS
            for which in ("lora_A", "lora_B")
        ]

    @torch.no_grad()
    def start(self, phi):
        for parameter, value in zip(self.phi, phi, strict=True):
            parameter.copy_(value)

    def loss(self, tokens, loss_from, divisor):
        """`Σ ω_{t+1} CE_t / divisor` of tokens (B, S), of which those from `loss_from` on are predicted."""
        h = self.base.model(input_ids=tokens, use_cache=False).last_hidden_state
        logits = self.base.lm_head(h[:, loss_from - 1 : -1]).flatten(0, 1)
        ce = F.cross_entropy(logits, tokens[:, loss_from:].flatten(), reduction="none")
        return (self.weigh(h[:, loss_from:]).flatten() * ce).sum() / divisor

    def encode(self, lrs, tokens, loss_from, micro_batch=None):
        """Inner steps over the segments (B, S) with rates [tensor][step]; the loss before each.

        Without a micro-batch all segments are one batch, and each layer is recomputed on the way back.
        """
        self.model.train()
        if micro_batch is None:
            self.base.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
        else:
            self.base.gradient_checkpointing_disable()
        groups = [{"params": [parameter]} for parameter in self.phi]
        constants = {"betas": (BETA1, BETA2), "eps": EPS, "weight_decay": WEIGHT_DECAY}
        optimizer = torch.optim.AdamW(groups, **constants, fused=True)
        divisor, losses = len(tokens) * (tokens.shape[1] - 1), []
        for rates in zip(*lrs):
            optimizer.zero_grad()
            total = 0.0
            for batch in tokens.split(micro_batch or len(tokens)):
                loss = self.loss(batch, loss_from, divisor)
                loss.backward()
                total += loss.item()
            for group, rate in zip(optimizer.param_groups, rates):
                group["lr"] = rate
            optimizer.step()
            losses.append(total)
        return losses

    @torch.inference_mode()
    def ask(self, prompt, new_tokens):
        """Greedy tokens after the prompt (S), and the moments at which the work began and each was there."""
        self.model.eval()
        cache, ids = DynamicCache(), prompt[None]
        answer, moments = [], [time.perf_counter()]
        for _ in range(new_tokens):
            logits = self.base(input_ids=ids, past_key_values=cache, use_cache=True, logits_to_keep=1).logits
            ids = logits[:, -1].argmax(-1, keepdim=True)
            answer.append(ids.item())
            moments.append(time.perf_counter())
        return answer, moments
