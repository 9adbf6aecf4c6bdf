"""The Learner: samples in, new weights out.

It knows tokens, masks, advantages and weights, and no environment, agent or algorithm. Samples are packed
so that a prefix they share passes through the model once, forward and backward; gradients add up over
the packs of a mini-batch, then the optimizer takes one step. Packs that come again (for the reference, in a second
pass) are laid out once.
"""

from __future__ import annotations

import functools
import math
import pickle
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from himac.algo.losses import imitation_loss, policy_loss, value_loss
from himac.config import AlgoConfig, OptimizerConfig
from himac.errors import DataError, RunError
from himac.files import reason
from himac.learner.checkpoint import MODEL
from himac.learner.critic import Critic
from himac.learner.masters import Masters
from himac.learner.metrics import UpdateMetrics
from himac.learner.optimizer import Optimizer
from himac.learner.packs import Pack, where_asked
from himac.learner.policy import Policy
from himac.models.logps import token_logps
from himac.models.packing import pack
from himac.parallel import ALONE, Ranks
from himac.parallel.tensors import full, load_tree, local, save_tree
from himac.seeds import generator
from himac.types import LanguageModel, PhaseSpec, Role, Row, Sample

_STATE, _STATE_1 = "optimizer.pt", "optimiser.pt"  # today's name, and format 1's
SHARED = "shared"
"""The optimizer state of every phase with `optimizer.shared_state`."""


