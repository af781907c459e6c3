"""The label-noise flow: its identities and limits, and what it predicts of runs."""

import functools

import numpy as np
import pytest
import torch

from labelnoise.analyze.flow.dynamics import Dynamics, boost, generator, relax
from labelnoise.analyze.flow.limits import (
    collapse_radius,
    early_steps,
    end_state,
    equivalent_sigma,
    stability_limit,
    transverse_rate,
)
from labelnoise.analyze.flow.trajectory import Flow
from labelnoise.analyze.phases import escape_step
from labelnoise.simulate.compiled_engine import CompiledEngine
from labelnoise.simulate.problem import draw_problem
from labelnoise.simulate.rules import sam_step, sgd_step
from labelnoise.simulate.run import prepare, simulate
from labelnoise.simulate.settings import Settings

SMALL = Settings(samples=60, width=40, dim=6, eta=2e-3, sigma=1.0)
"""A small network, for identities that hold for any."""


def dynamics_of(settings, problem):
    return Dynamics(
        problem.theta_star,
        problem.x.T @ problem.x / settings.samples,
        settings.learning_rate,
        settings.sigma,
        settings.rho if settings.algorithm == "sam" else 0.0,
        settings.noise,
    )


def flow_of(settings, seed=0, steps=None):
    problem = draw_problem(settings, seed)
    dynamics = dynamics_of(settings, problem)
    return Flow(problem.w, problem.a, dynamics, steps or settings.steps)


def lorentz(dim):
    return np.diag(np.append(np.ones(dim), -1.0))


def one_step(rule, seed=0, **options):
    """[W | a] before and after a step of a rule, its sample and its residual."""
    problem = draw_problem(SMALL, seed)
    x, target = problem.x[3], problem.y[3] + 0.7
    values = (problem.w, problem.a, x, target, 0.01, *options.values())
    w, a, r = rule(*(torch.as_tensor(np.asarray(value))[None] for value in values))
    before = np.column_stack([problem.w, problem.a])
    return before, np.column_stack([w[0].numpy(), a[0].numpy()]), x, float(r[0])


# the exact identities of a step


def test_a_step_of_sgd_is_the_multiplication_by_its_generator():
    p, after, x, r = one_step(sgd_step)
    np.testing.assert_allclose(after, p @ (np.eye(7) - 0.01 * r * generator(x)), atol=1e-14)


def test_a_step_of_sgd_moves_the_invariant_at_second_order_alone():
    """Δ(WWᵀ − aaᵀ) = η²r²(‖x‖²aaᵀ − W x xᵀWᵀ), exactly."""
    p, after, x, r = one_step(sgd_step)
    j, hidden, a = lorentz(6), p[:, :-1] @ x, p[:, -1]
    moved = after @ j @ after.T - p @ j @ p.T
    expected = (0.01 * r) ** 2 * (x @ x * np.outer(a, a) - np.outer(hidden, hidden))
    np.testing.assert_allclose(moved, expected, atol=1e-14)
    assert np.abs(expected).max() > 1e-5


def test_a_step_of_sgd_shrinks_the_determinant():
    """det(PᵀP) is multiplied by (1 − η²r²‖x‖²)², exactly."""
    p, after, x, r = one_step(sgd_step)
    ratio = np.linalg.det(after.T @ after) / np.linalg.det(p.T @ p)
    assert ratio == pytest.approx((1 - (0.01 * r) ** 2 * (x @ x)) ** 2, rel=1e-10)
    assert ratio < 1 - 1e-6


def test_a_step_of_sam_moves_the_invariant_by_its_own_pull():
    """PJPᵀ ← PJ[(I − ηr̃cS_x²)² − η²r̃²S_x²]Pᵀ, exactly, with c = ρ sign(r)/N."""
    rho = 0.3
    p, after, x, r = one_step(sam_step, rho=rho)
    hidden, a = p[:, :-1] @ x, p[:, -1]
    square = a @ a * (x @ x) + hidden @ hidden
    c = rho * np.sign(r) / np.sqrt(square)
    there = r + c * (square + c * (x @ x) * (a @ hidden))
    s2 = generator(x) @ generator(x)
    j, pull = lorentz(6), 0.01 * there * c * s2
    inner = np.linalg.matrix_power(np.eye(7) - pull, 2) - (0.01 * there) ** 2 * s2
    np.testing.assert_allclose(after @ j @ after.T, p @ j @ inner @ p.T, atol=1e-13)


