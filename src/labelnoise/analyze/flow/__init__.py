"""The label-noise flow: both phases of a run predicted from its start, with nothing fitted.

P = [W | a] moves on two time scales. The fast one (`dynamics`) shakes it by exp(S_u) about the
zero-loss set Wᵀa = θ*; the slow one (`trajectory`) carries it along that set, down the trace of the
Hessian; `limits` has what follows in closed form. `docs/theory.md` derives what is computed here,
and says where it fails.
"""
