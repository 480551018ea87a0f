import assert from 'node:assert/strict'
import { after, before, beforeEach, describe, test } from 'node:test'
import * as wire from '../../datalayer/embedded/bridge/src/wire.mjs'
import { Bridge, extended as x, skip, summary } from './support/bridge.mjs'

describe('sessions', { skip }, () => {
  let bridge, a, b
  before(async () => {
    bridge = await Bridge.start()
    b = await bridge.connect()
    await b.query('CREATE ROLE guest')
  })
  beforeEach(async () => {
    await a?.end()
    a = await bridge.connect({ search_path: 'pg_catalog', application_name: 'me' })
  })
  after(() => bridge.stop())

  test('the defaults are those of a server', async () => {
    for (const [name, value] of [['search_path', '"$user", public'], ['client_min_messages', 'notice'], ['enable_seqscan', 'on'], ['TimeZone', 'UTC']]) {
      assert.equal(await b.value(`SHOW ${name}`), value)
    }
    await b.query('RESET ALL')
    assert.equal(await b.value('SHOW search_path'), '"$user", public')
  })

  const ways = ["SET my.tenant = '7'; SET work_mem = '7MB'; SET TimeZone = 'Asia/Tokyo'", `SELECT set_config('my.tenant', '7', false), set_config('work_mem', '7MB', false), set_config('TimeZone', 'Asia/Tokyo', false)`,
    `DO $$ BEGIN SET my.tenant = '7'; PERFORM set_config('work_mem', '7MB', false), set_config('TimeZone', 'Asia/Tokyo', false); END $$`]
  for (const sql of ways) {
    test(`settings stay with their client: ${sql.slice(0, 12)}`, async () => {
      const { parameters } = await a.query(sql)
      assert.deepEqual(parameters, { TimeZone: 'Asia/Tokyo' })
      assert.deepEqual([await b.value("SELECT coalesce(current_setting('my.tenant', true), '')"), await b.value('SHOW work_mem'), await b.value('SHOW TimeZone')], ['', '4MB', 'UTC'])
      assert.deepEqual([await a.value('SHOW my.tenant'), await a.value('SHOW work_mem'), await a.value('SHOW TimeZone')], ['7', '7MB', 'Asia/Tokyo'])
      await a.end()
      assert.deepEqual([await b.value('SHOW work_mem'), await b.value('SHOW TimeZone')], ['4MB', 'UTC'])
    })
  }

  test('RESET goes back to the start-up parameters', async () => {
    await a.query("SET search_path = public; SET application_name = 'x'")
    await b.query('SELECT 1')
    assert.equal(await a.value('SHOW search_path'), 'public')
    await a.query('RESET search_path')
    assert.deepEqual([await a.value('SHOW search_path'), await a.value('SHOW application_name')], ['pg_catalog', 'x'])
    assert.deepEqual((await a.query('RESET ALL')).parameters, { application_name: 'me' })
    assert.equal(await b.value('SHOW search_path'), '"$user", public')
  })

  test('a SET to the value that it has already leaks into nobody', async () => {
    const schema = (client) => client.value('SHOW search_path')
    await b.query(`SET search_path = "$user", public`)
    assert.equal(await schema(a), 'pg_catalog')
    await a.query('SET search_path = pg_catalog')
    assert.equal(await schema(b), '"$user", public')
    const c = await bridge.connect({ search_path: 'information_schema' })
    await a.query('SET search_path = pg_catalog')
    assert.deepEqual([await schema(c), await schema(a), await schema(b)], ['information_schema', 'pg_catalog', '"$user", public'])
    await c.end()
  })

  test('a client whose role was dropped meanwhile ends, and nobody else', async () => {
    const c = await bridge.connect({ search_path: 'pg_catalog' })
    await c.query('CREATE ROLE brief; SET ROLE brief')
    await b.query('DROP ROLE brief')
    c.send(wire.query('SELECT 1'))
    assert.equal(wire.errorFields((await c.until('E')).at(-1)).C, '22023')
    await c.closed
    assert.deepEqual([await b.value('SHOW search_path'), await b.value('SELECT current_user')], ['"$user", public', 'postgres'])
    assert.equal(await a.value('SHOW search_path'), 'pg_catalog')
  })

  test('SET LOCAL and a rolled back SET', async () => {
    await a.query("BEGIN; SET LOCAL work_mem = '9MB'; SET TimeZone = 'Asia/Tokyo'")
    assert.deepEqual((await a.query('ROLLBACK')).parameters, { TimeZone: 'UTC' })
    await b.query('SELECT 1')
    assert.deepEqual([await a.value('SHOW work_mem'), await a.value('SHOW TimeZone')], ['4MB', 'UTC'])
  })

  test('a setting is reported after extended messages, and in a failed transaction', async () => {
    a.send(x.parse('', "SET TimeZone = 'Asia/Tokyo'"), x.bind(''), x.execute(), x.sync)
    assert.equal((await a.result()).parameters.TimeZone, 'Asia/Tokyo')
    const failed = await a.query("BEGIN; SET TimeZone = 'Europe/Berlin'; SELECT 1/0")
    assert.deepEqual((await a.query('ROLLBACK')).parameters, failed.parameters.TimeZone ? { TimeZone: 'Asia/Tokyo' } : {})
  })

  test('roles stay with their client', async () => {
    for (const sql of ['SET ROLE guest', 'SET SESSION AUTHORIZATION guest']) {
      await a.query(sql)
      assert.equal(await b.value('SELECT current_user'), 'postgres')
      assert.equal(await a.value('SELECT current_user'), 'guest')
      await a.query('RESET SESSION AUTHORIZATION')
    }
    await a.query("SET ROLE guest; SET work_mem = '6MB'")
    await a.end()
    assert.deepEqual([await b.value('SELECT current_user'), await b.value('SHOW work_mem')], ['postgres', '4MB'])
  })

  test('DISCARD ALL touches its own client only', async () => {
    await b.query("SET work_mem = '8MB'; LISTEN c; CREATE TEMP TABLE mine (a int)")
    await a.query("SET work_mem = '7MB'; CREATE TEMP TABLE yours (a int)")
    await a.query('DISCARD ALL')
    assert.deepEqual([await a.value('SHOW work_mem'), await b.value('SHOW work_mem')], ['4MB', '8MB'])
    assert.deepEqual([await b.value("SELECT to_regclass('yours')"), await b.value("SELECT to_regclass('mine')")], [null, 'mine'])
    await a.query('NOTIFY c')
    await b.query('SELECT 1')
    await b.query('DISCARD ALL')
    assert.equal(await b.value("SELECT to_regclass('mine')"), null)
  })

  test('temporary tables and held cursors end with their client', async () => {
    await a.query('CREATE TEMP TABLE x (a int); CREATE TEMP TABLE y (a serial)')
    await a.query('BEGIN; DECLARE h CURSOR WITH HOLD FOR SELECT 1; COMMIT')
    await b.query('CREATE TEMP TABLE z (a int)')
    await a.end()
    assert.deepEqual([await b.value("SELECT to_regclass('pg_temp.x')"), await b.value("SELECT to_regclass('pg_temp.y')"), await b.value("SELECT to_regclass('pg_temp.z')")], [null, null, 'z'])
    assert.equal(await b.value('SELECT count(*) FROM pg_cursors'), '0')
    await b.query('DROP TABLE z')
  })

  test('session advisory locks leave with their client and come back with it', async () => {
    const held = (client) => client.value("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'")
    await a.query('SELECT pg_advisory_lock(-1), pg_advisory_lock(-1), pg_advisory_lock(2, -3), pg_advisory_lock_shared(4)')
    assert.deepEqual([await held(b), await held(a)], ['0', '3'])
    await b.query('SELECT pg_advisory_unlock_all()')
    assert.equal(await held(a), '3')
    for (const expected of ['t', 't', 'f']) assert.equal(await a.value('SELECT pg_advisory_unlock(-1)'), expected)
    await a.end()
    assert.equal(await held(b), '0')
  })

  test('an advisory lock of one client is denied to the others', async () => {
    await a.query('SELECT pg_advisory_lock(1)')
    assert.deepEqual([await b.value('SELECT pg_try_advisory_lock(1)'), await b.value('SELECT pg_try_advisory_lock(2)')], ['f', 't'])
    assert.equal(await a.value('SELECT pg_try_advisory_lock(2)'), 'f')
    const denied = await b.query('SELECT pg_advisory_lock(1)')
    assert.deepEqual([denied.error.C, denied.status], ['55P03', 'I'])
    for (const take of ['pg_advisory_xact_lock', 'pg_advisory_lock']) {
      b.send(x.parse('', `SELECT ${take}($1)`), x.bind('', ['1']), x.execute(), x.sync)
      const { error, types } = await b.result()
      assert.deepEqual([error.C, types], ['55P03', '12EZ'])
      await b.query('BEGIN')
      const failed = await b.query(`SELECT ${take}(1)`)
      assert.deepEqual([failed.error.C, failed.status, (await b.query('SELECT 1')).error.C], ['55P03', 'E', '25P02'])
      await b.query('ROLLBACK')
    }
    b.send(x.parse('', 'SELECT pg_try_advisory_lock(1)'), x.bind(''), x.execute(), x.sync)
    assert.deepEqual((await b.result()).rows, [['f']])
    assert.equal(await a.value('SELECT pg_advisory_unlock(1)'), 't')
    assert.equal(await b.value('SELECT pg_try_advisory_lock(1)'), 't')
    await b.query('SELECT pg_advisory_unlock_all()')
    assert.equal(await a.value('SELECT pg_try_advisory_lock(1)'), 't')
  })

  test('notifications reach who listens, with the sender\'s number', async () => {
    const key = a.greeting.find((message) => wire.typeOf(message) === 'K').readInt32BE(5)
    await b.query('LISTEN "Some Channel"')
    await a.query('LISTEN other; UNLISTEN *')
    assert.doesNotMatch((await a.query(`NOTIFY "Some Channel", 'hello'`)).types, /A/)
    const [notification] = await b.until('A')
    assert.deepEqual([notification.readInt32BE(5), ...strings(notification)], [key, 'Some Channel', 'hello'])
    await b.query('UNLISTEN *')
    await a.query('NOTIFY "Some Channel"')
    assert.doesNotMatch(summary([...(await b.query('SELECT 1')).messages]).types, /A/)
  })

  function strings(notification) {
    const [channel, at] = wire.readCString(notification, 9)
    return [channel, wire.readCString(notification, at)[0]]
  }
})
