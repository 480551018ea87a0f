#!/bin/sh
# Gives the roles of 10-roles.sql their logins, with passwords from files: run as an administrator of the database.
set -eu
SECRETS=${SECRETS:-/run/secrets}
export SECRETS
psql --no-psqlrc --quiet --set ON_ERROR_STOP=1 --username "${POSTGRES_USER:-postgres}" --dbname "$POSTGRES_DB" <<'SQL'
-- The statements hold passwords, so none of them goes to the log of the server.
SET log_statement = 'none';
SET log_min_error_statement = 'panic';
SET log_min_duration_statement = -1;
SET password_encryption = 'scram-sha-256';
\set migrate_password `cat "$SECRETS/migrate_password"`
\set feed_password `cat "$SECRETS/feed_password"`
\set monitor_password `cat "$SECRETS/monitor_password"`
ALTER ROLE datalayer_migrate PASSWORD :'migrate_password';
CREATE ROLE feed LOGIN PASSWORD :'feed_password' IN ROLE datalayer_write;
CREATE ROLE monitor LOGIN PASSWORD :'monitor_password' IN ROLE datalayer_read;
ALTER ROLE monitor SET statement_timeout = '30s';
SQL