# the fast variable


def test_a_boost_is_the_exponential_and_keeps_the_invariant():
    from scipy.linalg import expm

    u = np.random.default_rng(0).normal(size=5)
    np.testing.assert_allclose(boost(u), expm(generator(u)), rtol=1e-12)
    np.testing.assert_allclose(boost(u) @ lorentz(5) @ boost(u).T, lorentz(5), atol=1e-12)
    np.testing.assert_allclose(boost(np.zeros(5)), np.eye(6))


def test_the_residual_is_that_of_the_linear_network_at_rest():
    """E r² against 4·10⁵ steps of θ ← θ − ηrKx on fresh inputs, at half the stability limit."""
    d, sigma, kappa = 8, 1.5, 30.0
    dynamics = Dynamics(np.eye(d)[0], np.eye(d), 1 / (kappa * (d + 2)), sigma)
    generator_ = np.random.default_rng(0)
    delta, total, steps, runs = np.zeros((200, d)), 0.0, 2000, 200
    for step in range(steps + 100):
        x = generator_.standard_normal((runs, d))
        r = (delta * x).sum(1) - sigma * generator_.choice([-1, 1], runs)
        total += np.mean(r**2) if step >= 100 else 0.0
        delta = delta - dynamics.eta * kappa * r[:, None] * x
    found = dynamics.fast(kappa * np.eye(d))
    assert found.residual_variance == pytest.approx(total / steps, rel=0.02)
    e = dynamics.eta * kappa * d / (2 - dynamics.eta * kappa * (d + 2))
    assert found.residual_variance == pytest.approx(sigma**2 * (1 + e))
    assert found.rate == pytest.approx(dynamics.eta**2 * sigma**2 * (1 + (1 + 2 / d) * e))


@pytest.mark.parametrize("noise", ["sign", "gaussian"])
@pytest.mark.parametrize("sigma", [0.0, 1.0])
def test_sams_residual_solves_its_balance_and_goes_over_into_sgds(noise, sigma):
    """Against draws of z − ε; and ρ → 0 gives SGD where there is label noise."""
    d, eta, rho = 400, 1e-4, 0.2
    fast = Dynamics(np.eye(d)[0], np.eye(d), eta, sigma, rho, noise).fast(5 * np.eye(d))
    draw = np.random.default_rng(1)
    z = np.sqrt(5 * d * fast.h) * draw.standard_normal(10**6)
    epsilon = sigma * (
        draw.choice([-1.0, 1.0], 10**6) if noise == "sign" else draw.standard_normal(10**6)
    )
    r, n = z - epsilon, np.sqrt(5 * d)
    there = r + rho * n * np.sign(r)
    assert np.mean(z * there) == pytest.approx(eta * 5 * d / 2 * np.mean(there**2), rel=0.03)
    assert np.mean(z * there) == pytest.approx(fast.friction * np.mean(z**2), rel=0.03)
    rate = np.mean(2 * eta * there * rho * np.sign(r) / n + eta**2 * there**2)
    assert fast.rate == pytest.approx(rate, rel=0.02)
    if sigma:
        plain = Dynamics(np.eye(d)[0], np.eye(d), eta, sigma).fast(5 * np.eye(d))
        near = Dynamics(np.eye(d)[0], np.eye(d), eta, sigma, 1e-9, noise).fast(5 * np.eye(d))
        assert near.rate == pytest.approx(plain.rate, rel=1e-5)
        assert near.h == pytest.approx(plain.h, rel=1e-5)


def test_fluctuations_have_the_mean_and_the_spread_of_the_predictor():
    """E θ = θ* + δ̄ and Cov θ = hK to leading order: the rest falls as h²."""
    flow = flow_of(SMALL, steps=10)
    p, normals = flow.core(0), np.random.default_rng(0).standard_normal((5_000, 6))
    gaps = []
    for sigma in (8.0, 4.0):
        dynamics = Dynamics(flow.dynamics.theta_star, flow.dynamics.covariance, 2e-3, sigma)
        metric = dynamics.metric(p)
        fast = dynamics.fast(metric)
        shaken = p @ dynamics.fluctuations(metric, fast, np.concatenate([normals, -normals]))
        theta = np.einsum("dni,dn->di", shaken[:, :, :-1], shaken[:, :, -1])
        error = dynamics.mean_error(metric, fast)
        gaps.append(np.linalg.norm(theta.mean(0) - dynamics.theta_star - error))
        assert gaps[-1] < 0.15 * np.linalg.norm(error)
        covariance = np.cov(theta.T)
        np.testing.assert_allclose(covariance, fast.h * metric, atol=0.1 * covariance.max())
    assert gaps[0] > 10 * gaps[1]  # h is a quarter of it


