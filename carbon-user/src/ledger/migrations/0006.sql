-- What Slurm says of a batch job beside its user: its name, and who pays for it.
ALTER TABLE workload ADD COLUMN job_name TEXT;
ALTER TABLE workload ADD COLUMN account TEXT;
