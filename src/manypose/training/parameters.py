"""Parameter groups: rate, decay and freezing of each of a network's parameters, by the rules of a recipe."""

from __future__ import annotations

import copy
import re
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.conv import _ConvNd

from manypose.errors import RecipeError
from manypose.training.recipe import ParameterRule

NORMS = (_BatchNorm, nn.LayerNorm, nn.GroupNorm, nn.InstanceNorm1d, nn.InstanceNorm2d, nn.InstanceNorm3d)
SHOWN = 5  # names in a message
DRAFT = 64  # pixels of the picture that shows which layers come first and last; a multiple of every network's stride

Group = dict[str, Any]
UNDECAYED = (ParameterRule(kind="norm", decay=0.0), ParameterRule(kind="bias", decay=0.0))


@dataclass(frozen=True)
class Treatment:
    """What the optimiser does with one parameter: factors of the rate and of the decay, and how long it is frozen."""

    rate: float = 1.0
    decay: float = 1.0
    frozen: bool = False
    frozen_steps: int = 0
    frozen_epochs: int = 0


def treatments(
    network: nn.Module, rules: Sequence[ParameterRule], *, optimiser: str = "adam"
) -> dict[str, tuple[nn.Parameter, Treatment]]:
    """Each parameter of a network, in its order, with what the rules say of it.

    Every rule that matches a parameter counts, in order; a later one changes only what it says itself. AdamW and Muon
    begin with rules of their own: no decay for norms and biases, and none for what Muon leaves to Adam. Raises
    `RecipeError` for a rule that matches nothing.
    """
    kinds = {name: (parameter, kind) for name, parameter, kind in _kinds(network)}
    found = {name: Treatment() for name in kinds}
    for rule in (*_own_rules(network, optimiser), *rules):
        matching = [name for name, (_, kind) in kinds.items() if _matches(rule, name, kind)]
        if not matching and rule in rules:
            raise RecipeError(_unmatched(rule, list(kinds)))
        said = {key: getattr(rule, key) for key in rule.model_fields_set - {"names", "kind"}}
        said = {key: value for key, value in said.items() if value is not None}
        for name in matching:
            found[name] = Treatment(**{**vars(found[name]), **said})
    return {name: (parameter, found[name]) for name, (parameter, _) in kinds.items()}


def freeze(network: nn.Module, rules: Sequence[ParameterRule]) -> list[str]:
    """Take the gradients off the parameters that the rules freeze for good; gives their names.

    Do it before the network is wrapped for several processes, which wait for every gradient. Raises `RecipeError` for a
    rule that matches nothing, and where nothing is left to train.
    """
    of_parameters = treatments(network, rules)
    frozen = [name for name, (_, treatment) in of_parameters.items() if treatment.frozen]
    for name in frozen:
        of_parameters[name][0].requires_grad_(False)
    if not any(parameter.requires_grad for parameter, _ in of_parameters.values()):
        raise RecipeError("parameters: every parameter of the network is frozen; nothing is left to train")
    return frozen


def parameter_groups(
    network: nn.Module,
    rules: Sequence[ParameterRule],
    *,
    learning_rate: float,
    weight_decay: float,
    optimiser: str = "adam",
) -> list[Group]:
    """Groups for an optimiser (`params`, `lr`, `weight_decay`), in the network's order, one for each treatment.

    A group also holds the `names` of its parameters and until when `hold_frozen` keeps them (`frozen_steps`,
    `frozen_epochs`; 0: not at all). What is frozen for good loses its gradients and is in none. For Muon, groups whose
    updates are made `orthogonal` come first. Raises `RecipeError` as `treatments` and `freeze` do.
    """
    freeze(network, rules)
    hidden = hidden_matrices(network) if optimiser == "muon" else frozenset()
    groups: dict[tuple[Treatment, bool], Group] = {}
    for name, (parameter, treatment) in treatments(network, rules, optimiser=optimiser).items():
        if not parameter.requires_grad:
            continue
        group = groups.setdefault(
            (treatment, name in hidden),
            {
                "params": [],
                "names": [],
                "lr": learning_rate * treatment.rate,
                "weight_decay": weight_decay * treatment.decay,
                "frozen_steps": treatment.frozen_steps,
                "frozen_epochs": treatment.frozen_epochs,
                **({"orthogonal": name in hidden} if optimiser == "muon" else {}),
            },
        )
        group["params"].append(parameter)
        group["names"].append(name)
    return sorted(groups.values(), key=lambda group: not group.get("orthogonal", True))


def hold_frozen(optimiser: torch.optim.Optimizer, step: int, epoch: int) -> None:
    """Drop the gradients of groups that are still frozen, so that neither weights nor moments of theirs move.

    Call it before each step of the optimiser, and before gradients are clipped; `step` and `epoch` count from 0.
    """
    for group in optimiser.param_groups:
        if step < group.get("frozen_steps", 0) or epoch < group.get("frozen_epochs", 0):
            for parameter in group["params"]:
                parameter.grad = None


class _StaysInEval(_BatchNorm):
    """A batch norm that keeps its statistics whatever mode the network is put into."""

    def train(self, mode: bool = True) -> _StaysInEval:
        return super().train(False)