def test_the_mean_predictor_is_as_much_shorter_as_predicted():
    """⟨E θ − θ*, θ̂⟩ of a run at its end: about −½ησ²√d."""
    settings = Settings(width=50, dim=10, eta=2e-3, sigma=3.0, steps=2_000_000, snapshots=2)
    engine, thetas = CompiledEngine([prepare(settings, 0)]), []
    engine.advance(500_000)
    for _ in range(3000):
        engine.advance(500)
        core = engine.core(0)
        thetas.append(core[:, :-1].T @ core[:, -1])
    flow = flow_of(settings)
    metric = flow.dynamics.metric(flow.core(2e6))
    shift = flow.dynamics.theta_star @ flow.dynamics.mean_error(metric, flow.dynamics.fast(metric))
    measured = np.mean(thetas, axis=0) @ flow.dynamics.theta_star - 1
    assert shift == pytest.approx(-0.5 * 2e-3 * 9 * np.sqrt(10), rel=0.15)
    assert measured == pytest.approx(shift, rel=0.25)


def test_beyond_the_stability_limit_there_is_no_prediction():
    limit = stability_limit(300, 10)
    settings = Settings(width=300, dim=10, samples=100_000, eta=0.9 * limit, steps=10, snapshots=2)
    flow_of(settings)
    with pytest.raises(ValueError, match="beyond the stability limit"):
        flow_of(settings.model_copy(update={"eta": 1.15 * limit}))


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"eta": 0.0}, "eta"),
        ({"sigma": -1.0}, "sigma"),
        ({"rho": -1.0}, "rho"),
        ({"covariance": np.diag([1.0, 0.0])}, "full rank"),
    ],
)
def test_settings_without_a_flow_are_refused(changed, message):
    right = {"theta_star": np.ones(2), "covariance": np.eye(2), "eta": 0.1, "sigma": 1.0}
    with pytest.raises(ValueError, match=message):
        Dynamics(**right | changed)


# the slow flow


def test_gradient_flow_reaches_the_zero_loss_set_and_keeps_the_invariant():
    problem = draw_problem(SMALL, 1)
    p = np.column_stack([problem.w, problem.a])
    after = relax(p, dynamics_of(SMALL, problem))
    np.testing.assert_allclose(after[:, :-1].T @ after[:, -1], problem.theta_star, atol=1e-7)
    np.testing.assert_allclose(after @ lorentz(6) @ after.T, p @ lorentz(6) @ p.T, atol=1e-7)
    # and it is where gradient descent of a small learning rate goes
    gd = Settings(
        algorithm="gd", samples=60, width=40, dim=6, eta=2e-3, sigma=0.0, steps=20_000, snapshots=2
    )
    norm = np.linalg.norm(after[:, :-1], axis=1)
    np.testing.assert_allclose(simulate(gd, [1])["w_norm"][0, -1], norm, rtol=2e-3)


def test_nothing_can_start_at_the_saddle():
    with pytest.raises(RuntimeError, match="zero-loss set"):
        relax(np.zeros((3, 3)), Dynamics(np.ones(2), np.eye(2), 0.1, 1.0))


def test_the_slow_flow_stays_on_the_set_and_descends_the_trace_of_the_hessian():
    flow = flow_of(SMALL, steps=2e6)
    traces = []
    for step in np.linspace(0, 2e6, 30):
        p = flow.core(step)
        np.testing.assert_allclose(p[:, :-1].T @ p[:, -1], flow.dynamics.theta_star, atol=1e-5)
        traces.append(np.trace(flow.dynamics.covariance @ flow.dynamics.metric(p)))
    assert np.all(np.diff(traces) <= 1e-6)
    assert traces[-1] < 0.5 * traces[0]


