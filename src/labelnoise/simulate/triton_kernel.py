"""The GPU kernel: many steps of SGD or SAM of one run a program, by Triton.

The state of a run is read once, stays in registers for all steps of a call, and is written once.
Sample order and label noise are drawn where they are needed, by the Philox of `labelnoise.rng`:
the same words, so the same samples and signs as on a CPU. The rules are those of `compiled`; sums
have another order, so that results agree to rounding and not bit by bit.
"""

import triton
import triton.language as tl

from labelnoise.rng import Stream

# the second word of Philox's key, where Triton wants it
_ORDER = tl.constexpr(int(Stream.SAMPLE_ORDER) << 32)
_NOISE = tl.constexpr(int(Stream.LABEL_NOISE) << 32)


# a call of 16 steps needs no other machine code than one of 15
@triton.jit(do_not_specialize=["start", "count"])
def advance(  # type: ignore[no-untyped-def]
    state,
    x,
    y,
    squares,
    problem_of,
    seeds,
    eta,
    sigma,
    rho,
    active,
    unit_noise,
    taken,
    start: tl.int64,
    count: tl.int64,
    limit: tl.float64,
    SAMPLES: tl.constexpr,
    INPUTS: tl.constexpr,
    NEURONS: tl.constexpr,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
    SAM: tl.constexpr,
    SCHEDULED: tl.constexpr,
    GAUSSIAN: tl.constexpr,
):
    """Take `count` steps from step `start` on, of one run a program, in place.

    The dtype of `state` is that of the arithmetic; `x`, `y` and `squares` share it.

    Args:
        state: [W | a] of each run, transposed; (run, input + 1, neuron).
        x: inputs of each seed; (problem, sample, input).
        y: clean labels; (problem, sample).
        squares: ‖x‖² of each sample, read by SAM alone; (problem, sample).
        problem_of: which seed's problem a run has; (run,).
        seeds: the seeds; (problem,).
        eta: learning rate η of each run, float64; (run,).
        sigma: label noise σ of each run, float64; (run,).
        rho: SAM's radius ρ of each run, float64; (run,).
        active: 1 in steps with label noise, from `start` on, read if SCHEDULED; (count,).
        unit_noise: label noise ε/σ, float64, from `start` on, read if GAUSSIAN; (problem, count).
        taken: out: steps taken, fewer than `count` if and only if the run diverged, and then the
            state is the one before the step that it did not take; −1 on entry marks a run that
            has diverged, which is left alone; (run,).
        start: the first step.
        count: steps to take.
        limit: a residual beyond this, or not finite, is divergence.
        SAMPLES: samples n.
        INPUTS: inputs of the core.
        NEURONS: neurons of the core.
        ROWS: a power of 2, at least INPUTS.
        COLUMNS: a power of 2, at least NEURONS.
        SAM: SAM, not SGD.
        SCHEDULED: label noise is not always on.
        GAUSSIAN: label noise is read from `unit_noise`, not drawn as signs.
    """
    run = tl.program_id(0)
    if tl.load(taken + run) < 0:
        return
    dtype = state.dtype.element_ty
    problem = tl.load(problem_of + run).to(tl.int64)
    seed = tl.load(seeds + problem)
    learning_rate = tl.load(eta + run).to(dtype)
    level = tl.load(sigma + run)
    radius = tl.load(rho + run).to(dtype)
    row, column = tl.arange(0, ROWS), tl.arange(0, COLUMNS)
    # neurons and inputs that are there to fill up are zero, and stay it
    w_there = (row[:, None] < INPUTS) & (column[None, :] < NEURONS)
    home = state + run.to(tl.int64) * ((INPUTS + 1) * NEURONS)
    w_home = home + row[:, None] * NEURONS + column[None, :]
    a_home = home + INPUTS * NEURONS + column
    w = tl.load(w_home, mask=w_there, other=0.0)
    a = tl.load(a_home, mask=column < NEURONS, other=0.0)
    inputs = x + problem * (SAMPLES * INPUTS)
    first = problem * SAMPLES
    start, count = start.to(tl.int64), count.to(tl.int64)  # the interpreter has int32 here
    end = start + count
    steps = count
    block = start // 4
    while (block * 4 < end) & (steps == count):
        # a block of Philox holds the words of four steps
        low, high = (block & 0xFFFFFFFF).to(tl.uint32), (block >> 32).to(tl.uint32)
        picks = tl.philox(seed | _ORDER, low, high, 0, 0)
        coins = tl.philox(seed | _NOISE, low, high, 0, 0)
        for lane in tl.static_range(4):
            t = block * 4 + lane
            inside = (t >= start) & (t < end)
            sample = tl.umulhi(picks[lane], tl.full((), SAMPLES, tl.uint32)).to(tl.int64)
            if GAUSSIAN:
                noise = tl.load(unit_noise + problem * count + (t - start), mask=inside, other=0.0)
            else:
                noise = tl.where(coins[lane] >> 31 != 0, 1.0, -1.0).to(tl.float64)
            noise = noise * level
            if SCHEDULED:
                noise = noise * tl.load(active + (t - start), mask=inside, other=0).to(tl.float64)
            now = tl.load(inputs + sample * INPUTS + row, mask=row < INPUTS, other=0.0)
            target = tl.load(y + first + sample) + noise.to(dtype)
            hidden = tl.sum(w * now[:, None], 0)
            output = tl.sum(a * hidden, 0)
            residual = output - target
            taking = inside & (steps == count)
            bad = taking & ~(tl.abs(residual) <= limit)
            steps = tl.where(bad, t - start, steps)
            taking = taking & ~bad
            if SAM:
                square = tl.load(squares + first + sample)
                squared_norm = tl.sum(a * a, 0) * square + tl.sum(hidden * hidden, 0)
                sloped = (squared_norm > 0) & (residual != 0)
                size = radius / tl.sqrt(tl.where(sloped, squared_norm, 1.0))
                c = tl.where(sloped, tl.where(residual < 0, -size, size), 0.0)
                cx = c * square
                step = -learning_rate * (residual + c * (squared_norm + cx * output))
                by = a + c * hidden
                at = hidden + cx * a
            else:
                step = -learning_rate * residual
                by = a
                at = hidden
            # a step that is not taken adds exactly nothing, whatever overflowed
            change = tl.where(taking, step, 0.0) * now
            w += change[:, None] * tl.where(taking, by, 0.0)[None, :]
            a += tl.where(taking, step * at, 0.0)
        block += 1
    tl.store(w_home, w, mask=w_there)
    tl.store(a_home, a, mask=column < NEURONS)
    tl.store(taken + run, steps)
