"""What Snakemake needs to know, as typed code: paths, verbs, recipes, jobs and sessions."""