def test_the_slow_flow_is_the_projected_gradient_of_that_trace():
    """dP/dτ = −¼∇ tr(ΣK) less its part along the normals PS_b of the zero-loss set."""
    flow = flow_of(SMALL, steps=10)
    p, dynamics = flow.core(0), flow.dynamics
    trace = np.trace(dynamics.covariance)
    gradient = 2 * np.column_stack([p[:, :-1] @ dynamics.covariance, p[:, -1] * trace])
    normals = np.stack([(p @ generator(unit)).ravel() for unit in np.eye(6)], axis=1)
    along = normals @ np.linalg.lstsq(normals, gradient.ravel(), rcond=None)[0]
    slope = p @ dynamics.slow_generator(dynamics.metric(p))
    np.testing.assert_allclose(slope.ravel(), -(gradient.ravel() - along) / 4, atol=1e-7)


def test_it_ends_with_one_direction_and_balanced_layers():
    settings = SMALL.model_copy(update={"width": 500})
    problem = draw_problem(settings, 0)
    flow = Flow(problem.w, problem.a, Dynamics(problem.theta_star, np.eye(6), 1e-3, 1.0), 4e7)
    p = flow.core(4e7)
    w2, a2, mean_norm = end_state(6, 500, 1.0)
    assert (p[:, :-1] ** 2).sum() == pytest.approx(w2, rel=1e-4)
    assert (p[:, -1] ** 2).sum() == pytest.approx(a2, rel=1e-4)
    assert np.linalg.svd(p)[1][1] < 1e-4
    norms = np.linalg.norm(flow.neurons(4e7)[:, :-1], axis=1)
    assert norms.mean() == pytest.approx(mean_norm, rel=0.06)  # a mean of 500 half-normals


def test_early_on_the_first_layer_decays_freely():
    """W(t) = W(0) exp(−Στ/2), up to what a wide network needs in order to turn: O(d²/m)."""
    errors = []
    for width in (500, 8000):
        settings = SMALL.model_copy(update={"width": width, "eta": 1e-5})
        flow = flow_of(settings, steps=4e9)
        values, vectors = np.linalg.eigh(flow.dynamics.covariance)
        step = 3e9
        decay = (vectors * np.exp(-values * flow.tau(step) / 2)) @ vectors.T
        w = draw_problem(settings, 0).w
        errors.append(np.linalg.norm(flow.neurons(step)[:, :-1] - w @ decay) / np.linalg.norm(w))
    assert flow.tau(step) == pytest.approx(0.3, rel=0.3)
    assert errors[1] < 0.005
    assert errors[0] > 2 * errors[1]


def test_rotating_the_inputs_or_the_neurons_changes_nothing():
    problem = draw_problem(SMALL, 0)
    dynamics = dynamics_of(SMALL, problem)
    draw = np.random.default_rng(0)
    v, q = (np.linalg.qr(draw.normal(size=(n, n)))[0] for n in (6, 40))
    plain = Flow(problem.w, problem.a, dynamics, 1e6)
    turned = Dynamics(v.T @ problem.theta_star, v.T @ dynamics.covariance @ v, 2e-3, 1.0)
    inputs = Flow(problem.w @ v, problem.a, turned, 1e6)
    neurons = Flow(q @ problem.w, q @ problem.a, dynamics, 1e6)
    at = plain.neurons(1e6)
    np.testing.assert_allclose(inputs.neurons(1e6)[:, :-1] @ v.T, at[:, :-1], atol=1e-5)
    np.testing.assert_allclose(q.T @ neurons.neurons(1e6), at, atol=1e-5)


def test_a_prediction_of_many_dimensions_takes_well_under_a_second():
    import time

    settings = Settings(dim=50, samples=500, width=2000, eta=2e-4)
    flow_of(settings, steps=10)
    start = time.process_time()
    flow = flow_of(settings, steps=5e6)
    assert flow.tau(5e6) > 3
    assert time.process_time() - start < 1.0


# against runs


