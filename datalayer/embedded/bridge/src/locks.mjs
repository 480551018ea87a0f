// Advisory locks. All clients share one session, which never denies itself a lock, so a client's session-level locks are
// taken back when it leaves the session and given again when it returns; meanwhile they are compared with what others take.
import { dataRow, errorResponse, typeOf } from './wire.mjs'

const HELD = `SELECT classid::text, objid::text, objsubid::text, mode FROM pg_locks WHERE locktype = 'advisory'`
const DENIED = errorResponse('ERROR', '55P03', 'another connection to the embedded TimescaleDB holds this advisory lock')
const YES = [0x74, 1] // a boolean in text and in binary format
const NO = [0x66, 0]

export class Locks {
  constructor(backend, clients) {
    Object.assign(this, { backend, clients })
  }

  leave(client) {
    if (!client.locking) return
    client.locks = this.backend.query(HELD).map((row) => ({ row, count: this.#release(row) }))
    client.locking = client.locks.length > 0
  }

  enter(client) {
    for (const { row, count } of client.locks.splice(0)) {
      for (let i = 0; i < count; i++) this.backend.query(`SELECT ${call('pg_advisory_lock', row)}`)
    }
  }

  /** Stands between a statement that takes locks and its client; null when nobody else holds any. */
  guard(client) {
    const others = [...this.clients.values()].flatMap((other) => (other === client ? [] : other.locks))
    return others.length ? new Guard(this.backend, others) : null
  }

  #release(row) {
    let count = 0
    while (this.backend.query(`SELECT ${call('pg_advisory_unlock', row)}`)[0][0] === 't') count++
    return count
  }
}

class Guard {
  answers = []

  constructor(backend, others) {
    Object.assign(this, { backend, others })
  }

  keep(messages) {
    this.answers.push(...messages)
  }

  /** Gives back what another client holds. A lone 'true' was a try, and becomes 'false'; true when the statement must fail. */
  check(inBatch) {
    const run = (sql) => (inBatch ? this.backend.queryInBatch(sql) : this.backend.query(sql))
    const taken = run(HELD).filter((row) => this.others.some((other) => conflict(row, other.row)))
    for (const row of taken) run(`SELECT ${call('pg_advisory_unlock', row)}`)
    if (!taken.length || this.#deny()) return false
    this.answers = [DENIED]
    return true
  }

  #deny() {
    const rows = this.answers.filter((message) => message.length && typeOf(message) === 'D')
    const [value] = rows.length === 1 ? dataRow(rows[0]) : []
    const at = rows[0]?.readInt16BE(5) === 1 && value?.length === 1 ? YES.indexOf(rows[0].at(-1)) : -1
    if (at >= 0) rows[0][rows[0].length - 1] = NO[at]
    return at >= 0
  }
}

function conflict(a, b) {
  return [0, 1, 2].every((i) => a[i] === b[i]) && (a[3] === 'ExclusiveLock' || b[3] === 'ExclusiveLock')
}

function call(name, [high, low, form, mode]) {
  const suffix = mode === 'ShareLock' ? '_shared' : ''
  const key = form === '1' ? `${BigInt.asIntN(64, (BigInt(high) << 32n) | BigInt(low))}` : `${high | 0}, ${low | 0}`
  return `${name}${suffix}(${key})`
}
