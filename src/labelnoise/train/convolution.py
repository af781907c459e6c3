"""Convolutions of the networks here: zero-padded to keep the image's size, without a bias."""

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional


def convolve(
    x: Float[Tensor, "*image channel row column"],
    weight: Float[Tensor, "output channel size size"],
    stride: int,
) -> Float[Tensor, "*image output row2 column2"]:
    """The convolution of images with square kernels of odd size.

    A 1×1 kernel with a stride reads only every `stride`-th pixel: these are taken first and
    convolved with stride 1. This is the same function, and the other way is not safe: in the
    backward pass of such a convolution oneDNN writes past its buffers where there are fewer
    channels than a vector of the CPU holds (docs/upstream/onednn-1x1-stride2.md).
    """
    size = weight.shape[-1]
    if size == 1 and stride > 1:
        # windows of one pixel: unlike a slice's, the gradient keeps the layout of the images
        x, stride = functional.avg_pool2d(x, 1, stride), 1
    return functional.conv2d(x, weight, stride=stride, padding=size // 2)


class Convolution(nn.Conv2d):
    """`convolve` with a weight of its own."""

    def __init__(self, channels_in: int, channels_out: int, size: int, stride: int) -> None:
        super().__init__(channels_in, channels_out, size, stride, size // 2, bias=False)

    def forward(
        self, input: Float[Tensor, "*image channel row column"]
    ) -> Float[Tensor, "*image output row2 column2"]:
        """The convolution."""
        return convolve(input, self.weight, self.stride[0])
