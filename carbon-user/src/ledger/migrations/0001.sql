-- One text for SQLite and PostgreSQL: only what both understand. Units are the last word of a column's name.

CREATE TABLE factor (
  id BIGINT NOT NULL PRIMARY KEY,
  hash TEXT NOT NULL UNIQUE,
  g_per_kwh DOUBLE PRECISION NOT NULL,
  low_ratio DOUBLE PRECISION NOT NULL,
  high_ratio DOUBLE PRECISION NOT NULL,
  pue_ratio DOUBLE PRECISION NOT NULL,
  zone TEXT NOT NULL,
  zone_name TEXT NOT NULL,
  year BIGINT NOT NULL,
  boundary TEXT NOT NULL,
  basis TEXT NOT NULL,
  source TEXT NOT NULL,
  assumed BIGINT NOT NULL,
  tables_hash TEXT NOT NULL
);

CREATE TABLE node (
  id BIGINT NOT NULL PRIMARY KEY,
  name TEXT NOT NULL UNIQUE
);

CREATE TABLE domain (
  id BIGINT NOT NULL PRIMARY KEY,
  node BIGINT NOT NULL REFERENCES node (id),
  domain TEXT NOT NULL,
  device TEXT NOT NULL,
  source TEXT NOT NULL,
  quality BIGINT NOT NULL,
  UNIQUE (node, domain, device, source, quality)
);

-- What is remembered of a workload, so that last month's report still has names.
CREATE TABLE workload (
  id BIGINT NOT NULL PRIMARY KEY,
  identity TEXT NOT NULL UNIQUE,
  kind TEXT NOT NULL,
  name TEXT NOT NULL,
  container TEXT,
  pod TEXT,
  namespace TEXT,
  unit TEXT,
  job TEXT,
  owner TEXT,
  project TEXT
);

-- level_s is the length of the bucket: 60, 3600 or 86400. All levels are written in one transaction, so that each
-- hour is the sum of its minutes at every instant.
CREATE TABLE energy (
  level_s BIGINT NOT NULL,
  start_s BIGINT NOT NULL,
  node BIGINT NOT NULL REFERENCES node (id),
  workload BIGINT NOT NULL REFERENCES workload (id),
  domain BIGINT NOT NULL REFERENCES domain (id),
  kind BIGINT NOT NULL,
  factor BIGINT NOT NULL REFERENCES factor (id),
  quality BIGINT NOT NULL,
  energy_uj BIGINT NOT NULL,
  cpu_ns BIGINT NOT NULL,
  common_uj DOUBLE PRECISION NOT NULL,
  variance_uj2 DOUBLE PRECISION NOT NULL,
  rerated BIGINT NOT NULL,
  PRIMARY KEY (level_s, start_s, node, workload, domain, kind, factor, quality, rerated)
) /* clustered */;

-- metered = attributed + static + lost, for each domain and bucket.
CREATE TABLE balance (
  level_s BIGINT NOT NULL,
  start_s BIGINT NOT NULL,
  domain BIGINT NOT NULL REFERENCES domain (id),
  covered_ns BIGINT NOT NULL,
  metered_uj BIGINT NOT NULL,
  attributed_uj BIGINT NOT NULL,
  static_uj BIGINT NOT NULL,
  lost_uj BIGINT NOT NULL,
  gaps BIGINT NOT NULL,
  PRIMARY KEY (level_s, start_s, domain)
) /* clustered */;

-- A flush that was written is not written again: whoever flushes gives each a name.
CREATE TABLE flush (
  node BIGINT NOT NULL REFERENCES node (id),
  name TEXT NOT NULL,
  start_s BIGINT NOT NULL,
  PRIMARY KEY (node, name)
);

CREATE TABLE run (
  id TEXT NOT NULL PRIMARY KEY,
  node BIGINT NOT NULL REFERENCES node (id),
  organisation TEXT,
  project TEXT,
  experiment TEXT,
  name TEXT,
  series TEXT,
  command TEXT NOT NULL,
  status TEXT NOT NULL,
  exit_status BIGINT,
  start_us BIGINT NOT NULL,
  end_us BIGINT,
  duration_ns BIGINT,
  outlived_by BIGINT,
  cpu_ns BIGINT,
  accounting TEXT,
  attribution TEXT,
  static_policy TEXT,
  hardware TEXT,
  report TEXT
);

CREATE INDEX run_start ON run (start_us);

CREATE TABLE run_tag (
  run TEXT NOT NULL REFERENCES run (id),
  tag TEXT NOT NULL,
  PRIMARY KEY (run, tag)
);

-- Runs may overlap each other and the workloads above: they are another view of the same energy, never added to it.
CREATE TABLE run_energy (
  run TEXT NOT NULL REFERENCES run (id),
  kind BIGINT NOT NULL,
  factor BIGINT NOT NULL REFERENCES factor (id),
  quality BIGINT NOT NULL,
  energy_uj BIGINT NOT NULL,
  stddev_uj DOUBLE PRECISION NOT NULL,
  PRIMARY KEY (run, kind, factor, quality)
);

-- The whole machine while the run lasted.
CREATE TABLE run_domain (
  run TEXT NOT NULL REFERENCES run (id),
  domain BIGINT NOT NULL REFERENCES domain (id),
  metered_uj BIGINT NOT NULL,
  attributed_uj BIGINT NOT NULL,
  static_uj BIGINT NOT NULL,
  lost_uj BIGINT NOT NULL,
  PRIMARY KEY (run, domain)
);
