// Session settings and the role: every client has its own, the backend has room for one set.
import { RESET_USER, SUPERUSER, literal, quote } from './statements.mjs'

const REPORTED = [
  'server_version', 'server_encoding', 'client_encoding', 'application_name', 'is_superuser', 'session_authorization',
  'DateStyle', 'IntervalStyle', 'TimeZone', 'integer_datetimes', 'standard_conforming_strings', 'search_path',
  'default_transaction_read_only', 'in_hot_standby', 'scram_iterations',
]
const ROLES = new Map([['session_authorization', SUPERUSER], ['role', 'none']])
const SETTABLE = `SELECT name FROM pg_settings WHERE context IN ('user', 'superuser')
  AND name NOT IN ('transaction_isolation', 'transaction_read_only', 'transaction_deferrable', 'seed')`

export class Settings {
  #backend
  #defaults
  #greeting
  #current = null

  constructor(backend) {
    this.#backend = backend
    backend.query(RESET_USER)
    const names = backend.query(SETTABLE).map(([name]) => name)
    this.#defaults = new Map([...names.map((name) => [name, backend.setting(name)]), ...ROLES])
    this.#greeting = new Map(this.news(new Map()))
  }

  /** PostgreSQL lists custom settings nowhere: they are known from the statements that set them. */
  watch(names) {
    for (const name of names) if (!this.#defaults.has(name)) this.#defaults.set(name, '')
  }

  /** Hands the session to `client`; null is nobody, with the defaults. */
  switchTo(client) {
    if (client === this.#current) return
    const left = this.#current
    const changed = this.#changed(left?.startup)
    if (left) left.settings = changed
    if (changed.size) this.#backend.query(`${RESET_USER}; RESET ALL`)
    for (const name of left?.startup.keys() ?? []) this.#backend.setDefault(name, this.#defaults.get(name))
    for (const [name, value] of client?.startup ?? []) this.#backend.setDefault(name, value)
    this.#current = client
    const defaults = [...(left?.startup.keys() ?? [])].map((name) => [name, this.#defaults.get(name)])
    this.#insist(new Map([...defaults, ...(client?.startup ?? []), ...(client?.settings ?? [])]))
  }

  /** What somebody has SET, be it to the value that it had, outranks a new default: where that did not get through, SET it. */
  #insist(wanted) {
    const missing = [...wanted].filter(([name, value]) => this.#backend.setting(name) !== value)
    if (missing.length) this.#backend.query(restoring(new Map(missing)))
  }

  /** What a new client is told, known without having the session. */
  greeting(client) {
    return new Map([...this.#greeting].map(([name, value]) => [name, client.startup.get(name) ?? value]))
  }

  /** Checks start-up parameters by setting them; from then on they are what the client's RESET goes back to. */
  start(client, parameters) {
    this.switchTo(null)
    this.watch([...parameters.keys()].filter((name) => name.includes('.')))
    if (parameters.size) this.#backend.query(restoring(parameters))
    client.startup = this.#changed()
    if (parameters.size) this.#backend.query('RESET ALL')
  }

  /** What the client must be told: [name, value] of each reported setting that differs from `told`. */
  news(told) {
    const now = REPORTED.map((name) => [name, this.#backend.setting(name) ?? ''])
    return now.filter(([name, value]) => told.get(name) !== value)
  }

  #changed(startup = new Map()) {
    const expected = (name, fallback) => startup.get(name) ?? fallback
    const now = [...this.#defaults].map(([name, value]) => [name, this.#backend.setting(name) ?? '', expected(name, value)])
    return new Map(now.filter(([, value, before]) => value !== before))
  }
}

/** The role comes last: as another user not every setting may be set. */
function restoring(settings) {
  const plain = [...settings].filter(([name]) => !ROLES.has(name))
  const calls = plain.map(([name, value]) => `set_config(${literal(name)}, ${literal(value)}, false)`)
  const roles = [...ROLES.keys()].filter((name) => settings.has(name))
  const commands = roles.map((name) => `SET ${name.replace('_', ' ')} ${quote(settings.get(name))}`)
  return [calls.length ? `SELECT ${calls.join(', ')}` : '', ...commands].filter(Boolean).join('; ')
}
