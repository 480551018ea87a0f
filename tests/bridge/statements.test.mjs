import assert from 'node:assert/strict'
import { test } from 'node:test'
import { analyse, failing, literal, rewrite } from '../../datalayer/embedded/bridge/src/statements.mjs'

const rewritten = (sql) => rewrite(sql, analyse(sql), (name) => `7:${name}`)

test('COPY FROM STDIN is recognised, and nothing that only looks like it', () => {
  for (const sql of [
    'COPY t FROM STDIN', '/* a /* b */ */ copy t (a, b) -- x\n from stdin with (format csv)', 'copy "from stdin" from stdin;', 'SELECT 1; COPY t FROM STDIN',
  ]) assert.equal(analyse(sql).copies, 1, sql)
  for (const sql of [
    "SELECT 'copy t from stdin'", 'COPY t TO STDOUT', 'COPY (SELECT 1) TO STDOUT', "COPY t FROM '/file'", '-- copy t from stdin\nselect 1', 'copy "from stdin" to stdout',
    "SELECT $$; COPY t FROM STDIN $$", "SELECT $a$ $$; COPY t FROM STDIN $a$", "SELECT E'\\'; COPY t FROM STDIN'", "SELECT 'it''s; COPY t FROM STDIN'",
  ]) assert.equal(analyse(sql).copies, 0, sql)
  assert.equal(analyse('COPY a FROM STDIN; COPY b FROM STDIN').copies, 2)
})

test('the format of COPY', () => {
  for (const options of ['(FORMAT binary)', "(format 'binary')", 'binary', '(FORMAT "binary")']) assert.equal(analyse(`COPY t FROM STDIN WITH ${options}`).binary, true)
  assert.equal(analyse('COPY BINARY t FROM STDIN').binary, true)
  assert.equal(analyse('COPY "binary" FROM STDIN (FORMAT csv)').binary, false)
})

test('CONCURRENTLY goes from index commands only, and never from literals', () => {
  const gone = (sql) => assert.equal(rewritten(sql), sql.replace(/concurrently/i, ' '.repeat(12)), sql)
  for (const sql of [
    'CREATE INDEX CONCURRENTLY i ON t (a)', 'create unique index concurrently if not exists i on t (a)', 'DROP INDEX concurrently i',
    'REINDEX INDEX CONCURRENTLY i', 'reindex (verbose) table concurrently t', '/* CREATE */ CREATE INDEX /*x*/ CONCURRENTLY i ON t(a)',
  ]) gone(sql)
  for (const sql of [
    "SELECT 'CREATE INDEX CONCURRENTLY i ON t (a)'", 'REFRESH MATERIALIZED VIEW CONCURRENTLY v', 'CREATE INDEX "concurrently" ON t (a)',
    "COMMENT ON TABLE t IS 'drop index concurrently i'", '-- CREATE INDEX CONCURRENTLY\nSELECT 1',
  ]) assert.equal(rewritten(sql), sql)
})

test('prepared statements get names of the client\'s own', () => {
  assert.equal(rewritten('PREPARE p (int) AS SELECT $1'), 'PREPARE "7:p" (int) AS SELECT $1')
  assert.equal(rewritten('prepare "P q" as select 1'), 'prepare "7:P q" as select 1')
  assert.equal(rewritten('EXECUTE P(1); deallocate prepare p'), 'EXECUTE "7:p"(1); deallocate prepare "7:p"')
  assert.equal(rewritten('EXPLAIN ANALYZE EXECUTE p'), 'EXPLAIN ANALYZE EXECUTE "7:p"')
  assert.equal(rewritten('CREATE TABLE t AS EXECUTE p'), 'CREATE TABLE t AS EXECUTE "7:p"')
  for (const sql of ["PREPARE TRANSACTION 'x'", 'EXPLAIN SELECT 1', "SELECT 'EXECUTE p'", 'CREATE TRIGGER t BEFORE INSERT ON a EXECUTE FUNCTION f()']) assert.equal(rewritten(sql), sql)
})

test('what would touch every client is left to the bridge', () => {
  assert.deepEqual(analyse('DEALLOCATE ALL').actions, ['DEALLOCATE ALL'])
  assert.deepEqual(analyse('/**/ discard all;').actions, ['DISCARD ALL'])
  assert.deepEqual(analyse('DISCARD TEMPORARY').actions, ['DISCARD TEMP'])
  assert.deepEqual(analyse('DISCARD PLANS').actions, [])
  assert.equal(rewritten('SELECT 1; DISCARD ALL'), "SELECT 1; DO 'BEGIN END'")
  assert.equal(analyse("SELECT 'discard all'").actions.length, 0)
})

test('databases and encodings there are none of fail', () => {
  for (const sql of ['CREATE DATABASE x', 'drop database if exists x', 'ALTER DATABASE x RENAME TO y', "SET client_encoding TO 'LATIN1'", "set names 'latin1'", "SELECT set_config('client_encoding', 'LATIN1', false)"]) {
    assert.match(rewritten(sql), /^DO .*0A000/s, sql)
  }
  for (const sql of ["SET client_encoding = 'utf-8'", 'SET NAMES UTF8', "ALTER DATABASE x SET a = 'b'", "SELECT 'create database x'"]) assert.equal(rewritten(sql), sql)
})

test('channels, custom settings and what may be left behind', () => {
  assert.deepEqual(analyse('LISTEN Abc; UNLISTEN "X""y"; UNLISTEN *').listen, [
    { channel: 'abc', on: true }, { channel: 'X"y', on: false }, { channel: '*', on: false },
  ])
  assert.deepEqual(analyse("SET LOCAL my.a = 1; SELECT set_config('my.b', 'x', false); SET SESSION my.c TO 2").settings, ['my.a', 'my.b', 'my.c'])
  const facts = analyse('CREATE TEMP TABLE t AS SELECT pg_try_advisory_lock(1)')
  assert.deepEqual([facts.temporary, facts.locks, facts.holds], [true, true, false])
})

test('literals', () => {
  assert.equal(literal("it's"), "'it''s'")
  assert.equal(literal("a\\'b"), "E'a\\\\\\'b'")
  assert.match(failing('0A000', "it's"), /^DO '/)
})
