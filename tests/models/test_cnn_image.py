"""The residual network for images."""

import pytest
import torch

from bigray.models import cnn
from bigray.models._cnn_image import stem_stride


@pytest.mark.parametrize("size", [8, 32, 96])
def test_logits_for_images_of_many_sizes(size: int) -> None:
    options = {"kind": "image", "image_size": size, "classes": 7, **cnn.OPTIONS["image"], "width": 8}
    network = cnn.build(options).eval()
    images = torch.randn(3, 3, size, size)
    logits = network(images)
    assert logits.shape == (3, 7)
    assert torch.allclose(network(images[:1]), logits[:1], atol=1e-5)


def test_the_stem_shrinks_large_images_only() -> None:
    assert [stem_stride(size) for size in (8, 32, 64, 96, 224, 512)] == [1, 1, 1, 2, 4, 8]
