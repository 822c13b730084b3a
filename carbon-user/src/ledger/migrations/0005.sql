-- What tells the energies of a bucket from each other is said once, under a number. A row of energy is then its place and four
-- numbers: a report of a year reads millions of them.
CREATE TABLE series (
  id BIGINT NOT NULL PRIMARY KEY,
  node BIGINT NOT NULL REFERENCES node (id),
  workload BIGINT NOT NULL REFERENCES workload (id),
  domain BIGINT NOT NULL REFERENCES domain (id),
  kind BIGINT NOT NULL,
  factor BIGINT NOT NULL REFERENCES factor (id),
  quality BIGINT NOT NULL,
  rerated BIGINT NOT NULL,
  UNIQUE (node, workload, domain, kind, factor, quality, rerated)
) /* clustered */;

-- Numbered in the order of the old key, so that the rows below come in the order of the new one.
INSERT INTO series (id, node, workload, domain, kind, factor, quality, rerated)
SELECT ROW_NUMBER() OVER (ORDER BY node, workload, domain, kind, factor, quality, rerated),
  node, workload, domain, kind, factor, quality, rerated
FROM (SELECT DISTINCT node, workload, domain, kind, factor, quality, rerated FROM energy) AS told_apart;

ALTER TABLE energy RENAME TO energy_before;

-- level_s is the length of the bucket: 60, 3600 or 86400. All levels are written in one transaction, so that each
-- hour is the sum of its minutes at every instant. Time comes before the series: what is written, summed and removed at once is
-- of one time, and lies together.
CREATE TABLE energy (
  level_s BIGINT NOT NULL,
  start_s BIGINT NOT NULL,
  series BIGINT NOT NULL REFERENCES series (id),
  energy_uj BIGINT NOT NULL,
  cpu_ns BIGINT NOT NULL,
  common_uj DOUBLE PRECISION NOT NULL,
  variance_uj2 DOUBLE PRECISION NOT NULL,
  PRIMARY KEY (level_s, start_s, series)
) /* clustered */;

INSERT INTO energy (level_s, start_s, series, energy_uj, cpu_ns, common_uj, variance_uj2)
SELECT kept.level_s, kept.start_s, series.id, kept.energy_uj, kept.cpu_ns, kept.common_uj, kept.variance_uj2
FROM energy_before AS kept JOIN series ON series.node = kept.node AND series.workload = kept.workload
  AND series.domain = kept.domain AND series.kind = kept.kind AND series.factor = kept.factor
  AND series.quality = kept.quality AND series.rerated = kept.rerated;

DROP TABLE energy_before;
