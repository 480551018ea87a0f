import assert from 'node:assert/strict'
import fs from 'node:fs'
import path from 'node:path'
import { after, describe, test } from 'node:test'
import { Bridge, skip, sleep, temporaryFolder } from './support/bridge.mjs'

const PROCEDURES = `
  CREATE TABLE ran (job int, path text, who text, at timestamptz DEFAULT clock_timestamp());
  CREATE PROCEDURE good(job_id int, config jsonb) LANGUAGE plpgsql AS
    $$ BEGIN INSERT INTO public.ran VALUES (job_id, current_setting('search_path'), current_user); END $$;
  CREATE PROCEDURE bad(job_id int, config jsonb) LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'on purpose'; END $$`

describe('jobs', { skip }, () => {
  const home = temporaryFolder()
  const start = () => Bridge.start({
    data: path.join(home, 'data'),
    args: ['--lifetime', 'daemon', '--jobs-interval-ms', '200', '--state-file', path.join(home, 'jobs.json')],
  })
  after(() => fs.rmSync(home, { recursive: true, force: true }))

  test('run when due, with clean settings, while nobody is in a transaction; failures stay their own', async () => {
    const bridge = await start()
    const client = await bridge.connect({ search_path: 'pg_catalog' })
    await client.query(`SET search_path = public; ${PROCEDURES}; CREATE ROLE guest; SET search_path = pg_catalog; SET ROLE guest`)
    const other = await bridge.connect()
    await other.query('BEGIN')
    const add = (procedure, every, more = '') => other.value(`SELECT add_job('${procedure}', '${every}'${more})`)
    const [often, once, off, bad] = [await add('good', '500 ms'), await add('good', '1 day'), await add('good', '1 hour', ', scheduled => false'), await add('bad', '1 hour')]
    await sleep(700)
    assert.equal(await other.value('SELECT count(*) FROM ran'), '0')
    await other.query('COMMIT')
    await client.query('SELECT 1') // its settings are in force now
    await sleep(2500)
    const count = async (job) => Number(await other.value(`SELECT count(*) FROM ran WHERE job = ${job}`))
    assert.ok((await count(often)) >= 3)
    assert.deepEqual([await count(once), await count(off)], [1, 0])
    assert.equal(await other.value("SELECT string_agg(DISTINCT path || ' ' || who, ',') FROM ran"), '"$user", public postgres')

    const { jobs } = await bridge.control('status')
    const of = (id) => jobs.find((job) => job.job_id === Number(id))
    assert.deepEqual([of(bad).last_status, of(bad).last_error, of(bad).runs, of(bad).failures], ['failed', 'on purpose', 1, 1])
    assert.deepEqual([of(once).last_status, of(once).runs, of(once).proc, of(off).runs, of(off).scheduled], ['ok', 1, 'public.good', 0, false])
    assert.match(bridge.errors, /on purpose/)

    await other.query(`SELECT delete_job(${often}); SELECT alter_job(${once}, schedule_interval => '1 ms'); SELECT alter_job(${off}, scheduled => true)`)
    const before = await count(often)
    await sleep(1000)
    assert.deepEqual([await count(often), (await count(once)) > 1, await count(off)], [before, true, 1])
    await other.query(`SELECT alter_job(${once}, schedule_interval => '1 day'); TRUNCATE ran`)
    assert.equal(await client.value('SELECT current_user'), 'guest')
    assert.equal(await bridge.stop(), 0)
  })

  test('what ran is remembered when the database is reopened', async () => {
    const bridge = await start()
    await sleep(800)
    const client = await bridge.connect()
    assert.equal(await client.value('SELECT count(*) FROM ran'), '0')
    const { jobs } = await bridge.control('status')
    assert.ok(jobs.length && jobs.every((job) => job.runs > 0 && Date.parse(job.next_start) > Date.now()))
    await client.query('SELECT alter_job(job_id, schedule_interval => \'1 ms\') FROM timescaledb_information.jobs WHERE proc_name = \'good\'')
    const { ok, ran } = await bridge.control('run_jobs')
    assert.ok(ok && ran.every((job) => job.last_status === 'ok'))
    assert.equal(await bridge.stop(), 0)
  })
})
