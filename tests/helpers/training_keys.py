"""Keys, in a checkpoint, of what only training needs."""

_STATE = ("gradient", "mask", "old_old_weight", "old_weight", "threshold")


def state_keys(*weights):
    return [f"{weight}/pruning/{kind}" for weight in weights for kind in _STATE]


def adam_keys(trainable):
    slots = [f"optimizer/_variables/{index}" for index in range(2, 2 + 2 * trainable)]
    return ["optimizer/_iterations", "optimizer/_learning_rate", *slots]