class FrozenBatchNorm1d(_StaysInEval, nn.BatchNorm1d):
    """Frozen by `freeze_norms`."""


class FrozenBatchNorm2d(_StaysInEval, nn.BatchNorm2d):
    """Frozen by `freeze_norms`."""


class FrozenBatchNorm3d(_StaysInEval, nn.BatchNorm3d):
    """Frozen by `freeze_norms`."""


_FROZEN_KINDS: dict[type, type] = {
    nn.BatchNorm1d: FrozenBatchNorm1d,
    nn.BatchNorm2d: FrozenBatchNorm2d,
    nn.BatchNorm3d: FrozenBatchNorm3d,
}


def freeze_norms(network: nn.Module) -> int:
    """Freeze all norms: no gradients, and batch norms use and keep the statistics they have; gives how many there are.

    They stay so after `network.train()`. Names and state dict remain. Raises `RecipeError` where there are none.
    """
    norms = [module for module in network.modules() if isinstance(module, NORMS)]
    if not norms:
        raise RecipeError("frozen_norms: the network has no norms; leave it out")
    for norm in norms:
        norm.requires_grad_(False)
        norm.__class__ = _FROZEN_KINDS.get(type(norm), type(norm))
        norm.eval()
    return len(norms)


def hidden_matrices(network: nn.Module) -> frozenset[str]:
    """Names of the weights with 2 or more dimensions between the first layer and the last ones.

    The first is the first convolution or linear layer that runs, the last ones are those whose outputs the network
    gives (for every stage, where it has some), or, if something comes behind, the last one that runs.
    """
    shadow = copy.deepcopy(network).to("meta").eval()
    ran: list[tuple[str, Tensor]] = []
    for name, layer in shadow.named_modules():
        if isinstance(layer, _ConvNd | nn.Linear):
            layer.register_forward_hook(lambda _, __, output, name=name: ran.append((name, output)))
        elif isinstance(layer, _BatchNorm):
            layer.forward = _same  # type: ignore[method-assign,assignment]  # it keeps the shape; "meta" is slow at it
    with torch.no_grad():
        picture = torch.zeros(1, 3, DRAFT, DRAFT, device="meta")
        run = getattr(shadow, "stages", shadow)  # BODY_25's gives more stages in training than otherwise
        outputs = list(_tensors(run(picture)))
    last = {name for name, output in ran if any(output is given for given in outputs)} or {ran[-1][0]}
    outer = {ran[0][0], *last}
    return frozenset(
        name
        for name, parameter in network.named_parameters()
        if parameter.ndim >= 2 and name.rpartition(".")[0] not in outer
    )


def _same(x: Tensor) -> Tensor:
    return x


def _tensors(outputs: Any) -> Iterator[Tensor]:
    if isinstance(outputs, Tensor):
        yield outputs
    else:
        for part in outputs:
            yield from _tensors(part)


def _own_rules(network: nn.Module, optimiser: str) -> tuple[ParameterRule, ...]:
    if optimiser not in ("adamw", "muon"):
        return ()
    if optimiser == "adamw":
        return UNDECAYED
    others = {name for name, _ in network.named_parameters()} - hidden_matrices(network)
    return (*UNDECAYED, ParameterRule(names=_any_of(others), decay=0.0))


def _any_of(names: Collection[str]) -> str:
    return "|".join(re.escape(name) for name in sorted(names))


def _kinds(network: nn.Module) -> Iterator[tuple[str, nn.Parameter, str]]:
    """Name, parameter and kind of each parameter, in the network's order; the kind is "other" where no rule has one."""
    owners = dict(network.named_modules())
    for name, parameter in network.named_parameters():
        owner, _, leaf = name.rpartition(".")
        yield name, parameter, _kind(owners[owner], leaf, parameter)


def _kind(module: nn.Module, leaf: str, parameter: nn.Parameter) -> str:
    if isinstance(module, NORMS):
        return f"norm-{leaf}"
    if isinstance(module, nn.PReLU):
        return "prelu"
    if leaf.endswith("bias"):
        return "bias"
    if isinstance(module, _ConvNd) and module.groups == module.in_channels > 1:
        return "depthwise"
    return "weight" if parameter.ndim >= 2 else "other"


def _matches(rule: ParameterRule, name: str, kind: str) -> bool:
    fits = rule.kind in ("any", kind) or (rule.kind == "norm" and kind.startswith("norm-"))
    return fits and re.fullmatch(rule.names, name) is not None


def _unmatched(rule: ParameterRule, names: Sequence[str]) -> str:
    named = [name for name in names if re.fullmatch(rule.names, name)]
    what = f"parameters: no parameter has a name like {rule.names!r}"
    if named:
        what = f"parameters: no parameter with a name like {rule.names!r} is of kind {rule.kind!r}"
    shown = named or names
    places = [round(n * (len(shown) - 1) / max(SHOWN - 1, 1)) for n in range(SHOWN)]
    examples = ", ".join(dict.fromkeys(shown[place] for place in places))
    return f"{what}; some of the {len(shown)} names are {examples}"
