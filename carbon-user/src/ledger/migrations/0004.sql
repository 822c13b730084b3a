-- A team's server: who may post and read, and what was posted. Names of organisations are unique, those of projects and
-- members within their organisation.
CREATE TABLE organisation (
  id TEXT NOT NULL PRIMARY KEY,
  name TEXT NOT NULL UNIQUE,
  description TEXT NOT NULL,
  made_us BIGINT NOT NULL
);

-- share_hash is the SHA-256 of the secret in the public link; none where there is no link.
CREATE TABLE project (
  id TEXT NOT NULL PRIMARY KEY,
  organisation TEXT NOT NULL REFERENCES organisation (id),
  name TEXT NOT NULL,
  description TEXT NOT NULL,
  share_hash TEXT UNIQUE,
  made_us BIGINT NOT NULL,
  UNIQUE (organisation, name)
);

-- Clients choose ids of experiments, and some all choose the same: an id is of its project. details is JSON.
CREATE TABLE experiment (
  project TEXT NOT NULL REFERENCES project (id),
  id TEXT NOT NULL,
  name TEXT NOT NULL,
  details TEXT NOT NULL,
  made_us BIGINT NOT NULL,
  PRIMARY KEY (project, id)
);

CREATE TABLE member (
  id TEXT NOT NULL PRIMARY KEY,
  organisation TEXT NOT NULL REFERENCES organisation (id),
  name TEXT NOT NULL,
  admin BIGINT NOT NULL,
  made_us BIGINT NOT NULL,
  UNIQUE (organisation, name)
);

-- hash is the SHA-256 of the token, which is kept nowhere. scope: 1 reads, 2 posts too, 3 manages too. One without a project is
-- good for all projects of its organisation.
CREATE TABLE token (
  id TEXT NOT NULL PRIMARY KEY,
  hash TEXT NOT NULL UNIQUE,
  organisation TEXT NOT NULL REFERENCES organisation (id),
  project TEXT REFERENCES project (id),
  member TEXT REFERENCES member (id),
  scope BIGINT NOT NULL,
  name TEXT NOT NULL,
  made_us BIGINT NOT NULL,
  used_us BIGINT,
  revoked_us BIGINT
);

-- Runs that were posted; they are runs of the ledger like all others. once is what the client named its post by. details is JSON.
CREATE TABLE posted_run (
  run TEXT NOT NULL PRIMARY KEY REFERENCES run (id),
  project TEXT NOT NULL REFERENCES project (id),
  experiment TEXT NOT NULL,
  once TEXT,
  details TEXT NOT NULL,
  UNIQUE (project, once),
  FOREIGN KEY (project, experiment) REFERENCES experiment (project, id)
);

CREATE INDEX posted_run_experiment ON posted_run (project, experiment);

-- What a run used since its post before. The energies of a run are the sums of its posts; factor is none where a post has no
-- energy.
CREATE TABLE post (
  run TEXT NOT NULL REFERENCES posted_run (run),
  sequence BIGINT NOT NULL,
  id TEXT NOT NULL UNIQUE,
  at_us BIGINT NOT NULL,
  duration_ns BIGINT NOT NULL,
  energy_uj BIGINT NOT NULL,
  cpu_uj BIGINT NOT NULL,
  gpu_uj BIGINT NOT NULL,
  ram_uj BIGINT NOT NULL,
  factor BIGINT REFERENCES factor (id),
  details TEXT NOT NULL,
  PRIMARY KEY (run, sequence)
);

CREATE INDEX post_at ON post (at_us);