@pytest.mark.parametrize(
    "changed",
    [
        {"sigma": 8.0},
        {"width": 300},
        {"eta": 5e-4, "sigma": 8.0},
        {"dim": 10, "width": 400, "sigma": 6.0},
        {"algorithm": "sam", "sigma": 0.0, "rho": 0.2, "eta": 2.5e-4},
    ],
)
def test_the_end_of_the_lazy_regime_is_where_it_is_predicted(changed):
    """T₁ within 3 % (SAM: 5 %) and two standard errors of the mean over eight seeds."""
    seeds = list(range(8))
    settings = Settings(**{"neurons": 1, "test_samples": 1, **changed})
    predicted = np.array([flow_of(settings, seed, 60_000).escape_step(0.1) for seed in seeds])
    steps = int(1.5 * predicted.max())
    settings = settings.model_copy(update={"steps": steps, "snapshots": 31})
    measured = escape_step(simulate(settings, seeds)["displacement_min"], 0.1).values
    ratio = measured / predicted
    error = ratio.std(ddof=1) / np.sqrt(len(seeds))
    within = 0.05 if "rho" in changed else 0.03
    assert abs(ratio.mean() - 1) < within + 2 * error
    assert error < 0.02


@functools.cache
def deviations(eta):
    """Measured less predicted mean norm (relative) and alignment at τ ≈ 7, eight seeds."""
    settings = Settings(
        samples=200, width=100, dim=10, eta=eta, sigma=2.0, neurons=1, test_samples=1,
        steps=round(6 / (2 * eta) ** 2), snapshots=21,
    )  # fmt: skip
    seeds = list(range(8))
    runs = simulate(settings, seeds).isel(step=slice(-4, None))
    found = []
    for number, seed in enumerate(seeds):
        flow, run = flow_of(settings, seed), runs.isel(seed=number)
        for position, step in enumerate(run["step"].values):
            predicted, at = flow.predict(float(step)), run.isel(step=position)
            found.append(
                [
                    float(at["w_norm_mean"]) / predicted.w_norm_mean - 1,
                    float(at["alignment_mean"]) - predicted.alignment_mean,
                ]
            )
    return np.mean(found, axis=0)


def test_the_deviation_vanishes_in_proportion_to_eta():
    """At ησ²d^(3/2) = 1, 0.5, 0.25 and at the same slow time."""
    etas = np.array([8e-3, 4e-3, 2e-3])
    norm, alignment = np.abs([deviations(eta) for eta in etas]).T
    for deviation in (norm, alignment):
        order = np.polyfit(np.log(etas), np.log(deviation), 1)[0]
        assert 0.7 < order < 1.6
        assert deviation[-1] < 0.05


def test_late_the_rest_dies_out_at_the_rate_of_the_next_order():
    """At ½ησ²d^(3/2) = 0.18: neither the flow's own rate, 1, nor anything far from 0.82."""
    settings = Settings(
        width=21, dim=20, eta=1e-3, sigma=2.0, samples=20_000, steps=10, snapshots=2
    )
    engine = CompiledEngine([prepare(settings, 0)])
    values = []
    for tau in (6, 6):
        engine.advance(round(tau / (1e-3 * 2.0) ** 2))
        values.append(np.linalg.svd(engine.core(0))[1][1:20])
    rate = 2 * np.log(values[0] / values[1]).mean() / 6
    expected = transverse_rate(1e-3, 2.0, 20, 1.0)
    assert expected == pytest.approx(0.821, abs=1e-3)
    assert rate == pytest.approx(expected, abs=0.05)


def test_mean_norm_alignment_and_losses_of_a_run_are_as_predicted():
    settings = Settings(
        sigma=2.0, eta=5e-4, width=400, dim=10, steps=4_000_000, snapshots=41, neurons=1
    )
    runs, flow = simulate(settings, [0]), flow_of(settings)
    late = runs.isel(seed=0, step=slice(-15, None))
    predicted = [flow.predict(float(step)) for step in late["step"].values]
    for name, within in [
        ("w_norm_mean", 0.03),
        ("w_norm_max", 0.03),
        ("alignment_mean", 0.03),
        ("a_rms", 0.05),
        ("a_max", 0.08),
        ("displacement_min", 0.02),
        ("displacement_max", 0.02),
        ("train_loss", 0.35),
        ("test_loss", 0.35),
    ]:
        expected = np.mean([getattr(p, name) for p in predicted])
        assert float(late[name].mean()) == pytest.approx(expected, rel=within), name


def test_the_hessian_is_that_of_the_loss_by_automatic_differentiation():
    flow = flow_of(SMALL.model_copy(update={"sigma": 1e-4}), steps=10)  # no fluctuation to speak of
    problem = draw_problem(SMALL, 0)
    p, x, y = (torch.as_tensor(v) for v in (flow.neurons(0), problem.x, problem.y))

    def loss(state):
        p = state.reshape(40, 7)
        return 0.5 * ((x @ (p[:, :-1].T @ p[:, -1]) - y) ** 2).mean()

    hessian = torch.autograd.functional.hessian(loss, p.ravel()).numpy()
    predicted = flow.predict(0)
    assert predicted.trace_hessian == pytest.approx(np.trace(hessian), rel=1e-5)
    assert predicted.lambda_max == pytest.approx(np.linalg.eigvalsh(hessian)[-1], rel=1e-5)


