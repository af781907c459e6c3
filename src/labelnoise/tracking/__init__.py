"""MLflow: every artifact's record becomes a run, once, and stays the only current one.

Jobs do not talk to MLflow: each leaves a record beside its artifact (`job.Job`), and `sync.track`
brings a tracking store up to date with the records under results/. It runs when a workflow ends,
and whenever a person asks for it. So a store that is slow, locked or away costs no result, and
what is missing is logged the next time.
"""
