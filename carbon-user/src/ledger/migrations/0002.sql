-- Energies have a third kind: 0 is dynamic, 1 static, 2 held (idle energy of an accelerator, charged to who held it; part
-- of its domain's static energy, as 1 is). The number of the schema keeps programs that know two kinds
-- away, which would take the third for the second.

-- Hours that were rated again when their intensity became known: once each. The factor that was recorded first stays here.
CREATE TABLE rerate (
  node BIGINT NOT NULL REFERENCES node (id),
  start_s BIGINT NOT NULL,
  factor BIGINT NOT NULL REFERENCES factor (id),
  rated_by BIGINT NOT NULL REFERENCES factor (id),
  PRIMARY KEY (node, start_s, factor)
) /* clustered */;