def test_sams_escape_is_at_its_leading_rate_as_eta_vanishes():
    """T₁·2ηρ² tends to the slow time at which the radius is reached, about 0.29."""
    gaps = []
    for eta in (1e-3, 1e-4, 1e-5):
        settings = Settings(algorithm="sam", sigma=0.0, eta=eta, steps=10, snapshots=2)
        flow = flow_of(settings, steps=0.4 / (2 * eta * 0.01))
        escape = flow.escape_step(0.1)
        assert flow.tau(escape) == pytest.approx(0.288, abs=0.002)
        gaps.append(1 - escape * 2 * eta * 0.01 / flow.tau(escape))
    assert gaps[0] > gaps[1] > gaps[2] > 0
    assert gaps[1] / gaps[2] == pytest.approx(10, rel=0.15)


def test_the_equivalent_label_noise_has_sams_rate_as_eta_vanishes():
    problem = draw_problem(SMALL, 0)
    covariance = problem.x.T @ problem.x / SMALL.samples
    gaps = []
    for eta in (1e-4, 1e-5):
        sam = Dynamics(problem.theta_star, covariance, eta, 0.0, 0.3)
        sgd = Dynamics(problem.theta_star, covariance, eta, equivalent_sigma(0.3, eta))
        metric = sam.metric(np.column_stack([problem.w, problem.a]))
        gaps.append(abs(sam.fast(metric).rate / sgd.fast(metric).rate - 1))
    assert gaps[1] < 1e-3
    assert gaps[0] / gaps[1] == pytest.approx(10, rel=0.1)


def test_crossings_are_where_the_prediction_crosses():
    flow = flow_of(SMALL, steps=4e6)
    for crossing, of, level in [
        (flow.onset_step(0.5), lambda p: p.alignment_mean, None),
        (flow.step_where(lambda p: p.w_norm_mean, 0.7, below=True), lambda p: p.w_norm_mean, 0.7),
    ]:
        start = of(flow.predict(0))
        expected = start + 0.5 * (1 - start) if level is None else level
        assert 0 < crossing < 4e6
        assert of(flow.predict(crossing)) == pytest.approx(expected, rel=1e-4)
    assert np.isnan(flow.step_where(lambda p: p.w_norm_mean, 10.0))
    assert np.isnan(flow.escape_step(10.0))


def test_the_papers_start_of_phase_two_is_not_reached():
    """All ‖w_i‖ ≤ √η needs √d‖θ*‖z²_max ≤ ηm, and stability ηm < 2."""
    assert np.isnan(flow_of(Settings(steps=2_000_000)).small_weights_step())


def test_sam_collapses_at_the_predicted_radius():
    """Alive at 0.85 of it, dead at 1.05, within 5·10⁵ steps."""
    limit = collapse_radius(12, 1.0)
    for share, alive in [(0.85, True), (1.05, False)]:
        settings = Settings(
            algorithm="sam", sigma=0.0, rho=share * limit, eta=2.5e-4, dim=12, samples=120,
            width=300, steps=150_000, snapshots=2, neurons=1, test_samples=1,
        )  # fmt: skip
        norms = simulate(settings, [0, 1])["theta_norm"].values[:, -1]
        assert np.all(norms > 0.8) if alive else np.all(norms < 0.05)


@pytest.mark.parametrize(("eta", "width"), [(1e-3, 1000), (2.5e-4, 4000), (2.5e-4, 300)])
def test_phase_one_in_closed_form_is_the_flows(eta, width):
    """The slow time that a network's own flow has come to, for Σ = I."""
    settings = Settings(width=width, eta=eta)
    problem = draw_problem(settings, 0)
    dynamics = Dynamics(problem.theta_star, np.eye(20), eta, 4.0)
    steps = float(early_steps(0.3, eta, 4.0, width, 20))
    flow = Flow(problem.w, problem.a, dynamics, steps)
    assert flow.tau(steps) == pytest.approx(0.3, rel=0.05)
