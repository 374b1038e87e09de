"""The classic network for small images."""

import pytest
import torch

from bigray.errors import RecipeError
from bigray.models import lenet


@pytest.mark.parametrize("size", [10, 28, 64])
def test_logits_for_images_of_many_sizes(size: int) -> None:
    network = lenet.build({"kind": "image", "image_size": size, "classes": 7, **lenet.OPTIONS["image"]}).eval()
    images = torch.randn(3, 3, size, size)
    logits = network(images)
    assert logits.shape == (3, 7)
    assert torch.allclose(network(images[:1]), logits[:1], atol=1e-5)


def test_as_many_weights_as_the_textbook_one() -> None:
    network = lenet.build({"kind": "image", "image_size": 28, "classes": 10, **lenet.OPTIONS["image"]})
    counts = {name: sum(one.numel() for one in layer.parameters()) for name, layer in network.named_children()}
    assert counts == {"conv1": 896, "conv2": 18_496, "dropout": 0, "dense": 204_928, "head": 1290}


@pytest.mark.parametrize("size", [9, 65])
def test_images_of_other_sizes_are_refused(size: int) -> None:
    with pytest.raises(RecipeError, match=f"10 to 64 pixels \\(got {size}\\)"):
        lenet.build({"kind": "image", "image_size": size, "classes": 7, **lenet.OPTIONS["image"]})