class Learner:
    """Updates a policy, and a critic where there is one.

    Args:
        policy: what learns.
        cfg: the optimizer's settings and the token budget of one pack.
        loss: clip and coefficients of the policy loss.
        critic: a value head on the policy; None for methods that compare peers.
        ranks: who else learns; each takes its share of the packs, and all take the same steps.
    """

    def __init__(
        self,
        policy: Policy,
        cfg: OptimizerConfig,
        loss: AlgoConfig,
        *,
        critic: Critic | None = None,
        ranks: Ranks = ALONE,
    ) -> None:
        self.policy, self.loss, self.critic, self._ranks = policy, loss, critic, ranks
        self.max_tokens = cfg.max_tokens
        self.num_steps = 0
        self.lr, self._schedule = cfg.lr, cfg.schedule
        self._rate = 1.0  # share of the learning rate, by the schedule
        policy.join(ranks)
        self._parameters = policy.trainable
        self._warmup, self._grad_clip = cfg.warmup, cfg.grad_clip
        self._cfg = cfg
        self._masters = Masters(
            self._parameters
        )  # shared by all optimizer states: there is one set of weights
        self._moved = 1.0  # share of weights that the newest step has moved
        self._optimizers: dict[str, Optimizer] = {}
        self._steps: dict[str, int] = {}  # of each of them: warm-up is a role's own

    def update(
        self, samples: Sequence[Sample], phase: PhaseSpec, *, seed: int, spent: float = 0.0
    ) -> dict[str, float]:
        """Take the policy-gradient steps of one phase; return metrics of the first to the last step.

        Args:
            samples: what to learn from; none (no group had signal) changes nothing.
            phase: epochs, mini-batches, temperature.
            seed: of the order of the samples.
            spent: share of the run's budget that is spent, 0 to 1; the schedule of the learning rate follows it.
        """
        began = time.perf_counter()
        self._rate = 1.0 - spent if self._schedule == "linear" else 1.0
        if not samples or not phase.epochs:
            return {"samples": 0.0, "train_s": 0.0}
        found = UpdateMetrics()
        self._ranks.parts()

        @functools.cache  # packs that come again, for the reference or in another epoch, are laid out once
        def packs(part: tuple[int, ...]) -> list[Pack]:
            return self._packs(samples, part, by_role=not phase.has_one_temperature)

        everything = tuple(range(len(samples)))
        minibatches = _steps_of(phase, samples)
        refs = olds = None
        if self.loss.has_kl:
            with self.policy.reference() as model:
                refs = self._logps(model, samples, packs(everything), phase)
        if (
            self.loss.max_ratio and phase.epochs * minibatches > 1
        ):  # else a step's own logps are those before it
            olds = self._logps(self.policy.model, samples, packs(everything), phase)
        num_values = sum(int(where_asked(s.targets, s.ids).sum()) for s in samples)
        value_weight = minibatches / max(num_values, 1)  # 1 / values per optimizer step
        for epoch in range(phase.epochs):
            for part in _split(samples, minibatches, seed, epoch):
                self._policy_step(packs(tuple(part)), refs, olds, phase, minibatches, value_weight, found)
        found = UpdateMetrics.of_all(self._ranks.gather(found))
        return found.summary(len(samples)) | {"train_s": time.perf_counter() - began}

    def imitate(self, samples: Sequence[Sample], *, lr: float) -> dict[str, float]:
        """Take one cross-entropy step on demonstrations, whose weights sum to 1; return metrics."""
        self._ranks.parts()
        self.policy.model.train()
        total = 0.0
        for row in self._packs(samples, range(len(samples))):
            self.policy.play(row.role)
            out = token_logps(self.policy.model, row.batch, row.masks, vision=self.policy.vision)
            loss = imitation_loss(out.logps, self._tensor(row.pick("weights"))) * row.counts
            loss.backward()
            total += float(loss.detach())
        grad = self._step(lr, "imitation")
        return {"loss": float(self._ranks.sum(np.array(total))), "grad": grad}

    @torch.no_grad()
    def values(self, samples: Sequence[Sample]) -> list[np.ndarray]:
        """Return what the critic says at each sample's `targets` that are not NaN, (K,) a sample."""
        assert self.critic is not None
        own: dict[int, np.ndarray] = {}
        self.policy.model.eval()
        for row in self._packs(samples, range(len(samples))):
            self.policy.play(row.role)
            out = token_logps(
                self.policy.model, row.batch, row.masks, states_at=row.states_at, vision=self.policy.vision
            )
            if not row.counts:
                continue
            values_M = self.critic(out.states, row.state_roles).cpu().numpy()
            counts = [int(row.states_at[i].sum()) for i in row.batch.sequences]
            for i, part in zip(row.batch.sequences, np.split(values_M, np.cumsum(counts)[:-1]), strict=True):
                own[row.members[i]] = part
        found = {i: values for part in self._ranks.gather(own) for i, values in part.items()}
        return [found.get(i, np.zeros(0, np.float32)) for i in range(len(samples))]

    @property
    def version(self) -> int:
        """Of the weights: counts up with every optimizer step."""
        return self.num_steps

    def weights(self) -> dict[str, torch.Tensor] | None:
        """Return the weights for engines elsewhere; None here, where the engine computes with the same module."""
        return None

    def save(self, folder: Path) -> None:
        """Write weights (an ordinary Hugging Face folder, `model/`), optimizer and critic; all ranks call this."""
        self._ranks.parts()
        self.policy.save(folder / MODEL, self._ranks)
        state: Row = {
            "optimizers": {name: part.state_dict() for name, part in self._optimizers.items()},
            "steps": self._steps,
            "num_steps": self.num_steps,
            "masters": self._masters.state_dict(),
        }
        if self.critic is not None:
            state["critic"] = self.critic.state_dict()
        save_tree(state, folder / _STATE, rank=self._ranks.rank)

    def load(self, folder: Path) -> None:
        """Take back what `save` wrote. The reference of the KL term stays what it is.

        Raises:
            DataError: the folder is damaged.
        """
        path = folder / _STATE
        self._ranks.parts()
        self._optimizers.clear()
        self._steps.clear()
        try:
            self.policy.load_weights(folder / MODEL)
            state = load_tree(path if path.is_file() else folder / _STATE_1, self._ranks.mesh)
            self.num_steps = int(state["num_steps"])
            self._masters.reset()
            self._masters.load_state_dict(state.get("masters", self._masters.state_dict()))
            if "optimiser" in state:  # format 1 had one state for both roles
                state |= {"optimizers": {SHARED: state["optimiser"]}, "steps": {SHARED: self.num_steps}}
            for name, part in state["optimizers"].items():
                self._optimizer(name).load_state_dict(part)
                self._steps[name] = int(state["steps"][name])
            if self.critic is not None:
                self.critic.load_state_dict(state["critic"])
        except (OSError, EOFError, LookupError, AttributeError, TypeError, ValueError, RuntimeError, pickle.UnpicklingError) as error:  # fmt: skip
            # what torch, pickle and the optimizers raise for a file that is cut, empty, or holds something else
            raise DataError(f"cannot read the learner's state in {str(folder)!r}: {reason(error)}") from error

    def _policy_step(
        self,
        packs: Sequence[Pack],
        refs: list[np.ndarray] | None,
        olds: list[np.ndarray] | None,
        phase: PhaseSpec,
        minibatches: int,
        value_weight: float,
        found: UpdateMetrics,
    ) -> None:
        """Add up the gradients of one mini-batch and step."""
        self.policy.model.train()
        for row in packs:
            self.policy.play(row.role)
            out = token_logps(
                self.policy.model,
                row.batch,
                row.masks,
                temperature=phase.temperature_of(row.role),
                entropy_grad=self.loss.entropy_coef != 0,
                vision=self.policy.vision,
                states_at=row.states_at if self.critic is not None else None,
            )
            sampled_N, weights_N = self._tensor(row.pick("logps")), self._tensor(row.pick("weights"))
            old_N = out.logps.detach() if olds is None else self._tensor(row.pick_from(olds))
            loss, parts = policy_loss(
                out.logps,
                old_N if self.loss.max_ratio else sampled_N,
                self._tensor(row.pick("advantages")),
                weights_N * minibatches,
                cfg=self.loss,
                sampled_logps_N=sampled_N if self.loss.max_ratio else None,
                kl_coef_N=self._tensor(row.kl_coefs(self.loss)),
                ref_logps_N=None if refs is None else self._tensor(row.pick_from(refs)),
                entropy_N=out.entropies,
            )
            if self.critic is not None and out.states is not None:
                values_M = self.critic(out.states, row.state_roles)
                targets_M = self._tensor(row.targets_M)
                value = value_weight * value_loss(values_M, targets_M, scale=self.critic.scale)
                loss, parts = loss + value, parts | {"loss_value": value.detach()}
                if row.counts:
                    found.add_values(values_M.detach(), targets_M)
            (loss * row.counts).backward()
            if not row.counts:
                continue
            found.add(
                parts,
                out.logps.detach() - sampled_N,
                weight=float(weights_N.sum()) * minibatches,
                packed_tokens=row.batch.num_tokens,
                row_tokens=row.num_tokens,
            )
        grad = self._step(self.lr * self._rate, _state_of(phase))
        found.step(grad, moved=self._moved)

    def _step(self, lr: float, name: str) -> float:
        """Clip, step with the state of that name, forget the gradients; return the policy's norm before clipping."""
        name = SHARED if self._cfg.shared_state else name
        optimizer, steps = self._optimizer(name), self._steps[name]
        limit = self._grad_clip or math.inf
        heads = [] if self.critic is None else list(self.critic.parameters())
        self._ranks.sum_gradients([*self._parameters, *heads])
        norm = float(full(torch.nn.utils.clip_grad_norm_(self._parameters, limit)))
        if self.critic is not None:  # clipped for itself, so that neither's size changes the other's step
            torch.nn.utils.clip_grad_norm_(self.critic.parameters(), limit)
        warm = min(1.0, (steps + 1) / self._warmup) if self._warmup else 1.0
        if math.isfinite(norm):
            before, touched = self._masters.sample(), self._masters.touched()
            self._masters.pull()
            optimizer.step(lr * warm)
            self._masters.push()
            changed, wanted, broken = self._ranks.sum(
                np.array([*self._masters.moved(before, touched), self._num_broken(heads)])
            )
            if broken:
                raise RunError(
                    f"the weights are not finite after optimizer step {self.num_steps + 1}",
                    hint="the last checkpoint is whole; a lower learning rate or optimizer.grad_clip holds them",
                )
            self._moved = float(changed / wanted) if wanted else 1.0
        optimizer.zero_grad()
        self._steps[name] += 1
        self.num_steps += 1
        return norm

    @torch.no_grad()
    def _num_broken(self, heads: Sequence[torch.nn.Parameter]) -> int:
        """Return how many of the tensors that this rank holds have weights that are not numbers any more."""
        held = [part for p in (*self._parameters, *heads) if (part := local(p.detach())).numel()]
        sizes = torch._foreach_norm(held, math.inf)
        return int((~torch.isfinite(torch.stack([size.float().sum() for size in sizes]))).sum())

    def _optimizer(self, name: str) -> Optimizer:
        """Return the optimizer state of a phase's roles, made when it is first needed.

        Moments are a memory of directions. With one state for both roles, phase B goes on moving the weights where
        phase A was going.
        """
        if name not in self._optimizers:
            groups: list[Row] = [{"params": self._parameters}]
            if self.critic is not None:
                head = list(self.critic.parameters())
                groups.append({"params": head, "rate": self.critic.rate, "weight_decay": 0.0})
            self._optimizers[name] = Optimizer(self.policy.model, groups, self._cfg, self._masters)
            self._steps[name] = 0
        return self._optimizers[name]

    @torch.no_grad()
    def _logps(
        self, model: LanguageModel, samples: Sequence[Sample], packs: Sequence[Pack], phase: PhaseSpec
    ) -> list[np.ndarray]:
        """Return, per sample, (T,) log-probabilities of its trained tokens under a model: the reference, or itself."""
        found = [np.zeros(len(s.ids), np.float32) for s in samples]
        for row in packs:
            if model is self.policy.model:
                self.policy.play(row.role)
            temperature = phase.temperature_of(row.role)
            out = token_logps(model, row.batch, row.masks, temperature=temperature, vision=self.policy.vision)
            if not row.counts:
                continue
            logps_N, at = out.logps.cpu().numpy(), 0
            for i in row.batch.sequences:
                count = int(row.masks[i].sum())
                found[row.members[i]][row.masks[i]] = logps_N[at : at + count]
                at += count
        if self._ranks.size == 1:
            return found
        # each is 0 but on the rank that had it, so that the sum is exact
        whole = self._ranks.sum(np.concatenate(found)).astype(np.float32)
        return np.split(whole, np.cumsum([len(s.ids) for s in samples])[:-1])

    def _packs(self, samples: Sequence[Sample], part: Sequence[int], *, by_role: bool = False) -> list[Pack]:
        """Pack some of the samples; each role for itself where it has its own adapter, or is asked for apart.

        Of several ranks each gets its own share, so packs are no larger than leaves one for everybody.
        """
        tokens = sum(len(samples[i].ids) for i in part)
        most = min(self.max_tokens, max(1, -(-tokens // self._ranks.size)))
        apart = by_role or self.policy.per_role
        roles: list[Role | None] = ["planner", "executor"] if apart else [None]
        packs = []
        for role in roles:
            members = [i for i in part if role in (None, samples[i].role)]
            chosen = [samples[i] for i in members]
            masks = [sample.mask for sample in chosen]
            states_at = [where_asked(sample.targets, sample.ids) for sample in chosen]
            packs += [
                Pack(batch, members, chosen, masks, states_at)
                for batch in pack([sample.ids for sample in chosen], max_tokens=most)
            ]
        kinds = [
            row.role if apart else None for row in packs
        ]  # an adapter hears of its own role's rows alone
        shared = self._ranks.lockstep(packs, [row.batch.num_tokens for row in packs], kinds)
        return [row if counts else replace(row, counts=False) for row, counts in shared]

    def _tensor(self, values: np.ndarray) -> torch.Tensor:
        return torch.as_tensor(values, dtype=torch.float32, device=self.policy.device)


def _state_of(phase: PhaseSpec) -> str:
    """Name the optimizer state that a phase steps with: its roles' own."""
    return "+".join(phase.roles)


def _steps_of(phase: PhaseSpec, samples: Sequence[Sample]) -> int:
    """Return the optimizer steps of an epoch: never more than there are samples, for a step's weight counts them."""
    steps = phase.minibatches
    if phase.minibatch_turns:
        steps = max(1, round(sum(sample.num_turns for sample in samples) / phase.minibatch_turns))
    return min(steps, len(samples))


def _split(samples: Sequence[Sample], parts: int, seed: int, epoch: int) -> Iterator[list[int]]:
    """Cut the samples into mini-batches, in an order of this pass's own."""
    order = generator(seed, "minibatch", epoch).permutation(len(samples))
    for part in np.array_split(order, parts):
        yield sorted(int(i) for i in part)
