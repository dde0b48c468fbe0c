"""A model of two towers whose layers have the same names, so that their weights have the same paths."""

import keras


def two_towers(version=keras, user=10, item=10):
    """A model of `version`, keras or tf_keras, on two inputs of 12 numbers.

    `user` and `item` are the widths of the towers' layers 'hidden'; then comes 'out', of width 4, and above both 'top'.
    """
    layers = version.layers

    def tower(name, units):
        inputs = layers.Input((12,))
        return version.Model(inputs, layers.Dense(4, name="out")(layers.Dense(units, name="hidden")(inputs)), name=name)

    inputs = layers.Input((12,)), layers.Input((12,))
    both = [tower(name, units)(each) for name, units, each in zip(("user", "item"), (user, item), inputs, strict=True)]
    return version.Model(inputs, layers.Dense(1, name="top")(layers.Concatenate()(both)))


def hidden_kernel(model, tower):
    """The kernel of the layer 'hidden' of one tower."""
    return model.get_layer(tower).get_layer("hidden").kernel
