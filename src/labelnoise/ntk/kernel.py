"""The empirical neural tangent kernel of any network, within a bound on memory."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

from .jacobian import Jacobian, Network, Params, Rows
from .modules import function_of, mode, require_ntk, trained


def empirical_ntk(
    network: nn.Module | Network,
    x1: Float[Tensor, "image1 ..."],
    x2: Float[Tensor, "image2 ..."] | None = None,
    *,
    params: Params | None = None,
    memory: int = 2**30,
) -> Float[Tensor, "image1 class image2 class"]:
    """K = J(x1) J(x2)ᵀ, J = ∂f/∂params, in the precision of the network.

    A block of rows of J is held in half of the memory; the others stream past it, computed anew for
    each block that is held. A block that a GPU has no room for is halved.

    Args:
        network: a module, which is evaluated (no dropout) and left as it was; or a pure function
            (params, x) → outputs of dims (image, class), each of its own image only.
        x1: images.
        x2: images; none, or x1 itself: those of x1, and K is symmetric to the last bit.
        params: what it is differentiated by, and where, by name; of a module those with
            `requires_grad`, as they are, unless others are given. A function needs them.
        memory: bytes that tensors other than the arguments and the result may take.

    Raises:
        TypeError: a function without `params`.
        ValueError: one output of one image takes more than `memory`; the outputs are not of the
            form (image, class); a module's outputs depend on other images (batch norm), or it has
            a recurrent layer of torch's.
    """
    if isinstance(network, nn.Module):
        require_ntk(network)
        params = trained(network) if params is None else params
        with mode(network, training=False):
            return _kernel(function_of(network), params, x1, x2, memory)
    if params is None:
        raise TypeError("params: a function's NTK is taken by parameters, and none are given")
    return _kernel(network, params, x1, x2, memory)


@torch.no_grad()  # always: some layers round otherwise where a graph is made
def _kernel(
    function: Network, params: Params, x1: Tensor, x2: Tensor | None, memory: int
) -> Tensor:
    symmetric = x2 is None or x2 is x1
    other = x1 if x2 is None else x2
    jacobian = Jacobian(function, params, x1)
    smallest = _smallest(jacobian, x1)
    if memory < smallest:
        raise ValueError(
            f"memory = {memory} bytes is too little: one output of one image takes {smallest} bytes"
        )
    kernel = jacobian.out.new_empty(len(x1), jacobian.classes, len(other), jacobian.classes)
    flat = kernel.view(len(x1) * jacobian.classes, -1)
    blocks, done = None, 0
    while done < len(flat):
        try:
            blocks = blocks or _plan(jacobian, x1, memory)
            done = _fill(flat, done, jacobian, (x1, other), symmetric, blocks)
        except torch.cuda.OutOfMemoryError:  # of any device
            if memory // 2 < smallest:
                raise
            memory, blocks = memory // 2, None
    if symmetric:
        for row in range(len(flat)):
            flat[row + 1 :, row] = flat[row, row + 1 :]
    return kernel


def ntk_drift(
    k0: Float[Tensor, "image1 class image2 class"], kt: Float[Tensor, "image1 class image2 class"]
) -> float:
    """‖K_t − K_0‖_F / ‖K_0‖_F: how far training moved the kernel; 0 for a lazy network."""
    return float(torch.linalg.vector_norm(kt - k0) / torch.linalg.vector_norm(k0))


@dataclass(frozen=True)
class _Blocks:
    """Most rows (an image's output) held and streamed, most images and classes of one pass."""

    held: int
    streamed: int
    images: int
    classes: int


def _row_bytes(jacobian: Jacobian) -> tuple[int, int]:
    """Bytes of an image whatever its number of rows, and of each row."""
    dense, inputs, slopes = jacobian.sizes
    size = jacobian.out.element_size()
    return size * sum(inputs), size * (sum(dense) + sum(slopes))


def _smallest(jacobian: Jacobian, x: Tensor) -> int:
    """Bytes without which not a single row can be had: a quarter for a pass, as in `_plan`."""
    row = sum(_row_bytes(jacobian)) + jacobian.out.element_size()
    return 4 * max(row, jacobian.peak(x[:1], slice(0, 1)))


def _plan(jacobian: Jacobian, x: Tensor, memory: int) -> _Blocks:
    """Half of the memory to the rows held, a quarter each to those streamed and to a pass."""
    image, row = _row_bytes(jacobian)
    size, classes = jacobian.out.element_size(), jacobian.classes
    held = min(_rows_in(memory // 2, image, row, classes), classes * len(x))
    streamed = _rows_in(memory // 4, image, row + size * held, classes)
    if streamed == 0:  # leave room for the product
        held = (memory // 4 - image - row) // size
        streamed = 1
    # a pass of more images or classes takes at most in proportion
    part = min(classes, memory // 4 // jacobian.peak(x[:1], slice(0, 1)))
    images = max(1, memory // 4 // jacobian.peak(x[:1], slice(0, part)))
    return _Blocks(held, streamed, images, part)


def _rows_in(memory: int, image: int, row: int, classes: int) -> int:
    """Whole images' rows if one fits, else some rows of one image."""
    whole = memory // (image + classes * row)
    return classes * whole if whole else max(0, (memory - image) // row)


def _span(start: int, most: int, end: int, classes: int) -> tuple[slice, slice, int]:
    """Images and classes of at most `most` rows from `start` on, and the row where they stop."""
    image, first = divmod(start, classes)
    most = min(most, end - start)
    if first == 0 and most >= classes:
        images = most // classes
        return slice(image, image + images), slice(0, classes), start + images * classes
    stop = min(first + most, classes)
    return slice(image, image + 1), slice(first, stop), start + stop - first


def _rows(jacobian: Jacobian, x: Tensor, classes: slice, blocks: _Blocks) -> Rows:
    """A block of the Jacobian, pass by pass."""
    rows = jacobian.empty(len(x), classes.stop - classes.start)
    for image in range(0, len(x), blocks.images):
        images = slice(image, min(image + blocks.images, len(x)))
        for first in range(classes.start, classes.stop, blocks.classes):
            some = slice(first, min(first + blocks.classes, classes.stop))
            place = slice(some.start - classes.start, some.stop - classes.start)
            rows.part(images, place).copy_from(jacobian.evaluate(x[images], some))
    return rows


def _fill(
    flat: Float[Tensor, "row1 row2"],
    start: int,
    jacobian: Jacobian,
    x: tuple[Tensor, Tensor],
    symmetric: bool,
    blocks: _Blocks,
) -> int:
    """Compute one block of rows of K, of a symmetric one from its diagonal on; where it stops."""
    images, classes, stop = _span(start, blocks.held, len(flat), jacobian.classes)
    held = _rows(jacobian, x[0][images], classes, blocks)
    column = start if symmetric else 0
    flat[start:stop, column:] = 0
    while column < flat.shape[1]:
        end = stop if symmetric and column < stop else flat.shape[1]
        its_images, its_classes, until = _span(column, blocks.streamed, end, jacobian.classes)
        if symmetric and column < stop:
            streamed = held.part(
                slice(its_images.start - images.start, its_images.stop - images.start),
                slice(its_classes.start - classes.start, its_classes.stop - classes.start),
            )
        else:
            streamed = _rows(jacobian, x[1][its_images], its_classes, blocks)
        held.add_product(streamed, flat[start:stop, column:until])
        del streamed
        column = until
    return stop
