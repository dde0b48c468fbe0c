"""Torch-Pruning on the digits CNN of channels.py, run by it in an environment of its own; prints one line of JSON."""

import copy
import json
import sys

import numpy as np
import torch
import torch_pruning
from sklearn.datasets import load_digits

_TRAIN, _BATCH, _EPOCHS, _RATE = 1280, 64, 40, 2e-3
_SHARE, _FIRST_EPOCHS, _STEPS, _STEPS_AN_EPOCH, _SAMPLES = 0.25, 6, 60, 3, 256
_IMPORTANCES = {
    "GroupTaylorImportance": torch_pruning.importance.GroupTaylorImportance,
    "GroupMagnitudeImportance": torch_pruning.importance.GroupMagnitudeImportance,
}


def main(seeds: list[int]) -> None:
    """Trains dense and pruned networks for each seed."""
    torch.set_num_threads(2)
    found = {}
    for name, importance in _IMPORTANCES.items():
        rows = [_pruned(seed, importance()) for seed in seeds]
        found[name] = {what: [row[what] for row in rows] for what in rows[0]}
    print(json.dumps(found))


def _pruned(seed: int, importance: object) -> dict[str, float]:
    torch.manual_seed(seed)
    network, random = _network(), torch.Generator().manual_seed(seed)
    dense = copy.deepcopy(network)
    _train(dense, _EPOCHS, torch.Generator().manual_seed(seed))
    images, digits = _data()
    example = images[:1]
    multiply_adds, parameters = torch_pruning.utils.count_ops_and_params(network, example)
    _train(network, _FIRST_EPOCHS, random)
    pruner = torch_pruning.pruner.BasePruner(
        network,
        example,
        importance=importance,
        pruning_ratio=0.9,
        iterative_steps=_STEPS,
        ignored_layers=[network[-1]],
        global_pruning=True,
    )
    trained = _FIRST_EPOCHS
    for step in range(_STEPS):
        sample = torch.randperm(_TRAIN, generator=random)[:_SAMPLES]
        network.zero_grad()
        torch.nn.functional.cross_entropy(network(images[sample]), digits[sample]).backward()
        pruner.step()
        left, parameters_left = torch_pruning.utils.count_ops_and_params(network, example)
        if left <= _SHARE * multiply_adds:
            break
        if step % _STEPS_AN_EPOCH == _STEPS_AN_EPOCH - 1:
            _train(network, 1, random)
            trained += 1
    _train(network, _EPOCHS - trained, random)
    return {
        "dense": _accuracy(dense),
        "accuracy": _accuracy(network),
        "multiply_adds": left / multiply_adds,
        "parameters": parameters_left / parameters,
    }


def _network() -> torch.nn.Sequential:
    nn = torch.nn
    return nn.Sequential(
        nn.Conv2d(1, 32, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(32, 64, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(64, 128, 3, padding=1),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(128, 64),
        nn.ReLU(),
        nn.Linear(64, 10),
    )


def _data() -> tuple[torch.Tensor, torch.Tensor]:
    images, digits = load_digits(return_X_y=True)
    order = np.random.RandomState(5).permutation(len(images))
    return torch.tensor((images / 16).astype(np.float32).reshape(-1, 1, 8, 8)[order]), torch.tensor(digits[order])


def _train(network: torch.nn.Module, epochs: int, random: torch.Generator) -> None:
    images, digits = _data()
    optimizer = torch.optim.Adam(network.parameters(), _RATE)
    for _ in range(epochs):
        for batch in torch.randperm(_TRAIN, generator=random).split(_BATCH):
            optimizer.zero_grad()
            torch.nn.functional.cross_entropy(network(images[batch]), digits[batch]).backward()
            optimizer.step()


def _accuracy(network: torch.nn.Module) -> float:
    images, digits = _data()
    with torch.no_grad():
        return (network(images[_TRAIN:]).argmax(1) == digits[_TRAIN:]).float().mean().item()


if __name__ == "__main__":
    main([int(each) for each in sys.argv[1:]])
