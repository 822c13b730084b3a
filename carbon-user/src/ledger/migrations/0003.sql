-- Runs that were rated again when the intensity of their time became known: once each. run_energy keeps the factor that was
-- recorded; what is named here holds instead of it.
CREATE TABLE run_rerate (
  run TEXT NOT NULL REFERENCES run (id),
  factor BIGINT NOT NULL REFERENCES factor (id),
  rated_by BIGINT NOT NULL REFERENCES factor (id),
  PRIMARY KEY (run, factor)
) /* clustered */;
